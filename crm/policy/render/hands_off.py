"""Why the cluster leaves a resource as it is: unmanaged, in maintenance, or blocked, as a part of a sentence."""

from __future__ import annotations

from crm.policy.model import ClusterState, Primitive, Resource
from crm.policy.values import truthy


def why_hands_off(state: ClusterState, leaf: Primitive) -> str:
    """The first cause that holds, those that a person set before those that a failure brought."""
    if state.options.maintenance_mode:
        return "the cluster is in maintenance mode (cluster option maintenance-mode)"
    for node in leaf.active_nodes:
        if node.maintenance:
            return f"{node.name} is in maintenance mode"
    current: Resource | None = leaf
    while current is not None:
        if truthy(current.meta.get("maintenance")):
            return f"{current.id} is in maintenance mode (meta-attribute maintenance)"
        if "is-managed" in current.meta and not truthy(current.meta["is-managed"]):
            return f"{current.id} is unmanaged (meta-attribute is-managed)"
        current = current.parent
    if leaf.blocked:
        return f"it is blocked{_failures(state, leaf)}"
    return "it is unmanaged"


def _failures(state: ClusterState, leaf: Primitive) -> str:
    """What must be cleaned up first."""
    failed = [
        f"{each.entry.operation} failed on {each.node.name} (rc={each.entry.rc})"
        for each in state.failed_ops
        if each.resource is leaf and not each.ignored
    ]
    if failed:
        return f": {', '.join(failed)}; `crm resource cleanup {leaf.id}` once that is dealt with"
    if len(leaf.active_nodes) > 1:
        return (
            f": it is active on {' and '.join(node.name for node in leaf.active_nodes)} at once (multiple-active=block)"
        )
    lost = [name for name, ticket in state.tickets.items() if not ticket.granted or ticket.standby]
    return f": ticket {lost[0]} was lost (loss-policy=freeze)" if lost else ""
