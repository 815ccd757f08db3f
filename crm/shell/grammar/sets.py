"""Resource sets in both directions, for colocation, order, ticket and location constraints.

    A B C            one set, in sequence; a new one begins where the role or action changes
    ( A B )          sequential=false
    [ A B ]          sequential=false require-all=false
    { A B }          nothing implied; keeps a set apart from its neighbours
    ( A B NAME=V )   any attribute can be given in brackets

In brackets `sequential=true` and `require-all=true` are the defaults of a set and are not stored, so that `[ A B sequential=true ]` is a
set in sequence of which one resource is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from crm.shell.grammar import words
from crm.shell.grammar.cursor import Cursor
from crm.shell.grammar.inexpressible import Inexpressible, children, require
from crm.shell.grammar.lexer import Word
from crm.shell.grammar.rules import read_role

_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
_IMPLIED: Final[dict[str, dict[str, str]]] = {
    "(": {"sequential": "false"},
    "[": {"sequential": "false", "require-all": "false"},
    "{": {},
}
_KNOWN: Final = ("sequential", "require-all", "ordering", "score", "kind")


@dataclass(frozen=True, slots=True)
class Member:
    """A resource with the role or action after its colon, or "" without."""

    resource: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Bracketed:
    """One word (`bracket` empty), or the contents of one pair of brackets."""

    bracket: str
    members: tuple[Member, ...]
    attributes: dict[str, str] = field(default_factory=dict)


# Text to elements


def collect(cursor: Cursor, suffix: str) -> list[Bracketed]:
    """All words and brackets here, up to the first attribute or the end."""
    found: list[Bracketed] = []
    while (word := cursor.peek()) is not None and (word.equals < 0 or word.text[:1] in _CLOSING):
        cursor.advance()
        if word.text[:1] in _CLOSING and not word.quoted:
            found.append(_bracket(cursor, word, suffix))
        elif word.text and word.text[0] in ")]}":
            cursor.refuse(word, f"{word.text!r} closes nothing; expected a resource")
        else:
            found.append(Bracketed("", (_member(cursor, word, word.text, suffix),)))
    return found


def _bracket(cursor: Cursor, opening: Word, suffix: str) -> Bracketed:
    bracket = opening.text[0]
    closing = _CLOSING[bracket]
    attributes = dict(_IMPLIED[bracket])
    members: list[Member] = []
    word: Word = opening
    text = opening.text[1:]
    while True:
        closed = text.endswith(closing)
        text = text.removesuffix(closing)
        if text:
            _bracketed_word(cursor, word, text, suffix, attributes, members)
        if closed:
            break
        word = cursor.take(f"{closing!r}")
        text = word.text
    if not members:
        cursor.refuse(opening, f"nothing is in {bracket} {closing}; expected resources")
    return Bracketed(bracket, tuple(members), attributes)


def _bracketed_word(
    cursor: Cursor, word: Word, text: str, suffix: str, attributes: dict[str, str], members: list[Member]
) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        members.append(_member(cursor, word, text, suffix))
    elif name in _KNOWN:
        attributes[name] = value
        if value == "true" and name in ("sequential", "require-all"):
            del attributes[name]
    else:
        cursor.report(word, f"{name!r} is not an attribute of a set; expected {', '.join(_KNOWN)}")


def _member(cursor: Cursor, word: Word, text: str, suffix: str) -> Member:
    resource, colon, given = text.partition(":")
    if not resource or (colon and not given):
        cursor.refuse(word, f"{text!r} is not a resource; expected RESOURCE or RESOURCE:{suffix.upper()}")
    return Member(resource, read_role(given) if suffix == "role" and given else given)


def read(cursor: Cursor, element: etree._Element, suffix: str) -> None:
    """Bracketed sets up to the next word that opens none (for location constraints)."""
    found: list[Bracketed] = []
    while (word := cursor.peek()) is not None and not word.quoted and word.text[:1] in _CLOSING:
        cursor.advance()
        found.append(_bracket(cursor, word, suffix))
    build(element, found, suffix)


def build(element: etree._Element, found: list[Bracketed], suffix: str) -> None:
    """Appends a `resource_set` for each bracket and for each run of plain words with the same role or action."""
    current: etree._Element | None = None
    for item in found:
        if item.bracket:
            _build_bracket(element, item, suffix)
            current = None
            continue
        member = item.members[0]
        if current is None or current.get(suffix, "") != member.suffix:
            current = _new_set(element, suffix, member.suffix, {})
        etree.SubElement(current, "resource_ref", id=member.resource)


def _build_bracket(element: etree._Element, item: Bracketed, suffix: str) -> None:
    # A set has one role or action; where it changes inside brackets, another set with the same attributes begins.
    current: etree._Element | None = None
    for member in item.members:
        if current is None or current.get(suffix, "") != member.suffix:
            current = _new_set(element, suffix, member.suffix, item.attributes)
        etree.SubElement(current, "resource_ref", id=member.resource)


def _new_set(element: etree._Element, suffix: str, value: str, attributes: dict[str, str]) -> etree._Element:
    created = etree.SubElement(element, "resource_set", dict(attributes))
    if value:
        created.set(suffix, value)
    return created


# Elements to text


def member(resource: str, given: str | None, suffix: str) -> str:
    if given is None:
        return resource
    if not given or any(character.isspace() or character in ":=(){}[]\"'" for character in given):
        raise Inexpressible(f"{suffix} {given!r}")
    return f"{resource}:{read_role(given) if suffix == 'role' else given}"


def show(found: list[etree._Element], suffix: str, *, pairs: bool = False, braces: bool = False) -> str:
    """All sets of a constraint. `pairs`: two plain words are a set here (a ticket has no pair form). `braces`: never plain."""
    plain = [not braces and not _attributes(item) for item in found]
    for i in range(1, len(found)):
        # Plain neighbours with the same role or action would become one set.
        if plain[i] and plain[i - 1] and found[i].get(suffix) == found[i - 1].get(suffix):
            plain[i - 1] = False
    total = sum(len(item) for item in found)
    if all(plain) and total <= (1 if pairs else 2):
        # Two plain words would be read as a pair.
        plain[0] = False
    return " ".join(_show_one(item, suffix, is_plain) for item, is_plain in zip(found, plain, strict=True))


def _attributes(item: etree._Element) -> dict[str, str]:
    found = {key: item.get(key, "") for key in _KNOWN if item.get(key) is not None}
    for key in ("sequential", "require-all"):
        if found.get(key) == "true":
            del found[key]
    return found


def _show_one(item: etree._Element, suffix: str, plain: bool) -> str:
    require(item, {"id", suffix, *_KNOWN})
    members: list[str] = []
    for reference in children(item, "resource_ref"):
        require(reference, {"id"})
        identity = reference.get("id", "")
        if not identity or any(character.isspace() or character in ":=(){}[]\"'" for character in identity):
            raise Inexpressible(f"reference {identity!r}")
        members.append(member(identity, item.get(suffix), suffix))
    if not members:
        raise Inexpressible("empty set")
    if plain:
        return " ".join(members)
    attributes = _attributes(item)
    bracket = (
        "[" if attributes.get("require-all") == "false" else "(" if attributes.get("sequential") == "false" else "{"
    )
    implied = _IMPLIED[bracket]
    extra = [words.attribute(key, value) for key, value in attributes.items() if implied.get(key) != value]
    extra.extend(f"{key}=true" for key in implied if key not in attributes)
    return " ".join([bracket, *members, *extra, _CLOSING[bracket]])
