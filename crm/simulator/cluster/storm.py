"""The faults of one run: which come when, and how much they may take away at a time.

Theory of operation. Every so often one of the seed's faults is drawn. Under a *wild* seed it strikes whatever else is broken already. Under the others
most machines stay: a fault that would leave fewer than a majority sound does not come, what was cut heals, and a machine that is off for long is
switched on. So there is nearly always a quorate side that goes on, fences and recovers, which is where the rules of the cluster core are put to the test.

Some faults are an *ambush*: drawn, they wait for a moment at which a rule would show (`Moment`), such as the one between an agent's effect
and its end, and strike then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from crm.simulator.cluster.box import Box
from crm.simulator.cluster.clients import Clients
from crm.simulator.cluster.crm import SimulatedPolicy
from crm.simulator.cluster.moment import Moment
from crm.simulator.cluster.swarm import Fault
from crm.simulator.swarm import Mode

if TYPE_CHECKING:
    from crm.daemon.node import Node
    from crm.simulator.cluster.world import ClusterWorld

CARE_MS: Final = 1_000
PATIENCE_MS: Final = 6_000
"""How long a machine may be off, or have left, under a seed that is not wild, before somebody starts it."""
AMBUSH_MS: Final = 8_000
"""How long an ambush waits for its moment."""
AMBUSHES: Final = {
    Fault.AT_WORK: (Moment.BEGUN, Moment.EFFECT),
    Fault.ORDERED: (Moment.ORDERED,),
    Fault.ENDED: (Moment.ENDED,),
    Fault.TOLD: (Moment.TOLD,),
}
DISK_MS: Final = (0, 20, 300)


class Storm:
    """See the module's text."""

    def __init__(self, world: ClusterWorld, clients: Clients) -> None:
        self.faults = 0
        self._world = world
        self._clients = clients
        self._rng = world.dice.of("faults")
        self._swarm = world.cluster_swarm
        self._raging = False
        self._ambushes: dict[Fault, int] = {}
        self._off_since: dict[int, int] = {}
        self._outages = 0
        world.moments.append(self._on_moment)

    def begin(self) -> None:
        self._raging = True
        self._next()
        if not self._swarm.wild:
            self._care()

    def end(self) -> None:
        self._raging = False
        self._ambushes.clear()

    def _next(self) -> None:
        if not self._raging:
            return
        self._act(self._rng.choices(self._swarm.faults, self._swarm.weights)[0])
        self._world.clock.after(self._rng.randint(1, 2 * self._swarm.fault_gap_ms), self._next)

    # --- how much may be broken

    def _sound(self, box: Box) -> bool:
        machine = self._world.machines[box.node_id]
        cut = any(box.node_id in pair for pair in self._world.network.cut)
        return (
            box.powered
            and machine.core is not None
            and not box.left
            and not cut
            and machine.paused_until <= self._world.now
        )

    def _spares(self, *victims: Box) -> bool:
        """Whether enough is left without these."""
        if self._swarm.wild:
            return True
        left = [n for n, box in self._world.boxes.items() if box not in victims and self._sound(box)]
        messaging = self._swarm.messaging
        return bool(left) if messaging.mode is Mode.TWO_NODE else messaging.is_majority(left)

    def _care(self) -> None:
        """What an administrator does: machines that are off or have left for long are started."""
        world = self._world
        if not self._raging:
            return
        for box in world.boxes.values():
            if box.powered and not box.left:
                self._off_since.pop(box.node_id, None)
            elif world.now - self._off_since.setdefault(box.node_id, world.now) >= PATIENCE_MS:
                if box.powered:
                    self.bring_back(box)
                else:
                    world.power_on(box.node_id)
        world.clock.after(CARE_MS, self._care)

    def bring_back(self, box: Box) -> None:
        """Start the daemons of a machine that has left the cluster."""
        if box.powered and box.left and self._world.machines[box.node_id].core is None:
            self._world.start_again(box.node_id)

    # --- which fault

    def _act(self, fault: Fault) -> None:
        if fault in AMBUSHES:
            self._ambushes.setdefault(fault, self._world.now + AMBUSH_MS)
            return
        self.faults += 1
        box = self._rng.choice(list(self._world.boxes.values()))
        match fault:
            case Fault.DC:
                self._power(self._world.dc() or box, 2_000, 20_000)
            case Fault.POWER:
                self._power(box, 2_000, 20_000)
            case Fault.BLINK:
                self._power(box, 100, 800)
            case Fault.DC_CRM:
                self._world.kill_crm((self._world.dc() or box).node_id)
            case Fault.CRM:
                self._world.kill_crm(box.node_id)
            case Fault.MESSAGING if self._spares(box):
                self._world.kill_messaging(box.node_id)
            case Fault.PAUSE if self._spares(box):
                self._world.stand_still(box.node_id, self._rng.choice([200, 600, 1500, 5000]))
            case Fault.HANG if self._spares(box):
                self._world.hang(box.node_id, self._rng.choice([500, 1500, 4000]))
            case Fault.LEAVE if self._spares(box):
                self._leave(box)
            case Fault.DIE:
                self._die(box)
            case Fault.DEAD_SWITCH:
                self._no_fencing(self._rng.randint(2_000, 10_000))
            case Fault.POLICY:
                if box.node is not None and isinstance(box.node.policy, SimulatedPolicy) and box.crm_up:
                    self._world.loop.start(_living(box), _losing(box.node.policy))
            case Fault.SLOW_DISK:
                box.slow_disk_ms = self._rng.choice(DISK_MS)
            case Fault.FULL_DISK if box.full_disk or self._spares(box):
                box.full_disk = not box.full_disk
                self._world.note(f"{box.name} disk {'full' if box.full_disk else 'has room'}")
                if box.full_disk and not self._swarm.wild:
                    self._world.clock.after(self._rng.randint(1_000, 6_000), _make_room, self._world, box)
            case _:
                self._disturb_network(fault, box)

    def _power(self, box: Box, least_ms: int, most_ms: int) -> None:
        world = self._world
        if box.powered and self._spares(box):
            world.note(f"{box.name} loses power")
            world.cut_power(box.node_id)
            world.clock.after(self._rng.randint(least_ms, most_ms), world.power_on, box.node_id)

    def _leave(self, box: Box) -> None:
        if box.node is not None and box.crm_up:
            self._world.note(f"{box.name} is asked to shut down")
            self._world.loop.start(_living(box), _shutting_down(box.node))
        self._world.clock.after(self._rng.randint(5_000, 15_000), self.bring_back, box)

    def _die(self, box: Box) -> None:
        if box.running:
            name = self._rng.choice(sorted(box.running))
            del box.running[name]
            self._world.note(f"{box.name}     {name} dies")

    def _no_fencing(self, how_long_ms: int) -> None:
        power = self._world.power
        power.dead_until = max(power.dead_until, self._world.now + how_long_ms)
        self._world.note(f"no fence device works for {how_long_ms} ms")

    # --- the network

    def _disturb_network(self, fault: Fault, box: Box) -> None:
        world, rng, network = self._world, self._rng, self._world.network
        match fault:
            case Fault.ISOLATE:
                self._isolate(box)
            case Fault.DIVIDE:
                self._divide()
            case Fault.SPLIT if self._swarm.wild:
                self._split({each for each in world.boxes if rng.random() < 0.5})
            case Fault.SPLIT:
                self._heal_later(self._split_off(rng.randint(1, max(1, (self._swarm.size - 1) // 2))))
            case Fault.ONE_WAY:
                other = rng.choice(list(world.boxes.values()))
                if other is not box and self._spares(box):
                    network.cut.add((box.node_id, other.node_id))
                    world.note(f"cut {box.name} -> {other.name}")
                    self._heal_later(True)
            case Fault.HEAL if self._swarm.wild:
                self._heal()
            case Fault.WEATHER:
                messaging = self._swarm.messaging
                network.loss = rng.choice([0.0, messaging.loss])
                network.duplication = rng.choice([0.0, messaging.duplication])
                network.max_delay_ms = 1 + rng.randint(0, messaging.max_delay_ms)
            case Fault.BREAK:
                network.break_between(box.node_id, rng.choice(list(world.boxes)))
            case _:
                pass

    def _split(self, left: Iterable[int]) -> None:
        ids, left = list(self._world.boxes), set(left)
        self._world.note(f"split {sorted(left)} from {sorted(set(ids) - left)}")
        self._world.network.cut = {(a, b) for a in ids for b in ids if (a in left) != (b in left)}

    def _split_off(self, how_many: int) -> bool:
        """Cut so many machines off together. False when the rest would not be a majority."""
        victims = self._rng.sample(list(self._world.boxes.values()), how_many)
        if self._world.network.cut or not self._spares(*victims):
            return False
        self._split(box.node_id for box in victims)
        return True

    def _isolate(self, box: Box) -> None:
        """One machine that runs something is cut off from all others; often nobody can fence it."""
        world = self._world
        busy = [each for each in world.boxes.values() if set(each.running) & set(world.configuration.primitives)]
        victim = self._rng.choice(busy) if busy else box
        if world.network.cut or not self._spares(victim):
            return
        if self._rng.random() < 0.6:
            self._no_fencing(self._rng.randint(3_000, 8_000))
        self._split([victim.node_id])
        self._heal_later(True)

    def _divide(self) -> None:
        """A split in which clients go on at both sides; those of the smaller one make more changes, and it cannot be fenced at once."""
        world, rng = self._world, self._rng
        if not self._split_off(rng.randint(1, max(1, (self._swarm.size - 1) // 2))):
            return
        cut = {a for a, _ in world.network.cut}
        smaller = {node for node in cut if sum((node, other) in world.network.cut for other in cut) * 2 >= len(cut)}
        self._no_fencing(rng.randint(3_000, 6_000))
        for node_id, box in world.boxes.items():
            changes = 6 if node_id in smaller else 1
            for _ in range(changes):
                world.clock.after(rng.randint(1_200, 4_000), self._clients.note, box)
        self._heal_later(True)

    def _heal_later(self, struck: bool) -> None:
        if struck:
            self._world.clock.after(self._rng.randint(3_000, 9_000), self._heal)

    def _heal(self) -> None:
        if self._world.network.cut:
            self._world.network.cut.clear()
            self._world.note("the network heals")

    # --- ambushes

    def _on_moment(self, moment: Moment, box: Box) -> None:
        for fault, until_ms in list(self._ambushes.items()):
            if until_ms < self._world.now:
                del self._ambushes[fault]
            elif moment in AMBUSHES[fault] and self._rng.random() < 0.5:
                del self._ambushes[fault]
                self._world.clock.after(self._rng.choice([0, 1, 3, 15, 40]), self._strike, fault, box)

    def _strike(self, fault: Fault, box: Box) -> None:
        """The moment has come, at this machine."""
        world, rng = self._world, self._rng
        if not self._raging:
            return
        self.faults += 1
        match fault:
            case Fault.AT_WORK:
                world.kill_crm(box.node_id)
            case Fault.ORDERED if rng.random() < 0.5:
                world.kill_crm(box.node_id)
            case Fault.ORDERED:
                self._power(box, 2_000, 12_000)
            case Fault.ENDED:
                others = [each for each in world.boxes.values() if each is not box and each.powered]
                victim = rng.choice(others) if others else box
                if rng.random() < 0.5:
                    self._power(victim, 2_000, 12_000)
                elif self._spares(victim):
                    world.kill_messaging(victim.node_id)
            case _:
                self._outage(box)

    def _outage(self, told: Box) -> None:
        """All machines lose power; the one that told its client that all is well stays away longest."""
        world, rng = self._world, self._rng
        if self._outages and not self._swarm.wild:
            return
        self._outages += 1
        world.note(f"all machines lose power, a moment after {told.name} told a client")
        for box in world.boxes.values():
            world.cut_power(box.node_id)
            away_ms = rng.randint(4_000, 9_000) if box is told else rng.randint(300, 1_500)
            world.clock.after(away_ms, world.power_on, box.node_id)


def _living(box: Box) -> Any:
    assert box.process is not None
    return box.process


def _make_room(world: ClusterWorld, box: Box) -> None:
    box.full_disk = False
    world.note(f"{box.name} disk has room")


def _shutting_down(node: Node) -> Callable[[], Any]:
    async def ask() -> None:
        node.on_stop_signal()

    return ask


def _losing(policy: SimulatedPolicy) -> Callable[[], Any]:
    async def lose() -> None:
        policy.lose()

    return lose
