"""One simulated machine: its disk, its clock, the messaging core while it runs, and the crm attached to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from messaging.effects import Durable, Effect, Event
from messaging.node import Node
from messaging.types import Delivered, View, ViewId

MAX_UNREAD_DATAGRAMS = 200
"""What the socket of a stopped node holds before the kernel drops datagrams."""


@dataclass(slots=True)
class Disk:
    """What survives: `incarnation` and the sequence ceiling for good, `seen_all` until the machine boots.

    The daemon waits for its writes, so one write at most is under way (`unsynced`). Power that fails meanwhile leaves the
    old or the new content, as chance will; a daemon that is killed leaves the new one to the kernel.
    """

    incarnation: int = 0
    ceiling: int = 0
    seen_all: bool = False
    unsynced: Durable | None = None
    slow_ms: int = 0

    def sync(self) -> None:
        if self.unsynced is not None:
            self.ceiling, self.seen_all = self.unsynced.sequence_ceiling, self.unsynced.seen_all
            self.unsynced = None

    def power_fails(self, kept: bool) -> None:
        if kept:
            self.sync()
        self.unsynced = None
        self.seen_all = False


@dataclass(slots=True)
class Session:
    """One attachment of a crm: what it was told and what it waits for."""

    number: int
    vouching: bool = True
    view: View | None = None
    view_count: int = 0
    sequence: int = 0
    """Of the last message delivered in `view`."""
    open_tokens: dict[int, ViewId] = field(default_factory=dict)
    since: dict[int, ViewId] = field(default_factory=dict)
    """From which view on each member of the group has been one without a break, as this crm was told."""
    last_direct: dict[int, int] = field(default_factory=dict)
    delivered: list[Delivered] = field(default_factory=list)
    directs: int = 0


@dataclass(slots=True)
class Machine:
    """See the module's text. `life` counts the daemon's starts, so that what was meant for an earlier one is dropped."""

    node_id: int
    drift_ppm: int
    offset_ms: int
    disk: Disk = field(default_factory=Disk)
    core: Node | None = None
    life: int = 0
    incarnation: int = 0
    paused_until: int = 0
    inbox: deque[Event] = field(default_factory=deque)
    datagrams_waiting: int = 0
    todo: deque[Effect] = field(default_factory=deque)
    writing: bool = False
    timer_due: int | None = None
    newest: dict[int, int] = field(default_factory=dict)
    """The newest incarnation seen of each peer in this life: what the frame codec admits by."""
    session: Session | None = None
    sees_target: bool = True
    told_evidence: bool = False
    no_evidence_since: int = 0
    leaving: bool = False
    installed: View | None = None
