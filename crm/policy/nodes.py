"""Nodes: from `<nodes>`, and the list that remote and guest nodes are added to later.

Theory of operation. The list is kept in the natural order of names (1.6), which is the order of every loop over nodes that can show.
Nodes are found by id or by name, ignoring case. What the status section says about a node is the business of
`crm.policy.history.nodestate`; this module knows the configuration only.

Sources: scheduler specification, part 1, section 6.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from crm.policy.model import ClusterState, Node, NodeKind
from crm.policy.nvpairs import apply_sets
from crm.policy.values import name_key, parse_integer, parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element


def read_nodes(state: ClusterState) -> None:
    """The nodes that the configuration lists. An unknown type ends the reading, as it always has (6.1)."""
    section = state.config.section("nodes")
    if section is None:
        return
    for element in section.iterchildren("node"):
        node_id = element.get("id")
        if not node_id:
            state.config.report(
                "error", "node-without-id", element, "a node needs an id; it is ignored", attribute="id"
            )
            continue
        kind = element.get("type", "member")
        if kind not in ("member", "normal", "ping", "remote"):
            message = f"node {node_id}: type '{kind}' is not member or remote; this node and those after it are ignored"
            state.config.report("error", "node-type", element, message, attribute="type")
            return
        if node_id.lower() in state.nodes_by_id:
            state.config.report("error", "node-twice", element, f"node {node_id} is listed twice; the first counts")
            continue
        node = add_node(
            state,
            node_id,
            element.get("uname") or node_id,
            NodeKind.REMOTE if kind == "remote" else NodeKind.CLUSTER,
            parse_score(element.get("score")) or 0,
        )
        if node.kind is NodeKind.CLUSTER:
            node.unclean = state.options.startup_fencing
            if node_id.lower() == state.cib.get("dc-uuid", "").lower():
                node.is_dc = True
                state.dc_node = node
        _read_attributes(state, node, element)


def add_node(state: ClusterState, node_id: str, name: str, kind: NodeKind, base_score: int = 0) -> Node:
    """A new node, put where its name belongs."""
    node = Node(node_id, name, kind, base_score)
    insort(state.nodes, node, key=lambda each: name_key(each.name))
    state.nodes_by_id.setdefault(node_id.lower(), node)
    state.nodes_by_name.setdefault(name.lower(), node)
    return node


def find_node(state: ClusterState, text: str | None) -> Node | None:
    """A node by id, else by name."""
    if not text:
        return None
    key = text.lower()
    return state.nodes_by_id.get(key) or state.nodes_by_name.get(key)


def set_own_attributes(state: ClusterState, node: Node) -> None:
    """The attributes that every node has without anyone setting them (6.3)."""
    own = node.attributes
    own["#uname"] = node.name
    own["#id"] = node.id
    own["#kind"] = (
        "cluster" if node.kind is NodeKind.CLUSTER else "remote" if node.kind is NodeKind.REMOTE else "container"
    )
    own["#is_dc"] = "true" if node.is_dc else "false"
    if state.options.cluster_name is not None:
        own["#cluster-name"] = state.options.cluster_name


def set_site_name(state: ClusterState, node: Node) -> None:
    if "#site-name" not in node.attributes:
        site = node.attributes.get("site-name", state.options.cluster_name)
        if site is not None:
            node.attributes["#site-name"] = site


def _read_attributes(state: ClusterState, node: Node, element: _Element) -> None:
    config = state.config
    set_own_attributes(state, node)
    apply_sets(config.sets(element, "instance_attributes"), config.context(), node.attributes)
    read_utilization(state, node, element)
    set_site_name(state, node)


def read_utilization(state: ClusterState, node: Node, element: _Element) -> None:
    """Capacities; names that are set already stay."""
    table: dict[str, str] = {}
    apply_sets(state.config.sets(element, "utilization"), state.config.context(), table)
    for name, value in table.items():
        node.utilization.setdefault(name, parse_integer(value) or 0)
