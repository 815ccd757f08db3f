"""The ping tie-breaker: a half of the cluster has evidence while at least one target, or one group of targets, answers it.

This alone cannot exclude two winners: when only the way between the two halves is cut, both reach the target. Fencing
then decides which of them lives, so this tie-breaker must not be used without it.

A target is a host (ICMP echo) or `host:port` (TCP connect; a refusal is an answer too). Choose something that a half
which is cut off cannot reach, and that is up when the cluster is: the router towards the clients.

A group is targets that count as one: it answers when one of them does, or (`need = "all"`) when all do in one round.

A round sends one request to every target and ends with the first that is evidence, or after `timeout_ms`. An urgent round repeats
the requests within its time, so that one lost packet does not decide anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from messaging.config import Endpoint, MessagingConfig, TieBreakerConfig
from messaging.errors import SetupError
from messaging.links.udp import resolve
from messaging.tiebreak import Evidence, Tell

URGENT_REPEATS = 3
_ECHO = struct.Struct(">BBHHH")
_SOL_RAW = 255
_ICMP_FILTER = 1


def split_target(target: str) -> tuple[str, int | None]:
    """Host and port of a target; the port is None for ICMP. `[v6]:port` and bare IPv6 addresses are understood."""
    if target.startswith("["):
        host, _, rest = target[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else None
    if target.count(":") == 1:
        host, _, port = target.partition(":")
        return host, int(port)
    return target, None


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class _Icmp:
    """One socket for all ICMP targets of an address family."""

    def __init__(self, family: socket.AddressFamily, on_reply: Callable[[int, str], None]) -> None:
        self._v6 = family == socket.AF_INET6
        protocol = socket.IPPROTO_ICMPV6 if self._v6 else socket.IPPROTO_ICMP
        self._raw = False
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM, protocol)
        except PermissionError:
            self._socket = socket.socket(family, socket.SOCK_RAW, protocol)
            self._raw = True
            if not self._v6:  # only echo replies; the mask names what is *not* wanted
                self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("@I", ~1 & 0xFFFFFFFF))
        self._socket.setblocking(False)
        self._id = os.getpid() & 0xFFFF
        self._on_reply = on_reply
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def request(self, address: str, sequence: int) -> None:
        kind = 128 if self._v6 else 8
        packet = _ECHO.pack(kind, 0, 0, self._id, sequence)
        packet = _ECHO.pack(kind, 0, checksum(packet), self._id, sequence)
        with contextlib.suppress(OSError):  # no route is no answer
            self._socket.sendto(packet, (address, 0))

    def _readable(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self._socket.recvfrom(2048)
                if self._raw and not self._v6:
                    data = data[(data[0] & 0x0F) * 4 :]
                if len(data) < _ECHO.size:
                    continue
                kind, _, _, ident, sequence = _ECHO.unpack_from(data)
                if kind == (129 if self._v6 else 0) and (not self._raw or ident == self._id):
                    self._on_reply(sequence, str(source[0]))

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class PingTieBreaker:
    """See the module's text."""

    def __init__(self, config: TieBreakerConfig) -> None:
        self._config = config
        self._evidence = Evidence(config.tko)
        self._on_change: Tell | None = None
        self._icmp: dict[socket.AddressFamily, _Icmp] = {}
        self._icmp_targets: list[tuple[socket.AddressFamily, str, str]] = []
        self._tcp_targets: list[tuple[socket.AddressFamily, tuple[str, int], str]] = []
        self._answered: dict[str, bool] = {}
        self._fresh: asyncio.Event = asyncio.Event()
        self._sequence = 0
        self._first_of_round = 0
        self._wake = asyncio.Event()
        self._urgent = False
        self._task: asyncio.Task[None] | None = None

    def start(self, on_change: Tell) -> None:
        """Begin to look. SetupError when ICMP is not permitted here or a target does not resolve."""
        self._on_change = on_change
        for target in self._all_targets():
            host, port = split_target(target)
            family, address = resolve(Endpoint(host, port or 0))
            self._answered[target] = False
            if port is not None:
                self._tcp_targets.append((family, address, target))
                continue
            if family not in self._icmp:
                try:
                    self._icmp[family] = _Icmp(family, self._on_reply)
                except PermissionError:
                    raise SetupError(
                        f"tie-breaker target {target}: ICMP is not permitted here (neither a raw socket nor "
                        "net.ipv4.ping_group_range); run as root or give host:port"
                    ) from None
            self._icmp_targets.append((family, address[0], target))
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def settle(self, on_change: Tell) -> None:
        """Everybody looks for himself: nothing to be settled."""

    async def hand_over(self) -> None:
        """Nothing is held."""

    def relist(self, config: MessagingConfig) -> None:
        """It asks neither nodes nor votes."""

    def ask(self) -> None:
        """Look now, and believe only what is seen now."""
        self._urgent = True
        self._wake.set()

    def status(self) -> dict[str, Any]:
        return {"targets": dict(self._answered), "holds": self._evidence.holds}

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for icmp in self._icmp.values():
            icmp.close()

    async def _run(self) -> None:
        while True:
            urgent, self._urgent = self._urgent, False
            self._wake.clear()
            answered = await self._round(urgent)
            if (self._evidence.round(answered, urgent) or urgent) and self._on_change is not None:
                self._on_change(self._evidence.holds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.interval_ms / 1000):
                    await self._wake.wait()

    async def _round(self, urgent: bool) -> bool:
        repeats = URGENT_REPEATS if urgent else 1
        part_s = self._config.timeout_ms / 1000 / repeats
        self._fresh.clear()
        self._first_of_round = self._sequence + 1
        for target in self._answered:
            self._answered[target] = False
        connects = [asyncio.ensure_future(self._connect(*target)) for target in self._tcp_targets]
        try:
            for _ in range(repeats):
                for family, address, _ in self._icmp_targets:
                    self._sequence = self._sequence % 0xFFFF + 1
                    self._icmp[family].request(address, self._sequence)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(part_s):
                        await self._fresh.wait()
                        return True
            return False
        finally:
            for connect in connects:
                connect.cancel()

    def _on_reply(self, sequence: int, source: str) -> None:
        if sequence < self._first_of_round and self._first_of_round - sequence < 0x8000:
            return  # an answer to an earlier round says nothing about now
        for _, address, target in self._icmp_targets:
            if address == source:
                self._note(target)

    def _note(self, target: str) -> None:
        """It has answered in this round."""
        self._answered[target] = True
        if self._is_evidence():
            self._fresh.set()

    def _is_evidence(self) -> bool:
        if any(self._answered[target] for target in self._config.targets):
            return True
        return any(
            (all if group.every else any)(self._answered[target] for target in group.targets)
            for group in self._config.groups
        )

    def _all_targets(self) -> list[str]:
        """Each once, also one that several groups name."""
        grouped = (target for group in self._config.groups for target in group.targets)
        return list(dict.fromkeys((*self._config.targets, *grouped)))

    async def _connect(self, family: socket.AddressFamily, address: tuple[str, int], target: str) -> None:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, address)
        except ConnectionRefusedError:
            pass  # somebody is there to refuse
        except OSError:
            return
        finally:
            made.close()
        self._note(target)
