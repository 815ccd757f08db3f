"""What reading history needs beside the state: who makes resources, where names lead, what was deferred.

Theory of operation. A `Reader` lives while the status section is read. It keeps the index from history names to resources that makes
mapping an `lrm_resource` a look-up, and the index of all histories by node name and resource id that migrations ask for.

Sources: scheduler specification, part 1, sections 10, 12, 17.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from crm.policy.history.entries import read_entry
from crm.policy.history.failcounts import FailCounts
from crm.policy.model import ForceStop, HistoryEntry, Node, Primitive, Resource

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.model import ClusterState, LrmResource
    from crm.policy.resources.unpack import Builder


class Reader:
    """The status section being read."""

    def __init__(self, state: ClusterState, builder: Builder, status: _Element) -> None:
        self.state = state
        self.builder = builder
        self.status = status
        self.fail_counts = FailCounts(state)
        self.lrm: dict[Node, list[LrmResource]] = {}
        self.own_names: dict[str, Primitive] = {}  # names that mean the same primitive on every node
        self.deferred_stops: list[Primitive] = []  # containers of bundles
        self.remote_done: set[Node] = set()  # Remote nodes whose status is computed
        self.leftovers: list[Primitive] = []  # removed connections whose container is not yet known
        self._stops: dict[Primitive, list[int]] = {}  # where in the requests
        self._named: dict[str, list[Primitive]] = {}
        self._histories: dict[str, dict[str, list[HistoryEntry]]] | None = None

    # --- names --------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Resource | None:
        """A resource by id or by history name."""
        rsc = self.state.by_id.get(name)
        if rsc is not None:
            return rsc
        named = self._named.get(name)
        return named[0] if named else None

    def set_history_name(self, rsc: Primitive, name: str | None) -> None:
        if rsc.history_name is not None:
            self._named[rsc.history_name].remove(rsc)
        rsc.history_name = name
        if name is not None:
            self._named.setdefault(name, []).append(rsc)

    # --- stops --------------------------------------------------------------------------------------------------------

    def force_stop(self, rsc: Primitive, node: Node | None) -> None:
        """A failure demands a stop; without a node wherever the resource is."""
        self._stops.setdefault(rsc, []).append(len(self.state.requests))
        self.state.requests.append(ForceStop(rsc, node))

    @property
    def demands_stops(self) -> bool:
        return bool(self._stops)

    def relax_stops(self, rsc: Primitive, node: Node) -> None:
        """The resource turned out not to be active there: a stop is not required any more (18.8)."""
        if rsc not in self._stops:
            return
        for index in self._stops[rsc]:
            request = self.state.requests[index]
            if isinstance(request, ForceStop) and request.node is node:
                self.state.requests[index] = replace(request, required=False)

    # --- histories of other nodes -------------------------------------------------------------------------------------

    def history(self, node_name: str, resource_id: str) -> list[HistoryEntry]:
        """The entries of a resource on a node, as the document has them."""
        if self._histories is None:
            self._histories = {}
            for element in self.status.iterchildren("node_state"):
                by_resource = self._histories.setdefault(element.get("uname", ""), {})
                for lrm in element.iterfind("lrm/lrm_resources/lrm_resource"):
                    entries = by_resource.setdefault(lrm.get("id", ""), [])
                    entries += map(read_entry, lrm.iterchildren("lrm_rsc_op"))
        return self._histories.get(node_name, {}).get(resource_id, [])
