"""The text format of Prometheus (version 0.0.4): families of samples, each with HELP and TYPE before them.

A family is given whole, since the format wants its samples in one group. Samples that are given twice (the same labels) would make the whole page
invalid for its reader; the last one counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    SUMMARY = "summary"


@dataclass(slots=True)
class Family:
    """`add` in the order in which samples are to appear. A counter's name ends in `_total`."""

    name: str
    kind: Kind
    help: str
    _samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or (self.kind is Kind.COUNTER) != self.name.endswith("_total"):
            raise AssertionError(f"{self.name} cannot be the name of a {self.kind}")

    def add(self, value: float, /, suffix: str = "", **labels: str) -> None:
        """One sample. `suffix`: `_sum` or `_count` of a summary."""
        self._samples[(suffix, tuple(labels.items()))] = value

    def lines(self) -> Iterable[str]:
        if not self._samples:
            return
        yield f"# HELP {self.name} {_escaped(self.help, quotes=False)}"
        yield f"# TYPE {self.name} {self.kind}"
        for (suffix, labels), value in self._samples.items():
            shown = ",".join(f'{_label(name)}="{_escaped(text)}"' for name, text in labels)
            yield f"{self.name}{suffix}{{{shown}}} {number(value)}" if shown else f"{self.name}{suffix} {number(value)}"


def render(families: Iterable[Family]) -> str:
    return "".join(f"{line}\n" for family in families for line in family.lines())


def gauge(name: str, text: str, samples: Iterable[tuple[float, Mapping[str, str]]] = ()) -> Family:
    return _made(name, Kind.GAUGE, text, samples)


def counter(name: str, text: str, samples: Iterable[tuple[float, Mapping[str, str]]] = ()) -> Family:
    return _made(name, Kind.COUNTER, text, samples)


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _made(name: str, kind: Kind, text: str, samples: Iterable[tuple[float, Mapping[str, str]]]) -> Family:
    family = Family(name, kind, text)
    for value, labels in samples:
        family.add(value, **labels)
    return family


def _label(name: str) -> str:
    if not _LABEL.match(name):
        raise AssertionError(f"{name} cannot be the name of a label")
    return name


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
