"""How the timers follow from one another, and how they must relate.

From one wanted failover time everything follows: `deadtime` is what of it is left for noticing, `keepalive`, `warntime`,
`initdead` and `vouch` follow from deadtime, and so do the times of every tie-breaker (`tiebreakers`).
"""

from __future__ import annotations

from crm.config.model import DEFAULT_DEADTIME_MS, Timers
from crm.config.problems import Problems
from crm.config.sections import TimersSection

DEFAULT_VOUCH_MS = 3000


def deadtime_for(failover_ms: int) -> int:
    """What remains for noticing a death: a fifth, and 100 ms at least, is for agreeing on it, deciding and beginning."""
    return max(50, failover_ms - max(100, failover_ms // 5))


def resolve_timers(timers: TimersSection, problems: Problems) -> Timers:
    """Fill in what follows from failover or deadtime, then compare what was given."""
    failover = timers.failover_ms
    dead = timers.deadtime_ms or (deadtime_for(failover) if failover else DEFAULT_DEADTIME_MS)
    resolved = Timers(
        keepalive_ms=timers.keepalive_ms or max(10, dead // 5),
        warntime_ms=timers.warntime_ms or dead // 2,
        deadtime_ms=dead,
        initdead_ms=timers.initdead_ms or max(3 * dead, dead + 2000),
        vouch_ms=timers.vouch_ms or (max(500, failover) if failover else DEFAULT_VOUCH_MS),
    )
    if failover and dead > deadtime_for(failover):
        problems.add(
            "timers.deadtime_ms",
            f"expected at most {deadtime_for(failover)}, which is what failover_ms = {failover} leaves for it, got {dead}; give one "
            "of the two only",
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
