"""Digests of an operation's definition, and what their comparison with history says has changed.

Theory of operation. Each history entry carries digests of the parameters that its operation was run with. `compare` computes the digests
that the same operation would have now and names the consequence: nothing, the resource must restart, it can reload, or a
recurring action must be scheduled anew. The computed digests are kept by (node, resource, operation, interval), so the first entry
that is looked at decides over which names the restart and secure digests are taken.

Sources: scheduler specification, part 1, sections 24 and 25.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from crm.policy.model import ClusterState, HistoryEntry, Node, Primitive
from crm.policy.values import compare_versions

_NOT_PARAMETERS: Final = frozenset(
    ("id", "crm_feature_set", "op-digest", "on_node", "on_node_uuid", "pcmk_external_ip")
)
_TRACING: Final = frozenset(("trace_ra", "trace_dir", "trace_file"))
"""Tracing changes nothing of a resource: our own executor leaves it out of its digests, so that it is no reason to restart. Recurring operations
are ordered anew, and traced from then on. Pacemaker's digests contain it, and it restarts."""
_PRIVATE_OF_DEVICES: Final = frozenset(("passwd", "password", "user"))
_FENCING_ONLY: Final = frozenset(("provides", "stonith-timeout"))
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_SPECIAL = re.compile(r'[&<>"\x00-\x1f\x7f]')


class Change(StrEnum):
    """What differs between an operation as it was run and as it is configured (24.1)."""

    NONE = "none"
    UNKNOWN = "unknown"  # the entry has no digest: it counts as changed
    PRIVATE = "private"  # only parameters that are not to be shown differ: not a change
    RESTART = "restart"
    OTHER = "other"  # the main digest differs, the restart digest does not (or there is none)


@dataclass(slots=True, eq=False)
class Digests:
    """Of one operation on one node, as configured now. None: not computed, or nothing to compare with."""

    main: str
    restart: str | None
    secure: str | None
    has_extra: bool  # the operation has parameters of its own


def attribute_digest(values: Mapping[str, str]) -> str:
    """MD5 over the canonical text of a `parameters` element with these attributes."""
    text = "".join(f' {name}="{_escape(values[name])}"' for name in sorted(values, key=str.encode))
    return hashlib.md5(f" <parameters{text}/>\n".encode(), usedforsecurity=False).hexdigest()


def _escape(value: str) -> str:
    if _SPECIAL.search(value) is None:
        return value
    return _SPECIAL.sub(lambda m: _ESCAPES.get(m[0]) or f"&#x{ord(m[0]):02X};", value)


def _main_set(
    parameters: Mapping[str, str], timeout: str | None, left_out: frozenset[str] = _NOT_PARAMETERS
) -> dict[str, str]:
    values = {
        name: value for name, value in parameters.items() if not name.startswith("CRM_meta_") and name not in left_out
    }
    if timeout is not None:
        values["CRM_meta_timeout"] = timeout
    return values


def connection_address(rsc: Primitive, parameters: dict[str, str], host: Node | None) -> dict[str, str]:
    """A bundle connection's address `#uname` is the name of its container's host."""
    if host is not None and rsc.is_connection and parameters.get("addr") == "#uname":
        return {**parameters, "addr": host.name}
    return parameters


class DigestStore:
    """The digests computed during one scheduling run. `masked`: private values may be hidden in this CIB, so that they say nothing."""

    def __init__(self, state: ClusterState, masked: bool = True) -> None:
        self.state = state
        self.masked = masked
        # What is not masked is the cluster's own CIB, and its histories are those of our executor.
        self._left_out = _NOT_PARAMETERS if masked else _NOT_PARAMETERS | _TRACING
        self._known: dict[tuple[Node | None, str, str, int], Digests] = {}
        self._digest_of: dict[tuple[tuple[str, str], ...], str] = {}

    def of(
        self,
        rsc: Primitive,
        node: Node | None,
        operation: str,
        interval_ms: int,
        entry: HistoryEntry | None = None,
        host: Node | None = None,
    ) -> Digests:
        """The current digests; `host` is the node that `#uname` addresses stand for."""
        key = (node, rsc.id, operation, interval_ms)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compute(rsc, node, operation, interval_ms, entry, host)
        return known

    def _compute(
        self,
        rsc: Primitive,
        node: Node | None,
        operation: str,
        interval_ms: int,
        entry: HistoryEntry | None,
        host: Node | None,
    ) -> Digests:
        operations = self.state.operations
        op, meta = operations.meta(rsc, operation, interval_ms)
        own = connection_address(rsc, operations.parameters(rsc, node), host)
        extra = operations.extra(op, node)
        timeout = meta.get("timeout") if interval_ms else None
        left_out = _NOT_PARAMETERS if interval_ms else self._left_out
        values = _main_set({**extra, **own} if extra else own, timeout, left_out)
        restart = secure = None
        xml = entry.xml if entry is not None else None
        if xml is not None and xml.get("op-restart-digest") is not None:
            names = xml.get("op-force-restart")
            if names is None:
                restart = self._digest(values)
            else:
                listed = set(names.split())
                restart = self._digest({name: value for name, value in values.items() if name in listed})
        if xml is None:
            secure = self._secure(rsc, values, own, _PRIVATE_OF_DEVICES, None)
        elif xml.get("op-secure-digest") is not None:
            hidden = frozenset((xml.get("op-secure-params") or "").split())
            secure = self._secure(rsc, values, own, hidden, xml.get("crm_feature_set"))
        return Digests(self._digest(values), restart, secure, bool(extra))

    def _secure(
        self,
        rsc: Primitive,
        values: dict[str, str],
        own: dict[str, str],
        hidden: Collection[str],
        feature_set: str | None,
    ) -> str:
        """Without the parameters that must not be shown; before feature set 3.16.0 over the resource's own only (24.3)."""
        feature_set = feature_set or self.state.cib.get("crm_feature_set") or ""
        if compare_versions(feature_set, "3.16.0") < 0:
            values = _main_set(own, None, self._left_out)
            if rsc.standard.lower() == "stonith":
                values = {
                    name: value
                    for name, value in values.items()
                    if name not in _FENCING_ONLY and not name.startswith("pcmk_")
                }
        return self._digest({name: value for name, value in values.items() if name not in hidden})

    def _digest(self, values: dict[str, str]) -> str:
        key = tuple(sorted(values.items()))
        known = self._digest_of.get(key)
        if known is None:
            known = self._digest_of[key] = attribute_digest(values)
        return known

    def compare(self, rsc: Primitive, node: Node, entry: HistoryEntry, host: Node | None = None) -> Change:
        """How the definition of this entry's operation differs from what was run."""
        if entry in self.state.expired_recurring:
            return Change.OTHER if entry.xml.get("op-digest") is not None else Change.NONE
        now = self.of(rsc, node, entry.operation, entry.interval_ms, entry, host)
        stored = entry.xml.get("op-digest")
        stored_restart = entry.xml.get("op-restart-digest")
        if now.restart is not None and stored_restart is not None and now.restart != stored_restart:
            change = Change.RESTART
        elif stored is None:
            change = Change.UNKNOWN
        elif stored != now.main:
            change = Change.RESTART if not entry.interval_ms and now.has_extra else Change.OTHER
        else:
            return Change.NONE
        if self.masked and now.secure is not None and now.secure == entry.xml.get("op-secure-digest"):
            return Change.PRIVATE
        return change
