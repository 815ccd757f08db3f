"""How values and scores are written: when quotes are needed, and what `inf` stands for."""

from __future__ import annotations

import re
from typing import Final

INFINITY: Final = "INFINITY"
_PLAIN = re.compile(r"[\w.-]+\Z")
_ID = re.compile(r"[^\W\d][\w.-]*\Z")
_SCORE = re.compile(r"([+-]?)(?:inf|infinity)\Z", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+\Z")
_QUOTE_BACKSLASH = re.compile(r'\\(?=["\\\n]|\Z)')


def quote(text: str) -> str:
    """A value as one word. Quotes unless it is made of letters, digits, `_`, `.` and `-` alone."""
    if _PLAIN.match(text):
        return text
    escaped = _QUOTE_BACKSLASH.sub(r"\\\\", text).replace('"', '\\"')
    return f'"{escaped}"'


def attribute(name: str, value: str) -> str:
    return f"{name}={quote(value)}"


def is_id(text: str) -> bool:
    """Whether a text can be an XML id: a letter or `_` first, then letters, digits, `_`, `.`, `-`."""
    return _ID.match(text) is not None


def show_score(score: str) -> str:
    """`INFINITY` is written `inf`, with its sign; everything else as it is."""
    match = _SCORE.match(score)
    return f"{match[1]}inf" if match else score


def read_score(text: str) -> str | None:
    """The CIB's form of a score, or None when it is none."""
    match = _SCORE.match(text)
    if match:
        return match[1] + INFINITY
    return text if _NUMBER.match(text) else None
