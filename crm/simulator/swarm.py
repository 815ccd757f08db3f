"""What a seed chooses before a run begins: the cluster, its quorum rules, its timers, and which faults it will meet.

Swarm testing: each run gets a random *subset* of the kinds of fault with random weights, because a run with every fault
all the time seldom gets far enough for the deep ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from messaging.config import (
    Endpoint,
    LinkConfig,
    LinkMode,
    MessagingConfig,
    NodeConfig,
    QuorumConfig,
    TieBreakerConfig,
    TieBreakerType,
    Timers,
)

TKO = 5


class Mode(StrEnum):
    """How a view becomes quorate."""

    MAJORITY = "majority"
    WAIT_FOR_ALL = "majority+wait_for_all"
    TWO_NODE = "two_node+wait_for_all"
    PING = "ping"
    QDISK = "quorum disk"
    ARBITER = "network arbiter"
    LOWEST = "auto_tie_breaker lowest"
    LAST_MAN = "last_man_standing+wait_for_all"
    DOWNSCALE = "allow_downscale"

    @property
    def excludes_two(self) -> bool:
        """Whether two quorate views without a common member are impossible. Under two_node and ping both halves may be
        quorate by design, and fencing decides."""
        return self not in (Mode.TWO_NODE, Mode.PING)

    @property
    def half_suffices(self) -> bool:
        return self in (Mode.TWO_NODE, Mode.PING, Mode.QDISK, Mode.ARBITER, Mode.LOWEST)

    @property
    def waits_for_all(self) -> bool:
        return self in (Mode.WAIT_FOR_ALL, Mode.TWO_NODE, Mode.LAST_MAN)

    @property
    def changes_electorate(self) -> bool:
        """Whether the votes that count are agreed with the views."""
        return self in (Mode.LAST_MAN, Mode.DOWNSCALE)


class Fault(StrEnum):
    CRASH = "crash"  # power off: what was not synced is lost, and so is what holds until the next boot
    KILL = "kill"  # only the daemon dies
    BOUNCE = "bounce"  # it dies and is started at once
    BOOT = "boot"
    SPLIT = "split"
    ONE_WAY = "one-way"
    HEAL = "heal"
    PAUSE = "pause"
    WEATHER = "weather"  # loss, duplication, delay
    CRM = "crm"  # the crm detaches, politely or not, or comes back
    HANG = "hang"  # the crm stops vouching
    LEAVE = "leave"
    SLOW_DISK = "slow-disk"
    PING = "ping"  # the target of a node's pings goes or comes
    BREAK = "break"  # one connection breaks
    LINK = "link"  # one of several links is cut for some or all, loses more, clogs, or heals
    CLOG = "clog"  # a link takes long for each datagram, and drops what queues up
    WALL_CLOCK = "wall-clock"  # the clock on the wall jumps
    ROT = "rot"  # of a node that is down, one of the two copies of its state loses bytes
    WIPE = "wipe"  # once in a run a node loses all that it had written down
    ATTACK = "attack"  # recorded and altered frames are sent, of dead lives too
    KEYS = "keys"  # a step of a key rotation reaches a node
    QDISK = "quorum-disk"  # a node's way to the quorum disk stalls or fails
    ARBITER = "arbiter"  # it is stopped, killed, loses its disk, or nodes do not reach it


_ONLY_WITH_CODEC = (Fault.ATTACK, Fault.KEYS)


@dataclass(frozen=True, slots=True)
class Swarm:
    """The choices of one run. Times in virtual milliseconds."""

    size: int
    mode: Mode
    timers: Timers
    faults: tuple[Fault, ...]
    weights: tuple[int, ...]
    drift_ppm: tuple[int, ...]
    loss: float
    duplication: float
    max_delay_ms: int
    safety_ms: int
    fault_gap_ms: int
    multicast_gap_ms: int
    core_only: bool
    links: int = 1
    codec: bool = False
    run_in_memory: bool = True
    watch_ms: int = 0

    def describe(self) -> str:
        names = ",".join(fault.value for fault in self.faults)
        return (
            f"{self.size} nodes, {self.mode}, {self.links} link{'s' if self.links > 1 else ''}"
            f"{', frames with keys' if self.codec else ''}, "
            f"keepalive {self.timers.keepalive_ms} deadtime {self.timers.deadtime_ms}, "
            f"loss up to {self.loss:.2f}, duplication {self.duplication:.2f}, delay {self.max_delay_ms} ms, "
            f"drift {max(map(abs, self.drift_ppm))} ppm, faults {names}"
        )

    def config(self, node_id: int) -> MessagingConfig:
        """What this node reads as its configuration."""
        timers = self.timers
        tie_breaker = TieBreakerConfig()
        if self.mode is Mode.PING:
            tie_breaker = TieBreakerConfig(TieBreakerType.PING, ("target",))
        elif self.mode in (Mode.QDISK, Mode.ARBITER):  # as crm.config derives them
            kind = TieBreakerType.QDISK if self.mode is Mode.QDISK else TieBreakerType.ARBITER
            interval_ms = (timers.deadtime_ms - timers.keepalive_ms) // (TKO + 3)
            tie_breaker = TieBreakerConfig(kind, interval_ms=interval_ms, tko=TKO)
        ids = range(1, self.size + 1)
        return MessagingConfig(
            cluster="simulated",
            node_id=node_id,
            nodes=tuple(
                NodeConfig(n, f"n{n}", 1, tuple(Endpoint(f"10.0.{link}.{n}", 7000) for link in range(self.links)))
                for n in ids
            ),
            links=tuple(LinkConfig(link, LinkMode.UNICAST, 7000) for link in range(self.links)),
            timers=timers,
            quorum=QuorumConfig(
                expected_votes=self.size,
                two_node=self.mode is Mode.TWO_NODE,
                wait_for_all=self.mode.waits_for_all,
                tie_breaker=tie_breaker,
                auto_tie_breaker="lowest" if self.mode is Mode.LOWEST else "",
                last_man_standing=self.mode is Mode.LAST_MAN,
                last_man_standing_window_ms=2 * timers.deadtime_ms,
                allow_downscale=self.mode is Mode.DOWNSCALE,
            ),
            key_file=Path("/nonexistent"),
            state_dir=Path("/nonexistent"),
            run_dir=Path("/nonexistent"),
        )


_PACES = {
    200: ((200, 5, 120_000), (200, 5, 240_000), (200, 5, 360_000)),
    400: ((400, 5, 240_000), (400, 5, 480_000), (400, 5, 720_000)),
    1000: ((1000, 5, 1_800_000), (1000, 10, 3_600_000), (2000, 5, 32_400_000)),
}
"""keepalive, deadtime in keepalives, and the length of the watch. Slow timers are the usual ones, and cost the least."""

_MODES_OF_TWO = (
    *(Mode.MAJORITY, Mode.WAIT_FOR_ALL, Mode.LOWEST, Mode.PING, Mode.PING),
    *(Mode.TWO_NODE, Mode.TWO_NODE, Mode.QDISK, Mode.QDISK, Mode.ARBITER, Mode.ARBITER),
)
_MODES_EVEN = (
    *(Mode.MAJORITY, Mode.WAIT_FOR_ALL, Mode.LOWEST, Mode.PING, Mode.PING),
    *(Mode.LAST_MAN, Mode.DOWNSCALE, Mode.QDISK, Mode.QDISK, Mode.ARBITER, Mode.ARBITER),
)
_MODES_ODD = (Mode.MAJORITY, Mode.MAJORITY, Mode.WAIT_FOR_ALL, Mode.LAST_MAN, Mode.DOWNSCALE)


def draw(rng: random.Random) -> Swarm:
    """The choices of one seed."""
    size = rng.choice([2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 7])
    modes = _MODES_OF_TWO if size == 2 else _MODES_EVEN if size % 2 == 0 else _MODES_ODD
    paces = _PACES[rng.choice([200, 400, 1000])]
    mode, links, codec = rng.choice(modes), rng.choice([1, 1, 2, 3]), rng.random() < 0.15
    always = (Fault.BOOT, Fault.HEAL)
    optional = [fault for fault in Fault if fault not in always and rng.random() < 0.6]
    out_of_place = {fault for fault in _ONLY_WITH_CODEC if not codec}
    out_of_place |= set() if mode is Mode.PING else {Fault.PING}
    out_of_place |= set() if mode is Mode.QDISK else {Fault.QDISK}
    out_of_place |= set() if mode is Mode.ARBITER else {Fault.ARBITER}
    out_of_place |= {Fault.LINK} if links == 1 else set()
    faults = (*always, *(fault for fault in optional if fault not in out_of_place))
    drift = rng.choice([0, 100, 20_000])
    drawn = Swarm(
        size=size,
        mode=mode,
        timers=_timers(200, 5),
        faults=faults,
        weights=tuple(rng.randint(1, 4) + (2 if fault in always else 0) for fault in faults),
        drift_ppm=tuple(rng.randint(-drift, drift) for _ in range(size)),
        loss=rng.choice([0.0, 0.05, 0.3]),
        duplication=rng.choice([0.0, 0.2]),
        max_delay_ms=rng.choice([1, 3, 20, 100]),
        safety_ms=rng.choice([10_000, 20_000, 40_000]),
        fault_gap_ms=rng.choice([100, 600, 2500]),
        multicast_gap_ms=rng.choice([20, 100, 500]),
        core_only=rng.random() < 0.3,
        links=links,
        codec=codec,
        run_in_memory=rng.random() < 0.7,
    )
    keepalive, beats, watch_ms = rng.choice(paces)
    pace = keepalive // 200  # a slower cluster gets the same number of events in more time
    return replace(
        drawn,
        timers=_timers(keepalive, beats),
        safety_ms=pace * drawn.safety_ms,
        fault_gap_ms=pace * drawn.fault_gap_ms,
        multicast_gap_ms=pace * drawn.multicast_gap_ms,
        watch_ms=watch_ms // (4 if codec else 1),
    )


def _timers(keepalive_ms: int, beats: int) -> Timers:
    """`beats`: deadtime in keepalives."""
    deadtime_ms = beats * keepalive_ms
    return Timers(
        keepalive_ms=keepalive_ms,
        warntime_ms=deadtime_ms // 2,
        deadtime_ms=deadtime_ms,
        initdead_ms=3 * deadtime_ms,
        vouch_ms=15 * keepalive_ms,
    )
