"""Stage 1: what unpacking the status asked for becomes actions, in the order in which it was asked."""

from __future__ import annotations

from crm.policy.actions.model import OPTIONAL, ORD, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import (
    ClearFailCount,
    DeleteHistory,
    FenceNode,
    ForceDemote,
    ForceStop,
    KnownRecurring,
    Node,
    Primitive,
)


def create_requested(plan: Plan) -> None:
    for request in plan.state.requests:
        if isinstance(request, FenceNode):
            if not request.node.is_guest:
                fence(plan, request)
        elif isinstance(request, ClearFailCount):
            clear_failcount(plan, request.resource, request.node, request.reason, request.after_fencing)
        elif isinstance(request, KnownRecurring):
            plan.request(
                request.resource, request.entry.operation, request.node, True, interval_ms=request.entry.interval_ms
            )
        elif isinstance(request, ForceStop):
            stop = plan.request(request.resource, "stop", request.node, optional=False)
            if request.reason is not None:
                plan.give_reason(stop, request.reason)
            if not request.required:
                stop.flags |= OPTIONAL
        elif isinstance(request, ForceDemote):
            plan.request(request.resource, "demote", request.node, optional=False)
        elif isinstance(request, DeleteHistory):
            delete_lock_history(plan, request.resource, request.node)


def fence(plan: Plan, request: FenceNode) -> Action:
    action = plan.fence_op(request.node, None, optional=True, reason=request.reason)  # 14 decides
    if request.priority_delay:
        plan.add_fencing_delay(action)
    return action


def clear_failcount(plan: Plan, rsc: Primitive, node: Node, reason: str, after_fencing: bool = False) -> Action:
    action = plan.request(rsc, "clear_failcount", node, optional=False)
    action.set_meta("op_no_wait", "true")
    plan.give_reason(action, reason)
    if after_fencing and rsc.remote_node is not None:
        plan.relate(plan.fence_op(rsc.remote_node, None, optional=True, reason=None), action, ORD)
    return action


def delete_lock_history(plan: Plan, rsc: Primitive, node: Node) -> Action:
    """`lrm_delete` of an expired or cancelled shutdown lock; it only touches the CIB."""
    return plan.request(rsc, "lrm_delete", node, optional=False)


def create_lock_deletions(plan: Plan) -> None:
    """Stage 3: a shutdown lock of a resource that is active after all is cancelled (P1 26)."""
    if not plan.options.shutdown_lock:
        return
    for rsc in plan.state.all_resources:
        if isinstance(rsc, Primitive) and rsc.lock_node is not None and rsc.active_nodes:
            delete_lock_history(plan, rsc, rsc.lock_node)
