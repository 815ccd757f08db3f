"""Rules: under which conditions a set of name-value pairs, or a location constraint, applies.

Theory of operation. `passes(rule, context)` evaluates a `rule` element against a `Context`, which holds what may be asked
about where the rule stands: the time always, a node's attributes, the agent, the resource's meta-attributes and parameters, or the operation.
What a context lacks is undefined, which is a value of its own (below every other). Nothing here raises: a malformed condition is false.

A rule that depends on the time notes in `context.changes` when its result will next change; the earliest of these becomes the transition's
`recheck-by`. Conditions are evaluated in document order and stop as soon as the result is certain, because conditions that
are not evaluated note nothing.

Sources: scheduler specification, part 1, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crm.policy.dates import add_duration, matches_spec, parse_date, parse_interval_ms
from crm.policy.values import compare_versions, to_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.etree import _Element

_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_WHOLE = re.compile(r"\s*([+-]?[0-9]+)")
_SUBMATCH = re.compile(r"%([0-9])")
_CONDITIONS = frozenset(("rule", "expression", "date_expression", "rsc_expression", "op_expression"))
_ORDERED = frozenset(("lt", "lte", "gt", "gte"))


@dataclass(slots=True)
class Context:
    """What a rule may ask about (4.2). `attributes` is None where no node is at hand."""

    now: int
    changes: list[int] = field(default_factory=list)
    attributes: Mapping[str, str] | None = None
    standard: str | None = None
    provider: str | None = None
    type: str | None = None
    meta: Mapping[str, str] | None = None
    parameters: Mapping[str, str] | None = None
    op_name: str | None = None
    op_interval_ms: int | None = None
    submatches: Sequence[str] = ()
    resolve: Callable[[str, str], _Element | None] | None = None  # (tag, id) -> what an id-ref means here


def passes(rule: _Element, context: Context) -> bool:
    """Is the rule satisfied? One without conditions is."""
    reference = rule.get("id-ref")
    if reference is not None:
        target = context.resolve("rule", reference) if context.resolve is not None else None
        if target is None or target.get("id-ref") is not None:
            return False
        rule = target
    if rule.get("id") is None:
        return False
    combine = rule.get("boolean-op", "and").lower()
    if combine not in ("and", "or"):
        return False
    any_one, seen = combine == "or", False
    for condition in rule.iterchildren("*"):
        if condition.tag not in _CONDITIONS:
            continue
        seen = True
        if _holds(condition, context) is any_one:
            return any_one
    return not (any_one and seen)


def _holds(condition: _Element, context: Context) -> bool:
    if condition.tag == "rule":
        return passes(condition, context)
    if condition.get("id") is None:
        return False
    if condition.tag == "expression":
        return _node_expression(condition, context)
    if condition.tag == "date_expression":
        return _date_expression(condition, context)
    if condition.tag == "rsc_expression":
        return all(
            wanted is None or wanted == actual
            for wanted, actual in (
                (condition.get("class"), context.standard),
                (condition.get("provider"), context.provider),
                (condition.get("type"), context.type),
            )
        )
    return _op_expression(condition, context)


def _op_expression(condition: _Element, context: Context) -> bool:
    if context.op_name is None or condition.get("name") != context.op_name:
        return False
    interval = condition.get("interval")
    return interval is None or parse_interval_ms(interval) == (context.op_interval_ms or 0)


# --- node attributes --------------------------------------------------------------------------------------------------


def _node_expression(condition: _Element, context: Context) -> bool:
    name = condition.get("attribute")
    operation = condition.get("operation", "").lower()
    value = condition.get("value")
    if not name:
        return False
    if "%" in name:
        found = context.submatches
        name = _SUBMATCH.sub(lambda m: found[int(m[1])] if int(m[1]) < len(found) else "", name)
    actual = context.attributes.get(name) if context.attributes is not None else None
    kind = condition.get("type")
    if kind is not None and kind.lower() not in ("string", "integer", "number", "version"):
        return False
    source = condition.get("value-source", "literal").lower()
    if source not in ("literal", "meta", "param"):
        return False
    if operation in ("defined", "not_defined"):
        return value is None and (actual is not None) is (operation == "defined")
    if value is None or not (operation in _ORDERED or operation in ("eq", "ne")):
        return False
    reference: str | None = value
    if source == "meta":
        reference = context.meta.get(value) if context.meta is not None else None
    elif source == "param":
        reference = context.parameters.get(value) if context.parameters is not None else None
    return _compare(operation, actual, reference, kind.lower() if kind is not None else None)


def _compare(operation: str, actual: str | None, reference: str | None, kind: str | None) -> bool:
    if actual is None or reference is None:
        same = actual is None and reference is None
        return same if operation == "eq" else not same and operation == "ne"
    if kind is None:
        if operation in _ORDERED:
            kind = "number" if "." in actual or "." in reference else "integer"
        else:
            kind = "string"
    order = _order(actual, reference, kind)
    if operation in ("eq", "ne"):
        return (order == 0) is (operation == "eq")
    if operation in ("lt", "lte"):
        return order < 0 or (order == 0 and operation == "lte")
    return order > 0 or (order == 0 and operation == "gte")


def _order(a: str, b: str, kind: str) -> int:
    """Negative, zero or positive; numbers that do not parse compare as text."""
    if kind == "version":
        return compare_versions(a, b)
    if kind != "string":
        pattern = _WHOLE if kind == "integer" else _NUMBER
        left, right = pattern.match(a), pattern.match(b)
        if left and right:
            convert = to_integer if kind == "integer" else float
            x, y = convert(left[1]), convert(right[1])
            return (x > y) - (x < y)
    left_text, right_text = a.lower(), b.lower()
    return (left_text > right_text) - (left_text < right_text)


# --- dates ------------------------------------------------------------------------------------------------------------


def _date_expression(condition: _Element, context: Context) -> bool:
    operation = condition.get("operation", "in_range").lower()
    now = context.now
    if operation == "date_spec":
        spec = condition.find("date_spec")
        return spec is not None and matches_spec(spec, now)
    start = parse_date(condition.get("start"), now)
    end = parse_date(condition.get("end"), now)
    if operation == "gt":
        if start is None or now > start:
            return start is not None
        context.changes.append(start + 1)
        return False
    if operation == "lt":
        if end is None or now >= end:
            return False
        context.changes.append(end)
        return True
    return operation == "in_range" and _in_range(condition, start, end, context)


def _in_range(condition: _Element, start: int | None, end: int | None, context: Context) -> bool:
    for name, parsed in (("start", start), ("end", end)):
        if condition.get(name) is not None and parsed is None:
            return False
    if end is None and start is not None:
        duration = condition.find("duration")
        if duration is not None:
            end = add_duration(start, duration)
            if end is None:
                return False
    if start is None and end is None:
        return False
    if start is not None and context.now < start:
        context.changes.append(start)
        return False
    if end is None:
        return True
    if context.now > end:
        return False
    context.changes.append(end + 1)
    return True
