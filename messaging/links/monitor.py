"""What each link is worth: state, loss and round trip to every other node, measured from the heartbeats themselves.

A heartbeat begins with reports on a few of the other nodes, in turn:

    1  number of reports
    per report:
    1  node id                      4  microseconds since that arrived
    8  newest sequence that was     2  lost of the last packets, in thousandths
       heard of it on this link     1  flags: 1 = its group packets arrive

So a node learns from the reports on itself how long a packet and its answer were on the way, how much of what it sends
is lost, and whether its multicast or broadcast packets arrive. What is lost on the way here it counts itself. Nothing
is sent for the measurement alone.

A link to a node is *up* while something arrives over it, *late* after `warntime`, *down* after `deadtime`: the words
and times are those of nodes, but a link's state changes no membership. Where the group of a multicast or broadcast link
does not reach a node (either way) and the configuration permits it, `needs_unicast` names the node: it is then sent
packets of its own, while the group goes on being tried.

No I/O and no clock in here; times are microseconds of one monotonic clock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from messaging.effects import Level, Report
from messaging.errors import Malformed

REPORTS = 4
"""Reports in one heartbeat: a node of 32 is reported on by each other in every eighth."""

_REPORT = struct.Struct(">BQIHB")
_GROUP_ARRIVES = 1
_RING = 256
_MAX_HOLD_US = 0xFFFFFFFF
SMOOTHING = 8
"""A new round trip moves the mean by this part of the difference (RFC 6298 smooths the same way)."""

MAX_REPORTS_BYTES = 1 + REPORTS * _REPORT.size


class LinkState(StrEnum):
    NEVER = "never heard"
    UP = "up"
    LATE = "late"
    DOWN = "down"


@dataclass(slots=True)
class _Path:
    """One link to one peer. Times are 0 for never."""

    heard_us: int = 0
    newest: int = 0
    newest_us: int = 0
    group_us: int = 0
    group_there_us: int = 0
    rtt_us: int | None = None
    loss_there: int | None = None
    state: LinkState = LinkState.NEVER
    by_unicast: bool = False
    up_us: int = 0
    """When it came up; the reports that tell of a group need a moment after that."""


class LinkMonitor:
    """All links of one node. `links` holds the other nodes on each; `groups` are those that are multicast or broadcast."""

    def __init__(
        self,
        node_id: int,
        names: dict[int, str],
        links: Sequence[Sequence[int]],
        groups: Iterable[int],
        warntime_ms: int,
        deadtime_ms: int,
    ) -> None:
        self._me = node_id
        self._groups = frozenset(groups)
        self._warntime_us = warntime_ms * 1000
        self._deadtime_us = deadtime_ms * 1000
        self._paths: dict[tuple[int, int], _Path] = {}
        self.relist(names, links)
        self._sent: list[list[tuple[int, int]]] = [[(0, 0)] * _RING for _ in links]

    def relist(self, names: dict[int, str], links: Sequence[Sequence[int]]) -> None:
        """Who belongs to the cluster from now on; what is known of those that stay is kept."""
        self._names = names
        self._on = [sorted(peers) for peers in links]
        paths = [(link, peer) for link, peers in enumerate(self._on) for peer in peers]
        self._paths = {path: self._paths.get(path) or _Path() for path in paths}
        self._turn = [0] * len(links)

    # --- what goes out and comes in

    def reports(self, link: int, sequence: int, losses: dict[int, int], now_us: int) -> bytes:
        """What the heartbeat with this sequence begins with. `losses` holds thousandths, as `due` asked for them."""
        self._sent[link][sequence % _RING] = (sequence, now_us)
        told = []
        for peer in self.due(link):
            path = self._paths[link, peer]
            silent_us = now_us - path.heard_us
            if not path.heard_us or silent_us > self._deadtime_us:
                told.append(_REPORT.pack(peer, 0, 0, 0, 0))
                continue
            flags = _GROUP_ARRIVES if self._fresh(path.group_us, now_us) else 0
            hold_us = min(max(0, now_us - path.newest_us), _MAX_HOLD_US)
            told.append(_REPORT.pack(peer, path.newest, hold_us, losses.get(peer, 0), flags))
        if told:
            self._turn[link] = (self._turn[link] + len(told)) % len(self._on[link])
        return bytes([len(told)]) + b"".join(told)

    def due(self, link: int) -> Sequence[int]:
        """Whom the next heartbeat on a link reports on."""
        start = self._turn[link]
        turned = self._on[link][start:] + self._on[link][:start]
        return turned[:REPORTS]

    def arrived(self, link: int, peer: int, sequence: int, data: bytes, by_group: bool, now_us: int) -> bytes:
        """Take the reports off a packet and return what follows them. Malformed when they do not decode."""
        path = self._paths.get((link, peer))
        if path is None or not data or len(data) < 1 + data[0] * _REPORT.size:
            raise Malformed("a heartbeat without its reports")
        path.heard_us = now_us
        if sequence > path.newest or path.newest_us < now_us - self._deadtime_us:
            path.newest, path.newest_us = sequence, now_us
        if by_group:
            path.group_us = now_us
        end = 1 + data[0] * _REPORT.size
        for at in range(1, end, _REPORT.size):
            if data[at] == self._me:
                self._learn(link, path, data, at, now_us)
        return data[end:]

    def _learn(self, link: int, path: _Path, data: bytes, at: int, now_us: int) -> None:
        _, newest, hold_us, loss, flags = _REPORT.unpack_from(data, at)
        path.group_there_us = now_us if flags & _GROUP_ARRIVES else 0
        path.loss_there = loss if newest else 1000
        sequence, sent_us = self._sent[link][newest % _RING]
        if not newest or sequence != newest:
            return
        taken_us = now_us - sent_us - hold_us
        if taken_us >= 0:
            path.rtt_us = taken_us if path.rtt_us is None else path.rtt_us + (taken_us - path.rtt_us) // SMOOTHING

    def restarted(self, peer: int) -> None:
        """A peer began a new life: its sequences start again."""
        for (_, other), path in self._paths.items():
            if other == peer:
                path.newest = path.newest_us = 0

    # --- what follows from it

    def _fresh(self, since_us: int, now_us: int, rounds: int = 1) -> bool:
        return since_us > 0 and now_us - since_us <= rounds * self._warntime_us

    def needs_unicast(self, link: int, now_us: int) -> list[int]:
        """Whom the group of this link does not reach, as far as is known."""
        if link not in self._groups:
            return []
        rounds = 1 + (len(self._on[link]) - 1) // REPORTS  # until everybody has been reported on
        return [
            peer
            for peer in self._on[link]
            if not (
                self._fresh((path := self._paths[link, peer]).group_us, now_us)
                and self._fresh(path.group_there_us, now_us, rounds)
            )
        ]

    def fresh_links(self, peer: int, now_us: int) -> list[int]:
        """The links over which a peer is heard: in their order, but those first that missed no heartbeat lately."""
        heard = [
            (now_us - path.heard_us > self._warntime_us // 2, link)
            for (link, other), path in self._paths.items()
            if other == peer and self._fresh(path.heard_us, now_us)
        ]
        return [link for _, link in sorted(heard)]

    def review(self, now_us: int, fallback: Iterable[int]) -> list[Report]:
        """Note what has changed; what people should know of it. `fallback`: links whose configuration permits it."""
        told: list[Report] = []
        alive = {peer for (_, peer), path in self._paths.items() if self._judge(path, now_us) is LinkState.UP}
        permitted = set(fallback)
        for link, peers in enumerate(self._on):
            beside = set(self.needs_unicast(link, now_us)) if link in permitted else set()
            for peer in peers:
                path = self._paths[link, peer]
                told += self._note(link, peer, path, now_us, peer in alive)
                settled = path.state is LinkState.UP and now_us - path.up_us > 2 * self._warntime_us
                by_unicast = peer in beside and settled
                if by_unicast != path.by_unicast:
                    path.by_unicast = by_unicast
                    told.append(self._fallback_report(link, peer, by_unicast))
        return told

    def _judge(self, path: _Path, now_us: int) -> LinkState:
        if not path.heard_us:
            return LinkState.NEVER
        silent_us = now_us - path.heard_us
        if silent_us <= self._warntime_us:
            return LinkState.UP
        return LinkState.LATE if silent_us <= self._deadtime_us else LinkState.DOWN

    def _note(self, link: int, peer: int, path: _Path, now_us: int, alive: bool) -> list[Report]:
        before, path.state = path.state, self._judge(path, now_us)
        if before is path.state:
            return []
        name = self._names[peer]
        if path.state is LinkState.UP and before is not LinkState.LATE:
            path.up_us = now_us
        if path.state is LinkState.DOWN and alive:  # of a node that is silent everywhere, the membership tells
            silent_ms = (now_us - path.heard_us) // 1000
            text = f"link {link} to node {name} is down: silent for {silent_ms} ms; other links go on"
            return [Report(Level.WARNING, text)]
        if path.state is LinkState.UP and before in (LinkState.DOWN, LinkState.NEVER):
            return [Report(Level.INFO, f"link {link} to node {name} is up")]
        return []

    def _fallback_report(self, link: int, peer: int, by_unicast: bool) -> Report:
        name = self._names[peer]
        if by_unicast:
            text = f"link {link}: the group does not reach node {name} or not back; packets of their own go to it"
            return Report(Level.WARNING, text)
        return Report(Level.INFO, f"link {link}: the group reaches node {name} again")

    def status(self, link: int, losses: dict[int, int], now_us: int) -> list[dict[str, object]]:
        """Per peer, for `query("links")`: loss in percent, round trip in milliseconds; None for what is not known."""
        answer: list[dict[str, object]] = []
        for peer in self._on[link]:
            path = self._paths[link, peer]
            state = self._judge(path, now_us)
            there = state is LinkState.UP and path.loss_there is not None
            answer.append(
                {
                    "id": peer,
                    "name": self._names[peer],
                    "state": state.value,
                    "silent_ms": None if not path.heard_us else (now_us - path.heard_us) // 1000,
                    "loss_in": losses.get(peer, 0) / 10 if state is LinkState.UP else None,
                    "loss_out": (path.loss_there or 0) / 10 if there else None,
                    "rtt_ms": None if path.rtt_us is None or state is not LinkState.UP else path.rtt_us / 1000,
                    "by_unicast": path.by_unicast,
                }
            )
        return answer
