"""Unfencing (16): a node must be let back to shared storage before anything that requires it starts or is probed there."""

from __future__ import annotations

from crm.policy.actions.model import ORD, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Needs, Node, Primitive, Resource


def applies_to(plan: Plan, rsc: Resource) -> bool:
    """A leaf that requires unfencing, and every fence device while unfencing is in use."""
    if rsc.needs is Needs.UNFENCING:
        return True
    return plan.state.unfencing_in_use and isinstance(rsc, Primitive) and rsc.standard.lower() == "stonith"


def order_start(plan: Plan, rsc: Primitive, node: Node | None, start: Action) -> None:
    _order(plan, rsc, node, start, THENREQ)


def order_probe(plan: Plan, rsc: Primitive, node: Node, probe: Action) -> None:
    _order(plan, rsc, node, probe, ORD)


def _order(plan: Plan, rsc: Primitive, node: Node | None, action: Action, bits: int) -> None:
    if node is None or not plan.state.unfencing_in_use or not applies_to(plan, rsc):
        return
    unfence = plan.fence_op(node, "on", optional=True, reason=None)
    plan.relate(unfence, action, bits)
    if never_unfenced(node) and plan.clean(node) and not plan.shutdown[node.index]:
        require(plan, node, f"required by {rsc.id} {action.task}")


def never_unfenced(node: Node) -> bool:
    return node.attributes.get("#node-unfenced", "0") == "0"


def require(plan: Plan, node: Node, reason: str) -> None:
    """The unfencing of this node must happen."""
    plan.fence_op(node, "on", optional=False, reason=reason)


def note_unfenceable(plan: Plan, rsc: Primitive, node: Node) -> None:
    """A stop on a node that cannot be unfenced is only reported."""
    plan.problems.append(f"{rsc.id} cannot be unfenced on {node.name}")


def device_changed(plan: Plan, rsc: Primitive, node: Node, reason: str) -> None:
    """A fence device is another one now: nodes must be unfenced with the new one."""
    if not plan.state.unfencing_in_use or rsc.standard.lower() != "stonith":
        return
    if plan.clean(node) and not plan.shutdown[node.index]:
        require(plan, node, reason)
