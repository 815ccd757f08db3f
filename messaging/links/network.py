"""All links of a node, and the streams over them: what the daemon sends through, and what it asks about the network.

`Network` wires the codec, the links, their monitor and the streams together. What arrives and is authentic becomes an
event for the core; `check` looks now and then at how the links are: it tells of changes, moves streams off links that
have fallen silent and back from serial lines, and asks silent links to renew themselves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from messaging.config import LinkConfig, LinkMode, MessagingConfig
from messaging.effects import DatagramReceived, Event
from messaging.errors import Malformed
from messaging.frame import LOSS_SPAN, FrameCodec, Packet, Rejection
from messaging.links.monitor import LinkMonitor
from messaging.links.serial import ABSENT, HEARTBEAT, PIECE, SerialLink
from messaging.links.tcp import Streams
from messaging.links.udp import Beside, UdpLink

if TYPE_CHECKING:
    from messaging.doctor import Doctor

CHECK_US = 200_000
RENEW_US = 1_000_000
RETURN_US = 30_000_000
"""How long a stream stays on a serial line after it has tried in vain to return to a network that is heard."""

log = logging.getLogger("messaging")


def now_us() -> int:
    return time.monotonic_ns() // 1000


class Network:
    """See the module's text. `emit` takes events for the core, `on_control` words of a peer's daemon to this one."""

    def __init__(
        self,
        config: MessagingConfig,
        frames: FrameCodec,
        incarnation: int,
        emit: Callable[[Event], None],
        on_control: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self.frames = frames
        self._config = config
        self._emit = emit
        names = {node.node_id: node.name for node in config.nodes}
        groups = [link.number for link in config.links if link.mode in (LinkMode.MULTICAST, LinkMode.BROADCAST)]
        self._fallback = [link.number for link in config.links if link.fallback]
        timers = config.timers
        self._on = [_ends(config, link) for link in config.links]
        self.monitor = LinkMonitor(config.node_id, names, self._on, groups, timers.warntime_ms, timers.deadtime_ms)
        self._peers = [node.node_id for node in config.nodes if node.node_id != config.node_id]
        self._lives: dict[int, int] = {}
        self.links = [self._make(link) for link in config.links]
        self.streams = Streams(config, frames, incarnation, emit, self._ways, self._on_word)
        self._on_control = on_control
        self.streams.lines = {link.number: link for link in self.links if isinstance(link, SerialLink)}
        self._check_due_us = self._renew_due_us = 0
        self._stay_us: dict[int, int] = {}
        self._incarnation = incarnation
        self._doctor: Doctor | None = None

    def _make(self, link: LinkConfig) -> UdpLink | SerialLink:
        if link.mode is LinkMode.SERIAL:
            line = SerialLink(self._config, link, self.frames.pack, self._on_frame)
            line.on_probe = self._on_probe
            return line
        made = UdpLink(self._config, link, self._on_datagram)
        made.on_probe = self._on_probe
        return made

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen for streams, begin to receive. SetupError when an address cannot be used."""
        await self.streams.start()
        for link in self.links:
            link.start(loop)

    def relist(self, config: MessagingConfig) -> None:
        """Who belongs to the cluster from now on. SetupError when a name does not resolve; nothing has changed then."""
        for link in self.links:
            link.relist(config)
        self._config = config
        self._peers = [node.node_id for node in config.nodes if node.node_id != config.node_id]
        self._on = [_ends(config, link) for link in config.links]
        self.monitor.relist({node.node_id: node.name for node in config.nodes}, self._on)
        self.streams.relist(config)
        if self._doctor is not None:
            self._doctor.relist(config)
        self.frames.listed = frozenset(node.node_id for node in config.nodes)

    def shut(self) -> None:
        for link in self.links:
            link.close()
        self.streams.shut()
        if self._doctor is not None:
            self._doctor.close()

    # --- trying the network

    @property
    def doctor(self) -> Doctor:
        if self._doctor is None:
            from messaging.doctor import Doctor  # most nodes never need one

            self._doctor = Doctor(self._config, self.frames, self._incarnation, running=True)
            self._doctor.ask = self._ask_findings
            self._doctor.lines = self.streams.lines
        return self._doctor

    def _ask_findings(self, run: str) -> None:
        for peer in self._peers:
            self.streams.control(peer, json.dumps({"doctor": "tell", "run": run}).encode())

    def _on_word(self, peer: int, payload: bytes) -> None:
        """A word of a peer's daemon to this one."""
        try:
            document = json.loads(payload)
            match document.get("doctor"):
                case None:
                    self._on_control(peer, document)
                case "tell":
                    findings = self.doctor.status()
                    if findings["run"] == document["run"]:
                        told = {"doctor": "told", "run": findings["run"], "links": findings["links"]}
                        self.streams.control(peer, json.dumps(told).encode())
                case _:
                    self.doctor.told(self._config.node(peer).name, str(document["run"]), document["links"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("node %d sent a word that makes no sense: %r", peer, error)

    def _on_probe(self, data: bytes, beside: Beside) -> None:
        self.doctor.heard(data, beside)

    # --- heartbeats

    def send(self, payload: bytes) -> None:
        """A heartbeat to all nodes, over all links."""
        now = now_us()
        for link in self.links:
            number = link.number
            losses = {peer: self._loss(peer, number) for peer in self.monitor.due(number)}
            reports = self.monitor.reports(number, self.frames.next_sequence(number), losses, now)
            beside = self.monitor.needs_unicast(number, now) if number in self._fallback else ()
            head = HEARTBEAT if self._is_serial(number) else b""
            link.send(self.frames.pack(number, head + reports + payload), beside)
        if now >= self._check_due_us:
            self._check_due_us = now + CHECK_US
            self.check(now)

    def _loss(self, peer: int, link: int) -> int:
        """Thousandths of the last packets of a peer on a link that did not arrive."""
        return self.frames.seen(peer, link)[1] * 1000 // LOSS_SPAN

    def _on_datagram(self, link: int, data: bytes, by_group: bool) -> None:
        packet = self.frames.unpack(link, data)
        if packet is not None:
            self._on_heartbeat(link, packet, packet.payload, by_group)

    def _on_frame(self, link: int, data: bytes) -> None:
        """What came over a serial line."""
        packet = self.frames.unpack(link, data)
        if packet is None:
            return
        kind, payload = packet.payload[:1], packet.payload[1:]
        if kind == HEARTBEAT:
            self._on_heartbeat(link, packet, payload, False)
            return
        try:
            if kind != PIECE:
                raise Malformed("neither a heartbeat nor a piece")
            self.streams.lines[link].on_piece(payload)
        except Malformed:
            self.frames.reject(Rejection.MALFORMED)

    def _on_heartbeat(self, link: int, packet: Packet, data: bytes, by_group: bool) -> None:
        if self._lives.get(packet.sender) != packet.incarnation:
            self._lives[packet.sender] = packet.incarnation
            self.monitor.restarted(packet.sender)
        try:
            payload = self.monitor.arrived(link, packet.sender, packet.sequence, data, by_group, now_us())
        except Malformed:
            self.frames.reject(Rejection.MALFORMED)
            return
        self._emit(DatagramReceived(link, packet.sender, packet.incarnation, payload))

    # --- how the links are

    def _is_serial(self, link: int) -> bool:
        return self._config.links[link].mode is LinkMode.SERIAL

    def _ways(self, peer: int) -> list[int]:
        """The links in the order in which a stream should try them: those that live first, networks before serial lines."""
        fresh = sorted(self.monitor.fresh_links(peer, now_us()), key=self._is_serial)
        rest = [link for link, on in enumerate(self._on) if peer in on and link not in fresh]
        return fresh + sorted(rest, key=self._is_serial)

    def check(self, now: int) -> None:
        """See the module's text."""
        for report in self.monitor.review(now, self._fallback):
            log.log(report.level, report.text)
        renew = now >= self._renew_due_us
        if renew:
            self._renew_due_us = now + RENEW_US
        heard: set[int] = set()
        for peer in self._peers:
            fresh = self.monitor.fresh_links(peer, now)
            heard.update(fresh)
            link = self.streams.link_of(peer)
            if link is None or not fresh:
                continue
            if link not in fresh:
                log.info("link %d to node %d is silent: its stream moves to another", link, peer)
                self.streams.move(peer)
            elif self._is_serial(link) and not all(map(self._is_serial, fresh)) and now >= self._stay_us.get(peer, 0):
                self._stay_us[peer] = now + RETURN_US
                self.streams.move(peer)
        if renew:
            for each in self.links:
                if each.number not in heard:
                    each.renew()

    def status(self) -> list[dict[str, Any]]:
        """The links part of `query("links")`."""
        now = now_us()
        answer: list[dict[str, Any]] = []
        for link, config in zip(self.links, self._config.links, strict=True):
            counters = link.counters
            losses = {peer: self._loss(peer, link.number) for peer in self._peers}
            peers = self.monitor.status(link.number, losses, now)
            for each in peers:
                peer = int(str(each["id"]))
                each["stream"] = self.streams.link_of(peer) == link.number
            answer.append(
                {
                    "number": link.number,
                    "mode": config.mode.value,
                    "address": self._config.node(self._config.node_id).endpoints[link.number].host,
                    "group": config.group,
                    "sent": counters.sent,
                    "send_errors": counters.send_errors,
                    "received": counters.received,
                    "last_error": counters.last_error,
                    "peers": peers,
                }
            )
        return answer


def _ends(config: MessagingConfig, link: LinkConfig) -> list[int]:
    """The other nodes that this node has on a link."""
    on = [node.node_id for node in config.nodes if node.endpoints[link.number].host != ABSENT]
    return [node_id for node_id in on if node_id != config.node_id] if config.node_id in on else []
