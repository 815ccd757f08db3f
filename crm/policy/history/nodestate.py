"""What the status section says about nodes: membership, availability, and why a node must be fenced.

Theory of operation. A cluster node's state follows from a table over what membership, the process group, the join and the expectation say
(10.2). A Remote node's state follows from the resources that it depends on: its connection and, for a guest, its container and that one's host
(10.4); so it can only be computed when their history has been read. Transient attributes replace permanent ones first, because
standby, maintenance and shutdown requests may come from either.

Sources: scheduler specification, part 1, sections 6.3, 6.4, 10.2, 10.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.history.fencing import container_of, request_fencing
from crm.policy.model import INFINITY, Node, NodeKind, Role
from crm.policy.nodes import read_utilization, set_own_attributes, set_site_name
from crm.policy.nvpairs import apply_sets
from crm.policy.values import parse_boolean, parse_integer, truthy

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.model import ClusterState, Resource


def merge_transient(state: ClusterState, node: Node, element: _Element | None) -> None:
    """Transient attributes replace permanent ones of the same name; utilization only adds."""
    set_own_attributes(state, node)
    transient = element.find("transient_attributes") if element is not None else None
    if transient is not None:
        config = state.config
        table: dict[str, str] = {}
        apply_sets(config.sets(transient, "instance_attributes"), config.context(), table)
        node.attributes.update(table)
        read_utilization(state, node, transient)
    set_site_name(state, node)


def shutdown_requested(node: Node) -> bool:
    return node.attributes.get("shutdown", "0") != "0"


def _termination_requested(state: ClusterState, node: Node) -> bool:
    text = node.attributes.get("terminate")
    if text is None or not state.options.fencing_enabled:
        return False
    value = parse_boolean(text)
    return value if value is not None else (parse_integer(text) or 0) > 0


# --- cluster nodes ----------------------------------------------------------------------------------------------------


def read_cluster_node(state: ClusterState, node: Node, element: _Element) -> None:
    """Everything that one `node_state` of a cluster node says (10.2)."""
    merge_transient(state, node, element)
    node.standby = truthy(node.attributes.get("standby"))
    node.maintenance = truthy(node.attributes.get("maintenance"))
    node.unclean = False
    node.seen = True
    if shutdown_requested(node):
        node.shutdown = True
    elif element.get("expected", "").lower() == "member":
        node.expected_up = True
    member = _member_since(state, element.get("in_ccm"))
    process = _process_since(element.get("crmd"))
    if state.options.fencing_enabled:
        _with_fencing(state, node, element, member, process)
    else:
        _without_fencing(state, node, element, member, process)
    if not node.online or node.shutdown:
        node.base_score = -INFINITY  # for entries that tables get from now on; assignment looks at availability
    if node.online and not state.quorate and state.options.no_quorum_policy == "fence":
        request_fencing(state, node, "cluster does not have quorum")


def _member_since(state: ClusterState, text: str | None) -> int:
    """When the node became a member; 0: it is not, -1: it has never been seen."""
    if text is None:
        return -1
    value = parse_boolean(text)
    number = parse_integer(text)
    if value is not None:
        return max(1, state.now) if value else 0
    return number if number is not None and number >= 0 else -1


def _process_since(text: str | None) -> int:
    """When the node's controller joined the process group; 0: it has not."""
    word = text.lower() if text is not None else "offline"
    if word in ("offline", "online"):
        return int(word == "online")
    number = parse_integer(word)
    return number if number is not None and number >= 0 else 0


def _without_fencing(state: ClusterState, node: Node, element: _Element, member: int, process: int) -> None:
    if member <= 0:
        node.online = False
    elif process > 0:
        node.online = element.get("join", "").lower() == "member"
    else:
        node.online = False
        if node.expected_up:
            request_fencing(state, node, "peer is unexpectedly down")


def _with_fencing(state: ClusterState, node: Node, element: _Element, member: int, process: int) -> None:
    """The first row of the table that matches (10.2)."""
    join, expected = element.get("join"), element.get("expected")
    terminate = _termination_requested(state, node)
    if node.shutdown:
        node.online = process > 0
        return
    node.online = member > 0
    if member < 0:
        node.online = False
        request_fencing(state, node, "peer has not been seen by the cluster")
    elif join == "banned":
        request_fencing(state, node, "peer failed Pacemaker membership criteria")
    elif terminate and member <= 0 and process <= 0 and join == "down":
        node.online = False
    elif terminate:
        request_fencing(state, node, "fencing was requested")
    elif expected is None or expected == "down":
        if _pending_too_long(state, member, process):
            request_fencing(state, node, "peer pending timed out on joining the process group")
        elif member > 0 or process > 0:
            node.pending = node.standby = True
    elif member <= 0:
        request_fencing(state, node, "peer is no longer part of the cluster", priority_delay=True)
    elif process <= 0:
        request_fencing(state, node, "peer process is no longer available")
    elif join in ("pending", "down"):
        node.pending = node.standby = True
    elif join != "member":
        request_fencing(state, node, "peer was in an unknown state")


def _pending_too_long(state: ClusterState, member: int, process: int) -> bool:
    timeout = state.options.node_pending_timeout_ms // 1000
    if timeout <= 0 or member <= 0 or process > 0:
        return False
    if state.now >= member + timeout:
        return True
    state.config.changes.append(member + timeout)
    return False


# --- Remote nodes -----------------------------------------------------------------------------------------------------


def note_fenced(node: Node, element: _Element) -> None:
    """The only thing that counts of a Remote node's state before its connection is known."""
    node.remote_fenced = bool(parse_integer(element.get("node_fenced")))


def _role_is(rsc: Resource | None, role: Role) -> bool:
    return rsc is not None and rsc.role is role


def compute_remote_status(node: Node) -> None:
    """Online or not, from the state of the connection and the container (10.4)."""
    connection = node.connection
    if connection is None:
        node.online = False
        return
    container = container_of(node)
    host = connection.active_nodes[0] if container is not None and len(connection.active_nodes) == 1 else None
    if _role_is(connection, Role.STARTED):
        node.online = True
        if connection.next_role is Role.STOPPED:
            node.shutdown = True
    if container is not None and container.failed:
        node.online = False
        node.remote_reset = True
    elif connection.failed:
        node.online = False
    elif _role_is(connection, Role.STOPPED) or _role_is(container, Role.STOPPED):
        node.online = False
        node.remote_reset = False
    elif host is not None and not host.online and host.unclean:
        node.online = False
        node.remote_reset = True


def read_remote_node(state: ClusterState, node: Node, element: _Element) -> None:
    """What a `node_state` adds to a Remote node's computed status."""
    node.remote_maintenance = bool(parse_integer(element.get("node_in_maintenance")))
    if not node.remote_reset:
        node.unclean = False
        node.seen = True
    merge_transient(state, node, element)
    if shutdown_requested(node):
        node.shutdown = True
    node.standby = truthy(node.attributes.get("standby"))
    connection = node.connection
    if truthy(node.attributes.get("maintenance")) or (connection is not None and not connection.managed):
        node.maintenance = True
    if node.is_guest or (node.kind is NodeKind.REMOTE and state.options.fencing_enabled):
        discovery = node.attributes.get("resource-discovery-enabled")
        if discovery is not None and not truthy(discovery):
            node.probes_allowed = False
