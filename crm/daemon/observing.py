"""Who watches a node: its event log, its alerts, its metrics. They learn of everything, and nothing waits for them.

Theory of operation. Each is a listener of the journal and has its own bounded queue; an observer that is slow or fails loses records and says how many.
`events.query` asks all members of the group for their records and puts them in one order (`crm.events`).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from crm import __version__
from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.daemon import clock
from crm.daemon.alerting import Alerting
from crm.daemon.eventlog import EventLog, Files, Record
from crm.daemon.metrics import Collector, Server
from crm.daemon.node import Node
from crm.events import follow, select

MAX_RECORDS: Final = 5000
"""Records in one answer."""
DEFAULT_RECORDS: Final = 1000
PEER_LIMIT_S: Final = 5.0
"""How long another node may take to answer with its records."""


class Observers:
    """See the module's text. To be made once the node is, and started before it runs."""

    def __init__(self, node: Node) -> None:
        self.node = node
        settings = node.settings
        files = Files(settings.events_folder, settings.events_max_bytes, settings.events_keep)
        self.log = EventLog(files, self._lost)
        self.alerting = Alerting(node, __version__)
        self.metrics = Collector(node, self.log, self.alerting)
        node.journal.listeners += [self.log.append, self.alerting.on_record, self.metrics.counts.on_record]
        self._server = None if settings.metrics is None else Server(self.metrics.page, *settings.metrics)
        node.api.method("metrics", self.metrics_page)
        node.surroundings.last_words = self.log.last_words
        node.api.method("events.query", self.events_query)
        node.peers.handler("events", self._events_for_peer)

    async def start(self) -> None:
        """What listens for others."""
        if self._server is not None:
            await self._server.start()

    async def close(self) -> None:
        """After the node has left; bounded."""
        if self._server is not None:
            await self._server.close()
        await self.alerting.close()
        await self.log.close()

    async def metrics_page(self, call: Call) -> dict[str, str]:
        """What Prometheus gets."""
        call.only()
        return {"text": await self.metrics.page()}

    def _lost(self, count: int, why: str) -> None:
        self.node.journal.record("events_dropped", {"count": count, "text": why})

    # --- records of all nodes ----------------------------------------------------------------------------------------

    async def events_query(self, call: Call) -> dict[str, Any]:
        """Records of all reachable nodes in their order: of one cause, or the last ones. `missing`: nodes that did not answer."""
        call.only("cause", "limit", "nodes", "since_ms", "last_ms", "until_ms", "kinds", "about", "details")
        cause = call.text("cause") or ""
        limit = min(call.integer("limit", DEFAULT_RECORDS) or DEFAULT_RECORDS, MAX_RECORDS)
        names = call.params.get("nodes") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ApiError(errors.BAD_REQUEST, "nodes: expected a list of names")
        try:
            selection = select.from_params(call.params, _now_ms())
        except (ValueError, TypeError) as error:
            raise ApiError(errors.BAD_REQUEST, str(error)) from None
        asked = self._asked(frozenset(names))
        missing: set[str] = {name for _, name in self._unreachable(frozenset(names))}
        if not cause:
            # Each node counts back from its own clock.
            params = {**selection.to_params(), "limit": limit, "last_ms": call.integer("last_ms", 0) or 0}
            if params["last_ms"]:
                params["since_ms"] = call.integer("since_ms", 0) or 0
            records = await self._gather(asked, params, missing)
            return {"events": follow.ordered(records)[-limit:], "missing": sorted(missing)}
        search = follow.Search(cause)
        while search.wanted:
            params = {**selection.by_cause(search.wanted).to_params(), "limit": MAX_RECORDS}
            search.on_found(await self._gather(asked, params, missing))
        found = [record for record in search.result() if selection.takes(record)]
        return {"events": found[-limit:], "missing": sorted(missing)}

    def _asked(self, names: frozenset[str]) -> list[int]:
        """This node and the others of the group, those that are wanted."""
        view = self.node.controller.view
        group = set() if view is None else set(view.group)
        everyone = sorted(group | {self.node.settings.node_id})
        return [number for number in everyone if not names or self.node.name_of(number) in names]

    def _unreachable(self, names: frozenset[str]) -> list[tuple[int, str]]:
        reachable = set(self._asked(frozenset()))
        known = self.node.settings.nodes
        return [each for each in known if each[0] not in reachable and (not names or each[1] in names)]

    async def _gather(self, asked: list[int], params: dict[str, Any], missing: set[str]) -> list[Record]:
        answers = await asyncio.gather(*(self._ask(number, params, missing) for number in asked))
        return [record for answer in answers for record in answer]

    async def _ask(self, number: int, params: dict[str, Any], missing: set[str]) -> list[Record]:
        if number == self.node.settings.node_id:
            return await self._read(params)
        try:
            async with asyncio.timeout(PEER_LIMIT_S):
                answer = await self.node.peers.call(number, "events", params)
            records: list[Record] = answer["events"]
            return records
        except (ApiError, TimeoutError, KeyError, TypeError):
            missing.add(self.node.name_of(number))
            return []

    async def _events_for_peer(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"events": await self._read(params)}

    async def _read(self, params: dict[str, Any]) -> list[Record]:
        limit = min(int(params.get("limit", DEFAULT_RECORDS)), MAX_RECORDS)
        try:
            selection = select.from_params(params, _now_ms())
        except (ValueError, TypeError) as error:
            raise ApiError(errors.BAD_REQUEST, str(error)) from None
        return await self.log.read(selection, limit)


def _now_ms() -> int:
    return int(clock.wall() * 1000)
