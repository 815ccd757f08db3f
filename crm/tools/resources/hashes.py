"""`--digests`: the digests by which a changed definition is told from an unchanged one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.cib.digest import digested_parameters, only, operation_digest, without
from crm.policy.model import Primitive
from crm.tools import exits
from crm.tools.command import Failure, usage
from crm.tools.resources.by_hand import overrides
from crm.tools.resources.listing import find, state_of

if TYPE_CHECKING:
    from crm.policy.model import ClusterState, HistoryEntry, Node
    from crm.tools.cluster import Cluster
    from crm.tools.command import Given


def show(cluster: Cluster, given: Given) -> int:
    """Of the start on that node, with the parameters of now; which are private or reloadable is known from the history there."""
    if not given.has("node"):
        usage("Must supply a node name with -N")
    state = state_of(cluster)
    rsc = find(state, given.text("resource"))
    if not isinstance(rsc, Primitive):
        raise Failure("Error performing operation: Unimplemented", exits.UNIMPLEMENTED)
    node = next((each for each in state.nodes if each.name == given.text("node")), None)
    if node is None:
        text = given.text("node")
        raise Failure(f"Node '{text}' not found\nError performing operation: No such object", exits.NOSUCH)
    own = {**state.operations.parameters(rsc, node), **overrides(given, "")}
    parameters = digested_parameters(own)
    entry = _entry(state, rsc, node)
    private = (entry.xml.get("op-secure-params") or "").split() if entry is not None else []
    print(f"{operation_digest(parameters)} (all parameters)")
    print(f"{operation_digest(without(parameters, private))} (non-private parameters)")
    if entry is not None and entry.xml.get("op-restart-digest") is not None:
        restart = (entry.xml.get("op-force-restart") or "").split()
        print(f"{operation_digest(only(parameters, restart))} (non-reloadable parameters)")
    return exits.OK


def _entry(state: ClusterState, rsc: Primitive, node: Node) -> HistoryEntry | None:
    """The newest entry there that carries digests of a start, a promotion or a migration."""
    history = rsc.history.get(node)
    found = [] if history is None else [each for each in history.entries if each.interval_ms == 0]
    return next((each for each in reversed(found) if each.xml.get("op-digest") is not None), None)
