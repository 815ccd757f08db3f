"""Hosts and ports as they are written in the file."""

from __future__ import annotations

import ipaddress
import re

from crm.config.model import Endpoint


def parse_endpoint(text: str, default_port: int) -> Endpoint | None:
    """`host`, `host:port`, `[v6]` or `[v6]:port`; None when it is none of them."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?", text)
    if match is None and text.count(":") > 1:
        return Endpoint(text, default_port) if ip_address(text) else None
    if match is None:
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?::(\d{1,5}))?", text)
    if match is None:
        return None
    host, port = match[1], int(match[2]) if match[2] else default_port
    if not 1 <= port <= 65535 or (re.fullmatch(r"[\d.]+", host) and ip_address(host) is None):
        return None
    return Endpoint(host, port)


def ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    address = ip_address(host)
    return address is not None and address.is_loopback


def unfit(host: str) -> str:
    """Why no node can be reached at this address; empty for a name, and where nothing speaks against it."""
    address = ip_address(host)
    if address is None:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
        return "a link-local address means something on one interface only; give the node one of its subnet"
    if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
        return "this is not the address of a node"
    return ""
