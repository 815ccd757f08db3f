"""Simulated resource agents: each operation takes its time, has its effect somewhere in between, and may fail, hang or lie.

Theory of operation. An agent is a process of the machine, not of crm: when crm is killed it goes on and has its effect, unless the next crm ends it first
(`end_orphans`). Its effect falls on the machine's truth (`Box.running`) at one moment; its result is known later. A start that fails may
have started the resource or not; a stop that fails has not stopped it. Everything about it is drawn from the seed.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from agents.ledger import Orphan
from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult, Standard
from crm.simulator.cluster.box import PROMOTED, STARTED, Box, Job
from crm.simulator.cluster.loop import CURRENT
from crm.simulator.cluster.moment import Moment

if TYPE_CHECKING:
    from crm.simulator.cluster.world import ClusterWorld

NEVER_MS: Final = 3_600_000
PROMOTION_SCORE: Final = "10"
CHANGING: Final = frozenset(("start", "stop", "promote", "demote", "migrate_to", "migrate_from"))
"""Operations that must not be ordered again while they are under way."""

_DESCRIPTION: Final = """<resource-agent name="{name}" version="1.0"><version>1.1</version><parameters>
<parameter name="fixed" unique="0" reloadable="0"><content type="string"/></parameter>
<parameter name="soft" unique="0" reloadable="1"><content type="string"/></parameter></parameters><actions>{actions}</actions></resource-agent>"""
_OCF_ACTIONS: Final = ("start", "stop", "monitor", "promote", "demote", "notify", "reload-agent", "meta-data")
_FENCE_ACTIONS: Final = ("on", "off", "reboot", "status", "monitor", "metadata")


@dataclass(slots=True)
class Temper:
    """How well agents behave, by probabilities; calm when all are 0. `quick_ms` and `slow_ms` bound what an operation takes."""

    start_fails: float = 0.0
    stop_fails: float = 0.0
    monitor_lies: float = 0.0
    promote_fails: float = 0.0
    slow: float = 0.0
    hangs: float = 0.0
    quick_ms: int = 60
    slow_ms: int = 2_000

    def fails(self, action: str, rng: random.Random) -> bool:
        chance = {
            "start": self.start_fails,
            "migrate_from": self.start_fails,
            "migrate_to": self.start_fails,
            "stop": self.stop_fails,
            "monitor": self.monitor_lies,
            "promote": self.promote_fails,
            "demote": self.promote_fails,
        }.get(action, 0.0)
        return bool(chance) and rng.random() < chance

    def takes_ms(self, rng: random.Random) -> int:
        if self.hangs and rng.random() < self.hangs:
            return NEVER_MS
        return rng.randint(1, self.slow_ms if self.slow and rng.random() < self.slow else self.quick_ms)


class SimulatedRunner(Runner):
    """Takes the place of `agents.runner.Runner` on one machine."""

    def __init__(self, world: ClusterWorld, box: Box) -> None:
        self.paths = AgentPaths(ocf_search=(), fence_search=())
        self._world = world
        self._box = box
        self._rng = world.dice.of(f"agents of {box.name}")

    def resolve(self, agent: AgentId) -> AgentId:
        return agent

    async def run(self, operation: Operation) -> OperationResult:
        if operation.action in ("meta-data", "metadata"):
            await asyncio.sleep(0.005)
            return OperationResult(OcfCode.OK, stdout=describe(operation.agent))
        job = Job(operation, CURRENT.get(), asyncio.get_running_loop().create_future())
        self._world.watch.action_begun(self._box, operation)
        self._box.jobs.append(job)
        if operation.agent.standard == Standard.STONITH:
            self._world.power.begin(self._box, job)
        else:
            self._begin(job)
        try:
            result: OperationResult = await job.future
        except asyncio.CancelledError:
            self._kill(job)
            raise
        return result

    async def end_orphans(self) -> list[Orphan]:
        """What an earlier crm of this boot left at work is killed, wherever it was."""
        orphans = [job for job in self._box.jobs if job.owner is not CURRENT.get()]
        for job in orphans:
            self._kill(job)
        return [Orphan(j.operation.resource, j.operation.action, j.operation.interval_ms, 1, True) for j in orphans]

    def _kill(self, job: Job) -> None:
        job.alive = False
        if job in self._box.jobs:
            self._box.jobs.remove(job)

    def _begin(self, job: Job) -> None:
        world, rng = self._world, self._rng
        took_ms = world.temper.takes_ms(rng)
        limit_ms = job.operation.timeout_ms or NEVER_MS
        if took_ms > limit_ms:
            if rng.random() < 0.5:  # it may have done its work before it hung
                world.clock.after(rng.randint(1, limit_ms), partial(self._effect_only, job))
            text = f"{job.operation} did not end within {limit_ms} ms"
            world.clock.after(
                limit_ms, partial(self._end, job, _result(OcfCode.UNKNOWN_ERROR, ExecStatus.TIMEOUT, text))
            )
            return
        effect_ms = rng.randint(0, took_ms)
        if operation_changes(job.operation):
            world.moment(Moment.BEGUN, self._box)
        world.clock.after(effect_ms, partial(self._effect_then_end, job, took_ms - effect_ms))

    def _effect_only(self, job: Job) -> None:
        self._effect(job)

    def _effect_then_end(self, job: Job, rest_ms: int) -> None:
        result = self._effect(job)
        if job.alive and operation_changes(job.operation):
            self._world.moment(Moment.EFFECT, self._box)
        self._world.clock.after(rest_ms, partial(self._end, job, result))

    def _end(self, job: Job, result: OperationResult) -> None:
        if not job.alive:
            return
        self._kill(job)
        operation = job.operation
        self._world.note(
            f"{self._box.name}     {operation.action} {operation.resource}: {result.status.name} {result.rc}"
        )
        self._world.watch.action_ended(self._box, operation, result)
        if operation_changes(operation):
            self._world.moment(Moment.ENDED, self._box)
        if not job.future.done():
            job.future.set_result(result)

    # --- what an operation does

    def _effect(self, job: Job) -> OperationResult:
        """The moment at which it happens."""
        if not job.alive:
            return _result(OcfCode.UNKNOWN_ERROR)
        operation, box, rng = job.operation, self._box, self._rng
        name = operation.resource
        failing = self._world.temper.fails(operation.action, rng)
        match operation.action:
            case "start":
                if not failing or rng.random() < 0.3:
                    self._activate(name, STARTED)
            case "stop":
                if not failing:
                    box.running.pop(name, None)
            case "promote":
                if not failing:
                    self._activate(name, PROMOTED)
            case "demote":
                if not failing and name in box.running:
                    box.running[name] = STARTED
            case "migrate_to":
                self._migrate(operation, failing)
            case "monitor":
                return self._monitor(name, failing and bool(operation.interval_ms))
            case _:
                pass
        return _result(OcfCode.UNKNOWN_ERROR if failing else OcfCode.OK)

    def _activate(self, name: str, role: str) -> None:
        self._box.running[name] = role
        self._world.watch.active(self._box, name)
        if self._world.configuration.is_promotable(name):
            self._world.set_promotion_score(self._box, name, PROMOTION_SCORE)

    def _migrate(self, operation: Operation, failing: bool) -> None:
        """Live migration: what runs here runs there from one moment to the next."""
        target = self._world.box_named(operation.meta.get("CRM_meta_migrate_target", ""))
        if failing or target is None or not target.powered or operation.resource not in self._box.running:
            return
        self._box.running.pop(operation.resource)
        self._world.watch.moved(self._box, operation.resource)
        target.running[operation.resource] = STARTED
        target.guests.add(operation.resource)
        self._world.watch.active(target, operation.resource)

    def _monitor(self, name: str, lying: bool) -> OperationResult:
        if lying:
            return _result(OcfCode.UNKNOWN_ERROR)
        role = self._box.running.get(name)
        rc = {None: OcfCode.NOT_RUNNING, STARTED: OcfCode.OK, PROMOTED: OcfCode.RUNNING_PROMOTED}[role]
        return _result(rc)


def operation_changes(operation: Operation) -> bool:
    """Whether it changes what runs."""
    return operation.action in CHANGING


def describe(agent: AgentId) -> str:
    """The agent's meta-data."""
    fence = agent.standard == Standard.STONITH
    actions = _FENCE_ACTIONS if fence else _OCF_ACTIONS
    if agent.type == "Moving":
        actions = (*actions, "migrate_to", "migrate_from")
    return _DESCRIPTION.format(
        name=agent.type, actions="".join(f'<action name="{name}" timeout="20s"/>' for name in actions)
    )


def _result(rc: OcfCode, status: ExecStatus = ExecStatus.DONE, reason: str = "") -> OperationResult:
    return OperationResult(rc, status, reason)
