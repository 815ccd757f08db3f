"""Votes, what follows from the number of nodes, and which rules go together."""

from __future__ import annotations

from crm.config.model import Quorum, Timers
from crm.config.problems import Problems, shown
from crm.config.sections import NodeSection, QuorumSection
from crm.config.tiebreakers import resolve_tie_breaker

WINDOW_MS = 10_000


def resolve_quorum(
    quorum: QuorumSection, nodes: list[NodeSection], timers: Timers | None, problems: Problems
) -> Quorum:
    votes = sum(node.votes for node in nodes)
    given = quorum.expected_votes if quorum.expected_votes is not None else max(votes, 1)
    expected = max(given, votes, 1) if quorum.allow_downscale else given
    two_node = automatic_two_node(quorum, nodes) if quorum.two_node is None else quorum.two_node
    wait_for_all = automatic_wait_for_all(quorum, nodes) if quorum.wait_for_all is None else quorum.wait_for_all
    window_ms = quorum.last_man_standing_window_ms or max(WINDOW_MS, 2 * timers.deadtime_ms if timers else 0)
    if votes == 0:
        problems.add("nodes", "expected at least one node with a vote")
    if expected < votes:
        problems.add(
            "quorum.expected_votes",
            f"expected at least the sum of the nodes' votes ({votes}), or two halves could each have a majority, "
            f"got {expected}; fewer are for allow_downscale",
        )
    _check_two_node(quorum, nodes, expected, problems)
    if two_node and quorum.wait_for_all is False:
        problems.add(
            "quorum.wait_for_all",
            "two_node needs wait_for_all, or a node that was fenced starts, finds itself alone and fences back",
        )
    if timers is not None and window_ms < timers.deadtime_ms:
        problems.add(
            "quorum.last_man_standing_window_ms",
            f"expected at least deadtime_ms ({timers.deadtime_ms}), so that several nodes that die together are lost together, "
            f"got {window_ms}",
        )
    _check_changing_votes(quorum, problems)
    rule, tie_nodes = _resolve_auto_tie_breaker(quorum, nodes, problems)
    return Quorum(
        policy=quorum.policy,
        expected_votes=expected,
        two_node=two_node,
        wait_for_all=wait_for_all,
        tie_breaker=resolve_tie_breaker(quorum.tie_breaker, nodes, timers, expected, problems),
        auto_tie_breaker=rule,
        tie_nodes=tie_nodes,
        last_man_standing=quorum.last_man_standing,
        last_man_standing_window_ms=window_ms,
        allow_downscale=quorum.allow_downscale,
        least_votes=quorum.expected_votes if quorum.allow_downscale and quorum.expected_votes is not None else 1,
    )


def automatic_two_node(quorum: QuorumSection, nodes: list[NodeSection]) -> bool:
    """What holds where `two_node` is not given: two nodes of one vote each, and nothing else that decides an even split."""
    decided = quorum.tie_breaker.type != "none" or quorum.auto_tie_breaker
    changing = quorum.last_man_standing or quorum.allow_downscale
    return _is_pair(nodes) and not decided and not changing


def automatic_wait_for_all(quorum: QuorumSection, nodes: list[NodeSection]) -> bool:
    """What holds where `wait_for_all` is not given."""
    return len(nodes) == 2 or quorum.last_man_standing


def _is_pair(nodes: list[NodeSection]) -> bool:
    return len(nodes) == 2 and all(node.votes == 1 for node in nodes)


def _check_two_node(quorum: QuorumSection, nodes: list[NodeSection], expected: int, problems: Problems) -> None:
    if not quorum.two_node:
        return
    if not (_is_pair(nodes) and expected == 2):
        problems.add("quorum.two_node", "expected exactly two nodes with one vote each")
    others = (
        ("the tie-breaker", quorum.tie_breaker.type != "none"),
        ("auto_tie_breaker", quorum.auto_tie_breaker),
        ("last_man_standing", quorum.last_man_standing),
        ("allow_downscale", quorum.allow_downscale),
    )
    for name, there in others:
        if there:
            problems.add(
                "quorum.two_node",
                f"two_node makes both halves quorate, so {name} would decide nothing; remove one of them",
            )


def _check_changing_votes(quorum: QuorumSection, problems: Problems) -> None:
    """`last_man_standing` and `allow_downscale` change whose votes count; then a half must never have quorum by a word from
    outside, which at another time may go to the other half."""
    for name in ("last_man_standing", "allow_downscale"):
        if not getattr(quorum, name):
            continue
        if quorum.tie_breaker.type != "none":
            problems.add(
                f"quorum.{name}",
                f'{name} and a tie-breaker of type "{quorum.tie_breaker.type}" exclude each other: the nodes that were counted out '
                "could get its evidence later; auto_tie_breaker goes with it",
            )
        if quorum.policy == "ignore":
            problems.add(f"quorum.{name}", f'{name} with policy = "ignore" decides nothing; remove one of them')
    if quorum.last_man_standing and quorum.wait_for_all is False:
        problems.add(
            "quorum.wait_for_all",
            "last_man_standing needs wait_for_all, or nodes that were counted out start and go on beside the last man",
        )
    if quorum.last_man_standing_window_ms is not None and not quorum.last_man_standing:
        problems.add(
            "quorum.last_man_standing_window_ms", "a window without last_man_standing; set that to true or remove this"
        )


def _resolve_auto_tie_breaker(
    quorum: QuorumSection, nodes: list[NodeSection], problems: Problems
) -> tuple[str, tuple[int, ...]]:
    """The rule's name, and the nodes where these are listed."""
    chosen = quorum.auto_tie_breaker_node
    if not quorum.auto_tie_breaker:
        if chosen is not None:
            problems.add(
                "quorum.auto_tie_breaker_node", "a node without auto_tie_breaker; set that to true or remove this"
            )
        return "", ()
    if quorum.tie_breaker.type != "none":
        problems.add(
            "quorum.auto_tie_breaker",
            f'auto_tie_breaker and a tie-breaker of type "{quorum.tie_breaker.type}" are two answers to one question; remove one',
        )
    if chosen in (None, "lowest", "highest"):
        return chosen or "lowest", ()
    if not isinstance(chosen, list) or not chosen or not all(type(each) is int for each in chosen):
        problems.add(
            "quorum.auto_tie_breaker_node", f'expected "lowest", "highest" or a list of node ids, got {shown(chosen)}'
        )
        return "", ()
    known = {node.id: node.votes for node in nodes}
    for node_id in chosen:
        if node_id not in known:
            ids = ", ".join(map(str, sorted(known)))
            problems.add("quorum.auto_tie_breaker_node", f"{node_id} is not the id of one of the nodes ({ids})")
        elif chosen.count(node_id) > 1:
            problems.add("quorum.auto_tie_breaker_node", f"{node_id} is there more than once")
    return "list", tuple(chosen)
