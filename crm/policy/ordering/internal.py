"""Orderings that follow from what a resource is (12): declared for every resource before any action of it exists.

One function per resource kind; the order of declaration is the specification's, because it decides which missing actions get created
when declarations become relations, and which reason an action gets first.
"""

from __future__ import annotations

from crm.policy.actions.model import (
    BLOCK,
    CANCEL,
    FGRAPH,
    FIRSTREQ,
    GUESTOK,
    LOAD,
    ORD,
    PROMREQ,
    RESTART,
    SAMENODE,
    TGRAPH,
    THENREQ,
    THENREQ1,
)
from crm.policy.actions.plan import Plan
from crm.policy.model import Bundle, Clone, Group, Needs, Primitive, Resource, Role
from crm.policy.values import truthy


def declare_internal(plan: Plan, rsc: Resource) -> None:
    if isinstance(rsc, Primitive):
        _primitive(plan, rsc)
    elif isinstance(rsc, Group):
        _group(plan, rsc)
    elif isinstance(rsc, Clone):
        _clone(plan, rsc)
    elif isinstance(rsc, Bundle):
        _bundle(plan, rsc)


def _is_promotable(rsc: Resource) -> bool:
    return rsc.promotable if isinstance(rsc, Clone) else truthy(rsc.meta.get("promotable"))


# --- primitive (12.1) -------------------------------------------------------------------------------------------------


def _primitive(plan: Plan, rsc: Primitive) -> None:
    if not plan.managed[rsc.index]:
        return
    declare = plan.declare
    declare(rsc, "stop", rsc, "start", ORD | THENREQ | RESTART)
    if _is_promotable(rsc.top) or plan.role[rsc.index] is Role.PROMOTED:
        declare(rsc, "demote", rsc, "stop", PROMREQ)
        declare(rsc, "start", rsc, "promote", BLOCK)
    declare(rsc, "lrm_delete", rsc, "monitor", SAMENODE | CANCEL)
    if rsc.needs is Needs.UNFENCING and plan.state.unfencing_in_use and rsc.standard.lower() != "stonith":
        _unfencing(plan, rsc)
    if rsc.utilization and plan.options.placement_strategy != "default":
        _utilization(plan, rsc)
    launcher = rsc.launcher
    if launcher is None or launcher is rsc:
        return
    if rsc.is_connection:
        declare(launcher, "monitor", rsc, "stop", ORD)
    if not _is_pinned(rsc, launcher):
        declare(launcher, "start", rsc, "start", THENREQ | BLOCK)
        declare(rsc, "stop", launcher, "stop", FIRSTREQ)


def _is_pinned(rsc: Primitive, launcher: Resource) -> bool:
    """Does the launcher itself provide the node that the resource must run on?"""
    if rsc.is_connection or not isinstance(launcher, Primitive):
        return False
    return launcher.is_connection or any(isinstance(r, Primitive) and r.is_connection for r in launcher.launched)


def _unfencing(plan: Plan, rsc: Primitive) -> None:
    for node in plan.state.nodes:
        if node in plan.tables[rsc.index]:
            unfence = plan.fence_op(node, "on", optional=True, reason=None)
            plan.declare_before(rsc, "stop", unfence, ORD | SAMENODE)
            plan.declare_after(unfence, rsc, "start", THENREQ1 | SAMENODE)


def _utilization(plan: Plan, rsc: Primitive) -> None:
    """18.2: a start waits until everything that leaves its node has stopped."""
    for node in rsc.active_nodes:
        stopped = plan.loose_pseudo(f"load_stopped_{node.name}", optional=False, node=node)
        plan.declare_before(rsc, "stop", stopped, LOAD)
    for node in plan.state.nodes:
        if node in plan.tables[rsc.index]:
            stopped = plan.loose_pseudo(f"load_stopped_{node.name}", optional=False, node=node)
            plan.declare_after(stopped, rsc, "start", LOAD)
            plan.declare_after(stopped, rsc, "migrate_to", LOAD)


# --- group (12.2) -----------------------------------------------------------------------------------------------------


def _group(plan: Plan, group: Group) -> None:
    declare = plan.declare
    declare(group, "stop", group, "stopped", BLOCK)
    declare(group, "stopped", group, "start", ORD)
    declare(group, "start", group, "running", BLOCK)
    promotable = _is_promotable(group.top)
    previous: Resource | None = None
    last_active: Resource | None = None
    for member in plan.children[group.index]:
        declare_internal(plan, member)
        first = group.ordered and previous is None
        down = FGRAPH | ORD if first else FGRAPH
        post = THENREQ if first else TGRAPH
        if promotable:
            declare(group, "demote", member, "demote", down)
            declare(member, "demote", group, "demoted", post)
            declare(member, "promote", group, "promoted", BLOCK | THENREQ | TGRAPH)
            declare(group, "promote", member, "promote", FGRAPH)
        declare(group, "stop", member, "stop", down)
        declare(member, "stop", group, "stopped", post)
        declare(group, "start", member, "start", FGRAPH)
        declare(member, "start", group, "running", BLOCK | THENREQ | TGRAPH)
        if not group.ordered:
            declare(group, "start", member, "start", THENREQ | BLOCK | FGRAPH)
            if promotable:
                declare(group, "promote", member, "promote", THENREQ | BLOCK | FGRAPH)
        elif previous is not None:
            _after_previous(plan, member, previous, promotable)
            if member.active_nodes and not previous.active_nodes and last_active is not None:
                declare(member, "stop", last_active, "stop", ORD)
        if member.active_nodes:
            last_active = member
        previous = member


def _after_previous(plan: Plan, member: Resource, previous: Resource, promotable: bool) -> None:
    declare = plan.declare
    declare(previous, "start", member, "start", THENREQ | BLOCK)
    declare(member, "stop", previous, "stop", ORD | RESTART)
    if member.active_nodes and not previous.active_nodes:
        # the predecessor starts while this one runs: it must first stop
        declare(member, "stop", previous, "start", FIRSTREQ | BLOCK)
    if promotable:
        declare(previous, "promote", member, "promote", THENREQ | BLOCK)
        declare(member, "demote", previous, "demote", ORD)


# --- clone (12.3) -----------------------------------------------------------------------------------------------------


def instance_number(rsc: Resource) -> int:
    tail = rsc.id.rpartition(":")[2]
    return int(tail) if tail.isascii() and tail.isdigit() else 0


def _clone(plan: Plan, clone: Clone) -> None:
    declare = plan.declare
    declare(clone, "stopped", clone, "start", ORD)
    declare(clone, "start", clone, "running", BLOCK)
    declare(clone, "stop", clone, "stopped", BLOCK)
    if clone.promotable:
        declare(clone, "demoted", clone, "stop", ORD)
        declare(clone, "running", clone, "promote", BLOCK)
    instances = list(plan.children[clone.index])
    if clone.ordered:
        instances.sort(key=instance_number)
    for position, instance in enumerate(instances):
        declare_internal(plan, instance)
        declare(clone, "start", instance, "start", BLOCK | FGRAPH)
        declare(instance, "start", clone, "running", TGRAPH)
        declare(clone, "stop", instance, "stop", FGRAPH)
        declare(instance, "stop", clone, "stopped", TGRAPH)
        if clone.ordered:
            for later in instances[position + 1 :]:
                declare(instance, "start", later, "start", ORD)
                declare(later, "stop", instance, "stop", ORD)
    if clone.promotable:
        _restart_set(plan, clone)
        _promotable_instances(plan, clone, instances)


def _restart_set(plan: Plan, rsc: Resource) -> None:
    for first, then in (
        ("stopped", "start"),
        ("stopped", "promote"),
        ("demoted", "stop"),
        ("demoted", "start"),
        ("demoted", "promote"),
        ("running", "promote"),
        ("demote", "demoted"),
    ):
        plan.declare(rsc, first, rsc, then, ORD)


def _promotable_instances(plan: Plan, clone: Clone, instances: list[Resource]) -> None:
    declare = plan.declare
    previous: Resource | None = None
    for instance in instances:
        declare(instance, "demote", instance, "promote", ORD)
        declare(clone, "promote", instance, "promote", ORD)
        declare(instance, "promote", clone, "promoted", ORD)
        if clone.ordered and previous is not None:
            declare(previous, "promote", instance, "promote", ORD)
        declare(clone, "demote", instance, "demote", FGRAPH)
        declare(instance, "demote", clone, "demoted", TGRAPH)
        if clone.ordered and previous is not None:
            declare(instance, "demote", previous, "demote", ORD)
        previous = instance


# --- bundle (12.4) ----------------------------------------------------------------------------------------------------


def _bundle(plan: Plan, bundle: Bundle) -> None:
    declare = plan.declare
    for replica in bundle.replicas:
        container = replica.container
        declare_internal(plan, container)
        declare(bundle, "start", container, "start", BLOCK | FGRAPH)
        if replica.inner is not None:
            declare(bundle, "stop", replica.inner, "stop", FGRAPH)
        declare(bundle, "stop", container, "stop", FGRAPH)
        declare(container, "start", bundle, "running", TGRAPH)
        declare(container, "stop", bundle, "stopped", TGRAPH)
        if replica.ip is not None:
            declare_internal(plan, replica.ip)
            declare(replica.ip, "start", container, "start", BLOCK | GUESTOK)
            declare(container, "stop", replica.ip, "stop", FIRSTREQ | GUESTOK)
        if replica.connection is not None:
            declare_internal(plan, replica.connection)
    inner = bundle.inner_clone
    if inner is None:
        return
    declare(bundle, "start", inner, "start", FGRAPH)
    declare(inner, "running", bundle, "running", TGRAPH)
    declare(bundle, "stop", inner, "stop", FGRAPH)
    declare(inner, "stopped", bundle, "stopped", TGRAPH)
    declare_internal(plan, inner)
    if inner.promotable:
        _restart_set(plan, bundle)
        declare(bundle, "demote", inner, "demote", FGRAPH)
        declare(inner, "demoted", bundle, "demoted", TGRAPH)
        declare(bundle, "promote", inner, "promote", FGRAPH)
        declare(inner, "promoted", bundle, "promoted", TGRAPH)
