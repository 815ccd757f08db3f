"""A world for the network arbiter: the cores of arbiter and nodes, with uneven clocks, slow and breaking connections, pauses, an arbiter
that is killed or loses its disk, and a network that splits. One seed decides everything.

What is checked, in true time: a node *counts* on the arbiter from the moment it was told so until its end by the node's own
clock, while all nodes of the grant are in its own part. Of any two nodes that count at one time, the parts have a node in common.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from messaging.arbiter.core import Answer, Arbiter, Close, Effect, Persist, Record
from messaging.arbiter.protocol import Decoder, Hello, Report, Verdict, encode
from messaging.config import (
    MessagingConfig,
    NodeConfig,
    QuorumConfig,
    TieBreakerConfig,
    TieBreakerType,
    Timers,
)
from messaging.tiebreak import Surroundings
from messaging.tiebreak.arbiter_core import ArbiterClient, Granted, Reconnect, Send
from messaging.types import Member

INTERVAL_MS = 100
TKO = 7
DEADTIME_MS = 1250


class TwoWinners(AssertionError):
    pass


def config_of(node_id: int, count: int, prefer: str = "lowest") -> MessagingConfig:
    return MessagingConfig(
        cluster="c",
        node_id=node_id,
        nodes=tuple(NodeConfig(each, f"n{each}", 1, ()) for each in range(1, count + 1)),
        links=(),
        timers=Timers(250, 625, DEADTIME_MS, 3750, 3000),
        quorum=QuorumConfig(
            count,
            tie_breaker=TieBreakerConfig(
                TieBreakerType.ARBITER, interval_ms=INTERVAL_MS, tko=TKO, address="arbiter", prefer=prefer
            ),
        ),
        key_file=Path("keys"),
        state_dir=Path("state"),
        run_dir=Path("run"),
    )


@dataclass(slots=True)
class Machine:
    node_id: int
    rate: float
    offset: float
    core: ArbiterClient | None = None
    life: int = 0
    side: int = 0
    part: frozenset[int] = frozenset()
    connection: int = 0
    paused_until: float = 0.0
    counts_until: float = -1.0
    counts_for: frozenset[int] = frozenset()
    wins: int = 0
    weight: int = 0

    def clock(self, now: float) -> int:
        return int(self.offset + now * self.rate)

    def true(self, clock_ms: int) -> float:
        return (clock_ms - self.offset) / self.rate


@dataclass
class World:
    """`reach` are the sides of the network from which the arbiter is reached. `last`: every part asks, not only halves."""

    seed: int
    count: int
    arbiter_kind: type[Arbiter] = Arbiter
    client_kind: type[ArbiterClient] = ArbiterClient
    calm: bool = False
    last: bool = False
    prefer: str = "lowest"
    persists: bool = True
    bound_to_parts: bool = True
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = 0.0
        self.faults = 0
        self.records: dict[str, Record] = {}
        self.reach = {0, 1}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._connections: dict[int, Machine] = {}
        self._arrival: dict[tuple[int, bool], float] = {}
        self._last_connection = 0
        self.arbiter_life = 0
        self.arbiter: Arbiter | None = None
        self.arbiter_paused_until = 0.0
        self.machines = [
            Machine(n, self.random.uniform(0.97, 1.03), self.random.randint(0, 10**6)) for n in range(1, self.count + 1)
        ]
        self.start_arbiter()
        for machine in self.machines:
            self.boot(machine)
        if not self.calm:
            self.at(1000, self.trouble)

    # --- time

    def at(self, delay_ms: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + delay_ms, self._order, what))

    def run(self, for_ms: float) -> None:
        end = self.now + for_ms
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end

    def counting(self) -> list[Machine]:
        return [
            machine
            for machine in self.machines
            if self.now < machine.counts_until and (machine.counts_for <= machine.part or not self.bound_to_parts)
        ]

    def check(self) -> None:
        found = self.counting()
        for one in found:
            for other in found:
                if not one.part & other.part:
                    raise TwoWinners(f"seed {self.seed}: {set(one.part)} and {set(other.part)} at {self.now:.0f}")

    # --- arbiter

    def start_arbiter(self) -> None:
        self.arbiter_life += 1
        self.arbiter = self.arbiter_kind(self.records if self.persists else {}, self.arbiter_clock())

    def arbiter_clock(self) -> int:
        return int(self.now * 1.01 + 5000 * self.arbiter_life)

    def stop_arbiter(self) -> None:
        self.arbiter = None
        for connection in list(self._connections):
            self.cut(connection)

    def to_arbiter(self, connection: int, life: int, data: bytes) -> None:
        if self.arbiter is None or life != self.arbiter_life or connection not in self._connections:
            return
        if self.now < self.arbiter_paused_until:
            self.at(self.arbiter_paused_until - self.now, lambda: self.to_arbiter(connection, life, data))
            return
        for message in Decoder().feed(data):
            effects: list[Effect] = []
            if isinstance(message, Hello):
                effects = self.arbiter.on_hello(connection, message, self.arbiter_clock())
            elif isinstance(message, Report):
                effects = self.arbiter.on_report(connection, message, self.arbiter_clock())
            self.perform_arbiter(effects)

    def perform_arbiter(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(cluster, record):
                    self.records[cluster] = record
                case Answer(connection, message):
                    self.send(connection, encode(message), up=False)
                case Close(connection):
                    self.cut(connection)

    # --- connections: in order, slow, and gone at any moment

    def latency(self) -> float:
        usual = self.random.uniform(1, 10)
        if not self.calm and self.random.random() < 0.05:
            usual += self.random.uniform(0, 15 * INTERVAL_MS)
        return usual

    def send(self, connection: int, data: bytes, *, up: bool) -> None:
        key = (connection, up)
        arrives = max(self._arrival.get(key, 0.0), self.now + self.latency())
        self._arrival[key] = arrives
        life = self.arbiter_life
        if up:
            self.at(arrives - self.now, lambda: self.to_arbiter(connection, life, data))
        else:
            self.at(arrives - self.now, lambda: self.to_node(connection, data))

    def cut(self, connection: int) -> None:
        machine = self._connections.pop(connection, None)
        if self.arbiter is not None:
            self.at(self.latency(), lambda: self.tell_closed(connection, self.arbiter_life))
        if machine is not None and machine.connection == connection:
            machine.connection = 0
            if machine.core is not None:
                machine.core.on_disconnected("cut")
                self.at(self.random.uniform(50, 400), lambda life=machine.life: self.connect(machine, life))  # type: ignore[misc]

    def tell_closed(self, connection: int, life: int) -> None:
        if self.arbiter is not None and life == self.arbiter_life:
            self.perform_arbiter(self.arbiter.on_closed(connection))

    # --- nodes

    def boot(self, machine: Machine) -> None:
        machine.life += 1
        me = Member(machine.node_id, f"n{machine.node_id}", machine.life)
        machine.core = self.client_kind(config_of(machine.node_id, self.count, self.prefer), me)
        machine.counts_until = -1.0
        machine.part = frozenset({machine.node_id})
        self.sense(machine, machine.life)
        self.connect(machine, machine.life)

    def connect(self, machine: Machine, life: int) -> None:
        if machine.life != life or machine.core is None or machine.connection:
            return
        if self.arbiter is None or machine.side not in self.reach:
            self.at(200, lambda: self.connect(machine, life))
            return
        self._last_connection += 1
        machine.connection = self._last_connection
        self._connections[machine.connection] = machine
        self.send(machine.connection, encode(machine.core.hello), up=True)
        machine.core.on_connected(machine.clock(self.now))
        self.tick(machine, life)

    def when_awake(self, machine: Machine, life: int, what: Callable[[], None]) -> None:
        if machine.life != life or machine.core is None:
            return
        if self.now < machine.paused_until:
            self.at(machine.paused_until - self.now, lambda: self.when_awake(machine, life, what))
        else:
            what()

    def sense(self, machine: Machine, life: int) -> None:
        """Which nodes this one hears: what is so, a while ago."""

        def go() -> None:
            near = {m.node_id for m in self.machines if m.side == machine.side and m.core is not None}
            near -= {m.node_id for m in self.machines if self.now < m.paused_until}
            fresh = frozenset(near | {machine.node_id})
            if fresh != machine.part:
                machine.part = fresh
                self.check()
                if machine.core is not None:
                    machine.core.ask(machine.clock(self.now))
                    self.tick(machine, life)
            self.at(self.random.uniform(50, 500), lambda: self.sense(machine, life))

        self.when_awake(machine, life, go)

    def surroundings(self, machine: Machine) -> Surroundings:
        assert machine.core is not None
        part = machine.part - machine.core.others_leaving
        half = len(part) < self.count if self.last else 2 * len(part) == self.count
        members = tuple(Member(node_id, f"n{node_id}", 1) for node_id in sorted(machine.part))
        return Surroundings(half, part=part, needs=half, members=members, weight=machine.weight)

    def tick(self, machine: Machine, life: int) -> None:
        def go() -> None:
            core = machine.core
            assert core is not None
            for effect in core.tick(self.surroundings(machine), machine.clock(self.now)):
                match effect:
                    case Send(report):
                        self.send(machine.connection, encode(report), up=True)
                    case Reconnect():
                        self.cut(machine.connection)
            if core.due_ms is not None:
                wait = max(1.0, machine.true(core.due_ms) - self.now + 1)
                self.at(wait, lambda: self.tick(machine, life))

        self.when_awake(machine, life, go)

    def to_node(self, connection: int, data: bytes) -> None:
        machine = self._connections.get(connection)
        if machine is None:
            return
        life = machine.life

        def go() -> None:
            if machine.connection != connection or machine.core is None:
                return
            for message in Decoder().feed(data):
                if not isinstance(message, Verdict):
                    continue
                for effect in machine.core.on_verdict(message, machine.clock(self.now)):
                    if isinstance(effect, Granted):
                        machine.wins += self.now >= machine.counts_until
                        machine.counts_until = machine.true(effect.until_ms)
                        machine.counts_for = effect.members
                        self.check()
                self.tick(machine, life)

        self.when_awake(machine, life, go)

    def kill(self, machine: Machine) -> None:
        machine.life += 1
        machine.core, machine.counts_until = None, -1.0
        if machine.connection:
            connection, machine.connection = machine.connection, 0
            self._connections.pop(connection, None)
            # A power cut says nothing; a killed process closes its connections.
            if self.random.random() < 0.5:
                self.tell_closed(connection, self.arbiter_life)

    # --- faults

    def split(self) -> None:
        for machine in self.machines:
            machine.side = self.random.randrange(2)
        self.reach = self.random.choice([{0, 1}, {0, 1}, {0}, {1}])
        for connection, machine in list(self._connections.items()):
            if machine.side not in self.reach:
                self.cut(connection)

    def heal(self) -> None:
        for machine in self.machines:
            machine.side = 0
        self.reach = {0, 1}

    def trouble(self) -> None:
        self.at(self.random.uniform(50, 1500), self.trouble)
        self.faults += 1
        machine = self.random.choice(self.machines)
        match self.random.randrange(9):
            case 0 | 1 | 2:
                self.split()
            case 3:
                self.heal()
            case 4:
                machine.paused_until = self.now + self.random.uniform(50, 3000)
            case 5:
                if machine.core is not None:
                    self.kill(machine)
                    self.at(self.random.uniform(20, 3000), lambda: self.boot(machine))
            case 6:
                if machine.connection:
                    self.cut(machine.connection)
            case 7:
                self.arbiter_paused_until = self.now + self.random.uniform(50, 2000)
            case 8:
                if self.arbiter is not None:
                    self.stop_arbiter()
                    if self.random.random() < 0.3:
                        self.records = {}
                    self.at(self.random.uniform(20, 1500), self.start_arbiter)
