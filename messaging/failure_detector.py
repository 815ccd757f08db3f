"""Who is alive, as far as this node hears.

A peer is alive while anything authentic of it arrived within `deadtime`; it is late after `warntime`. A new incarnation
ends the old one at once: a node that restarts faster than `deadtime` is noticed all the same.

A node that was itself delayed has read nothing for that long, so the silence is its own. It suspects itself first:
`excuse` moves every deadline far enough into the future for the peers' next heartbeats to arrive; until then nobody is
called late either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Liveness(StrEnum):
    LATE = "late"
    BACK = "back"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell about a peer. `silent_ms` is how long nothing was heard of it."""

    peer: int
    liveness: Liveness
    silent_ms: int


class Peer:
    """What is known of one peer that is alive."""

    __slots__ = ("deadline_ms", "heard_ms", "incarnation", "late", "links", "warn_ms")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.heard_ms = 0
        self.deadline_ms = 0
        self.warn_ms = 0
        self.late = False
        self.links: dict[int, int] = {}


class FailureDetector:
    """Keeps the peers that are alive. `due_ms` is when `expire` has something to do next."""

    def __init__(self, warntime_ms: int, deadtime_ms: int) -> None:
        self._warntime_ms = warntime_ms
        self._deadtime_ms = deadtime_ms
        self.alive: dict[int, Peer] = {}
        self.due_ms: int | None = None

    def heard(self, peer_id: int, incarnation: int, link: int, now_ms: int) -> Change | None:
        """Something arrived. The caller has dealt with a change of incarnation before (see `forget`)."""
        peer = self.alive.get(peer_id)
        if peer is None:
            peer = self.alive[peer_id] = Peer(incarnation)
        silent_ms = now_ms - peer.heard_ms
        peer.heard_ms = now_ms
        peer.deadline_ms = now_ms + self._deadtime_ms
        peer.warn_ms = now_ms + self._warntime_ms
        peer.links[link] = now_ms
        if self.due_ms is None:
            self.due_ms = now_ms + self._warntime_ms
        if peer.late:
            peer.late = False
            return Change(peer_id, Liveness.BACK, silent_ms)
        return None

    def heard_in_time(self, peer_id: int, incarnation: int, link: int, now_ms: int) -> bool:
        """`heard` for a peer that is alive and not late. False, and nothing done, when this is not so."""
        peer = self.alive.get(peer_id)
        if peer is None or peer.late or peer.incarnation != incarnation:
            return False
        peer.heard_ms = now_ms
        peer.deadline_ms = now_ms + self._deadtime_ms
        peer.warn_ms = now_ms + self._warntime_ms
        peer.links[link] = now_ms
        return True

    def in_time(self, now_ms: int, next_ms: int) -> bool:
        """Whether `expire` would find nothing, now that all are in time; it need not be called before `next_ms` or `due_ms` then."""
        if self.due_ms is None or self.due_ms > next_ms:
            return True
        soonest_ms = min(
            [peer.warn_ms if peer.warn_ms < peer.deadline_ms else peer.deadline_ms for peer in self.alive.values()],
            default=None,
        )
        if soonest_ms is not None and soonest_ms <= now_ms:
            return False
        self.due_ms = soonest_ms
        return True

    def forget(self, peer_id: int) -> None:
        """This life of the peer is over."""
        self.alive.pop(peer_id, None)

    def late(self) -> tuple[int, ...]:
        """Who has been silent for `warntime`."""
        for peer in self.alive.values():
            if peer.late:
                return tuple(sorted(peer_id for peer_id, each in self.alive.items() if each.late))
        return ()

    def excuse(self, until_ms: int) -> None:
        """This node was delayed: nobody is late or dies before `until_ms`."""
        for peer in self.alive.values():
            peer.deadline_ms = max(peer.deadline_ms, until_ms)
            peer.warn_ms = max(peer.warn_ms, until_ms)

    def expire(self, now_ms: int) -> list[Change]:
        """Who became late or dead; the dead are forgotten. Sets the next `due_ms`."""
        changes: list[Change] = []
        soonest_ms: int | None = None
        for peer_id, peer in list(self.alive.items()):
            silent_ms = now_ms - peer.heard_ms
            if now_ms >= peer.deadline_ms:
                del self.alive[peer_id]
                if not peer.late:  # nobody dies without having been late, however rarely this node looks
                    changes.append(Change(peer_id, Liveness.LATE, silent_ms))
                changes.append(Change(peer_id, Liveness.DEAD, silent_ms))
                continue
            if not peer.late and now_ms >= peer.warn_ms:
                peer.late = True
                changes.append(Change(peer_id, Liveness.LATE, silent_ms))
            due_ms = peer.warn_ms
            if peer.late or peer.deadline_ms < due_ms:
                due_ms = peer.deadline_ms
            if soonest_ms is None or due_ms < soonest_ms:
                soonest_ms = due_ms
        self.due_ms = soonest_ms
        return changes
