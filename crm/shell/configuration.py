"""A configuration being edited: objects come, change and go in a copy of the CIB; nothing outside is touched.

Theory of operation. `Configuration` owns a copy of a CIB. Statements are applied to it in one of three ways:

- create: the objects are new; one that exists is a problem. Options (`property`, `rsc_defaults`, `op_defaults`) and nodes are merged in.
- update: an object that exists is replaced by the new one, with the same ids where both correspond; others are left alone.
- replace: afterwards the configuration consists of these objects alone (nodes, and what the cluster itself writes into its options, stay).

A group, clone or bundle takes its members in; a member whose collective is deleted becomes free again. Deleting a resource deletes the constraints that
mention it, so that no reference dangles; what else went is told. Problems are collected and raised together, and then nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from enum import StrEnum
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.shell import elements
from crm.shell.grammar import canonical, secrets, show
from crm.shell.grammar.constraints import CONSTRAINT_TAGS
from crm.shell.grammar.ids import Ids
from crm.shell.grammar.resources import RESOURCE_TAGS
from crm.shell.grammar.show import Shown
from crm.shell.grammar.statements import Parsed

_MERGED: Final = ("property", "rsc_defaults", "op_defaults", "node")
_REFERENCES: Final = ("rsc", "with-rsc", "first", "then")


Key = tuple[str, str]


class Mode(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"


class ConfigurationError(ValueError):
    """The change is not possible; `problems` are all the reasons. The configuration is as it was."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class Configuration:
    """`root` is the `<cib>` being edited; `base` the one it began with."""

    def __init__(self, cib: etree._Element) -> None:
        self.base = cib
        self.root = deepcopy(cib)

    @property
    def changed(self) -> bool:
        return bool(self.changed_sections())

    def changed_sections(self) -> tuple[str, ...]:
        """The sections that differ from the base."""
        return tuple(
            name for name in xml.SECTIONS if _section_bytes(self.base, name) != _section_bytes(self.root, name)
        )

    def objects(self) -> list[Shown]:
        return show.objects(self.root)

    def find(self, identity: str) -> Shown | None:
        return next((item for item in self.objects() if item.identity == identity), None)

    def text(self, identities: Sequence[str] = (), *, as_xml: bool = False, hide_secrets: bool = False) -> str:
        """The configuration as text, or only the objects named (an id, `type:KEYWORD`, or `changed`). ConfigurationError when there is none."""
        items = self.select(identities)
        if as_xml and not identities:
            configuration = xml.section(self.root, xml.CONFIGURATION)
            return xml.to_text(self.root if configuration is None else configuration)
        if as_xml:
            return "".join(xml.to_text(item.element) for item in items)
        naming = show.naming_of(self.root, hide_secrets=hide_secrets)
        return "".join(f"{show.show_object(item, naming)}\n" for item in items)

    def select(self, identities: Sequence[str]) -> list[Shown]:
        items = self.objects()
        if not identities:
            return items
        wanted = set(identities)
        changed = self.changed_ids() if "changed" in wanted else frozenset()
        found = [
            item
            for item in items
            if item.identity in wanted or item.identity in changed or f"type:{item.keyword}" in wanted
        ]
        known = {item.identity for item in found} | {"changed"}
        missing = [name for name in identities if name not in known and not name.startswith("type:")]
        if missing:
            raise ConfigurationError([f"there is no object {name!r} in the configuration" for name in missing])
        return found

    def changed_ids(self) -> frozenset[str]:
        """Objects that are new or different from the base."""
        before = {_key(item.element): canonical.own_form(item.element) for item in show.objects(self.base)}
        return frozenset(
            item.identity
            for item in self.objects()
            if before.get(_key(item.element)) != canonical.own_form(item.element)
        )

    # Changes

    def apply(self, parsed: Iterable[Parsed], mode: Mode) -> None:
        """All of the statements, or none. ConfigurationError with every problem."""
        # Copies: the same statements may be applied again, to what somebody else has made of the configuration meanwhile.
        statements = [replace(statement, element=deepcopy(statement.element)) for statement in parsed]
        saved = deepcopy(self.root)
        problems = _duplicates(statements)
        old = {_key(item.element): deepcopy(item.element) for item in show.objects(saved)}
        touched: list[Parsed] = []
        for statement in sorted(statements, key=lambda item: item.section != "resources"):
            before = old.get(_key(statement.element))
            problems.extend(
                f"{statement.identity}: {name} is given as {secrets.HIDDEN} but there is no old value; expected the value itself"
                for name in secrets.restore(statement.element, before)
            )
            if mode is not Mode.CREATE and before is not None and _unchanged(statement, before):
                continue
            touched.append(statement)
        if mode is Mode.REPLACE:
            self._clear(statements, touched)
        taken = _all_ids(self.root)
        # Looking for each object in the tree would make a long text quadratic.
        known = {_key(item.element): item.element for item in self.objects()}
        for statement in touched:
            problem = self._put(statement, mode, known, taken)
            if problem:
                problems.append(problem)
        if not problems:
            problems.extend(self._nest(touched, known))
        if problems:
            self.root = saved
            raise ConfigurationError(problems)
        ids = Ids(_all_ids(self.root), show.naming_of(self.root).referenced)
        for statement in touched:
            key = _key(statement.element)
            ids.complete(known[key], old.get(key))

    def _put(self, statement: Parsed, mode: Mode, known: dict[Key, etree._Element], taken: set[str]) -> str:
        """Puts the element where it belongs, and into `known`; members are nested later. Returns the problem, if any."""
        element = statement.element
        key = _key(element)
        existing = known.get(key)
        if existing is None:
            if element.tag == "master" and elements.promotable_known(self.root):
                elements.make_promotable(element)
            if element.tag == "fencing-topology":
                elements.replace_section(self.root, element)
            elif statement.identity in taken and (holder := _holder(self.root, element)) is not None:
                return f"the id {element.get('id')} is in use already, in {elements.name(holder)}"
            else:
                xml.ensure_section(self.root, statement.section).append(element)
            known[key] = element
            return ""
        if statement.keyword in _MERGED and existing.tag == element.tag:
            elements.merge(existing, element)
            return ""
        if element.tag == "fencing-topology":
            known[key] = element
            if mode is Mode.CREATE and len(existing):
                return "there is a fencing topology already; change it with 'crm configure edit fencing_topology'"
            elements.replace_section(self.root, element)
            return ""
        if mode is Mode.CREATE:
            return (
                f"{elements.name(existing)} exists already; change it with 'crm configure edit {statement.identity}' "
                "or 'crm configure load update FILE'"
            )
        known[key] = element
        return self._replace_object(existing, element)

    def _replace_object(self, existing: etree._Element, element: etree._Element) -> str:
        if existing.tag != element.tag:
            if {existing.tag, element.tag} == {"clone", "master"}:
                elements.keep_kind(existing, element)
            else:
                return f"{elements.name(existing)} exists and is no {element.tag}; delete it first"
        parent = existing.getparent()
        if parent is None:
            raise AssertionError("an object has a parent")
        if existing.tag in elements.COLLECTIVES and not any(child.tag in RESOURCE_TAGS for child in element):
            # Members move along; `_nest` then frees those that are not named any more.
            for child in list(existing.iterchildren(*RESOURCE_TAGS)):
                element.append(child)
        element.tail = None
        parent.replace(existing, element)
        return ""

    def _nest(self, statements: list[Parsed], known: dict[Key, etree._Element]) -> list[str]:
        """Members move into their group, clone or bundle."""
        collectives = [
            statement
            for statement in statements
            if statement.element.tag in elements.COLLECTIVES and statement.keyword != "xml"
        ]
        for statement in collectives:
            # First what leaves: another may take it in.
            for child in list(statement.element.iterchildren(*RESOURCE_TAGS)):
                if child.get("id") not in statement.members:
                    elements.move_after(child, elements.top(statement.element))
        problems: list[str] = []
        # Groups first: a clone of a group that is made in the same text finds it complete.
        for statement in sorted(collectives, key=lambda item: item.element.tag != "group"):
            members = [(identity, known.get(("", identity))) for identity in statement.members]
            problems.extend(elements.nest_members(statement.element, members))
        return problems

    def _clear(self, statements: list[Parsed], touched: list[Parsed]) -> None:
        """Takes away what the statements do not mention, and from what they will be merged into all that people wrote."""
        mentioned = {_key(statement.element) for statement in statements}
        unchanged = mentioned - {_key(statement.element) for statement in touched}
        for item in self.objects():
            element = item.element
            if _key(element) in unchanged:
                continue
            if item.keyword == "node":
                if _key(element) in mentioned:
                    elements.empty(element)
            elif item.keyword == "property":
                elements.empty(element)
                if not len(element) and _key(element) not in mentioned:
                    elements.remove(element)
            elif _key(element) not in mentioned:
                for child in list(element.iterchildren(*RESOURCE_TAGS)):
                    elements.move_after(child, element)
                elements.remove(element)
            elif item.keyword in _MERGED:
                elements.empty(element)

    def replace_with(self, cib: etree._Element) -> None:
        """Takes the configuration of another CIB as it is, ids and all."""
        new = xml.section(cib, xml.CONFIGURATION)
        old = xml.ensure_section(self.root, xml.CONFIGURATION)
        parent = old.getparent()
        if new is None or parent is None:
            raise ConfigurationError(["there is no <configuration> in it"])
        parent.replace(old, deepcopy(new))

    def delete(self, identities: Iterable[str], *, force: bool = False) -> list[str]:
        """Removes objects, and the constraints that mention them. Returns what else went, in words. ConfigurationError changes nothing."""
        wanted = list(dict.fromkeys(identities))
        saved = deepcopy(self.root)
        problems: list[str] = []
        also: list[str] = []
        for identity in wanted:
            item = self.find(identity)
            if item is None:
                problems.append(f"there is no object {identity!r} in the configuration")
                continue
            problem = self._delete_one(item, wanted, also, force)
            if problem:
                problems.append(problem)
        if problems:
            self.root = saved
            raise ConfigurationError(problems)
        return also

    def _delete_one(self, item: Shown, wanted: list[str], also: list[str], force: bool) -> str:
        element = item.element
        parent = element.getparent()
        if parent is None:
            return ""
        if item.keyword == "fencing_topology":
            parent.remove(element)
            return ""
        if element.tag in elements.COLLECTIVES:
            for child in list(element.iterchildren(*RESOURCE_TAGS)):
                elements.move_after(child, element)
        if parent.tag in elements.COLLECTIVES and not force and parent.get("id") not in wanted:
            remaining = [child for child in parent.iterchildren(*RESOURCE_TAGS) if child.get("id") not in wanted]
            if not remaining:
                return f"{item.identity} is all that is in {elements.name(parent)}; delete {parent.get('id')} too"
        if item.keyword == "rsc_template":
            users = [
                other.get("id", "") for other in self.root.iter("primitive") if other.get("template") == item.identity
            ]
            users = [user for user in users if user not in wanted]
            if users:
                return f"template {item.identity} is used by {', '.join(users)}"
        parent.remove(element)
        also.extend(self._drop_references(item.identity, wanted))
        return ""

    def _drop_references(self, identity: str, wanted: list[str]) -> list[str]:
        dropped: list[str] = []
        section = xml.section(self.root, "constraints")
        for constraint in list(xml.elements(section, *CONSTRAINT_TAGS)):
            if any(constraint.get(key) == identity for key in _REFERENCES):
                elements.remove(constraint)
            else:
                if not elements.drop_from_sets(constraint, identity):
                    continue
            if constraint.getparent() is None and constraint.get("id") not in wanted:
                dropped.append(elements.name(constraint))
        tags = xml.section(self.root, "tags")
        for tag in list(xml.elements(tags, "tag")):
            for reference in [child for child in tag.iterchildren("obj_ref") if child.get("id") == identity]:
                tag.remove(reference)
                if not len(tag):
                    elements.remove(tag)
                    dropped.append(elements.name(tag))
        return dropped

    def rename(self, old: str, new: str) -> None:
        """Gives an object another id, and everything that refers to it."""
        item = self.find(old)
        if item is None:
            raise ConfigurationError([f"there is no object {old!r} in the configuration"])
        if new in _all_ids(self.root):
            raise ConfigurationError([f"the id {new!r} is in use already"])
        if item.keyword in ("node", "fencing_topology"):
            raise ConfigurationError([f"{elements.name(item.element)} cannot be renamed"])
        item.element.set("id", new)
        for element in self.root.iter("*"):
            for key in (*_REFERENCES, "template", "id-ref"):
                if element.get(key) == old:
                    element.set(key, new)
            if element.tag in ("resource_ref", "obj_ref", "role") and element.get("id") == old:
                element.set("id", new)
            if element.tag == "fencing-level":
                devices = element.get("devices", "").split(",")
                element.set("devices", ",".join(new if device == old else device for device in devices))


def _key(element: etree._Element) -> Key:
    """Nodes go by their names, which a resource may have as well; everything else shares one space of ids."""
    if element.tag == "node":
        return "node", element.get("uname", "")
    return "", element.get("id") or str(element.tag)


def _unchanged(statement: Parsed, before: etree._Element) -> bool:
    """Whether the statement says what is there already. Members are compared by their ids, as the language gives them."""
    new = statement.element
    if statement.keyword != "xml":
        members = tuple(child.get("id", "") for child in before.iterchildren(*RESOURCE_TAGS))
        if members != statement.members:
            return False
        before = deepcopy(before)
        for child in list(before.iterchildren(*RESOURCE_TAGS)):
            before.remove(child)
    above = [comment.text for comment in new.iterchildren(etree.Comment)]
    if above and above != [comment.text for comment in before.iterchildren(etree.Comment)]:
        return False
    return canonical.form(new) == canonical.form(before)


def _duplicates(statements: list[Parsed]) -> list[str]:
    seen: dict[tuple[str, str], int] = {}
    problems: list[str] = []
    for statement in statements:
        key = _key(statement.element)
        if key in seen and statement.keyword not in _MERGED:
            problems.append(f"line {statement.line}: {key[1]} is defined twice, first on line {seen[key]}")
        seen.setdefault(key, statement.line)
    return problems


def _all_ids(root: etree._Element) -> set[str]:
    configuration = xml.section(root, xml.CONFIGURATION)
    if configuration is None:
        return set()
    references = ("resource_ref", "obj_ref", "role")
    return {element.get("id", "") for element in configuration.iter("*") if element.tag not in references}


def _holder(root: etree._Element, new: etree._Element) -> etree._Element | None:
    """The object that has an element with the id of `new` in it. A node's id does not count: remote nodes are called like their resources."""
    if new.tag == "node":
        return None
    identity = new.get("id", "")
    configuration = xml.section(root, xml.CONFIGURATION)
    for element in () if configuration is None else configuration.iter("*"):
        if element.get("id") != identity or element.tag in ("resource_ref", "obj_ref", "role", "node"):
            continue
        current = element
        while (parent := current.getparent()) is not None and parent.get("id") is not None:
            current = parent
        return current
    return None


def _section_bytes(root: etree._Element, name: str) -> bytes:
    section = xml.section(root, name)
    return b"" if section is None or not len(section) else xml.to_bytes(section)
