"""Constraints in both directions: location, colocation, order, rsc_ticket.

location    ID RESOURCE|/PATTERN/|{ RESOURCE... } [role=R] [resource-discovery=D] SCORE: NODE
location    ID ... rule ... [rule ...]
colocation  ID SCORE: DEPENDENT[:ROLE] PRIMARY[:ROLE] [node-attribute=A] [influence=I], or sets
order       ID [KIND:] FIRST[:ACTION] THEN[:ACTION] [symmetrical=B] [require-all=B], or sets
rsc_ticket  ID TICKET: RESOURCE[:ROLE]... [loss-policy=P]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lxml import etree

from crm.shell.grammar import rules, sets, words
from crm.shell.grammar.cursor import Cursor
from crm.shell.grammar.inexpressible import Inexpressible, children, require
from crm.shell.grammar.lexer import Word
from crm.shell.grammar.resources import read_id
from crm.shell.grammar.rules import read_role

CONSTRAINT_TAGS: Final = ("rsc_location", "rsc_colocation", "rsc_order", "rsc_ticket")
KINDS: Final = ("Mandatory", "Optional", "Serialize")
ACTIONS: Final = ("start", "stop", "promote", "demote")
ROLES: Final = ("Started", "Stopped", "Promoted", "Unpromoted")
_DISCOVERY: Final = ("always", "never", "exclusive")

Members = tuple[etree._Element, tuple[str, ...]]


def _attributes(cursor: Cursor, element: etree._Element, known: dict[str, tuple[str, ...]]) -> None:
    """The `name=value` words here. `known` gives the values that a name may have, none for any."""
    while (word := cursor.peek()) is not None and word.equals > 0:
        cursor.advance()
        if word.name not in known:
            cursor.report(word, f"{word.name!r} is not known here; expected {', '.join(known)}")
            continue
        value = read_role(word.value) if word.name == "role" else word.value
        allowed = known[word.name]
        if allowed and value not in allowed:
            cursor.report(word, f"{value!r} is no value of {word.name}; expected {', '.join(allowed)}")
        element.set(word.name, value)


_BOOLEANS: Final = ("true", "false", "yes", "no", "on", "off", "1", "0", "y", "n")


# Location


def read_location(cursor: Cursor) -> Members:
    element = etree.Element("rsc_location", id=read_id(cursor, "location constraint"))
    word = cursor.peek()
    if word is not None and not word.quoted and word.text.startswith("{"):
        sets.read(cursor, element, "role")
    else:
        target = cursor.take("a resource, /PATTERN/ or { RESOURCE... }")
        if target.equals >= 0:
            cursor.refuse(
                target, f"{target.text!r} is not a resource; expected a resource, /PATTERN/ or {{ RESOURCE... }}"
            )
        if len(target.text) > 2 and target.text.startswith("/") and target.text.endswith("/"):
            element.set("rsc-pattern", target.text[1:-1])
        else:
            element.set("rsc", target.text)
    known = {"role": ROLES, "resource-discovery": _DISCOVERY}
    _attributes(cursor, element, known)
    if cursor.next_is("rule"):
        while cursor.take_if("rule"):
            element.append(rules.read(cursor))
    else:
        element.set("score", _read_score(cursor, "SCORE: NODE, or rule"))
        element.set("node", cursor.take("a node").text)
    _attributes(cursor, element, known)
    return element, ()


def _read_score(cursor: Cursor, expected: str) -> str:
    word = cursor.take(expected)
    score = words.read_score(word.text.removesuffix(":"))
    if score is None or not word.text.endswith(":"):
        cursor.refuse(word, f"{word.text!r} is not a score; expected {expected}, the score being a number, inf or -inf")
    return score


def _show_location(element: etree._Element) -> list[str]:
    require(element, {"id", "rsc", "rsc-pattern", "node", "score", "role", "resource-discovery"})
    below = children(element, "rule", "resource_set", comments=True)
    targets = [
        element.get("rsc") is not None,
        element.get("rsc-pattern") is not None,
        any(child.tag == "resource_set" for child in below),
    ]
    if sum(targets) != 1:
        raise Inexpressible("location without one target")
    parts = ["location", element.get("id", "")]
    if targets[0]:
        parts.append(_reference(element.get("rsc", "")))
    elif targets[1]:
        parts.append(
            words.quote(f"/{element.get('rsc-pattern')}/")
            if _spaced(element.get("rsc-pattern", ""))
            else f"/{element.get('rsc-pattern')}/"
        )
    else:
        parts.append(sets.show([child for child in below if child.tag == "resource_set"], "role", braces=True))
    if (role := element.get("role")) is not None:
        parts.append(words.attribute("role", read_role(role)))
    if (discovery := element.get("resource-discovery")) is not None:
        parts.append(words.attribute("resource-discovery", discovery))
    written = [f"rule {rules.show(child)}" for child in below if child.tag == "rule"]
    node, score = element.get("node"), element.get("score")
    if written and node is None and score is None:
        return [" ".join(parts), *written]
    if written or node is None or score is None or words.read_score(score) is None or _spaced(node):
        raise Inexpressible("location with neither node and score nor rules")
    return [" ".join([*parts, f"{words.show_score(score)}:", node])]


def _spaced(text: str) -> bool:
    return not text or any(character.isspace() or character in "\"'\\" for character in text)


def _reference(identity: str) -> str:
    if _spaced(identity) or any(character in identity for character in "=(){}[]") or identity.startswith("/"):
        raise Inexpressible(f"reference {identity!r}")
    return identity


# Colocation and order


def _pair_or_sets(
    cursor: Cursor, element: etree._Element, suffix: str, pair: tuple[tuple[str, str], tuple[str, str]]
) -> None:
    """Two plain words make a pair of attributes, anything else resource sets."""
    found = sets.collect(cursor, suffix)
    if len(found) == 2 and all(item.bracket == "" for item in found):
        for item, (name, suffix_name) in zip(found, pair, strict=True):
            element.set(name, item.members[0].resource)
            if item.members[0].suffix:
                element.set(suffix_name, item.members[0].suffix)
        return
    if not found or (len(found) == 1 and not found[0].bracket):
        cursor.refuse(
            cursor.peek() or cursor.statement.end, "too few resources; expected at least two, or sets such as ( A B )"
        )
    sets.build(element, found, suffix)


_COLOCATED: Final = (("rsc", "rsc-role"), ("with-rsc", "with-rsc-role"))
_ORDERED: Final = (("first", "first-action"), ("then", "then-action"))


def read_colocation(cursor: Cursor) -> Members:
    element = etree.Element("rsc_colocation", id=read_id(cursor, "colocation constraint"))
    element.set("score", _read_score(cursor, "a score such as inf:"))
    _pair_or_sets(cursor, element, "role", _COLOCATED)
    _attributes(cursor, element, {"node-attribute": (), "influence": _BOOLEANS})
    return element, ()


def read_order(cursor: Cursor) -> Members:
    element = etree.Element("rsc_order", id=read_id(cursor, "order constraint"))
    word = cursor.peek()
    if word is not None and word.text.endswith(":") and len(word.text) > 1:
        cursor.advance()
        _read_kind(cursor, word, element)
    _pair_or_sets(cursor, element, "action", _ORDERED)
    _attributes(cursor, element, {"symmetrical": _BOOLEANS, "require-all": _BOOLEANS})
    return element, ()


def _read_kind(cursor: Cursor, word: Word, element: etree._Element) -> None:
    text = word.text[:-1]
    score = words.read_score(text)
    if score is not None:
        element.set("score", score)
    elif text.capitalize() in KINDS:
        element.set("kind", text.capitalize())
    else:
        cursor.report(word, f"{text!r} is not a kind of order; expected {', '.join(KINDS)} or a score")


def _show_pair_or_sets(
    element: etree._Element, suffix: str, pair: tuple[tuple[str, str], tuple[str, str]]
) -> list[str]:
    below = children(element, "resource_set", comments=True)
    if below:
        if any(element.get(key) is not None for names in pair for key in names):
            raise Inexpressible("sets and a pair together")
        return [sets.show(below, suffix)]
    parts: list[str] = []
    for name, suffix_name in pair:
        identity, given = element.get(name), element.get(suffix_name)
        if identity is None:
            raise Inexpressible(f"<{element.tag}> without {name}")
        parts.append(sets.member(_reference(identity), given, suffix))
    return parts


def _show_extra(element: etree._Element, *names: str) -> list[str]:
    return [words.attribute(name, value) for name in names if (value := element.get(name)) is not None]


def _show_colocation(element: etree._Element) -> list[str]:
    require(element, {"id", "score", "rsc", "rsc-role", "with-rsc", "with-rsc-role", "node-attribute", "influence"})
    score = element.get("score")
    if score is None or words.read_score(score) is None:
        raise Inexpressible("colocation without score")
    head = ["colocation", element.get("id", ""), f"{words.show_score(score)}:"]
    return [
        " ".join(
            [
                *head,
                *_show_pair_or_sets(element, "role", _COLOCATED),
                *_show_extra(element, "node-attribute", "influence"),
            ]
        )
    ]


def _show_order(element: etree._Element) -> list[str]:
    require(
        element, {"id", "score", "kind", "first", "first-action", "then", "then-action", "symmetrical", "require-all"}
    )
    score, kind = element.get("score"), element.get("kind")
    parts = ["order", element.get("id", "")]
    if (kind is not None and score is not None) or (score is not None and words.read_score(score) is None):
        raise Inexpressible("order with kind and score")
    if kind is not None:
        if kind not in KINDS:
            raise Inexpressible(f"kind {kind!r}")
        parts.append(f"{kind}:")
    elif score is not None:
        parts.append(f"{words.show_score(score)}:")
    return [
        " ".join(
            [
                *parts,
                *_show_pair_or_sets(element, "action", _ORDERED),
                *_show_extra(element, "symmetrical", "require-all"),
            ]
        )
    ]


# Tickets


def read_ticket(cursor: Cursor) -> Members:
    element = etree.Element("rsc_ticket", id=read_id(cursor, "ticket constraint"))
    word = cursor.take("a ticket and a colon, such as ticketA:")
    if not word.text.endswith(":") or len(word.text) < 2:
        cursor.refuse(word, f"{word.text!r} is not a ticket and a colon; expected something like ticketA:")
    element.set("ticket", word.text[:-1])
    found = sets.collect(cursor, "role")
    if not found:
        cursor.refuse(
            cursor.peek() or cursor.statement.end, "no resource follows the ticket; expected the id of a resource"
        )
    if len(found) == 1 and not found[0].bracket:
        element.set("rsc", found[0].members[0].resource)
        if found[0].members[0].suffix:
            element.set("rsc-role", found[0].members[0].suffix)
    else:
        sets.build(element, found, "role")
    _attributes(cursor, element, {"loss-policy": ("stop", "demote", "fence", "freeze")})
    return element, ()


def _show_ticket(element: etree._Element) -> list[str]:
    require(element, {"id", "ticket", "rsc", "rsc-role", "loss-policy"})
    parts = ["rsc_ticket", element.get("id", ""), f"{_reference(element.get('ticket', ''))}:"]
    below = children(element, "resource_set", comments=True)
    if below:
        if element.get("rsc") is not None:
            raise Inexpressible("sets and a resource together")
        parts.append(sets.show(below, "role", pairs=True))
    else:
        parts.append(sets.member(_reference(element.get("rsc", "")), element.get("rsc-role"), "role"))
    return [" ".join([*parts, *_show_extra(element, "loss-policy")])]


_PRINTERS: Final[dict[str, Callable[[etree._Element], list[str]]]] = {
    "rsc_location": _show_location,
    "rsc_colocation": _show_colocation,
    "rsc_order": _show_order,
    "rsc_ticket": _show_ticket,
}


def show(element: etree._Element) -> list[str]:
    """The statement's parts."""
    return _PRINTERS[str(element.tag)](element)
