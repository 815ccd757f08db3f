"""The connectivity matrix: who hears whom, as every node says of itself.

Each node writes one row, its own, and sends it with every heartbeat. When the rows a node knows are not all equal, it
passes them on with their age, so that nodes which do not hear each other still know of each other; when everybody hears
everybody, heartbeats carry nothing extra. `hears` of a row always contains its writer.

Rows heard directly live as long as the failure detector hears their writer; rows from others until they are
`RELAY_LIFETIME` deadtimes old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from messaging.connectivity import Vertex, part_of
from messaging.messages import NO_VIEW, Row, RowFlag
from messaging.types import Member, ViewId

RELAY_LIFETIME = 2
MAX_RELAYED_BYTES = 1000
"""Rows of others in one heartbeat, so that it stays within one Ethernet frame; more take turns."""

_ROW_BYTES = 29
_HEARD_BYTES = 9


class Matrix:
    """The rows this node knows.

    `changed` is set whenever the own row changes and `dirty` whenever any does; who has dealt with it resets it.
    """

    def __init__(self, me: Member, votes: Mapping[int, int], deadtime_ms: int) -> None:
        self.own = Row(me.node_id, me.incarnation, 1, 0, NO_VIEW, {me.node_id: me.incarnation})
        self.changed = True
        self.dirty = True
        self._part: dict[int, Row] | None = None
        self._uniform: bool | None = None
        self.direct: dict[int, Row] = {}
        self.relayed: dict[int, tuple[Row, int]] = {}
        self._votes = votes
        self._lifetime_ms = RELAY_LIFETIME * deadtime_ms
        self._turn = 0
        self._coming: dict[int, int] = {}

    def relist(self, votes: Mapping[int, int]) -> None:
        """Other nodes belong to the cluster from now on."""
        self._votes = votes
        for node_id in [known for known in self.direct if known not in votes]:
            del self.direct[node_id]
        for node_id in [known for known in self.relayed if known not in votes]:
            del self.relayed[node_id]
        self._touch()

    # --- the own row

    def set_hears(self, hears: dict[int, int]) -> None:
        """Whom this node hears, itself excluded."""
        full = {self.own.node_id: self.own.incarnation, **hears}
        if full != self.own.hears:
            self._write(replace(self.own, hears=dict(sorted(full.items()))))

    def set_flag(self, flag: int, on: bool) -> None:
        flags = self.own.flags | flag if on else self.own.flags & ~flag
        if flags != self.own.flags:
            self._write(replace(self.own, flags=flags))

    def set_view(self, view_id: ViewId) -> None:
        if view_id != self.own.view_id:
            self._write(replace(self.own, view_id=view_id))

    def expect(self, members: dict[int, int]) -> None:
        """These lives have agreed on the present view and may still say that they are in the last one; {} ends that.

        Otherwise the first to install it would find that the others share a view without it, and go off alone.
        """
        if members != self._coming:
            self._coming = members
            self._part = None

    def _view_of(self, row: Row) -> ViewId:
        if row.view_id < self.own.view_id and self._coming.get(row.node_id) == row.incarnation:
            return self.own.view_id
        return row.view_id

    def _write(self, row: Row) -> None:
        self.own = replace(row, version=self.own.version + 1)
        self.changed = True
        self._touch()

    # --- rows of others

    def learn(self, row: Row) -> None:
        """A row from its writer."""
        if self.direct.get(row.node_id) == row:
            return
        self.direct[row.node_id] = row
        self.relayed.pop(row.node_id, None)
        self._touch()

    def learn_relayed(self, row: Row, age_ms: int, now_ms: int) -> None:
        """A row from somebody else; the newest version counts, then the freshest."""
        if row.node_id == self.own.node_id or row.node_id not in self._votes or age_ms >= self._lifetime_ms:
            return
        if row.node_id in self.direct:
            return  # its own word comes first
        written_ms = now_ms - age_ms
        known = self.relayed.get(row.node_id)
        if known is not None:
            order = (known[0].incarnation, known[0].version)
            if order > (row.incarnation, row.version):
                return
            if order == (row.incarnation, row.version):
                self.relayed[row.node_id] = (known[0], max(known[1], written_ms))
                return
        self.relayed[row.node_id] = (row, written_ms)
        self._touch()

    def drop(self, node_id: int) -> None:
        """The writer is not heard any more."""
        if self.direct.pop(node_id, None) is not None:
            self._touch()

    def expire(self, now_ms: int) -> None:
        """Forget rows of others that nobody has heard for long."""
        if not self.relayed:
            return
        for node_id, (_, written_ms) in list(self.relayed.items()):
            if now_ms - written_ms >= self._lifetime_ms:
                del self.relayed[node_id]
                self._touch()

    def to_relay(self, now_ms: int) -> tuple[tuple[Row, int], ...]:
        """The rows worth passing on: all, as soon as any differs from one's own. They take turns when they are many."""
        if self.uniform:
            return ()
        rows = [(row, 0) for row in self.direct.values()]
        rows += [(row, now_ms - written_ms) for row, written_ms in self.relayed.values()]
        if not rows:
            return ()
        rows.sort(key=lambda entry: entry[0].node_id)
        self._turn %= len(rows)
        turned = rows[self._turn :] + rows[: self._turn]
        chosen: list[tuple[Row, int]] = []
        size = 0
        for row, age_ms in turned:
            size += _ROW_BYTES + _HEARD_BYTES * len(row.hears)
            if chosen and size > MAX_RELAYED_BYTES:
                break
            chosen.append((row, age_ms))
        self._turn += len(chosen)
        return tuple(chosen)

    @property
    def uniform(self) -> bool:
        """Whether all rows that this node knows are as its own: everybody hears everybody."""
        if self._uniform is None:
            mine = self.own.hears
            self._uniform = not self.relayed and all(row.hears == mine for row in self.direct.values())
        return self._uniform

    def _touch(self) -> None:
        self._part = self._uniform = None
        self.dirty = True

    # --- what follows from it

    def may_form(self) -> bool:
        """Whether a first view can be formed at all: somebody need not wait, or everybody hears everybody."""
        rows = [self.own, *self.direct.values()]
        if any(row.flags & RowFlag.READY for row in rows):
            return True
        return len(rows) == len(self._votes) and all(row.hears == self.own.hears for row in rows)

    def rows(self) -> dict[int, Row]:
        """The best known row of every node, one's own included."""
        rows = {node_id: row for node_id, (row, _) in self.relayed.items()}
        rows.update(self.direct)
        rows[self.own.node_id] = self.own
        return rows

    def part(self) -> dict[int, Row]:
        """The rows of the nodes that should be in a view with this one, itself included, by id."""
        if self._part is None:
            self._part = self._compute_part()
        return self._part

    def _compute_part(self) -> dict[int, Row]:
        rows = self.rows()
        staying = {
            node_id: row
            for node_id, row in rows.items()
            if not row.flags & RowFlag.LEAVING or node_id == self.own.node_id
        }
        vertices = {
            node_id: Vertex(
                node_id=node_id,
                votes=self._votes[node_id],
                view_id=self._view_of(row),
                hears=frozenset(
                    heard
                    for heard, incarnation in row.hears.items()
                    if heard in staying and staying[heard].incarnation == incarnation
                ),
            )
            for node_id, row in staying.items()
        }
        return {node_id: rows[node_id] for node_id in sorted(part_of(self.own.node_id, vertices))}
