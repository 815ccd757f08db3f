"""What happened, in order: for people on the log, for programs as events.

Theory of operation. Each event is one flat record: `seq` (counts from 1 in each life of the daemon), `event` (its name), `time_ms` (wall
clock), `mono_ms`, `node` (who says so), `cause` (the id of what led to it: `view-7.1`, `transition-41`), and its own fields. The last `RING`
are kept for those who ask later; subscribers get each as it happens. The log line is the same record in words.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

RING: Final = 5000
"""Events kept in memory."""

_log = logging.getLogger("vigil")
_LEVELS: Final = {
    "bad_message": logging.ERROR,
    "decision_failed": logging.ERROR,
    "fence_failed": logging.ERROR,
    "fencing_given_up": logging.ERROR,
    "action_lost": logging.ERROR,
    "transition_stuck": logging.ERROR,
    "crm_absent": logging.WARNING,
    "peer_late": logging.WARNING,
    "peer_lost": logging.WARNING,
    "fence_requested": logging.WARNING,
    "started_without": logging.WARNING,
}
_RESERVED: Final = frozenset(("seq", "event", "time_ms", "mono_ms", "node", "cause"))


class Journal:
    """The event log of one daemon. `listeners` are called with every record."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING)
        self._last = 0

    def record(self, name: str, fields: Mapping[str, Any] | None = None, cause: str = "") -> dict[str, Any]:
        self._last += 1
        event: dict[str, Any] = {
            "seq": self._last,
            "event": name,
            "time_ms": time.time_ns() // 1_000_000,
            "mono_ms": time.monotonic_ns() // 1_000_000,
            "node": self.node,
            "cause": cause,
        }
        for key, value in (fields or {}).items():
            event[f"{key}_" if key in _RESERVED else key] = value
        self._ring.append(event)
        level = _LEVELS.get(name, logging.INFO)
        if event.get("ok") is False:
            level = logging.WARNING
        _log.log(level, "%s", in_words(event))
        for listener in tuple(self.listeners):
            listener(event)
        return event

    def recent(self, *, since_seq: int = 0, since_ms: int = 0, limit: int = RING) -> list[dict[str, Any]]:
        """Events after a sequence number or a wall-clock time, oldest first; at most the last `limit`."""
        found = [event for event in self._ring if event["seq"] > since_seq and event["time_ms"] >= since_ms]
        return found[-limit:]


def in_words(event: Mapping[str, Any]) -> str:
    """`transition_end number=4 outcome=complete [transition-4]`: greppable, and readable enough."""
    parts = [str(event["event"]).replace("_", " ")]
    for key, value in event.items():
        if key in _RESERVED or value in ("", None, [], {}):
            continue
        text = ",".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
        parts.append(f"{key}={text!r}" if " " in text else f"{key}={text}")
    if event["cause"]:
        parts.append(f"[{event['cause']}]")
    return " ".join(parts)
