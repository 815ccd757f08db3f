"""What Prometheus is told: collected when it asks, served by a few lines of HTTP.

Theory of operation. Nothing is collected until somebody asks. Three sources: counters made from the event log (`crm.metrics.counts`), what this
daemon and messaging know of themselves, and the state of the cluster, which the policy worker reads from the CIB (`crm.metrics.pacemaker`). The last is
kept for as long as the CIB does not change (`FRESH_S` at most, since rules and failure timeouts change what it means), and an old one is given while the
worker decides or rests (`REST`): a scrape never makes a decision wait for more than a scrape that has begun, and many scrapes never for long.

Anybody who reaches the port may connect, so everything is bounded: connections, the size of a request, and the time that it may take to send it
and to take the answer. Requests that come while one is answered get the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from crm import __version__
from crm.cib import xml
from crm.daemon.alerting import Alerting
from crm.daemon.clock import epoch_s
from crm.daemon.eventlog import EventLog
from crm.daemon.node import Node
from crm.metrics import exposition
from crm.metrics.counts import Counts
from crm.metrics.exposition import Family, Kind, counter, gauge
from messaging.client import QueryFailed

FRESH_S: Final = 60
QUERY_LIMIT_S: Final = 2.0
"""How long messaging may take to say how it is."""
DESCRIBE_LIMIT_S: Final = 8.0
"""How long the policy worker may take, before an older description is given; Prometheus waits 10 s."""
REST: Final = 4
"""The worker is not asked again for so many times as long as it took last: whoever scrapes as fast as he can has a fifth of it at most."""
HOLD_S: Final = 0.25
"""Whoever asks so soon after another gets the same page: a page costs the daemon some milliseconds, and clients cost nothing."""
MAX_CONNECTIONS: Final = 16
MAX_REQUEST_BYTES: Final = 8 * 1024
CLIENT_LIMIT_S: Final = 10.0
"""From the connection to the end of the answer, apart from collecting it."""
LISTEN_AGAIN_S: Final = 30.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

_log = logging.getLogger("vigil.metrics")


class Collector:
    """Makes the page. `counts` is a listener of the journal."""

    def __init__(self, node: Node, log: EventLog, alerting: Alerting) -> None:
        self.counts = Counts()
        self._node = node
        self._log = log
        self._alerting = alerting
        self._described: tuple[str, int, str] = ("", 0, "")
        self._rest_until_s = 0.0
        self._collecting: asyncio.Task[str] | None = None

    async def page(self) -> str:
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(self._collect())
        return await asyncio.shield(self._collecting)

    async def _collect(self) -> str:
        (cluster, fresh, took_s), (quorum, quorum_s), (links, links_s) = await asyncio.gather(
            self._describe(), self._ask_messaging("quorum"), self._ask_messaging("links")
        )
        messaging = quorum is not None and links is not None
        families = [*self._corosync(quorum, links), *self._own(), *self._messaging(links), *self.counts.families()]
        families += [*self._observers(), *self._processes()]
        families += _scrapes({"pacemaker": (fresh, took_s), "corosync": (messaging, max(quorum_s, links_s))})
        page: str = cluster + exposition.render(families)
        return page

    # --- the cluster -------------------------------------------------------------------------------------------------

    async def _describe(self) -> tuple[str, bool, float]:
        """The text, whether it is of now, and the seconds that it took."""
        node = self._node
        version, at, text = self._described
        now_version = str(node.cib.version)
        if text and version == now_version and epoch_s() - at < FRESH_S:
            return text, True, 0.0
        began = time.monotonic()
        if text and began < self._rest_until_s:
            return text, False, 0.0
        moment, made = epoch_s(), False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DESCRIBE_LIMIT_S):
                fresh = await node.policy.describe(xml.to_bytes(node.cib.document), moment)
                if fresh is not None:
                    self._described, made = (now_version, moment, fresh), True
        ended = time.monotonic()
        self._rest_until_s = ended + REST * (ended - began)
        return self._described[2], made, ended - began

    async def _ask_messaging(self, name: str) -> tuple[dict[str, Any] | None, float]:
        client = self._node.client
        if client is None:
            return None, 0.0
        began = time.monotonic()
        found = None
        with contextlib.suppress(OSError, TimeoutError, QueryFailed):
            async with asyncio.timeout(QUERY_LIMIT_S):
                found = await client.query(name)
        return found, time.monotonic() - began

    def _corosync(self, quorum: Mapping[str, Any] | None, links: Mapping[str, Any] | None) -> list[Family]:
        view = self._node.controller.view
        families = [
            gauge("ha_cluster_corosync_quorate", "Whether this partition has quorum", [(_quorate(view), {})]),
        ]
        if quorum is not None:
            expected = int(quorum["expected_votes"])
            votes = gauge("ha_cluster_corosync_quorum_votes", "Votes, by what they are of")
            votes.add(expected, type="expected_votes")
            votes.add(expected, type="highest_expected")
            votes.add(int(quorum["present_votes"]), type="total_votes")
            votes.add(expected // 2 + 1, type="quorum")
            members = gauge("ha_cluster_corosync_member_votes", "The votes of each member")
            ids = {name: number for number, name in self._node.settings.nodes}
            present = set(quorum["members"])
            for name, count in quorum["votes"].items():
                if ids.get(name) in present:
                    local = str(name == self._node.settings.node_name).lower()
                    members.add(count, node=name, node_id=str(ids[name]), local=local)
            families += [votes, members]
        if links is not None:
            silent = gauge("ha_cluster_corosync_ring_errors", "Links on which no other member is heard")
            alive = {peer["name"] for peer in links["peers"] if peer["state"] != "dead"}
            over = [[peer["state"] for peer in link["peers"] if peer["name"] in alive] for link in links["links"]]
            faulty = [bool(states) and not {"up", "late"} & set(states) for states in over]
            silent.add(sum(faulty))
            rings = gauge(
                "ha_cluster_corosync_rings", "The links of this node; 1, or 0 when no other member is heard on it"
            )
            ring, me = "" if view is None else str(view.view_id), str(self._node.settings.node_id)
            for link, wrong in zip(links["links"], faulty, strict=True):
                number, address = str(link["number"]), str(link["address"])
                rings.add(float(not wrong), number=number, address=address, node_id=me, ring_id=ring)
            families += [silent, rings]
        return families

    # --- this node ---------------------------------------------------------------------------------------------------

    def _own(self) -> list[Family]:
        node, controller = self._node, self._node.controller
        view, policy, api = controller.view, node.policy, node.api.counters
        version = node.cib.version
        cib = gauge("vigil_cib_version", "The version of the CIB, by its parts")
        for part in ("admin_epoch", "epoch", "num_updates"):
            cib.add(getattr(version, part), part=part)
        decisions = Family("vigil_decision_seconds", Kind.SUMMARY, "How long the policy engine took")
        decisions.add(policy.decision_s, "_sum")
        decisions.add(policy.decisions, "_count")
        settings = node.settings
        labels = {"version": __version__, "cluster": settings.cluster, "node": settings.node_name}
        return [
            gauge("vigil_info", "What this is", [(1, labels)]),
            gauge("vigil_crm_state", "The state of this node's controller", [(1, {"state": controller.state})]),
            gauge("vigil_dc", "Whether this node is the DC", [(float(controller.dc == settings.node_id), {})]),
            gauge("vigil_members", "Members of the view", [(0 if view is None else len(view.members), {})]),
            gauge(
                "vigil_group_members", "Members whose crm is at work", [(0 if view is None else len(view.group), {})]
            ),
            gauge("vigil_view_sequence", "The view's number", [(0 if view is None else view.view_id.sequence, {})]),
            cib,
            decisions,
            gauge(
                "vigil_last_decision_seconds", "How long the policy engine took last", [(policy.last_decision_s, {})]
            ),
            gauge("vigil_api_clients", "Clients of the local API", [(api.clients, {})]),
            counter("vigil_api_requests_total", "Requests to the local API", [(api.requests, {})]),
            counter("vigil_api_errors_total", "Requests that were refused or failed", [(api.errors, {})]),
        ]

    def _messaging(self, links: Mapping[str, Any] | None) -> list[Family]:
        if links is None:
            return [gauge("vigil_messaging_up", "Whether messaging answers", [(0, {})])]
        silence = gauge("vigil_peer_silence_seconds", "How long ago each node that is alive was heard")
        alive = gauge("vigil_peer_alive", "Whether heartbeats of each node come")
        for peer in links["peers"]:
            alive.add(float(peer["state"] != "dead"), peer=peer["name"])
            if peer["silent_ms"] is not None:
                silence.add(peer["silent_ms"] / 1000, peer=peer["name"])
        sent = counter("vigil_link_packets_sent_total", "Packets sent on each link")
        errors = counter("vigil_link_send_errors_total", "Packets that could not be sent on each link")
        received = counter("vigil_link_packets_received_total", "Packets received on each link")
        up = gauge("vigil_link_up", "Whether each other node is heard over each link")
        loss = gauge("vigil_link_loss_ratio", "Heartbeats lost of the last 128, by direction")
        trip = gauge("vigil_link_round_trip_seconds", "There and back over each link")
        for link in links["links"]:
            number = str(link["number"])
            for peer in link["peers"]:
                where = {"link": number, "peer": peer["name"]}
                up.add(float(peer["state"] in ("up", "late")), **where)
                for direction in ("in", "out"):
                    if peer[f"loss_{direction}"] is not None:
                        loss.add(peer[f"loss_{direction}"] / 100, direction=direction, **where)
                if peer["rtt_ms"] is not None:
                    trip.add(peer["rtt_ms"] / 1000, **where)
            sent.add(link["sent"], link=number)
            errors.add(link["send_errors"], link=number)
            received.add(link["received"], link=number)
        rejected = counter("vigil_packets_rejected_total", "Packets that were not taken, by reason")
        for reason, count in links["rejected"].items():
            rejected.add(count, reason=reason)
        answers = gauge("vigil_messaging_up", "Whether messaging answers", [(1, {})])
        return [answers, silence, alive, sent, errors, received, up, loss, trip, rejected]

    def _observers(self) -> list[Family]:
        core = self._alerting.core
        queues = gauge("vigil_queue_length", "What waits, by what it is")
        queues.add(core.waiting, queue="alerts")
        queues.add(self._log.waiting, queue="event_log")
        queues.add(len(self._node.executing.core.in_flight()), queue="agents_at_work")
        queues.add(float(self._node.controller.unsent), queue="changes_unsent")
        queues.add(len(self._node.controller.describe()["fencing"]), queue="fencing")
        ended = [(core.sent[ok], {"result": "ok" if ok else "failed"}) for ok in (True, False)]
        return [
            queues,
            counter("vigil_alerts_total", "Alert agents that ended, by result", ended),
            counter("vigil_alerts_dropped_total", "Alerts that were too many for a slow agent", [(core.dropped, {})]),
        ]

    def _processes(self) -> list[Family]:
        memory = gauge("vigil_process_resident_memory_bytes", "Memory of each process of this node")
        cpu = counter("vigil_process_cpu_seconds_total", "CPU time of each process of this node")
        run_dir = self._node.settings.run_dir
        pids = {"crm": os.getpid(), "policy": self._node.policy.pid}
        pids |= {name: _pid(run_dir / f"{name}.pid") for name in ("messaging", "vigild")}
        for name, pid in sorted(pids.items()):
            usage = _usage(pid) if pid else None
            if usage is not None:
                memory.add(usage[0], process=name)
                cpu.add(usage[1], process=name)
        return [memory, cpu]


def _scrapes(collectors: Mapping[str, tuple[bool, float]]) -> list[Family]:
    success = gauge("ha_cluster_scrape_success", "Whether what a collector tells is of now")
    duration = gauge("ha_cluster_scrape_duration_seconds", "How long a collector took")
    for name, (ok, took_s) in collectors.items():
        success.add(float(ok), collector=name)
        duration.add(took_s, collector=name)
    return [success, duration]


def _quorate(view: Any) -> float:
    return float(view is not None and view.quorate)


def _pid(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _usage(pid: int) -> tuple[float, float] | None:
    """Resident bytes and CPU seconds; None when the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[21]) * _PAGE, (int(fields[11]) + int(fields[12])) / _TICKS


class Server:
    """`page` gives the text. An address that is taken is tried again: metrics never keep a node from working."""

    def __init__(self, page: Callable[[], Awaitable[str]], host: str, port: int) -> None:
        self.host, self.port = host, port
        self._page = page
        self._server: asyncio.Server | None = None
        self._again: asyncio.Task[None] | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._held: tuple[float, str] = (-HOLD_S, "")

    async def start(self) -> None:
        if not await self._listen():
            self._again = asyncio.create_task(self._keep_trying())

    async def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _listen(self) -> bool:
        try:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, limit=MAX_REQUEST_BYTES, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            _log.warning("metrics cannot be served on %s port %d: %s", self.host, self.port, error.strerror or error)
            return False
        self.port = self._server.sockets[0].getsockname()[1]
        return True

    async def _keep_trying(self) -> None:
        listening = False
        while not listening:
            await asyncio.sleep(LISTEN_AGAIN_S)
            listening = await self._listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        client = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CLIENT_LIMIT_S / 2):
                head = await _head(reader)
            answer = TOO_LARGE if head is None else await self._answer(head)
            async with asyncio.timeout(CLIENT_LIMIT_S / 2):
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it has gone, or takes too long: nothing of it is kept
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", "this is not HTTP\n")
        method, path = words[0], words[1].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "only GET\n", "Allow: GET, HEAD\r\n")
        if path not in (b"/metrics", b"/"):
            return _response("404 Not Found", "metrics are at /metrics\n")
        body = await self._fresh() if path == b"/metrics" else "Vigil: metrics are at /metrics\n"
        kind = exposition.CONTENT_TYPE if path == b"/metrics" else "text/plain; charset=utf-8"
        return _response("200 OK", body, kind=kind, head_only=method == b"HEAD")

    async def _fresh(self) -> str:
        made, text = self._held
        if time.monotonic() - made >= HOLD_S:
            text = await self._page()
            self._held = (time.monotonic(), text)
        return text


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    """The request without its body; None when it is too large."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None


def _response(
    status: str, body: str, headers: str = "", *, kind: str = "text/plain; charset=utf-8", head_only: bool = False
) -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{headers}Connection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else data)


TOO_LARGE: Final = _response("431 Request Header Fields Too Large", "the request is too large\n")
