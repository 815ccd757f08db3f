"""A configuration becomes text: objects in their order, each in the language, or as XML where the language has no words.

Order: nodes, templates, primitives, bundles, groups, clones, tags, constraints, topology, options, defaults, alerts, access
control; by id within each kind, as people look for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.shell.grammar import comments, constraints, options, resources
from crm.shell.grammar.attributes import Naming
from crm.shell.grammar.inexpressible import Inexpressible

CONTINUED: Final = " \\\n\t"


@dataclass(frozen=True, slots=True)
class Shown:
    """An object of the configuration: what it is called, its element, and which keyword prints it."""

    keyword: str
    identity: str
    element: etree._Element


_KEYWORDS: Final = {
    "template": "rsc_template",
    "primitive": "primitive",
    "bundle": "bundle",
    "group": "group",
    "clone": "clone",
    "master": "ms",
    "rsc_location": "location",
    "rsc_colocation": "colocation",
    "rsc_order": "order",
    "rsc_ticket": "rsc_ticket",
    "acl_role": "role",
    "acl_target": "acl_target",
    "acl_group": "acl_group",
}
_CLONES: Final = ("clone", "ms")


def objects(document: etree._Element) -> list[Shown]:
    """Every object of a configuration, in the order in which it is shown."""
    configuration = xml.section(document, xml.CONFIGURATION)
    if configuration is None:
        return []
    found: list[Shown] = []
    _append(found, "node", configuration.iterfind("nodes/node"))
    section = configuration.find("resources")
    everything = [] if section is None else list(section.iter(*resources.RESOURCE_TAGS, "template"))
    for tags in (("template",), ("primitive",), ("bundle",), ("group",), ("clone", "master")):
        _append(found, "", (element for element in everything if element.tag in tags))
    _append(found, "tag", configuration.iterfind("tags/tag"))
    rules = configuration.find("constraints")
    _append(found, "", () if rules is None else rules.iterchildren(*constraints.CONSTRAINT_TAGS))
    topology = configuration.find("fencing-topology")
    if topology is not None:
        found.append(Shown("fencing_topology", "fencing_topology", topology))
    _append(found, "property", configuration.iterfind("crm_config/cluster_property_set"))
    _append(found, "rsc_defaults", configuration.iterfind("rsc_defaults/meta_attributes"))
    _append(found, "op_defaults", configuration.iterfind("op_defaults/meta_attributes"))
    _append(found, "alert", configuration.iterfind("alerts/alert"))
    for tag in ("acl_role", "acl_target", "acl_group"):
        _append(found, "", configuration.iterfind(f"acls/{tag}"))
    return found


def _append(found: list[Shown], keyword: str, elements: object) -> None:
    new = [
        Shown(keyword or _KEYWORDS[str(element.tag)], element.get("id", ""), element)
        for element in elements  # type: ignore[attr-defined]
    ]
    found.extend(sorted(new, key=lambda item: item.identity))


def naming_of(document: etree._Element, *, hide_secrets: bool = False) -> Naming:
    """The ids that something in the configuration refers to by `id-ref`."""
    configuration = xml.section(document, xml.CONFIGURATION)
    if configuration is None:
        return Naming()
    references = configuration.xpath(".//*[@id-ref]/@id-ref")
    found = frozenset(str(reference) for reference in references) if isinstance(references, list) else frozenset()
    return Naming(found, hide_secrets)


def show_object(item: Shown, naming: Naming) -> str:
    """One object's statement, without a newline at its end."""
    try:
        above = comments.take(item.element)
        return "\n".join((*above, CONTINUED.join(_parts(item, naming))))
    except Inexpressible:
        return show_xml(item)


def _parts(item: Shown, naming: Naming) -> list[str]:
    match item.keyword:
        case "node":
            return options.show_node(item.element, naming)
        case "tag":
            return options.show_tag(item.element)
        case "fencing_topology":
            return options.show_topology(item.element)
        case "property" | "rsc_defaults" | "op_defaults":
            return options.show_options(item.keyword, item.element, naming)
        case "alert":
            return options.show_alert(item.element, naming)
        case "role":
            return options.show_role(item.element)
        case "acl_target" | "acl_group":
            return options.show_acl_target(item.element)
        case "location" | "colocation" | "order" | "rsc_ticket":
            return constraints.show(item.element)
    return resources.show(item.element, naming)


def show_xml(item: Shown) -> str:
    """The object as `xml <...>`; a set of defaults together with the section that it belongs to."""
    element = item.element
    if item.keyword in ("rsc_defaults", "op_defaults"):
        wrapper = etree.Element(item.keyword)
        wrapper.append(xml.parse_fragment(xml.to_text(element)))
        element = wrapper
    text = xml.to_text(element).rstrip("\n")
    return "xml " + " \\\n".join(text.split("\n"))


def show(document: etree._Element, *, hide_secrets: bool = False) -> str:
    """A whole configuration, one statement after the other."""
    naming = naming_of(document, hide_secrets=hide_secrets)
    return "".join(f"{show_object(item, naming)}\n" for item in objects(document))
