"""Attribute sets in both directions: `params ip=10.0.0.1`, `meta rule ... is-managed=false`, `operations`, `op`.

A set may begin with `$id=NAME`, `$id-ref=NAME`, a score (`10:`) and a rule; then come `name=value` pairs. `@ID` (or `@ID:name`) stands for a pair that is
defined elsewhere, and `$ID:name=value` names a pair so that others can refer to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from lxml import etree

from crm.shell.grammar import rules, words
from crm.shell.grammar.cursor import Cursor
from crm.shell.grammar.inexpressible import Inexpressible, children, items, require
from crm.shell.grammar.lexer import Word
from crm.shell.grammar.secrets import HIDDEN, is_secret

SECTION_TAGS: Final = {
    "params": "instance_attributes",
    "meta": "meta_attributes",
    "utilization": "utilization",
}
OPERATION_TAGS: Final = {"op_params": "instance_attributes", "op_meta": "meta_attributes"}
OPERATION_ATTRIBUTES: Final = frozenset(
    {
        "id", "interval", "timeout", "on-fail", "role", "requires", "enabled", "start-delay", "interval-origin",
        "record-pending", "description",
    }
)  # fmt: skip
"""Of an operation itself; any other name after `op` becomes one of its parameters."""
UNTIMED: Final = "0s"
"""Interval of an operation for which none was given."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What the printer must know beside the object: `referenced` are ids that some `id-ref` elsewhere refers to."""

    referenced: frozenset[str] = frozenset()
    hide_secrets: bool = False
    """Passwords are printed as `******`; reading that back keeps the old value."""

    def mark(self, element: etree._Element, conventional: str) -> str:
        """`$id=...` when the id is referred to and would not come out by itself."""
        identity = element.get("id")
        if identity is None or identity == conventional or identity not in self.referenced:
            return ""
        return words.attribute("$id", identity)


# Text to elements


def read_set(cursor: Cursor, tag: str, stop: Collection[str]) -> etree._Element:
    """One set, up to a word of `stop` or the end of the statement."""
    element = etree.Element(tag)
    while (word := cursor.peek()) is not None and (word.quoted or word.text not in stop):
        if not _read_item(cursor, word, element):
            break
    return element


def _read_item(cursor: Cursor, word: Word, element: etree._Element) -> bool:
    if cursor.take_if("rule"):
        element.append(rules.read(cursor))
        return True
    cursor.advance()
    if word.equals > 0:
        _read_pair(cursor, word, element)
    elif word.text.startswith("@") and len(word.text) > 1:
        identity, _, name = word.text[1:].partition(":")
        reference = etree.SubElement(element, "nvpair")
        reference.set("id-ref", identity)
        if name:
            reference.set("name", name)
    elif word.text.endswith(":") and words.read_score(word.text[:-1]) is not None and not len(element):
        element.set("score", words.read_score(word.text[:-1]) or "")
    else:
        cursor.report(word, f"{word.text!r} is not an attribute; expected name=value")
    return True


def _read_pair(cursor: Cursor, word: Word, element: etree._Element) -> None:
    if word.name in ("$id", "$id-ref"):
        element.set(word.name[1:], word.value)
        return
    name = word.name
    pair = etree.Element("nvpair")
    if name.startswith("$"):
        identity, separator, name = name[1:].partition(":")
        if not separator or not identity or not name:
            cursor.report(word, f"{word.name!r} is not known here; expected $id, $id-ref or $ID:name")
            return
        pair.set("id", identity)
    pair.set("name", name)
    pair.set("value", word.value)
    element.append(pair)


def read_operation(cursor: Cursor, stop: Collection[str]) -> etree._Element:
    """`op monitor interval=10s ...`, the word `op` having been read."""
    name = cursor.take("the name of an operation, such as monitor")
    if name.equals >= 0:
        cursor.refuse(
            name, f"{name.text!r} is not the name of an operation; expected one such as monitor, then name=value"
        )
    operation = etree.Element("op", name=name.text)
    extra = etree.Element("instance_attributes")
    while (word := cursor.peek()) is not None and (word.quoted or word.text not in stop):
        if word.text in OPERATION_TAGS and not word.quoted:
            cursor.advance()
            operation.append(read_set(cursor, OPERATION_TAGS[word.text], {*stop, *OPERATION_TAGS}))
            continue
        cursor.advance()
        key = "id" if word.name == "$id" else word.name
        if word.equals <= 0:
            cursor.report(word, f"{word.text!r} is not an attribute of the operation; expected name=value")
        elif key not in OPERATION_ATTRIBUTES:
            _read_pair(cursor, word, extra)
        elif operation.get(key) is not None:
            cursor.report(word, f"{key!r} is given twice for the operation {name.text}")
        else:
            operation.set(key, word.value)
    if operation.get("interval") is None:
        operation.set("interval", UNTIMED)
    if len(extra):
        operation.append(extra)
    return operation


# Elements to text


def show_set(keyword: str, element: etree._Element, owner: str, naming: Naming) -> str:
    """One set as one part of a statement, such as `params ip=10.0.0.1`."""
    parts = [keyword] if keyword else []
    parts.extend(set_parts(element, owner, naming))
    return " ".join(parts)


def set_parts(element: etree._Element, owner: str, naming: Naming, *, comments: bool = False) -> list[str]:
    """The words of a set. `comments`: those inside are dealt with by the caller, the set being an object of its own."""
    require(element, {"id", "id-ref", "score"})
    parts: list[str] = []
    mark = naming.mark(element, f"{owner}-{element.tag}")
    if mark:
        parts.append(mark)
    if (reference := element.get("id-ref")) is not None:
        parts.append(words.attribute("$id-ref", reference))
    if (score := element.get("score")) is not None:
        if words.read_score(score) is None:
            raise Inexpressible(f"score {score!r}")
        parts.append(f"{words.show_score(score)}:")
    for child in children(element, comments=comments):
        if child.tag == "rule":
            parts.append(f"rule {rules.show(child)}")
    for child in children(element, comments=comments):
        if child.tag == "nvpair":
            parts.append(_show_pair(child, f"{element.get('id')}-{child.get('name')}", naming))
        elif child.tag != "rule":
            raise Inexpressible(f"<{child.tag}> in <{element.tag}>")
    _check_rule(element)
    return parts


def _check_rule(element: etree._Element) -> None:
    """A date in a rule takes all `hours=...` that follow it; a pair with such a name must not follow."""
    greedy = any(date.tag == "date_expression" for date in element.iter("date_expression"))
    if not greedy:
        return
    for pair in element.iterchildren("nvpair"):
        if pair.get("name") in rules.DATE_WORDS:
            raise Inexpressible(f"{pair.get('name')} after a date")


def _show_pair(pair: etree._Element, conventional: str, naming: Naming) -> str:
    name, value, reference = pair.get("name"), pair.get("value"), pair.get("id-ref")
    if len(children(pair)):
        raise Inexpressible("nvpair with children")
    if reference is not None:
        require(pair, {"id-ref", "name"})
        return f"@{reference}:{name}" if name else f"@{reference}"
    require(pair, {"id", "name", "value"})
    if not name or value is None or name.startswith(("$", "@")) or not _is_word(name):
        raise Inexpressible(f"nvpair {name!r}")
    if naming.hide_secrets and is_secret(name):
        value = HIDDEN
    identity = pair.get("id")
    if identity in naming.referenced and identity != conventional:
        return f"${identity}:{words.attribute(name, value)}"
    return words.attribute(name, value)


def _is_word(text: str) -> bool:
    return not any(character.isspace() or character in "\"'=\\" for character in text)


def show_operation(operation: etree._Element, owner: str, naming: Naming) -> list[str]:
    """The `op` part, and one for each of its own attribute sets."""
    require(operation, {*OPERATION_ATTRIBUTES, "name"})
    name = operation.get("name", "")
    if not _is_word(name) or not name:
        raise Inexpressible("operation without a name")
    parts = [f"op {name}"]
    for key, value in items(operation):
        if key == "id":
            mark = naming.mark(operation, operation_id(owner, operation))
            if mark:
                parts.append(mark)
        elif key != "name":
            parts.append(words.attribute(key, value))
    result = [" ".join(parts)]
    keywords = {tag: keyword for keyword, tag in OPERATION_TAGS.items()}
    for child in children(operation):
        if child.tag not in keywords:
            raise Inexpressible(f"<{child.tag}> in an operation")
        result.append(show_set(keywords[child.tag], child, operation.get("id", ""), naming))
    return result


def operation_id(owner: str, operation: etree._Element) -> str:
    return f"{owner}-{operation.get('name')}-{operation.get('interval', UNTIMED)}"


def show_operations(operations: etree._Element, owner: str, naming: Naming) -> list[str]:
    require(operations, {"id", "id-ref"})
    reference = operations.get("id-ref")
    if reference is not None:
        # Two blanks, as the shell that people come from prints it.
        return [f"operations  {words.attribute('$id-ref', reference)}"]
    identity = operations.get("id")
    parts: list[str] = []
    if identity is not None:
        parts.append(f"operations {words.attribute('$id', identity)}")
    for child in children(operations):
        if child.tag != "op":
            raise Inexpressible(f"<{child.tag}> in <operations>")
        parts.extend(show_operation(child, owner, naming))
    return parts


def show_sections(element: etree._Element, owner: str, naming: Naming, tags: Iterable[str]) -> list[str]:
    """All sets and operations of a resource, in document order. `tags` are those that this kind of resource may have."""
    keywords = {tag: keyword for keyword, tag in SECTION_TAGS.items()}
    parts: list[str] = []
    for child in children(element, comments=True):
        tag = str(child.tag)
        if tag == "operations" and tag in tags:
            parts.extend(show_operations(child, owner, naming))
        elif tag in keywords and tag in tags:
            parts.append(show_set(keywords[tag], child, owner, naming))
    return parts
