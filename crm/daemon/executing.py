"""Where the executor core meets agents, files and timers.

Theory of operation. Orders from the controller become the executor's; its effects are performed in their order: what must be kept is
in its file before the agent runs. Each agent is a task; its end goes back into the core. Reports go to the controller as they are.

A predecessor's agents are ended before anything is run (`begin`), so that no operation of a resource runs twice at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lxml import etree

from agents.metadata import Descriptions
from agents.runner import Runner
from agents.types import AgentId, Operation
from crm.controller import messages
from crm.controller.graph import ResourceDefinition
from crm.controller.types import OperationReport
from crm.daemon.clock import epoch_s, now_ms
from crm.daemon.traits import Learning
from crm.executor.core import Executor
from crm.executor.statefiles import StateFiles
from crm.executor.types import CancelTimer, Effect, Order, Persist, Report, Run, SetTimer

DESCRIBED: Final = frozenset(("start", "monitor", "promote", "migrate_from", "reload", "reload-agent"))
"""Operations whose history is compared with the configuration, by what the agent's description says."""

_log = logging.getLogger("vigil.executor")


class Executing:
    """The executor of this node at work. `reported` gets every end of an operation."""

    def __init__(
        self,
        node: str,
        node_id: str,
        run_dir: Path,
        runner: Runner,
        boot: str,
        reported: Callable[[OperationReport], None],
    ) -> None:
        self.core = Executor(node, node_id)
        self.runner = runner
        self._files = StateFiles(run_dir / "executor", boot)
        self._reported = reported
        self.broken: Callable[[BaseException], None] = lambda error: None
        self.load_percent: Callable[[], int] = lambda: 0
        self._learning = Learning(Descriptions(self.runner), self.core.on_traits)
        self._learning.broken = lambda error: self.broken(error)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """End what a predecessor left at work, then continue from what it had kept."""
        for orphan in await self.runner.end_orphans():
            _log.warning("an operation of the previous crm was under way: %s", orphan)
        self._perform(self.core.restore(self._files.load(), now_ms(), epoch_s()))

    def on_configuration(self, document: etree._Element) -> None:
        """Resources may have come whose agents nobody has asked yet."""
        self._learning.on_configuration(document)

    def order(self, order: messages.Order) -> None:
        action = order.action
        resource = action.resource
        if resource is None:
            _log.error("an order without a resource: %s", action.key)
            return
        agent = AgentId(resource.standard, resource.provider or "", resource.type)
        mine = Order(
            resource=resource.id,
            agent=agent,
            action=action.task,
            transition_key=order.transition_key,
            interval_ms=0 if action.task == "cancel" else action.interval_ms,
            target_rc=action.target_rc,
            parameters=action.parameters,
        )
        self._perform(self.core.on_order(mine, now_ms(), epoch_s()))

    def forget(self, resource: str, entry_id: str | None) -> None:
        if entry_id is None:
            self._perform(self.core.forget(resource))
        else:
            self._perform(self.core.forget_entry(resource, entry_id))

    async def close(self) -> None:
        """End every agent at work, and wait for that."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._learning.close()

    def leave_nothing(self) -> None:
        """A successor will know nothing of what ran here; to be called after `close`."""
        self._files.clear()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Run(call_id, operation):
                    task = asyncio.create_task(self._run(call_id, operation))
                    self._running.add(task)
                    task.add_done_callback(self._over)
                case Persist(resource, text):
                    self._files.keep(resource, text)
                case Report():
                    self._reported(_report(effect, self.load_percent()))
                case SetTimer(name, at_ms):
                    self._cancel(name)
                    delay = max(0, at_ms - now_ms()) / 1000
                    self._timers[name] = asyncio.get_running_loop().call_later(delay, self._due, name)
                case CancelTimer(name):
                    self._cancel(name)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken(error)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _due(self, name: str) -> None:
        self._timers.pop(name, None)
        self._perform(self.core.on_timer(name, now_ms(), epoch_s()))

    async def _run(self, call_id: int, operation: Operation) -> None:
        if operation.action == "start":
            self._learning.ask(operation.agent)
        result = await self.runner.run(operation)
        if result.ok and operation.action in DESCRIBED and not operation.interval_ms:
            await self._learning.known(operation.agent)
        self._perform(self.core.on_result(call_id, result, now_ms(), epoch_s()))


def _report(report: Report, load_percent: int) -> OperationReport:
    agent = report.agent
    return OperationReport(
        task=report.action,
        resource=ResourceDefinition(report.resource, None, agent.standard, agent.provider or None, agent.type),
        interval_ms=report.interval_ms,
        rc=report.rc,
        target_rc=report.target_rc,
        op_status=int(report.status),
        transition_key=report.transition_key,
        entry=report.entry,
        failure_entry=report.failure_entry,
        forget=report.forget,
        forget_resource=report.forget_resource,
        text=report.text,
        load_percent=load_percent,
        postponed=report.postponed,
    )
