"""What each kind of tie-breaker needs, and how its times must fit those of the failure detector."""

from __future__ import annotations

from dataclasses import replace

from crm.config.addresses import is_loopback, parse_endpoint
from crm.config.model import DEFAULT_DEADTIME_MS, Heuristic, PingGroup, TieBreaker, Timers
from crm.config.problems import Problems, shown
from crm.config.sections import NodeSection, TieBreakerSection

KEY = "quorum.tie_breaker"
QDISK_TKO = 7
QDISK_EXTRA = 2
"""Intervals of a quorum disk, beyond its tko, until a survivor is master: to read the last sign of life, and to notice. The
same holds for the reports to an arbiter."""

_OWN_KEYS = {
    "ping": ("targets", "groups"),
    "qdisk": ("device", "label", "votes", "min_score", "master_wins", "heuristics"),
    "arbiter": ("address", "certificate", "algorithm", "prefer"),
}
_NAMES = {"ping": "ping nodes", "qdisk": "a quorum disk", "arbiter": "an arbiter"}


def resolve_tie_breaker(
    given: TieBreakerSection,
    nodes: list[NodeSection],
    timers: Timers | None,
    expected_votes: int,
    problems: Problems,
) -> TieBreaker:
    _check_kind(given, problems)
    resolved = _resolve_kind(given, nodes, timers, expected_votes, problems)
    if given.accept_without_fencing and not resolved.shared:
        problems.add(
            f"{KEY}.accept_without_fencing",
            "is for tie-breakers under which both halves may go on: ping, or no master_wins",
        )
    return replace(resolved, accept_without_fencing=given.accept_without_fencing)


def _resolve_kind(
    given: TieBreakerSection,
    nodes: list[NodeSection],
    timers: Timers | None,
    expected_votes: int,
    problems: Problems,
) -> TieBreaker:
    match given.type:
        case "qdisk":
            return _resolve_quorum_disk(given, timers, problems)
        case "arbiter":
            return _resolve_arbiter(given, timers, expected_votes, problems)
        case "ping":
            return _resolve_ping(given, nodes, timers, problems)
    return TieBreaker("none", (), given.interval_ms or 1000, given.timeout_ms or 500, given.tko or 3)


def _check_kind(given: TieBreakerSection, problems: Problems) -> None:
    """Keys of another kind of tie-breaker are a misunderstanding."""
    for kind, keys in _OWN_KEYS.items():
        for name in () if kind == given.type else keys:
            if name in given.model_fields_set and getattr(given, name) not in ("", [], None):
                problems.add(f"{KEY}.{name}", f'{name} is for {_NAMES[kind]}; set type = "{kind}" or remove it')


# --- ping ---------------------------------------------------------------------------------------------------------------


def _resolve_ping(
    given: TieBreakerSection, nodes: list[NodeSection], timers: Timers | None, problems: Problems
) -> TieBreaker:
    slack_ms = timers.deadtime_ms - timers.warntime_ms if timers else 60_000
    interval_ms = given.interval_ms or 1000
    timeout_ms = given.timeout_ms or max(10, min(500, interval_ms - 1, slack_ms * 4 // 5))
    if not given.targets and not given.groups:
        problems.add(f"{KEY}.targets", "expected at least one target, such as the router towards the clients")
    _check_targets(f"{KEY}.targets", given.targets, nodes, problems)
    for number, group in enumerate(given.groups, start=1):
        _check_targets(f"{KEY}.groups.{number}.targets", group.targets, nodes, problems)
    if interval_ms < 100:
        problems.add(f"{KEY}.interval_ms", f"expected at least 100 for a ping tie-breaker, got {interval_ms}")
    if timeout_ms >= interval_ms:
        problems.add(f"{KEY}.timeout_ms", f"expected less than interval_ms ({interval_ms}), got {timeout_ms}")
    if timers and timeout_ms > slack_ms:
        problems.add(
            f"{KEY}.timeout_ms",
            f"expected at most deadtime_ms - warntime_ms ({slack_ms}), so that the answer is there when it is "
            f"needed, got {timeout_ms}",
        )
    groups = tuple(PingGroup(tuple(group.targets), group.need) for group in given.groups)
    return TieBreaker("ping", tuple(given.targets), interval_ms, timeout_ms, given.tko or 3, groups=groups)


def _check_targets(key: str, targets: list[str], nodes: list[NodeSection], problems: Problems) -> None:
    own = {endpoint.host for node in nodes for each in node.addresses if (endpoint := parse_endpoint(each, 1))}
    for target in targets:
        endpoint = parse_endpoint(target, 1)
        if endpoint is None:
            problems.add(key, f"expected host or host:port, got {shown(target)}")
        elif endpoint.host in own and not is_loopback(endpoint.host):
            problems.add(key, f"{endpoint.host} is a node of this cluster, so its owner always wins")


# --- quorum disk and arbiter --------------------------------------------------------------------------------------------


def _resolve_quorum_disk(given: TieBreakerSection, timers: Timers | None, problems: Problems) -> TieBreaker:
    """The disk's verdict must be there when a member is declared dead: see docs/guide/quorum-disk.md."""
    interval_ms, tko = _resolve_rounds(given, timers, "the disk knows", problems)
    if not given.device:
        problems.add(f"{KEY}.device", "expected the shared device, such as /dev/disk/by-id/...")
    elif not given.device.startswith("/"):
        problems.add(f"{KEY}.device", f"expected an absolute path, got {shown(given.device)}")
    if not given.master_wins and given.votes is not None:
        problems.add(f"{KEY}.votes", "votes need master_wins: else both halves could count them")
    heuristics = []
    for number, each in enumerate(given.heuristics, start=1):
        timeout_ms = each.timeout_ms or each.interval_ms - max(1, each.interval_ms // 20)
        if timeout_ms > each.interval_ms:
            problems.add(
                f"{KEY}.heuristics.{number}.timeout_ms",
                f"expected at most interval_ms ({each.interval_ms}), got {timeout_ms}",
            )
        heuristics.append(Heuristic(each.program, each.score, each.interval_ms, timeout_ms, each.tko))
    total = sum(each.score for each in heuristics)
    min_score = given.min_score if given.min_score is not None else (total + 1) // 2
    if given.min_score is not None and min_score > total:
        problems.add(f"{KEY}.min_score", f"expected at most the sum of all scores ({total}), got {min_score}")
    return TieBreaker(
        "qdisk",
        interval_ms=interval_ms,
        tko=tko,
        device=given.device,
        label=given.label,
        votes=given.votes or 0,
        min_score=min_score,
        master_wins=given.master_wins,
        heuristics=tuple(heuristics),
    )


def _resolve_arbiter(
    given: TieBreakerSection, timers: Timers | None, expected_votes: int, problems: Problems
) -> TieBreaker:
    """Its verdict must be there when a member is declared dead: see docs/guide/arbiter.md."""
    interval_ms, tko = _resolve_rounds(given, timers, "the arbiter knows", problems)
    if not given.address:
        problems.add(f"{KEY}.address", "expected where vigil-arbiter runs: host or host:port")
    elif parse_endpoint(given.address, 1) is None:
        problems.add(f"{KEY}.address", f"expected host or host:port, got {shown(given.address)}")
    if not given.certificate:
        problems.add(f"{KEY}.certificate", "expected the file that vigil-arbiter add made for this cluster")
    elif not given.certificate.startswith("/"):
        problems.add(f"{KEY}.certificate", f"expected an absolute path, got {shown(given.certificate)}")
    return TieBreaker(
        "arbiter",
        interval_ms=interval_ms,
        tko=tko,
        votes=max(1, expected_votes - 1) if given.algorithm == "lms" else 0,
        address=given.address,
        certificate=given.certificate,
        algorithm=given.algorithm,
        prefer=given.prefer,
    )


def _resolve_rounds(given: TieBreakerSection, timers: Timers | None, who: str, problems: Problems) -> tuple[int, int]:
    """Interval and tko; what is gone must be known to be gone a keepalive before the cluster declares it dead."""
    time_ms = timers.deadtime_ms - timers.keepalive_ms if timers else DEFAULT_DEADTIME_MS
    if given.tko is None:
        tko = QDISK_TKO if given.interval_ms is None else max(3, min(100, time_ms // given.interval_ms - QDISK_EXTRA))
    else:
        tko = given.tko
    interval_ms = given.interval_ms or max(20, time_ms // (tko + QDISK_EXTRA + 1))
    if given.timeout_ms is not None:
        problems.add(
            f"{KEY}.timeout_ms", f"{_NAMES[given.type]} has no timeout_ms: tko and interval_ms say when it is lost"
        )
    if tko < 3:
        problems.add(f"{KEY}.tko", f"expected at least 3 for {_NAMES[given.type]}, got {tko}")
    elif timers and (tko + QDISK_EXTRA) * interval_ms > time_ms:
        problems.add(
            f"{KEY}.{'interval_ms' if given.interval_ms is not None else 'tko'}",
            f"expected (tko + {QDISK_EXTRA}) * interval_ms of at most deadtime_ms - keepalive_ms ({time_ms}), so that "
            f"{who} that a node is gone when the cluster does, got {(tko + QDISK_EXTRA) * interval_ms} "
            f"({tko} + {QDISK_EXTRA} times {interval_ms})",
        )
    return interval_ms, tko
