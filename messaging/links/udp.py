"""Heartbeats on the wire: a UDP link is unicast, multicast or broadcast.

A link sends a datagram to all other nodes and hands received ones to its owner. It never blocks and never raises for
the network's sake: an interface that is down or an address that is gone makes errors that are counted, and the link
works again when the network does. It binds also while its address is absent (IP_FREEBIND). `renew` is called while
nothing arrives: it joins the multicast group again (an interface that was removed has lost its memberships) and opens
new sockets when the interface is another one of the same name, or could not be used before.

A group's socket is bound to the group's address and so hears nothing else. Where packets of their own may take the
group's place (`fallback`), a second socket is bound to the node's own address; so it is known which way a packet came.

Packets may be fragmented on the way (no DF bit): a heartbeat is never larger than an Ethernet frame, and where the path
is narrower, two fragments are better than a packet that nobody tells us is too large. Over IPv6 they go in pieces of
1280 bytes, which every path takes (RFC 8200, section 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig
from messaging.errors import SetupError
from messaging.frame import FIRST_PROBE, LINK_AT, MAX_DATAGRAM_BYTES

IP_FREEBIND = 15
IPV6_FREEBIND = 78
IP_MTU_DISCOVER = 10
IP_PMTUDISC_DONT = 0
IPV6_MTU = 24
IPV6_MIN_MTU = 1280
FALLBACK_TTL = 64
RECEIVE_BUFFER_BYTES = 1024 * 1024
READS_PER_WAKE = 64
BESIDE_BYTES = 64
_AWAY = (errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
"""The interface or its address is not there (yet): no reason not to start."""

OnDatagram = Callable[[int, bytes, bool], None]
"""Link number, data, and whether it came by the link's own mode (False: as a fallback)."""


Beside = list[tuple[int, int, bytes]]
OnProbe = Callable[[bytes, Beside], None]
"""A frame of somebody who tries the network (`messaging.doctor`), and what came beside it."""


def ignore(_: bytes, __: Beside) -> None:
    """Until somebody wants them."""


@dataclass(slots=True)
class LinkCounters:
    """What went over one link, for `query("links")`."""

    sent: int = 0
    send_errors: int = 0
    received: int = 0
    last_error: str = ""


class UdpLink:
    """One link."""

    def __init__(self, config: MessagingConfig, link: LinkConfig, on_datagram: OnDatagram) -> None:
        self.counters = LinkCounters()
        self.number = link.number
        self.on_probe: OnProbe = ignore
        self._link = link
        self._own = config.node(config.node_id).endpoints[link.number]
        self._on_datagram = on_datagram
        self.relist(config)
        self._family = resolve(self._own)[0]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._index = self._interface_index()
        self._joined = True
        self._socket = self._open(self._bind_address())
        self._second = self._open_second()

    def relist(self, config: MessagingConfig) -> None:
        """Who belongs to the cluster from now on. SetupError when a name does not resolve; nothing has changed then."""
        peers = {
            node.node_id: resolve(node.endpoints[self.number])[1]
            for node in config.nodes
            if node.node_id != config.node_id
        }
        self._peers = peers
        self._targets = list(peers.values())
        if self._link.mode is not LinkMode.UNICAST:
            self._targets = [resolve(Endpoint(self._link.group, self._link.port))[1]]
        # A second read only to learn that there is nothing more costs as much as the first.
        self._reads = 1 if len(config.nodes) <= 3 else READS_PER_WAKE

    # --- sockets

    def _open(self, address: tuple[str, int], *, own: bool = False) -> socket.socket:
        """A socket bound to an address. `own`: to receive packets of their own beside the group's socket."""
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._set_options(made, FALLBACK_TTL if own else self._link.ttl)
            if self._link.mode is not LinkMode.UNICAST and not own:
                self._set_group_options(made)
            made.bind(address)
            if self._link.mode is LinkMode.MULTICAST and not own:
                self._try_join(made)
        except OSError as error:
            made.close()
            raise SetupError(
                f"link {self.number} ({self._link.mode}): cannot listen on {address[0]} port {address[1]}: {error.strerror}"
            ) from None
        return made

    def _open_second(self) -> socket.socket | None:
        if not self._link.fallback:
            return None
        return self._open((resolve(self._own)[1][0], self._own.port), own=True)

    def _bind_address(self) -> tuple[str, int]:
        if self._link.mode is LinkMode.UNICAST:
            return (resolve(self._own)[1][0], self._own.port)
        return (self._link.group, self._link.port)

    def _interface_index(self) -> int:
        """The number of the link's interface; 0 when it names none, -1 while it is not there."""
        if not self._link.interface:
            return 0
        try:
            return socket.if_nametoindex(self._link.interface)
        except OSError:
            return -1

    def _set_options(self, made: socket.socket, ttl: int) -> None:
        tos = self._link.dscp << 2
        if self._family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, IPV6_MIN_MTU)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
            return
        made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)

    def _set_group_options(self, made: socket.socket) -> None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._link.interface and self._index > 0:
            with contextlib.suppress(PermissionError):  # the addresses decide then
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._link.interface.encode())
        if self._link.mode is LinkMode.BROADCAST:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        elif self._family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, self._link.ttl)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self._link.ttl)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)

    def _try_join(self, made: socket.socket) -> None:
        """Join the group, or note that this is not possible now."""
        self._joined = False
        try:
            self._join(made)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:  # still in it
                self._joined = True
            elif error.errno in _AWAY:
                self.counters.last_error = f"cannot join {self._link.group}: {error.strerror}"
            else:
                raise
        else:
            self._joined = True

    def _join(self, made: socket.socket) -> None:
        if self._index < 0:
            raise OSError(errno.ENODEV, f"no interface {self._link.interface}")
        if self._family == socket.AF_INET6:
            group = socket.inet_pton(socket.AF_INET6, self._link.group)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", self._index))
            return
        group, own = socket.inet_aton(self._link.group), socket.inet_aton(resolve(self._own)[1][0])
        request = group + own + struct.pack("@i", self._index)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    # --- use

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to receive."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._readable, self._socket, True)
        if self._second is not None:
            loop.add_reader(self._second.fileno(), self._readable, self._second, False)

    def send(self, data: bytes, beside: Iterable[int] = ()) -> None:
        """To all other nodes; and to these as packets of their own, where that is permitted."""
        for address in self._targets:
            self._send(self._socket, data, address)
        if self._second is not None:
            for peer in beside:
                self._send(self._second, data, self._peers[peer])

    def _send(self, through: socket.socket, data: bytes, address: tuple[str, int]) -> None:
        try:
            through.sendto(data, address)
            self.counters.sent += 1
        except OSError as error:
            self.counters.send_errors += 1
            self.counters.last_error = error.strerror or str(error)

    def renew(self) -> None:
        """Nothing arrives: see the module's text."""
        index = self._interface_index()
        if self._link.mode is LinkMode.UNICAST:
            return
        if index == self._index or index < 0:
            if self._link.mode is LinkMode.MULTICAST:
                with contextlib.suppress(OSError):
                    self._try_join(self._socket)
            return
        loop = self._loop
        self.close()
        self._index = index
        self._socket = self._open(self._bind_address())
        self._second = self._open_second()
        if loop is not None:
            self.start(loop)

    def _readable(self, through: socket.socket, by_group: bool) -> None:
        for _ in range(self._reads):
            try:
                data, beside, _, _ = through.recvmsg(MAX_DATAGRAM_BYTES + 1, BESIDE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of an earlier send; reading it clears it
                self.counters.last_error = error.strerror or str(error)
                continue
            self.counters.received += 1
            if len(data) > LINK_AT and data[LINK_AT] >= FIRST_PROBE:
                self.on_probe(data, beside)
                continue
            self._on_datagram(self.number, data, by_group)

    def close(self) -> None:
        for each in (self._socket, self._second):
            if each is not None:
                if self._loop is not None:
                    self._loop.remove_reader(each.fileno())
                each.close()
        self._loop = None


def resolve(endpoint: Endpoint) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Family and numeric address of an endpoint. SetupError when its name does not resolve."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise SetupError(f"address {endpoint.host!r} does not resolve: {error.strerror}") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))
