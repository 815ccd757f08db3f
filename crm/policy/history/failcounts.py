"""Fail counts: what node attributes say about failures of a resource, and when that has expired.

Theory of operation. Fail counts are node attributes named after resource, operation and interval. `FailCounts` groups them by resource name once
for each node, so that asking for a resource's count is a look-up. An anonymous clone's instances share the counts of its
base name, whatever instance numbers the names carry. A failure that blocks never expires.

Sources: scheduler specification, part 1, section 20.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from crm.policy.values import add_scores, base_name, parse_integer, parse_score

if TYPE_CHECKING:
    from crm.policy.model import ClusterState, HistoryEntry, Node, Primitive

_ATTRIBUTE = re.compile(r"(fail-count|last-failure)-([^#]+)#(.+)_[0-9]+\Z", re.DOTALL)
_NUMBERED = re.compile(r"(.*):[0-9]+\Z", re.DOTALL)


class _Counts:
    __slots__ = ("last_failure", "total")

    def __init__(self) -> None:
        self.total = 0
        self.last_failure = 0


_NO_COUNTS: Final = _Counts()


class FailCounts:
    """The fail counts of all nodes; made when nodes have their attributes, forgotten for a node when they change."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self._exact: dict[Node, dict[str, _Counts]] = {}
        self._base: dict[Node, dict[str, _Counts]] = {}

    def forget(self, node: Node) -> None:
        self._exact.pop(node, None)
        self._base.pop(node, None)

    def _read(self, node: Node) -> None:
        exact: dict[str, _Counts] = {}
        base: dict[str, _Counts] = {}
        for name, value in node.attributes.items():
            if name[:5] not in ("fail-", "last-"):
                continue
            match = _ATTRIBUTE.match(name)
            if match is None:
                continue
            kind, owner = match.group(1), match.group(2)
            numbered = _NUMBERED.match(owner)
            for table, key in ((exact, owner), (base, numbered.group(1) if numbered else owner)):
                counts = table.setdefault(key, _Counts())
                if kind == "fail-count":
                    counts.total = add_scores(counts.total, parse_score(value) or 0)
                else:
                    counts.last_failure = max(counts.last_failure, parse_integer(value) or 0)
        self._exact[node] = exact
        self._base[node] = base

    def _find(self, rsc: Primitive, node: Node) -> _Counts:
        if node not in self._exact:
            self._read(node)
        if not self._exact[node]:
            return _NO_COUNTS
        name = rsc.history_name or rsc.id
        if rsc.unique:
            return self._exact[node].get(name, _NO_COUNTS)
        return self._base[node].get(base_name(name), _NO_COUNTS)

    def total(self, rsc: Primitive, node: Node) -> int:
        """All failures, expired or not."""
        return self._find(rsc, node).total

    def last_failure(self, rsc: Primitive, node: Node) -> int:
        return self._find(rsc, node).last_failure

    def effective(self, rsc: Primitive, node: Node, entry: HistoryEntry | None = None) -> int:
        """Failures that still count (20.2). A failure that blocks switches the resource's failure-timeout off."""
        counts = self._find(rsc, node)
        if counts.total <= 0:
            return counts.total
        if rsc.failure_timeout_s > 0 and self._blocks(rsc, node, entry):
            rsc.failure_timeout_s = 0
        timeout = rsc.failure_timeout_s
        if timeout > 0 and counts.last_failure > 0 and self.state.now > counts.last_failure + timeout:
            return 0
        return counts.total

    def _blocks(self, rsc: Primitive, node: Node, entry: HistoryEntry | None) -> bool:
        """Does a configured `on-fail=block` stand behind the failure? (20.4)"""
        for op in self.state.operations.ops(rsc):
            if op.xml.get("on-fail") != "block":
                continue
            if entry is not None:
                if op.name.lower() != entry.operation.lower() or op.interval_ms != entry.interval_ms:
                    continue
                name = rsc.history_name or rsc.id
                if entry.id == f"{name}_last_failure_0" or entry.rc != entry.expected_rc:
                    return True
            elif self._has_failure_of(rsc, node, op.name, op.interval_ms):
                return True
        return False

    def _has_failure_of(self, rsc: Primitive, node: Node, operation: str, interval: int) -> bool:
        history = rsc.history.get(node)
        if history is None:
            return False
        return any(
            entry.operation.lower() == operation.lower()
            and entry.interval_ms == interval
            and (entry.id.endswith("_last_failure_0") or entry.rc != entry.expected_rc)
            for entry in history.entries
        )
