"""What `crm cluster doctor` says: what the network lets through between this node and each other, and what to do about it.

Theory of operation. Messaging tries every way on every link in both directions (`messaging.doctor`), the daemons' while they run, else a session of this
command itself. Here its findings become a table a link, and each finding that somebody should act on becomes one sentence with the remedy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from crm.shell.links import table
from crm.shell.session import LiveSession, ShellError

LIMIT_S: Final = 30.0
POLL_S: Final = 0.5
_SIZES: Final = (9000, 1500, 1280, 576)
_WAYS: Final = ("unicast", "multicast", "broadcast")


def by_daemon(session: LiveSession) -> dict[str, Any]:
    """The findings of the running daemons."""
    session.call("links.try")
    deadline = time.monotonic() + LIMIT_S
    while True:
        answer: dict[str, Any] = session.call("messaging.query", name="doctor")
        if not answer.get("busy"):
            return answer
        if time.monotonic() > deadline:
            raise ShellError(f"trying the network has not ended within {LIMIT_S:.0f} s")
        time.sleep(POLL_S)


def alone(config: str, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """The findings of this command's own session, for a node whose daemons do not run. ShellError when it cannot be."""
    from crm import config as configuration
    from messaging import doctor
    from messaging.config import from_document
    from messaging.errors import SetupError

    heard: set[str] = set()

    def told(findings: dict[str, Any]) -> None:
        for link in findings["links"]:
            for peer in link["peers"]:
                if peer["here"] and peer["name"] not in heard:
                    heard.add(peer["name"])
                    say(f"{peer['name']} is there")

    try:
        loaded = from_document(configuration.load(config).to_document())
        return asyncio.run(doctor.try_alone(loaded, seconds, told))
    except configuration.ConfigError as error:
        raise ShellError(f"{config} cannot be used", tuple(str(error).splitlines())) from None
    except (SetupError, OSError) as error:
        raise ShellError(f"the network cannot be tried from here: {error}") from None


def describe(findings: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The lines, and whether all is well that the cluster uses."""
    lines: list[str] = []
    advice: list[str] = []
    for link in findings.get("links", []):
        if link["mode"] == "serial":
            lines += _line(link)
            advice += _line_advice(link)
            continue
        lines.append(f"link {link['number']}: {link['mode']}, {link['address']} port {link['port']}")
        peers = link["peers"]
        if not peers:
            lines.append("  there is no other node")
            continue
        rows = [["", *(peer["name"] for peer in peers)]]
        rows += [[f"UDP {way}", *(_both(peer, way) for peer in peers)] for way in link.get("ways", _WAYS)]
        rows.append(["TCP", *(_tcp(peer) for peer in peers)])
        rows.append(["largest packet", *(_largest(peer, link) for peer in peers)])
        rows.append([f"DSCP {link['dscp']}", *(_dscp(peer, link["dscp"]) for peer in peers)])
        lines += table(rows)
        advice += _advice(link)
    if not findings.get("links"):
        lines.append("there is no link to try")
    for name, links in sorted((findings.get("others") or {}).items()):
        try:
            seen = [text for link in links for text in (_line_advice if link["mode"] == "serial" else _advice)(link)]
            advice += [f"seen from {name}: {text}" for text in seen]
        except (KeyError, TypeError):
            advice.append(
                f"{name} has found something that this command cannot read: is another version running there?"
            )
    lines.append("")
    lines += [f"! {text}" for text in advice] or ["all that the cluster uses gets through"]
    return lines, not advice


def _line(link: Mapping[str, Any]) -> list[str]:
    """A serial line."""
    if not link["peers"]:
        return [f"link {link['number']}: serial, not at this node"]
    rows = [["", *(peer["name"] for peer in link["peers"])]]
    rows.append(["serial line", *(_both(peer, "serial") for peer in link["peers"])])
    return [f"link {link['number']}: serial, {link['address']} at {link['baud']} baud", *table(rows)]


def _line_advice(link: Mapping[str, Any]) -> Iterator[str]:
    number, device = link["number"], link["address"]
    if link["error"]:
        yield f"link {number}: {device} cannot be used: {link['error']}"
        return
    for peer in link["peers"]:
        state = _both(peer, "serial")
        if state == "nothing":
            yield (
                f"link {number}: nothing comes from {peer['name']} over {device}: is a null-modem cable in both devices, does the other end use {link['baud']} baud "
                "too, and does nothing else read them (systemctl disable serial-getty@...)?"
            )
        elif state != "both ways":
            yield f"link {number}: to {peer['name']} over {device}: {state}: is one of the two data lines of the cable broken, or flow control on at one end?"


def _both(peer: Mapping[str, Any], way: str) -> str:
    here = way in peer["here"]
    there = peer["there"]
    if there is None:
        return "arrives here; there: no word" if here else "nothing"
    return {
        (True, True): "both ways",
        (True, False): "only from there to here",
        (False, True): "only from here to there",
        (False, False): "does not get through",
    }[here, way in there]


def _tcp(peer: Mapping[str, Any]) -> str:
    return str(peer["tcp"] or "not tried")


def _largest(peer: Mapping[str, Any], link: Mapping[str, Any]) -> str:
    there = peer["there"]
    if there is None:
        return "-"
    passes = [size for size in _SIZES if f"size-{size}" in there]
    if not passes:
        return "less than 576 bytes"
    next_larger = min((size for size in _SIZES if size > passes[0]), default=0)
    beyond = " (own MTU)" if next_larger and link.get("interface_refuses") == next_larger else ""
    return f"{passes[0]} bytes{beyond}"


def _dscp(peer: Mapping[str, Any], wanted: int) -> str:
    there = [word for word in peer["there"] or () if word.startswith("dscp-")]
    if not there:
        return "-"
    return "kept" if f"dscp-{wanted}" in there else f"arrives as {there[0].removeprefix('dscp-')}"


def _advice(link: Mapping[str, Any]) -> Iterator[str]:
    number, port, mode = link["number"], link["port"], link["mode"]
    silent = [
        peer["name"] for peer in link["peers"] if not peer["here"] and peer["there"] is None and not _reached(peer)
    ]
    if silent:
        yield (
            f"link {number}: nothing comes from {_names(silent)}: is the node up, with its daemons or with crm cluster doctor running there at the same "
            f"time, and is UDP port {port} open in its firewall and in this one?"
        )
    heard = [peer for peer in link["peers"] if peer["name"] not in silent]
    for way in ("unicast", mode) if mode != "unicast" else ("unicast",):
        lame = [peer["name"] for peer in heard if _both(peer, way) != "both ways"]
        if not lame:
            continue
        if way == "unicast" and mode != "unicast" and not link["fallback"]:
            continue
        yield _remedy(link, way, lame)
    refused = [
        f"{peer['name']} ({_tcp(peer)})"
        for peer in link["peers"]
        if peer["name"] not in silent and _tcp(peer) != "connects"
    ]
    if refused:
        yield f"link {number}: no TCP connection to {_names(refused)}: open TCP port {port}; the messages of the cluster go over it"
    yield from _size_advice(link, heard)
    changed = [peer["name"] for peer in heard if _dscp(peer, link["dscp"]).startswith("arrives")]
    if changed:
        yield (
            f"link {number}: the network changes the DSCP on the way to {_names(changed)}: heartbeats get no priority there; let the switches trust "
            f"DSCP {link['dscp']} on these ports, or accept it"
        )


def _size_advice(link: Mapping[str, Any], heard: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    refused = link.get("interface_refuses") or 1 << 16
    for peer in heard:
        if peer["there"] is None or "unicast" not in peer["there"]:
            continue
        lost = [size for size in _SIZES if size <= 1500 and size < refused and f"size-{size}" not in peer["there"]]
        if lost:
            yield (
                f"link {link['number']}: packets of {min(lost)} bytes do not reach {peer['name']} in one piece, although the interface here takes them: "
                "set the interface's MTU to what the path takes, or large messages may hang"
            )


def _reached(peer: Mapping[str, Any]) -> bool:
    return bool(peer["tcp"] == "connects")


def _remedy(link: Mapping[str, Any], way: str, names: Sequence[str]) -> str:
    number, port = link["number"], link["port"]
    if way == "unicast":
        return f"link {number}: UDP unicast does not pass both ways to {_names(names)}: open UDP port {port} in the firewalls of both ends"
    instead = (
        "until then the cluster goes on by unicast packets there"
        if link["fallback"]
        else 'set fallback = "unicast" or mode = "unicast" for the link'
    )
    cause = (
        "switches with IGMP snooping need a querier, and firewalls must take IGMP and the group"
        if way == "multicast"
        else "the nodes must be in one subnet, and firewalls must take broadcasts"
    )
    return f"link {number}: {way} to {link['group']} does not pass both ways to {_names(names)}: {cause}; {instead}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)
