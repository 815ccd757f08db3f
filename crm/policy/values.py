"""Primitive values of the CIB: scores, booleans, intervals, roles, versions, the order of names.

All parsers follow the lenient rules of the scheduler specification, part 1 section 1: prefix parsing, case folding and clamping are what
existing configurations rely on.
"""

from __future__ import annotations

import re

from crm.policy.model import INFINITY, Role

_INTEGER = re.compile(r"\s*([+-]?[0-9]+)")
_VERSION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)*)")
_MAX_INTEGER = 2**63 - 1
_CHUNKS = re.compile(r"[0-9]+|[^0-9]", re.DOTALL)
_TRUE = frozenset(("true", "on", "yes", "y", "1"))
_FALSE = frozenset(("false", "off", "no", "n", "0"))
_ROLES = {
    "stopped": Role.STOPPED,
    "started": Role.STARTED,
    "unpromoted": Role.UNPROMOTED,
    "slave": Role.UNPROMOTED,
    "promoted": Role.PROMOTED,
    "master": Role.PROMOTED,
}
ROLE_NAMES = {
    Role.UNKNOWN: "Unknown",
    Role.STOPPED: "Stopped",
    Role.STARTED: "Started",
    Role.UNPROMOTED: "Unpromoted",
    Role.PROMOTED: "Promoted",
}


def add_scores(a: int, b: int) -> int:
    """Sum of two scores: minus infinity beats plus infinity, both absorb, the rest is clamped (1.1)."""
    if a <= -INFINITY or b <= -INFINITY:
        return -INFINITY
    if a >= INFINITY or b >= INFINITY:
        return INFINITY
    total = a + b
    return -INFINITY if total < -INFINITY else INFINITY if total > INFINITY else total


def show_score(score: int) -> str:
    if score >= INFINITY:
        return "INFINITY"
    return "-INFINITY" if score <= -INFINITY else str(score)


def to_integer(digits: str) -> int:
    """A number of 64 bits; text of any length is safe."""
    if len(digits) <= 18:
        return int(digits)
    return max(-_MAX_INTEGER - 1, min(_MAX_INTEGER, int(digits[:4000])))


def parse_integer(text: str | None) -> int | None:
    """Base-10 prefix; None when there is none."""
    match = _INTEGER.match(text) if text else None
    if match is None:
        return None
    return to_integer(match.group(1))


def parse_count(text: str | None, default: int) -> int:
    """An integer of at least 0: invalid text counts as 0, too large a number as the largest (1.3)."""
    if text is None:
        return default
    return max(0, min(parse_integer(text) or 0, 2**31 - 1))


def parse_score(text: str | None, colours: dict[str, int] | None = None) -> int | None:
    """A score, or None when the text is not one; `colours` gives the health words their values (0 without)."""
    if not text:
        return None
    if text == "-INFINITY":
        return -INFINITY
    if text in ("INFINITY", "+INFINITY"):
        return INFINITY
    word = text.lower()
    if word in ("red", "yellow", "green"):
        return colours.get(word, 0) if colours else 0
    number = parse_integer(text)
    return None if number is None else max(-INFINITY, min(INFINITY, number))


def parse_boolean(text: str | None) -> bool | None:
    """True, false, or None when absent or invalid."""
    if text is None:
        return None
    word = text.lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def truthy(text: str | None) -> bool:
    return text is not None and text.lower() in _TRUE


def parse_role(text: str | None) -> Role:
    """UNKNOWN for absent or unrecognised text."""
    return _ROLES.get(text.lower(), Role.UNKNOWN) if text else Role.UNKNOWN


def compare_versions(a: str, b: str) -> int:
    def numbers(text: str) -> list[int]:
        match = _VERSION.match(text)
        return [to_integer(part) for part in match.group(1).split(".")] if match else []

    left, right = numbers(a), numbers(b)
    length = max(len(left), len(right))
    left += [0] * (length - len(left))
    right += [0] * (length - len(right))
    return (left > right) - (left < right)


def name_key(name: str) -> tuple[tuple[int, int, int, str], ...]:
    """Sort key of the node name order (1.6): digit runs by number, then fewer digits; the rest lower-cased."""
    return tuple(
        (ord("0"), to_integer(chunk), len(chunk), "") if "0" <= chunk[0] <= "9" else (ord(chunk.lower()[0]), 0, 0, "")
        for chunk in _CHUNKS.findall(name)
    )


def base_name(resource_id: str) -> str:
    """An instance id without its `:NUMBER`."""
    head, colon, tail = resource_id.rpartition(":")
    return head if colon and tail.isascii() and tail.isdigit() else resource_id
