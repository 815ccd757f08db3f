"""The status section: in which order nodes and histories are read.

Theory of operation. A first pass reads the tickets and what is said about cluster nodes. Then histories are read, a node at a time,
once that is allowed: a guest's only when its connection and container are known to run, an offline node's only if what it might run
matters. Active instances on live nodes are so seen, and numbered, first. The rest follows in a last pass; Remote nodes whose history
was never reached get their status at the end.

Sources: scheduler specification, part 1, section 10.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.history.fencing import container_of
from crm.policy.history.instances import attach_leftovers
from crm.policy.history.nodestate import compute_remote_status, note_fenced, read_cluster_node, read_remote_node
from crm.policy.history.outcome import read_resources
from crm.policy.history.reader import Reader
from crm.policy.model import Node, NodeKind, Role
from crm.policy.nodes import find_node
from crm.policy.tickets import read_tickets

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.model import ClusterState
    from crm.policy.resources.unpack import Builder


def read_status(state: ClusterState, builder: Builder, status: _Element) -> Reader:
    reader = Reader(state, builder, status)
    _first_pass(state, status)
    # Nodes are looked up anew in every round: history may bring nodes of removed connections.
    waiting = [each for each in status.iterchildren("node_state") if each.get("id") and each.get("uname")]
    done: set[Node] = set()
    progress = True
    while progress:
        progress = _read_round(reader, waiting, done, everything=False)
    _read_round(reader, waiting, done, everything=state.options.fencing_enabled)
    for element in waiting:
        if find_node(state, element.get("id")) is None and find_node(state, element.get("uname")) is None:
            message = f"there is no node {element.get('uname')}; its status is ignored"
            state.config.report("warning", "unknown-node", element, message)
    for container in reader.deferred_stops:
        reader.force_stop(container, None)
    _finish_remote_nodes(reader)
    return reader


def _read_round(reader: Reader, waiting: list[_Element], done: set[Node], everything: bool) -> bool:
    """Read what may be read now; False when that was nothing."""
    state = reader.state
    left: list[_Element] = []
    for element in waiting:
        node = _node_of(state, element)
        if node is None:
            left.append(element)
        elif node not in done:
            if everything or _may_read(state, node):
                done.add(node)
                _read_history(reader, node, element)
            else:
                left.append(element)
    progress = len(left) < len(waiting)
    waiting[:] = left
    return progress


def _node_of(state: ClusterState, element: _Element) -> Node | None:
    return state.nodes_by_id.get(element.get("id", "").lower()) or find_node(state, element.get("uname"))


def _first_pass(state: ClusterState, status: _Element) -> None:
    """Tickets and cluster nodes."""
    for element in status.iterchildren("*"):
        if element.tag in ("tickets", "ticket_state"):
            read_tickets(state, element)
        elif element.tag == "node_state" and element.get("id"):
            node = _node_of(state, element)
            if node is None:
                continue
            if node.is_remote:
                note_fenced(node, element)
            else:
                read_cluster_node(state, node, element)


def _may_read(state: ClusterState, node: Node) -> bool:
    connection = node.connection
    if node.is_guest:
        container = container_of(node)
        return (
            connection is not None
            and connection.role is Role.STARTED
            and container is not None
            and container.role is Role.STARTED
        )
    options = state.options
    if node.kind is NodeKind.REMOTE:
        return connection is not None and (connection.role is Role.STARTED or options.shutdown_lock)
    return options.fencing_enabled or options.shutdown_lock or node.online


def _read_history(reader: Reader, node: Node, element: _Element) -> None:
    state = reader.state
    if node.is_remote:
        compute_remote_status(node)
        read_remote_node(state, node, element)
        reader.fail_counts.forget(node)
        reader.remote_done.add(node)
    read_resources(reader, node, element)
    attach_leftovers(reader)


def _finish_remote_nodes(reader: Reader) -> None:
    """Remote nodes whose history was not read, and those that shut down."""
    for node in reader.state.nodes:
        if not node.is_remote:
            continue
        if node.shutdown and node.connection is not None:
            node.connection.next_role = Role.STOPPED
        if node not in reader.remote_done:
            compute_remote_status(node)
