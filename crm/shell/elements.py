"""What happens to elements when objects of a configuration are merged, nested, replaced and taken away.

Plain functions on one tree; which of them is called for what is decided in `crm.shell.configuration`.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from crm.cib import xml
from crm.shell.grammar.resources import RESOURCE_TAGS

COLLECTIVES: Final = ("group", "clone", "master", "bundle")
WRITTEN_BY_CLUSTER: Final = (
    "dc-version",
    "cluster-infrastructure",
    "cluster-name",
    "have-watchdog",
    "last-lrm-refresh",
)
"""Options that the cluster sets itself; they survive a replacement that does not mention them."""


def nest_members(collective: etree._Element, wanted: list[tuple[str, etree._Element | None]]) -> list[str]:
    """Makes these the members, in their order, and returns what stands against it. Without members so far they go after the sets, as the schema has it."""
    problems: list[str] = []
    members: list[etree._Element] = []
    for identity, found in wanted:
        problem = unfit(collective, found, identity)
        if problem:
            problems.append(problem)
        elif found is not None:
            members.append(found)
    if problems:
        return problems
    place = next((i for i, child in enumerate(collective) if child.tag in RESOURCE_TAGS), len(collective))
    for member in members:
        remove(member)
    place = min(place, len(collective))
    for offset, member in enumerate(members):
        member.tail = None
        collective.insert(place + offset, member)
    return []


def unfit(collective: etree._Element, member: etree._Element | None, identity: str) -> str:
    head = f"{name(collective)}: "
    if member is None or member.tag not in RESOURCE_TAGS:
        return f"{head}there is no resource {identity!r}"
    if member is collective or collective in member.iter():
        return f"{head}it cannot contain {identity}"
    allowed = {"group": ("primitive",), "bundle": ("primitive",)}.get(str(collective.tag), ("primitive", "group"))
    if member.tag not in allowed:
        return f"{head}{name(member)} cannot be in a {collective.tag}; expected a {' or '.join(allowed)}"
    parent = member.getparent()
    if parent is not None and parent.tag in COLLECTIVES and parent is not collective:
        return f"{head}{identity} is in {name(parent)} already"
    return ""


def merge(existing: etree._Element, new: etree._Element) -> None:
    """Pairs of the same name get the new value, others are added. Sets with rules are told apart by their id alone."""
    for key, value in new.items():
        if key != "id" or existing.tag != "node":
            existing.set(key, value)
    for child in list(new):
        if child.tag == "nvpair":
            merge_pair(existing, child)
        elif child.tag == "rule":
            for other in existing.findall("rule"):
                existing.remove(other)
            existing.insert(0, child)
        elif isinstance(child.tag, str):
            merge_set(existing, new, child)


def merge_set(existing: etree._Element, new: etree._Element, child: etree._Element) -> None:
    """A set of a node is merged into its counterpart; where there are several, or rules, the new ones take their place."""
    counterparts = existing.findall(str(child.tag))
    given = new.findall(str(child.tag))
    if len(counterparts) == 1 and len(given) == 1 and child.find("rule") is None:
        merge(counterparts[0], child)
        return
    if given and given[0] is child:
        for counterpart in counterparts:
            existing.remove(counterpart)
    existing.append(child)


def merge_pair(existing: etree._Element, pair: etree._Element) -> None:
    for other in existing.iterchildren("nvpair"):
        if other.get("name") == pair.get("name"):
            other.set("value", pair.get("value", ""))
            return
    existing.append(pair)


def keep_kind(existing: etree._Element, element: etree._Element) -> None:
    if existing.tag == "clone":
        make_promotable(element)
    else:
        element.tag = "master"


def make_promotable(element: etree._Element) -> None:
    """`ms` becomes what Pacemaker calls it today: a clone with promotable=true."""
    element.tag = "clone"
    meta = element.find("meta_attributes")
    if meta is None:
        meta = etree.SubElement(element, "meta_attributes")
    renamed = {"master-max": "promoted-max", "master-node-max": "promoted-node-max"}
    for pair in meta.iterchildren("nvpair"):
        pair.set("name", renamed.get(pair.get("name", ""), pair.get("name", "")))
    if not any(pair.get("name") == "promotable" for pair in meta.iterchildren("nvpair")):
        meta.insert(0, etree.Element("nvpair", name="promotable", value="true"))


def promotable_known(root: etree._Element) -> bool:
    return root.get("validate-with", "pacemaker-4.0") not in ("pacemaker-1.0", "pacemaker-1.2", "pacemaker-2.0")


def replace_section(root: etree._Element, element: etree._Element) -> None:
    current = xml.ensure_section(root, str(element.tag))
    parent = current.getparent()
    if parent is None:
        raise AssertionError("a section has a parent")
    parent.replace(current, element)


def empty(element: etree._Element) -> None:
    """Takes away all but the options that the cluster itself writes."""
    for child in list(element):
        if (
            child.tag != "nvpair"
            or element.tag != "cluster_property_set"
            or child.get("name") not in WRITTEN_BY_CLUSTER
        ):
            element.remove(child)


def drop_from_sets(constraint: etree._Element, identity: str) -> bool:
    """Takes a resource out of the sets; the constraint goes when fewer than two resources remain (one, for a ticket or a location)."""
    references = [item for item in constraint.iter("resource_ref") if item.get("id") == identity]
    for reference in references:
        parent = reference.getparent()
        if parent is not None:
            parent.remove(reference)
            if not len(parent):
                remove(parent)
    if references:
        least = 1 if constraint.tag in ("rsc_ticket", "rsc_location") else 2
        if len(list(constraint.iter("resource_ref"))) < least:
            remove(constraint)
    return bool(references)


def top(element: etree._Element) -> etree._Element:
    """The outermost resource around an element."""
    current = element
    while (parent := current.getparent()) is not None and parent.tag in RESOURCE_TAGS:
        current = parent
    return current


def move_after(element: etree._Element, other: etree._Element) -> None:
    remove(element)
    element.tail = None
    other.addnext(element)


def remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def name(element: etree._Element) -> str:
    words = {
        "rsc_location": "location", "rsc_colocation": "colocation", "rsc_order": "order", "master": "ms",
        "template": "rsc_template",
    }  # fmt: skip
    return f"{words.get(str(element.tag), element.tag)} {element.get('uname') or element.get('id')}"
