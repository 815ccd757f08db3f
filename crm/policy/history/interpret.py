"""What one history entry means for a resource.

Theory of operation. The entries of a resource on a node are taken oldest first. An `Interpreter` carries what they leave behind: the resource's
role (on the resource itself), the most severe reaction to a failure that has not been overcome (`reaction`), and the last failure.
`take` goes through the steps of the specification for one entry: is it expired, is its result masked or degraded, what is its status once
the result code is held against the expected one, and then success, failure or pending.

Sources: scheduler specification, part 1, sections 14 and 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.policy.digests import Change
from crm.policy.history import migration
from crm.policy.history.bans import ban, ban_everywhere, ban_target, replace_by_ban
from crm.policy.history.entries import DONE, PENDING, is_admitted
from crm.policy.history.fencing import can_fence
from crm.policy.history.onfail import on_fail, role_after_failure
from crm.policy.model import (
    Cause,
    CheckDefinition,
    ClearFailCount,
    FailedOp,
    HistoryEntry,
    Kind,
    Node,
    OnFail,
    Primitive,
    Resource,
    Role,
)
from crm.policy.resources.meta import is_promotable

if TYPE_CHECKING:
    from crm.policy.history.reader import Reader

ERROR: Final = 4
HARD_ERROR: Final = 5
FATAL_ERROR: Final = 6
NOT_INSTALLED: Final = 7
NOT_CONNECTED: Final = 8
NOT_SUPPORTED: Final = 3
_NO_DEVICE: Final = (10, 11)
_CLEARED: Final = frozenset((OnFail.BLOCK, OnFail.IGNORE, OnFail.DEMOTE, OnFail.RESTART, OnFail.RESTART_CONTAINER))
_STATUS_NAMES: Final = {2: "timed out", 3: "not supported", 7: "not installed", 8: "not connected", 9: "invalid"}


def in_bundle(rsc: Resource) -> bool:
    return rsc.outermost.kind is Kind.BUNDLE


class Interpreter:
    """The history of one resource on one node, as far as it has been read."""

    __slots__ = ("last_failure", "node", "reaction", "reader", "recorded", "rsc", "state")

    def __init__(self, reader: Reader, rsc: Primitive, node: Node) -> None:
        self.reader = reader
        self.state = reader.state
        self.rsc = rsc
        self.node = node
        self.reaction = OnFail.IGNORE
        self.last_failure: HistoryEntry | None = None
        self.recorded: set[str] = set()

    def take(self, entry: HistoryEntry) -> None:
        if not is_admitted(entry):
            return
        rsc, rc, status = self.rsc, entry.rc, entry.status
        maskable = entry.is_probe and (rc in (2, 5) or status == NOT_INSTALLED) and not in_bundle(rsc)
        expired = self._is_expired(entry)
        if rc in (190, 191):
            rc = 0 if rc == 190 else 8
            if not expired and (self.node.online or not self.node.shutdown):
                self._record(entry)
        elif maskable and (status != DONE or rc != 7):
            status, rc = DONE, 7
        status = self._remap(entry, rc, status, expired)
        if expired and maskable and entry.rc != entry.expected_rc:
            if rsc.role <= Role.STOPPED:
                rsc.role = Role.UNKNOWN
            return
        if expired and rc != entry.expected_rc:
            if entry.interval_ms == 0:
                return
            if self.node.online and not self.node.unclean:
                self.state.expired_recurring.append(entry)
                return
        if maskable:
            self._record(entry)
            self._ban(entry, "probe")
            self._succeed(entry, entry.expected_rc, masked=True)
            return
        self._dispatch(entry, rc, status)

    # --- expiry -------------------------------------------------------------------------------------------------------

    def _is_expired(self, entry: HistoryEntry) -> bool:
        """Is the result too old to count? Schedules the clearing of what has expired on the way (14.2)."""
        if entry.status == NOT_INSTALLED:
            return False
        state, rsc, counts = self.state, self.rsc, self.reader.fail_counts
        timeout, expired, unexpired = rsc.failure_timeout_s, False, 0
        if timeout > 0 and entry.last_rc_change >= 0:
            expired = state.now >= entry.last_rc_change + timeout and not self._waits_for_fencing(entry)
            unexpired = counts.effective(rsc, self.node, entry)
            due = counts.last_failure(rsc, self.node) + timeout + 1
            if unexpired > 0 and state.now < due:
                state.config.changes.append(due)
            elif unexpired == 0 and not expired and counts.total(rsc, self.node) > 0:
                # The count is cleared when nothing that is recorded is as young as it was: this entry is looked at again.
                state.config.changes.append(entry.last_rc_change + timeout)
        last_failure = entry.id.endswith("_last_failure_0")
        reason: str | None = None
        if expired:
            if counts.total(rsc, self.node) > 0:
                if unexpired > 0:
                    expired = False
                else:
                    reason = "it expired"
            elif last_failure and rsc.reconnect_interval_ms:
                reason = "reconnect interval is set"
        if not expired and last_failure and self._definition_changed(entry):
            reason = "resource parameters have changed"
        if reason is not None:
            after_fencing = bool(rsc.reconnect_interval_ms) and state.options.fencing_enabled
            state.requests.append(ClearFailCount(rsc, self.node, reason, after_fencing))
        if expired and entry.is_probe and entry.rc in (0, 7, 8, 190, 191):
            return False
        return expired

    def _waits_for_fencing(self, entry: HistoryEntry) -> bool:
        """A connection's failed monitor counts until its node has been fenced."""
        rsc = self.rsc
        return (
            bool(rsc.reconnect_interval_ms)
            and self.state.options.fencing_enabled
            and entry.interval_ms > 0
            and entry.operation == "monitor"
            and not (rsc.remote_node is not None and rsc.remote_node.remote_fenced)
        )

    def _definition_changed(self, entry: HistoryEntry) -> bool:
        if entry.operation not in ("start", "monitor"):
            return False
        rsc = self.rsc
        if rsc.is_connection and self.state.operations.parameters(rsc, self.node).get("addr") == "#uname":
            self.state.requests.append(CheckDefinition(rsc, self.node, entry))
            return False
        # that only private parameters differ makes no difference here
        return self.state.digests.compare(rsc, self.node, entry) not in (Change.NONE, Change.UNKNOWN)

    # --- status -------------------------------------------------------------------------------------------------------

    def _remap(self, entry: HistoryEntry, rc: int, status: int, expired: bool) -> int:
        """The status once the result code is held against the expected one (14.4)."""
        if status in _NO_DEVICE:
            return HARD_ERROR
        if status not in (DONE, ERROR):
            return status
        expected, rsc = entry.expected_rc, self.rsc
        status = DONE if expected >= 0 and rc == expected else ERROR
        if rc == 0:
            return DONE if entry.is_probe and expected == 7 else status
        if rc == 7:
            if entry.is_probe or expected == 7 or not rsc.managed:
                status = DONE
                rsc.role = Role.STOPPED
                self.reaction = OnFail.IGNORE
                rsc.next_role = Role.UNKNOWN
            return status
        if rc == 8:
            if not expired or rc == expected:
                rsc.role = Role.PROMOTED
            return DONE if entry.is_probe and rc != expected else status
        if rc == 9:
            if not expired:
                rsc.role = Role.PROMOTED
            return ERROR
        if rc == 6:
            return FATAL_ERROR
        if rc == 3 and entry.interval_ms > 0:
            return NOT_SUPPORTED
        if rc in (2, 3, 4, 5):
            if entry.operation == "stop" and not expired and not can_fence(self.state, self.node):
                rsc.managed = False
                rsc.blocked = True
            return HARD_ERROR
        return ERROR if status == DONE else status

    def _dispatch(self, entry: HistoryEntry, rc: int, status: int) -> None:
        """14.7"""
        if status == PENDING:
            self._wait(entry)
            return
        if status == DONE:
            self._succeed(entry, rc)
            return
        reaction = on_fail(self.state, self.rsc, entry)
        if status == NOT_INSTALLED:
            self._ban(entry, entry.operation)
            self._fail(entry, rc, OnFail.BAN if reaction is OnFail.IGNORE else reaction)
            return
        if status == NOT_CONNECTED and self.node.is_remote:
            connection = self.node.connection
            if connection is not None and connection.managed:
                connection.failed = connection.stop_required = True
        if reaction is OnFail.IGNORE or (reaction is OnFail.RESTART_CONTAINER and entry.operation == "stop"):
            self._succeed(entry, entry.expected_rc)
            self.rsc.failure_ignored = True
            self._record(entry, ignored=True)
            if reaction is OnFail.RESTART_CONTAINER and self.reaction <= OnFail.RESTART:
                self.reaction = OnFail.RESTART_CONTAINER
            return
        self._fail(entry, rc, reaction)
        if status == HARD_ERROR:
            self._ban(entry, entry.operation)
        elif status == FATAL_ERROR:
            ban_everywhere(self.state, ban_target(self.rsc), self._cause(entry, entry.operation))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _record(self, entry: HistoryEntry, ignored: bool = False) -> None:
        """Once for each operation: a failed probe or start is in the history as the last operation and as the last failure."""
        if entry.key in self.recorded:
            return
        self.recorded.add(entry.key)
        self.state.failed_ops.append(FailedOp(self.rsc, self.node, entry, entry.expected_rc, ignored))

    def _cause(self, entry: HistoryEntry, what: str) -> Cause:
        result = _STATUS_NAMES.get(entry.status, f"failed with rc {entry.rc}")
        return Cause("failure", entry.id, f"{what} on {self.node.name} {result}")

    def _ban(self, entry: HistoryEntry, what: str) -> None:
        ban(self.state, ban_target(self.rsc), self.node, self._cause(entry, what))

    def _set_active(self) -> None:
        self.rsc.role = Role.UNPROMOTED if is_promotable(self.rsc) else Role.STARTED

    def _succeed(self, entry: HistoryEntry, rc: int, masked: bool = False) -> None:
        """16.1; `rc` is what the operation returned, or was expected to when we pretend."""
        rsc, operation = self.rsc, entry.operation
        clears = False
        if rc == 5 or masked:
            rsc.role = Role.STOPPED
        elif rc == 7:
            clears = True
        elif operation == "monitor":
            if rsc.role < Role.STARTED:
                self._set_active()
            clears = self.last_failure is not None and self.last_failure.key == entry.key
        elif operation == "start":
            rsc.role = Role.STARTED
            clears = True
        elif operation == "stop":
            rsc.role = Role.STOPPED
            clears = True
        elif operation == "promote":
            rsc.role = Role.PROMOTED
            clears = True
        elif operation == "demote":
            rsc.role = Role.UNPROMOTED
            clears = self.reaction is OnFail.DEMOTE
        elif operation == "migrate_from":
            rsc.role = Role.STARTED
            clears = True
        elif operation == "migrate_to":
            migration.migrated_to(self.reader, rsc, self.node, entry)
        elif rsc.role < Role.STARTED:
            self._set_active()
        if clears and (
            self.reaction in _CLEARED or (self.reaction is OnFail.RESET_REMOTE and not rsc.reconnect_interval_ms)
        ):
            self.reaction = OnFail.IGNORE
            rsc.next_role = Role.UNKNOWN

    def _fail(self, entry: HistoryEntry, rc: int, reaction: OnFail) -> None:
        """16.2"""
        state, rsc, operation = self.state, self.rsc, entry.operation
        self.last_failure = entry
        if self.node.online and (rc != 5 or state.options.symmetric):
            self._record(entry)
        self.reaction = max(self.reaction, reaction)
        if operation == "stop":
            ban(state, rsc, self.node, self._cause(entry, operation))
        elif operation == "migrate_to":
            migration.migrate_to_failed(self.reader, rsc, self.node, entry)
        elif operation == "migrate_from":
            migration.migrate_from_failed(self.reader, rsc, self.node, entry)
        elif operation == "promote":
            rsc.role = Role.PROMOTED
        elif operation == "demote":
            self._demote_failed(reaction, rc)
        if entry.is_probe and rc == 5:
            rsc.role = Role.STOPPED
        elif rsc.role < Role.STARTED:
            self._set_active()
        possible = role_after_failure(rsc, entry, reaction)
        if possible is not Role.STARTED and rsc.next_role < possible:
            rsc.next_role = possible
        if possible is Role.STOPPED:
            replace_by_ban(state, ban_target(rsc), self._cause(entry, operation))

    def _demote_failed(self, reaction: OnFail, rc: int) -> None:
        rsc = self.rsc
        if reaction is OnFail.BLOCK:
            rsc.role = Role.PROMOTED
            rsc.next_role = Role.STOPPED
        else:
            rsc.role = Role.STOPPED if rc == 7 else Role.UNPROMOTED

    def _wait(self, entry: HistoryEntry) -> None:
        """The operation is still running (16.3)."""
        rsc, node, failure = self.rsc, self.node, self.last_failure
        if (
            failure is not None
            and failure.operation == entry.operation
            and failure.interval_ms == entry.interval_ms
            and 0 <= entry.last_rc_change <= failure.last_rc_change
        ):
            return
        if entry.operation == "start":
            rsc.start_pending = True
            self._set_active()
        elif entry.operation == "promote":
            rsc.role = Role.PROMOTED
        elif entry.operation == "migrate_to" and node.unclean:
            self._stop_at_target(entry)
        if rsc.pending_operation is None and not entry.is_probe and not entry.is_postponed:
            rsc.pending_operation = "monitor" if entry.interval_ms else entry.operation
            rsc.pending_node = node

    def _stop_at_target(self, entry: HistoryEntry) -> None:
        """A node died while it sent a resource away: whatever arrived is stopped."""
        name = entry.xml.get("migrate_target", "").lower()
        target = self.state.nodes_by_name.get(name)
        if target is not None:
            self.reader.force_stop(self.rsc, target)
