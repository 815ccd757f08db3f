"""Shares of scores are computed in single precision; a slow second version in exact fractions says what that must give."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.policy.assign.gather import scaled
from crm.policy.constraints.model import single
from crm.policy.model import INFINITY
from crm.policy.values import add_scores

SCORES = st.integers(-INFINITY, INFINITY)
FACTOR_SCORES = SCORES.filter(bool)


def exact_single(value: Fraction) -> Fraction:
    """The nearest number with 24 significant bits, ties to even: IEEE single precision where nothing is subnormal."""
    if value == 0:
        return Fraction(0)
    exponent = 0
    scale = abs(value)
    while scale >= 1 << 24:
        scale /= 2
        exponent += 1
    while scale < 1 << 23:
        scale *= 2
        exponent -= 1
    whole, rest = divmod(scale.numerator, scale.denominator)
    half = Fraction(rest, scale.denominator)
    if half > Fraction(1, 2) or (half == Fraction(1, 2) and whole % 2):
        whole += 1
    rounded = Fraction(whole) * Fraction(2) ** exponent
    return rounded if value > 0 else -rounded


def exact_scaled(score: int, factor: Fraction) -> int:
    share = exact_single(factor * score)
    rounded = share + Fraction(1, 2) if share >= 0 else share - Fraction(1, 2)
    whole = int(rounded)  # truncates
    if whole == 0 and score != 0:
        return 1 if factor > 0 else -1
    return whole


@given(SCORES, FACTOR_SCORES)
def test_a_share_of_a_score_is_that_of_exact_arithmetic_rounded_once_to_single_precision(score: int, by: int) -> None:
    factor = exact_single(Fraction(by, INFINITY))
    assert Fraction(single(by / INFINITY)) == factor
    assert scaled(score, single(by / INFINITY)) == exact_scaled(score, factor)


@given(FACTOR_SCORES, FACTOR_SCORES)
def test_a_share_of_a_share_is_rounded_after_each_step(first: int, second: int) -> None:
    factor = exact_single(Fraction(first, INFINITY))
    expected = exact_single(exact_single(factor * second) / INFINITY)
    assert Fraction(single(single(single(first / INFINITY) * second) / INFINITY)) == expected


@pytest.mark.parametrize(
    ("score", "colocation", "share"),
    [
        (1, 500_000, 1),
        (-1, 500_000, -1),
        (INFINITY, 1, 1),
        (999, 500, 1),
        (3, -500_000, -2),
        (2, 250_000, 1),
        (5000, 700, 3),
        (100_000, 35, 4),
        (999_999, 999_999, 999_998),
        (0, 700, 0),
    ],
)
def test_shares_observed_in_the_field(score: int, colocation: int, share: int) -> None:
    assert scaled(score, single(colocation / INFINITY)) == share


@given(SCORES, SCORES)
def test_adding_scores_stays_within_bounds_and_minus_infinity_wins(a: int, b: int) -> None:
    total = add_scores(a, b)
    assert -INFINITY <= total <= INFINITY
    assert add_scores(b, a) == total
    if -INFINITY in (a, b):
        assert total == -INFINITY
    elif INFINITY in (a, b):
        assert total == INFINITY
    else:
        assert total == max(-INFINITY, min(INFINITY, a + b))


def test_the_order_of_adding_matters_once_a_sum_is_clamped() -> None:
    assert add_scores(add_scores(600_000, 600_000), -600_000) == INFINITY
    assert add_scores(add_scores(600_000, -600_000), 600_000) == 600_000
