"""What a seed chooses for a whole cluster: nodes, quorum, configuration, how agents and switches behave, which faults come, what clients do."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from crm.simulator import swarm as membership
from crm.simulator.cluster.agents import Temper
from crm.simulator.cluster.configuration import Configuration, draw_topology
from crm.simulator.cluster.configuration import draw as draw_configuration
from crm.simulator.cluster.dice import Dice
from crm.simulator.cluster.power import Switches
from crm.simulator.swarm import Mode
from messaging.config import MessagingConfig, Timers


class Fault(StrEnum):
    POWER = "power"  # a machine loses its power, and gets it back some time later
    BLINK = "blink"  # the same, with the power back at once: it returns before it was fenced
    CRM = "crm"  # SIGKILL of crm
    MESSAGING = "messaging"  # SIGKILL of messaging
    DC = "dc"  # the DC's machine loses its power, at whatever step it is
    DC_CRM = "dc-crm"  # SIGKILL of the DC's crm
    SPLIT = "split"
    ONE_WAY = "one-way"
    HEAL = "heal"
    PAUSE = "pause"  # the whole machine stands still
    HANG = "hang"  # crm alone stands still
    WEATHER = "weather"  # loss, duplication, delay
    BREAK = "break"  # a connection breaks
    DIE = "die"  # a resource dies by itself
    SLOW_DISK = "slow-disk"
    FULL_DISK = "full-disk"
    LEAVE = "leave"  # a node is asked to shut down, and started again later
    POLICY = "policy"  # the policy worker is killed
    ISOLATE = "isolate"  # a machine that runs something is cut off from all others for a while, often while no fence device works
    DIVIDE = "divide"  # a split in which clients go on at both sides, the smaller one most of all
    DEAD_SWITCH = "dead-switch"  # no fence device works for a while
    AT_WORK = "at-work"  # SIGKILL of crm while an agent is at work, before or after its effect
    ORDERED = "ordered"  # the DC's crm or machine dies a moment after it has sent orders
    ENDED = "ended"  # another machine or its messaging dies when an operation ends: the result may die with the view
    TOLD = "told"  # all machines lose power a moment after a client was told; the one that told it stays away longest


ALWAYS = (Fault.HEAL, Fault.DIE)
AIMED = (Fault.ISOLATE, Fault.DIVIDE, Fault.AT_WORK, Fault.ORDERED, Fault.ENDED, Fault.TOLD)
"""Those that make a situation in which a rule of the cluster core would show."""


WITHOUT_FENCING = (
    *(Fault.HEAL, Fault.DIE, Fault.POWER, Fault.DC, Fault.SPLIT, Fault.ISOLATE, Fault.DIVIDE, Fault.LEAVE),
    *(Fault.WEATHER, Fault.BREAK, Fault.POLICY, Fault.DEAD_SWITCH),
)
"""Without fencing nothing runs twice as long as whoever is cut off can stop what it runs: its crm is there, and so is its machine."""


@dataclass(frozen=True, slots=True)
class Weighted(membership.Swarm):
    """Messaging whose nodes may have different votes; one each where there are none."""

    votes: tuple[int, ...] = ()

    def config(self, node_id: int) -> MessagingConfig:
        plain = membership.Swarm.config(self, node_id)
        if not self.votes:
            return plain
        nodes = tuple(replace(node, votes=count) for node, count in zip(plain.nodes, self.votes, strict=True))
        return replace(plain, nodes=nodes, quorum=replace(plain.quorum, expected_votes=sum(self.votes)))

    def votes_of(self, node_ids: Iterable[int]) -> int:
        return sum(self.votes[node_id - 1] if self.votes else 1 for node_id in node_ids)

    def is_majority(self, node_ids: Iterable[int]) -> bool:
        """Whether these have more than half of all votes."""
        return 2 * self.votes_of(node_ids) > self.votes_of(range(1, self.size + 1))


@dataclass(frozen=True, slots=True)
class ClusterSwarm:
    """The choices of one run. Times in virtual milliseconds; `client_gap_ms` 0: no clients."""

    wild: bool
    messaging: Weighted
    configuration: Configuration
    temper: Temper
    switches: Switches
    faults: tuple[Fault, ...]
    weights: tuple[int, ...]
    fencing: bool
    safety_ms: int
    fault_gap_ms: int
    client_gap_ms: int
    restart_ms: int
    decide_ms: int

    @property
    def size(self) -> int:
        return self.messaging.size

    def describe(self) -> str:
        timers = self.messaging.timers
        return (
            f"{'wild, ' if self.wild else ''}{'' if self.fencing else 'no fencing, '}{self.size} nodes, "
            f"votes {self.messaging.votes or 'equal'}, {self.messaging.mode}, deadtime {timers.deadtime_ms}; {self.configuration.describe()}; "
            f"faults {','.join(self.faults)} every {self.fault_gap_ms} ms, clients every {self.client_gap_ms} ms"
        )


def draw(dice: Dice) -> ClusterSwarm:
    """The choices of one seed. Each aspect has its own dice."""
    messaging = _messaging(dice)
    pace, mood = dice.of("pace"), dice.of("mood")
    # Half of two nodes is no majority: without either nothing goes on, so nothing can be spared.
    wild = mood.random() < 0.2 or (messaging.size == 2 and messaging.mode is Mode.MAJORITY)
    fencing = wild or messaging.size == 2 or dice.of("fencing").random() < 0.85
    chosen = dice.of("kinds of fault")
    faults = (*ALWAYS, *(fault for fault in Fault if fault not in ALWAYS and chosen.random() < 0.4))
    if not fencing:
        faults = (*(fault for fault in faults if fault in WITHOUT_FENCING), Fault.ISOLATE)
    return ClusterSwarm(
        wild=wild,
        messaging=messaging,
        configuration=_configuration(dice, messaging.size, fencing),
        fencing=fencing,
        temper=_temper(dice.of("temper"), fencing),
        switches=_switches(dice.of("switches")),
        faults=faults,
        weights=tuple(chosen.randint(1, 4) + (2 if fault in AIMED else 0) for fault in faults),
        safety_ms=pace.choice([15_000, 25_000, 35_000]),
        fault_gap_ms=pace.choice([500, 2000, 6000]) if wild else pace.choice([400, 800, 2000]),
        client_gap_ms=pace.choice([0, 200, 500, 500, 1500]),
        restart_ms=pace.choice([50, 300, 1000]),
        decide_ms=pace.choice([5, 30, 200]),
    )


def _configuration(dice: Dice, size: int, fencing: bool) -> Configuration:
    nodes = [f"n{i}" for i in range(1, size + 1)]
    made = draw_configuration(dice.of("configuration"), nodes, fencing)
    policy = dice.of("no quorum").choice(("stop", "stop", "freeze", "suicide", "ignore", "demote"))
    made.options["no-quorum-policy"] = policy if fencing else "stop"
    if fencing:
        draw_topology(made, dice.of("topology"), nodes)
    return made


def _messaging(dice: Dice) -> Weighted:
    rng = dice.of("membership")
    size = rng.choice([2, 2, 3, 3, 3, 3, 4, 5])
    modes = (
        [Mode.MAJORITY, Mode.MAJORITY, Mode.WAIT_FOR_ALL]
        if size > 2
        else [Mode.TWO_NODE, Mode.TWO_NODE, Mode.TWO_NODE, Mode.MAJORITY]
    )
    drawn = membership.draw(dice.of("messaging's own"))
    weighing = dice.of("votes")
    votes = tuple(weighing.choice((1, 1, 2, 3)) for _ in range(size)) if weighing.random() < 0.25 and size > 2 else ()
    return replace(
        Weighted(**{each.name: getattr(drawn, each.name) for each in fields(drawn)}),
        votes=votes,
        size=size,
        mode=rng.choice(modes),
        timers=Timers(keepalive_ms=200, warntime_ms=500, deadtime_ms=1000, initdead_ms=2000, vouch_ms=2000),
        drift_ppm=tuple(rng.randint(-100, 100) for _ in range(size)),
        max_delay_ms=rng.choice([1, 3, 20]),
        loss=rng.choice([0.0, 0.0, 0.05, 0.2]),
        duplication=rng.choice([0.0, 0.1]),
        links=1,
        codec=False,
    )


def _temper(rng: random.Random, fencing: bool) -> Temper:
    bad = rng.random() < 0.6
    drawn = Temper(
        start_fails=rng.choice([0.0, 0.05, 0.2]) if bad else 0.0,
        stop_fails=rng.choice([0.0, 0.02, 0.1]) if bad else 0.0,
        monitor_lies=rng.choice([0.0, 0.01, 0.05]) if bad else 0.0,
        promote_fails=rng.choice([0.0, 0.1]) if bad else 0.0,
        slow=rng.choice([0.0, 0.1, 0.5, 0.5]),
        hangs=rng.choice([0.0, 0.0, 0.02]) if bad else 0.0,
    )
    # Without fencing a stop must succeed, and soon.
    return drawn if fencing else replace(drawn, stop_fails=0.0, slow=0.0, hangs=0.0)


def _switches(rng: random.Random) -> Switches:
    return Switches(fails=rng.choice([0.0, 0.2, 0.5]), mute=rng.choice([0.0, 0.2]), slow=rng.choice([0.0, 0.3]))
