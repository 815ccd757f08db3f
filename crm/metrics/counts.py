"""Counters of one life of the daemon, made from the records of its event log: what is counted is what can be read there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from crm.metrics.exposition import Family, Kind, counter

MAX_SERIES: Final = 500
"""Label values that one counter keeps; more come together under `other`. Names come from people, and memory is bounded."""


class Counts:
    """`on_record` is a listener of the journal."""

    def __init__(self) -> None:
        self.records = 0
        self.views = 0
        self.cib_changes = 0
        self.decisions_failed = 0
        self._late: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._transitions: Counter[str] = Counter()
        self._operations: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._fencing: Counter[tuple[str, str, str]] = Counter()

    def on_record(self, record: Mapping[str, Any]) -> None:
        self.records += 1
        match record["event"]:
            case "action_result":
                operation = str(record["operation"])
                result = "ok" if record["ok"] else "timeout" if record["status"] == 2 else "failed"
                self._operations[(operation, result)] += 1
                self._seconds[operation] += record["exec_ms"]
            case "transition_end":
                self._transitions[str(record["outcome"])] += 1
            case "view":
                self.views += 1
            case "cib_changed":
                self.cib_changes += 1
            case "peer_late":
                self._late[_bounded(str(record["peer"]), self._late)] += 1
            case "peer_lost":
                self._lost[_bounded(str(record["peer"]), self._lost)] += 1
            case "fenced" | "fence_failed":
                target = str(record["target"]) if len(self._fencing) < MAX_SERIES else "other"
                result = "ok" if record["event"] == "fenced" else "failed"
                self._fencing[(target, str(record["action"]), result)] += 1
            case "decision_failed":
                self.decisions_failed += 1

    def families(self) -> list[Family]:
        seconds = Family("vigil_operation_seconds", Kind.SUMMARY, "How long this node's agents took, by operation")
        counts: Counter[str] = Counter()
        for (operation, _), count in self._operations.items():
            counts[operation] += count
        for operation, count in sorted(counts.items()):
            seconds.add(self._seconds[operation] / 1000, "_sum", operation=operation)
            seconds.add(count, "_count", operation=operation)
        operations = counter("vigil_operations_total", "Operations of this node's agents that ended, by result")
        for (operation, result), count in sorted(self._operations.items()):
            operations.add(count, operation=operation, result=result)
        fencing = counter("vigil_fencing_total", "Fencing that this node asked for and that ended, by result")
        for (target, action, result), count in sorted(self._fencing.items()):
            fencing.add(count, target=target, action=action, result=result)
        transitions = counter("vigil_transitions_total", "Transitions that this node has led as DC, by outcome")
        for outcome, count in sorted(self._transitions.items()):
            transitions.add(count, outcome=outcome)
        late = counter("vigil_peer_late_total", "How often a node was silent for longer than warntime")
        lost = counter("vigil_peer_lost_total", "How often a node was lost")
        for family, found in ((late, self._late), (lost, self._lost)):
            for peer, count in sorted(found.items()):
                family.add(count, peer=peer)
        return [
            counter("vigil_views_total", "Views that were installed", [(self.views, {})]),
            late,
            lost,
            counter("vigil_cib_changes_total", "Changes of the configuration", [(self.cib_changes, {})]),
            transitions,
            counter(
                "vigil_decisions_failed_total", "Failures of the policy engine itself", [(self.decisions_failed, {})]
            ),
            operations,
            seconds,
            fencing,
            counter("vigil_event_records_total", "Records of the event log", [(self.records, {})]),
        ]


def _bounded(name: str, known: Counter[str]) -> str:
    return name if name in known or len(known) < MAX_SERIES else "other"
