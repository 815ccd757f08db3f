"""Running an operation: from what is wanted to what became of it.

Theory of operation. The standard of the agent chooses a convention (`ocf`, `lsb`, `systemd`, `stonith`) that makes the
command and reads its end; everything else is the same for all and is here: the process, the time limit, the ledger of
what is at work, and the translation of "could not even be run". `run` never raises for what an agent does or is: a
missing agent, a wrong parameter and a crash are results.

The runner keeps no queue: whoever calls it decides what may run at the same time (the executor, one operation a resource). Its one
limit is `MAX_AT_ONCE`, against a burst of probes that would start a thousand shells; recurring operations have it for themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Final

from agents import command
from agents.command import Command, Convention
from agents.environment import base_environment
from agents.ledger import TOKEN, Ledger, Orphan
from agents.lsb import LsbConvention
from agents.ocf import OcfConvention
from agents.paths import AgentPaths
from agents.process import Ended, run_process
from agents.stonith import StonithConvention
from agents.systemd import SystemdConvention
from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult, Standard

MAX_AT_ONCE: Final = 64
"""Agents at work at the same time; more wait. Fence agents do not wait, and what must happen once does not wait for monitors."""
ASK_AGAIN_MS: Final = 100
"""Pause before a unit that has not settled is asked again."""
RUNTIME_FOLDER_MODE: Final = 0o1755


class Runner:
    """Runs agents found in `paths`. With a ledger, a successor of this process can end what it leaves behind."""

    def __init__(self, paths: AgentPaths | None = None, ledger: Ledger | None = None) -> None:
        self.paths = paths or AgentPaths.from_environment()
        self._ledger = ledger
        base = base_environment(self.paths)
        systemd = SystemdConvention(self.paths, base)
        self._conventions: dict[str, Convention] = {
            Standard.OCF: OcfConvention(self.paths, base),
            Standard.LSB: LsbConvention(self.paths, base),
            Standard.SYSTEMD: systemd,
            Standard.STONITH: StonithConvention(self.paths, base),
        }
        self._slots = {recurring: asyncio.Semaphore(MAX_AT_ONCE) for recurring in (False, True)}
        # Agents keep their state files here; on a fresh boot nobody has made it yet.
        with contextlib.suppress(OSError):
            self.paths.rsctmp.mkdir(mode=RUNTIME_FOLDER_MODE, parents=True, exist_ok=True)

    def resolve(self, agent: AgentId) -> AgentId:
        """`service:x` is an init script where there is one, else a systemd unit."""
        if agent.standard != Standard.SERVICE:
            return agent
        script = (self.paths.lsb / agent.type).is_file()
        return AgentId(Standard.LSB if script else Standard.SYSTEMD, "", agent.type)

    async def run(self, operation: Operation) -> OperationResult:
        """Carry the operation out. Cancelling this ends the agent before it returns."""
        operation = replace(operation, agent=self.resolve(operation.agent))
        convention = self._conventions.get(operation.agent.standard)
        if convention is None:
            reason = f"agents of class {operation.agent.standard!r} are not supported"
            return OperationResult(OcfCode.NOT_INSTALLED, ExecStatus.NOT_INSTALLED, reason)
        prepared = convention.prepare(operation)
        if isinstance(prepared, OperationResult):
            return prepared
        if operation.agent.standard == Standard.STONITH:
            return await self._until_settled(convention, operation, prepared)
        # A dead disk can hold up every monitor at once; the stops that it makes necessary must not stand behind them.
        async with self._slots[operation.interval_ms > 0]:
            return await self._until_settled(convention, operation, prepared)

    async def end_orphans(self) -> list[Orphan]:
        """End what a killed predecessor left at work. Before the first `run`."""
        return [] if self._ledger is None else await self._ledger.end_orphans()

    async def _until_settled(self, convention: Convention, operation: Operation, prepared: Command) -> OperationResult:
        began = time.monotonic()
        left = operation.timeout_ms
        while True:
            try:
                ended = await self._run(operation, prepared, left)
            except OSError as error:
                return command.not_executable(prepared.argv[0], error)
            result = command.cut_short(operation, ended) or convention.interpret(operation, ended)
            spent = round((time.monotonic() - began) * 1000)
            if result is not None:
                return replace(result, run_ms=spent)
            if operation.timeout_ms and spent + ASK_AGAIN_MS >= operation.timeout_ms:
                reason = f"{operation.agent} did not settle within {operation.timeout_ms} ms"
                return command.finished(ended, OcfCode.UNKNOWN_ERROR, ExecStatus.TIMEOUT, reason)
            await asyncio.sleep(ASK_AGAIN_MS / 1000)
            left = max(1, operation.timeout_ms - spent - ASK_AGAIN_MS) if operation.timeout_ms else 0

    async def _run(self, operation: Operation, prepared: Command, timeout_ms: int) -> Ended:
        if self._ledger is None:
            return await run_process(prepared.argv, prepared.environment, timeout_ms, stdin=prepared.stdin)
        entry = self._ledger.open(operation, prepared.argv[0])
        environment = {**prepared.environment, TOKEN: entry.token}
        undead = False
        try:
            ended = await run_process(
                prepared.argv, environment, timeout_ms, stdin=prepared.stdin, started=entry.started
            )
            undead = ended.undead
        finally:
            # What cannot be killed stays in the ledger: a successor must know of it too.
            if undead:
                entry.leave()
            else:
                entry.done()
        return ended


async def run(operation: Operation, paths: AgentPaths | None = None) -> OperationResult:
    """One operation, without a ledger: for tools and tests."""
    return await Runner(paths).run(operation)
