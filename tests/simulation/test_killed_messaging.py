"""Of two nodes with a quorum disk or an arbiter, one's messaging is killed and started again: the other keeps its quorum throughout."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from crm.simulator.swarm import Mode, Swarm, draw
from crm.simulator.world import World
from messaging.config import Timers
from messaging.types import View

TIMERS = Timers(keepalive_ms=200, warntime_ms=600, deadtime_ms=1000, initdead_ms=3000, vouch_ms=3000)


def swarm(mode: Mode) -> Swarm:
    return replace(
        draw(random.Random(2)),
        size=2,
        mode=mode,
        timers=TIMERS,
        drift_ppm=(0, 0),
        loss=0.0,
        duplication=0.0,
        links=1,
        codec=False,
    )


@pytest.mark.parametrize("mode", [Mode.QDISK, Mode.ARBITER])
@pytest.mark.parametrize("victim", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_messaging_that_is_back_sooner_or_later_costs_the_other_no_quorum(mode: Mode, victim: int, seed: int) -> None:
    for away_ms in range(10 + 17 * seed, TIMERS.deadtime_ms * 12 // 10, 70):
        world = World(swarm(mode), random.Random(1000 * seed + away_ms), trace=True)
        outside = world.disk or world.arbiter
        assert outside is not None
        outside.calm = True
        for node_id in (1, 2):
            world.boot(node_id)
            world.attach(node_id)
        world.clock.run_until(8000 + 31 * seed)
        views: list[View] = []
        world.on_install = lambda node_id, view, views=views: views.append(view) if node_id != victim else None  # type: ignore[misc]
        world.kill(victim)
        world.clock.run_until(world.now + away_ms)
        world.boot(victim)
        world.attach(victim)
        world.clock.run_until(world.now + 4 * TIMERS.deadtime_ms)
        assert views, f"away for {away_ms} ms, and nobody noticed"
        assert views[-1].member_ids == {1, 2}
        without = [view.reason for view in views if not view.quorate]
        assert not without, f"away for {away_ms} ms: {without}\n" + "\n".join(world.log[-40:])
