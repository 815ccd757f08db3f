"""Remote and guest nodes that the resources imply.

Theory of operation. Nodes must be known before any resource is unpacked, because every resource's table lists them. So the resources
section is searched first: a connection (`ocf:pacemaker:remote`) makes a remote node; a primitive with the meta-attribute `remote-node`
makes a guest node and an implicit connection, an element of our own that is unpacked after all others. Only literal name-value pairs count
here: no rules, no references. `link` later ties nodes, connections and the resources that guests live in together.

Sources: scheduler specification, part 1, section 7.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree

from crm.policy.model import Kind, NodeKind, Primitive
from crm.policy.nodes import add_node, find_node
from crm.policy.values import truthy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxml.etree import _Element

    from crm.policy.model import ClusterState


def is_connection_agent(element: _Element) -> bool:
    return (
        element.get("class", "").lower() == "ocf"
        and element.get("provider", "").lower() == "pacemaker"
        and element.get("type", "").lower() == "remote"
    )


def find_remote_nodes(state: ClusterState, section: _Element) -> list[_Element]:
    """Add the nodes; return the elements of the implicit connections."""
    implicit: list[_Element] = []
    for element in section.iterchildren("*"):
        if is_connection_agent(element) and element.get("id"):
            _ensure_node(state, element.get("id", ""))
        elif element.tag == "primitive":
            implicit += _guest_connection(state, section, element)
        elif element.tag == "group":
            for member in element.iterchildren("primitive"):
                implicit += _guest_connection(state, section, member)
    return implicit


def _ensure_node(state: ClusterState, name: str) -> None:
    if find_node(state, name) is None:
        add_node(state, name, name, NodeKind.REMOTE)


def _guest_connection(state: ClusterState, section: _Element, element: _Element) -> Iterable[_Element]:
    literal = {
        pair.get("name"): pair.get("value")
        for sets in element.iterchildren("meta_attributes")
        for pair in sets.iterchildren("nvpair")
    }
    name = literal.get("remote-node")
    if not name:
        return
    if any(other.get("id") == name for other in section.iter("*")):
        message = f"remote-node {name} is the id of another resource; no guest node is made of it"
        state.config.report("error", "remote-node", element, message, attribute="value")
        return
    yield connection_element(
        name,
        container=element.get("id", ""),
        migrate=literal.get("remote-allow-migrate"),
        managed=literal.get("is-managed"),
        start_timeout=literal.get("remote-connect-timeout") or "60s",
        address=literal.get("remote-addr"),
        port=literal.get("remote-port"),
    )
    _ensure_node(state, name)


def connection_element(
    name: str,
    *,
    container: str,
    migrate: str | None = None,
    managed: str | None = None,
    start_timeout: str | None = None,
    address: str | None = None,
    port: str | None = None,
) -> _Element:
    """The primitive that connects to a guest or bundle node."""
    element = etree.Element("primitive", {"id": name, "class": "ocf", "provider": "pacemaker", "type": "remote"})
    meta = {"internal_rsc": "true", "container": container, "remote-allow-migrate": None, "allow-migrate": migrate}
    meta["is-managed"] = managed
    add_set(element, "meta_attributes", meta)
    if address is not None or port is not None:
        add_set(element, "instance_attributes", {"addr": address, "port": port})
    operations = etree.SubElement(element, "operations")
    monitor = {"id": f"{name}-monitor-interval-30s", "name": "monitor", "interval": "30s", "timeout": "30s"}
    etree.SubElement(operations, "op", monitor)
    if start_timeout is not None:
        start = {"id": f"{name}-start-interval-0", "name": "start", "interval": "0", "timeout": start_timeout}
        etree.SubElement(operations, "op", start)
    return element


def add_set(element: _Element, tag: str, values: dict[str, str | None]) -> None:
    """A set of literal pairs; absent values are left out."""
    owner = element.get("id", "")
    parent = etree.SubElement(element, tag, {"id": f"{owner}-{tag}"})
    for name, value in values.items():
        if value is not None:
            etree.SubElement(parent, "nvpair", {"id": f"{owner}-{tag}-{name}", "name": name, "value": value})


def link(state: ClusterState, rsc: Primitive) -> None:
    """Tie a primitive to the resource it lives in, and a connection to its node."""
    container = rsc.meta.get("container")
    if container is not None and rsc.launcher is None:
        launcher = state.by_id.get(container)
        if isinstance(launcher, Primitive):
            rsc.launcher = launcher
            launcher.launched.append(rsc)
        else:
            message = f"container {container} of {rsc.id} is not a primitive; it is ignored"
            state.config.report("error", "container", rsc.xml, message, attribute="container")
    if not rsc.is_connection:
        return
    node = find_node(state, rsc.config_id)
    if node is None or node.kind is NodeKind.CLUSTER:
        return
    rsc.remote_node = node
    node.connection = rsc
    if rsc.launcher is None:
        node.unclean = state.options.startup_fencing
    else:
        in_bundle = rsc.parent is not None and rsc.parent.kind is Kind.BUNDLE
        node.kind = NodeKind.BUNDLE if in_bundle else NodeKind.GUEST
        if "#kind" in node.attributes:
            node.attributes["#kind"] = "container"


def is_internal(rsc: Primitive) -> bool:
    return truthy(rsc.meta.get("internal_rsc"))
