"""Telling the neighbours that an address has moved, and asking whether somebody has it.

Theory of operation. Run as a program with nothing but the standard library (`python3 -I -S garp.py ...`), so that it starts in
milliseconds on a machine without this package:

    garp.py announce NIC ADDRESS COUNT INTERVAL_MS    gratuitous ARP (RFC 5227 3) or unsolicited neighbour advertisement (RFC 4861 7.2.6)
    garp.py probe NIC ADDRESS PATIENCE_MS             ARP probe (RFC 5227 2.1.1); prints the owner and ends with 1 when there is one

An announcement is sent as request and as reply, because some equipment learns only from one of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import time
from typing import Final

ETHERTYPE_ARP: Final = 0x0806
_SIOCGIFHWADDR: Final = 0x8927
_BROADCAST: Final = b"\xff" * 6
_NOBODY: Final = bytes(6)
_REQUEST: Final = 1
_REPLY: Final = 2
_ALL_NODES: Final = "ff02::1"


def hardware_address(nic: str) -> bytes:
    """The interface's MAC address. OSError when there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFHWADDR, struct.pack("256s", nic.encode()[:15]))
    return answer[18:24]


def arp_packet(operation: int, mac: bytes, sender_ip: bytes, target_mac: bytes, target_ip: bytes) -> bytes:
    """An Ethernet frame with an ARP packet for IPv4, sent to everybody."""
    header = _BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP)
    return header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + sender_ip + target_mac + target_ip


def advertisement(address: bytes, mac: bytes) -> bytes:
    """An unsolicited neighbour advertisement with the override flag; the kernel fills in the checksum."""
    return struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address + struct.pack("!BB", 2, 1) + mac


def announce_ipv4(nic: str, address: str) -> None:
    mac = hardware_address(nic)
    ip = socket.inet_pton(socket.AF_INET, address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as raw:
        raw.bind((nic, ETHERTYPE_ARP))
        raw.send(arp_packet(_REQUEST, mac, ip, _BROADCAST, ip))
        raw.send(arp_packet(_REPLY, mac, ip, _BROADCAST, ip))


def announce_ipv6(nic: str, address: str) -> None:
    packet = advertisement(socket.inet_pton(socket.AF_INET6, address), hardware_address(nic))
    index = socket.if_nametoindex(nic)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        with contextlib.suppress(OSError):  # the right source address, when the kernel has it ready already
            raw.bind((address, 0, 0, index))
        raw.sendto(packet, (_ALL_NODES, 0, 0, index))


def announce(nic: str, address: str, count: int, interval_ms: int) -> None:
    """Send `count` announcements. OSError when the interface or the right to send is missing."""
    send = announce_ipv6 if ":" in address else announce_ipv4
    for left in range(count, 0, -1):
        send(nic, address)
        if left > 1:
            time.sleep(interval_ms / 1000)


def owner_of(nic: str, address: str, patience_ms: int) -> str | None:
    """The MAC address of whoever has this IPv4 address on the network; None when nobody answers in time."""
    mac = hardware_address(nic)
    ip = socket.inet_pton(socket.AF_INET, address)
    deadline = time.monotonic() + patience_ms / 1000
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as raw:
        raw.bind((nic, ETHERTYPE_ARP))
        raw.send(arp_packet(_REQUEST, mac, bytes(4), _NOBODY, ip))
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                frame = raw.recv(2048)
            except TimeoutError:
                return None
            sender_mac, sender_ip = frame[22:28], frame[28:32]
            if frame[12:14] == struct.pack("!H", ETHERTYPE_ARP) and sender_ip == ip and sender_mac != mac:
                return ":".join(f"{byte:02x}" for byte in sender_mac)
    return None


def main(arguments: list[str]) -> int:
    match arguments:
        case ["announce", nic, address, count, interval_ms]:
            announce(nic, address, int(count), int(interval_ms))
            return 0
        case ["probe", nic, address, patience_ms]:
            owner = owner_of(nic, address, int(patience_ms))
            if owner is None:
                return 0
            sys.stdout.write(owner + "\n")
            return 1
    sys.stderr.write("usage: garp.py announce NIC ADDRESS COUNT INTERVAL_MS | probe NIC ADDRESS PATIENCE_MS\n")
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"garp.py: {error}\n")
        sys.exit(2)
