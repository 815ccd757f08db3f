"""Clones: a primitive or group with several instances, anonymous or unique, promotable or not.

Theory of operation. All instances that the configuration allows are made at once, numbered from 0. History may later ask for one more
(`extra_instance`), which is marked removed because the numbers are exhausted.

Sources: scheduler specification, part 1, section 7.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.policy.model import Clone, Resource
from crm.policy.resources.meta import check_target_role, interpret
from crm.policy.values import parse_count, truthy

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.resources.unpack import Builder

MAX_INSTANCES: Final = 4096
MAX_SPARE_INSTANCES: Final = 256
"""More instances of one clone, or replicas of one bundle, than this and than the nodes have room for are taken for a mistake: every one costs
memory and, with the others, time."""


def build(builder: Builder, element: _Element, parent: Resource | None, child: _Element | None = None) -> Clone | None:
    """A clone of `child`, by default the first primitive or group inside the element."""
    if child is None:
        child = next(element.iterchildren("primitive", "group"), None)
    name = element.get("id", "")
    if child is None:
        builder.state.config.report(
            "error", "clone-empty", element, f"clone {name} has nothing to clone; it is ignored"
        )
        return None
    clone = Clone(id=name, xml=element, parent=parent, child_name=child.get("id", ""))
    clone.meta = builder.metas.effective(clone)
    _read_counts(builder, clone, element)
    if not _fits_agents(builder, clone, child):
        return None
    interpret(builder.state, clone)
    if "resource-stickiness" not in clone.meta:
        clone.meta["resource-stickiness"] = "1"
        clone.stickiness = 1
    check_target_role(builder.state, clone)
    builder.instance_elements[clone] = child
    for number in range(max(1, clone.clone_max)):
        instance = _instance(builder, clone, number)
        if instance is None:
            return None
        if clone.clone_max == 0:
            mark_removed(instance)
    builder.register(clone)
    return clone


def most_instances(nodes: int, per_node: int) -> int:
    return min(MAX_INSTANCES, max(MAX_SPARE_INSTANCES, nodes * per_node))


def extra_instance(builder: Builder, clone: Clone) -> Resource | None:
    """One more instance than the clone may have."""
    instance = _instance(builder, clone, len(clone.children))
    if instance is not None and instance is clone.children[-1] and len(clone.children) > clone.clone_max:
        mark_removed(instance)
    return instance


def _instance(builder: Builder, clone: Clone, number: int) -> Resource | None:
    instance = builder.build(builder.instance_elements[clone], clone, number)
    if instance is not None:
        clone.children.append(instance)
    return instance


def mark_removed(rsc: Resource) -> None:
    rsc.removed = True
    for child in rsc.children:
        mark_removed(child)


def _read_counts(builder: Builder, clone: Clone, element: _Element) -> None:
    meta = clone.meta
    clone.promotable = truthy(meta.get("promotable")) or element.tag == "master"
    clone.clone_node_max = parse_count(meta.get("clone-node-max"), 1)
    unique = meta.get("globally-unique")
    clone.unique = truthy(unique) if unique is not None else clone.clone_node_max > 1
    clone.clone_max = parse_count(meta.get("clone-max"), max(1, len(builder.state.nodes)))
    most = most_instances(len(builder.state.nodes), clone.clone_node_max)
    if clone.clone_max > most:
        message = f"clone {clone.id}: clone-max {clone.clone_max} is reduced to {most}"
        builder.state.config.report("warning", "clone-max", element, message, attribute="clone-max")
        clone.clone_max = most
    clone.clone_min = parse_count(meta.get("clone-min"), 0)
    if not clone.unique:
        clone.clone_node_max = 1
    if clone.promotable:
        meta["promotable"] = "true"
        clone.promoted_max = parse_count(meta.get("promoted-max", meta.get("master-max")), 1)
        clone.promoted_node_max = parse_count(meta.get("promoted-node-max", meta.get("master-node-max")), 1)
    clone.ordered = truthy(meta.get("ordered"))
    clone.interleave = truthy(meta.get("interleave"))


def _fits_agents(builder: Builder, clone: Clone, child: _Element) -> bool:
    """Some kinds of agents can be neither unique nor promotable."""
    members = child.iterchildren("primitive") if child.tag == "group" else iter((child,))
    standards = [xml.get("class", "").lower() for xml in map(builder.expanded, members) if xml is not None]
    report = builder.state.config.report
    if clone.promotable and any(standard != "ocf" for standard in standards):
        report(
            "error", "not-promotable", clone.xml, f"{clone.id}: only ocf agents are promotable; the clone is ignored"
        )
        return False
    if clone.unique and any(standard not in ("ocf", "stonith") for standard in standards):
        message = f"{clone.id}: its agent cannot be globally unique; the clone is anonymous"
        report("warning", "not-unique", clone.xml, message, attribute="globally-unique")
        clone.unique = False
        clone.clone_node_max = 1
        clone.clone_max = min(clone.clone_max, len(builder.state.nodes))
    clone.meta["globally-unique"] = "true" if clone.unique else "false"
    clone.meta["clone-max"] = str(clone.clone_max)
    return True
