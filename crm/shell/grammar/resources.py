"""Resources in both directions: primitive, rsc_template, group, clone, ms, bundle.

A group, clone or bundle names its members; the elements themselves are put in place when the statement is applied to a document
(`crm.shell.configuration`), so each reader returns the element without them and their ids.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from crm.shell.grammar import words
from crm.shell.grammar.attributes import (
    SECTION_TAGS,
    Naming,
    read_operation,
    read_set,
    set_parts,
    show_sections,
)
from crm.shell.grammar.cursor import Cursor
from crm.shell.grammar.inexpressible import Inexpressible, children, items, require
from crm.shell.grammar.lexer import Word

RESOURCE_TAGS: Final = ("primitive", "group", "clone", "master", "bundle")
SETS: Final = frozenset(SECTION_TAGS.values())
STANDARDS: Final = ("ocf", "lsb", "systemd", "service", "stonith", "heartbeat", "upstart", "nagios")
_DEFAULT_PROVIDER: Final = "heartbeat"
_PRIMITIVE_STOP: Final = frozenset({*SECTION_TAGS, "op", "operations"})
_CONTAINERS: Final = ("docker", "podman", "rkt")
_BUNDLE_STOP: Final = frozenset({*_CONTAINERS, "network", "storage", "primitive", "meta"})
_MAPPINGS: Final = {"network": "port-mapping", "storage": "storage-mapping"}


def read_id(cursor: Cursor, what: str) -> str:
    """The id of the object; also in the form `$id=ID`."""
    word = cursor.take(f"the id of the {what}")
    text = word.value if word.name == "$id" else word.text
    if word.name != "$id" and word.equals >= 0:
        cursor.refuse(word, f"{word.text!r} is not an id; expected the id of the {what}")
    if not text or text[0] in "/({[@$" or any(character.isspace() or character in "\"'<>&:" for character in text):
        cursor.refuse(word, f"{text!r} is not an id; expected letters, digits, '.', '-' and '_', such as web-1")
    return text


# Text to elements


def read_primitive(cursor: Cursor) -> tuple[etree._Element, tuple[str, ...]]:
    return _read_primitive(cursor, "primitive"), ()


def read_template(cursor: Cursor) -> tuple[etree._Element, tuple[str, ...]]:
    return _read_primitive(cursor, "template"), ()


def _read_primitive(cursor: Cursor, tag: str) -> etree._Element:
    element = etree.Element(tag, id=read_id(cursor, tag))
    kind = cursor.take("an agent, such as ocf:heartbeat:IPaddr2" + (", or @TEMPLATE" if tag == "primitive" else ""))
    if kind.text.startswith("@") and tag == "primitive":
        element.set("template", kind.text[1:])
    else:
        _read_agent(cursor, kind, element)
    _read_description(cursor, element)
    _read_sections(cursor, element)
    return element


def _read_agent(cursor: Cursor, word: Word, element: etree._Element) -> None:
    parts = word.text.split(":")
    provider = ""
    if word.equals >= 0 or not all(parts) or len(parts) > 3:
        cursor.refuse(
            word, f"{word.text!r} is not an agent; expected CLASS:PROVIDER:TYPE, such as ocf:heartbeat:IPaddr2"
        )
    if len(parts) == 1:
        standard, provider = "ocf", _DEFAULT_PROVIDER
    elif len(parts) == 3:
        standard, provider = parts[:2]
    elif parts[0] in STANDARDS:
        standard = parts[0]
        provider = _DEFAULT_PROVIDER if standard == "ocf" else ""
    else:
        standard, provider = "ocf", parts[0]
    if standard not in STANDARDS:
        cursor.report(word, f"{standard!r} is not a class of agents; expected one of {', '.join(STANDARDS)}")
    element.set("class", standard)
    if provider:
        element.set("provider", provider)
    element.set("type", parts[-1])


def _read_description(cursor: Cursor, element: etree._Element) -> None:
    word = cursor.peek()
    if word is not None and word.name == "description" and word.equals > 0:
        cursor.advance()
        element.set("description", word.value)


def _read_sections(cursor: Cursor, element: etree._Element) -> None:
    operations: etree._Element | None = None
    while (word := cursor.peek()) is not None:
        if word.text == "operations":
            cursor.advance()
            operations = etree.SubElement(element, "operations") if operations is None else operations
            _read_operations_id(cursor, operations)
        elif word.text == "op":
            cursor.advance()
            operations = etree.SubElement(element, "operations") if operations is None else operations
            operations.append(read_operation(cursor, _PRIMITIVE_STOP))
        elif word.text in SECTION_TAGS:
            cursor.advance()
            element.append(read_set(cursor, SECTION_TAGS[word.text], _PRIMITIVE_STOP))
        elif word.equals > 0:
            # Parameters may follow the agent without the word `params`.
            element.append(read_set(cursor, SECTION_TAGS["params"], _PRIMITIVE_STOP))
        else:
            cursor.refuse(
                word, f"{word.text!r} is not known here; expected params, meta, utilization, operations or op"
            )


def _read_operations_id(cursor: Cursor, operations: etree._Element) -> None:
    while (word := cursor.peek()) is not None and word.name in ("$id", "$id-ref"):
        operations.set(word.name[1:], word.value)
        cursor.advance()


def read_group(cursor: Cursor) -> tuple[etree._Element, tuple[str, ...]]:
    element = etree.Element("group", id=read_id(cursor, "group"))
    members = _read_members(cursor)
    if not members:
        cursor.refuse(cursor.peek() or cursor.statement.end, "the group has no members; expected the ids of primitives")
    _read_collective(cursor, element)
    return element, members


def _read_members(cursor: Cursor) -> tuple[str, ...]:
    members: list[str] = []
    while (word := cursor.peek()) is not None and word.equals < 0 and word.text not in SECTION_TAGS:
        if word.text in members:
            cursor.report(word, f"{word.text!r} is named twice")
        members.append(word.text)
        cursor.advance()
    return tuple(members)


def read_clone(cursor: Cursor) -> tuple[etree._Element, tuple[str, ...]]:
    return _read_clone(cursor, "clone")


def read_ms(cursor: Cursor) -> tuple[etree._Element, tuple[str, ...]]:
    """`ms`, the old word for a promotable clone. Kept as such; what it becomes depends on the document."""
    return _read_clone(cursor, "master")


def _read_clone(cursor: Cursor, tag: str) -> tuple[etree._Element, tuple[str, ...]]:
    element = etree.Element(tag, id=read_id(cursor, "clone"))
    member = cursor.take("the id of the primitive or group to clone")
    if member.equals >= 0 or member.text in SECTION_TAGS:
        cursor.refuse(member, f"{member.text!r} is not an id; expected the id of the primitive or group to clone")
    _read_collective(cursor, element)
    return element, (member.text,)


def _read_collective(cursor: Cursor, element: etree._Element) -> None:
    _read_description(cursor, element)
    while (word := cursor.peek()) is not None:
        if word.text in SECTION_TAGS:
            cursor.advance()
            element.append(read_set(cursor, SECTION_TAGS[word.text], SECTION_TAGS))
        elif word.equals > 0:
            element.append(read_set(cursor, SECTION_TAGS["meta"], SECTION_TAGS))
        else:
            cursor.refuse(word, f"{word.text!r} is not known here; expected meta or params")


def read_bundle(cursor: Cursor) -> tuple[etree._Element, tuple[str, ...]]:
    element = etree.Element("bundle", id=read_id(cursor, "bundle"))
    _read_description(cursor, element)
    members: list[str] = []
    while (word := cursor.peek()) is not None:
        cursor.advance()
        if word.text == "primitive":
            members.append(cursor.take("the id of the primitive inside the bundle").text)
        elif word.text == "meta":
            # First, as the schema wants it.
            element.insert(0, read_set(cursor, SECTION_TAGS["meta"], _BUNDLE_STOP))
        elif word.text in _BUNDLE_STOP:
            element.append(_read_bundle_part(cursor, word.text))
        else:
            cursor.refuse(word, f"{word.text!r} is not known in a bundle; expected {', '.join(sorted(_BUNDLE_STOP))}")
    if len(members) > 1:
        cursor.report(cursor.statement.words[0], "a bundle holds one primitive at most")
    if not any(child.tag in _CONTAINERS for child in element):
        cursor.report(cursor.statement.end, f"the bundle has no container; expected one of {', '.join(_CONTAINERS)}")
    return element, tuple(members[:1])


def _read_bundle_part(cursor: Cursor, tag: str) -> etree._Element:
    part = etree.Element(tag)
    target = part
    while (word := cursor.peek()) is not None and (word.quoted or word.text not in _BUNDLE_STOP):
        cursor.advance()
        if word.text == _MAPPINGS.get(tag):
            target = etree.SubElement(part, word.text)
        elif word.equals > 0 and words.is_id(word.name):
            target.set(word.name, word.value)
        else:
            cursor.report(word, f"{word.text!r} is not an attribute of {tag}; expected name=value")
    return part


# Elements to text


def show(element: etree._Element, naming: Naming) -> list[str]:
    """The statement's parts: the head, then one for each section."""
    match element.tag:
        case "primitive" | "template":
            return _show_primitive(element, naming)
        case "group" | "clone" | "master":
            return _show_collective(element, naming)
        case "bundle":
            return _show_bundle(element, naming)
    raise Inexpressible(f"<{element.tag}>")


def show_agent(element: etree._Element) -> str:
    """`ocf:pacemaker:Dummy`; the class and provider of most agents, ocf:heartbeat, are left out."""
    standard, provider, kind = (element.get(key, "") for key in ("class", "provider", "type"))
    if (
        not standard
        or not kind
        or any(character in part for part in (standard, provider, kind) for character in ":= \"'")
    ):
        raise Inexpressible(f"agent of {element.get('id')}")
    if standard == "ocf" and provider == _DEFAULT_PROVIDER:
        return kind
    return ":".join(filter(None, (standard, provider, kind)))


def _show_primitive(element: etree._Element, naming: Naming) -> list[str]:
    identity = element.get("id", "")
    if element.tag == "primitive" and element.get("template") is not None:
        require(element, {"id", "template", "description"})
        agent = f"@{element.get('template')}"
    else:
        require(element, {"id", "class", "provider", "type", "description"})
        agent = show_agent(element)
    keyword = "primitive" if element.tag == "primitive" else "rsc_template"
    children(element, *SETS, "operations", comments=True)
    if len(element.findall("operations")) > 1:
        raise Inexpressible("several <operations>")
    return [
        f"{keyword} {identity} {agent}",
        *_description(element),
        *show_sections(element, identity, naming, (*SETS, "operations")),
    ]


def _description(element: etree._Element) -> list[str]:
    description = element.get("description")
    return [words.attribute("description", description)] if description is not None else []


def _show_collective(element: etree._Element, naming: Naming) -> list[str]:
    require(element, {"id", "description"})
    identity = element.get("id", "")
    members = [
        child.get("id", "")
        for child in children(element, *RESOURCE_TAGS, *SETS, comments=True)
        if child.tag in RESOURCE_TAGS
    ]
    if not members:
        raise Inexpressible(f"<{element.tag}> without members")
    keyword = "ms" if element.tag == "master" else str(element.tag)
    return [
        " ".join((keyword, identity, *members)),
        *_description(element),
        *show_sections(element, identity, naming, SETS),
    ]


def _show_bundle(element: etree._Element, naming: Naming) -> list[str]:
    require(element, {"id", "description"})
    identity = element.get("id", "")
    parts = [f"bundle {identity}", *_description(element)]
    last: list[str] = []
    for child in children(element, *_CONTAINERS, "network", "storage", "primitive", "meta_attributes", comments=True):
        if child.tag == "primitive":
            parts.append(f"primitive {child.get('id')}")
        elif child.tag == "meta_attributes":
            last.append(" ".join(["meta", *set_parts(child, identity, naming)]))
        else:
            parts.append(_show_bundle_part(child))
    return parts + last


def _show_bundle_part(part: etree._Element) -> str:
    result = [str(part.tag), *(words.attribute(key, value) for key, value in items(part))]
    known = _MAPPINGS.get(str(part.tag))
    for mapping in children(part, known) if known else children(part):
        if known is None or len(mapping):
            raise Inexpressible(f"<{mapping.tag}> in <{part.tag}>")
        result.append(str(mapping.tag))
        result.extend(words.attribute(key, value) for key, value in items(mapping))
    return " ".join(result)
