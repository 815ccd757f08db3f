"""Where resources are active.

Theory of operation. `add_active_node` records that a resource is active on a node: in the resource's list and its ancestors',
in the node's list of running primitives and its sum of priorities. An unmanaged resource stays where it is. What being active in several
places means at once is decided here, as far as it must be at once; the rest is up to the plan.

Sources: scheduler specification, part 1, sections 11.4 and 19.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.history.bans import add_score, replace_by_ban
from crm.policy.history.fencing import container_of
from crm.policy.model import INFINITY, Cause, Kind, MultipleActive, Needs, Primitive, Role

if TYPE_CHECKING:
    from crm.policy.model import ClusterState, Node, Resource


def needs_fencing(rsc: Resource) -> bool:
    return rsc.needs is Needs.FENCING or rsc.needs is Needs.UNFENCING


def current_node(rsc: Resource) -> Node | None:
    """The node that counts as the one where a resource is active (19.3)."""
    active = rsc.active_nodes
    if not active:
        return None
    if isinstance(rsc, Primitive) and rsc.partial_migration_source in active:
        return rsc.partial_migration_source
    if len(active) == 1 or needs_fencing(rsc):
        return active[0]
    return next((node for node in active if node.online and not node.unclean), active[0])


def add_active_node(state: ClusterState, rsc: Resource, node: Node, failed: bool = False) -> None:
    """The resource is active there; `failed`: that is only so because of a failed result."""
    if node in rsc.active_nodes:
        return
    rsc.active_nodes.append(node)
    if isinstance(rsc, Primitive):
        node.running.append(rsc)
        if not failed:
            _add_priority(rsc, node)
        if node.maintenance:
            rsc.managed = False
            rsc.maintenance = True
    if not rsc.managed:
        if isinstance(rsc, Primitive):
            add_score(state, rsc, node, INFINITY, Cause("unmanaged", rsc.id, "stays where it is"))
        parent = rsc.parent
        while parent is not None:
            if node not in parent.active_nodes:
                parent.active_nodes.append(node)
            parent = parent.parent
        return
    if isinstance(rsc, Primitive) and _is_multiply_active(rsc):
        _apply_policy(state, rsc)
    if rsc.parent is not None:
        add_active_node(state, rsc.parent, node, failed)


def _add_priority(rsc: Primitive, node: Node) -> None:
    if rsc.priority == 0:
        return
    amount = rsc.priority + (1 if rsc.role is Role.PROMOTED else 0)
    node.priority += amount
    container = container_of(node)
    if container is not None:
        for host in container.active_nodes:
            host.priority += amount


def _is_multiply_active(rsc: Primitive) -> bool:
    if needs_fencing(rsc):
        return len(rsc.active_nodes) > 1
    return sum(1 for node in rsc.active_nodes if node.online and not node.unclean) > 1


def _apply_policy(state: ClusterState, rsc: Primitive) -> None:
    if rsc.multiple_active is MultipleActive.STOP_ONLY:
        replace_by_ban(state, rsc, Cause("multiple-active", rsc.id, "active on several nodes"))
    elif rsc.multiple_active is MultipleActive.BLOCK:
        _block(rsc)
        parent = rsc.parent
        if (
            parent is not None
            and parent.kind in (Kind.GROUP, Kind.BUNDLE)
            and parent.multiple_active is MultipleActive.BLOCK
        ):
            for child in parent.children:
                _block(child)


def _block(rsc: Resource) -> None:
    rsc.managed = False
    rsc.blocked = True
