"""Fencing and shutdown of nodes (14), and what they mean for the actions of resources there.

A lost node is fenced first; the stops that can no longer be executed there become pseudo-actions after the fencing, and whatever needs
the node to be really gone waits for it. A guest is never fenced as such: its container is recovered, and a pseudo-action stands for it.
"""

from __future__ import annotations

from crm.policy.actions import notify
from crm.policy.actions.model import BLOCK, GUESTOK, OPTIONAL, ORD, PSEUDO, RUNNABLE, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Clone, Kind, Node, Primitive, Resource


def create_fencing(plan: Plan) -> None:
    """Stage 12, node by node."""
    leaves = [leaf for rsc in plan.resource_order for leaf in _leaves(plan, rsc)]
    any_managed = any(plan.managed[leaf.index] for leaf in leaves)
    dc_down: Action | None = None
    dc_is_fenced = False
    fencings: list[Action] = []
    shutdowns: list[Action] = []
    for node in plan.state.nodes:
        if node.is_guest:
            if plan.reset[node.index] and any_managed and plan.fenceable(node):
                _fence_guest(plan, node, leaves)
            continue
        if plan.unclean[node.index] and any_managed and plan.fenceable(node):
            fence = plan.fence_op(node, None, optional=False, reason="node is unclean")
            order_against_resources(plan, fence, leaves)
            if node.is_dc:
                dc_down, dc_is_fenced = fence, True
            elif not plan.options.concurrent_fencing and fencings:
                plan.relate(fencings[-1], fence, ORD)
                fencings.append(fence)
            else:
                fencings.append(fence)
        elif plan.online[node.index] and plan.shutdown[node.index] and not node.is_remote:
            down = _shut_down(plan, node)
            if node.is_dc:
                dc_down = down
            else:
                shutdowns.append(down)
    if dc_down is None:
        return
    if not dc_is_fenced:
        for down in shutdowns:
            plan.relate(down, dc_down, ORD)
    for fence in fencings if plan.options.concurrent_fencing else fencings[-1:]:
        plan.relate(fence, dc_down, ORD)


def _leaves(plan: Plan, rsc: Resource) -> list[Primitive]:
    if isinstance(rsc, Primitive):
        return [rsc]
    return [leaf for child in plan.children[rsc.index] for leaf in _leaves(plan, child)]


# --- fencing versus resource actions (14.2) ---------------------------------------------------------------------------


def order_against_resources(plan: Plan, fence: Action, leaves: list[Primitive]) -> None:
    target = fence.node
    assert target is not None
    for leaf in leaves:
        if plan.managed[leaf.index]:
            _order_needs(plan, fence, leaf, target)
            _imply_stops(plan, fence, leaf, target)


def _order_needs(plan: Plan, fence: Action, leaf: Primitive, target: Node) -> None:
    for action in reversed(plan.by_rsc[leaf.index]):
        if action.needs == "fencing":
            plan.relate(fence, action, ORD)
        elif (
            action.needs == "quorum"
            and action.task == "start"
            and target in plan.tables[leaf.index]
            and not _known_on(leaf, target)
        ):
            plan.relate(fence, action, ORD | BLOCK)


def _known_on(leaf: Primitive, node: Node) -> bool:
    """An anonymous instance shares its clone's knowledge (not a cloned group's, which may know only some members)."""
    if node in leaf.known_on:
        return True
    parent = leaf.parent
    return isinstance(parent, Clone) and not parent.unique and node in parent.known_on


def _in_bundle(rsc: Resource) -> bool:
    return rsc.outermost.kind is Kind.BUNDLE


def _imply_stops(plan: Plan, fence: Action, leaf: Primitive, target: Node) -> None:
    implied = plan.needs_fencing(leaf) or target.is_guest
    inside_bundle = _in_bundle(leaf)
    top = leaf.top
    for stop in plan.find(leaf, "stop", target):
        stop.flags |= PSEUDO | RUNNABLE
        if implied:
            if not inside_bundle:
                plan.relate(fence, stop, GUESTOK)
            top_stop = plan.newest(top, "stop")
            if top_stop is not None:
                plan.relate(fence, top_stop, GUESTOK)
        if leaf.notify:
            notify.order_after_fencing(plan, leaf, stop, fence)
    for demote in plan.find(leaf, "demote", target):
        if not plan.clean(target) or plan.failed[leaf.index]:
            demote.flags |= PSEUDO | RUNNABLE
            if implied and not inside_bundle:
                plan.relate(fence, demote, ORD | GUESTOK)


# --- guests (14.4) ----------------------------------------------------------------------------------------------------


def _fence_guest(plan: Plan, node: Node, leaves: list[Primitive]) -> None:
    container = plan.container_of(node)
    stop: Action | None = None
    operation = "off"
    if container is not None:
        stop = plan.newest(container, "stop")
        if plan.newest(container, "start") is not None:
            operation = "reboot"
    fence = plan.fence_op(node, operation, optional=False, reason="guest is unclean")
    fence.flags |= PSEUDO | RUNNABLE
    if stop is not None and stop.flags & PSEUDO and stop.node is not None:
        parent = plan.fence_op(stop.node, None, optional=False, reason=None)
        plan.relate(parent, fence, BLOCK | THENREQ)
    elif stop is not None:
        plan.relate(stop, fence, BLOCK | THENREQ)
    elif node.connection is not None:
        connection_stop = plan.newest(node.connection, "stop")
        if connection_stop is not None:
            plan.relate(connection_stop, fence, ORD)
    order_against_resources(plan, fence, leaves)


# --- shutdown (14.3) --------------------------------------------------------------------------------------------------


def _shut_down(plan: Plan, node: Node) -> Action:
    key = f"do_shutdown-{node.name}"
    down = plan.create(key, "do_shutdown", None, node, optional=False)
    down.set_meta("op_no_wait", "true")
    for action in list(reversed(plan.actions)):
        rsc = action.rsc
        if action.task != "stop" or rsc is None or action.node is not node:
            continue
        if rsc.maintenance or node.maintenance:
            continue
        if not plan.managed[rsc.index] and not plan.blocked[rsc.index]:
            continue
        action.flags &= ~OPTIONAL
        plan.declare_actions(action, down, ORD | BLOCK)
    return down
