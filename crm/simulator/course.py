"""The course of one run: first faults anywhere while the checkers watch (safety), then a heal after which the cluster
must come together and carry messages within a bound (liveness), and then a longer life with single faults
(`crm.simulator.watch`)."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from crm.simulator.clock import Violation
from crm.simulator.machine import WALL_MS
from crm.simulator.swarm import Fault, Mode, Swarm, draw
from crm.simulator.watch import Watch
from crm.simulator.world import World, names

LIVENESS_MS = 150_000
"""Longer than the longest penalty a node may still have to serve (60 s) and a new start after it."""

DAY_MS = 86_400_000
STEP_MS = 100
SETTLE_MS = 5_000
RESTART_MS = 4_000


@dataclass(slots=True)
class Outcome:
    """What became of one seed. `failure` is empty when all held."""

    seed: int
    swarm: Swarm
    failure: str = ""
    virtual_ms: int = 0
    storm_ms: int = 0
    agreed_after_ms: int = 0
    faults: int = 0
    multicasts: int = 0
    deliveries: int = 0
    packets: int = 0
    views: int = 0
    quorate_views: int = 0
    log: list[str] = field(default_factory=list)


def run(seed: int, trace: bool = False) -> Outcome:
    """Both phases of one seed. A Violation becomes the outcome's failure; any other error of the cores does, too."""
    rng = random.Random(seed)
    swarm = draw(rng)
    world = World(swarm, rng, trace)
    course = Course(world)
    outcome = Outcome(seed, swarm)
    try:
        course.safety()
        outcome.storm_ms = world.now
        outcome.agreed_after_ms = course.liveness()
        course.watch()
    except Violation as violation:
        outcome.failure = str(violation)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome.failure = f"{type(error).__name__}: {error} ({place.filename.rpartition('/')[2]}:{place.lineno})"
    checkers = world.checkers
    outcome.virtual_ms, outcome.faults, outcome.log = world.now, course.faults, world.log
    outcome.multicasts, outcome.deliveries = world.multicasts, checkers.deliveries
    outcome.packets = world.network.datagrams + world.network.records
    outcome.views, outcome.quorate_views = checkers.views, checkers.quorate_views
    return outcome


class Course:
    """See the module's text."""

    def __init__(self, world: World) -> None:
        self.faults = 0
        self._world = world
        self._rng = world.rng
        self._swarm = world.swarm
        self._storming = True
        self._restless = True

    # --- safety

    def safety(self) -> None:
        world, rng = self._world, self._rng
        world.network.max_delay_ms = 1 + rng.randint(0, self._swarm.max_delay_ms)
        for node_id in world.machines:
            world.clock.after(rng.randint(0, 1500), self._start, node_id)
        self._talk()
        world.clock.run_until(world.now + 3000)
        self._storm()
        world.clock.run_until(world.now + self._swarm.safety_ms)
        self._storming = False

    def _start(self, node_id: int) -> None:
        if self._world.machines[node_id].core is None:
            self._world.boot(node_id)
            self._world.attach(node_id)

    def _talk(self) -> None:
        """The crms say something now and then."""
        if not self._restless:
            return
        world, rng = self._world, self._rng
        node_id = rng.choice(list(world.machines))
        for _ in range(rng.choice([1, 1, 1, 4])):
            world.multicast(node_id)
        if rng.random() < 0.3:
            world.send(node_id, rng.choice(list(world.machines)))
        world.clock.after(rng.randint(1, 2 * self._swarm.multicast_gap_ms), self._talk)

    def _storm(self) -> None:
        if not self._storming:
            return
        self.faults += 1
        self._act(self._rng.choices(self._swarm.faults, self._swarm.weights)[0])
        self._world.clock.after(self._rng.randint(1, 2 * self._swarm.fault_gap_ms), self._storm)

    def _act(self, fault: Fault) -> None:
        world, rng = self._world, self._rng
        node_id = rng.choice(list(world.machines))
        writing = [each for each, machine in world.machines.items() if machine.writing]
        if writing and fault in (Fault.CRASH, Fault.PAUSE):
            node_id = rng.choice(writing)  # the rare moment
        machine = world.machines[node_id]
        if machine.core is not None:
            self._act_on(fault, node_id)
        match fault:
            case Fault.BOOT:
                for other, each in world.machines.items():
                    if each.core is None and rng.random() < 0.7:
                        self._start(other)
            case Fault.SPLIT:
                self._split()
            case Fault.ONE_WAY:
                other = rng.choice(list(world.machines))
                world.network.cut.add((node_id, other))
                world.note(f"cut n{node_id} -> n{other}")
            case Fault.HEAL:
                world.note("the network heals")
                world.network.heal()
            case Fault.WEATHER:
                network = world.network
                network.loss = rng.choice([0.0, self._swarm.loss])
                network.duplication = rng.choice([0.0, self._swarm.duplication])
                network.max_delay_ms = 1 + rng.randint(0, self._swarm.max_delay_ms)
                world.note(f"weather: loss {network.loss}, duplication {network.duplication}")
            case Fault.SLOW_DISK:
                machine.disk.slow_ms = rng.choice([0, 20, 300, 1500])
                world.note(f"n{node_id} disk takes up to {machine.disk.slow_ms} ms")
            case Fault.LINK | Fault.CLOG:
                self._spoil_link(fault, node_id)
            case Fault.WALL_CLOCK:
                world.set_wall_clock(node_id, rng.choice([0, 0, -3_600_000, 3_600_000, 30 * DAY_MS, -WALL_MS]))
            case Fault.ROT:
                for other, each in world.machines.items():
                    if each.core is None and (name := each.disk.rot()):
                        world.note(f"n{other} {name} has lost bytes")
            case Fault.WIPE:
                world.crash(node_id)
                world.wipe(node_id)
            case Fault.ATTACK:
                self._attack()
            case Fault.KEYS:
                world.next_keys()
            case Fault.QDISK:
                self._spoil_disk(node_id)
            case Fault.ARBITER:
                self._spoil_arbiter()
            case Fault.PING:
                machine.sees_target = not machine.sees_target
                world.note(f"n{node_id} sees its ping target: {machine.sees_target}")
                world.probe(node_id)
            case _:
                pass

    def _act_on(self, fault: Fault, node_id: int) -> None:
        """Faults of a node that is up."""
        world, rng = self._world, self._rng
        match fault:
            case Fault.CRASH:
                world.crash(node_id)
            case Fault.KILL:
                world.kill(node_id)
            case Fault.BOUNCE:
                world.kill(node_id)
                self._start(node_id)
            case Fault.PAUSE:
                deadtime = self._swarm.timers.deadtime_ms
                world.pause(node_id, rng.choice([deadtime // 6, deadtime // 2, deadtime + 300, 4 * deadtime]))
            case Fault.CRM:
                if world.machines[node_id].session is not None:
                    world.detach(node_id, graceful=rng.random() < 0.5)
                if rng.random() < 0.7:
                    world.attach(node_id)
            case Fault.HANG:
                session = world.machines[node_id].session
                if session is not None:
                    session.vouching = False
                    world.note(f"n{node_id} crm hangs")
            case Fault.LEAVE:
                world.leave(node_id)
            case Fault.BREAK:
                other = rng.choice(list(world.machines))
                world.note(f"connection n{node_id} - n{other} breaks")
                world.network.break_between(node_id, other)
            case _:
                pass

    def _split(self) -> None:
        world, rng = self._world, self._rng
        left = {node_id for node_id in world.machines if rng.random() < 0.5}
        self._cut_off(left)
        if world.arbiter is not None and rng.random() < 0.7:
            world.arbiter.cut_off(left)
        if self._swarm.mode is Mode.PING and rng.random() < 0.7:  # the target is on one side
            for node_id, machine in world.machines.items():
                machine.sees_target = node_id in left
                world.probe(node_id)

    def _cut_off(self, left: set[int]) -> None:
        world = self._world
        world.note(f"split: {names(left)} | {names(set(world.machines) - left)}")
        ids = list(world.machines)
        world.network.cut = {(a, b) for a in ids for b in ids if (a in left) != (b in left)}

    def _spoil_link(self, fault: Fault, node_id: int) -> None:
        """One link, for all or for the way from one node or both ways."""
        world, rng = self._world, self._rng
        link, others = rng.choice(world.network.links), [n for n in world.machines if n != node_id]
        what = "clogs" if fault is Fault.CLOG else rng.choice(["is cut off at", "is deaf at", "loses at", "heals at"])
        world.note(f"link {link.number} {what} n{node_id}")
        match what:
            case "clogs":
                link.clog_ms = rng.choice([0, 1, 10, self._swarm.timers.keepalive_ms // 2])
            case "is cut off at":
                link.cut |= {pair for other in others for pair in ((node_id, other), (other, node_id))}
            case "is deaf at":
                link.cut |= {(other, node_id) for other in others}
            case "loses at":
                link.loss = 0.5
            case _:
                link.heal()

    def _attack(self) -> None:
        """Frames from the tape, as they were or altered, for nodes that may have started since."""
        world, rng = self._world, self._rng
        if not world.network.tape:
            return
        world.note("recorded frames are sent again")
        tape, targets = list(world.network.tape), list(world.machines)
        for _ in range(rng.choice([1, 20, 100])):
            number, frame = rng.choice(tape)
            if rng.random() < 0.2:
                place = rng.randrange(len(frame))
                frame = frame[:place] + bytes([frame[place] ^ (1 << rng.randrange(8))]) + frame[place + 1 :]
            if rng.random() < 0.1:
                number = rng.choice(world.network.links).number
            world.network.replay(number, frame, rng.choice(targets))

    def _spoil_disk(self, node_id: int) -> None:
        """The way of one node, or of all, to the quorum disk."""
        world, rng = self._world, self._rng
        if world.disk is None:
            return
        interval_ms = world.disk.interval_ms
        until = world.now + rng.choice([interval_ms, 3 * interval_ms, 10 * interval_ms, 40 * interval_ms])
        what = rng.choice(["stalls", "fails"])
        reached = [node_id] if rng.random() < 0.7 else list(world.machines)
        for each in reached:
            world.note(f"n{each} quorum disk {what} for {until - world.now} ms")
            path = world.disk.paths[each]
            if what == "stalls":
                path.stalls_until = max(path.stalls_until, until)
            else:
                path.fails_until = max(path.fails_until, until)

    def watch(self) -> None:
        watch = Watch(self._world, self._start)
        watch.run()
        self.faults += watch.faults

    def _spoil_arbiter(self) -> None:
        arbiter, rng = self._world.arbiter, self._rng
        if arbiter is None:
            return
        match rng.randrange(4):
            case 0:
                arbiter.stop(rng.randint(50, 3000))
            case 1:
                arbiter.kill(rng.randint(20, 3000), lose_disk=rng.random() < 0.3)
            case 2:
                away = {node_id for node_id in self._world.machines if rng.random() < 0.5}
                self._world.note(f"the arbiter is out of reach for {names(away)}")
                arbiter.cut_off(away)
            case _:
                arbiter.cut_off(set())

    # --- liveness

    def liveness(self) -> int:
        """Heal, and demand agreement. How long it took."""
        world, rng, network = self._world, self._rng, self._world.network
        world.note("--- liveness: faults end")
        network.heal()
        network.loss = network.duplication = 0.0
        network.max_delay_ms = 3
        core = set(world.machines)
        if self._swarm.core_only and self._swarm.size > 2:
            core = set(rng.sample(sorted(core), self._swarm.size // 2 + 1))
            self._cut_off(core)
        for node_id, machine in world.machines.items():
            machine.disk.slow_ms = 0
            machine.disk.wall_offset_ms = 0
            machine.sees_target = True
            world.probe(node_id)
            if machine.session is not None and not machine.session.vouching:
                world.detach(node_id, graceful=False)
        if world.arbiter is not None:
            world.arbiter.heal()
        if world.disk is not None:
            world.disk.calm = True
            for path in world.disk.paths.values():
                path.stalls_until = path.fails_until = 0
        world.clock.run_until(max(world.now, *(machine.paused_until for machine in world.machines.values())) + 1)
        began = world.now
        self._wait(lambda: self._agreed(core), LIVENESS_MS, f"agreement of {names(core)}")
        took = world.now - began
        self._carry(core)
        return took

    def _agreed(self, core: set[int]) -> bool:
        """Whether they agree; what is down is started and what has no crm gets one, as a supervisor would."""
        world = self._world
        if (world.now // STEP_MS) % (RESTART_MS // STEP_MS) == 0:
            for node_id in core:
                machine = world.machines[node_id]
                if machine.core is None:
                    self._start(node_id)
                elif machine.session is None and not machine.leaving:
                    world.attach(node_id)
        return world.agree(core, fates=False)

    def _carry(self, core: set[int]) -> None:
        """In the view that stands, messages go through: all that were sent get a fate, and nothing changes any more."""
        world = self._world
        world.clock.run_until(world.now + SETTLE_MS + self._swarm.config(1).quorum.last_man_standing_window_ms)
        self._restless = False
        world.clock.run_until(world.now + STEP_MS)  # what was said last is on its way
        self._wait(lambda: world.agree(core), LIVENESS_MS, "a fate for every multicast")
        view = world.machines[min(core)].installed
        lenient = self._swarm.mode.waits_for_all or self._swarm.mode.changes_electorate
        if view is None or (not view.quorate and not lenient):
            raise Violation(f"liveness: {names(core)} are together and not quorate: {view.reason if view else ''}")
        if not view.quorate and core == set(world.machines):
            raise Violation(f"liveness: all are together and not quorate: {view.reason}")
        wanted = {n: session.directs + len(core) for n in core if (session := world.machines[n].session)}
        for node_id in core:
            world.multicast(node_id)
            for target in core:
                world.send(node_id, target)
        world.clock.run_until(world.now + SETTLE_MS)
        if not world.agree(core) or world.machines[min(core)].installed is not view:
            raise Violation(f"liveness: restless in quiet weather; {world.pending()}")
        ends = {session.sequence for n in core if (session := world.machines[n].session)}
        if len(ends) != 1:
            raise Violation(f"liveness: not all delivered all in view {view.view_id}: {ends}")
        for node_id, count in wanted.items():
            session = world.machines[node_id].session
            if session is None or session.directs != count:
                raise Violation(f"liveness: direct messages to n{node_id} are missing")

    def _wait(self, condition: Callable[[], bool], limit_ms: int, what: str) -> None:
        end = self._world.now + limit_ms
        while not condition():
            if self._world.now >= end:
                raise Violation(f"liveness: not within {limit_ms} ms: {what}; {self._world.pending()}")
            self._world.clock.run_until(self._world.now + STEP_MS)
