"""The mutation check: each safety rule, broken on purpose, is noticed by the checker that guards it."""

from __future__ import annotations

import pytest

from crm.simulator import mutants
from crm.simulator.course import run
from messaging import quorum
from messaging.membership import Membership

FOUND = {
    "dead-vote": (1, "quorum by 1 of 3 votes"),
    "ignore-wait-for-all": (2, "quorum before all nodes were seen"),
    "evidence-always": (66, "quorum without evidence"),
    "own-verdict": (5, "view agreement"),
    "old-ballot": (12, "go back"),
    "not-all-accepts": (1, "without the accept of"),
    "forget-sequence": (2, "ballot used twice"),
    "reserve-nothing": (52, "view ids of n2 go back"),
    "persist-later": (54, "ballot used twice"),
    "skip-flush": (11, "virtual synchrony"),
    "no-freeze": (13, "finds itself broken"),
    "out-of-order": (1, "total order"),
    "lose-fate": (4, "no fate"),
    "stale-direct": (1, "message of a dead incarnation"),
}
"""Mutant -> the first seed that finds it, and what is found. docs/reliability.md says the same."""


@pytest.mark.parametrize("name", sorted(mutants.MUTANTS))
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
