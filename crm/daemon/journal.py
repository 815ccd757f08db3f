"""What happened, in order: for people on the log, for programs as events, for good in the event log.

Theory of operation. Each happening, decision, action and result is one flat record: `seq` (counts from 1 in each life of the daemon), `event` (its
name), `time_ms` (wall clock), `mono_ms`, `order` (`crm.events.clock`: sorts the records of all nodes), `node` (who says so), `cause` (`crm.events.causes`: the
id that follows from what began it to everything that came of it), and its own fields. The last `RING` are kept in memory for those who
ask later, long lists in them cut; listeners (subscribers, the event log on disk, alerts, metrics) get each as it happens. The log line is the same
record in words; of details, only when the log is to have everything (`debug`).

`stamp` and `hear` put the order of records into messages between nodes, so that a consequence on one node sorts after its cause on another.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from crm.daemon import clock
from crm.events import words
from crm.events.bounds import shortened
from crm.events.clock import STAMP_BYTES, HybridClock

RING: Final = 1000
"""Events kept in memory; the event log on disk has more."""

_log = logging.getLogger("vigil")
_LEVELS: Final = {words.ERROR: logging.ERROR, words.WARNING: logging.WARNING, words.INFO: logging.INFO}


def _mono_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Journal:
    """The event log of one daemon. `listeners` are called with every record. `mono_ms`: the daemon's monotonic clock."""

    def __init__(self, node: str, mono_ms: Callable[[], int] = _mono_ms) -> None:
        self.node = node
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._mono_ms = mono_ms
        self._clock = HybridClock()
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING)
        self._last = 0

    def record(self, name: str, fields: Mapping[str, Any] | None = None, cause: str = "") -> dict[str, Any]:
        self._last += 1
        wall_us = _wall_us()
        event: dict[str, Any] = {
            "seq": self._last,
            "event": name,
            "time_ms": wall_us // 1000,
            "mono_ms": self._mono_ms(),
            "order": self._clock.tell(wall_us),
            "node": self.node,
            "cause": cause,
        }
        for key, value in (fields or {}).items():
            event[f"{key}_" if key in words.RESERVED else key] = value
        self._ring.append(shortened(event))
        level = logging.DEBUG if words.is_detail(event) else _LEVELS[words.level(event)]
        if _log.isEnabledFor(level):
            _log.log(level, "%s", words.line(event))
        for listener in tuple(self.listeners):
            listener(event)
        return event

    def recent(self, *, since_seq: int = 0, since_ms: int = 0, limit: int = RING) -> list[dict[str, Any]]:
        """Events after a sequence number or a wall-clock time, oldest first; at most the last `limit`."""
        found = [event for event in self._ring if event["seq"] > since_seq and event["time_ms"] >= since_ms]
        return found[-limit:]

    def stamp(self) -> bytes:
        """What a message that is sent now carries."""
        return self._clock.tell(_wall_us()).to_bytes(STAMP_BYTES)

    def hear(self, stamp: bytes) -> None:
        """What a message that has arrived carried."""
        self._clock.hear(int.from_bytes(stamp), _wall_us())


def _wall_us() -> int:
    return int(clock.wall() * 1_000_000)
