"""Intervals, timeouts, dates and durations, as lenient as configurations have come to rely on."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.policy.dates import (
    MAX_INTERVAL_MS,
    add_duration,
    in_text_range,
    interval_ms,
    matches_spec,
    parse_date,
    parse_interval_ms,
    seconds,
    show_utc,
    timeout_ms,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("10", 10_000),
        ("10s", 10_000),
        ("10seconds", 10_000),
        ("1.5s", 1_000),
        ("100ms", 100),
        ("2500us", 2),
        ("5min", 300_000),
        ("2month", 120_000),
        ("1H", 3_600_000),
        ("P1DT2H", 93_600_000),
        ("PT5M", 300_000),
        ("P1M", 30 * 86_400_000),
        ("-5", 0),
        ("9" * 23, MAX_INTERVAL_MS),
    ],
)
def test_an_interval_is_a_number_with_the_beginning_of_a_unit(text: str, milliseconds: int) -> None:
    assert parse_interval_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "1d", "abc", "P", "P1X", "ms"])
def test_what_is_no_interval_counts_as_none(text: str) -> None:
    assert parse_interval_ms(text) is None
    assert interval_ms(text) == 0


@pytest.mark.parametrize("text", [None, "", "0", "-3s", "P1D", "soon"])
def test_an_operation_without_a_usable_timeout_gets_twenty_seconds(text: str | None) -> None:
    assert timeout_ms(text) == 20_000


@pytest.mark.parametrize(("milliseconds", "whole"), [(0, 0), (1, 1), (999, 1), (1499, 1), (1500, 2)])
def test_seconds_are_rounded_but_never_down_to_nothing(milliseconds: int, whole: int) -> None:
    assert seconds(milliseconds) == whole


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2005-01-20", "2005-01-20 00:00:00Z"),
        ("20050120", "2005-01-20 00:00:00Z"),
        ("2005-020", "2005-01-20 00:00:00Z"),
        ("2005-W03-4", "2005-01-20 00:00:00Z"),
        ("2005-020T12:30", "2005-01-20 12:30:00Z"),
        ("2005-01-20 123045", "2005-01-20 12:30:45Z"),
        ("2005-01-20T24:00:00", "2005-01-21 00:00:00Z"),
        ("2005-01-20 01:00 +02:00", "2005-01-19 23:00:00Z"),
        ("2005-01-20T12:30Z", "2005-01-20 12:30:00Z"),
        ("epoch", "1970-01-01 00:00:00Z"),
    ],
)
def test_dates_come_as_calendar_ordinal_or_week_dates(text: str, shown: str) -> None:
    found = parse_date(text)
    assert found is not None
    assert show_utc(found) == shown


def test_a_time_alone_means_today() -> None:
    assert parse_date("12:30", 1_700_000_000) == 1_699_965_000
    assert parse_date("T1230", 1_700_000_000) == 1_699_965_000


@pytest.mark.parametrize(
    "text", [None, "", "2005-13-01", "2005-02-30", "2005-366", "2005-W54-1", "2005-01-20 25:00", "x"]
)
def test_a_date_that_does_not_exist_is_none(text: str | None) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2005-01-31", '<duration months="1"/>', "2005-02-28 00:00:00Z"),
        ("2004-02-29", '<duration years="1"/>', "2005-03-01 00:00:00Z"),
        ("2005-12-31 23:00", '<duration hours="2" minutes="1"/>', "2006-01-01 01:01:00Z"),
        ("2005-01-01", '<duration weeks="1" days="1" seconds="5"/>', "2005-01-09 00:00:05Z"),
    ],
)
def test_durations_add_years_first_and_keep_the_day_of_the_month_where_it_exists(
    start: str, duration: str, end: str
) -> None:
    begin = parse_date(start)
    assert begin is not None
    found = add_duration(begin, etree.fromstring(duration))
    assert found is not None
    assert show_utc(found) == end


@pytest.mark.parametrize(
    ("text", "value", "inside"),
    [
        ("1-5", 1, True),
        ("1-5", 5, True),
        ("1-5", 6, False),
        ("5-1", 3, False),
        ("3-", 9, True),
        ("-3", 3, True),
        ("7", 7, True),
        ("7", 8, False),
        ("7x", 7, False),
        ("", 0, False),
        ("-", 0, False),
    ],
)
def test_ranges_include_both_ends(text: str, value: int, inside: bool) -> None:
    assert in_text_range(text, value) is inside


@pytest.mark.parametrize(
    ("spec", "matches"),
    [
        ("<date_spec/>", True),
        ('<date_spec hours="9-16" weekdays="1-5"/>', True),
        ('<date_spec hours="9-12"/>', False),
        ('<date_spec years="2005" months="1" monthdays="20" weeks="3" yeardays="20"/>', True),
        ('<date_spec weekdays="6-7"/>', False),
    ],
)
def test_a_date_spec_matches_when_every_range_does(spec: str, matches: bool) -> None:
    thursday = parse_date("2005-01-20 13:00:00")
    assert thursday is not None
    assert matches_spec(etree.fromstring(spec), thursday) is matches
