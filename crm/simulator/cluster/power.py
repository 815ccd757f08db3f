"""The power switches: fence devices that really cut a machine off, sometimes late, sometimes without saying so, sometimes not at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from agents.types import ExecStatus, OcfCode, OperationResult
from crm.simulator.cluster.agents import NEVER_MS
from crm.simulator.cluster.box import Box, Job

if TYPE_CHECKING:
    from crm.simulator.cluster.world import ClusterWorld

BOOT_MS: Final = (300, 4_000)
"""A rebooted machine's time until its daemons start."""


@dataclass(slots=True)
class Switches:
    """Probabilities: `fails` does nothing and says so, `mute` cuts the power and says that it failed, `slow` takes its time."""

    fails: float = 0.0
    mute: float = 0.0
    slow: float = 0.0
    slow_ms: int = 6_000


class Power:
    """See the module's text."""

    def __init__(self, world: ClusterWorld) -> None:
        self.switches = Switches()
        self.cuts = 0
        self.dead_until = 0
        """Until then no fence device does anything, and each says so."""
        self._world = world
        self._rng = world.dice.of("power")

    def begin(self, box: Box, job: Job) -> None:
        """A fence agent starts on a machine."""
        world, rng, action = self._world, self._rng, job.operation.action
        if action not in ("off", "reboot", "on"):
            world.clock.after(rng.randint(1, 30), partial(self._end, box, job, None, OcfCode.OK))
            return
        target = world.box_named(job.operation.parameters.get("port") or job.operation.parameters.get("nodename", ""))
        switches = self.switches
        took_ms = rng.randint(1, switches.slow_ms if rng.random() < switches.slow else 300)
        cut_ms = rng.randint(0, took_ms)
        dead = world.now < self.dead_until
        if target is None or dead or (switches.fails and rng.random() < switches.fails):
            world.clock.after(took_ms, partial(self._end, box, job, target, OcfCode.UNKNOWN_ERROR))
            return
        mute = bool(switches.mute) and rng.random() < switches.mute
        world.clock.after(cut_ms, partial(self._act, box, job, target))
        limit_ms = job.operation.timeout_ms or NEVER_MS
        if took_ms >= limit_ms:
            world.clock.after(limit_ms, partial(self._end, box, job, target, OcfCode.UNKNOWN_ERROR))
        else:
            rc = OcfCode.UNKNOWN_ERROR if mute else OcfCode.OK
            world.clock.after(took_ms, partial(self._end, box, job, target, rc))

    def _act(self, box: Box, job: Job, target: Box) -> None:
        if not job.alive:
            return
        world, action = self._world, job.operation.action
        if action != "on":
            self.cuts += 1
            world.note(f"{box.name}     {action} of {target.name}: its power is cut")
            world.cut_power(target.node_id)
        if action != "off":
            world.clock.after(self._rng.randint(*BOOT_MS), partial(world.power_on, target.node_id))

    def _end(self, box: Box, job: Job, target: Box | None, rc: OcfCode) -> None:
        if not job.alive:
            return
        job.alive = False
        box.jobs.remove(job)
        if target is not None:
            self._world.note(f"{box.name}     {job.operation.action} of {target.name}: {rc.name}")
            if rc is OcfCode.OK and job.operation.action != "on":
                self._world.watch.fencing_confirmed(target)
        if not job.future.done():
            job.future.set_result(OperationResult(rc, ExecStatus.DONE))
