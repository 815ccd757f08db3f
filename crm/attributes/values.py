"""The arithmetic that an attribute's new value may ask for: `value++`, `value+=5`, or just a value.

As Pacemaker's tools have it: the word `value` stands for what the attribute has now (0 when it has none, or no number); INFINITY
absorbs and bounds. Anything else is taken as it is.
"""

from __future__ import annotations

import re
from typing import Final

INFINITY: Final = 1_000_000
_STEP = re.compile(r"value(\+\+|--|[+-]=(\d+|INFINITY))\Z")
_NUMBER = re.compile(r"[+-]?(\d+|INFINITY)\Z")


def evaluate(text: str, old: str | None) -> str:
    """The value to store for what a client gave."""
    match = _STEP.match(text)
    if match is None:
        return text
    step = 1 if match.group(2) is None else number(match.group(2))
    total = number(old) + (step if match.group(1)[0] == "+" else -step)
    return show(max(-INFINITY, min(INFINITY, total)))


def for_cib(text: str) -> str:
    """A value that counts, in the form in which the CIB counts by itself; it knows no minus."""
    if text == "value--":
        return "value+=-1"
    return f"value+=-{text[7:]}" if text.startswith("value-=") and text[7:].isdigit() else text


def counts(text: str) -> bool:
    """Whether the new value depends on the old one."""
    return _STEP.match(text) is not None


def number(text: str | None) -> int:
    """A score; 0 for what is none."""
    if text is None or _NUMBER.match(text) is None:
        return 0
    if text.endswith("INFINITY"):
        return -INFINITY if text.startswith("-") else INFINITY
    return max(-INFINITY, min(INFINITY, int(text)))


def show(value: int) -> str:
    if value >= INFINITY:
        return "INFINITY"
    return "-INFINITY" if value <= -INFINITY else str(value)
