"""What the whole history of a resource on a node leads to.

Theory of operation. `read_resources` interprets the entries, then settles: which recurring operations are running, whether the node must be
fenced because the resource may be active there, what the pending reaction to failures demands, and whether the resource is active on
the node. The steps and their order are the specification's.

Sources: scheduler specification, part 1, section 18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.history.activity import add_active_node
from crm.policy.history.bans import ban
from crm.policy.history.entries import PENDING, active_window, is_plain_probe, sorted_entries
from crm.policy.history.fencing import request_fencing
from crm.policy.history.instances import add_removed, find_resource
from crm.policy.history.interpret import Interpreter, in_bundle
from crm.policy.model import (
    Cause,
    DeleteHistory,
    ForceDemote,
    KnownRecurring,
    LrmResource,
    Node,
    NodeKind,
    OnFail,
    Primitive,
    Resource,
    Role,
)
from crm.policy.resources.meta import target_role
from crm.policy.values import parse_integer

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.history.reader import Reader


def read_resources(reader: Reader, node: Node, element: _Element) -> None:
    """All histories of a `node_state`.

    Nearly all of a large cluster's are plain probes of resources that are no instances of anything: these go by a way of their own, since
    their number is that of the nodes times that of the resources.
    """
    locks = reader.state.options.shutdown_lock
    own_names = reader.own_names
    found = reader.lrm.setdefault(node, [])
    for history in element.iterfind("lrm/lrm_resources/lrm_resource"):
        name = history.get("id", "")
        rsc = own_names.get(name)
        if rsc is None or locks or rsc.failure_timeout_s or not is_plain_probe(history):
            _read_resource(reader, node, history)
        else:
            rsc.history[node] = record = LrmResource(name, node, history, sorted_entries, rsc)
            found.append(record)
            _take_plain_probe(reader, rsc, node)


def _read_resource(reader: Reader, node: Node, element: _Element) -> None:
    """One `lrm_resource`."""
    name = element.get("id")
    if not name:
        return
    state = reader.state
    plain = is_plain_probe(element)
    empty = not plain and element.find("lrm_rsc_op") is None
    if empty and not state.options.shutdown_lock:
        return
    rsc = find_resource(reader, node, name)
    if rsc is None:
        if empty:
            return
        rsc = add_removed(reader, element)
        if rsc is None:
            return
    history = LrmResource(name, node, element, sorted_entries, rsc)
    rsc.history[node] = history
    reader.lrm[node].append(history)
    if state.options.shutdown_lock:
        _read_lock(reader, rsc, node, element)
    if plain and not rsc.failure_timeout_s:
        _take_plain_probe(reader, rsc, node)
    else:
        _take_entries(reader, rsc, history)


def _take_entries(reader: Reader, rsc: Primitive, history: LrmResource) -> None:
    node, entries = history.node, history.entries
    history.start_index, history.stop_index = active_window(entries)
    role_before = rsc.role
    rsc.role = Role.UNKNOWN
    interpreter = Interpreter(reader, rsc, node)
    for entry in entries:
        interpreter.take(entry)
    _note_recurring(reader, history)
    _Outcome(reader, rsc, node, interpreter.reaction).settle()
    role = target_role(reader.state, rsc)
    if role is not Role.UNKNOWN and (rsc.next_role is Role.UNKNOWN or rsc.next_role > role):
        rsc.next_role = role
    rsc.role = max(role_before, rsc.role)


def _take_plain_probe(reader: Reader, rsc: Primitive, node: Node) -> None:
    """What the long way comes to for a plain probe."""
    if rsc.unique:
        rsc.known_on.add(node)
    else:
        _note_known(rsc, node)
    rsc.next_role = target_role(reader.state, rsc) if "target-role" in rsc.meta else Role.UNKNOWN
    if rsc.history_name is not None or reader.demands_stops:
        _settle_inactive(reader, rsc, node)
    if rsc.role is Role.UNKNOWN:
        rsc.role = Role.STOPPED


def _note_known(rsc: Resource, node: Node) -> None:
    """The node's state is known for the resource and for every ancestor that shares the knowledge."""
    rsc.known_on.add(node)
    current = rsc
    while not current.unique and current.parent is not None:
        current = current.parent
        current.known_on.add(node)


def _settle_inactive(reader: Reader, rsc: Primitive, node: Node) -> None:
    if rsc.history_name is not None and ":" in rsc.history_name:
        reader.set_history_name(rsc, None)
    reader.relax_stops(rsc, node)


def _read_lock(reader: Reader, rsc: Primitive, node: Node, element: _Element) -> None:
    """A shutdown lock that history remembers, unless it has run out (26)."""
    locked_at = parse_integer(element.get("shutdown-lock"))
    if locked_at is None or locked_at <= 0:
        return
    state = reader.state
    limit = state.options.shutdown_lock_limit_ms // 1000
    if limit > 0 and state.now > locked_at + limit:
        state.requests.append(DeleteHistory(rsc, node))
        return
    rsc.lock_node = node
    rsc.lock_time = locked_at


def _note_recurring(reader: Reader, history: LrmResource) -> None:
    """Recurring operations that run on an online node."""
    rsc, node = history.resource, history.node
    if rsc is None or not node.online:
        return
    start, stop = history.start_index, history.stop_index
    for index, entry in enumerate(history.entries):
        if entry.interval_ms <= 0 or index < start or (start < stop and index <= stop):
            continue
        if entry.status == PENDING and not entry.is_postponed:
            continue
        reader.state.requests.append(KnownRecurring(rsc, node, entry))


class _Outcome:
    """One resource on one node, after its entries."""

    def __init__(self, reader: Reader, rsc: Primitive, node: Node, reaction: OnFail) -> None:
        self.reader = reader
        self.state = reader.state
        self.rsc = rsc
        self.node = node
        self.reaction = reaction
        self.active = rsc.role > Role.STOPPED

    def settle(self) -> None:
        rsc, node = self.rsc, self.node
        if rsc.role is not Role.UNKNOWN:
            _note_known(rsc, node)
        if self.active and not node.online and not node.maintenance and rsc.managed:
            self._fence_lost_node()
        failed_result = self.reaction is not OnFail.IGNORE
        if node.unclean:
            self.reaction = OnFail.IGNORE
        self._apply_reaction()
        remote = rsc.remote_node
        if rsc.failed and remote is not None and remote.kind is NodeKind.REMOTE and remote.unclean:
            remote.seen = True
        if self.active:
            add_active_node(self.state, rsc, node, failed=failed_result)
            if self.reaction in (OnFail.DEMOTE, OnFail.BLOCK):
                rsc.failed = True
            elif self.reaction is not OnFail.IGNORE:
                self._recover(rsc)
        else:
            _settle_inactive(self.reader, rsc, node)
        if rsc.role is Role.STOPPED and rsc.active_nodes and rsc.partial_migration_source is node:
            rsc.role = Role.STARTED

    @staticmethod
    def _recover(rsc: Resource) -> None:
        rsc.failed = rsc.stop_required = True

    def _fence_lost_node(self) -> None:
        rsc, node, state = self.rsc, self.node, self.state
        reason = f"{rsc.id} is thought to be active there"
        if node.is_guest:
            self._recover(rsc)
            request_fencing(state, node, reason)
        elif state.options.fencing_enabled:
            connection = node.connection
            if node.kind is NodeKind.REMOTE and connection is not None and not connection.failed:
                node.seen = False
                reason = (
                    f"{rsc.id} is active there (fencing will be revoked if remote connection can "
                    "be re-established elsewhere)"
                )
            request_fencing(state, node, reason)

    def _apply_reaction(self) -> None:
        rsc, node, state, reaction = self.rsc, self.node, self.state, self.reaction
        if reaction is OnFail.IGNORE:
            return
        if reaction is OnFail.FENCE:
            request_fencing(state, node, f"{rsc.id} failed there")
        elif reaction is OnFail.DEMOTE:
            rsc.failed = True
            state.requests.append(ForceDemote(rsc, node))
        elif reaction is OnFail.STANDBY:
            node.standby = node.standby_on_fail = True
        elif reaction is OnFail.BLOCK:
            rsc.managed = False
            rsc.blocked = True
        elif reaction is OnFail.BAN:
            ban(state, rsc, node, Cause("on-fail", rsc.id, f"failed on {node.name}"))
        elif reaction is OnFail.STOP:
            rsc.next_role = Role.STOPPED
        elif reaction is OnFail.RESTART:
            if self.active:
                self._recover(rsc)
                self.reader.force_stop(rsc, node)
        elif reaction is OnFail.RESTART_CONTAINER:
            self._restart_container()
        else:
            self._reset_remote()

    def _restart_container(self) -> None:
        rsc = self.rsc
        self._recover(rsc)
        launcher = rsc.launcher
        if isinstance(launcher, Primitive):
            if in_bundle(launcher):
                self.reader.deferred_stops.append(launcher)
            else:
                self.reader.force_stop(launcher, None)
        elif self.active:
            self.reader.force_stop(rsc, self.node)

    def _reset_remote(self) -> None:
        rsc = self.rsc
        self._recover(rsc)
        remote = rsc.remote_node
        if (
            self.state.options.fencing_enabled
            and remote is not None
            and remote.kind is NodeKind.REMOTE
            and not remote.remote_fenced
        ):
            request_fencing(self.state, remote, "remote connection is unrecoverable")
        if self.active:
            self.reader.force_stop(rsc, self.node)
        if rsc.reconnect_interval_ms:
            rsc.next_role = Role.STOPPED
