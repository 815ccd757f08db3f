"""Fencing topology: for which node which devices, in which order, and which of them together.

Theory of operation. A level names devices that must all succeed; levels are tried in the order of their index until one
does. A level is for a node by name, for nodes whose name matches a pattern, or for nodes that have an attribute value. When
several kinds fit a node, its name wins over a pattern and a pattern over an attribute; levels of different kinds are not mixed.
A node without levels is fenced by any device that can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_LEVEL = 9


@dataclass(frozen=True, slots=True)
class Level:
    """One `fencing-level`. Exactly one of `target`, `pattern`, `attribute` is set."""

    index: int
    devices: tuple[str, ...]
    target: str | None = None
    pattern: str | None = None
    attribute: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class LevelProblem:
    """A `fencing-level` that cannot be used; for people."""

    element: str
    message: str


def read(levels: Iterable[tuple[str, Mapping[str, str]]]) -> tuple[list[Level], list[LevelProblem]]:
    """Levels from (id, attributes) of `fencing-level` elements, and what is wrong with those that are left out."""
    found: list[Level] = []
    problems: list[LevelProblem] = []
    for identity, attributes in levels:
        level = _read_one(attributes)
        if isinstance(level, str):
            problems.append(LevelProblem(identity, level))
        else:
            found.append(level)
    return found, problems


def _read_one(attributes: Mapping[str, str]) -> Level | str:
    text = attributes.get("index", "")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_LEVEL):
        return f"index is {text!r}, expected a number from 1 to {MAX_LEVEL}"
    devices = tuple(part for part in re.split(r"[\s,]+", attributes.get("devices", "")) if part)
    if not devices:
        return "names no devices"
    target, pattern = attributes.get("target"), attributes.get("target-pattern")
    name, value = attributes.get("target-attribute"), attributes.get("target-value")
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            return f"target-pattern {pattern!r} is not a regular expression: {error}"
    attribute = (name, value) if name is not None and value is not None else None
    if sum(kind is not None for kind in (target, pattern, attribute)) != 1:
        return "expected exactly one of target, target-pattern, target-attribute with target-value"
    return Level(int(text), devices, target, pattern, attribute)


def levels_for(levels: Iterable[Level], target: str, attributes: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The devices of each level for this node, in the order of trying. Levels of the same index are one level."""
    by_kind: tuple[list[Level], list[Level], list[Level]] = ([], [], [])
    for level in levels:
        if level.target is not None:
            if level.target == target:
                by_kind[0].append(level)
        elif level.pattern is not None:
            if re.search(level.pattern, target):
                by_kind[1].append(level)
        elif level.attribute is not None and attributes.get(level.attribute[0]) == level.attribute[1]:
            by_kind[2].append(level)
    fitting = next((kind for kind in by_kind if kind), [])
    joined: dict[int, list[str]] = {}
    for level in sorted(fitting, key=lambda found: found.index):
        joined.setdefault(level.index, []).extend(level.devices)
    return [tuple(dict.fromkeys(devices)) for devices in joined.values()]
