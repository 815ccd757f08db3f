"""The shared disk of a run, and what `messaging.tiebreak.qdisk` does at each node's edge, in virtual time.

A cycle of a node is write, return, read block by block, return; each step takes a time of its own, and much longer while
the disk stalls for that node. A write may be torn until it returns, one that fails may have happened. The thread of a
stopped node stands as well; what comes of a cycle waits while the daemon writes its state.

Checked here: never do two nodes have evidence at one time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from crm.simulator.clock import Clock, Violation, local_time, virtual_time
from crm.simulator.machine import Machine
from messaging.effects import Event, EvidenceChanged
from messaging.effects import Evicted as EvictedEvent
from messaging.node import Node
from messaging.tiebreak.qdisk_blocks import EMPTY, Claim, unpack_state
from messaging.tiebreak.qdisk_core import Cycle, Effect, Evicted, Evidence, NoEvidence, Outcome, QuorumDiskCore, Say

UUID = "simulated"
HAND_OVER_INTERVALS = 6
RETRY_MS = 5


@dataclass(slots=True)
class Access:
    """One life of a node at the disk. `stalls_until` and `fails_until` are the faults of its path."""

    machine: Machine
    node: Node
    core: QuorumDiskCore
    life: int
    resigning: bool = False
    cycles: int = 0


@dataclass(slots=True)
class Path:
    """The way of one machine to the disk, with its faults; it outlives the daemon."""

    stalls_until: int = 0
    fails_until: int = 0
    evidence_until: int = 0


class SharedDisk:
    """See the module's text. `give` hands an event to a node, `note` writes into the trace."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        machines: Mapping[int, Machine],
        interval_ms: int,
        tko: int,
        give: Callable[[int, Event], None],
        note: Callable[[str], None],
    ) -> None:
        self.paths = {node_id: Path() for node_id in machines}
        self.interval_ms = interval_ms
        self.calm = False
        self.masterships = 0
        self._tko = tko
        self._clock = clock
        self._rng = rng
        self._machines = machines
        self._give = give
        self._note = note
        self._blocks: dict[int, bytes] = {}
        self._accesses: dict[int, Access] = {}

    # --- what the daemon's edge does

    def settle(self, machine: Machine, node: Node, enter: Callable[[], None]) -> None:
        """Before anybody can hear of a new life: where an earlier one died as master, let another follow first."""
        names = {node_id: f"n{node_id}" for node_id in self._machines}
        core = QuorumDiskCore(node.me, UUID, names, self.interval_ms, self._tko)
        access = self._accesses[machine.node_id] = Access(machine, node, core, machine.life)
        self.paths[machine.node_id].evidence_until = 0
        left = unpack_state(self._blocks.get(machine.node_id, EMPTY), UUID, machine.node_id)
        if left is None or left.claim is Claim.NONE:
            enter()
            self._clock.after(self._rng.randint(0, self.interval_ms), self._begin, access)
            return

        def followed() -> None:
            access.resigning = False
            enter()

        access.resigning = True
        self._clock.after(1, self._begin, access)
        self._when_followed(access, 2, self._clock.now + HAND_OVER_INTERVALS * self.interval_ms, followed)

    def hand_over(self, node_id: int, then: Callable[[], None]) -> None:
        """Before the goodbye."""
        access = self._accesses[node_id]
        if access.core.claim is Claim.NONE:
            access.resigning = True
            then()
            return
        access.resigning = True
        self._when_followed(access, 1, self._clock.now + HAND_OVER_INTERVALS * self.interval_ms, then)

    def _when_followed(self, access: Access, cycles: int, end: int, then: Callable[[], None]) -> None:
        if access.machine.life != access.life:
            return
        core = access.core
        waits = access.cycles < cycles or core.claim is not Claim.NONE or core.another_may_follow()
        if waits and self._clock.now < end:
            self._clock.after(RETRY_MS, self._when_followed, access, cycles, end, then)
        else:
            then()

    def ask(self, node_id: int) -> None:
        access = self._accesses[node_id]
        if access.core.status(self._local(access.machine))["holds"]:
            self._emit(access, [Evidence(access.core.evidence_until_ms())])
        else:
            self._emit(access, [NoEvidence()])

    def gone(self, node_id: int) -> None:
        """The daemon has ended."""
        self.paths[node_id].evidence_until = 0

    # --- a cycle

    def _local(self, machine: Machine) -> int:
        return local_time(self._clock.now, machine.offset_ms, machine.drift_ppm)

    def _latency(self, access: Access) -> int:
        rng = self._rng
        usual = rng.randint(0, max(1, self.interval_ms // 10))
        if self.calm:
            return usual
        if rng.random() < 0.02:
            usual += rng.randint(0, 6 * self.interval_ms)
        return usual + max(0, self.paths[access.machine.node_id].stalls_until - self._clock.now)

    def _awake(self, access: Access, in_loop: bool, step: Callable[..., None], *arguments: object) -> bool:
        """Whether the node can do a step now; otherwise it is done later, or never when the life is over."""
        machine = access.machine
        if machine.life != access.life:
            return False
        if self._clock.now < machine.paused_until:
            self._clock.at(machine.paused_until, step, access, *arguments)
            return False
        if in_loop and machine.writing:
            self._clock.after(RETRY_MS, step, access, *arguments)
            return False
        return True

    def _begin(self, access: Access) -> None:
        if not self._awake(access, True, self._begin):
            return
        around = access.node.surroundings()
        around = replace(around, may_win=around.may_win and not access.resigning)
        now_ms = self._local(access.machine)
        effects, cycle = access.core.begin(around, now_ms)
        self._emit(access, effects)
        self._clock.after(self._latency(access), self._write, access, cycle, now_ms)

    def _write(self, access: Access, cycle: Cycle, began_ms: int) -> None:
        """The write takes effect now, perhaps in two parts; the call returns later."""
        if not self._awake(access, False, self._write, cycle, began_ms):
            return
        rng = self._rng
        fails = self._clock.now < self.paths[access.machine.node_id].fails_until
        before = self._blocks.get(cycle.own, EMPTY)
        back = self._latency(access)
        if not fails or rng.random() < 0.5:
            for number, block in cycle.writes:
                if rng.random() < 0.05 and not self.calm:
                    cut = rng.randrange(0, 512, 16)
                    self._blocks[number] = block[:cut] + self._blocks.get(number, EMPTY)[cut:]
                    self._clock.after(rng.randint(0, back), self._complete, access, number, block)
                else:
                    self._blocks[number] = block
        self._clock.after(back, self._written, access, cycle, began_ms, before, fails)

    def _complete(self, access: Access, number: int, block: bytes) -> None:
        """The rest of a torn write, unless the power went."""
        if access.machine.life == access.life:
            self._blocks[number] = block

    def _written(self, access: Access, cycle: Cycle, began_ms: int, before: bytes, failed: bool) -> None:
        if not self._awake(access, False, self._written, cycle, began_ms, before, failed):
            return
        now_ms = self._local(access.machine)
        if failed:
            self._finish(access, Outcome(began_ms, error="simulated: Input/output error"))
            return
        middle = len(cycle.reads) // 2
        read: dict[int, bytes] = {}
        outcome = Outcome(began_ms, now_ms, now_ms, now_ms, read, before)
        self._clock.after(
            self._latency(access), self._read, access, outcome, [cycle.reads[:middle], cycle.reads[middle:]]
        )

    def _read(self, access: Access, outcome: Outcome, parts: list[tuple[int, ...]]) -> None:
        """Parts of the disk are read one after the other, each at a moment of its own."""
        if not self._awake(access, False, self._read, outcome, parts):
            return
        assert isinstance(outcome.blocks, dict)
        for number in parts[0]:
            outcome.blocks[number] = self._blocks.get(number, EMPTY)
        if parts[1:]:
            self._clock.after(self._latency(access), self._read, access, outcome, parts[1:])
        else:
            self._finish(access, replace(outcome, read_ms=self._local(access.machine)))

    def _finish(self, access: Access, outcome: Outcome) -> None:
        if not self._awake(access, True, self._finish, outcome):
            return
        now_ms = self._local(access.machine)
        access.cycles += 1
        self._emit(access, access.core.finish(outcome, now_ms))
        pause = RETRY_MS if access.core.may_bid(now_ms) else self.interval_ms
        self._clock.after(max(1, pause), self._begin, access)

    # --- what comes of it

    def _emit(self, access: Access, effects: list[Effect]) -> None:
        machine = access.machine
        if machine.life != access.life:
            return
        me, path = machine.node_id, self.paths[machine.node_id]
        for effect in effects:
            match effect:
                case Evidence(until_ms):
                    self.masterships += path.evidence_until <= self._clock.now
                    path.evidence_until = virtual_time(until_ms, machine.offset_ms, machine.drift_ppm)
                    for other, theirs in self.paths.items():
                        if other != me and self._clock.now < min(theirs.evidence_until, path.evidence_until):
                            raise Violation(f"two masters on the quorum disk: n{me} and n{other}")
                    self._give(me, EvidenceChanged(True, until_ms))
                case NoEvidence():
                    path.evidence_until = 0
                    self._give(me, EvidenceChanged(False))
                case Evicted(by):
                    self._give(me, EvictedEvent(by))
                case Say(text):
                    self._note(f"n{me}   {text}")
