"""One simulated machine as crm sees it: power, folders, a disk that takes its time, and what really runs on it.

Theory of operation. `running` is the truth that no node of the cluster can see without asking: which resources are active here, and as what. It changes
when an agent has its effect, when a resource dies by itself, and when the power goes; nothing that the cluster believes changes it. RUN_DIR is
emptied by a loss of power, STATE_DIR is not.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.types import Operation
from crm.cib.store import CibStore
from crm.simulator.cluster.loop import Process

if TYPE_CHECKING:
    from crm.daemon.node import Node
    from crm.simulator.cluster.link import Link

STARTED = "Started"
PROMOTED = "Promoted"


@dataclass(slots=True, eq=False)
class Job:
    """An agent at work. It belongs to the machine: who started it may be gone."""

    operation: Operation
    owner: Process | None
    future: asyncio.Future[Any]
    alive: bool = True


@dataclass(slots=True, eq=False)
class Write:
    """Something that is being written to disk."""

    owner: Process | None
    work: Callable[[], Any]
    future: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class Box:
    """See the module's text. `boots` counts the times the power came back, `lives` the starts of crm."""

    node_id: int
    folder: Path
    powered: bool = False
    boots: int = 0
    running: dict[str, str] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)
    """Of what runs: what came here by live migration, and nobody here has been told yet."""
    jobs: list[Job] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    process: Process | None = None
    node: Node | None = None
    link: Link | None = None
    slow_disk_ms: int = 0
    full_disk: bool = False
    left: bool = False
    """crm has left the cluster on purpose; the machine stays up until somebody starts the daemons again."""

    @property
    def name(self) -> str:
        return f"n{self.node_id}"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def crm_up(self) -> bool:
        return self.process is not None and self.process.alive

    def power_on(self) -> None:
        self.powered = True
        self.boots += 1
        self.left = False
        for folder in (self.run_dir, self.state_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def power_off(self, rng: random.Random) -> None:
        """Everything that lives in memory is gone; what was being written is torn somewhere."""
        self.powered = False
        self.running.clear()
        self.guests.clear()
        for job in self.jobs:
            job.alive = False
        self.jobs.clear()
        self.kill_crm(rng)
        self.left = False
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def kill_crm(self, rng: random.Random) -> None:
        """Its agents go on; a write of its stops somewhere."""
        if self.process is not None:
            self.process.kill()
        self.node = None
        for write in self.writes:
            tear(write.work, rng)
        self.writes.clear()


def tear(work: Callable[[], Any], rng: random.Random) -> None:
    """Carry out a part of a write: some of the steps in which the store saves, all or nothing of anything else."""
    arguments = work.args if isinstance(work, partial) else ()
    save = arguments[0] if arguments else None
    if getattr(save, "__func__", None) is CibStore.save:
        store: CibStore = save.__self__  # type: ignore[union-attr]
        for _ in islice(store.save_steps(*arguments[1:]), rng.randint(0, 8)):
            pass
    elif rng.random() < 0.5:
        try:
            work()
        except OSError:
            return
