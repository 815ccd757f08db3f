"""Rules in both directions: `rule -inf: not_defined pingd or pingd lte 0`.

    rule      [$id=ID | $id-ref=ID] [$role=ROLE] [SCORE:|ATTRIBUTE:] term {and term | or term}
    term      attribute [type:]operation value | defined attribute | not_defined attribute
              date gt START | date lt END | date in start=S end=E | date in start=S DURATION... | date spec PART...
              resource CLASS:PROVIDER:TYPE | op NAME[:INTERVAL] | ( term {and term | or term} )

A rule joins its terms by `and` or by `or`, not by both; parentheses make a nested rule. A rule without score has the score INFINITY, which
is left out when it is printed.
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from crm.shell.grammar import words
from crm.shell.grammar.cursor import Cursor
from crm.shell.grammar.inexpressible import Inexpressible, children, items, require
from crm.shell.grammar.lexer import Word

UNARY: Final = ("defined", "not_defined")
BINARY: Final = ("lt", "gt", "lte", "gte", "eq", "ne")
TYPES: Final = ("string", "integer", "number", "version")
PARTS: Final = frozenset(
    {
        "seconds", "minutes", "hours", "days", "monthdays", "weekdays", "yeardays", "months", "weeks", "years",
        "weekyears", "moon",
    }
)  # fmt: skip
"""Names of a date specification and of a duration."""
DATE_WORDS: Final = PARTS | {"start", "end"}
_NUMERIC = re.compile(r"\s*[+-]?(\d|\.\d|inf|nan)", re.IGNORECASE)
_JOINS: Final = ("and", "or")
_RANGE: Final = ("in", "in_range")
_SPEC: Final = ("spec", "date_spec")
_ROLES: Final = {"master": "Promoted", "slave": "Unpromoted"}


def read_role(text: str) -> str:
    """A role in its current spelling."""
    return _ROLES.get(text.lower(), text.capitalize())


# Text to elements


def read(cursor: Cursor) -> etree._Element:
    """One rule, the word `rule` having been read."""
    rule = etree.Element("rule")
    while (word := cursor.peek()) is not None and word.text.startswith("$") and word.equals > 0:
        cursor.advance()
        key = word.name[1:]
        if key in ("id", "id-ref"):
            rule.set(key, word.value)
        elif key == "role":
            rule.set("role", read_role(word.value))
        else:
            cursor.report(word, f"{word.name!r} is not known in a rule; expected $id, $id-ref or $role")
    if rule.get("id-ref") is not None:
        return rule
    _read_score(cursor, rule)
    _read_terms(cursor, rule)
    return rule


def _read_score(cursor: Cursor, rule: etree._Element) -> None:
    word = cursor.peek()
    if word is None or not word.text.endswith(":") or word.text in ("::",):
        rule.set("score", words.INFINITY)
        return
    cursor.advance()
    score = words.read_score(word.text[:-1])
    if score is not None:
        rule.set("score", score)
    elif len(word.text) > 1:
        rule.set("score-attribute", word.text[:-1])
    else:
        cursor.refuse(word, "there is no score before ':'; expected a number, inf, or the name of an attribute")


def _read_terms(cursor: Cursor, rule: etree._Element) -> None:
    join = ""
    while True:
        rule.append(_read_term(cursor))
        word = cursor.peek()
        if word is None or word.quoted or word.text not in _JOINS:
            break
        if join and word.text != join:
            cursor.refuse(
                word, f"{word.text!r} after {join!r} in one rule; expected {join!r}, or parentheses around one part"
            )
        join = word.text
        cursor.advance()
    if join:
        rule.set("boolean-op", join)


def _read_term(cursor: Cursor) -> etree._Element:
    word = cursor.take("an expression, such as #uname eq NODE")
    if not word.quoted:
        if word.text == "(":
            nested = etree.Element("rule")
            _read_terms(cursor, nested)
            close = cursor.take("')'")
            if close.text != ")":
                cursor.refuse(close, f"{close.text!r} instead of ')'; expected 'and', 'or' or ')'")
            return nested
        if word.text in UNARY:
            attribute = cursor.take("the name of a node attribute")
            return etree.Element("expression", attribute=attribute.text, operation=word.text)
        if word.text == "date":
            return _read_date(cursor)
        if word.text in ("resource", "op") and not _is_binary(cursor.peek()):
            return _read_subject(cursor, word.text)
    return _read_comparison(cursor, word)


def _is_binary(word: Word | None) -> bool:
    return word is not None and word.text.rpartition(":")[2] in BINARY


def _read_comparison(cursor: Cursor, attribute: Word) -> etree._Element:
    operator = cursor.take(f"a comparison after {attribute.text!r}: {', '.join(BINARY)}")
    kind, _, operation = operator.text.rpartition(":")
    if operation not in BINARY:
        cursor.refuse(operator, f"{operator.text!r} is not a comparison; expected one of {', '.join(BINARY)}")
    if kind and kind not in TYPES:
        cursor.report(operator, f"{kind!r} is not a type; expected one of {', '.join(TYPES)}")
    value = cursor.take("a value to compare with")
    expression = etree.Element("expression", attribute=attribute.text, operation=operation, value=value.text)
    if kind:
        expression.set("type", kind)
    return expression


def _read_date(cursor: Cursor) -> etree._Element:
    operator = cursor.take("lt, gt, in or spec")
    date = etree.Element("date_expression")
    if operator.text in ("lt", "gt"):
        date.set("operation", operator.text)
        date.set("end" if operator.text == "lt" else "start", cursor.take("a date, such as 2030-01-31").text)
    elif operator.text in _RANGE:
        date.set("operation", "in_range")
        duration = etree.Element("duration")
        for word in _date_words(cursor, operator):
            (date if word.name in ("start", "end") else duration).set(word.name, word.value)
        if len(duration.attrib):
            date.append(duration)
    elif operator.text in _SPEC:
        date.set("operation", "date_spec")
        spec = etree.SubElement(date, "date_spec")
        for word in _date_words(cursor, operator):
            spec.set(word.name, word.value)
    else:
        cursor.refuse(operator, f"{operator.text!r} does not follow 'date'; expected lt, gt, in or spec")
    return date


def _date_words(cursor: Cursor, operator: Word) -> list[Word]:
    found: list[Word] = []
    while (word := cursor.peek()) is not None and word.equals > 0 and word.name in DATE_WORDS:
        found.append(word)
        cursor.advance()
    if not found:
        expected = "start=DATE and end=DATE" if operator.text in _RANGE else "parts of a date, such as hours=9-16"
        cursor.refuse(
            cursor.peek() or cursor.statement.end, f"nothing follows 'date {operator.text}'; expected {expected}"
        )
    return found


def _read_subject(cursor: Cursor, kind: str) -> etree._Element:
    if kind == "op":
        name, _, interval = cursor.take("the name of an operation").text.partition(":")
        element = etree.Element("op_expression", name=name)
        if interval:
            element.set("interval", interval)
        return element
    word = cursor.take("a kind of resource, such as ocf:heartbeat:IPaddr2 or ocf::")
    parts = word.text.split(":")
    if len(parts) == 2:
        parts.insert(1, "")
    if len(parts) != 3 or not any(parts):
        cursor.refuse(
            word, f"{word.text!r} is not a kind of resource; expected CLASS:PROVIDER:TYPE, such as ocf::IPaddr2"
        )
    element = etree.Element("rsc_expression")
    for key, value in zip(("class", "provider", "type"), parts, strict=True):
        if value:
            element.set(key, value)
    return element


# Elements to text


def show(rule: etree._Element) -> str:
    """What follows the word `rule`."""
    require(rule, {"id", "id-ref", "role", "score", "score-attribute", "boolean-op"})
    reference = rule.get("id-ref")
    if reference is not None:
        require(rule, {"id-ref"})
        return words.attribute("$id-ref", reference)
    parts: list[str] = []
    if (role := rule.get("role")) is not None:
        parts.append(words.attribute("$role", read_role(role)))
    score, attribute = rule.get("score"), rule.get("score-attribute")
    if attribute is not None:
        if score is not None or words.read_score(attribute) is not None or _awkward(attribute):
            raise Inexpressible("score-attribute")
        parts.append(f"{attribute}:")
    elif score != words.INFINITY:
        # A missing score means 0 in some contexts and nothing in others; only an explicit one has words.
        if score is None or words.read_score(score) is None:
            raise Inexpressible(f"score {score!r}")
        parts.append(f"{words.show_score(score)}:")
    parts.append(_show_terms(rule))
    return " ".join(parts)


def _show_terms(rule: etree._Element) -> str:
    terms = [_show_term(child) for child in children(rule)]
    if not terms:
        raise Inexpressible("rule without expression")
    return f" {rule.get('boolean-op', 'and')} ".join(terms)


def _show_term(element: etree._Element) -> str:
    match element.tag:
        case "expression":
            return _show_comparison(element)
        case "date_expression":
            return _show_date(element)
        case "op_expression":
            require(element, {"id", "name", "interval"})
            return f"op {':'.join(filter(None, (element.get('name'), element.get('interval'))))}"
        case "rsc_expression":
            require(element, {"id", "class", "provider", "type"})
            return f"resource {':'.join(element.get(key, '') for key in ('class', 'provider', 'type'))}"
        case "rule":
            require(element, {"id", "boolean-op"})
            return f"( {_show_terms(element)} )"
        case tag:
            raise Inexpressible(f"<{tag}> in a rule")


def _show_comparison(element: etree._Element) -> str:
    require(element, {"id", "attribute", "operation", "value", "type"})
    attribute, operation, value = (element.get(key, "") for key in ("attribute", "operation", "value"))
    if _awkward(attribute) or attribute in (*UNARY, "date", "(") or len(children(element)):
        raise Inexpressible(f"expression on {attribute!r}")
    if operation in UNARY and not value and element.get("type") is None:
        return f"{operation} {attribute}"
    if operation not in BINARY or element.get("value") is None:
        raise Inexpressible(f"operation {operation!r}")
    kind = element.get("type")
    if kind is not None and is_default_type(kind, operation, value):
        kind = None
    return f"{attribute} {f'{kind}:' if kind else ''}{operation} {_value(value)}"


def is_default_type(kind: str, operation: str, value: str) -> bool:
    """Whether a comparison means the same without its type: texts are compared as texts unless an inequality meets a number."""
    return kind == "string" and (operation in ("eq", "ne") or not _NUMERIC.match(value))


def _show_date(element: etree._Element) -> str:
    require(element, {"id", "operation", "start", "end"})
    operation, start, end = element.get("operation"), element.get("start"), element.get("end")
    below = children(element, "duration", "date_spec")
    if operation == "lt" and end is not None and start is None and not below:
        return f"date lt {_value(end)}"
    if operation == "gt" and start is not None and end is None and not below:
        return f"date gt {_value(start)}"
    parts = [words.attribute(key, value) for key, value in (("start", start), ("end", end)) if value is not None]
    for child in below:
        require(child, PARTS | {"id"})
        parts.extend(words.attribute(key, value) for key, value in items(child) if key != "id")
    tags = [str(child.tag) for child in below]
    if operation == "in_range" and parts and tags in ([], ["duration"]):
        return f"date in {' '.join(parts)}"
    if (
        operation == "date_spec"
        and tags == ["date_spec"]
        and len(below[0].attrib) > 1
        and start is None
        and end is None
    ):
        return f"date spec {' '.join(parts)}"
    raise Inexpressible(f"date operation {operation!r}")


def _value(text: str) -> str:
    return words.quote(text) if not text or _awkward(text) or text in _JOINS else text


def _awkward(text: str) -> bool:
    return not text or any(character.isspace() or character in "\"'\\=" for character in text)
