"""Gives every element its id: the one it had before, else one by convention.

Theory of operation. The parsers leave out ids that the text does not give. `complete` walks over the new element and, as far as it finds one, the old
element that it replaces. What means the same (`canonical.form`) is taken over as it was, spelling, comments and all; a pair with
the same name, an operation with the same name and interval, a set in the same place keep their ids; the rest gets ids such as
`web-instance_attributes-port`, with a number where that one is taken. So loading what was shown changes nothing, and an edit changes what was edited.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from crm.shell.grammar import canonical
from crm.shell.grammar.attributes import UNTIMED
from crm.shell.grammar.resources import RESOURCE_TAGS

_INVALID = re.compile(r"[^\w.-]")
_WITHOUT_ID = frozenset(
    {
        "operations", "docker", "podman", "rkt", "network", "storage", "select", "select_nodes", "select_fencing",
        "select_resources", "select_attributes", "obj_ref", "resource_ref", "role", "fencing-topology",
    }
)  # fmt: skip


@dataclass(slots=True)
class Ids:
    """The ids in use in a document; `referenced` are those that something refers to by `id-ref`."""

    taken: set[str]
    referenced: frozenset[str] = frozenset()

    def complete(self, new: etree._Element, old: etree._Element | None) -> None:
        """Fills in the ids below `new`, an object whose own id is set. `old` is the object that it replaces."""
        if old is not None:
            for element in old.iter("*"):
                self.taken.discard(element.get("id", ""))
        for element in new.iter("*"):
            self.taken.add(element.get("id", ""))
        owner = new.get("id", "fencing")
        self._children(new, old, f"nodes-{owner}" if new.tag == "node" else owner)

    def _children(self, new: etree._Element, old: etree._Element | None, owner: str) -> None:
        partners = _pair(new, old, self.referenced)
        for place, child in enumerate(list(new.iterchildren("*"))):
            if child.tag in RESOURCE_TAGS and new.tag in RESOURCE_TAGS:
                continue
            partner = partners.get(place)
            if partner is not None and self._same(child, partner):
                self._take_over(new, child, partner)
                continue
            if child.tag not in _WITHOUT_ID and child.get("id") is None and child.get("id-ref") is None:
                child.set("id", self._choose(child, partner, owner))
            self._children(child, partner, child.get("id", owner))

    def _same(self, child: etree._Element, partner: etree._Element) -> bool:
        explicit = child.get("id")
        if explicit is not None and explicit != partner.get("id"):
            return False
        return canonical.form(child, self.referenced) == canonical.form(partner, self.referenced)

    def _take_over(self, parent: etree._Element, child: etree._Element, partner: etree._Element) -> None:
        copy = deepcopy(partner)
        copy.tail = None
        parent.replace(child, copy)
        self.taken.update(element.get("id", "") for element in copy.iter("*"))

    def _choose(self, child: etree._Element, partner: etree._Element | None, owner: str) -> str:
        if partner is not None:
            kept = partner.get("id")
            if kept is not None and kept not in self.taken:
                self.taken.add(kept)
                return kept
        parent = child.getparent()
        if parent is not None and parent.tag == "node" and child.tag == "instance_attributes":
            return self.unique(owner)
        return self.unique(_INVALID.sub(".", f"{owner}-{_suffix(child)}"))

    def unique(self, wanted: str) -> str:
        """`wanted`, or the first of `wanted-1`, `wanted-2`... that is free; it is taken from then on."""
        candidate = wanted
        number = 0
        while candidate in self.taken:
            number += 1
            candidate = f"{wanted}-{number}"
        self.taken.add(candidate)
        return candidate


def _suffix(child: etree._Element) -> str:
    match child.tag:
        case "nvpair":
            return child.get("name") or "nvpair"
        case "op":
            return f"{child.get('name')}-{child.get('interval', UNTIMED)}"
        case "date_expression" | "op_expression" | "rsc_expression":
            return "expression"
        case "resource_set":
            parent = child.getparent()
            return str(0 if parent is None else list(parent.iterchildren("resource_set")).index(child))
        case "fencing-level":
            target = child.get("target") or child.get("target-pattern") or child.get("target-value") or "all"
            return f"{target}-{child.get('index')}"
        case "acl_permission":
            return child.get("kind") or "permission"
        case "attribute":
            return f"select-{child.get('name')}"
        case tag:
            return str(tag)


Partners = dict[int, etree._Element]


def _pair(new: etree._Element, old: etree._Element | None, referenced: Collection[str]) -> Partners:
    """For the children of `new`, by place, the child of `old` that each continues: the same, else one with the same key, else the next of its tag."""
    found: Partners = {}
    if old is None:
        return found
    free = list(old.iterchildren("*"))
    forms: dict[canonical.Form, list[etree._Element]] = {}
    for candidate in free:
        forms.setdefault(canonical.form(candidate, referenced), []).append(candidate)
    children = list(new.iterchildren("*"))
    for place, child in enumerate(children):
        equal = forms.get(canonical.form(child, referenced))
        if equal:
            found[place] = equal.pop(0)
            free.remove(found[place])
    for matches in (_same_key, _same_tag):
        for place, child in enumerate(children):
            if place in found:
                continue
            partner = next((candidate for candidate in free if matches(child, candidate)), None)
            if partner is not None:
                found[place] = partner
                free.remove(partner)
    return found


_KEYS = {
    "nvpair": ("name", "id-ref"),
    "op": ("name", "interval", "role"),
    "fencing-level": ("target", "target-pattern", "target-attribute", "target-value", "index"),
    "recipient": ("value",),
    "attribute": ("name",),
}


def _same_key(child: etree._Element, candidate: etree._Element) -> bool:
    if child.get("id") is not None:
        return child.tag == candidate.tag and child.get("id") == candidate.get("id")
    keys = _KEYS.get(str(child.tag))
    return child.tag == candidate.tag and keys is not None and all(child.get(key) == candidate.get(key) for key in keys)


def _same_tag(child: etree._Element, candidate: etree._Element) -> bool:
    # A pair with another name is another pair: it must not inherit an id that tells the old name.
    return child.tag == candidate.tag and child.tag not in _KEYS and child.get("id") in (None, candidate.get("id"))
