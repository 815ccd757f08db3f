"""Trying the network between the nodes: what each link lets through, in every way, whether the cluster uses it or not.

While a session runs, every node sends small frames to every other, on every link, again and again:

    unicast, multicast, broadcast     by UDP to the link's port, in each of these ways
    size-N                            one of N bytes that must not be fragmented
    (a TCP connection)                to the link's port

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
import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from messaging import keyring
from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig
from messaging.frame import FIRST_PROBE, HEADER, LINK_AT, MAX_DATAGRAM_BYTES, FrameCodec
from messaging.links.udp import IP_FREEBIND, IP_MTU_DISCOVER, Beside, resolve

GROUP = "239.192.85.86"
"""Where links that have no multicast group of their own try it: organisation-local scope (RFC 2365)."""

SIZES = (576, 1280, 1500, 9000)
INTERVAL_S = 0.3
SESSION_S = 8.0
TCP_TIMEOUT_S = 2.0
ANSWERS_S = 1.0
FOLLOW_S = 2.0
"""Who was drawn into a run goes on for so long after it has heard the last of it, and never longer than
`MAX_FOLLOW_S`."""

MAX_FOLLOW_S = 60.0
IP_PMTUDISC_PROBE = 3
IP_UDP_BYTES = 28
_SIOCGIFADDR, _SIOCGIFBRDADDR = 0x8915, 0x8919

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
        if way not in ("unicast", "multicast", "broadcast", *(f"size-{size}" for size in SIZES)):
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
        links = []
        for link in self._config.links:
            if link.mode is LinkMode.SERIAL:
                continue
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
                    "interface_refuses": found.too_large.get(link.number),
                    "peers": peers,
                }
            )
        return {"run": self._run, "busy": self.busy, "links": links, "others": self._others_say}

    def _others(self) -> Iterator[Any]:
        return (node for node in self._config.nodes if node.node_id != self._me)

    async def _session(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self._heard_at = loop.time()
        tries: list[asyncio.Task[None]] = []
        mouths: dict[int, socket.socket] = {}
        try:
            for link in self._ip_links():
                mouth = self._open(link)
                if mouth is not None:
                    mouths[link.number] = mouth
            await self._listen()
            tries += [
                loop.create_task(self._try_tcp(link, node.node_id, node.endpoints[link.number]))
                for link in self._ip_links()
                for node in self._others()
            ]
            while loop.time() < end and (self._leads or loop.time() < self._heard_at + FOLLOW_S):
                for link in self._ip_links():
                    if link.number in mouths:
                        self._speak(link, mouths[link.number])
                self._turn += 1
                await asyncio.sleep(INTERVAL_S)
            if self._leads and self.ask is not None:
                self.ask(self._run)
                await asyncio.sleep(ANSWERS_S)
        finally:
            for each in tries:
                each.cancel()
            for mouth in mouths.values():
                mouth.close()
            if self._task is asyncio.current_task():  # else another run has begun, with ears of its own
                self._shut()

    def _ip_links(self) -> Iterator[LinkConfig]:
        return (link for link in self._config.links if link.mode is not LinkMode.SERIAL)

    def _shut(self) -> None:
        for ear in self._ears:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                asyncio.get_running_loop().remove_reader(ear.fileno())
            ear.close()
        for server in self._servers:
            server.close()
        self._ears.clear()
        self._servers.clear()

    # --- speaking

    def _own(self, link: LinkConfig) -> Endpoint:
        return self._config.node(self._me).endpoints[link.number]

    def _open(self, link: LinkConfig) -> socket.socket | None:
        """The socket to speak with on a link, and ears for the ways that the cluster does not listen to itself."""
        family, own = resolve(self._own(link))
        if family != socket.AF_INET:
            return None  # IPv6 networks are not tried yet
        used = {link.mode.value, *(["unicast"] if link.fallback else [])} if self._running else set()
        if "unicast" not in used:
            self._ear(link, "unicast", own)
        if "multicast" not in used:
            self._ear(link, "multicast", (self._group(link), link.port))
        if "broadcast" not in used:
            self._ear(link, "broadcast", (self._everybody(link), link.port))
        mouth = socket.socket(family, socket.SOCK_DGRAM)
        mouth.setblocking(False)
        mouth.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, link.dscp << 2)
        mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, link.ttl)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own[0]))
        with contextlib.suppress(OSError):
            mouth.bind((own[0], 0))
        return mouth

    def _group(self, link: LinkConfig) -> str:
        return link.group if link.mode is LinkMode.MULTICAST else GROUP

    def _everybody(self, link: LinkConfig) -> str:
        if link.mode is LinkMode.BROADCAST:
            return link.group
        return broadcast_address(resolve(self._own(link))[1][0]) or "255.255.255.255"

    def _ear(self, link: LinkConfig, way: str, address: tuple[str, int]) -> None:
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ear.setblocking(False)
        ear.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        if way != "unicast":
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            ear.bind(address)
            if way == "multicast":
                own = socket.inet_aton(resolve(self._own(link))[1][0])
                request = socket.inet_aton(address[0]) + own
                ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        except OSError:
            ear.close()  # then it is not heard, and the table says so
            return
        self._ears.append(ear)
        asyncio.get_running_loop().add_reader(ear.fileno(), self._readable, ear)

    def _readable(self, ear: socket.socket) -> None:
        try:
            data, beside, _, _ = ear.recvmsg(MAX_DATAGRAM_BYTES + 1, 64)
        except OSError:
            return
        self.heard(data, beside)

    def _speak(self, link: LinkConfig, mouth: socket.socket) -> None:
        everybody = [node.node_id for node in self._others()]
        mouth.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 0)
        for node in self._others():
            self._send(link, mouth, "unicast", [node.node_id], resolve(node.endpoints[link.number])[1])
        in_turn = [everybody[self._turn % len(everybody)]] if everybody else []
        self._send(link, mouth, "multicast", in_turn, (self._group(link), link.port))
        self._send(link, mouth, "broadcast", in_turn, (self._everybody(link), link.port))
        mouth.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        for size in SIZES:
            for node in self._others():
                self._send(link, mouth, f"size-{size}", [], resolve(node.endpoints[link.number])[1], size)

    def _send(
        self, link: LinkConfig, mouth: socket.socket, way: str, told: list[int], to: tuple[str, int], size: int = 0
    ) -> None:
        payload = json.dumps(self._findings.document(self._run, way, link.number, told)).encode()
        frame = self._codec.pack(FIRST_PROBE + link.number, payload)
        if size:
            padded = payload.ljust(len(payload) + size - IP_UDP_BYTES - len(frame))
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
        if packet is None or not any(link.number == data[LINK_AT] - FIRST_PROBE for link in self._ip_links()):
            return
        try:
            document = json.loads(packet.payload)
            run = str(document["run"])[:32]
            if run not in self._past and not (self.busy and self._leads):
                self.start(run)
            if run == self._run:
                self._heard_at = asyncio.get_running_loop().time()
            self._findings.take(data[LINK_AT] - FIRST_PROBE, packet.sender, self._me, document, dscp_of(beside))
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


def dscp_of(beside: Beside) -> int | None:
    """The DSCP in what came beside a datagram."""
    for level, kind, data in beside:
        if level == socket.IPPROTO_IP and kind == socket.IP_TOS:
            return data[0] >> 2
    return None


def broadcast_address(address: str) -> str:
    """The broadcast address of the interface that has this address; empty when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s16x", name.encode()[:15])
            try:
                if socket.inet_ntoa(fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, request)[20:24]) == address:
                    return socket.inet_ntoa(fcntl.ioctl(asking.fileno(), _SIOCGIFBRDADDR, request)[20:24])
            except OSError:
                continue
    return ""


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
