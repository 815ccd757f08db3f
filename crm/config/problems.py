"""What is wrong with a file: collected while it is checked, each with its line, and shown all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` is 0 when the problem has no place (something is missing)."""

    line: int
    key: str
    message: str


class ConfigError(Exception):
    """Everything that is wrong with a file; `str` is one line a problem."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.key)))
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        for problem in self.problems:
            where = f"{self.path}:{problem.line}" if problem.line else self.path
            yield f"{where}: {problem.key}: {problem.message}" if problem.key else f"{where}: {problem.message}"


class Problems:
    """Collects problems; `lines` says where each key of the file stands."""

    def __init__(self, lines: dict[str, int]) -> None:
        self.found: list[Problem] = []
        self._lines = lines

    def add(self, key: str, message: str) -> None:
        """The line is the key's own, or that of what contains it."""
        at = key
        while at and at not in self._lines:
            at = at.rpartition(".")[0]
        self.found.append(Problem(self._lines.get(at, 0), key, message))


def shown(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else text[:57] + "..."
