"""The order of records of different nodes: a hybrid logical clock.

Theory of operation. A stamp is microseconds since the epoch, as the node's own clock says, but never less than the last stamp it gave and always
more than any stamp it has heard of in a message. So what was caused on one node by a message of another comes after it, whatever the
nodes' clocks say, and where the clocks agree the stamps are the time. A stamp that is further ahead than `MAX_AHEAD_US` is the fault of a
clock and is not followed: it would take the whole cluster along.
"""

from __future__ import annotations

from typing import Final

STAMP_BYTES: Final = 8
MAX_AHEAD_US: Final = 3600 * 1_000_000


class HybridClock:
    """Of one node. `wall_us`: what its own clock says now."""

    def __init__(self) -> None:
        self._last = 0

    def tell(self, wall_us: int) -> int:
        """A stamp for a record, or for a message that is about to be sent."""
        self._last = max(self._last + 1, wall_us)
        return self._last

    def hear(self, stamp: int, wall_us: int) -> None:
        """A message with this stamp has arrived."""
        if stamp <= wall_us + MAX_AHEAD_US:
            self._last = max(self._last, stamp)
