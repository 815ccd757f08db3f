"""Votes and what follows from the number of nodes."""

from __future__ import annotations

from crm.config.model import Quorum, Timers
from crm.config.problems import Problems
from crm.config.sections import NodeSection, QuorumSection
from crm.config.tiebreakers import resolve_tie_breaker


def resolve_quorum(
    quorum: QuorumSection, nodes: list[NodeSection], timers: Timers | None, problems: Problems
) -> Quorum:
    votes = sum(node.votes for node in nodes)
    expected = quorum.expected_votes if quorum.expected_votes is not None else max(votes, 1)
    has_tie_breaker = quorum.tie_breaker.type != "none"
    pair = len(nodes) == 2 and all(node.votes == 1 for node in nodes)
    two_node = quorum.two_node if quorum.two_node is not None else pair and not has_tie_breaker
    wait_for_all = quorum.wait_for_all if quorum.wait_for_all is not None else len(nodes) == 2
    if votes == 0:
        problems.add("nodes", "expected at least one node with a vote")
    if expected < votes:
        problems.add(
            "quorum.expected_votes",
            f"expected at least the sum of the nodes' votes ({votes}), or two halves could each have a majority, "
            f"got {expected}",
        )
    if quorum.two_node and not (pair and expected == 2):
        problems.add("quorum.two_node", "expected exactly two nodes with one vote each")
    if quorum.two_node and has_tie_breaker:
        problems.add(
            "quorum.two_node",
            "two_node makes both halves quorate, so the tie-breaker would decide nothing; remove one of them",
        )
    if two_node and quorum.wait_for_all is False:
        problems.add(
            "quorum.wait_for_all",
            "two_node needs wait_for_all, or a node that was fenced starts, finds itself alone and fences back",
        )
    return Quorum(
        policy=quorum.policy,
        expected_votes=expected,
        two_node=two_node,
        wait_for_all=wait_for_all,
        tie_breaker=resolve_tie_breaker(quorum.tie_breaker, nodes, timers, expected, problems),
    )
