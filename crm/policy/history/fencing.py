"""Marking nodes for fencing while the status section is read.

Theory of operation. `request_fencing` does what a reason to fence means for the kind of node: a cluster or remote node becomes
unclean, a guest's container is to be recovered. The request is recorded and becomes a fencing action when the plan begins. Whether fencing is possible
now decides if the request is required.

Sources: scheduler specification, part 1, sections 11.1, 11.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import FenceNode, Node, NodeKind, Primitive

if TYPE_CHECKING:
    from crm.policy.model import ClusterState


def container_of(node: Node) -> Primitive | None:
    """The resource that a guest or bundle node lives in."""
    connection = node.connection
    launcher = connection.launcher if isinstance(connection, Primitive) else None
    return launcher if isinstance(launcher, Primitive) else None


def can_fence(state: ClusterState, node: Node) -> bool:
    if node.is_guest:
        container = container_of(node)
        return container is None or all(host.online or can_fence(state, host) for host in container.active_nodes)
    options = state.options
    if not options.fencing_enabled or not (state.has_fence_device or options.have_watchdog):
        return False
    if state.quorate or options.no_quorum_policy == "ignore":
        return True
    if not node.online:
        return False
    if not node.is_remote or options.fence_remote_without_quorum or node.connection is None:
        return True
    return all(other.online for other in node.connection.table)


def request_fencing(state: ClusterState, node: Node, reason: str, priority_delay: bool = False) -> None:
    """A node must be fenced, for this reason."""
    if node.is_guest:
        container = container_of(node)
        if container is not None and not container.failed and container.managed:
            node.remote_reset = True
            container.failed = container.stop_required = True
        return
    connection = node.connection
    if isinstance(connection, Primitive) and connection.removed and connection.leftover_container:
        connection.failed = connection.stop_required = True
        return
    if node.kind is NodeKind.REMOTE:
        if connection is not None and connection.managed:
            node.remote_reset = True
    elif node.unclean:
        return
    node.unclean = True
    state.requests.append(FenceNode(node, reason, priority_delay, can_fence(state, node)))
