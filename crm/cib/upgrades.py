"""The conversions of `crm.cib.schema`, one function for each piece of old syntax.

Each gets a `Conversion`: the configuration to be changed in place, and the notes. What old syntax meant is taken from Pacemaker's
documentation of its schema changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.report import ReportItem, Severity

_RESOURCES: Final = ("primitive", "group", "clone", "master", "bundle", "template")
_ROLES: Final = {"master": "Promoted", "slave": "Unpromoted"}


class Conversion:
    """The configuration under conversion, and what was done to it."""

    def __init__(self, root: etree._Element) -> None:
        self.root = root
        self.notes: list[ReportItem] = []
        self._ids = {element.get("id") for element in root.iter("*")}

    def note(self, element: etree._Element, message: str, *, dropped: bool = False) -> None:
        severity = Severity.WARNING if dropped else Severity.NOTICE
        code = "dropped" if dropped else "upgraded"
        self.notes.append(ReportItem(severity, code, xml.describe(element), message, line=xml.line_of(element)))

    def drop(self, element: etree._Element, message: str) -> None:
        self.note(element, message, dropped=True)
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)

    def new_id(self, wanted: str) -> str:
        """`wanted`, or with a number when that is taken."""
        identity, number = wanted, 1
        while identity in self._ids:
            identity = f"{wanted}-{number}"
            number += 1
        self._ids.add(identity)
        return identity

    def section(self, name: str) -> etree._Element:
        found = self.root.find(name)
        if found is None:
            order = set(xml.SECTIONS[xml.SECTIONS.index(name) + 1 :])
            position = next((i for i, child in enumerate(self.root) if child.tag in order), len(self.root))
            found = etree.Element(name)
            self.root.insert(position, found)
        return found

    def resources(self) -> Iterator[etree._Element]:
        """Every resource and template, members included."""
        yield from list(self.section("resources").iter(*_RESOURCES))

    def default(self, section: str, name: str, value: str) -> None:
        """Sets a default that was a cluster property once, unless it is set already."""
        holder = self.section(section)
        if any(nvpair.get("name") == name for nvpair in holder.iter("nvpair")):
            return
        nvset = holder.find("meta_attributes")
        if nvset is None:
            prefix = "rsc" if section == "rsc_defaults" else "op"
            nvset = etree.SubElement(holder, "meta_attributes", {"id": self.new_id(f"{prefix}-options")})
        self.add_pair(nvset, name, value)

    def meta(self, resource: etree._Element, name: str, value: str) -> None:
        """Sets a meta-attribute unless it is set already."""
        sets = list(resource.iterchildren("meta_attributes"))
        if any(nvpair.get("name") == name for nvset in sets for nvpair in nvset.iterchildren("nvpair")):
            return
        own = [nvset for nvset in sets if nvset.get("id-ref") is None]
        if own:
            nvset = own[0]
        else:
            nvset = etree.Element("meta_attributes", {"id": self.new_id(f"{resource.get('id')}-meta_attributes")})
            resource.insert(0, nvset)
        self.add_pair(nvset, name, value)

    def add_pair(self, nvset: etree._Element, name: str, value: str) -> None:
        identity = self.new_id(f"{nvset.get('id')}-{name}")
        etree.SubElement(nvset, "nvpair", {"id": identity, "name": name, "value": value})


# 2.0


def access_lists(conversion: Conversion) -> None:
    """`read`, `write`, `deny` become `acl_permission`; `acl_user` becomes `acl_target`, its own permissions a role."""
    acls = conversion.root.find("acls")
    if acls is None:
        return
    for old in list(acls.iter("read", "write", "deny")):
        conversion.note(old, f"<{old.tag}> became an <acl_permission>")
        attributes = {"id": old.get("id", ""), "kind": str(old.tag)}
        for name, new in (("xpath", "xpath"), ("ref", "reference"), ("tag", "object-type"), ("attribute", "attribute")):
            value = old.get(name)
            if value is not None:
                attributes[new] = value
        _retag(old, "acl_permission", attributes)
    for user in list(acls.iterchildren("acl_user")):
        name = user.get("id", "")
        conversion.note(user, "<acl_user> became an <acl_target>")
        permissions = list(user.iterchildren("acl_permission"))
        target = etree.Element("acl_target", {"id": name})
        for reference in user.iterchildren("role_ref"):
            etree.SubElement(target, "role", {"id": reference.get("id", "")})
        if permissions:
            role = etree.Element("acl_role", {"id": conversion.new_id(f"{name}-permissions")})
            role.extend(permissions)
            user.addprevious(role)
            etree.SubElement(target, "role", {"id": role.get("id", "")})
        acls.replace(user, target)


# 3.0

_DASHED: Final = frozenset(
    [
        "no-quorum-policy",
        "stonith-enabled",
        "symmetric-cluster",
        "startup-fencing",
        "stonith-action",
        "stop-orphan-resources",
        "stop-orphan-actions",
        "dc-deadtime",
        "cluster-recheck-interval",
        "election-timeout",
        "shutdown-escalation",
        "remove-after-stop",
    ]
)
_MOVED: Final = {
    "default-resource-stickiness": ("rsc_defaults", "resource-stickiness"),
    "is-managed-default": ("rsc_defaults", "is-managed"),
    "default-action-timeout": ("op_defaults", "timeout"),
    "default-migration-threshold": ("rsc_defaults", "migration-threshold"),
}


def cluster_properties(conversion: Conversion) -> None:
    for nvpair in list(conversion.section("crm_config").iter("nvpair")):
        name, value = nvpair.get("name", ""), nvpair.get("value", "")
        dashed = name.replace("_", "-")
        if dashed in _MOVED:
            section, option = _MOVED[dashed]
            conversion.note(nvpair, f"{name} became {option} in {section}")
            conversion.default(section, option, value)
            _remove(nvpair)
        elif dashed == "default-resource-failure-stickiness":
            if value == "-INFINITY":
                conversion.default("rsc_defaults", "migration-threshold", "1")
                conversion.note(nvpair, f"{name} became migration-threshold=1 in rsc_defaults")
                _remove(nvpair)
            else:
                conversion.drop(nvpair, f"{name}={value} has no counterpart any more; see migration-threshold")
        elif dashed == "transition-idle-timeout":
            _rename(conversion, nvpair, "cluster-delay")
        elif dashed == "expected-quorum-votes" or dashed.startswith("notification-"):
            conversion.drop(nvpair, f"{name} has no counterpart any more")
        elif dashed in _DASHED and dashed != name:
            _rename(conversion, nvpair, dashed)


def node_types(conversion: Conversion) -> None:
    for node in conversion.section("nodes").iterchildren("node"):
        if node.get("type") == "normal":
            node.set("type", "member")
            conversion.note(node, "the type normal is called member")


def resource_meta(conversion: Conversion) -> None:
    for resource in conversion.resources():
        for nvpair in [p for nvset in resource.iterchildren("meta_attributes") for p in nvset.iterchildren("nvpair")]:
            name, value = nvpair.get("name", ""), nvpair.get("value", "")
            if name.startswith("isolation"):
                conversion.drop(nvpair, f"{name}: isolation is not supported; the resource stays stopped (target-role)")
                conversion.meta(resource, "target-role", "Stopped")
            elif name.replace("_", "-") == "resource-failure-stickiness":
                if value == "-INFINITY":
                    conversion.note(nvpair, f"{name} became migration-threshold=1")
                    _remove(nvpair)
                    conversion.meta(resource, "migration-threshold", "1")
                else:
                    conversion.drop(nvpair, f"{name}={value} has no counterpart any more; see migration-threshold")


_OPERATION_META: Final = ("interval-origin", "start-delay", "enabled", "on-fail", "record-pending", "role", "timeout")


def operations(conversion: Conversion) -> None:
    """`requires` belongs to the resource; options of an operation are meta-attributes, not parameters."""
    for resource in conversion.resources():
        for op in resource.iterfind("operations/op"):
            requires = op.get("requires")
            if requires is not None:
                del op.attrib["requires"]
                if op.get("name") in ("start", "promote"):
                    conversion.note(op, "requires became a meta-attribute of the resource")
                    conversion.meta(resource, "requires", requires)
                else:
                    conversion.note(op, "requires has no effect on this operation", dropped=True)
            for nvset in list(op.iterchildren("instance_attributes")):
                moved = [p for p in nvset.iterchildren("nvpair") if p.get("name") in _OPERATION_META]
                if not moved:
                    continue
                target = etree.Element("meta_attributes", {"id": conversion.new_id(f"{op.get('id')}-meta_attributes")})
                conversion.note(op, f"{', '.join(p.get('name', '') for p in moved)} became meta-attributes")
                target.extend(moved)
                nvset.addnext(target)
                if next(nvset.iterchildren("*"), None) is None:
                    op.remove(nvset)


def colocations(conversion: Conversion) -> None:
    for constraint in conversion.section("constraints").iterchildren("rsc_colocation"):
        for name in ("score-attribute", "score-attribute-mangle"):
            if constraint.get(name) is not None:
                del constraint.attrib[name]
                conversion.note(constraint, f"{name} has no counterpart any more", dropped=True)


_COMMAND = re.compile(r"pcmk_(.+)_cmd\Z")


def fencing_commands(conversion: Conversion) -> None:
    for resource in conversion.resources():
        if resource.get("class") == "stonith":
            for nvpair in [p for s in resource.iterchildren("instance_attributes") for p in s.iterchildren("nvpair")]:
                match = _COMMAND.match(nvpair.get("name", ""))
                if match is not None:
                    _rename(conversion, nvpair, f"pcmk_{match[1]}_action")


# 4.0

_RENAMED: Final = {
    "crmd-integration-timeout": "join-integration-timeout",
    "crmd-finalization-timeout": "join-finalization-timeout",
    "crmd-transition-delay": "transition-delay",
}


def renamed_properties(conversion: Conversion) -> None:
    for nvpair in list(conversion.section("crm_config").iter("nvpair")):
        name = nvpair.get("name", "")
        if name in _RENAMED:
            _rename(conversion, nvpair, _RENAMED[name])
        elif name == "remove-after-stop":
            conversion.drop(nvpair, f"{name} has no counterpart any more")
        elif name == "stonith-action" and nvpair.get("value") == "poweroff":
            nvpair.set("value", "off")
            conversion.note(nvpair, "poweroff is called off")


def masters(conversion: Conversion) -> None:
    """A `master` is a clone whose first set of meta-attributes says so, above anything that it says itself."""
    for master in list(conversion.section("resources").iter("master")):
        identity = master.get("id", "")
        conversion.note(master, "<master> became a <clone> with promotable=true")
        master.tag = "clone"
        nvset = etree.Element("meta_attributes", {"id": conversion.new_id(f"{identity}-promotable")})
        nvset.set("score", "INFINITY")
        conversion.add_pair(nvset, "promotable", "true")
        master.insert(0, nvset)
    for clone in conversion.section("resources").iter("clone", "bundle"):
        for nvset in clone.iterchildren("meta_attributes"):
            names = {nvpair.get("name") for nvpair in nvset.iterchildren("nvpair")}
            for nvpair in nvset.iterchildren("nvpair"):
                name = nvpair.get("name", "")
                new = name.replace("master-", "promoted-")
                if name in ("master-max", "master-node-max") and new not in names:
                    _rename(conversion, nvpair, new)


def roles(conversion: Conversion) -> None:
    for element in conversion.root.iter("op", "rsc_location", "rsc_colocation", "rsc_ticket", "resource_set", "rule"):
        for name in ("role", "rsc-role", "with-rsc-role"):
            new = _ROLES.get(element.get(name, "").lower())
            if new is not None:
                conversion.note(element, f"{name} {element.get(name)} is called {new}")
                element.set(name, new)
    for nvpair in conversion.root.iter("nvpair"):
        new = _ROLES.get(nvpair.get("value", "").lower())
        if new is not None and nvpair.get("name") in ("target-role", "role"):
            conversion.note(nvpair, f"{nvpair.get('name')} {nvpair.get('value')} is called {new}")
            nvpair.set("value", new)


def bundles(conversion: Conversion) -> None:
    for container in conversion.section("resources").iter("docker", "podman", "rkt"):
        masters_ = container.get("masters")
        if masters_ is not None:
            del container.attrib["masters"]
            if container.get("promoted-max") is None:
                container.set("promoted-max", masters_)
            conversion.note(container, "masters is called promoted-max")


def unsupported_resources(conversion: Conversion) -> None:
    """Agents of classes, and containers, that are no longer supported; and what is left without meaning by that."""
    gone: set[str] = set()
    for resource in conversion.resources():
        unsupported = resource.get("class") in ("nagios", "upstart") or resource.find("rkt") is not None
        templated = resource.get("template") in gone
        if unsupported or templated:
            gone |= _with_members(resource)
            conversion.drop(resource, "its class or container is not supported any more")
    for resource in reversed(list(conversion.resources())):
        if resource.tag in ("group", "clone") and not any(True for _ in resource.iterchildren(*_RESOURCES)):
            gone |= _with_members(resource)
            conversion.drop(resource, "nothing is left in it")
    if gone:
        _drop_references(conversion, gone)


def _with_members(resource: etree._Element) -> set[str]:
    return {element.get("id", "") for element in resource.iter(*_RESOURCES)}


def _drop_references(conversion: Conversion, gone: set[str]) -> None:
    for reference in list(conversion.root.iter("resource_ref", "obj_ref")):
        if reference.get("id") in gone:
            _remove(reference)
    for holder in list(conversion.root.iter("resource_set", "tag")):
        if holder.get("id-ref") is None and next(holder.iterchildren("*"), None) is None:
            gone.add(holder.get("id", ""))
            conversion.drop(holder, "nothing is left in it")
    for constraint in list(conversion.section("constraints").iterchildren("*")):
        named = {constraint.get(name) for name in ("rsc", "with-rsc", "first", "then")}
        two = (
            constraint.tag in ("rsc_colocation", "rsc_order") and constraint.get("rsc", constraint.get("first")) is None
        )
        if named & gone or (two and constraint.find("resource_set") is None):
            conversion.drop(constraint, "what it concerns is not there any more")


def ping_nodes(conversion: Conversion) -> None:
    """A ping node was never to run anything: that is a ban now."""
    for node in conversion.section("nodes").iterchildren("node"):
        if node.get("type") != "ping":
            continue
        node.set("type", "member")
        conversion.note(node, "the type ping became a ban of all resources")
        attributes = {
            "id": conversion.new_id(f"ping-ban-{_id_part(node.get('uname', ''))}"),
            "rsc-pattern": ".*",
            "node": node.get("uname", ""),
            "score": "-INFINITY",
            "resource-discovery": "never",
        }
        etree.SubElement(conversion.section("constraints"), "rsc_location", attributes)


def lifetimes(conversion: Conversion) -> None:
    """The lifetime of a location constraint is one more condition of its rule; elsewhere it never had an effect."""
    for constraint in list(conversion.section("constraints").iterchildren("*")):
        lifetime = constraint.find("lifetime")
        if lifetime is None:
            continue
        rules = list(lifetime.iterchildren("rule"))
        constraint.remove(lifetime)
        if constraint.tag != "rsc_location":
            conversion.note(constraint, "lifetime has no effect on this constraint", dropped=True)
            continue
        conversion.note(constraint, "lifetime became a condition of the rule")
        when = rules[0] if len(rules) == 1 else _any_of(conversion, constraint, rules)
        _pop(when, "score")
        present = list(constraint.iterchildren("rule")) or [_node_rule(conversion, constraint)]
        for rule in present[1:]:
            _add_condition(conversion, constraint, rule, _copy(conversion, when))
        _add_condition(conversion, constraint, present[0], when)


def _any_of(conversion: Conversion, constraint: etree._Element, rules: list[etree._Element]) -> etree._Element:
    identity = conversion.new_id(f"{constraint.get('id')}-lifetime")
    either = etree.Element("rule", {"id": identity, "boolean-op": "or"})
    either.extend(rules)
    return either


def _node_rule(conversion: Conversion, constraint: etree._Element) -> etree._Element:
    """`node` and `score` of the constraint, as a rule."""
    identity = f"{constraint.get('id')}-rule"
    rule = etree.SubElement(constraint, "rule", {"id": conversion.new_id(identity)})
    rule.set("score", _pop(constraint, "score") or "0")
    attributes = {"attribute": "#uname", "operation": "eq", "value": _pop(constraint, "node")}
    etree.SubElement(rule, "expression", {"id": conversion.new_id(f"{identity}-expression"), **attributes})
    return rule


def _add_condition(
    conversion: Conversion, constraint: etree._Element, rule: etree._Element, when: etree._Element
) -> None:
    """The rule and the condition, both: an `and` around them that has the rule's score."""
    both = etree.Element("rule", {"id": conversion.new_id(f"{rule.get('id')}-lifetime"), "boolean-op": "and"})
    for name in ("score", "score-attribute", "role"):
        if name in rule.attrib:
            both.set(name, _pop(rule, name))
    constraint.replace(rule, both)
    both.append(rule)
    both.append(when)


def _copy(conversion: Conversion, element: etree._Element) -> etree._Element:
    """With ids of its own."""
    copy = deepcopy(element)
    for part in copy.iter("*"):
        identity = part.get("id")
        if identity is not None:
            part.set("id", conversion.new_id(identity))
    return copy


def location_rules(conversion: Conversion) -> None:
    """A location constraint has one rule; several become as many constraints."""
    for constraint in list(conversion.section("constraints").iterchildren("rsc_location")):
        rules = list(constraint.iterchildren("rule"))
        if len(rules) < 2:
            continue
        conversion.note(constraint, f"its {len(rules)} rules became a constraint each")
        previous = constraint
        for rule in rules[1:]:
            another = etree.Element("rsc_location", {str(key): str(value) for key, value in constraint.attrib.items()})
            another.set("id", conversion.new_id(f"{constraint.get('id')}-{rule.get('id') or 'rule'}"))
            for nvset in constraint.iterchildren("resource_set"):
                identity = nvset.get("id") or nvset.get("id-ref") or ""
                etree.SubElement(another, "resource_set", {"id-ref": identity})
            another.append(rule)
            previous.addnext(another)
            previous = another


def pairs(conversion: Conversion) -> None:
    """A pair has a value; of several with one name in a set the first counts; `id-ref` with a name is a pair of its own."""
    by_id = {nvpair.get("id"): nvpair for nvpair in conversion.root.iter("nvpair") if nvpair.get("id") is not None}
    for nvpair in list(conversion.root.iter("nvpair")):
        reference, name = nvpair.get("id-ref"), nvpair.get("name")
        if reference is not None and name is not None and reference in by_id:
            parent = nvpair.getparent()
            owner = "" if parent is None else parent.get("id", "")
            value = by_id[reference].get("value", "")
            attributes = {"id": conversion.new_id(f"{owner}-{name}"), "name": name, "value": value}
            conversion.note(nvpair, f"the reference to {reference} under another name became a pair of its own")
            _retag(nvpair, "nvpair", attributes)
        elif reference is None and nvpair.get("value") is None:
            conversion.drop(nvpair, f"{name} has no value")
    for nvset in conversion.root.iter("cluster_property_set", "instance_attributes", "meta_attributes", "utilization"):
        seen: set[str] = set()
        for nvpair in list(nvset.iterchildren("nvpair")):
            name = nvpair.get("name")
            if name is not None and name in seen:
                conversion.drop(nvpair, f"{name} is set earlier in the same set; only the first counted")
            elif name is not None:
                seen.add(name)


def leftovers(conversion: Conversion) -> None:
    """What has had no effect for long."""
    for resource in conversion.resources():
        for nvset in resource.iterchildren("meta_attributes"):
            _drop_pairs(conversion, nvset, ("restart-type",))
        for nvset in resource.iterfind("operations/op/meta_attributes"):
            _drop_pairs(conversion, nvset, ("can_fail", "role_after_failure"))
    for spec in conversion.root.iter("date_spec"):
        if _pop(spec, "moon"):
            conversion.note(spec, "moon has no effect", dropped=True)
    topology = conversion.root.find("fencing-topology")
    for level in list(xml.elements(topology, "fencing-level")):
        index = level.get("index", "")
        if index.isdigit() and int(index) > 9:
            conversion.drop(level, f"index {index}: there are levels 1 to 9 only")


# Parts


def _drop_pairs(conversion: Conversion, nvset: etree._Element, names: tuple[str, ...]) -> None:
    for nvpair in list(nvset.iterchildren("nvpair")):
        if nvpair.get("name") in names:
            conversion.drop(nvpair, f"{nvpair.get('name')} has no effect")


def _rename(conversion: Conversion, nvpair: etree._Element, name: str) -> None:
    conversion.note(nvpair, f"{nvpair.get('name')} is called {name}")
    nvpair.set("name", name)


def _retag(element: etree._Element, tag: str, attributes: dict[str, str]) -> None:
    element.tag = tag
    element.attrib.clear()
    for name, value in attributes.items():
        element.set(name, value)


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _pop(element: etree._Element, name: str) -> str:
    """The attribute's value, which is taken away; empty when there is none."""
    value = element.get(name)
    if value is None:
        return ""
    del element.attrib[name]
    return value


def _id_part(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
