"""When what a group of crms accepts counts as accepted with quorum."""

from __future__ import annotations

import pytest

from crm.controller.membership import speaks_for_all
from messaging.types import Member, View, ViewId


@pytest.mark.parametrize(
    ("members", "group", "quorate", "nodes", "counts"),
    [
        ((1, 2, 3), (1, 2, 3), True, 3, True),
        ((1, 2, 3), (1, 2), True, 3, True),
        ((1, 2, 3), (1,), True, 3, False),
        ((1, 2), (1,), True, 3, False),
        ((1, 2), (1, 2), True, 3, True),
        ((1,), (1,), True, 2, True),
        ((1, 2), (1,), True, 2, False),
        ((1,), (1,), False, 3, False),
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
    ],
)
def test_a_part_of_the_crms_of_a_quorate_view_counts_only_when_it_is_most_of_all_nodes(
    members: tuple[int, ...], group: tuple[int, ...], quorate: bool, nodes: int, counts: bool
) -> None:
    everybody = tuple(Member(number, f"n{number}", 1) for number in members)
    view = View(ViewId(1, 1), everybody, frozenset(group), quorate, "")
    assert speaks_for_all(view, nodes) is counts
