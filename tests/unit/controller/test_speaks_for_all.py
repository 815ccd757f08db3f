"""When what a group of crms accepts counts as accepted with quorum."""

from __future__ import annotations

import pytest

from crm.controller.membership import speaks_for_all
from messaging.types import Member, View, ViewId


@pytest.mark.parametrize(
    ("members", "group", "quorate", "votes", "counts"),
    [
        ((1, 2, 3), (1, 2, 3), True, (1, 1, 1), True),
        ((1, 2, 3), (1, 2), True, (1, 1, 1), True),
        ((1, 2, 3), (1,), True, (1, 1, 1), False),
        ((1, 2), (1,), True, (1, 1, 1), False),
        ((1, 2), (1, 2), True, (1, 1, 1), True),
        ((1,), (1,), True, (1, 1), True),
        ((1, 2), (1,), True, (1, 1), False),
        ((1,), (1,), False, (1, 1, 1), False),
        ((1, 2, 3), (2, 3), True, (3, 1, 1), False),
        ((1, 2, 3), (1,), True, (3, 1, 1), True),
    ],
    ids=[
        "all",
        "a majority of crms",
        "one crm of three in a quorate view",
        "one crm of two members",
        "every crm of the members",
        "half of two nodes that may go on",
        "one crm beside a member without",
        "no quorum",
        "two crms of three with fewer votes than the third",
        "one crm of three with most of the votes",
    ],
)
def test_a_part_of_the_crms_of_a_quorate_view_counts_only_when_it_has_most_of_all_votes(
    members: tuple[int, ...], group: tuple[int, ...], quorate: bool, votes: tuple[int, ...], counts: bool
) -> None:
    everybody = tuple(Member(number, f"n{number}", 1) for number in members)
    view = View(ViewId(1, 1), everybody, frozenset(group), quorate, "")
    names = {f"n{number}": count for number, count in enumerate(votes, 1)}
    assert speaks_for_all(view, names) is counts
