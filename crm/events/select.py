"""Which records somebody wants to see: of which time, of what kind, about whom.

Theory of operation. A selection is made once from what a client asks, travels to the other nodes as plain values, and is applied where the records are. Time is the wall clock of the node that wrote the record; `last_ms` is counted back from the
clock of the node that looks, so that clocks which differ hide nothing from who follows.

Kinds are names of records or of groups of them (`GROUPS`). A record is about a resource or a node when one of its fields names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from crm.events import follow, words

GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "node": frozenset(
        (
            *("view", "peer_late", "peer_lost", "crm_absent", "crm_started", "leaving", "withdrawn", "messaging_lost"),
            *("shutdown_requested", "waiting_for", "started_without", "cut_off_grace", "member_refused", "bad_message"),
            *("dc", "nodes_changed", "nodes_relisted", "quorum_changed", "key_rotation_begun", "confirmed_off"),
        )
    ),
    "fencing": frozenset(
        (
            *("fence_requested", "fence_device", "fenced", "fence_failed", "fencing_known", "fencing_given_up"),
            *("confirmed_off", "cut_off_grace"),
        )
    ),
    "resource": frozenset(("action", "action_result", "action_postponed", "action_lost")),
    "attribute": frozenset(("attributes", "change")),
    "configuration": frozenset(("cib_changed", "cib_taken", "cib_missing", "kept_aside")),
    "decision": frozenset(
        ("decide", "decision_failed", "transition", "transition_end", "transition_left", "transition_stuck")
    ),
    "observer": frozenset(("alert_failed", "alerts_dropped", "events_dropped")),
}
"""Every kind of record is in at least one."""
_WHO: Final = ("resource", "target", "peer", "on", "who", "dc", "device", "node")
_WHOM: Final = ("nodes", "joined", "left", "lost_by", "plan", "actions", "values", "change", "reason")
_WORD: Final = re.compile(r"[^\s,;'\"()\[\]]+")


class NoSuchKind(ValueError):
    """The text names it and those that there are."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Patterns that a line must all have in it, and one that it must not."""

    within: tuple[re.Pattern[bytes], ...]
    without: re.Pattern[bytes] | None

    def may_be(self, line: bytes) -> bool:
        """False: the record is certainly none of those."""
        if any(pattern.search(line) is None for pattern in self.within):
            return False
        return self.without is None or self.without.search(line) is None


@dataclass(frozen=True, slots=True)
class Selection:
    """`causes` empty: all. `until_ms` 0: no end. `kinds`: names of records; empty: all. `about`: a resource or a node; empty: all."""

    causes: frozenset[str] = frozenset()
    since_ms: int = 0
    until_ms: int = 0
    kinds: frozenset[str] = frozenset()
    about: str = ""
    details: bool = True

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is one of these; its time and its cause included."""
        time_ms = int(record["time_ms"])
        if time_ms < self.since_ms or (self.until_ms and time_ms > self.until_ms):
            return False
        if self.causes and not follow.matches(record, self.causes):
            return False
        if (self.kinds and record["event"] not in self.kinds) or (not self.details and words.is_detail(record)):
            return False
        return not self.about or is_about(record, self.about)

    def hint(self) -> Hint:
        """What to look for in the bytes of a line before it is read: a log is long, and most of it is something else."""
        within = []
        if self.causes:
            within.append("|".join(re.escape(json.dumps(cause)) for cause in sorted(self.causes)))
        if self.kinds:
            within.append(_event(self.kinds))
        if self.about:
            # As it is within a text: a name may be part of a sentence.
            within.append(re.escape(json.dumps(self.about, ensure_ascii=False)[1:-1]))
        without = "" if self.details else _event(words.DETAILS)
        return Hint(
            tuple(re.compile(each.encode()) for each in within), re.compile(without.encode()) if without else None
        )

    def by_cause(self, causes: Iterable[str]) -> Selection:
        """Everything of these causes, to follow them: what is shown of it is selected afterwards."""
        return Selection(frozenset(causes), self.since_ms)

    def to_params(self) -> dict[str, Any]:
        values = {
            "causes": sorted(self.causes),
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "kinds": sorted(self.kinds),
            "about": self.about,
        }
        return {**{name: value for name, value in values.items() if value}, "details": self.details}


def from_params(params: Mapping[str, Any], now_ms: int) -> Selection:
    """ValueError when a value is none. `last_ms` becomes `since_ms`, by the clock of whoever reads.

    Kinds that are not known here are kept: a node that is newer asks for what is older here, and for what is not there yet.
    """
    names = {name: params.get(name) or () for name in ("causes", "kinds")}
    for name, value in names.items():
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{name}: expected a list of names")
    since_ms, last_ms = int(params.get("since_ms") or 0), int(params.get("last_ms") or 0)
    return Selection(
        causes=frozenset(names["causes"]),
        since_ms=max(since_ms, now_ms - last_ms) if last_ms else since_ms,
        until_ms=int(params.get("until_ms") or 0),
        kinds=frozenset[str]().union(*(GROUPS.get(kind, frozenset((kind,))) for kind in names["kinds"])),
        about=str(params.get("about") or ""),
        details=params.get("details") is not False,
    )


def of_names(names: Iterable[str]) -> frozenset[str]:
    """Kinds from names of records and of groups. NoSuchKind for what is neither."""
    known = frozenset[str]().union(*GROUPS.values())
    found: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in known:
            raise NoSuchKind(
                f"{name!r} is no kind of record; expected {', '.join(GROUPS)}, or one of {', '.join(sorted(known))}"
            )
        found |= GROUPS.get(name, frozenset((name,)))
    return frozenset(found)


def is_about(record: Mapping[str, Any], name: str) -> bool:
    """Whether one of the record's fields names this resource (or an instance of it) or node."""
    if any(_same(record.get(key), name) for key in _WHO):
        return True
    if any(_mentions(record.get(key), name) for key in _WHOM):
        return True
    # Actions of a graph have their key here: web_start_0.
    keys = record.get("actions") if isinstance(record.get("actions"), list) else [record.get("operation")]
    return any(isinstance(key, str) and key.count("_") > 1 and _same(key.rsplit("_", 2)[0], name) for key in keys or ())


def _event(names: Iterable[str]) -> str:
    """The name of a record as it is in its line. A quote within a text is escaped, so nothing else looks like it."""
    return '"event": ?"(?:' + "|".join(sorted(names)) + ')"'


def _same(value: object, name: str) -> bool:
    return isinstance(value, str) and (value == name or value.partition(":")[0] == name)


def _mentions(value: object, name: str) -> bool:
    if isinstance(value, str):
        return any(_same(word, name) for word in _WORD.findall(value))
    return isinstance(value, list | tuple) and any(_mentions(each, name) for each in value)
