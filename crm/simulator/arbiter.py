"""The network arbiter of a run and its connections, in virtual time: `messaging.arbiter.core` and each node's side of it.

Connections keep their order, take their time, and end when either end does or when the way between is cut. The arbiter is stopped,
killed and started again, and loses its disk. A stopped node neither asks nor listens; what it is told meanwhile waits.

Whom the vote lets win is checked where it matters: no two quorate views without a common member (`crm.simulator.checkers`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crm.simulator.clock import Clock, local_time, virtual_time
from crm.simulator.machine import Machine
from messaging.arbiter import core as arbiter_core
from messaging.arbiter.core import Answer, Arbiter, Close, Persist, Record
from messaging.arbiter.protocol import Decoder, Hello, Message, Report, Verdict, encode
from messaging.config import MessagingConfig
from messaging.effects import Event, EvidenceChanged
from messaging.node import Node
from messaging.tiebreak.arbiter_core import ArbiterClient, Effect, Granted, Reconnect, Send

SETTLE_INTERVALS = 8
RETRY_MS = 5
RECONNECT_MS = (100, 1000)


@dataclass(slots=True, eq=False)
class Caller:
    """One life of a node. `connection` is 0 while there is none; `ticking`: when it looks next."""

    machine: Machine
    node: Node
    core: ArbiterClient
    life: int
    connection: int = 0
    ticks_at: int = -1


class NetworkArbiter:
    """See the module's text. `give` hands an event to a node, `note` writes into the trace; `cut` are nodes that do not reach it.

    `in_bytes`: what the connections carry is written and read as in life, not handed over."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        machines: Mapping[int, Machine],
        config: Callable[[int], MessagingConfig],
        give: Callable[[int, Event], None],
        note: Callable[[str], None],
        in_bytes: bool,
    ) -> None:
        self.cut: set[int] = set()
        self._in_bytes = in_bytes
        self.calm = False
        self.grants = 0
        self._clock = clock
        self._rng = rng
        self._machines = machines
        self._config = config
        self._give = give
        self._note = note
        self._records: dict[str, Record] = {}
        self._arbiter: Arbiter | None = Arbiter({}, 0)
        self._life = 1
        self._paused_until = 0
        self._callers: dict[int, Caller] = {}
        self._open: dict[int, Caller] = {}
        self._last = 0
        self._ready: dict[tuple[int, bool], int] = {}

    # --- what the daemon's edge does

    def settle(self, machine: Machine, node: Node, enter: Callable[[], None]) -> None:
        """Before anybody can hear of a new life: the others get the vote first, if they will need it."""
        caller = Caller(machine, node, ArbiterClient(self._config(machine.node_id), node.me), machine.life)
        self._callers[machine.node_id] = caller
        caller.core.leaving = True
        self._connect(caller)

        def followed() -> None:
            caller.core.leaving = False
            enter()

        limit_ms = SETTLE_INTERVALS * caller.core.interval_ms
        self._when_followed(caller, self._clock.now + limit_ms, followed)

    def hand_over(self, node_id: int, then: Callable[[], None]) -> None:
        """Before the goodbye."""
        caller = self._callers[node_id]
        caller.core.leaving = True
        self.ask(node_id)
        self._when_followed(caller, self._clock.now + caller.core.hand_over_ms, then)

    def _when_followed(self, caller: Caller, end: int, then: Callable[[], None]) -> None:
        if caller.machine.life != caller.life:
            return
        if not caller.core.followed and self._clock.now < end:
            self._clock.after(RETRY_MS, self._when_followed, caller, end, then)
        else:
            then()

    def ask(self, node_id: int) -> None:
        caller = self._callers[node_id]
        caller.core.ask(self._local(caller))
        self._tick(caller)

    def gone(self, node_id: int) -> None:
        """The daemon has ended. A machine without power says nothing to its connections."""
        caller = self._callers.get(node_id)
        if caller is not None and caller.connection and self._rng.random() < 0.5:
            self._end(caller.connection)

    # --- faults

    def stop(self, how_long_ms: int) -> None:
        self._note(f"the arbiter is stopped for {how_long_ms} ms")
        self._paused_until = self._clock.now + how_long_ms

    def kill(self, down_ms: int, lose_disk: bool) -> None:
        if self._arbiter is None:
            return
        self._note(f"the arbiter is killed{' and loses its disk' if lose_disk else ''}")
        self._arbiter = None
        self._life += 1
        for connection in list(self._open):
            self._end(connection)
        if lose_disk:
            self._records.clear()
        self._clock.after(down_ms, self._start)

    def heal(self) -> None:
        self.cut.clear()
        self.calm = True
        self._paused_until = 0

    def cut_off(self, node_ids: set[int]) -> None:
        """From now on these, and only these, do not reach it."""
        self.cut = node_ids
        for connection, caller in list(self._open.items()):
            if caller.machine.node_id in node_ids and self._rng.random() < 0.7:  # else it stalls until given up
                self._end(connection)

    def _start(self) -> None:
        self._note("the arbiter starts")
        self._arbiter = Arbiter(self._records, self._own_clock())

    def _own_clock(self) -> int:
        return self._clock.now + 1000 * self._life

    # --- connections

    def _local(self, caller: Caller) -> int:
        return local_time(self._clock.now, caller.machine.offset_ms, caller.machine.drift_ppm)

    def _connect(self, caller: Caller) -> None:
        machine = caller.machine
        if machine.life != caller.life or caller.connection:
            return
        wait_ms = self._rng.randint(*RECONNECT_MS)
        if self._arbiter is None or machine.node_id in self.cut or self._clock.now < machine.paused_until:
            self._clock.after(wait_ms, self._connect, caller)
            return
        self._last += 1
        caller.connection = self._last
        self._open[self._last] = caller
        self._send(self._last, caller.core.hello, up=True)
        caller.core.on_connected(self._local(caller))
        self._tick(caller)

    def _end(self, connection: int) -> None:
        """Both ends notice: the arbiter a little later."""
        caller = self._open.pop(connection, None)
        self._clock.after(self._latency(), self._closed, connection, self._life)
        if caller is not None and caller.connection == connection:
            caller.connection = 0
            if caller.machine.life == caller.life:
                caller.core.on_disconnected("the connection ended")
                self._clock.after(self._rng.randint(*RECONNECT_MS), self._connect, caller)

    def _closed(self, connection: int, life: int) -> None:
        if self._arbiter is not None and life == self._life:
            self._carry_out(self._arbiter.on_closed(connection))

    def _latency(self) -> int:
        usual = self._rng.randint(0, 3)
        if not self.calm and self._rng.random() < 0.02:
            usual += self._rng.randint(0, 2000)
        return usual

    def _send(self, connection: int, message: Message, *, up: bool) -> None:
        data = encode(message) if self._in_bytes else message
        when = max(self._ready.get((connection, up), 0), self._clock.now + self._latency())
        self._ready[connection, up] = when
        if up:
            self._clock.at(when, self._at_arbiter, connection, self._life, data)
        else:
            self._clock.at(when, self._at_node, connection, data)

    def _at_arbiter(self, connection: int, life: int, data: bytes | Message) -> None:
        caller = self._open.get(connection)
        if self._arbiter is None or life != self._life or caller is None or caller.machine.node_id in self.cut:
            return
        if self._clock.now < self._paused_until:
            self._clock.at(self._paused_until, self._at_arbiter, connection, life, data)
            return
        for message in _read(data):
            if isinstance(message, Hello):
                self._carry_out(self._arbiter.on_hello(connection, message, self._own_clock()))
            elif isinstance(message, Report):
                self._carry_out(self._arbiter.on_report(connection, message, self._own_clock()))

    def _carry_out(self, effects: list[arbiter_core.Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(cluster, record):
                    self._records[cluster] = record
                case Answer(connection, message):
                    self._send(connection, message, up=False)
                case Close(connection):
                    self._end(connection)
                case arbiter_core.Say(text):
                    self._note(f"arbiter   {text}")

    # --- a node

    def _tick(self, caller: Caller) -> None:
        """Report what is due, and come again when more is."""
        machine = caller.machine
        if machine.life != caller.life:
            return
        if self._clock.now < machine.paused_until:
            self._clock.at(machine.paused_until, self._tick, caller)
            return
        if machine.writing:
            self._clock.after(RETRY_MS, self._tick, caller)
            return
        around = caller.node.surroundings(caller.core.others_leaving)
        self._perform(caller, caller.core.tick(around, self._local(caller)))
        due_ms = caller.core.due_ms
        if due_ms is not None:
            when = max(self._clock.now + 1, virtual_time(due_ms, machine.offset_ms, machine.drift_ppm))
            if caller.ticks_at <= self._clock.now or when < caller.ticks_at:
                caller.ticks_at = when
                self._clock.at(when, self._tick, caller)

    def _at_node(self, connection: int, data: bytes | Message) -> None:
        caller = self._open.get(connection)
        if caller is None or caller.machine.life != caller.life or caller.machine.node_id in self.cut:
            return
        machine = caller.machine
        if self._clock.now < machine.paused_until:
            self._clock.at(machine.paused_until, self._at_node, connection, data)
            return
        if machine.writing:
            self._clock.after(RETRY_MS, self._at_node, connection, data)
            return
        for message in _read(data):
            if isinstance(message, Verdict):
                self._perform(caller, caller.core.on_verdict(message, self._local(caller)))
                self._tick(caller)
            else:
                self._end(connection)

    def _perform(self, caller: Caller, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(report):
                    if caller.connection:
                        self._send(caller.connection, report, up=True)
                case Granted(until_ms, members):
                    self.grants += 1
                    self._give(caller.machine.node_id, EvidenceChanged(True, until_ms, members))
                case Reconnect():
                    caller.core.on_disconnected("no answer")
                    if caller.connection:
                        self._end(caller.connection)


def _read(data: bytes | Message) -> list[Message]:
    return Decoder().feed(data) if isinstance(data, bytes) else [data]
