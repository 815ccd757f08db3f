"""Which copy of the CIB descends from which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.cib.lineage import MAX_SEGMENTS, Lineage

_VIEWS = st.tuples(st.integers(1, 4), st.integers(1, 2))


@st.composite
def _lineages(draw: st.DrawFn) -> Lineage:
    lineage = Lineage()
    for view in sorted(draw(st.lists(_VIEWS, max_size=6))):
        quorate = view[1] == 1
        lineage = lineage.recorded(view, quorate)
        if draw(st.booleans()):
            lineage = lineage.confirmed((view[0], 9))
    return lineage


@given(_lineages())
def test_a_lineage_survives_as_text(lineage: Lineage) -> None:
    assert Lineage.parse(str(lineage)) == lineage


@given(_lineages(), st.lists(_VIEWS, max_size=4))
def test_a_copy_contains_every_copy_that_it_grew_from(lineage: Lineage, views: list[tuple[int, int]]) -> None:
    grown = lineage
    for view in sorted(views):
        grown = grown.recorded((view[0] + 10, view[1]), view[1] == 1).confirmed((view[0] + 10, 9))
        assert grown.contains(lineage)
        assert grown.standing >= lineage.standing
        assert not lineage.contains(grown)


@pytest.mark.parametrize(
    ("mine", "other", "contained"),
    [
        ("", "", True),
        ("1.1q:5", "", True),
        ("", "1.1q:1", False),
        ("1.1q:5", "1.1q:4", True),
        ("1.1q:4", "1.1q:5", False),
        ("1.1q:5 3.1q:6", "1.1q:5 2.2m:6", False),
        ("1.1q:5 2.2m:6 3.1q:6", "1.1q:5 2.2m:6", True),
        ("1.1q:5 2.2m:6", "1.1q:5 2.2m:6 3.1q:6", True),
    ],
)
def test_a_copy_contains_another_when_it_has_its_last_change(mine: str, other: str, contained: bool) -> None:
    assert Lineage.parse(mine).contains(Lineage.parse(other)) is contained


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        ("1.1q:5 2.2m:99", "1.1q:5 2.1q:6"),
        ("1.1q:5 2.2m:99", "1.1q:6"),
        ("1.1q:5", "1.1q:5 2.2m:6"),
        ("1.1q:5 2.2m:9", "1.1q:5 2.2m:7 4.1q:7"),
        ("", "1.1m:1"),
        ("1.1q:5 2.2m:50", "1.1q:6"),
    ],
)
def test_a_quorate_view_stands_above_a_minority_and_the_later_above_the_earlier(loser: str, winner: str) -> None:
    assert Lineage.parse(winner).standing > Lineage.parse(loser).standing


def test_only_the_latest_views_are_remembered() -> None:
    lineage = Lineage()
    for number in range(MAX_SEGMENTS + 5):
        lineage = lineage.recorded((number, 1), True)
    assert len(lineage.segments) == MAX_SEGMENTS
    assert lineage.changes == MAX_SEGMENTS + 5


@pytest.mark.parametrize("text", ["x", "1.1:3", "1.1q:5 2.1q:4", "1.1q:-1"])
def test_what_is_no_lineage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lineage"):
        Lineage.parse(text)
