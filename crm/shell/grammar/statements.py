"""A configuration text becomes objects: the table of keywords, and all problems of a text at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.shell.grammar import comments, constraints, lexer, options, resources
from crm.shell.grammar.cursor import Cursor, GivenUp
from crm.shell.grammar.lexer import Problem, Statement

Reader = Callable[[Cursor], tuple[etree._Element, tuple[str, ...]]]

READERS: Final[dict[str, Reader]] = {
    "node": options.read_node,
    "rsc_template": resources.read_template,
    "primitive": resources.read_primitive,
    "bundle": resources.read_bundle,
    "group": resources.read_group,
    "clone": resources.read_clone,
    "ms": resources.read_ms,
    "master": resources.read_ms,
    "tag": options.read_tag,
    "location": constraints.read_location,
    "colocation": constraints.read_colocation,
    "order": constraints.read_order,
    "rsc_ticket": constraints.read_ticket,
    "fencing_topology": options.read_topology,
    "property": options.read_property,
    "rsc_defaults": options.read_rsc_defaults,
    "op_defaults": options.read_op_defaults,
    "alert": options.read_alert,
    "role": options.read_role,
    "acl_target": options.read_acl_target,
    "user": options.read_acl_target,
    "acl_group": options.read_acl_group,
}
"""Each keyword and what reads its statements; `master` and `user` are old spellings."""

SECTIONS: Final = {
    "node": "nodes",
    "template": "resources",
    "primitive": "resources",
    "group": "resources",
    "clone": "resources",
    "master": "resources",
    "bundle": "resources",
    "rsc_location": "constraints",
    "rsc_colocation": "constraints",
    "rsc_order": "constraints",
    "rsc_ticket": "constraints",
    "tag": "tags",
    "fencing-topology": "fencing-topology",
    "acl_role": "acls",
    "acl_target": "acls",
    "acl_group": "acls",
    "alert": "alerts",
    "cluster_property_set": "crm_config",
}
"""Where an object's element belongs in a configuration."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One statement's object. `members` are ids of resources that belong inside it; `section` the part of the configuration it goes to.

    Elements below the object have no ids yet, unless the text gives them.
    """

    keyword: str
    element: etree._Element
    members: tuple[str, ...]
    section: str
    line: int

    @property
    def identity(self) -> str:
        """The object's id; the topology, of which there is one, goes by its keyword."""
        return self.element.get("id") or self.keyword


class LanguageError(ValueError):
    """A text is not the configure language. `problems` holds all of them, in the order of the text."""

    def __init__(self, problems: list[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source + ', ' if source else ''}{problem}" for problem in problems))


def parse(text: str, source: str = "") -> list[Parsed]:
    """The objects of a text, in its order. LanguageError with every problem in it."""
    statements, problems = lexer.split(text)
    objects: list[Parsed] = []
    for statement in statements:
        parsed, found = parse_statement(statement)
        problems.extend(found)
        if parsed is not None:
            objects.append(parsed)
    if problems:
        raise LanguageError(sorted(problems, key=lambda problem: (problem.line, problem.column)), source)
    return objects


def parse_statement(statement: Statement) -> tuple[Parsed | None, list[Problem]]:
    keyword = statement.words[0]
    if statement.raw or keyword.text == lexer.XML:
        return _parse_xml(statement)
    reader = READERS.get(keyword.text.lower())
    if reader is None:
        message = f"{keyword.text!r} is not a configuration statement; expected one of {', '.join(READERS)}, xml"
        return None, [Problem(keyword.line, keyword.column, message)]
    cursor = Cursor(statement)
    try:
        element, members = reader(cursor)
        cursor.finish()
    except GivenUp:
        return None, cursor.problems
    if cursor.problems:
        return None, cursor.problems
    comments.put(element, statement.comments)
    return Parsed(keyword.text.lower(), element, members, _section(keyword.text.lower(), element), statement.line), []


def _section(keyword: str, element: etree._Element) -> str:
    if keyword in ("rsc_defaults", "op_defaults"):
        return keyword
    return SECTIONS[str(element.tag)]


_DEFAULTS_SECTIONS: Final = ("rsc_defaults", "op_defaults")


def _parse_xml(statement: Statement) -> tuple[Parsed | None, list[Problem]]:
    keyword = statement.words[0]
    try:
        element = xml.parse_fragment(statement.raw)
    except xml.CibSyntaxError as error:
        line = keyword.line + max(0, error.line - 1)
        return None, [Problem(line, error.column or keyword.column, f"not well-formed: {error.message}", "xml")]
    section = SECTIONS.get(str(element.tag))
    if element.tag in _DEFAULTS_SECTIONS or element.tag == "meta_attributes":
        # The sets of both defaults look alike, so they are written inside the section that they belong to.
        inner = element if element.tag != "meta_attributes" else None
        if inner is not None and len(inner) == 1:
            child = inner[0]
            inner.remove(child)
            return Parsed("xml", child, (), str(element.tag), keyword.line), []
    if section is None:
        message = f"<{element.tag}> is not an object of the configuration; expected one of {', '.join(SECTIONS)}"
        return None, [Problem(keyword.line, keyword.column, message, "xml")]
    if element.get("id") is None and element.tag != "fencing-topology":
        return None, [Problem(keyword.line, keyword.column, f"<{element.tag}> has no id", "xml")]
    return Parsed("xml", element, (), section, keyword.line), []
