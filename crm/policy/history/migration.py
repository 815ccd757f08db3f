"""Live migrations in history: where a resource is when one was begun, finished, or has failed.

Theory of operation. A migration leaves two entries, `migrate_to` on the source and `migrate_from` on the target, and anything may have
happened on either node since. So each is judged by what else the two nodes' histories say, and whether that is newer. The
helpers mirror the specification's predicates; lookups are by node name and resource id and fail when they are not unique.

Sources: scheduler specification, part 1, section 17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.history.activity import add_active_node
from crm.policy.history.entries import PENDING, compare
from crm.policy.model import HistoryEntry, Node, Primitive, Role
from crm.policy.nodes import find_node

if TYPE_CHECKING:
    from crm.policy.history.reader import Reader

_MOVES = frozenset(("start", "stop", "migrate_to", "migrate_from"))


def sides(entry: HistoryEntry, node: Node) -> tuple[str, str] | None:
    """Names of source and target; None when they are missing or do not fit the node that has the entry."""
    source, target = entry.xml.get("migrate_source"), entry.xml.get("migrate_target")
    if not source or not target:
        return None
    own = source if entry.operation == "migrate_to" else target
    return (source, target) if own.lower() == node.name.lower() else None


class _Migration:
    """The histories of one resource on both sides of a migration."""

    def __init__(self, reader: Reader, rsc: Primitive, source: str, target: str) -> None:
        self.reader = reader
        self.rsc = rsc
        self.source = source
        self.target = target
        self.to: HistoryEntry | None = None
        self.came: HistoryEntry | None = None  # migrate_from
        self.source_node = find_node(reader.state, source)
        self.target_node = find_node(reader.state, target)

    def entries(self, node_name: str) -> list[HistoryEntry]:
        return self.reader.history(node_name, self.rsc.id)

    def find_partner(self, operation: str) -> HistoryEntry | None:
        """The single entry on the other side."""
        side = self.target if operation == "migrate_from" else self.source
        found = [
            entry
            for entry in self.entries(side)
            if entry.operation == operation
            and entry.xml.get("migrate_source") == self.source
            and (operation == "migrate_from" or entry.xml.get("migrate_target") == self.target)
        ]
        return found[0] if len(found) == 1 else None

    def moved_after(self, node_name: str, entry: HistoryEntry | None) -> bool:
        """Has anything but a monitor happened there since?"""
        if entry is None:
            return False
        return any(
            other.operation in _MOVES and other.xml is not entry.xml and compare(other, entry) > 0
            for other in self.entries(node_name)
        )

    def stopped_after(self, node_name: str, entry: HistoryEntry | None) -> bool:
        """Has the one monitor there found the resource not running since?"""
        monitors = [other for other in self.entries(node_name) if other.operation == "monitor"]
        if entry is None or len(monitors) != 1:
            return False
        return monitors[0].rc == 7 and monitors[0].status == 0 and compare(monitors[0], entry) > 0

    def newer_state(self, node_name: str) -> bool:
        if node_name == self.source:
            reference = self.to or self.came
        else:
            reference = self.came or self.to
        return self.moved_after(node_name, reference) or self.stopped_after(node_name, reference)

    def unknown_on(self, node_name: str) -> bool:
        return all(entry.rc in (193, -1) for entry in self.entries(node_name))

    def add_active(self, node: Node | None, failed: bool) -> None:
        if node is not None and node.online:
            add_active_node(self.reader.state, self.rsc, node, failed)

    def recover(self) -> None:
        """It is nowhere for sure: stop and start it."""
        self.rsc.failed = self.rsc.stop_required = True
        self.rsc.not_migratable = True


def migrated_to(reader: Reader, rsc: Primitive, node: Node, entry: HistoryEntry) -> None:
    """A `migrate_to` succeeded on this node (17.1)."""
    names = sides(entry, node)
    if names is None:
        return
    move = _Migration(reader, rsc, *names)
    move.to = entry
    move.came = came = move.find_partner("migrate_from")
    source_newer = move.moved_after(move.source, entry)
    if came is not None and source_newer:
        return
    target_newer = move.newer_state(move.target)
    if source_newer and target_newer:
        return
    if came is not None and came.rc == 0 and came.status == 0:
        rsc.role = Role.STOPPED
        rsc.dangling_sources.append(node)
        return
    rsc.role = Role.STARTED
    target = move.target_node
    target_online = target is not None and target.online
    active_on_target = target_online and not target_newer
    if came is not None and came.status != PENDING:
        if active_on_target:
            move.add_active(target, failed=True)
        else:
            move.recover()
        return
    if target_online and move.unknown_on(move.target):
        return
    if active_on_target:
        move.add_active(target, failed=False)
        if move.source_node is not None and move.source_node.online:
            rsc.partial_migration_source = move.source_node
            rsc.partial_migration_target = target
    elif not source_newer:
        move.recover()


def migrate_to_failed(reader: Reader, rsc: Primitive, node: Node, entry: HistoryEntry) -> None:
    """A `migrate_to` failed on this node (17.2)."""
    names = sides(entry, node)
    if names is None:
        return
    rsc.role = Role.STARTED
    move = _Migration(reader, rsc, *names)
    move.to = entry
    move.came = move.find_partner("migrate_from")
    if not move.unknown_on(move.target) and not move.newer_state(move.target):
        move.add_active(move.target_node, failed=False)
    elif not move.moved_after(move.source, entry):
        rsc.dangling_sources.append(node)


def migrate_from_failed(reader: Reader, rsc: Primitive, node: Node, entry: HistoryEntry) -> None:
    """A `migrate_from` failed on this node (17.3)."""
    names = sides(entry, node)
    if names is None:
        return
    rsc.role = Role.STARTED
    move = _Migration(reader, rsc, *names)
    move.came = entry
    move.to = move.find_partner("migrate_to")
    if not move.unknown_on(move.source) and not move.newer_state(move.source):
        move.add_active(move.source_node, failed=True)
