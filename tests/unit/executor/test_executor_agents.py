"""The executor with real agents and real files, killed and continued."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId
from crm.executor.core import Executor
from crm.executor.statefiles import StateFiles, boot_identity
from crm.executor.types import CancelTimer, Effect, Order, Persist, Report, Run, SetTimer

DUMMY = AgentId.parse("ocf:vigil:Dummy")


class Driver:
    """Performs an executor's effects: the least that a daemon does."""

    def __init__(self, folder: Path) -> None:
        self.files = StateFiles(folder / "executor")
        self.runner = Runner(AgentPaths(rsctmp=folder / "rsctmp"))
        self.executor = Executor("n1", "1")
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.number = 0

    @staticmethod
    def now() -> int:
        return round(time.monotonic() * 1000)

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(resource, text):
                    self.files.keep(resource, text)
                case Report():
                    self.reports.put_nowait(effect)
                case Run():
                    task = asyncio.create_task(self.carry_out(effect))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                case SetTimer(name, at):
                    self.cancel(name)
                    delay = (at - self.now()) / 1000
                    self.timers[name] = asyncio.get_running_loop().call_later(delay, self.fire, name)
                case CancelTimer(name):
                    self.cancel(name)

    def cancel(self, name: str) -> None:
        handle = self.timers.pop(name, None)
        if handle is not None:
            handle.cancel()

    def fire(self, name: str) -> None:
        self.perform(self.executor.on_timer(name, self.now(), round(time.time())))

    async def carry_out(self, run: Run) -> None:
        result = await self.runner.run(run.operation)
        self.perform(self.executor.on_result(run.call_id, result, self.now(), round(time.time())))

    async def order(self, action: str, interval_ms: int = 0, target_rc: int = 0, **parameters: str) -> Report:
        self.number += 1
        order = Order("web", DUMMY, action, f"{self.number}:1:{target_rc}:u", interval_ms, target_rc, parameters)
        self.perform(self.executor.on_order(order, self.now(), round(time.time())))
        return await self.next_report()

    async def next_report(self) -> Report:
        return await asyncio.wait_for(self.reports.get(), 20)

    async def close(self) -> None:
        for name in list(self.timers):
            self.cancel(name)
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def test_a_failed_monitor_is_noticed_within_its_interval(tmp_path: Path) -> None:
    async def scene() -> None:
        driver = Driver(tmp_path)
        state = str(tmp_path / "state")
        assert (await driver.order("monitor", target_rc=7, state=state)).rc == 7
        assert (await driver.order("start", state=state)).rc == 0
        assert (await driver.order("monitor", interval_ms=50, state=state)).rc == 0
        os.unlink(state)  # noqa: PTH108 - what an accident does
        report = await driver.next_report()
        assert report.failure_entry is not None
        assert (report.rc, report.failure_entry["operation_key"]) == (7, "web_monitor_50")
        assert (await driver.order("stop", state=state)).rc == 0
        assert driver.timers == {}
        await driver.close()

    asyncio.run(scene())


def test_a_continued_executor_notices_what_happened_while_nobody_looked(tmp_path: Path) -> None:
    state = str(tmp_path / "state")

    async def before() -> None:
        driver = Driver(tmp_path)
        await driver.order("start", state=state)
        await driver.order("monitor", interval_ms=60, state=state)
        await driver.close()

    async def after() -> None:
        driver = Driver(tmp_path)
        driver.perform(driver.executor.restore(driver.files.load(), driver.now(), 0))
        assert driver.executor.active()
        report = await driver.next_report()
        assert (report.action, report.rc) == ("monitor", 7)
        assert not driver.executor.active()
        await driver.close()

    asyncio.run(before())
    Path(state).unlink()
    asyncio.run(after())


def test_state_files_hold_what_was_kept_and_drop_what_was_dropped(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "executor")
    files.keep("web", "1")
    files.keep("clone:rsc:0", "2")
    files.keep("x" * 300, "3")
    files.keep("gone", "4")
    files.keep("gone", None)
    files.keep("gone", None)
    files.keep("web", "5")
    assert sorted(StateFiles(tmp_path / "executor").load()) == ["2", "3", "5"]


def test_state_files_of_another_boot_are_thrown_away(tmp_path: Path) -> None:
    StateFiles(tmp_path / "executor", "first").keep("web", "1")
    assert StateFiles(tmp_path / "executor", "first").load() == ["1"]
    assert StateFiles(tmp_path / "executor", "second").load() == []


def test_the_identity_of_the_boot_does_not_change_while_the_machine_is_up() -> None:
    assert boot_identity() == boot_identity()


@pytest.mark.parametrize("name", ["../escape", "a/b", ""])
def test_no_resource_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    files = StateFiles(tmp_path / "executor")
    files.keep(name, "1")
    assert files.load() == ["1"]
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "executor"}
