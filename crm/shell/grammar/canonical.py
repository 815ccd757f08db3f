"""When two elements are the same configuration: spelling and defaults do not count.

Left out of the comparison: ids below an object that nothing refers to, comments, attributes that have their default value, empty
`<operations>`, the order of attributes, and the place of members among the attribute sets. Used to leave alone what an edited text did
not change, and by tests.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Final

from lxml import etree

from crm.shell.grammar import words
from crm.shell.grammar.attributes import UNTIMED
from crm.shell.grammar.inexpressible import items
from crm.shell.grammar.resources import RESOURCE_TAGS
from crm.shell.grammar.rules import is_default_type, read_role

Form = tuple[object, ...]

_OBJECTS: Final = frozenset(
    {
        "node", "template", *RESOURCE_TAGS, "tag", "obj_ref", "rsc_location", "rsc_colocation", "rsc_order",
        "rsc_ticket", "resource_ref", "alert", "acl_role", "acl_target", "acl_group", "role", "cluster_property_set",
        "port-mapping", "storage-mapping",
    }
)  # fmt: skip
"""Elements whose id people chose; the language always shows it."""
_SETS: Final = ("instance_attributes", "meta_attributes", "utilization", "cluster_property_set")
_ROLES: Final = ("role", "rsc-role", "with-rsc-role")


def own_form(element: etree._Element) -> Form:
    """The form of an object for itself: of the members of a group, clone or bundle only the ids count."""
    if element.tag not in RESOURCE_TAGS or (element.find("primitive") is None and element.find("group") is None):
        return form(element)
    bare = deepcopy(element)
    members = tuple(child.get("id", "") for child in bare.iterchildren(*RESOURCE_TAGS))
    for child in list(bare.iterchildren(*RESOURCE_TAGS)):
        bare.remove(child)
    return (*form(bare), members)


def form(element: etree._Element, referenced: Collection[str] = ()) -> Form:
    """A value that is equal for elements that mean the same. `referenced`: ids below the object that count."""
    attributes = sorted(
        _attribute(element, name, value) for name, value in items(element) if _counts(element, name, value, referenced)
    )
    below = [form(child, referenced) for child in element.iterchildren("*")]
    below = [child for child in below if child != ("operations", (), ())]
    if element.tag in RESOURCE_TAGS:
        below.sort(key=lambda child: child[0] in RESOURCE_TAGS)
    if element.tag in _SETS:
        below.sort(key=lambda child: child[0] != "rule")
    if element.tag == "bundle":
        below.sort(key=lambda child: str(child[0]) != "meta_attributes")
    return (element.tag, tuple(attributes), tuple(below))


def _attribute(element: etree._Element, name: str, value: str) -> tuple[str, str]:
    if name in _ROLES and element.tag != "op":
        return name, read_role(value)
    if name in ("score", "kind"):
        return name, words.read_score(value) or value
    return name, value


def _counts(element: etree._Element, name: str, value: str, referenced: Collection[str]) -> bool:
    tag = element.tag
    if name == "id":
        return tag in _OBJECTS or value in referenced or (tag == "operations")
    if tag == "rule" and name == "boolean-op":
        return value != "and" and len(element) > 1
    if tag == "resource_set" and name in ("sequential", "require-all"):
        return value != "true"
    if tag == "op" and name == "interval":
        return value != UNTIMED
    if tag == "expression" and name == "type":
        return not is_default_type(value, element.get("operation", ""), element.get("value", ""))
    return True
