"""The sockets with which a network is tried (`messaging.doctor`): one to speak with on a link, and one to hear with for each way.

Which ways there are depends on the family of the node's address on the link: IPv6 has no broadcast. A link that uses no
group of its own is tried with one that nobody else has.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from messaging.config import Endpoint, LinkConfig, LinkMode
from messaging.links.udp import IP_FREEBIND, IP_MTU_DISCOVER, IPV6_FREEBIND, Beside, resolve

GROUP = "239.192.85.86"
"""Organisation-local scope (RFC 2365)."""

GROUP_V6 = "ff15::5655:5457:5647"
"""Transient, site-local scope (RFC 4291, section 2.7)."""

IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE = 0, 3
IPV6_MTU_DISCOVER, IPV6_DONTFRAG = 23, 62
IP_UDP_BYTES = {socket.AF_INET: 28, socket.AF_INET6: 48}
_SIOCGIFADDR, _SIOCGIFBRDADDR = 0x8915, 0x8919
_V6_ADDRESSES = Path("/proc/net/if_inet6")


@dataclass(frozen=True, slots=True)
class Place:
    """A node on a link: its address, its interface there (0: unknown), and where each way of speaking to all goes."""

    family: socket.AddressFamily
    own: tuple[str, int]
    index: int
    groups: dict[str, tuple[str, int]]

    @property
    def ways(self) -> list[str]:
        return ["unicast", *self.groups]


def place_of(link: LinkConfig, own: Endpoint) -> Place:
    """SetupError when the address does not resolve."""
    family, address = resolve(own)
    group = link.group if link.mode is LinkMode.MULTICAST else GROUP_V6 if family == socket.AF_INET6 else GROUP
    groups = {"multicast": (group, link.port)}
    if family == socket.AF_INET:
        everybody = link.group if link.mode is LinkMode.BROADCAST else broadcast_address(address[0])
        groups["broadcast"] = (everybody or "255.255.255.255", link.port)
    index = 0
    if link.interface:
        with contextlib.suppress(OSError):
            index = socket.if_nametoindex(link.interface)
    elif family == socket.AF_INET6:
        index = interface_of(address[0])
    return Place(family, address, index, groups)


def mouth(place: Place, link: LinkConfig) -> socket.socket:
    """To speak with in every way."""
    made = socket.socket(place.family, socket.SOCK_DGRAM)
    made.setblocking(False)
    if place.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, link.dscp << 2)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, link.ttl)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, link.dscp << 2)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, link.ttl)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(place.own[0]))
    with contextlib.suppress(OSError):
        made.bind((place.own[0], 0))
    return made


def in_one_piece(made: socket.socket, whole: bool) -> None:
    """Whether what is sent from now on must not be fragmented, here or on the way."""
    discover = IP_PMTUDISC_PROBE if whole else IP_PMTUDISC_DONT
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, discover)
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, whole)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)


def ear(place: Place, way: str) -> socket.socket | None:
    """To hear with in a way; None when that is not possible."""
    made = socket.socket(place.family, socket.SOCK_DGRAM)
    made.setblocking(False)
    address = place.groups.get(way, place.own)
    try:
        if place.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        if way != "unicast":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        if way == "multicast":
            _join(made, place, address[0])
    except OSError:
        made.close()
        return None
    return made


def _join(made: socket.socket, place: Place, group: str) -> None:
    if place.family == socket.AF_INET6:
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", place.index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    else:
        request = socket.inet_aton(group) + socket.inet_aton(place.own[0])
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


def dscp_of(beside: Beside) -> int | None:
    """The DSCP in what came beside a datagram."""
    for level, kind, data in beside:
        if level == socket.IPPROTO_IP and kind == socket.IP_TOS and data:
            return data[0] >> 2
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_TCLASS and len(data) == 4:
            return int(struct.unpack("@i", data)[0]) >> 2
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


def interface_of(address: str) -> int:
    """The number of the interface that has this IPv6 address; 0 when none has."""
    wanted = socket.inet_pton(socket.AF_INET6, address).hex()
    with contextlib.suppress(OSError):
        for line in _V6_ADDRESSES.read_text(encoding="ascii").splitlines():
            digits, index, *_ = line.split()
            if digits == wanted:
                return int(index, 16)
    return 0
