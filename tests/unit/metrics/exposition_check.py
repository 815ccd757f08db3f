"""A strict reader of the Prometheus text format, written from its description: what it takes, any scraper takes."""

from __future__ import annotations

import re
from collections.abc import Iterator

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|\Z)')
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf)\Z|NaN\Z")
KINDS = {"counter", "gauge", "summary"}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """All samples by name and labels. AssertionError says what is wrong with which line."""
    assert text.endswith("\n"), "the last line must end"
    found: Samples = {}
    finished: set[str] = set()
    family, kind, helped = "", "", ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert helped not in finished | {family}, f"{helped} comes twice"
            assert len(line.split(" ", 3)) == 4, f"no help: {line}"
            assert re.fullmatch(r"(?:[^\\]|\\[\\n])*", line), f"wrong escape: {line}"
        elif line.startswith("# TYPE "):
            finished.add(family)
            _, _, family, kind = line.split(" ")
            assert family == helped and kind in KINDS, f"TYPE must follow HELP: {line}"
            assert (kind == "counter") == family.endswith("_total"), f"counters end in _total: {line}"
        else:
            match = SAMPLE.match(line)
            assert match is not None, f"not a sample: {line}"
            name, labels, value = match.groups()
            allowed = {f"{family}_sum", f"{family}_count"} if kind == "summary" else {family}
            assert name in allowed, f"{name} is not of the family {family}"
            assert NUMBER.match(value), f"not a number: {line}"
            key = (name, frozenset(_labels(labels or "", line)))
            assert key not in found, f"given twice: {line}"
            found[key] = float(value)
            assert kind == "gauge" or found[key] >= 0, f"a counter cannot be negative: {line}"
    return found


def _labels(text: str, line: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match is not None, f"wrong labels: {line}"
        plain = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), match[2])
        yield match[1], plain
        at = match.end()


def value(samples: Samples, name: str, **labels: str) -> float:
    """The one sample of this name that has these labels, whatever others it has."""
    found = [each for (known, own), each in samples.items() if known == name and labels.items() <= dict(own).items()]
    assert len(found) == 1, f"{name}{labels}: {len(found)} samples"
    return found[0]
