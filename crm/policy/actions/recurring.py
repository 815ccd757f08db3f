"""Recurring actions of a primitive (6): which definitions count, what is started, kept or cancelled."""

from __future__ import annotations

from crm.policy.actions.model import BLOCK, OPTIONAL, ORD, RESCHEDULE, RUNNABLE, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Node, OpConfig, Primitive, Role
from crm.policy.values import parse_role

_NEVER_RECUR = frozenset(("stop", "start", "demote", "promote", "reload-agent", "migrate_to", "migrate_from"))


def create(plan: Plan, rsc: Primitive) -> None:
    if plan.blocked[rsc.index] or rsc.maintenance or not rsc.ops:
        return
    node = plan.node[rsc.index]
    start: Action | None = None
    if (
        node is not None
        and not node.maintenance
        and (plan.next_role[rsc.index] is not Role.STOPPED or not plan.managed[rsc.index])
    ):
        start = plan.request(rsc, "start", node, optional=True)
    for op in rsc.ops:
        if not _counts(rsc, op):
            continue
        if start is not None and node is not None:
            _while_active(plan, rsc, op, node, start)
        _while_stopped(plan, rsc, op)


def _counts(rsc: Primitive, op: OpConfig) -> bool:
    """6.1; two definitions with one name and interval disable each other."""
    if op.interval_ms <= 0 or not op.id or op.name in _NEVER_RECUR:
        return False
    same = [other for other in rsc.ops if other.name == op.name and other.interval_ms == op.interval_ms]
    if len(same) > 1:
        return False
    role = op.xml.get("role")
    if role is not None and parse_role(role) is Role.UNKNOWN:
        return False
    return op.enabled


def _is_kept(plan: Plan, rsc: Primitive, op: OpConfig, node: Node, start: Action) -> bool:
    """It runs there already and nothing asks for it anew."""
    if not start.flags & OPTIONAL:
        return False
    running = plan.find_exact(rsc, op.name, node, op.interval_ms)
    return bool(running) and not any(action.flags & RESCHEDULE for action in running)


def _while_active(plan: Plan, rsc: Primitive, op: OpConfig, node: Node, start: Action) -> None:
    """6.2: an operation for a role other than Stopped."""
    i = rsc.index
    role = parse_role(op.xml.get("role"))
    if role is Role.STOPPED:
        return
    keep = _is_kept(plan, rsc, op, node, start)
    next_role = plan.next_role[i]
    if (next_role is Role.PROMOTED) if role is Role.UNKNOWN else (next_role is not role):
        if keep:
            _cancel_before_role_change(plan, rsc, op, node)
        return
    action = plan.request(rsc, op.name, node, keep, op.interval_ms)
    if not start.flags & RUNNABLE or not plan.clean(node):
        action.flags &= ~RUNNABLE
    if next_role is Role.PROMOTED:
        action.set_meta("op_target_rc", "8")
    if plan.managed[i]:
        plan.declare_before(rsc, "start", action, THENREQ | BLOCK)
        plan.declare_before(rsc, "reload-agent", action, THENREQ | BLOCK)
        if next_role is Role.PROMOTED:
            plan.declare_before(rsc, "promote", action, ORD | BLOCK)
        elif plan.role[i] is Role.PROMOTED:
            plan.declare_before(rsc, "demote", action, ORD | BLOCK)


def _cancel_before_role_change(plan: Plan, rsc: Primitive, op: OpConfig, node: Node) -> None:
    action = cancel(plan, rsc, op.name, op.interval_ms, node)
    current, following = plan.role[rsc.index], plan.next_role[rsc.index]
    if current in (Role.STARTED, Role.UNPROMOTED):
        if following is Role.PROMOTED:
            plan.declare_after(action, rsc, "promote", BLOCK)
        elif following is Role.STOPPED:
            plan.declare_after(action, rsc, "stop", BLOCK)
    elif current is Role.PROMOTED:
        plan.declare_after(action, rsc, "demote", BLOCK)


def _while_stopped(plan: Plan, rsc: Primitive, op: OpConfig) -> None:
    """6.3: an operation that watches the nodes where the resource must not run."""
    if parse_role(op.xml.get("role")) is not Role.STOPPED or not rsc.unique:
        return
    i = rsc.index
    assigned = plan.node[i]
    for node in plan.state.nodes:
        running = bool(plan.find_exact(rsc, op.name, node, op.interval_ms))
        if node is assigned:
            if running:
                action = cancel(plan, rsc, op.name, op.interval_ms, node)
                if plan.next_role[i] in (Role.STARTED, Role.UNPROMOTED):
                    plan.declare_after(action, rsc, "start", BLOCK)
            continue
        action = plan.request(rsc, op.name, node, running, op.interval_ms)
        action.set_meta("op_target_rc", "7")
        if plan.managed[i]:
            for probe in plan.find_exact(rsc, "monitor", node, 0):
                plan.relate(probe, action, BLOCK)
        for stop in plan.find(rsc, "stop", node):
            if not plan.managed[i] and not (stop.flags | action.flags) & OPTIONAL:
                action.flags |= OPTIONAL
            if not stop.flags & RUNNABLE:
                action.flags &= ~RUNNABLE
            if plan.managed[i]:
                plan.declare_actions(stop, action, THENREQ | BLOCK)
        if not plan.clean(node) or _is_lost_guest(plan, node):
            action.flags &= ~RUNNABLE


def _is_lost_guest(plan: Plan, node: Node) -> bool:
    """An unmanaged connection can outlive its container; there is nothing to ask then."""
    container = plan.container_of(node)
    return container is not None and plan.node[container.index] is None


def cancel(plan: Plan, rsc: Primitive, task: str, interval_ms: int, node: Node) -> Action:
    """6.4: the recurring action itself, turned into its cancellation."""
    action = plan.request(rsc, task, node, False, interval_ms)
    plan.retask(action, "cancel")
    action.set_meta("operation", task)
    action.set_meta("interval", str(interval_ms))
    return action
