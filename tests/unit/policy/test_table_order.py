"""The order of the field's hash tables, held against what `crm_simulate -U` printed for these attribute names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.policy.tableorder import slot_order


@pytest.mark.parametrize(
    ("inserted", "listed"),
    [
        ("cpu memory", "cpu memory"),
        ("memory cpu", "cpu memory"),
        ("a b c d e f g h", "h a g f e d c b"),
        ("cpu memory disk gpu licences bandwidth iops slots", "iops cpu disk licences bandwidth slots gpu memory"),
        (
            " ".join(f"n{i}" for i in range(20)),
            "n0 n10 n13 n3 n6 n16 n9 n19 n11 n1 n4 n14 n7 n17 n2 n12 n15 n5 n8 n18",
        ),
    ],
)
def test_attributes_are_listed_in_the_order_that_the_field_shows(inserted: str, listed: str) -> None:
    assert slot_order(tuple(inserted.split())) == tuple(listed.split())


@given(st.lists(st.text(min_size=1), unique=True, max_size=200))
def test_every_key_is_listed_once(keys: list[str]) -> None:
    assert sorted(slot_order(tuple(keys))) == sorted(keys)
