"""The two clocks of the crm daemon: monotonic milliseconds, which everything is timed by, and seconds since the epoch, which are recorded.

Monotonic time is the event loop's, so that timers and the cores agree, and so that a loop with a time of its own (the simulator's) takes the
whole daemon with it. `wall` may be replaced for the same reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

wall: Callable[[], float] = time.time
"""Seconds since the epoch."""

_EXACT = 1e-6
"""Milliseconds: what a float may be short of a whole one."""


def now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000 + _EXACT)


def epoch_s() -> int:
    return int(wall())


def epoch_ms() -> int:
    """For what is due at a certain second of the wall clock: half a second matters then."""
    return int(wall() * 1000 + _EXACT)
