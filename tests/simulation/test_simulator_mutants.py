"""The mutation check: each safety rule, broken on purpose, is noticed by the checker that guards it."""

from __future__ import annotations

import pytest

from crm.simulator import mutants
from crm.simulator.course import run
from messaging import quorum
from messaging.membership import Membership

FOUND = {
    "any-tie-node": (24, "half without the node that decides"),
    "dead-vote": (1, "quorum by 1 of 3 votes"),
    "evidence-always": (44, "two quorate views"),
    "forget-sequence": (2, "ballot used twice"),
    "lose-fate": (2, "no fate"),
    "no-freeze": (4, "finds itself broken"),
    "not-all-accepts": (1, "without the accept of"),
    "old-ballot": (17, "go back"),
    "out-of-order": (1, "total order"),
    "own-verdict": (5, "view agreement"),
    "persist-later": (91, "ballot used twice"),
    "skip-flush": (33, "virtual synchrony"),
    "stale-direct": (13, "message of a dead incarnation"),
}
"""Mutant -> the first seed that finds it, and what is found. docs/reliability.md says the same."""


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_rule_broken_on_purpose_is_found_by_its_seed(name: str) -> None:
    seed, wanted = FOUND[name]
    assert not run(seed).failure
    with mutants.installed(name):
        failure = run(seed).failure
    again = f"where the core changed on purpose, find its new first seed: python -m crm.simulator --mutant {name}"
    assert wanted in failure, again


def test_seed_52_a_member_that_restarts_alone_does_not_go_back_below_the_views_it_was_in() -> None:
    assert not run(52).failure


def test_a_mutant_leaves_nothing_behind() -> None:
    before = (quorum.judge, Membership._persist, Membership._accept)
    for name in mutants.MUTANTS:
        with mutants.installed(name):
            pass
    assert (quorum.judge, Membership._persist, Membership._accept) == before
