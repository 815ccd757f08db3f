"""Reloads: what the agent is asked to do, and what the history says afterwards."""

from __future__ import annotations

import pytest

from agents.types import AgentId, ExecStatus, OcfCode, OperationResult
from crm.executor.core import Executor
from crm.executor.types import AgentTraits, Effect, Order, Report, Run

AGENT = AgentId("ocf", "test", "Thing")
KEY = "1:1:0:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@pytest.fixture
def executor() -> Executor:
    return Executor("n1", "1")


def run(
    executor: Executor, action: str, result: OperationResult, number: int = 1, **traits_meanwhile: object
) -> Report:
    """Orders the action, hands in its result, and gives the report. `traits_meanwhile`: learnt while the agent is at work."""
    order = Order("thing", AGENT, action, f"{number}:{KEY}", parameters={"a": "1", "b": "2"})
    call_id = started(executor.on_order(order, 0, 100)).call_id
    if traits_meanwhile:
        executor.on_traits(AGENT, AgentTraits(**traits_meanwhile))  # type: ignore[arg-type]
    effects = executor.on_result(call_id, result, 10, 100)
    return next(effect for effect in effects if isinstance(effect, Report))


def started(effects: list[Effect]) -> Run:
    return next(effect for effect in effects if isinstance(effect, Run))


DONE = OperationResult(OcfCode.OK)


def test_a_reload_is_recorded_as_the_start_with_the_new_parameters(executor: Executor) -> None:
    executor.on_traits(AGENT, AgentTraits(restart=("b",)))
    run(executor, "start", DONE)
    report = run(executor, "reload-agent", DONE, 2)
    assert report.entry is not None
    assert report.action == "reload-agent"
    assert (report.entry["id"], report.entry["operation"]) == ("thing_last_0", "start")
    assert report.entry["operation_key"] == "thing_reload-agent_0"
    assert report.entry["op-force-restart"] == " b "


def test_a_reload_in_the_promoted_role_is_recorded_as_the_promotion(executor: Executor) -> None:
    run(executor, "start", DONE)
    run(executor, "promote", DONE, 2)
    report = run(executor, "reload-agent", DONE, 3)
    assert report.entry is not None and report.entry["operation"] == "promote"


def test_a_failed_reload_is_recorded_as_a_failed_monitor(executor: Executor) -> None:
    run(executor, "start", DONE)
    report = run(executor, "reload-agent", OperationResult(OcfCode.UNKNOWN_ERROR, ExecStatus.DONE), 2)
    assert report.failure_entry is not None and report.failure_entry["operation"] == "monitor"


def test_an_agent_that_only_knows_reload_is_asked_for_that(executor: Executor) -> None:
    executor.on_traits(AGENT, AgentTraits(restart=(), reload="reload"))
    run(executor, "start", DONE)
    order = Order("thing", AGENT, "reload-agent", KEY)
    assert started(executor.on_order(order, 0, 100)).operation.action == "reload"


def test_what_is_learnt_of_an_agent_at_work_counts_for_what_it_is_doing(executor: Executor) -> None:
    report = run(executor, "start", DONE, restart=("a",), private=("b",))
    assert report.entry is not None
    assert report.entry["op-force-restart"] == " a "
    assert report.entry["op-secure-params"] == " b "
