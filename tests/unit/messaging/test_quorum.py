"""The verdict on quorum, against a second version that is slow, long and obvious."""

from __future__ import annotations

import itertools

import pytest

from messaging.quorum import Ballots, Rules, judge, majority


def oracle(ballots: Ballots, rules: Rules) -> bool:
    """Each rule as a sentence, by counting votes one by one."""
    if rules.ignore:
        return True
    all_here = ballots.present_nodes == ballots.all_nodes
    if ballots.distrusted and not all_here:
        return False
    if rules.wait_for_all and not all_here and not ballots.seen_all:
        return False
    for_us = list(range(ballots.present_votes))
    against = list(range(ballots.expected_votes - ballots.present_votes))
    while for_us and against:
        for_us.pop()
        against.pop()
    if for_us:
        return True
    if against:
        return False
    if ballots.present_votes == 0:
        return False
    if rules.two_node:
        return True
    return bool(rules.tie_breaker) and ballots.evidence


def test_the_verdict_is_that_of_the_oracle_for_every_small_cluster_and_rule() -> None:
    flags = [False, True]
    cases = 0
    for expected in range(1, 8):
        for present_votes, all_nodes in itertools.product(range(expected + 1), range(1, 5)):
            for present_nodes in range(1, all_nodes + 1):
                for seen, evidence, distrusted in itertools.product(flags, flags, flags):
                    ballots = Ballots(present_votes, expected, present_nodes, all_nodes, seen, evidence, distrusted)
                    for two_node, wait, ignore, tie in itertools.product(flags, flags, flags, ["", "ping"]):
                        rules = Rules(two_node, wait, ignore, tie)
                        verdict = judge(ballots, rules)
                        assert verdict.quorate == oracle(ballots, rules), (ballots, rules)
                        assert verdict.reason.startswith(f"{present_votes} of {expected} votes; ")
                        cases += 1
    assert cases > 10_000


@pytest.mark.parametrize("votes", range(1, 200))
def test_two_majorities_always_share_a_vote(votes: int) -> None:
    assert 2 * majority(votes) > votes
    assert 2 * (majority(votes) - 1) <= votes


def test_waiting_is_over_for_everybody_once_all_were_seen_or_a_quorate_view_has_one_who_saw_them() -> None:
    def satisfied(present: int, seen_all: bool) -> bool:
        return judge(Ballots(present, 3, present, 3, seen_all, False), Rules(wait_for_all=True)).satisfied

    assert satisfied(3, False)
    assert satisfied(2, True)
    assert not satisfied(2, False)
    assert not satisfied(1, True), "alone and not quorate, it has nothing to pass on"


@pytest.mark.parametrize("expected", range(1, 8))
@pytest.mark.parametrize("theirs", range(1, 8))
def test_with_votes_of_an_exclusive_tie_breaker_two_sides_are_never_both_quorate(expected: int, theirs: int) -> None:
    rules = Rules(tie_breaker="arbiter", tie_breaker_votes=theirs)

    def quorate(votes: int, evidence: bool) -> bool:
        return judge(Ballots(votes, expected, 1, 2, True, evidence), rules).quorate

    for here in range(expected + 1):
        there = expected - here
        assert not (quorate(here, True) and quorate(there, False))
        assert not (quorate(here, False) and quorate(there, False))
    assert quorate(expected, False) == (expected > theirs), "all together need no tie-breaker that has fewer votes"
    if theirs == expected - 1:
        assert quorate(1, True), "the last one standing goes on with it"
