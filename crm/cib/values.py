"""What may stand in an attribute: the value types of the CIB, each with a test and the words for what is expected.

Scores, booleans, intervals and dates follow Pacemaker's syntax. The tests here are those of a verification: stricter than what the
policy engine puts up with (it reads `10abc` as 10), since a value that is only half understood is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_BOOLEANS: Final = frozenset({"true", "false", "on", "off", "yes", "no", "y", "n", "1", "0"})
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_NUMBER = re.compile(r"[0-9]+\Z")
_SCORE = re.compile(r"(?:[+-]?INFINITY|[+-]?[0-9]+)\Z")
_INTERVAL = re.compile(
    r"\s*[0-9]+(?:\.[0-9]+)?\s*(?:s|sec|seconds?|ms|msec|us|usec|m|min|minutes?|h|hr|hours?)?\s*\Z", re.IGNORECASE
)
_DURATION = re.compile(r"P(?:T?[+-]?[0-9]+[YMWDHS])+\Z")
"""ISO 8601, without insisting on the T before times, as Pacemaker reads it."""
_RANGE = re.compile(r"(?:[0-9]+|[0-9]+-|-[0-9]+|[0-9]+-[0-9]+)\Z")
_NAME = re.compile(r"[^\W\d][\w.·-]*\Z")
"""An XML id: begins with a letter or an underscore, then letters, digits, `.`, `-` and `_`."""
_VERSION = re.compile(r"pacemaker-(?:[0-9]+\.[0-9]+|next)\Z")
_PERCENT = re.compile(r"[0-9]+(?:\.[0-9]+)?%?\Z")


@dataclass(frozen=True, slots=True)
class Type:
    """`expected` completes "expected ..."."""

    expected: str
    accepts: Callable[[str], bool]
    choices: tuple[str, ...] = ()


def _interval(text: str) -> bool:
    return bool(_INTERVAL.match(text) or _DURATION.match(text))


TEXT: Final = Type("text", lambda text: True)
WORD: Final = Type("text that is not empty", lambda text: bool(text))
ID: Final = Type(
    "an id: a letter or underscore, then letters, digits, '.', '-' or '_'", lambda text: _NAME.match(text) is not None
)
BOOLEAN: Final = Type("true or false", lambda text: text.lower() in _BOOLEANS)
INTEGER: Final = Type("an integer", lambda text: _INTEGER.match(text) is not None)
COUNT: Final = Type("a number that is not negative", lambda text: _NUMBER.match(text) is not None)
SCORE: Final = Type("a score: an integer, INFINITY or -INFINITY", lambda text: _SCORE.match(text) is not None)
HEALTH: Final = Type(
    "a score, or red, yellow or green",
    lambda text: _SCORE.match(text) is not None or text.lower() in ("red", "yellow", "green"),
)
INTERVAL: Final = Type("a time such as 10, 30s, 500ms, 2min, 1h or PT5M", _interval)
SIGNED_INTERVAL: Final = Type(
    "a time such as 10, 30s or 2min, or -1 for automatic", lambda text: _interval(text.removeprefix("-"))
)
RANGE: Final = Type("a number or a range such as 9-17", lambda text: _RANGE.match(text) is not None)
PERCENT: Final = Type("a percentage such as 80%", lambda text: _PERCENT.match(text) is not None)
SCHEMA: Final = Type(
    "a schema such as pacemaker-4.0, or none", lambda text: text == "none" or _VERSION.match(text) is not None
)


def one_of(*choices: str, ignore_case: bool = False) -> Type:
    if ignore_case:
        folded = frozenset(choice.lower() for choice in choices)
        return Type(f"one of {', '.join(choices)}", lambda text: text.lower() in folded, choices)
    exact = frozenset(choices)
    return Type(f"one of {', '.join(choices)}", lambda text: text in exact, choices)


def either(first: Type, second: Type) -> Type:
    return Type(
        f"{first.expected}, or {second.expected}",
        lambda text: first.accepts(text) or second.accepts(text),
        first.choices + second.choices,
    )
