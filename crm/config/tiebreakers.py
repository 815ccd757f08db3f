"""What each kind of tie-breaker needs, and how its times must fit those of the failure detector."""

from __future__ import annotations

from crm.config.addresses import is_loopback, parse_endpoint
from crm.config.model import DEFAULT_DEADTIME_MS, TieBreaker, Timers
from crm.config.problems import Problems, shown
from crm.config.sections import NodeSection, TieBreakerSection

QDISK_TKO = 7
QDISK_EXTRA = 2
"""Intervals of a quorum disk, beyond its tko, until a survivor is master: to read the last sign of life, and to notice."""


def resolve_tie_breaker(
    given: TieBreakerSection, nodes: list[NodeSection], timers: Timers | None, problems: Problems
) -> TieBreaker:
    key = "quorum.tie_breaker"
    if given.type != "qdisk" and (given.device or given.label):
        name = "device" if given.device else "label"
        problems.add(f"{key}.{name}", f'a {name} without a quorum disk; set type = "qdisk" or remove it')
    if given.type == "qdisk":
        return _resolve_quorum_disk(given, timers, problems)
    slack_ms = timers.deadtime_ms - timers.warntime_ms if timers else 60_000
    interval_ms = given.interval_ms or 1000
    timeout_ms = given.timeout_ms or max(10, min(500, interval_ms - 1, slack_ms * 4 // 5))
    resolved = TieBreaker(given.type, tuple(given.targets), interval_ms, timeout_ms, given.tko or 3)
    if given.type == "none":
        if given.targets:
            problems.add(f"{key}.targets", 'targets without a tie-breaker; set type = "ping" or remove them')
        return resolved
    if not given.targets:
        problems.add(f"{key}.targets", "expected at least one target, such as the router towards the clients")
    own = {endpoint.host for node in nodes for each in node.addresses if (endpoint := parse_endpoint(each, 1))}
    for target in given.targets:
        endpoint = parse_endpoint(target, 1)
        if endpoint is None:
            problems.add(f"{key}.targets", f"expected host or host:port, got {shown(target)}")
        elif endpoint.host in own and not is_loopback(endpoint.host):
            problems.add(f"{key}.targets", f"{endpoint.host} is a node of this cluster, so its owner always wins")
    if interval_ms < 100:
        problems.add(f"{key}.interval_ms", f"expected at least 100 for a ping tie-breaker, got {interval_ms}")
    if timeout_ms >= interval_ms:
        problems.add(f"{key}.timeout_ms", f"expected less than interval_ms ({interval_ms}), got {timeout_ms}")
    if timers and timeout_ms > slack_ms:
        problems.add(
            f"{key}.timeout_ms",
            f"expected at most deadtime_ms - warntime_ms ({slack_ms}), so that the answer is there when it is "
            f"needed, got {timeout_ms}",
        )
    return resolved


def _resolve_quorum_disk(given: TieBreakerSection, timers: Timers | None, problems: Problems) -> TieBreaker:
    """The disk's verdict must be there when a member is declared dead: see docs/guide/quorum-disk.md."""
    key = "quorum.tie_breaker"
    time_ms = timers.deadtime_ms - timers.keepalive_ms if timers else DEFAULT_DEADTIME_MS
    if given.tko is None:
        tko = QDISK_TKO if given.interval_ms is None else max(3, min(100, time_ms // given.interval_ms - QDISK_EXTRA))
    else:
        tko = given.tko
    interval_ms = given.interval_ms or max(20, time_ms // (tko + QDISK_EXTRA + 1))
    if not given.device:
        problems.add(f"{key}.device", "expected the shared device, such as /dev/disk/by-id/...")
    elif not given.device.startswith("/"):
        problems.add(f"{key}.device", f"expected an absolute path, got {shown(given.device)}")
    if given.targets:
        problems.add(f"{key}.targets", 'a quorum disk has no targets; remove them, or set type = "ping"')
    if given.timeout_ms is not None:
        problems.add(f"{key}.timeout_ms", "a quorum disk has no timeout_ms: tko and interval_ms say when it is lost")
    if tko < 3:
        problems.add(f"{key}.tko", f"expected at least 3 for a quorum disk, got {tko}")
    elif timers and (tko + QDISK_EXTRA) * interval_ms > time_ms:
        problems.add(
            f"{key}.{'interval_ms' if given.interval_ms is not None else 'tko'}",
            f"expected (tko + {QDISK_EXTRA}) * interval_ms of at most deadtime_ms - keepalive_ms ({time_ms}), so that the "
            f"disk knows that a node is gone when the cluster does, got {(tko + QDISK_EXTRA) * interval_ms} "
            f"({tko} + {QDISK_EXTRA} times {interval_ms})",
        )
    return TieBreaker("qdisk", (), interval_ms, 500, tko, given.device, given.label)
