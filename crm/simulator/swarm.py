"""What a seed chooses before a run begins: the cluster, its quorum rules, its timers, and which faults it will meet.

Swarm testing: each run gets a random *subset* of the kinds of fault with random weights, because a run with every fault
all the time seldom gets far enough for the deep ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
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


class Mode(StrEnum):
    """How a view becomes quorate."""

    MAJORITY = "majority"
    WAIT_FOR_ALL = "majority+wait_for_all"
    TWO_NODE = "two_node+wait_for_all"
    PING = "ping"

    @property
    def excludes_two(self) -> bool:
        """Whether two quorate views without a common member are impossible. Under two_node and ping both halves may be
        quorate by design, and fencing decides."""
        return self in (Mode.MAJORITY, Mode.WAIT_FOR_ALL)


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

    def describe(self) -> str:
        names = ",".join(fault.value for fault in self.faults)
        return (
            f"{self.size} nodes, {self.mode}, keepalive {self.timers.keepalive_ms} deadtime {self.timers.deadtime_ms}, "
            f"loss up to {self.loss:.2f}, duplication {self.duplication:.2f}, delay {self.max_delay_ms} ms, "
            f"drift {max(map(abs, self.drift_ppm))} ppm, faults {names}"
        )

    def config(self, node_id: int) -> MessagingConfig:
        """What this node reads as its configuration."""
        tie_breaker = TieBreakerConfig(TieBreakerType.PING, ("target",)) if self.mode is Mode.PING else None
        ids = range(1, self.size + 1)
        return MessagingConfig(
            cluster="simulated",
            node_id=node_id,
            nodes=tuple(NodeConfig(n, f"n{n}", 1, (Endpoint("127.0.0.1", 7000 + n),)) for n in ids),
            links=(LinkConfig(0, LinkMode.UNICAST, 7000),),
            timers=self.timers,
            quorum=QuorumConfig(
                expected_votes=self.size,
                two_node=self.mode is Mode.TWO_NODE,
                wait_for_all=self.mode in (Mode.WAIT_FOR_ALL, Mode.TWO_NODE),
                tie_breaker=tie_breaker or TieBreakerConfig(),
            ),
            key_file=Path("/nonexistent"),
            state_dir=Path("/nonexistent"),
            run_dir=Path("/nonexistent"),
        )


def draw(rng: random.Random) -> Swarm:
    """The choices of one seed."""
    size = rng.choice([2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 7])
    modes = [Mode.MAJORITY, Mode.MAJORITY, Mode.WAIT_FOR_ALL]
    if size == 2:
        modes += [Mode.TWO_NODE, Mode.TWO_NODE]
    if size % 2 == 0:
        modes += [Mode.PING, Mode.PING]
    keepalive = rng.choice([200, 400, 1000])
    pace = keepalive // 200  # a slower cluster gets the same number of events in more time
    timers = Timers(
        keepalive_ms=keepalive,
        warntime_ms=5 * keepalive // 2,
        deadtime_ms=5 * keepalive,
        initdead_ms=15 * keepalive,
        vouch_ms=15 * keepalive,
    )
    always = (Fault.BOOT, Fault.HEAL)
    optional = [fault for fault in Fault if fault not in always and rng.random() < 0.6]
    faults = (*always, *optional)
    drift = rng.choice([0, 100, 20_000])
    return Swarm(
        size=size,
        mode=rng.choice(modes),
        timers=timers,
        faults=faults,
        weights=tuple(rng.randint(1, 4) + (2 if fault in always else 0) for fault in faults),
        drift_ppm=tuple(rng.randint(-drift, drift) for _ in range(size)),
        loss=rng.choice([0.0, 0.05, 0.3]),
        duplication=rng.choice([0.0, 0.2]),
        max_delay_ms=rng.choice([1, 3, 20, 100]),
        safety_ms=pace * rng.choice([10_000, 20_000, 40_000]),
        fault_gap_ms=pace * rng.choice([100, 600, 2500]),
        multicast_gap_ms=pace * rng.choice([20, 100, 500]),
        core_only=rng.random() < 0.3,
    )
