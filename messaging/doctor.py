"""Trying the network between the nodes: what each link lets through, in every way, whether the cluster uses it or not.

While a session runs, every node sends small frames to every other, on every link, again and again:

    unicast, multicast, broadcast     by UDP to the link's port, in each of these ways (IPv6 has no broadcast)
    size-N                            one of N bytes that must not be fragmented
    (a TCP connection)                to the link's port
    serial                            over a serial line, after the heartbeats that wait there

and remembers which arrived, and with which DSCP. Its unicast frames tell each node what was heard of it (its group
frames do so in turn, in case only these pass), so that in the end a node knows both directions. The first frame of a run
that a node hears makes it take part, so one node is asked and all join. A node whose cluster does not run takes part
while `crm cluster doctor` runs there.

Frames are those of the links (`messaging.frame`), with link numbers from `FIRST_PROBE` and a codec of their own: what is
tried here never touches the windows of the heartbeats. Ways that the running cluster uses already come in through its
own sockets (`heard`), the others through sockets that live as long as the session.

`Findings` is without I/O; `Doctor` does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from messaging import keyring
from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig
from messaging.frame import FIRST_PROBE, HEADER, LINK_AT, MAX_DATAGRAM_BYTES, FrameCodec
from messaging.links import attempts
from messaging.links.attempts import IP_UDP_BYTES, Place
from messaging.links.serial import ABSENT, SerialLink
from messaging.links.udp import Beside, resolve

SIZES = (576, 1280, 1500, 9000)
INTERVAL_S = 0.3
TURNS_OF_A_LINE = 4
"""Serial lines are slow."""

SESSION_S = 8.0
TCP_TIMEOUT_S = 2.0
ANSWERS_S = 1.0
FOLLOW_S = 2.0
"""Who was drawn into a run goes on for so long after it has heard the last of it, and never longer than
`MAX_FOLLOW_S`."""

MAX_FOLLOW_S = 60.0
Words = set[str]


@dataclass(slots=True)
class Findings:
    """What is known so far. `here` holds what arrived of a peer on a link, `there` what the peer says arrived of us."""

    here: dict[tuple[int, int], Words] = field(default_factory=dict)
    there: dict[tuple[int, int], Words] = field(default_factory=dict)
    tcp: dict[tuple[int, int], str] = field(default_factory=dict)
    too_large: dict[int, int] = field(default_factory=dict)
    """The smallest size that this node's own interface on a link refuses."""

    def take(self, link: int, peer: int, me: int, document: Mapping[str, Any], dscp: int | None) -> None:
        """A frame of a peer. KeyError, TypeError or ValueError when it is none."""
        way = str(document["way"])
        if way not in ("unicast", "multicast", "broadcast", "serial", *(f"size-{size}" for size in SIZES)):
            raise ValueError(f"unknown way {way[:20]!r}")
        words = self.here.setdefault((link, peer), set())
        words.add(way)
        if dscp is not None and way == "unicast":
            words.add(f"dscp-{dscp}")
        told = document.get("heard", {}).get(str(me))
        if told is not None:
            self.there[link, peer] = {str(word)[:20] for word in list(told)[:20]}

    def document(self, run: str, way: str, link: int, peers: list[int]) -> dict[str, Any]:
        """What a frame says: which way it goes, and what was heard of these peers."""
        heard = {str(peer): sorted(self.here.get((link, peer), ())) for peer in peers}
        return {"run": run, "way": way, "heard": heard} if heard else {"run": run, "way": way}


class Doctor:
    """Takes part in sessions. `frames` tells the keys and nodes of the moment; `running`: whether the cluster listens."""

    def __init__(self, config: MessagingConfig, frames: FrameCodec, incarnation: int, *, running: bool) -> None:
        self._config = config
        self._frames = frames
        self._codec = FrameCodec(
            frames.keyring, config.cluster, config.node_id, incarnation, frames.listed, frames.encryption
        )
        self._running = running
        self._me = config.node_id
        self._findings = Findings()
        self._run = ""
        self._past: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self.lines: dict[int, SerialLink] = {}
        """The serial lines of the running cluster; else opened for the session."""
        self._own_lines: list[SerialLink] = []
        self._places: dict[int, Place] = {}
        self._mouths: dict[int, socket.socket] = {}
        self._ears: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._turn = 0
        self._leads = False
        self._heard_at = 0.0
        self._others_say: dict[str, list[Any]] = {}
        self.ask: Callable[[str], None] | None = None
        """Asks the other nodes for what they have found in a run; they answer through `told`."""

    # --- sessions

    def relist(self, config: MessagingConfig) -> None:
        """Other nodes belong to the cluster from now on."""
        self._config = config

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, run: str = "", seconds: float = SESSION_S) -> str:
        """Begin a session, or return the one that runs."""
        self._codec.keyring, self._codec.listed = self._frames.keyring, self._frames.listed
        if self.busy and run and self._task is not None:
            self._task.cancel()  # one that another node led, and that is over for it
            self._shut()
            self._task = None
        if not self.busy:
            self._leads = not run
            self._run = run or os.urandom(8).hex()
            self._past = [*self._past[-15:], self._run]
            self._findings = Findings()
            self._others_say = {}
            self._task = asyncio.get_running_loop().create_task(self._session(seconds if self._leads else MAX_FOLLOW_S))
        return self._run

    def told(self, name: str, run: str, links: list[Any]) -> None:
        """What another node has found."""
        if run == self._run and isinstance(links, list):
            self._others_say[name] = links

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._shut()

    async def finished(self) -> None:
        if self._task is not None:
            await self._task

    def status(self) -> dict[str, Any]:
        """For `query("doctor")`: the state of the session and what it has found."""
        found = self._findings
        links: list[dict[str, Any]] = []
        for link in self._config.links:
            if link.mode is LinkMode.SERIAL:
                links.append(self._line_status(link))
                continue
            place = self._places.get(link.number)
            peers = [
                {
                    "name": node.name,
                    "here": sorted(found.here.get((link.number, node.node_id), ())),
                    "there": None if (there := found.there.get((link.number, node.node_id))) is None else sorted(there),
                    "tcp": found.tcp.get((link.number, node.node_id)),
                }
                for node in self._others()
            ]
            own = self._config.node(self._me).endpoints[link.number]
            links.append(
                {
                    "number": link.number,
                    "mode": link.mode.value,
                    "address": own.host,
                    "port": link.port,
                    "group": link.group,
                    "fallback": link.fallback,
                    "dscp": link.dscp,
                    "ways": place.ways if place is not None else ["unicast"],
                    "interface_refuses": found.too_large.get(link.number),
                    "peers": peers,
                }
            )
        return {"run": self._run, "busy": self.busy, "links": links, "others": self._others_say}

    def _line_status(self, link: LinkConfig) -> dict[str, Any]:
        found, line = self._findings, self.lines.get(link.number)
        peers = [
            {
                "name": node.name,
                "here": sorted(found.here.get((link.number, node.node_id), ())),
                "there": None if (there := found.there.get((link.number, node.node_id))) is None else sorted(there),
                "tcp": None,
            }
            for node in self._on_line(link)
        ]
        return {
            "number": link.number,
            "mode": link.mode.value,
            "address": self._own(link).host,
            "baud": link.baud,
            "error": "" if line is None or line.is_open or not peers else line.counters.last_error or "not open",
            "peers": peers,
        }

    def _on_line(self, link: LinkConfig) -> list[Any]:
        """Who is at the other end of a serial line; nobody when this node is not on it."""
        if self._own(link).host == ABSENT:
            return []
        return [node for node in self._others() if node.endpoints[link.number].host != ABSENT]

    def _others(self) -> Iterator[Any]:
        return (node for node in self._config.nodes if node.node_id != self._me)

    async def _session(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self._heard_at = loop.time()
        tries: list[asyncio.Task[None]] = []
        try:
            for link in self._ip_links():
                self._open(link)
            if not self._running:
                self._open_lines()
            await self._listen()
            tries += [
                loop.create_task(self._try_tcp(link, node.node_id, node.endpoints[link.number]))
                for link in self._ip_links()
                for node in self._others()
            ]
            while loop.time() < end and (self._leads or loop.time() < self._heard_at + FOLLOW_S):
                for link in self._ip_links():
                    self._speak(link, self._mouths[link.number])
                if self._turn % TURNS_OF_A_LINE == 0:
                    self._speak_over_lines()
                self._turn += 1
                await asyncio.sleep(INTERVAL_S)
            if self._leads and self.ask is not None:
                self.ask(self._run)
                await asyncio.sleep(ANSWERS_S)
        finally:
            for each in tries:
                each.cancel()
            if self._task is asyncio.current_task():  # else another run has begun, with ears of its own
                self._shut()

    def _ip_links(self) -> Iterator[LinkConfig]:
        return (link for link in self._config.links if link.mode is not LinkMode.SERIAL)

    def _shut(self) -> None:
        for ear in self._ears:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                asyncio.get_running_loop().remove_reader(ear.fileno())
            ear.close()
        for mouth in self._mouths.values():
            mouth.close()
        for line in self._own_lines:
            line.close()
            self.lines.pop(line.number, None)
        for server in self._servers:
            server.close()
        self._ears.clear()
        self._mouths.clear()
        self._own_lines.clear()
        self._servers.clear()

    # --- speaking

    def _own(self, link: LinkConfig) -> Endpoint:
        return self._config.node(self._me).endpoints[link.number]

    def _open(self, link: LinkConfig) -> None:
        """The socket to speak with on a link, and ears for the ways that the cluster does not listen to itself."""
        place = attempts.place_of(link, self._own(link))
        used = {link.mode.value, *(["unicast"] if link.fallback else [])} if self._running else set()
        self._places[link.number] = place
        self._mouths[link.number] = attempts.mouth(place, link)
        for way in place.ways:
            ear = attempts.ear(place, way) if way not in used else None
            if ear is not None:  # else it is not heard, and the table says so
                self._ears.append(ear)
                asyncio.get_running_loop().add_reader(ear.fileno(), self._readable, ear)

    def _open_lines(self) -> None:
        """Where the cluster does not run, nobody else holds the devices."""
        loop = asyncio.get_running_loop()
        for link in self._config.links:
            if link.mode is LinkMode.SERIAL and link.number not in self.lines:
                line = SerialLink(self._config, link, self._codec.pack, lambda number, frame: None)
                line.on_probe = self.heard
                line.start(loop)
                self.lines[link.number] = line
                self._own_lines.append(line)

    def _readable(self, ear: socket.socket) -> None:
        try:
            data, beside, _, _ = ear.recvmsg(MAX_DATAGRAM_BYTES + 1, 64)
        except OSError:
            return
        self.heard(data, beside)

    def _speak(self, link: LinkConfig, mouth: socket.socket) -> None:
        everybody = [node.node_id for node in self._others()]
        attempts.in_one_piece(mouth, False)
        for node in self._others():
            self._send(link, mouth, "unicast", [node.node_id], resolve(node.endpoints[link.number])[1])
        in_turn = [everybody[self._turn % len(everybody)]] if everybody else []
        for way, address in self._places[link.number].groups.items():
            self._send(link, mouth, way, in_turn, address)
        attempts.in_one_piece(mouth, True)
        for size in SIZES:
            for node in self._others():
                self._send(link, mouth, f"size-{size}", [], resolve(node.endpoints[link.number])[1], size)

    def _speak_over_lines(self) -> None:
        for link in self._config.links:
            line = self.lines.get(link.number)
            others = [node.node_id for node in self._on_line(link)] if line is not None else []
            if line is not None and others:
                document = self._findings.document(self._run, "serial", link.number, others)
                line.probe(self._codec.pack(FIRST_PROBE + link.number, json.dumps(document).encode()))

    def _send(
        self, link: LinkConfig, mouth: socket.socket, way: str, told: list[int], to: tuple[str, int], size: int = 0
    ) -> None:
        payload = json.dumps(self._findings.document(self._run, way, link.number, told)).encode()
        frame = self._codec.pack(FIRST_PROBE + link.number, payload)
        if size:
            padded = payload.ljust(len(payload) + size - IP_UDP_BYTES[mouth.family] - len(frame))
            frame = self._codec.pack(FIRST_PROBE + link.number, padded)
        try:
            mouth.sendto(frame, to)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                known = self._findings.too_large.get(link.number, size)
                self._findings.too_large[link.number] = min(size, known)

    # --- hearing

    def heard(self, data: bytes, beside: Beside) -> None:
        """Something with a link number of ours came in."""
        self._codec.keyring, self._codec.listed = self._frames.keyring, self._frames.listed
        if len(data) < HEADER.size or data[LINK_AT] < FIRST_PROBE:
            return
        packet = self._codec.unpack(data[LINK_AT], data)
        if packet is None or not any(link.number == data[LINK_AT] - FIRST_PROBE for link in self._config.links):
            return
        try:
            document = json.loads(packet.payload)
            run = str(document["run"])[:32]
            if run not in self._past and not (self.busy and self._leads):
                self.start(run)
            if run == self._run:
                self._heard_at = asyncio.get_running_loop().time()
            self._findings.take(
                data[LINK_AT] - FIRST_PROBE, packet.sender, self._me, document, attempts.dscp_of(beside)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return

    # --- TCP

    async def _listen(self) -> None:
        """Where the cluster does not run, somebody must take the connections."""
        if self._running:
            return
        for link in self._ip_links():
            family, own = resolve(self._own(link))
            with contextlib.suppress(OSError):
                server = await asyncio.start_server(_hang_up, host=own[0], port=own[1], family=family)
                self._servers.append(server)

    async def _try_tcp(self, link: LinkConfig, peer: int, endpoint: Endpoint) -> None:
        while True:
            try:
                async with asyncio.timeout(TCP_TIMEOUT_S):
                    _, writer = await asyncio.open_connection(*resolve(endpoint)[1])
                writer.close()
            except TimeoutError:
                self._findings.tcp[link.number, peer] = "no answer"
            except OSError as error:
                self._findings.tcp[link.number, peer] = (error.strerror or str(error)).lower()
            else:
                self._findings.tcp[link.number, peer] = "connects"
                return
            await asyncio.sleep(INTERVAL_S)


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def try_alone(config: MessagingConfig, seconds: float, told: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A session of a node whose messaging does not run; `told` gets the findings of the moment. SetupError, OSError."""
    ring = keyring.load(config.key_file)
    listed = [node.node_id for node in config.nodes]
    life = time.time_ns() // 1_000_000
    frames = FrameCodec(ring, config.cluster, config.node_id, life, listed, config.encryption)
    doctor = Doctor(config, frames, life, running=False)
    doctor.start(seconds=seconds)
    while doctor.busy:
        told(doctor.status())
        await asyncio.sleep(INTERVAL_S)
    return doctor.status()
