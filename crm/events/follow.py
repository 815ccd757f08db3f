"""Following a cause through the records of all nodes.

Theory of operation. What belongs to a cause is: every record that carries it; what led to it (the causes that its records name in `after`, and what
led to those); and what came of it (records that name it in `after`, and what came of those). Not what else led to its consequences: that is
another story, with an id of its own. `Search` says which ids to look for next; whoever has records (a file, another node) answers with those that
`matches` picks. Merging is by the records' `order` (`crm.events.clock`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crm.events import words

Record = dict[str, Any]

MAX_ROUNDS: Final = 5
"""Links that are followed in either direction."""


def matches(record: Mapping[str, Any], causes: frozenset[str]) -> bool:
    """Whether a record carries one of the causes, or came after one of them."""
    return record.get("cause") in causes or not causes.isdisjoint(record.get("after") or ())


class Search:
    """For everything that belongs to one cause. `wanted` are the ids to look for in the next round; empty: it is over."""

    def __init__(self, cause: str) -> None:
        self._before = {cause}
        self._behind = {cause}
        self._rounds = 0
        self._seen: dict[tuple[Any, Any], Record] = {}
        self.wanted: frozenset[str] = frozenset((cause,))

    def on_found(self, records: Iterable[Record]) -> None:
        """The records of all nodes that match `wanted`."""
        for record in records:
            self._seen[(record.get("node"), record.get("order"))] = record
        self._rounds += 1
        asked = self._before | self._behind
        # Links are followed to a fixed point over what is known, since a later round may have found the middle of a chain.
        growing = True
        while growing:
            growing = False
            for record in self._seen.values():
                cause, after = str(record.get("cause", "")), set(record.get("after") or ())
                if cause in self._before and not after <= self._before:
                    self._before |= after
                    growing = True
                if cause and after & self._behind and cause not in self._behind:
                    self._behind.add(cause)
                    growing = True
        new = (self._before | self._behind) - asked
        self.wanted = frozenset() if self._rounds >= MAX_ROUNDS else frozenset(new)

    def result(self) -> list[Record]:
        belonging = self._before | self._behind
        return ordered(record for record in self._seen.values() if record.get("cause") in belonging)


def ordered(records: Iterable[Record]) -> list[Record]:
    """Of several nodes, in the order of cause before consequence."""
    return sorted(records, key=lambda record: (record.get("order", 0), str(record.get("node", ""))))


def condensed(records: Sequence[Record]) -> list[tuple[Record, list[str]]]:
    """Each record once, with the nodes that say the same of the same cause (a view, for one), in the order of the first."""
    found: dict[tuple[str, str, str], tuple[Record, list[str]]] = {}
    for record in records:
        what = str(record["peer"]) if "peer" in record else words.sentence(record)
        key = (str(record["event"]), str(record.get("cause", "")), what)
        if record["event"] not in _COMMON or not record.get("cause"):
            key = (*key[:2], f"{record.get('node')} {record.get('order')}")
        _, nodes = found.setdefault(key, (record, []))
        if record["node"] not in nodes:
            nodes.append(str(record["node"]))
    return [(record, sorted(nodes)) for record, nodes in found.values()]


_COMMON: Final = frozenset(("view", "dc", "peer_lost", "peer_late", "cib_changed", "fencing_known"))
"""What several nodes notice of one happening. How long a silence was differs by milliseconds: that is not said twice either."""
