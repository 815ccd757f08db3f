"""What the verbs of `crm resource` and `crm node` do to a configuration: pure edits, each one thing.

Attributes are set where people expect them: meta-attributes and parameters in the object's first set without a rule, which is made when there is none; a value that
several sets have is changed in all of them, since which one holds depends on rules.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.shell.configuration import Configuration, ConfigurationError
from crm.shell.grammar.resources import RESOURCE_TAGS
from crm.shell.status.bans import BAN, PREFER

SETS: Final = {"meta": "meta_attributes", "param": "instance_attributes", "utilization": "utilization"}
_DURATION = re.compile(r"(\d+)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\Z", re.IGNORECASE)
_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?\Z", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T].*)?\Z")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


# --- resources --------------------------------------------------------------------------------------------------------


def resource_of(configuration: Configuration, identity: str) -> etree._Element:
    """The resource with this id. ConfigurationError when there is none, with what may have been meant."""
    section = xml.section(configuration.root, "resources")
    known: list[str] = []
    if section is not None:
        for element in section.iter(*RESOURCE_TAGS):
            if element.get("id") == identity:
                return element
            known.append(element.get("id", ""))
    raise ConfigurationError([f"there is no resource {identity!r}{_meant(identity, known)}"])


def _meant(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(known[:20])}{'...' if len(known) > 20 else ''}" if known else "; there are none"


def get_attribute(element: etree._Element, kind: str, name: str) -> str | None:
    """The value in the object's own sets; the first one that has it."""
    for pair in element.iterfind(f"{SETS[kind]}/nvpair"):
        if pair.get("name") == name:
            return pair.get("value")
    return None


def set_attribute(configuration: Configuration, element: etree._Element, kind: str, name: str, value: str) -> None:
    tag = SETS[kind]
    pairs = [pair for pair in element.iterfind(f"{tag}/nvpair") if pair.get("name") == name]
    for pair in pairs:
        pair.set("value", value)
    if pairs:
        return
    holder = next(
        (item for item in element.iterchildren(tag) if item.find("rule") is None and item.get("id-ref") is None), None
    )
    owner = element.get("id", "")
    if holder is None:
        prefix = f"nodes-{owner}" if element.tag == "node" else f"{owner}-{tag}"
        suffix = "-utilization" if element.tag == "node" and tag == "utilization" else ""
        holder = etree.Element(tag, id=free_id(configuration, prefix + suffix))
        element.insert(xml.place_for(tag, [str(child.tag) for child in element]), holder)
    identity = free_id(configuration, re.sub(r"[^\w.-]", ".", f"{holder.get('id')}-{name}"))
    etree.SubElement(holder, "nvpair", id=identity, name=name, value=value)


def unset_attribute(element: etree._Element, kind: str, name: str) -> bool:
    """Removes the value; a set that is empty then goes too. Returns whether there was one."""
    found = False
    for holder in list(element.iterchildren(SETS[kind])):
        for pair in [pair for pair in holder.iterchildren("nvpair") if pair.get("name") == name]:
            holder.remove(pair)
            found = True
        if found and not len(holder):
            element.remove(holder)
    return found


def clear_below(element: etree._Element, kind: str, name: str) -> list[str]:
    """Removes the value from the members, where it would win over that of the element. Returns the ids of those that had one."""
    return [
        member.get("id", "")
        for member in element.iterdescendants(*RESOURCE_TAGS)
        if unset_attribute(member, kind, name)
    ]


def set_option(configuration: Configuration, name: str, value: str) -> None:
    """An option of the cluster, under whichever of its names it is there already."""
    pairs = _options(configuration, name)
    for pair in pairs:
        pair.set("value", value)
    if pairs:
        return
    section = xml.ensure_section(configuration.root, "crm_config")
    holder = next((each for each in section.iterchildren("cluster_property_set") if each.find("rule") is None), None)
    if holder is None:
        holder = etree.SubElement(section, "cluster_property_set", id=free_id(configuration, "cib-bootstrap-options"))
    identity = free_id(configuration, f"{holder.get('id')}-{name}")
    etree.SubElement(holder, "nvpair", id=identity, name=name, value=value)


def unset_option(configuration: Configuration, name: str) -> None:
    for pair in _options(configuration, name):
        parent = pair.getparent()
        if parent is not None:
            parent.remove(pair)


def _options(configuration: Configuration, name: str) -> list[etree._Element]:
    section = xml.section(configuration.root, "crm_config")
    found = [] if section is None else section.iterfind("cluster_property_set/nvpair")
    return [pair for pair in found if pair.get("name") == name]


def free_id(configuration: Configuration, wanted: str) -> str:
    """The id wanted, or one like it that is not used yet."""
    taken = {element.get("id") for element in configuration.root.iter("*")}
    candidate, number = wanted, 0
    while candidate in taken:
        number += 1
        candidate = f"{wanted}-{number}"
    return candidate


def set_target_role(configuration: Configuration, identity: str, role: str) -> str:
    """Sets the role for a resource; members that have a target role of their own lose it, since it would win. Returns what was done."""
    element = resource_of(configuration, identity)
    if role in ("Promoted", "Unpromoted") and not is_promotable(element):
        raise ConfigurationError([f"{identity} is no promotable clone; only those can be promoted and demoted"])
    also = clear_below(element, "meta", "target-role")
    set_attribute(configuration, element, "meta", "target-role", role)
    return f"target-role={role}" + (f"; {', '.join(also)} had one of their own, now gone" if also else "")


def is_promotable(element: etree._Element) -> bool:
    if element.tag == "master":
        return True
    if element.tag == "bundle":
        return element.find("primitive") is not None
    value = get_attribute(element, "meta", "promotable") if element.tag == "clone" else None
    return (value or "").lower() in ("true", "yes", "on", "y", "1")


# --- moves and bans ---------------------------------------------------------------------------------------------------


def end_of(lifetime: str, now: datetime) -> str:
    """The end of a lifetime as the CIB has it. `lifetime`: 30s, 5min, 2h, 1d, an ISO 8601 duration such as PT5M, or a date."""
    match = _DURATION.match(lifetime.strip())
    if match:
        return _stamp(now + timedelta(seconds=int(match[1]) * _UNITS[match[2][0].lower()]))
    iso = _ISO.match(lifetime.strip())
    if iso and any(iso.groups()):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
        return _stamp(now + timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds))
    if _DATE.match(lifetime.strip()):
        return lifetime.strip()
    raise ConfigurationError(
        [f"{lifetime!r} is no lifetime; expected 30s, 5min, 2h, 1d, PT5M or a date such as 2030-01-31 12:00"]
    )


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def prefer(configuration: Configuration, resource: str, node: str, *, until: str = "", role: str = "Started") -> str:
    """The resource is to run on the node whatever its scores. Replaces an earlier move, and bans of it from there. Returns the constraint's id."""
    resource_of(configuration, resource)
    clear(configuration, resource, node)
    remove_constraint(configuration, f"{PREFER}{resource}")
    return _constrain(configuration, f"{PREFER}{resource}", "cli-prefer", resource, node, "INFINITY", until, role)


def ban(configuration: Configuration, resource: str, node: str, *, until: str = "", role: str = "Started") -> str:
    """The resource must not run on the node. Returns the constraint's id."""
    resource_of(configuration, resource)
    remove_constraint(configuration, f"{BAN}{resource}-on-{node}")
    constraint = configuration.find(f"{PREFER}{resource}")
    if constraint is not None and _mentions(constraint.element, node):
        remove_constraint(configuration, f"{PREFER}{resource}")
    return _constrain(configuration, f"{BAN}{resource}-on-{node}", "cli-ban", resource, node, "-INFINITY", until, role)


def _constrain(
    configuration: Configuration, identity: str, stem: str, resource: str, node: str, score: str, until: str, role: str
) -> str:
    constraint = etree.SubElement(xml.ensure_section(configuration.root, "constraints"), "rsc_location", id=identity)
    constraint.set("rsc", resource)
    constraint.set("role", role)
    if not until:
        constraint.set("node", node)
        constraint.set("score", score)
        return identity
    tail = identity.removeprefix(f"{stem}-")
    rule = etree.SubElement(constraint, "rule", {"id": f"{stem}-rule-{tail}", "score": score, "boolean-op": "and"})
    names = {"id": f"{stem}-expr-{tail}", "attribute": "#uname", "operation": "eq", "value": node, "type": "string"}
    etree.SubElement(rule, "expression", names)
    etree.SubElement(rule, "date_expression", id=f"{stem}-lifetime-end-{tail}", operation="lt", end=until)
    return identity


def _mentions(constraint: etree._Element, node: str) -> bool:
    return constraint.get("node") == node or any(item.get("value") == node for item in constraint.iter("expression"))


def clear(configuration: Configuration, resource: str, node: str = "") -> list[str]:
    """Removes moves and bans of the resource (of that node, if given); returns the ids of what went."""
    gone: list[str] = []
    for constraint in list(xml.elements(xml.section(configuration.root, "constraints"), "rsc_location")):
        identity = constraint.get("id", "")
        ours = identity.startswith((PREFER, BAN)) and constraint.get("rsc") == resource
        if ours and (not node or _mentions(constraint, node)):
            remove_constraint(configuration, identity)
            gone.append(identity)
    return gone


def remove_constraint(configuration: Configuration, identity: str) -> bool:
    for constraint in list(xml.elements(xml.section(configuration.root, "constraints"))):
        parent = constraint.getparent()
        if constraint.get("id") == identity and parent is not None:
            parent.remove(constraint)
            return True
    return False


# --- nodes ------------------------------------------------------------------------------------------------------------


def rename_node(configuration: Configuration, old: str, new: str) -> None:
    """The node, and whatever names it: locations, rules about `#uname`, fencing levels."""
    node_of(configuration, old).set("uname", new)
    for element in configuration.root.iterfind("configuration//*"):
        if element.tag in ("rsc_location", "fencing-level"):
            for attribute in ("node", "target"):
                if element.get(attribute) == old:
                    element.set(attribute, new)
        elif element.tag == "expression" and element.get("attribute") == "#uname" and element.get("value") == old:
            element.set("value", new)


def node_of(configuration: Configuration, name: str) -> etree._Element:
    """The node with this name or id. ConfigurationError when there is none."""
    nodes = list(xml.elements(xml.section(configuration.root, "nodes"), "node"))
    for element in nodes:
        if name in (element.get("uname"), element.get("id")):
            return element
    known = [element.get("uname", "") for element in nodes]
    raise ConfigurationError([f"there is no node {name!r}{_meant(name, known)}"])
