"""The small world with a network arbiter: its core, and the node's side of it, at every node; reached from everywhere."""

from __future__ import annotations

from functools import partial

from messaging_world import Machine, World

from messaging.arbiter.core import Answer, Arbiter, Effect
from messaging.arbiter.protocol import Report, Verdict
from messaging.config import QuorumConfig
from messaging.effects import EvidenceChanged
from messaging.tiebreak.arbiter_core import ArbiterClient, Granted, Send

LATENCY_MS = 2


class ArbitratedWorld(World):
    """See the module's text."""

    def __init__(self, seed: int, count: int, quorum: QuorumConfig) -> None:
        super().__init__(seed, count, quorum)
        self.judge = Arbiter({}, self.now)
        self.clients: dict[int, ArbiterClient] = {}
        self.connections: dict[int, int] = {}
        self._last = 0
        self._due: dict[int, int] = {}

    def boot(self, node_id: int, *, attach: bool = True, reboot: bool = True) -> None:
        super().boot(node_id, attach=attach, reboot=reboot)
        machine = self.machines[node_id]
        assert machine.core is not None
        client = self.clients[node_id] = ArbiterClient(machine.core.config, machine.core.me)
        self._last += 1
        self.connections[node_id] = self._last
        self.carry_out(self.judge.on_hello(self._last, client.hello, self.now))
        client.on_connected(self.now)
        self.tick(machine, machine.life)

    def crash(self, node_id: int) -> None:
        super().crash(node_id)
        self.carry_out(self.judge.on_closed(self.connections.pop(node_id)))

    def _evidence(self, machine: Machine, life: int) -> None:
        """The core has asked: report at once."""
        if machine.life == life and machine.core is not None:
            self.clients[machine.node_id].ask(self.now)
            self.tick(machine, life)

    def tick(self, machine: Machine, life: int) -> None:
        if machine.life != life or machine.core is None:
            return
        client = self.clients[machine.node_id]
        connection = self.connections[machine.node_id]
        for effect in client.tick(machine.core.surroundings(client.others_leaving), self.now):
            if isinstance(effect, Send):
                self.at(self.now + LATENCY_MS, partial(self.report, connection, effect.report))
        due_ms = client.due_ms
        if due_ms is not None and self._due.get(connection) != due_ms:
            self._due[connection] = due_ms
            self.at(max(due_ms, self.now), partial(self.due, machine, life, due_ms))

    def due(self, machine: Machine, life: int, due_ms: int) -> None:
        if machine.core is not None and machine.life == life and self.clients[machine.node_id].due_ms == due_ms:
            self._due.pop(self.connections[machine.node_id], None)
            self.tick(machine, life)

    def report(self, connection: int, report: Report) -> None:
        if connection in self.connections.values():
            self.carry_out(self.judge.on_report(connection, report, self.now))

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer) and isinstance(effect.message, Verdict):
                self.at(self.now + LATENCY_MS, partial(self.answered, effect.connection, effect.message))

    def answered(self, connection: int, verdict: Verdict) -> None:
        node_id = next((each for each, number in self.connections.items() if number == connection), None)
        if node_id is None or self.machines[node_id].core is None:
            return
        for effect in self.clients[node_id].on_verdict(verdict, self.now):
            if isinstance(effect, Granted):
                self.give(node_id, EvidenceChanged(True, effect.until_ms, effect.members))
        self.tick(self.machines[node_id], self.machines[node_id].life)
