"""Changes a document in place, remembers how to take them back, and keeps the index of ids right.

Theory of operation. A CIB of a thousand resources must take hundreds of configuration changes and thousands of status
updates a second, so an operation cannot copy the document. Instead each change goes through an `Editor`, which notes its
inverse; when the operation turns out to be wrong in the middle, `undo()` restores the document exactly (order of
attributes and children included), so that an operation is applied as a whole or not at all.

`IdIndex` maps each id of the configuration to its element: targets are found and duplicates noticed without a search. It also knows
which elements name an id, so that removing something shows at once who misses it. Status is not indexed: its ids repeat from node to
node by design (`lrm_resource`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.report import ReportItem

UNINDEXED_TAGS: Final = frozenset(
    {"resource_ref", "obj_ref", "role", "role_ref", "node", "acl_target", "acl_group", "acl_user"}
)
"""Elements whose `id` is no id of their own within the configuration: it names another element, a node, or a user."""

REFERRING: Final[dict[str, tuple[str, ...]]] = {
    "rsc_location": ("rsc",),
    "rsc_colocation": ("rsc", "with-rsc"),
    "rsc_order": ("first", "then"),
    "rsc_ticket": ("rsc",),
    "primitive": ("template",),
    "acl_permission": ("reference",),
    "read": ("ref",),
    "write": ("ref",),
    "deny": ("ref",),
    **dict.fromkeys(("resource_ref", "obj_ref", "role", "role_ref"), ("id",)),
    **dict.fromkeys(
        (
            "cluster_property_set",
            "instance_attributes",
            "meta_attributes",
            "utilization",
            "nvpair",
            "rule",
            "resource_set",
            "operations",
        ),
        ("id-ref",),
    ),
}
"""Attributes that name another element by its id, by the tag that has them."""

Referrer = tuple[etree._Element, str]
"""An element and the attribute in which it names another one."""


class IdIndex:
    """Each id of a configuration, the elements that carry it (more than one only in a broken document), and those that name it."""

    def __init__(self, document: etree._Element) -> None:
        self._first: dict[str, etree._Element] = {}
        self._more: dict[str, list[etree._Element]] = {}
        self._referrers: dict[str, dict[Referrer, None]] = {}
        configuration = document.find(xml.CONFIGURATION)
        if configuration is not None:
            self.add_tree(configuration)

    def get(self, identity: str) -> etree._Element | None:
        return self._first.get(identity)

    def __contains__(self, identity: str) -> bool:
        return identity in self._first

    def duplicates(self) -> frozenset[str]:
        return frozenset(self._more)

    def holders(self, identity: str) -> list[etree._Element]:
        first = self._first.get(identity)
        return [] if first is None else [first, *self._more.get(identity, ())]

    def referrers(self, identity: str) -> list[Referrer]:
        return list(self._referrers.get(identity, ()))

    def add_tree(self, root: etree._Element) -> None:
        for element in root.iter("*"):
            tag = str(element.tag)
            identity = element.get("id")
            if identity is not None and tag not in UNINDEXED_TAGS:
                self.add(identity, element)
            for name in REFERRING.get(tag, ()):
                self.refer(element, name, element.get(name))

    def remove_tree(self, root: etree._Element) -> None:
        for element in root.iter("*"):
            tag = str(element.tag)
            identity = element.get("id")
            if identity is not None and tag not in UNINDEXED_TAGS:
                self.remove(identity, element)
            for name in REFERRING.get(tag, ()):
                self.unrefer(element, name, element.get(name))

    def refer(self, element: etree._Element, name: str, identity: str | None) -> None:
        if identity is not None:
            self._referrers.setdefault(identity, {})[element, name] = None

    def unrefer(self, element: etree._Element, name: str, identity: str | None) -> None:
        referrers = self._referrers.get(identity, {}) if identity is not None else {}
        referrers.pop((element, name), None)
        if identity is not None and not referrers:
            self._referrers.pop(identity, None)

    def add(self, identity: str, element: etree._Element) -> None:
        first = self._first.setdefault(identity, element)
        if first is not element:
            self._more.setdefault(identity, []).append(element)

    def remove(self, identity: str, element: etree._Element) -> None:
        more = self._more.get(identity)
        if self._first.get(identity) is element:
            if more:
                self._first[identity] = more.pop(0)
            else:
                del self._first[identity]
        elif more is not None and element in more:
            more.remove(element)
        if more is not None and not more:
            del self._more[identity]


class Editor:
    """One operation's changes to `document`. Only real changes are recorded: setting what is already there is none."""

    def __init__(self, document: etree._Element, ids: IdIndex) -> None:
        self.document = document
        self.ids = ids
        self.sections: set[str] = set()
        self.touched: list[etree._Element] = []
        """Elements that were inserted or whose attributes changed; for the checks that follow."""
        self.pruned: list[etree._Element] = []
        """Elements that lost a child."""
        self.inserted: list[etree._Element] = []
        self.removed: list[tuple[etree._Element, etree._Element]] = []
        """What was removed, and what it was in."""
        self.removed_ids: set[str] = set()
        self.notes: list[ReportItem] = []
        """What people should know about the operation; becomes part of its result."""
        self._undo: list[Callable[[], None]] = []
        self._duplicates_before = ids.duplicates()

    @property
    def changed(self) -> bool:
        return bool(self._undo)

    def new_duplicates(self) -> list[str]:
        """Ids that this operation made ambiguous."""
        return sorted(self.ids.duplicates() - self._duplicates_before)

    def undo(self) -> None:
        """Takes everything back, last change first."""
        while self._undo:
            self._undo.pop()()
        self.sections.clear()
        self.touched.clear()
        self.pruned.clear()
        self.inserted.clear()
        self.removed.clear()
        self.removed_ids.clear()

    def set(self, element: etree._Element, name: str, value: str) -> None:
        old = element.get(name)
        if old == value:
            return
        self._reindex(element, name, old, value)
        element.set(name, value)
        if old is None:
            self._undo.append(lambda: _unset(element, name))
        else:
            self._undo.append(lambda: element.set(name, old))
        self._note(element)
        if element is self.document and name == "validate-with":
            # The schema says how the configuration is to be read, so it belongs to it.
            self.sections.add(xml.CONFIGURATION)

    def unset(self, element: etree._Element, name: str) -> None:
        old = element.get(name)
        if old is None:
            return
        attributes = [(str(key), str(value)) for key, value in element.attrib.items()]
        self._reindex(element, name, old, None)
        _unset(element, name)
        self._undo.append(lambda: _restore(element, attributes))
        self._note(element)

    def insert(self, parent: etree._Element, position: int, child: etree._Element) -> None:
        """Makes `child` (which belongs to no document yet) the child of `parent` before what is now at `position`."""
        if position == len(parent):
            parent.append(child)
        else:
            parent.insert(position, child)
        if self._in_configuration(child):
            self.ids.add_tree(child)
            self._undo.append(lambda: self.ids.remove_tree(child))
        self._undo.append(lambda: parent.remove(child))
        self.inserted.append(child)
        self._note(child)

    def append(self, parent: etree._Element, child: etree._Element) -> None:
        """Where the schemas want it (`xml.place_for`): last, for most."""
        self.insert(parent, xml.place_for(str(child.tag), [str(sibling.tag) for sibling in parent]), child)

    def remove(self, element: etree._Element) -> None:
        parent = element.getparent()
        if parent is None:
            raise ValueError("the root element cannot be removed")
        position = parent.index(element)
        if self._in_configuration(element):
            self.removed_ids.update(_ids(element))
            self.ids.remove_tree(element)
            self._undo.append(lambda: self.ids.add_tree(element))
        self.sections.add(section_of(element))
        self.pruned.append(parent)
        self.removed.append((element, parent))
        parent.remove(element)
        self._undo.append(lambda: parent.insert(position, element))

    def replace(self, element: etree._Element, new: etree._Element) -> None:
        """`new` takes the place of `element`; nothing happens when both are the same text."""
        if xml.to_bytes(element) == xml.to_bytes(new):
            return
        parent = element.getparent()
        if parent is None:
            raise ValueError("the root element cannot be replaced")
        position = parent.index(element)
        self.remove(element)
        self.insert(parent, position, new)

    def _reindex(self, element: etree._Element, name: str, old: str | None, new: str | None) -> None:
        """An attribute changes: an id, or a reference to one."""
        if name in REFERRING.get(str(element.tag), ()) and self._in_configuration(element):
            self.ids.unrefer(element, name, old)
            self.ids.refer(element, name, new)
            self._undo.append(lambda: self.ids.refer(element, name, old))
            self._undo.append(lambda: self.ids.unrefer(element, name, new))
        if name != "id" or element.tag in UNINDEXED_TAGS or not self._in_configuration(element):
            return
        if old is not None:
            self.ids.remove(old, element)
            self.removed_ids.add(old)
            self._undo.append(lambda: self.ids.add(old, element))
        if new is not None:
            self.ids.add(new, element)
            self._undo.append(lambda: self.ids.remove(new, element))

    def _in_configuration(self, element: etree._Element) -> bool:
        return section_of(element) not in (xml.STATUS, "cib")

    def _note(self, element: etree._Element) -> None:
        self.sections.add(section_of(element))
        self.touched.append(element)


def section_of(element: etree._Element) -> str:
    """`status`, the name of a configuration section, `configuration` itself, or `cib` for the root."""
    below: list[str] = []
    current = element
    while (parent := current.getparent()) is not None:
        below.append(str(current.tag))
        current = parent
    if not below:
        return "cib"
    if below[-1] == xml.CONFIGURATION and len(below) > 1:
        return below[-2]
    return below[-1] if below[-1] in (xml.CONFIGURATION, xml.STATUS) else "cib"


def _ids(root: etree._Element) -> set[str]:
    return {
        identity
        for element in root.iter("*")
        if (identity := element.get("id")) is not None and element.tag not in UNINDEXED_TAGS
    }


def _unset(element: etree._Element, name: str) -> None:
    del element.attrib[name]


def _restore(element: etree._Element, attributes: list[tuple[str, str]]) -> None:
    element.attrib.clear()
    for name, value in attributes:
        element.set(name, value)
