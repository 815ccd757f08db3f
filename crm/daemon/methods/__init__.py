"""The methods of the local API: what shell, tools and agents may ask of this node.

Theory of operation. A method checks its parameters and what the client may do (`crm.daemon.access`), asks a core, and waits where the answer takes time. What only the
DC can know or do is asked of it through `Peers`, so that every node answers alike; when the view changes meanwhile, the question is asked again until
its time is up. `register` is the table of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crm.api.server import Call
from crm.daemon.methods.attributes import AttributeMethods
from crm.daemon.methods.cib import CibMethods
from crm.daemon.methods.cluster import ClusterMethods
from crm.daemon.methods.network import NetworkMethods
from crm.daemon.methods.nodes import NodesMethods
from crm.daemon.methods.quorum import QuorumMethods
from crm.daemon.methods.resources import ResourceMethods
from crm.daemon.node import Node


def register(node: Node) -> None:
    """Put every method into the node's API server."""
    cib, cluster, resources, attributes = (
        CibMethods(node),
        ClusterMethods(node),
        ResourceMethods(node),
        AttributeMethods(node),
    )
    table: dict[str, Callable[[Call], Any]] = {
        "cib.query": cib.query,
        "cib.apply": cib.apply,
        "cib.history": cib.history,
        "cib.version": cib.version,
        "status": cluster.status,
        "membership": cluster.membership,
        "events.recent": cluster.events_recent,
        "node.fence": cluster.node_fence,
        "node.confirm_fenced": cluster.node_confirm_fenced,
        "resource.cleanup": resources.cleanup,
        "resource.refresh": resources.refresh,
        "resource.fail": resources.fail,
        "attribute.update": attributes.update,
        "attribute.query": attributes.query,
        "wait": cluster.wait,
        "messaging.query": cluster.messaging_query,
        "quorum.change": QuorumMethods(node).change,
        "nodes.change": NodesMethods(node).change,
        "keys.rotate": NetworkMethods(node).rotate_key,
        "links.try": NetworkMethods(node).try_links,
        "shutdown": cluster.shutdown,
    }
    for name, handler in table.items():
        node.api.method(name, handler)
    node.api.subscription("events", cluster.events)
    node.peers.handler("wait", cluster.dc_wait)
    node.peers.handler("describe", cluster.dc_describe)
    node.peers.handler("fence", cluster.dc_fence)
