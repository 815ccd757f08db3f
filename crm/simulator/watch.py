"""The long part of a run: a cluster at peace, and now and then one thing that goes wrong.

Between faults nothing may change: no view, nobody's death, in mild weather (some loss, some delay, clocks that drift).
A fault that a cluster must take without a change (a short pause, one of several links, a broken connection, a clock on
the wall that jumps) must not cause one either. After any other, those who are left share a view within the time that
the timers promise, quorate where the rules say so; and all are together again when the cause is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from crm.simulator.clock import Violation
from crm.simulator.machine import WALL_MS
from crm.simulator.swarm import Mode
from crm.simulator.world import World, names
from messaging.types import View

RETURN_MS = 150_000
"""As long as the longest penalty a node may have to serve, and a new start after it."""

AGREEMENT_MS = 400
"""From everybody knowing to everybody having installed: some rounds over a network with delay, and writes to disk."""


SLOW_KEEPALIVE_MS = 2000
"""The slowest clusters, whose watch is long, have one wire for a link; elsewhere each copy takes its own time."""


class Trouble(StrEnum):
    """One fault, and its end."""

    SHORT_PAUSE = "short pause"
    LINK = "one of several links"
    BREAK = "broken connection"
    WALL_CLOCK = "wall clock"
    SLOW_DISK = "slow disk"
    CRASH = "crash"
    BOUNCE = "daemon killed and started"
    LONG_PAUSE = "long pause"
    SPLIT = "split"
    ONE_WAY = "one-way cut"
    LEAVE = "leave and return"
    CRM = "crm dies and returns"
    RECOUNT = "split while votes change"


HARMLESS = (Trouble.SHORT_PAUSE, Trouble.LINK, Trouble.BREAK, Trouble.WALL_CLOCK, Trouble.SLOW_DISK)


ANYWHERE: tuple[Trouble, ...] = tuple(trouble for trouble in Trouble if trouble is not Trouble.RECOUNT)


class Watch:
    """See the module's text. `start` starts a node with its crm."""

    def __init__(self, world: World, start: Callable[[int], None]) -> None:
        self.faults = 0
        self._world = world
        self._start = start
        self._swarm = world.swarm
        self._rng = world.rng
        self._all = set(world.machines)
        self._pace = world.swarm.timers.keepalive_ms // 200
        self._talking = False
        self._well: set[int] = set()
        self._over: set[int] = set()
        """Who is cut off when a view is installed that counts other votes; `_changes_left`: at the how many-th such install."""
        self._changes_left = 0
        world.on_install = self._stay

    def run(self) -> None:
        world, rng = self._world, self._rng
        end = world.now + self._swarm.watch_ms
        if world.now >= end:
            return
        world.note("--- watch: peace, and single faults")
        self._peace()
        self._together()
        self._talking = True
        self._talk()
        while world.now < end:
            self._calm(self._pace * rng.randint(2_000, 60_000), "calm")
            trouble: Trouble = rng.choice(ANYWHERE)
            if trouble is Trouble.LINK and self._swarm.links == 1:
                trouble = Trouble.CRASH
            if trouble is Trouble.CRM and self._swarm.mode.changes_electorate and self._swarm.size > 2:
                trouble = rng.choice((trouble, Trouble.RECOUNT))
            self.faults += 1
            if trouble in HARMLESS:
                self._harmless(trouble)
            else:
                self._harmful(trouble)
        self._talking = False

    def _peace(self) -> None:
        network, rng = self._world.network, self._rng
        network.heal()
        network.loss = rng.choice([0.0, 0.0, 0.02, 0.1])
        network.max_delay_ms = rng.choice([1, 3, 20])
        network.segment = self._swarm.timers.keepalive_ms >= SLOW_KEEPALIVE_MS
        for node_id, machine in self._world.machines.items():
            machine.sees_target = True
            self._world.probe(node_id)

    def _talk(self) -> None:
        if not self._talking:
            return
        node_id = self._rng.choice(sorted(self._all))
        self._world.multicast(node_id)
        if self._rng.random() < 0.3:
            self._world.send(node_id, self._rng.choice(sorted(self._all)))
        self._world.clock.after(self._pace * self._rng.randint(500, 10_000), self._talk)

    # --- nothing may change

    def _calm(self, how_long_ms: int, what: str) -> None:
        world = self._world
        before = {node_id: machine.installed for node_id, machine in world.machines.items()}
        world.clock.run_until(world.now + how_long_ms)
        for node_id, machine in world.machines.items():
            if machine.installed is not before[node_id]:
                was, now = before[node_id], machine.installed
                raise Violation(
                    f"{what}: n{node_id} went from view {was.view_id if was else '-'} to {now.view_id if now else '-'}, "
                    f"and nothing asked for it; {world.pending()}"
                )

    def _harmless(self, trouble: Trouble) -> None:
        world, rng = self._world, self._rng
        node_id, deadtime_ms = rng.choice(sorted(self._all)), self._swarm.timers.deadtime_ms
        machine = world.machines[node_id]
        match trouble:
            case Trouble.SHORT_PAUSE:
                world.pause(node_id, rng.randint(1, deadtime_ms // 2))
            case Trouble.LINK:
                link = rng.choice(world.network.links)
                world.note(f"link {link.number} fails")
                link.cut = {(a, b) for a in self._all for b in self._all if a != b}
                self._calm(rng.randint(deadtime_ms, 8 * deadtime_ms), trouble)
                world.note(f"link {link.number} works again")
                link.heal()
            case Trouble.BREAK:
                other = rng.choice(sorted(self._all - {node_id}))
                world.note(f"connection n{node_id} - n{other} breaks")
                world.network.break_between(node_id, other)
            case Trouble.WALL_CLOCK:
                world.set_wall_clock(node_id, rng.choice([0, -3_600_000, 3_600_000, -WALL_MS]))
            case _:
                machine.disk.slow_ms = rng.choice([0, 20, deadtime_ms // 10])
                world.note(f"n{node_id} disk takes up to {machine.disk.slow_ms} ms")
        self._calm(3 * deadtime_ms, trouble)

    # --- a change, and back

    def _harmful(self, trouble: Trouble) -> None:
        world, rng = self._world, self._rng
        node_id, deadtime_ms = rng.choice(sorted(self._all)), self._swarm.timers.deadtime_ms
        others, away_ms = self._all - {node_id}, rng.randint(2 * deadtime_ms, 10 * deadtime_ms)
        self._well = others
        match trouble:
            case Trouble.CRASH:
                world.crash(node_id)
                self._left(others, trouble)
                world.clock.run_until(world.now + away_ms)
                self._start(node_id)
            case Trouble.BOUNCE:
                world.kill(node_id)
                world.clock.run_until(world.now + rng.choice([1, 100, deadtime_ms]))
                self._start(node_id)
            case Trouble.LONG_PAUSE:
                world.pause(node_id, away_ms)
                self._left(others, trouble)
            case Trouble.SPLIT:
                self._split(away_ms)
            case Trouble.ONE_WAY:
                other = rng.choice(sorted(others))
                world.note(f"cut n{node_id} -> n{other}")
                self._well = others - {other}
                world.network.cut = {(node_id, other)}
                world.clock.run_until(world.now + away_ms)
                world.network.heal()
            case Trouble.RECOUNT:
                self._recount(away_ms)
            case Trouble.LEAVE:
                world.leave(node_id)
                self._within(
                    lambda: world.machines[node_id].core is None and world.agree(others, fates=False),
                    3 * deadtime_ms,
                    f"{trouble}: a view without n{node_id}",
                )
                world.clock.run_until(world.now + away_ms)
                self._start(node_id)
            case _:
                self._well = self._all
                world.detach(node_id, graceful=rng.random() < 0.5)
                world.clock.run_until(world.now + away_ms)
                world.attach(node_id)
        self._together()
        self._well = set()

    def _stay(self, node_id: int, view: View) -> None:
        """Told of each view: whoever is well and reached by all who are stays with them."""
        absent = self._well - view.member_ids
        if self._over:
            self._split_again(node_id)
        if node_id in self._well and absent:
            raise Violation(f"view {view.view_id} at n{node_id} without {names(absent)}, which nothing has happened to")

    def _in_time_ms(self) -> int:
        """Within what those who are left must share a view. Where packets are lost the word of a death may be, and comes with the next beat."""
        timers, lossy = self._swarm.timers, self._world.network.loss > 0
        return timers.deadtime_ms * 11 // 10 + max(AGREEMENT_MS, timers.keepalive_ms if lossy else 0)

    def _left(self, others: set[int], trouble: Trouble) -> None:
        """A node is silent: the others go on without it, in time."""
        bound_ms = self._in_time_ms()
        self._within(lambda: self._world.agree(others, fates=False), bound_ms, f"{trouble}: a view of the others")
        self._quorum(others, trouble)

    def _split(self, away_ms: int) -> None:
        world, ids = self._world, sorted(self._all)
        self._well = set()
        left = set(self._rng.sample(ids, self._rng.randint(1, len(ids) - 1)))
        right = self._all - left
        world.note(f"split: {names(left)} | {names(right)}")
        world.network.cut = {(a, b) for a in ids for b in ids if (a in left) != (b in left)}
        bound_ms = self._in_time_ms()
        self._within(
            lambda: world.agree(left, fates=False) and world.agree(right, fates=False), bound_ms, "split: two views"
        )
        for side in (left, right):
            if 2 * len(side) > len(ids):
                self._quorum(side, Trouble.SPLIT)
        world.clock.run_until(world.now + away_ms)
        world.network.heal()

    def _recount(self, away_ms: int) -> None:
        """Fewer than half are cut off, or leave. At the moment in which the first of the others no longer counts them, some of
        the others, who have not heard of it yet, are cut off too, and find themselves together with those."""
        world, rng, ids = self._world, self._rng, sorted(self._all)
        away = set(rng.sample(ids, rng.randint(1, (len(ids) - 1) // 2)))
        stay = self._all - away
        self._well = set()
        self._over = set(rng.sample(sorted(stay - {min(stay)}), rng.randint(1, len(stay) - 1)))
        self._changes_left = rng.choice([1, 1, 2])
        world.note(f"{names(away)} go, and with them {names(self._over)} as soon as they are not counted any more")
        if self._swarm.mode is Mode.DOWNSCALE:
            for node_id in sorted(away):
                world.leave(node_id)
        else:
            world.network.cut = {(a, b) for a in ids for b in ids if (a in away) != (b in away)}
        world.clock.run_until(world.now + 4 * self._swarm.timers.deadtime_ms)
        self._over = set()
        for node_id in sorted(away):
            if world.machines[node_id].core is None:
                self._start(node_id)
        world.clock.run_until(world.now + away_ms)
        world.network.heal()

    def _split_again(self, node_id: int) -> None:
        """A view is installed. If it counts other votes, and first at this node: those who are to go over are cut off now."""
        core = self._world.machines[node_id].core
        view = core.membership.view if core is not None else None
        if core is None or view is None or node_id in self._over or core.membership.roll.since != view.view_id:
            return
        self._changes_left -= 1
        if self._changes_left:
            return
        left = self._all - view.member_ids | self._over
        self._over = set()
        self._world.note(f"split: {names(self._all - left)} | {names(left)}")
        self._world.network.cut = {(a, b) for a in self._all for b in self._all if (a in left) != (b in left)}

    def _quorum(self, members: set[int], trouble: Trouble) -> None:
        """Those who are left can go on where the rules let them: at once, or when the disk's claim has run out."""
        mode, size = self._swarm.mode, self._swarm.size
        if mode.changes_electorate or 2 * len(members) < size:
            return
        if 2 * len(members) == size and (not mode.half_suffices or (mode is Mode.LOWEST and 1 not in members)):
            return

        def quorate() -> bool:
            view = self._world.machines[min(members)].installed
            return view is not None and view.quorate and view.member_ids == members

        self._within(quorate, 2 * self._swarm.timers.deadtime_ms, f"{trouble}: quorum of {names(members)}")

    def _together(self) -> None:
        """All are back, in one view, with a fate for every multicast; what follows from the rules has followed."""
        world = self._world
        for node_id in sorted(self._all):
            if world.machines[node_id].core is None:
                self._start(node_id)

        def agreed() -> bool:
            for node_id, machine in world.machines.items():
                if machine.core is not None and machine.session is None:
                    world.attach(node_id)
            return world.agree(self._all)

        self._within(agreed, RETURN_MS, "all in one view again")
        rules = self._swarm.config(1).quorum
        settle_ms = 2 * self._swarm.timers.deadtime_ms
        if rules.last_man_standing:
            settle_ms += rules.last_man_standing_window_ms
        world.clock.run_until(world.now + settle_ms)
        self._within(agreed, RETURN_MS, "all in one view again")

    def _within(self, condition: Callable[[], bool], limit_ms: int, what: str) -> None:
        world = self._world
        end = world.now + limit_ms
        while not condition():
            if world.now >= end:
                raise Violation(f"{what}: not within {limit_ms} ms; {world.pending()}")
            world.clock.run_until(min(end, world.now + 20 * self._pace))
