"""How the timers follow from one another, and how they must relate."""

from __future__ import annotations

from crm.config.model import Timers
from crm.config.problems import Problems
from crm.config.sections import TimersSection


def resolve_timers(timers: TimersSection, problems: Problems) -> Timers:
    """Fill in what follows from deadtime, then compare what was given."""
    dead = timers.deadtime_ms
    resolved = Timers(
        keepalive_ms=timers.keepalive_ms or max(10, dead // 5),
        warntime_ms=timers.warntime_ms or dead // 2,
        deadtime_ms=dead,
        initdead_ms=timers.initdead_ms or max(3 * dead, dead + 2000),
        vouch_ms=timers.vouch_ms,
    )
    if resolved.keepalive_ms >= resolved.warntime_ms:
        problems.add(
            "timers.warntime_ms",
            f"expected more than keepalive_ms ({resolved.keepalive_ms}), got {resolved.warntime_ms}",
        )
    if resolved.warntime_ms >= dead:
        problems.add("timers.warntime_ms", f"expected less than deadtime_ms ({dead}), got {resolved.warntime_ms}")
    if dead < 3 * resolved.keepalive_ms:
        problems.add(
            "timers.deadtime_ms",
            f"expected at least three keepalive_ms ({3 * resolved.keepalive_ms}), so that two lost heartbeats "
            f"are not a death, got {dead}",
        )
    if resolved.initdead_ms < dead:
        problems.add("timers.initdead_ms", f"expected at least deadtime_ms ({dead}), got {resolved.initdead_ms}")
    return resolved
