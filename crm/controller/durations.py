"""Interval texts of cluster options (`60s`, `5min`, `2h`, `PT3M`) in milliseconds.

The lenient rules are those of the policy engine (its specification, 1.4): a number prefix, then a unit; anything
that is not a duration gives the default.
"""

from __future__ import annotations

import re
from typing import Final

_NUMBER = re.compile(r"\s*([+-]?\d+)[\d.]*\s*(.*)\Z", re.DOTALL)
_ISO = re.compile(r"(\d+)([YMWDHS])")
_SECONDS: Final = {"Y": 365 * 86400, "W": 7 * 86400, "D": 86400, "H": 3600, "S": 1}
_LIMIT_MS: Final = 4_294_967_295


def duration_ms(text: str | None, default: int) -> int:
    if text is None or not text.strip():
        return default
    if text[0] == "P":
        return _iso_ms(text, default)
    match = _NUMBER.match(text)
    if match is None:
        return default
    number, unit = int(match.group(1)), match.group(2).lower()
    if not unit or unit.startswith("s"):
        value = number * 1000
    elif unit.startswith("ms"):
        value = number
    elif unit.startswith("us"):
        value = number // 1000
    elif unit.startswith("m"):
        value = number * 60_000
    elif unit.startswith("h"):
        value = number * 3_600_000
    else:
        return default
    return max(0, min(value, _LIMIT_MS))


def _iso_ms(text: str, default: int) -> int:
    date, _, time = text[1:].partition("T")
    seconds = 0
    for part, month in ((date, 30 * 86400), (time, 60)):
        if part and "".join(number + unit for number, unit in _ISO.findall(part)) != part:
            return default
        for number, unit in _ISO.findall(part):
            seconds += int(number) * (month if unit == "M" else _SECONDS[unit])
    return min(seconds * 1000, _LIMIT_MS)
