"""The mutation check: each safety rule, broken on purpose, is noticed by the checker that guards it."""

from __future__ import annotations

import pytest

from crm.simulator import mutants
from crm.simulator.course import run
from messaging import quorum
from messaging.membership import Membership

FOUND = {
    "dead-vote": (1, "quorum by 1 of 3 votes"),
    "ignore-wait-for-all": (39, "quorum before all nodes were seen"),
    "evidence-always": (129, "quorum without evidence"),
    "any-tie-node": (28, "half without the node that decides"),
    "own-verdict": (84, "view agreement"),
    "old-ballot": (206, "go back"),
    "not-all-accepts": (1, "without the accept of"),
    "forget-sequence": (4, "ballot used twice"),
    "reserve-nothing": (49, "go back"),
    "persist-later": (16, "two quorate views without a common member"),
    "skip-flush": (25, "virtual synchrony"),
    "no-freeze": (7, "finds itself broken"),
    "out-of-order": (1, "total order"),
    "lose-fate": (1, "no fate"),
    "stale-direct": (84, "message of a dead incarnation"),
    "accept-replays": (127, "replayed"),
    "accept-old-lives": (38, "replayed"),
    "trust-everybody": (38, "nobody sent this"),
    "one-copy": (20, "ballot used twice"),
    "any-boot": (17, "quorum before all nodes were seen"),
    "evidence-for-ever": (16, "two quorate views without a common member"),
    "disk-without-tko": (6, "two masters on the quorum disk"),
    "disk-without-reading": (6, "two masters on the quorum disk"),
    "one-step": (30, "two quorate views without a common member"),
    "old-rows": (20, "which nothing has happened to"),
    "broken-promise": (37, "split: two views: not within"),
    "no-patience": (19, "which nothing has happened to"),
}
"""Mutant -> a seed that finds it, and what is found. docs/reliability.md says the same."""


def test_every_mutant_has_a_seed_that_finds_it() -> None:
    """That the same seeds hold where nothing is broken is part of the three hundred."""
    assert FOUND.keys() == mutants.MUTANTS.keys()
    assert all(1 <= seed <= 300 for seed, _ in FOUND.values())


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_rule_broken_on_purpose_is_found_by_its_seed(name: str) -> None:
    seed, wanted = FOUND[name]
    with mutants.installed(name):
        failure = run(seed).failure
    again = f"where the core changed on purpose, find its new seed: python -m crm.simulator --mutant {name}"
    assert wanted in failure, again


def test_a_mutant_leaves_nothing_behind() -> None:
    before = (quorum.judge, Membership._persist, Membership._accept)
    for name in mutants.MUTANTS:
        with mutants.installed(name):
            pass
    assert (quorum.judge, Membership._persist, Membership._accept) == before
