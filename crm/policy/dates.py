"""Dates, durations and intervals as the CIB writes them.

Theory of operation. A point in time is an integer: seconds since 1970 in UTC, one-second resolution. A text without an offset is read as
UTC, so that the same CIB means the same on every member. Intervals are milliseconds. Parsers return None for text that is not
what they expect; the forgiving variants (`interval_ms`, `timeout_ms`) put the documented default in its place.

Sources: scheduler specification, part 1, sections 1.4, 1.5, 4.5.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from crm.policy.values import parse_integer, to_integer

if TYPE_CHECKING:
    from lxml.etree import _Element

DAY: Final = 86400
MAX_INTERVAL_MS: Final = 2**32 - 1
DEFAULT_TIMEOUT_MS: Final = 20_000
_MAX_ISO_SECONDS: Final = 4_294_967
EARLIEST: Final = -62_135_596_800  # the year 1
LATEST: Final = 253_402_300_799  # the end of the year 9999
_EPOCH: Final = date(1970, 1, 1).toordinal()

_SPEC = re.compile(r"\s*([+-]?[0-9]+)[0-9.]*\s*(.*)\Z", re.DOTALL)
_DURATION = re.compile(r"([+-]?[0-9]+)([YMWDHMS])|(T)")
_ISO_SECONDS = {"Y": 365 * DAY, "M": 30 * DAY, "W": 7 * DAY, "D": DAY, "H": 3600, "S": 1}

_DATE = re.compile(
    r"([0-9]{4})(?:-W([0-9]{2})-([0-9])|-([0-9]{2})-([0-9]{2})|-([0-9]{3})|([0-9]{2})([0-9]{2}))(?=[ T]|\Z)"
)
_TIME = re.compile(
    r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2}))?)?"
    r"\s*(?:(Z)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?\s*\Z"
)


# --- intervals --------------------------------------------------------------------------------------------------------


def parse_interval_ms(text: str | None) -> int | None:
    """An interval specification (1.4); None when it is not one."""
    if not text:
        return None
    if text[0] == "P":
        seconds = parse_iso_duration(text)
        return None if seconds is None else min(max(seconds, 0), _MAX_ISO_SECONDS) * 1000
    milliseconds = _plain_ms(text)
    return None if milliseconds is None else min(max(milliseconds, 0), MAX_INTERVAL_MS)


def _plain_ms(text: str) -> int | None:
    match = _SPEC.match(text)
    if match is None:
        return None
    number, unit = to_integer(match.group(1)), match.group(2).lower()
    if not unit or unit.startswith("s"):
        return number * 1000
    if unit.startswith("ms"):
        return number
    if unit.startswith("us"):
        return int(number / 1000)
    if unit.startswith("m"):
        return number * 60_000
    return number * 3_600_000 if unit.startswith("h") else None


def interval_ms(text: str | None) -> int:
    """An interval, 0 when absent or invalid."""
    if text == "0":
        return 0
    return parse_interval_ms(text) or 0


def timeout_ms(text: str | None) -> int:
    """An action timeout: not in ISO form; the default when missing, invalid or not positive."""
    value = _plain_ms(text) if text else None
    return DEFAULT_TIMEOUT_MS if value is None or value <= 0 else min(value, MAX_INTERVAL_MS)


def seconds(milliseconds: int) -> int:
    """Whole seconds: rounded half up, but never down to nothing."""
    if milliseconds <= 0:
        return 0
    return 1 if milliseconds < 1000 else (milliseconds + 500) // 1000


def parse_iso_duration(text: str) -> int | None:
    """Seconds of `P1DT2H`; None when malformed."""
    total, in_time, position = 0, False, 1
    if len(text) < 2:
        return None
    while position < len(text):
        match = _DURATION.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match.group(3):
            in_time = True
            continue
        unit = match.group(2)
        total += to_integer(match.group(1)) * (60 if unit == "M" and in_time else _ISO_SECONDS[unit])
    return total


# --- points in time ---------------------------------------------------------------------------------------------------


def parse_date(text: str | None, now: int = 0) -> int | None:
    """Seconds since 1970 of an ISO 8601 date, time (of the day of `now`), or both; None when invalid."""
    if not text:
        return None
    text = text.strip()
    if text.lower() == "epoch":
        return 0
    match = _DATE.match(text)
    if match is None:
        if text[:1] == "T":
            clock = _parse_time(text[1:])
        else:
            clock = _parse_time(text) if ":" in text[:3] else None
        return None if clock is None else now - now % DAY + clock
    day = _day_of(match)
    if day is None:
        return None
    rest = text[match.end() :].lstrip(" T")
    clock = _parse_time(rest) if rest else 0
    return None if clock is None else (day - _EPOCH) * DAY + clock


def _day_of(match: re.Match[str]) -> int | None:
    year, week, weekday, month, day, yday, month2, day2 = match.groups()
    try:
        if week is not None:
            return date.fromisocalendar(int(year), int(week), int(weekday)).toordinal()
        if yday is not None:
            number = int(yday)
            if not 1 <= number <= 365 + calendar.isleap(int(year)):
                return None
            return date(int(year), 1, 1).toordinal() + number - 1
        return date(int(year), int(month or month2), int(day or day2)).toordinal()
    except ValueError:
        return None


def _parse_time(text: str) -> int | None:
    """Seconds since midnight UTC (may be negative or beyond a day when there is an offset)."""
    match = _TIME.match(text)
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    if (hour, minute, second) != (24, 0, 0) and not (hour < 24 and minute < 60 and second < 60):
        return None
    offset = 0
    if match.group(5):
        hours, minutes = int(match.group(6)), int(match.group(7) or 0)
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 3600 + minutes * 60) * (-1 if match.group(5) == "-" else 1)
    return hour * 3600 + minute * 60 + second - offset


def add_duration(start: int, duration: _Element) -> int | None:
    """`start` plus a `duration` element: years, months, weeks, ... in this order (4.5). None when out of range."""
    amounts = {
        unit: parse_integer(duration.get(unit)) or 0
        for unit in ("years", "months", "weeks", "days", "hours", "minutes", "seconds")
    }
    try:
        day = date.fromordinal(_EPOCH + start // DAY)
        if amounts["years"]:  # keeps the day of the year
            day = date(day.year + amounts["years"], 1, 1) + timedelta(days=day.timetuple().tm_yday - 1)
        if amounts["months"]:
            month = day.year * 12 + day.month - 1 + amounts["months"]
            year, month = month // 12, month % 12 + 1
            day = date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
    except (ValueError, OverflowError):
        return None
    result = (day.toordinal() - _EPOCH) * DAY + start % DAY
    result += (amounts["weeks"] * 7 + amounts["days"]) * DAY
    return result + amounts["hours"] * 3600 + amounts["minutes"] * 60 + amounts["seconds"]


# --- date_spec --------------------------------------------------------------------------------------------------------

_RANGE = re.compile(r"([0-9]+)?(-)?([0-9]+)?\Z")
_SPEC_UNITS = (
    "years",
    "months",
    "monthdays",
    "hours",
    "minutes",
    "seconds",
    "yeardays",
    "weekyears",
    "weeks",
    "weekdays",
)


def in_text_range(text: str, value: int) -> bool:
    """`X-Y`, `X-`, `-Y` or `Z`, ends included (1.6)."""
    match = _RANGE.match(text)
    if match is None or text in ("", "-"):
        return False
    low, dash, high = match.groups()
    if dash is None:
        return value == to_integer(low)
    return (low is None or value >= to_integer(low)) and (high is None or value <= to_integer(high))


def matches_spec(spec: _Element, now: int) -> bool:
    """Does every range of a `date_spec` match? An empty one does."""
    day = date.fromordinal(_EPOCH + now // DAY)
    clock = now % DAY
    week_year, week, weekday = day.isocalendar()
    values = {
        "years": day.year,
        "months": day.month,
        "monthdays": day.day,
        "hours": clock // 3600,
        "minutes": clock // 60 % 60,
        "seconds": clock % 60,
        "yeardays": day.timetuple().tm_yday,
        "weekyears": week_year,
        "weeks": week,
        "weekdays": weekday,
    }
    return all(in_text_range(spec.get(unit, ""), values[unit]) for unit in _SPEC_UNITS if spec.get(unit) is not None)


def show_utc(epoch: int) -> str:
    """`2020-01-06 21:59:11Z`"""
    epoch = max(EARLIEST, min(LATEST, epoch))
    day = date.fromordinal(_EPOCH + epoch // DAY)
    clock = epoch % DAY
    return f"{day.isoformat()} {clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}Z"
