"""Heartbeats on the wire: one UDP socket per link, unicast, multicast or broadcast.

A link sends a datagram to all other nodes and hands received ones to its owner. It never blocks and never raises for
the network's sake: an interface that is down or an address that is gone makes errors that are counted, and the link
works again when the network does. It binds also while its address is absent (IP_FREEBIND), and joins its multicast
group again when nothing has arrived for a while (an interface that was removed has lost its memberships).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig
from messaging.errors import SetupError
from messaging.frame import MAX_DATAGRAM_BYTES

IP_FREEBIND = 15
IPV6_FREEBIND = 78
RECEIVE_BUFFER_BYTES = 1024 * 1024
READS_PER_WAKE = 64
DSCP_CS6 = 0xC0
"""Network control (RFC 4594, section 3.2): heartbeats go before bulk where the network looks."""


@dataclass(slots=True)
class LinkCounters:
    """What went over one link, for `query("links")`."""

    sent: int = 0
    send_errors: int = 0
    received: int = 0
    last_error: str = ""


class UdpLink:
    """One link. `on_datagram(link number, data)` is called for everything that arrives."""

    def __init__(self, config: MessagingConfig, link: LinkConfig, on_datagram: Callable[[int, bytes], None]) -> None:
        self.counters = LinkCounters()
        self.number = link.number
        self._link = link
        self._own = config.node(config.node_id).endpoints[link.number]
        self._on_datagram = on_datagram
        self._targets = [
            resolve(node.endpoints[link.number]) for node in config.nodes if node.node_id != config.node_id
        ]
        if link.mode is not LinkMode.UNICAST:
            self._targets = [resolve(Endpoint(link.group, link.port))]
        self._family = resolve(self._own)[0]
        # A second read only to learn that there is nothing more costs as much as the first.
        self._reads = 1 if len(config.nodes) <= 3 else READS_PER_WAKE
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = self._open()

    def _open(self) -> socket.socket:
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._set_options(made)
            made.bind(self._bind_address())
            if self._link.mode is LinkMode.MULTICAST:
                self._join(made)
        except OSError as error:
            made.close()
            raise SetupError(
                f"link {self.number} ({self._link.mode}): cannot listen on {self._bind_address()}: {error.strerror}"
            ) from None
        return made

    def _bind_address(self) -> tuple[str, int]:
        match self._link.mode:
            case LinkMode.UNICAST:
                return (resolve(self._own)[1][0], self._own.port)
            case LinkMode.MULTICAST:
                return (self._link.group, self._link.port)
            case LinkMode.BROADCAST:
                return ("", self._link.port)

    def _set_options(self, made: socket.socket) -> None:
        v6 = self._family == socket.AF_INET6
        if v6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_CS6)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS6)
        if self._link.mode is LinkMode.UNICAST:
            return
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._link.interface:
            with contextlib.suppress(PermissionError):  # the addresses decide then
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._link.interface.encode())
        if self._link.mode is LinkMode.BROADCAST:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._link.ttl)
        elif v6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, self._link.ttl)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self._link.ttl)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)

    def _join(self, made: socket.socket) -> None:
        index = socket.if_nametoindex(self._link.interface) if self._link.interface else 0
        if self._family == socket.AF_INET6:
            group = socket.inet_pton(socket.AF_INET6, self._link.group)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))
            return
        group, own = socket.inet_aton(self._link.group), socket.inet_aton(resolve(self._own)[1][0])
        request = group + own + struct.pack("@i", index)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to receive."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, data: bytes) -> None:
        """To all other nodes."""
        for _, address in self._targets:
            try:
                self._socket.sendto(data, address)
                self.counters.sent += 1
            except OSError as error:
                self.counters.send_errors += 1
                self.counters.last_error = error.strerror or str(error)

    def rejoin(self) -> None:
        """Ask for the multicast group again; an error says that we are still in it, or that the interface is away."""
        if self._link.mode is LinkMode.MULTICAST:
            try:
                self._join(self._socket)
            except OSError as error:
                self.counters.last_error = error.strerror or str(error)

    def _readable(self) -> None:
        for _ in range(self._reads):
            try:
                data = self._socket.recv(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of an earlier send; reading it clears it
                self.counters.last_error = error.strerror or str(error)
                continue
            self.counters.received += 1
            self._on_datagram(self.number, data)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


def resolve(endpoint: Endpoint) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Family and numeric address of an endpoint. SetupError when its name does not resolve."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise SetupError(f"address {endpoint.host!r} does not resolve: {error.strerror}") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))
