"""Everything that is neither a resource nor a constraint, in both directions.

property [ID:] NAME=VALUE...                rsc_defaults / op_defaults likewise
node [ID:] NAME[:TYPE] [attributes ...] [utilization ...]
tag ID MEMBER...
fencing_topology [TARGET:] LEVEL...         a level is DEVICE[,DEVICE...]; TARGET is a node, pattern:RE or attr:NAME=VALUE
alert ID PATH [meta ...] [attributes ...] [select ...] [to RECIPIENT [meta ...] [attributes ...]]...
role ID (read|write|deny) (xpath:X | ref:ID | tag:ELEMENT [attribute:NAME] | SHORTCUT)...
acl_target ID ROLE...                       acl_group likewise
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from lxml import etree

from crm.shell.grammar import words
from crm.shell.grammar.attributes import Naming, read_set, set_parts, show_set
from crm.shell.grammar.cursor import Cursor
from crm.shell.grammar.inexpressible import Inexpressible, children, require
from crm.shell.grammar.lexer import Word
from crm.shell.grammar.resources import read_id

Members = tuple[etree._Element, tuple[str, ...]]

DEFAULTS: Final = {
    "property": ("cluster_property_set", "cib-bootstrap-options"),
    "rsc_defaults": ("meta_attributes", "rsc-options"),
    "op_defaults": ("meta_attributes", "op-options"),
}
"""The set that a keyword stands for, and its id when none is given."""
NODE_TYPES: Final = ("member", "remote", "ping", "normal")
_NODE_TAGS: Final = {"attributes": "instance_attributes", "utilization": "utilization"}
_ALERT_TAGS: Final = {"attributes": "instance_attributes", "meta": "meta_attributes"}
_SELECTIONS: Final = ("nodes", "fencing", "resources", "attributes")
_RIGHTS: Final = ("read", "write", "deny")


# Options


def _read_options(cursor: Cursor, keyword: str) -> Members:
    tag, identity = DEFAULTS[keyword]
    word = cursor.peek()
    if word is not None and word.equals < 0 and word.text.endswith(":") and words.read_score(word.text[:-1]) is None:
        cursor.advance()
        identity = word.text[:-1]
    element = read_set(cursor, tag, ())
    if element.get("id") is None:
        element.set("id", identity)
    return element, ()


def read_property(cursor: Cursor) -> Members:
    return _read_options(cursor, "property")


def read_rsc_defaults(cursor: Cursor) -> Members:
    return _read_options(cursor, "rsc_defaults")


def read_op_defaults(cursor: Cursor) -> Members:
    return _read_options(cursor, "op_defaults")


def show_options(keyword: str, element: etree._Element, naming: Naming) -> list[str]:
    identity = element.get("id", "")
    if element.tag != DEFAULTS[keyword][0] or element.get("id-ref") is not None:
        raise Inexpressible(f"<{element.tag}>")
    # The id is in the head already; the owner's convention for it does not matter.
    return [
        f"{keyword} {identity}:",
        *set_parts(element, "", replace(naming, referenced=naming.referenced - {identity}), comments=True),
    ]


# Nodes and tags


def read_node(cursor: Cursor) -> Members:
    word = cursor.take("the name of a node")
    identity = ""
    if word.name == "$id":
        identity = word.value.removesuffix(":")
        word = cursor.take("the name of the node")
    elif word.text.endswith(":"):
        identity = word.text[:-1]
        word = cursor.take("the name of the node")
    name, _, kind = word.text.partition(":")
    if not name or word.equals >= 0:
        cursor.refuse(word, f"{word.text!r} is not the name of a node; expected NAME or NAME:TYPE")
    if kind and kind not in NODE_TYPES:
        cursor.report(word, f"{kind!r} is not a type of node; expected {', '.join(NODE_TYPES)}")
    element = etree.Element("node", id=identity or name, uname=name)
    if kind:
        element.set("type", kind)
    while (word_here := cursor.peek()) is not None:
        if word_here.text not in _NODE_TAGS:
            cursor.refuse(word_here, f"{word_here.text!r} is not known for a node; expected attributes or utilization")
        cursor.advance()
        element.append(read_set(cursor, _NODE_TAGS[word_here.text], _NODE_TAGS))
    return element, ()


def show_node(element: etree._Element, naming: Naming) -> list[str]:
    require(element, {"id", "uname", "type"})
    identity, name, kind = (element.get(key, "") for key in ("id", "uname", "type"))
    if not name or any(character.isspace() or character in ":=\"'" for character in name + identity):
        raise Inexpressible(f"node {name!r}")
    head = f"node {identity}: {name}" if identity != name else f"node {name}"
    parts = [f"{head}:{kind}" if kind else head]
    keywords = {tag: keyword for keyword, tag in _NODE_TAGS.items()}
    for child in children(element, *keywords, comments=True):
        parts.append(show_set(keywords[str(child.tag)], child, f"nodes-{identity}", naming))
    return parts


def read_tag(cursor: Cursor) -> Members:
    word = cursor.take("the id of the tag")
    element = etree.Element("tag", id=word.text.removesuffix(":"))
    while (member := cursor.peek()) is not None:
        cursor.advance()
        etree.SubElement(element, "obj_ref", id=member.text)
    if not len(element):
        cursor.refuse(cursor.statement.end, "the tag has no members; expected ids")
    return element, ()


def show_tag(element: etree._Element) -> list[str]:
    require(element, {"id"})
    members = [child.get("id", "") for child in children(element, "obj_ref", comments=True)]
    if not members:
        raise Inexpressible("tag without members")
    return [" ".join(["tag", element.get("id", ""), *members])]


# Fencing topology


def read_topology(cursor: Cursor) -> Members:
    element = etree.Element("fencing-topology")
    target: dict[str, str] = {}
    index = 0
    while (word := cursor.peek()) is not None:
        cursor.advance()
        if word.text.endswith(":") or word.text.startswith(("pattern:", "attr:")):
            target = _read_target(cursor, word)
            index = 0
            continue
        if word.equals >= 0:
            cursor.report(word, f"{word.text!r} is not a level; expected DEVICE or DEVICE,DEVICE")
            continue
        index += 1
        etree.SubElement(element, "fencing-level", {**target, "index": str(index), "devices": word.text})
    return element, ()


def _read_target(cursor: Cursor, word: Word) -> dict[str, str]:
    text = word.text.removesuffix(":")
    kind, _, rest = text.partition(":")
    if kind == "pattern" and rest:
        return {"target-pattern": rest}
    if kind == "attr":
        name, equals, value = rest.partition("=")
        if not name or not equals or not value:
            cursor.refuse(word, f"{word.text!r} is not a target; expected attr:NAME=VALUE")
        return {"target-attribute": name, "target-value": value}
    if not text:
        cursor.refuse(word, "there is no target before ':'; expected a node")
    return {"target": text}


def show_topology(element: etree._Element) -> list[str]:
    require(element, ())
    targets: dict[str, list[str]] = {}
    for level in children(element, "fencing-level", comments=True):
        head = _show_target(level)
        devices = level.get("devices", "")
        levels = targets.setdefault(head, [])
        # Levels are numbered by their place; other numbers have no words.
        if (
            level.get("index") != str(len(levels) + 1)
            or not devices
            or any(c.isspace() or c in ":=\"'" for c in devices)
        ):
            raise Inexpressible("levels that are not 1, 2, 3...")
        levels.append(devices)
    return ["fencing_topology", *(" ".join(filter(None, (head, *levels))) for head, levels in targets.items())]


def _show_target(level: etree._Element) -> str:
    require(level, {"id", "index", "devices", "target", "target-pattern", "target-attribute", "target-value"})
    given = [level.get(key) for key in ("target", "target-pattern", "target-attribute")]
    if sum(item is not None for item in given) != 1 or (given[2] is None) != (level.get("target-value") is None):
        raise Inexpressible("level without one target")
    node, pattern, attribute = given
    value = level.get("target-value")
    text = node if node is not None else f"pattern:{pattern}" if pattern is not None else f"attr:{attribute}={value}"
    head = f"{text}:" if attribute is None else text
    return words.quote(head) if not text or any(c.isspace() or c in "\"'\\" for c in text) else head


# Alerts


def read_alert(cursor: Cursor) -> Members:
    element = etree.Element("alert", id=read_id(cursor, "alert"))
    element.set("path", cursor.take("the path of the alert's program").text)
    current = element
    braces = False
    while (word := cursor.peek()) is not None:
        cursor.advance()
        if word.text in _ALERT_TAGS:
            current.append(read_set(cursor, _ALERT_TAGS[word.text], {*_ALERT_TAGS, "to", "select", "}"}))
        elif word.text == "select":
            element.append(_read_selection(cursor))
        elif word.text == "to":
            braces = cursor.take_if("{")
            current = etree.SubElement(element, "recipient")
            while (named := cursor.peek()) is not None and named.name in ("$id", "description"):
                current.set(named.name.removeprefix("$"), named.value)
                cursor.advance()
            current.set("value", cursor.take("a recipient").text)
        elif word.text == "}" and braces:
            braces = False
        else:
            cursor.refuse(word, f"{word.text!r} is not known in an alert; expected select, attributes, meta or to")
    return element, ()


def _read_selection(cursor: Cursor) -> etree._Element:
    select = etree.Element("select")
    while cursor.next_is(*_SELECTIONS):
        kind = etree.SubElement(select, f"select_{cursor.take('').text}")
        if kind.tag == "select_attributes" and cursor.take_if("{"):
            while not cursor.take_if("}"):
                etree.SubElement(kind, "attribute", name=cursor.take("an attribute or '}'").text)
    if not len(select):
        cursor.refuse(cursor.peek() or cursor.statement.end, f"nothing is selected; expected {', '.join(_SELECTIONS)}")
    return select


def show_alert(element: etree._Element, naming: Naming) -> list[str]:
    require(element, {"id", "path"})
    identity = element.get("id", "")
    parts = [f"alert {identity} {words.quote(element.get('path', ''))}"]
    keywords = {tag: keyword for keyword, tag in _ALERT_TAGS.items()}
    recipients: list[str] = []
    for child in children(element, *keywords, "select", "recipient", comments=True):
        if child.tag == "recipient":
            recipients.append(_show_recipient(child, naming))
        elif child.tag == "select":
            parts.append(_show_selection(child))
        else:
            parts.append(show_set(keywords[str(child.tag)], child, identity, naming))
    return parts + recipients


def _show_recipient(element: etree._Element, naming: Naming) -> str:
    require(element, {"id", "value"})
    parts = [f"to {words.quote(element.get('value', ''))}"]
    keywords = {tag: keyword for keyword, tag in _ALERT_TAGS.items()}
    for child in children(element, *keywords):
        parts.append(show_set(keywords[str(child.tag)], child, element.get("id", ""), naming))
    return " ".join(parts)


def _show_selection(element: etree._Element) -> str:
    parts = ["select"]
    for kind in children(element, *(f"select_{name}" for name in _SELECTIONS)):
        require(kind, ())
        parts.append(str(kind.tag).removeprefix("select_"))
        names: list[str] = []
        for attribute in children(kind, "attribute"):
            require(attribute, {"id", "name"})
            names.append(words.quote(attribute.get("name", "")))
        if names:
            parts.append(f"{{ {' '.join(names)} }}")
    if len(parts) == 1:
        raise Inexpressible("empty selection")
    return " ".join(parts)


# Access control


def read_role(cursor: Cursor) -> Members:
    element = etree.Element("acl_role", id=read_id(cursor, "role"))
    while (word := cursor.peek()) is not None:
        cursor.advance()
        if word.text not in _RIGHTS:
            cursor.refuse(word, f"{word.text!r} is not a right; expected {', '.join(_RIGHTS)}")
        permission = etree.SubElement(element, "acl_permission", kind=word.text)
        while (spec := cursor.peek()) is not None and spec.text not in _RIGHTS:
            cursor.advance()
            _read_specification(cursor, spec, permission)
        if len(permission.attrib) == 1:
            cursor.report(word, f"nothing follows {word.text!r}; expected xpath:, ref: or tag:")
    return element, ()


_SPECIFICATIONS: Final = {"xpath": "xpath", "ref": "reference", "tag": "object-type", "attribute": "attribute"}
_SHORTCUTS: Final = {
    "meta": ("//*[@id='{}']/meta_attributes", "/nvpair[@name='{}']"),
    "params": ("//*[@id='{}']/instance_attributes", "/nvpair[@name='{}']"),
    "utilization": ("//*[@id='{}']/utilization", "/nvpair[@name='{}']"),
    "location": ("//rsc_location[@rsc='{}' or @id='{}']", ""),
    "property": ("//crm_config//nvpair[@name='{}']", ""),
    "node": ("//nodes/node[@uname='{}']", ""),
    "nodeattr": ("//nodes/node/instance_attributes/nvpair[@name='{}']", ""),
    "nodeutil": ("//nodes/node[@uname='{}']/utilization", ""),
}
"""Words of the language for XPaths: with one name, and what a second one adds."""
_SHORT_WORDS: Final = {
    "property": "//crm_config",
    "node": "//nodes/node",
    "nodeattr": "//nodes/node/instance_attributes",
    "nodeutil": "//nodes/node/utilization",
    "status": "/cib/status",
    "cib": "/cib",
}


def _read_specification(cursor: Cursor, word: Word, permission: etree._Element) -> None:
    if word.name == "$id":
        permission.set("id", word.value)
        return
    if word.name == "description":
        permission.set("description", word.value)
        return
    kind, _, value = word.text.partition(":")
    if kind not in _SPECIFICATIONS and (xpath := _shortcut(word.text)) is not None:
        permission.set("xpath", xpath)
        return
    if kind not in _SPECIFICATIONS or not value:
        cursor.refuse(
            word,
            f"{word.text!r} says nothing about what; expected xpath:X, ref:ID, tag:ELEMENT, "
            "attribute:NAME, or a shortcut such as meta:RESOURCE:target-role, status, cib",
        )
    permission.set(_SPECIFICATIONS[kind], value)


def _shortcut(text: str) -> str | None:
    """The XPath that a shortcut stands for, which is what is kept and shown; None when it is none."""
    kind, *names = text.split(":")
    if not names:
        return _SHORT_WORDS.get(kind)
    if kind not in _SHORTCUTS or "'" in text or not all(names):
        return None
    one, two = _SHORTCUTS[kind]
    if len(names) == 1:
        return one.replace("{}", names[0])
    return one.replace("{}", names[0]) + two.replace("{}", names[1]) if len(names) == 2 and two else None


def show_role(element: etree._Element) -> list[str]:
    require(element, {"id"})
    parts = [f"role {element.get('id')}"]
    for permission in children(element, "acl_permission", comments=True):
        require(permission, {"id", "kind", *_SPECIFICATIONS.values()})
        words_here = [permission.get("kind", "")]
        for keyword, name in _SPECIFICATIONS.items():
            if (value := permission.get(name)) is not None:
                text = f"{keyword}:{value}"
                spaced = any(character.isspace() or character in "\"'\\" for character in text)
                words_here.append(words.quote(text) if spaced else text)
        parts.append(" ".join(words_here))
    return parts


def _read_target_element(cursor: Cursor, tag: str) -> Members:
    element = etree.Element(tag, id=read_id(cursor, "user or group"))
    while (word := cursor.peek()) is not None:
        cursor.advance()
        etree.SubElement(element, "role", id=word.text.removeprefix("role:"))
    return element, ()


def read_acl_target(cursor: Cursor) -> Members:
    return _read_target_element(cursor, "acl_target")


def read_acl_group(cursor: Cursor) -> Members:
    return _read_target_element(cursor, "acl_group")


def show_acl_target(element: etree._Element) -> list[str]:
    require(element, {"id"})
    roles: list[str] = []
    for child in children(element, "role", comments=True):
        require(child, {"id"})
        roles.append(child.get("id", ""))
    return [" ".join([str(element.tag), element.get("id", ""), *roles])]
