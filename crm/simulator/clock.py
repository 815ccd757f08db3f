"""Virtual time: a queue of what happens when, and the clocks of the nodes, which drift from it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

PPM = 1_000_000


class Violation(AssertionError):
    """Something that must never happen did, or something that must happen did not."""


class Clock:
    """Virtual milliseconds. What is due at one moment happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 1000
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: int, what: Callable[..., None], *arguments: Any) -> None:
        self._asked += 1
        heapq.heappush(self._queue, (when if when > self.now else self.now, self._asked, what, arguments))

    def after(self, delay_ms: int, what: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + delay_ms, what, *arguments)

    def run_until(self, when: int) -> None:
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= when:
            self.now, _, what, arguments = pop(queue)
            what(*arguments)
        self.now = when


def local_time(now: int, offset_ms: int, drift_ppm: int) -> int:
    """What a node's monotonic clock shows."""
    return offset_ms + now * (PPM + drift_ppm) // PPM


def virtual_time(local: int, offset_ms: int, drift_ppm: int) -> int:
    """The first virtual millisecond at which a node's clock shows at least `local`."""
    return -(-(local - offset_ms) * PPM // (PPM + drift_ppm))
