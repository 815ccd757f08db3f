"""Sets of name-value pairs: which apply, in which order of precedence.

Theory of operation. `read_sets` turns the `instance_attributes` (or `meta_attributes`, `utilization`, `cluster_property_set`) children of an element into
`NvSet`s in order of precedence; `apply_sets` fills a table from them: the first setter of a name wins, and names already in
the table are never overwritten, so layers are applied from the most specific to the most general. Reading happens once for an element,
applying once for every context (node, operation) in which the sets' rules may come out differently.

What an `id-ref` may refer to depends on where it stands: inside a resource only within that resource, elsewhere in the whole CIB. So the caller
passes the resolver.

Sources: scheduler specification, part 1, sections 2.2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from crm.policy.rules import Context, passes
from crm.policy.values import parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element

Resolver: TypeAlias = "Callable[[str, str], _Element | None]"
"""(tag, id) -> the one element of that tag and id, or None when there is none or more than one."""


@dataclass(slots=True, frozen=True, eq=False)
class NvSet:
    """One set as it applies here. `rule` None: always."""

    id: str
    rule: _Element | None
    pairs: tuple[tuple[str, str], ...]
    resolve: Resolver


def within(element: _Element) -> Resolver:
    """Resolve references inside one element only."""

    def resolve(tag: str, wanted: str) -> _Element | None:
        found = [child for child in element.iter(tag) if child.get("id") == wanted]
        return found[0] if len(found) == 1 else None

    return resolve


def read_sets(
    parent: _Element, tag: str, resolve: Resolver, whole_cib: Resolver | None = None, first: str | None = None
) -> list[NvSet]:
    """The sets below `parent`, highest precedence first: the designated one, then by score, then the later in the document."""
    found: list[tuple[int, NvSet]] = []
    for child in parent.iterchildren(tag):
        element: _Element | None = child
        reference = child.get("id-ref")
        if reference is not None:
            element = resolve(tag, reference)
        if element is None:
            continue
        name = element.get("id", "")
        score = parse_score(element.get("score")) or 0
        rule = element.find("rule")
        found.append((score, NvSet(name, rule, tuple(_pairs(element, whole_cib or resolve)), resolve)))
    if len(found) > 1:
        found.reverse()
        found.sort(key=lambda item: (not (first is not None and item[1].id == first), -item[0]))
    return [item[1] for item in found]


def _pairs(element: _Element, whole_cib: Resolver) -> Iterable[tuple[str, str]]:
    nested = element.find("attributes")
    for pair in (element if nested is None else nested).iterchildren("nvpair"):
        name, value = pair.get("name"), pair.get("value")
        reference = pair.get("id-ref")
        if reference is not None:
            target = whole_cib("nvpair", reference)
            if target is None:
                continue
            name, value = name or target.get("name"), target.get("value")
        if name and value is not None:
            yield name, value


def apply_sets(sets: Iterable[NvSet], context: Context, table: dict[str, str]) -> None:
    """Add what applies to `table`; the value `#default` removes a name that is set already."""
    for each in sets:
        if each.rule is not None:
            context.resolve = each.resolve
            if not passes(each.rule, context):
                continue
        for name, value in each.pairs:
            if value[:1] == "#" and value.lower() == "#default":
                table.pop(name, None)
            elif name not in table:
                table[name] = value


def conditional(sets: Iterable[NvSet]) -> bool:
    """May these sets come out differently in different contexts?"""
    return any(each.rule is not None for each in sets)
