"""One simulated machine: its disk, its clocks, the messaging core while it runs, and the crm attached to it.

The disk is byte for byte: `messaging.persist` writes and reads files on it as it does on a real one.
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from crm.simulator.clock import Clock
from messaging.effects import Effect, Event
from messaging.node import Node
from messaging.persist import STATE_FILE, StateStore
from messaging.types import Delivered, Member, View, ViewId

MAX_UNREAD_DATAGRAMS = 200
"""What the socket of a stopped node holds before the kernel drops datagrams."""

STATE_DIR = Path("/state")
RUN_DIR = Path("/run")
COPIES = (STATE_DIR / STATE_FILE, STATE_DIR / f"{STATE_FILE}.copy")

WALL_MS = 1_800_000_000_000
"""What the clock on the wall shows at virtual time 0, where it is right."""


class Disk:
    """Files, as `messaging.persist.Machine`.

    The daemon waits for its writes: between `begin` and `sync` one set of them is under way. Power that fails meanwhile
    leaves the first of them done, the next one torn or as it was, and the rest undone; a daemon that is killed leaves
    them all to the kernel. RUN_DIR is in memory, or on the disk where only the boot id tells that it is void.
    """

    def __init__(self, clock: Clock, rng: random.Random, run_in_memory: bool) -> None:
        self.slow_ms = 0
        self.wall_offset_ms = 0
        self._clock = clock
        self._rng = rng
        self._run_in_memory = run_in_memory
        self._files: dict[Path, bytes] = {}
        self._under_way: list[tuple[Path, bytes]] | None = None
        self._boot = 1

    def read(self, path: Path) -> bytes:
        if path not in self._files:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return self._files[path]

    def replace(self, path: Path, data: bytes) -> None:
        if self._under_way is None:
            self._files[path] = data
        else:
            self._under_way.append((path, data))

    def wall_ms(self) -> int:
        return max(0, WALL_MS + self._clock.now + self.wall_offset_ms)

    def boot_id(self) -> str:
        return f"boot-{self._boot}"

    def begin(self) -> None:
        self._under_way = []

    def sync(self) -> None:
        self._files.update(self._under_way or ())
        self._under_way = None

    def power_fails(self) -> None:
        """What was under way is half done, and a new boot comes."""
        rng, writes = self._rng, self._under_way or []
        self._under_way = None
        self._boot += 1
        done = rng.randint(0, len(writes))
        self._files.update(writes[:done])
        if done < len(writes) and rng.random() < 0.5:
            path, data = writes[done]
            self._files[path] = data[: rng.randrange(len(data))] + bytes(rng.choice([0, 0, 30]))
        if self._run_in_memory:
            for path in [path for path in self._files if path.parent == RUN_DIR]:
                del self._files[path]

    def wipe(self) -> None:
        """A new disk."""
        self._files.clear()

    def rot(self) -> str:
        """One of the two copies of the state loses bytes, while the other reads. Returns which."""
        rng = self._rng
        try:
            for path in COPIES:
                json.loads(self._files[path])
        except (KeyError, ValueError):
            return ""
        path = rng.choice(COPIES)
        data = self._files[path]
        place = rng.randrange(len(data))
        self._files[path] = rng.choice(
            [b"", data[:place], data[:place] + b"\xff" + data[place + 1 :], bytes(len(data))]
        )
        return path.name


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
    """See the module's text. `life` counts starts and ends of the daemon; what belongs to an older life is void."""

    node_id: int
    drift_ppm: int
    offset_ms: int
    disk: Disk
    store: StateStore
    core: Node | None = None
    me: Member | None = None
    incarnation: int = 0
    boot_id: str = ""
    """The boot of the machine in which the present life, or the last one, began."""
    life: int = 0
    paused_until: int = 0
    writing: bool = False
    timer_due: int | None = None
    link_check_ms: int = 0
    inbox: deque[Event] = field(default_factory=deque)
    datagrams_waiting: int = 0
    todo: deque[Effect | View] = field(default_factory=deque)
    """What the core wants done; a view stands for the moment from which on it counts as installed."""
    newest: dict[int, int] = field(default_factory=dict)
    """The newest incarnation heard of each peer in this life: what the frame codec admits by."""
    session: Session | None = None
    sees_target: bool = True
    told_evidence: bool = False
    no_evidence_since: int = 0
    leaving: bool = False
    installed: View | None = None
