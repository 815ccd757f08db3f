"""The simulator's world for scenarios: a calm network, nodes that start and stop when the test says so, and what their crms heard.

The nodes, network, disks and checkers are those of `crm.simulator`; nothing happens here that the test does not ask for. The
arithmetic of quorum is checked by the simulator only where the votes are simply one each.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from crm.simulator import machine as simulated
from crm.simulator.checkers import Checkers
from crm.simulator.clock import Violation
from crm.simulator.machine import RUN_DIR, STATE_DIR, Disk, Session
from crm.simulator.swarm import Mode, Swarm
from crm.simulator.world import World as SimulatedWorld
from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig, NodeConfig, QuorumConfig, Timers
from messaging.effects import CrmMulticast, CrmSend, EvidenceChanged
from messaging.persist import StateStore
from messaging.types import Delivered, Direct, MessagingEvent, View, ViewId

TIMERS = Timers(keepalive_ms=200, warntime_ms=500, deadtime_ms=1000, initdead_ms=3000, vouch_ms=3000)

__all__ = ["TIMERS", "Machine", "Violation", "World", "make_config"]


def make_config(
    node_id: int, count: int, quorum: QuorumConfig | None = None, timers: Timers = TIMERS
) -> MessagingConfig:
    nodes = tuple(NodeConfig(n, f"n{n}", 1, (Endpoint("127.0.0.1", 7000 + n),)) for n in range(1, count + 1))
    return MessagingConfig(
        cluster="world",
        node_id=node_id,
        nodes=nodes,
        links=(LinkConfig(0, LinkMode.UNICAST, 7000),),
        timers=timers,
        quorum=quorum or QuorumConfig(expected_votes=count),
        key_file=Path("/nowhere"),
        state_dir=Path("/nowhere"),
        run_dir=Path("/nowhere"),
    )


@dataclass(frozen=True, slots=True)
class Scenario(Swarm):
    configure: Callable[[int], MessagingConfig] = field(kw_only=True)

    def config(self, node_id: int) -> MessagingConfig:
        return self.configure(node_id)


@dataclass(slots=True)
class Machine(simulated.Machine):
    """With what its crm heard since it attached."""

    crm_view: View | None = None
    views: list[View] = field(default_factory=list)
    delivered: dict[ViewId, list[Delivered]] = field(default_factory=dict)
    directs: list[tuple[int, bytes]] = field(default_factory=list)
    evidence: bool = False

    @property
    def attached(self) -> bool:
        return self.session is not None

    @property
    def open_tokens(self) -> dict[int, ViewId]:
        return self.session.open_tokens if self.session is not None else {}


class Recorder(Checkers):
    """The simulator's checkers, and a record of what crms are told."""

    counts_votes = True

    def _check_quorum(self, machine: simulated.Machine, view: View, now: int) -> None:
        if self.counts_votes:
            super()._check_quorum(machine, view, now)

    def told(self, machine: simulated.Machine, session: Session, event: MessagingEvent) -> None:
        super().told(machine, session, event)
        assert isinstance(machine, Machine)
        match event:
            case View():
                machine.crm_view = event
                machine.views.append(event)
                machine.delivered.setdefault(event.view_id, [])
            case Delivered():
                machine.delivered[event.view_id].append(event)
            case Direct(sender, payload):
                machine.directs.append((sender, payload.partition(b" ")[2]))


class World(SimulatedWorld):
    """See the module's text. `log` collects a readable trace, each line with the virtual time in milliseconds."""

    machines: dict[int, Machine]  # type: ignore[assignment]

    def __init__(self, seed: int, count: int, quorum: QuorumConfig | None = None, timers: Timers = TIMERS) -> None:
        self.count = count
        self._quorum = quorum
        self._timers = timers
        scenario = Scenario(
            size=count,
            mode=Mode.MAJORITY,
            timers=timers,
            faults=(),
            weights=(),
            drift_ppm=(0,) * count,
            loss=0.0,
            duplication=0.0,
            max_delay_ms=3,
            safety_ms=0,
            fault_gap_ms=1,
            multicast_gap_ms=1,
            core_only=False,
            configure=lambda node_id: make_config(node_id, self.count, self._quorum, self._timers),
        )
        super().__init__(scenario, random.Random(seed), trace=True)
        self.random = self.rng
        recorder = self.checkers = Recorder(scenario, self.machines)
        recorder.counts_votes = quorum is None
        self.network.max_delay_ms = 3

    def _machine(self, node_id: int) -> Machine:
        disk = Disk(self.clock, self.rng, run_in_memory=True)
        return Machine(node_id, 0, 0, disk, StateStore(STATE_DIR, RUN_DIR, disk))

    # --- time

    def at(self, when: int, what: Callable[[], None]) -> None:
        self.clock.at(when, what)

    def run_for(self, how_long: int) -> None:
        self.clock.run_until(self.now + how_long)

    def wait(self, condition: Callable[[], bool], limit: int, what: str) -> int:
        """Run until the condition holds; how long it took. Violation when it does not within the limit."""
        start = self.now
        while not condition():
            if self.now - start >= limit:
                raise Violation(f"not within {limit} ms: {what}; {self.pending()}")
            self.run_for(5)
        return self.now - start

    def note(self, text: str) -> None:
        self.log.append(f"{self.now:8d} {text}")

    def describe(self) -> str:
        return self.pending()

    # --- faults

    @property
    def cut(self) -> set[tuple[int, int]]:
        return self.network.cut

    @cut.setter
    def cut(self, pairs: set[tuple[int, int]]) -> None:
        self.network.cut = pairs

    @property
    def loss(self) -> float:
        return self.network.loss

    @loss.setter
    def loss(self, share: float) -> None:
        self.network.loss = share

    def boot(self, node_id: int, *, attach: bool = True, reboot: bool = True) -> None:
        """Start the daemon; with `reboot` the machine has been off meanwhile."""
        machine = self.machines[node_id]
        if reboot:
            machine.disk.power_fails()
        self._forget(machine)
        super().boot(node_id)
        if machine.evidence:
            self.give(node_id, EvidenceChanged(True))
        if attach:
            self.attach(node_id)

    def crash(self, node_id: int) -> None:
        """The daemon is gone, and so may be the machine: `boot` says."""
        self._gone(node_id, f"n{node_id} crashes", at_once=self.rng.random() < 0.5)
        self.machines[node_id].disk.sync()

    def split(self, *sides: set[int]) -> None:
        """Only nodes on the same side reach each other."""
        self.note(f"split {sides}")
        side = {node_id: number for number, part in enumerate(sides) for node_id in part}
        self.cut = {
            (a, b) for a in self.machines for b in self.machines if a != b and side.get(a, -a) != side.get(b, -b)
        }

    def heal(self) -> None:
        self.note("heal")
        self.network.heal()
        self.network.loss = self.network.duplication = 0.0

    def half_break(self, a: int, b: int) -> None:
        """The stream ends at `a` and `b` does not hear of it: the farewell went the way of the link that failed."""
        self.note(f"the stream to n{b} ends at n{a} only")
        self.network.end_at_one(a, b)

    # --- crm

    def _forget(self, machine: Machine) -> None:
        machine.crm_view, machine.views, machine.delivered = None, [], {}
        machine.directs = []

    def attach(self, node_id: int) -> None:
        machine = self.machines[node_id]
        machine.crm_view, machine.views, machine.delivered = None, [], {}
        super().attach(node_id)

    def detach(self, node_id: int, graceful: bool = False) -> None:
        super().detach(node_id, graceful)

    def stop_vouching(self, node_id: int) -> None:
        session = self.machines[node_id].session
        assert session is not None
        session.vouching = False

    def multicast(self, node_id: int, payload: bytes = b"") -> None:
        machine = self.machines[node_id]
        session = machine.session
        if machine.core is None or session is None or session.view is None or self.now < machine.paused_until:
            return
        self._token += 1
        self.multicasts += 1
        self.give(node_id, CrmMulticast(self._token, session.view.view_id, payload))

    def send(self, node_id: int, target: int, payload: bytes = b"") -> None:
        self._token += 1
        self.give(node_id, CrmSend(target, b"%d %s" % (self._token, payload)))

    def set_evidence(self, node_id: int, holds: bool) -> None:
        self.machines[node_id].evidence = holds
        self.give(node_id, EvidenceChanged(holds))

    def _ask(self, machine: simulated.Machine, life: int) -> None:
        assert isinstance(machine, Machine)
        self.at(self.now + self.random.randint(1, 300), lambda: self._evidence(machine, life))

    def _evidence(self, machine: Machine, life: int) -> None:
        """The core has asked for it a while ago."""
        if machine.life == life and machine.core is not None:
            self.give(machine.node_id, EvidenceChanged(machine.evidence))

    # --- what must come true

    def agree(self, members: set[int], *, fates: bool = False) -> bool:
        """Whether these nodes, and only they, share one view with all their crms that are attached."""
        views = [machine.installed for n in members if (machine := self.machines[n]).core is not None]
        attached = {n for n in members if self.machines[n].attached}
        first = views[0] if views else None
        return (
            first is not None
            and len(views) == len(members)
            and all(view is not None and view.view_id == first.view_id for view in views)
            and first.member_ids == members
            and first.group == attached
        )
