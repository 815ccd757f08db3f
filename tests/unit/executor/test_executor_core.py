"""The executor without agents: what it orders, in which order, and what it tells."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from lxml import etree

from agents.metadata import load
from agents.paths import AgentPaths
from agents.types import AgentId, ExecStatus, OcfCode, OperationResult
from crm.cib.digest import operation_digest
from crm.executor.core import MAX_QUEUED, Executor
from crm.executor.types import (
    AgentTraits,
    CancelTimer,
    Effect,
    InvariantBroken,
    Order,
    Persist,
    Report,
    Run,
    SetTimer,
    traits_of,
)

DUMMY = AgentId.parse("ocf:vigil:Dummy")
FENCE = AgentId.parse("stonith:fence_vigil_lab")
OK = OperationResult(0)
STOPPED = OperationResult(OcfCode.NOT_RUNNING)
TIMED_OUT = OperationResult(OcfCode.UNKNOWN_ERROR, ExecStatus.TIMEOUT, "too slow")


class World:
    """Drives an executor, and remembers what it asked for."""

    def __init__(self) -> None:
        self.executor = Executor("n1", "1")
        self.now = 1_000
        self.kept: dict[str, str] = {}
        self.timers: dict[str, int] = {}
        self.running: dict[int, Run] = {}
        self.reports: list[Report] = []
        self.keys = 0

    def take(self, effects: Iterable[Effect]) -> list[Effect]:
        effects = list(effects)
        for effect in effects:
            match effect:
                case Run():
                    self.running[effect.call_id] = effect
                case Report():
                    self.reports.append(effect)
                case Persist(resource, None):
                    self.kept.pop(resource, None)
                case Persist(resource, str(text)):
                    self.kept[resource] = text
                case SetTimer():
                    self.timers[effect.name] = effect.at_ms
                case CancelTimer():
                    self.timers.pop(effect.name, None)
        return effects

    def order(
        self,
        action: str,
        resource: str = "web",
        interval_ms: int = 0,
        agent: AgentId = DUMMY,
        target_rc: int | None = None,
        traits: AgentTraits | None = None,
        **parameters: str,
    ) -> list[Effect]:
        self.keys += 1
        probe = action == "monitor" and not interval_ms
        target = (7 if probe else 0) if target_rc is None else target_rc
        order = Order(
            resource=resource,
            agent=agent,
            action=action,
            transition_key=f"{self.keys}:1:{target}:uuid",
            interval_ms=interval_ms,
            target_rc=target,
            parameters=parameters,
            traits=traits or AgentTraits(),
        )
        return self.take(self.executor.on_order(order, self.now, 100))

    def done(self, result: OperationResult = OK, resource: str = "web") -> list[Effect]:
        call = next(call for call, run in self.running.items() if run.operation.resource == resource)
        del self.running[call]
        self.now += 10
        return self.take(self.executor.on_result(call, result, self.now, 200))

    def fire(self, name: str) -> list[Effect]:
        self.now = max(self.now, self.timers.pop(name))
        return self.take(self.executor.on_timer(name, self.now, 100))

    def actions(self) -> list[str]:
        return [run.operation.action for run in self.running.values()]

    def restarted(self) -> World:
        successor = World()
        successor.now = self.now + 500
        successor.take(successor.executor.restore(list(self.kept.values()), successor.now, 300))
        return successor

    def entries(self, resource: str = "web") -> dict[str, dict[str, str]]:
        text = self.executor.history()
        if text is None:
            return {}
        found = etree.fromstring(text).iterfind(f"lrm_resources/lrm_resource[@id='{resource}']/lrm_rsc_op")
        return {str(entry.get("id")): {str(k): str(v) for k, v in entry.attrib.items()} for entry in found}


@pytest.fixture
def world() -> World:
    return World()


def test_an_order_is_run_and_its_result_reported_with_its_key(world: World) -> None:
    world.order("start", CRM_meta_timeout="33000", state="/x")
    (run,) = world.running.values()
    assert (run.operation.timeout_ms, dict(run.operation.parameters)) == (33_000, {"state": "/x"})
    assert dict(run.operation.meta) == {"CRM_meta_timeout": "33000"}
    world.done(OperationResult(0, run_ms=12))
    (report,) = world.reports
    assert (report.transition_key, report.rc, report.status) == ("1:1:0:uuid", 0, ExecStatus.DONE)
    assert report.entry is not None
    assert report.entry["id"] == "web_last_0"
    assert report.entry["transition-magic"] == "0:0;1:1:0:uuid"
    assert report.entry["op-digest"] == operation_digest({"state": "/x"})
    assert report.failure_entry is None


def test_operations_on_one_resource_never_overlap_and_keep_their_order(world: World) -> None:
    world.order("start")
    world.order("promote")
    world.order("stop", resource="other")
    assert world.actions() == ["start", "stop"]
    world.done()
    assert sorted(world.actions()) == ["promote", "stop"]


def test_the_wait_in_the_queue_is_told_apart_from_the_run(world: World) -> None:
    world.order("start")
    world.order("promote")
    world.now += 90
    world.done()
    world.done(OperationResult(0, run_ms=10))
    entry = world.reports[-1].entry
    assert entry is not None
    assert (entry["queue-time"], entry["exec-time"]) == ("100", "10")


def test_state_is_kept_before_the_agent_runs_and_before_its_result_is_told(world: World) -> None:
    assert [type(effect) for effect in world.order("start")] == [Persist, Run]
    assert [type(effect) for effect in world.done()] == [Persist, Report]


def test_the_same_order_again_is_not_taken_twice(world: World) -> None:
    world.order("start")
    world.keys -= 1
    assert world.order("start") == []


def test_a_failed_operation_is_recorded_as_what_it_is_and_as_the_last_failure(world: World) -> None:
    world.order("start")
    world.done(TIMED_OUT)
    report = world.reports[0]
    assert report.entry is not None
    assert report.failure_entry is not None
    assert (report.entry["id"], report.failure_entry["id"]) == ("web_last_0", "web_last_failure_0")
    assert report.failure_entry["exit-reason"] == "too slow"
    assert report.failure_entry["transition-magic"] == "2:1;1:1:0:uuid"


def test_a_probe_that_finds_the_resource_running_is_not_a_failure(world: World) -> None:
    world.order("monitor")
    world.done()
    assert world.reports[0].failure_entry is None
    assert world.executor.active()


def test_a_recurring_operation_runs_at_once_and_again_its_interval_after_each_end(world: World) -> None:
    world.order("start")
    world.done()
    world.order("monitor", interval_ms=5_000)
    assert world.actions() == ["monitor"]
    world.done()
    assert world.timers == {"web|monitor|5000": world.now + 5_000}
    world.fire("web|monitor|5000")
    assert world.actions() == ["monitor"]


def test_a_recurring_operation_is_reported_first_and_then_only_when_its_result_changes(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done()
    for _ in range(3):
        world.fire("web|monitor|5000")
        world.done()
    assert len(world.reports) == 1
    world.fire("web|monitor|5000")
    world.done(STOPPED)
    failure = world.reports[1]
    assert failure.entry is None
    assert failure.failure_entry is not None
    assert failure.failure_entry["operation_key"] == "web_monitor_5000"
    assert failure.failure_entry["call-id"] == "1"
    assert set(world.entries()) == {"web_monitor_5000", "web_last_failure_0"}
    world.fire("web|monitor|5000")
    world.done()
    assert len(world.reports) == 3


def test_a_stop_ends_the_recurring_operations_first(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done()
    world.order("stop")
    assert world.timers == {}
    world.done()
    assert world.executor.on_timer("web|monitor|5000", world.now, 0) == []
    assert not world.executor.active()


def test_a_stop_waits_for_the_monitor_at_work_and_ignores_what_it_finds(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done()
    world.fire("web|monitor|5000")
    world.order("stop")
    assert world.actions() == ["monitor"]
    world.done(STOPPED)
    assert world.actions() == ["stop"]
    assert len(world.reports) == 1
    assert world.timers == {}


def test_an_order_that_is_cancelled_before_it_had_a_result_is_accounted_for(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.order("stop")
    (report,) = world.reports
    assert (report.status, report.transition_key, report.entry) == (ExecStatus.CANCELLED, "1:1:0:uuid", None)


def test_a_cancel_ends_one_recurring_operation_and_its_history(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done()
    world.order("monitor", interval_ms=7_000, target_rc=8)
    world.done(OperationResult(8))
    world.order("cancel", CRM_meta_operation="monitor", CRM_meta_interval="5000")
    assert world.reports[-1].forget == ("web_monitor_5000",)
    assert set(world.entries()) == {"web_monitor_7000"}
    assert set(world.timers) == {"web|monitor|7000"}


def test_a_cancel_takes_the_failure_of_that_operation_with_it(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done()
    world.fire("web|monitor|5000")
    world.done(STOPPED)
    assert "web_last_failure_0" in world.entries()
    world.order("cancel", CRM_meta_operation="monitor", CRM_meta_interval="7000")
    assert "web_last_failure_0" in world.entries()
    world.order("cancel", CRM_meta_operation="monitor", CRM_meta_interval="5000")
    assert world.reports[-1].forget == ("web_monitor_5000", "web_last_failure_0")
    assert world.entries() == {}


def test_a_new_order_for_the_same_recurring_operation_takes_the_place_of_the_old(world: World) -> None:
    world.order("monitor", interval_ms=5_000, state="/a")
    world.done()
    world.order("monitor", interval_ms=5_000, state="/b")
    world.done()
    assert len(world.reports) == 2
    assert world.entries()["web_monitor_5000"]["transition-key"] == "2:1:0:uuid"


def test_a_notification_cannot_fail_and_leaves_no_history(world: World) -> None:
    world.order("notify")
    world.done(OperationResult(1))
    assert (world.reports[0].rc, world.reports[0].entry) == (0, None)
    assert world.entries() == {}


def test_what_is_under_way_is_part_of_the_history_as_pending(world: World) -> None:
    world.order("start")
    world.order("promote")
    entries = world.entries()
    assert set(entries) == {"pending-web_start_0", "pending-web_promote_0"}
    assert entries["pending-web_start_0"]["transition-magic"] == "-1:193;1:1:0:uuid"
    world.done()
    assert set(world.entries()) == {"web_last_0", "pending-web_promote_0"}


def test_a_start_delay_holds_the_queue_of_its_resource(world: World) -> None:
    world.order("start", CRM_meta_start_delay="3000")
    world.order("promote")
    assert world.actions() == []
    world.fire("web|delay")
    assert world.actions() == ["start"]


def test_digests_follow_the_traits_of_the_agent(world: World) -> None:
    traits = AgentTraits(restart=("state",), private=("passwd",))
    world.order("start", traits=traits, state="/x", fake="1", passwd="secret", CRM_meta_timeout="20000")
    world.done()
    entry = world.reports[0].entry
    assert entry is not None
    assert entry["op-force-restart"] == " state "
    assert entry["op-restart-digest"] == operation_digest({"state": "/x"})
    assert entry["op-secure-params"] == " passwd "
    assert entry["op-secure-digest"] == operation_digest({"state": "/x", "fake": "1"})


def test_traits_that_become_known_shape_the_entries_of_later_orders(world: World) -> None:
    world.order("start", state="/x")
    world.done()
    metadata = load(DUMMY, AgentPaths())
    world.executor.on_traits(DUMMY, traits_of(metadata))
    world.order("stop", state="/x", fake="1")
    world.done()
    first, second = (report.entry for report in world.reports)
    assert first is not None
    assert second is not None
    assert "op-force-restart" not in first
    assert second["op-force-restart"] == " state "


def test_the_timeout_of_a_recurring_operation_belongs_to_its_digest(world: World) -> None:
    world.order("monitor", interval_ms=5_000, CRM_meta_timeout="20000")
    world.done()
    entry = world.reports[0].entry
    assert entry is not None
    assert entry["op-digest"] == "4811cef7f7f94e3a35a70be7916cb2fd"


def test_a_fence_device_is_started_where_this_executor_started_it(world: World) -> None:
    world.order("monitor", resource="fence", agent=FENCE)
    assert world.running == {}
    assert world.reports[0].rc == OcfCode.NOT_RUNNING
    world.order("start", resource="fence", agent=FENCE)
    world.done(resource="fence")
    world.order("monitor", resource="fence", agent=FENCE)
    assert world.reports[-1].rc == OcfCode.OK
    assert not world.executor.active()


def test_a_failed_fence_device_is_not_started(world: World) -> None:
    world.order("start", resource="fence", agent=FENCE)
    world.done(OperationResult(1, ExecStatus.ERROR), resource="fence")
    world.order("monitor", resource="fence", agent=FENCE)
    assert world.reports[-1].rc == OcfCode.NOT_RUNNING


def test_cleaning_up_forgets_the_history_and_the_recurring_operations(world: World) -> None:
    world.order("start")
    world.done()
    world.order("monitor", interval_ms=5_000)
    world.done()
    world.take(world.executor.forget("web"))
    assert (world.entries(), world.timers, world.kept) == ({}, {}, {})
    assert world.executor.active(), "it runs all the same until a probe says otherwise"


def test_a_restarted_executor_goes_on_with_history_and_recurring_operations(world: World) -> None:
    world.order("start")
    world.done()
    world.order("monitor", interval_ms=5_000)
    world.done()
    successor = world.restarted()
    assert successor.executor.history() == world.executor.history()
    assert successor.executor.active()
    assert 0 <= successor.timers["web|monitor|5000"] - successor.now <= 1_000
    successor.fire("web|monitor|5000")
    successor.done()
    assert successor.reports == [], "nothing has changed"
    successor.order("stop")
    successor.done()
    entry = successor.reports[-1].entry
    assert entry is not None
    assert int(entry["call-id"]) > int(world.entries()["web_monitor_5000"]["call-id"])


def test_after_a_restart_an_operation_that_was_in_flight_makes_its_resource_unknown(world: World) -> None:
    world.order("monitor")
    world.done(STOPPED)
    world.order("start")
    successor = world.restarted()
    assert successor.executor.history() is None
    assert successor.executor.active(), "the start may have got through"
    assert successor.kept == {}
    successor.order("monitor")
    successor.done(STOPPED)
    assert not successor.executor.active()


def test_after_a_restart_what_is_not_monitored_is_looked_at_and_forgotten_when_it_is_gone(world: World) -> None:
    world.order("start", state="/x")
    world.done()
    successor = world.restarted()
    (run,) = successor.running.values()
    assert (run.operation.action, dict(run.operation.parameters)) == ("monitor", {"state": "/x"})
    successor.done(STOPPED)
    (report,) = successor.reports
    assert (report.forget_resource, report.transition_key) == (True, "")
    assert successor.executor.history() is None
    assert not successor.executor.active()


def test_after_a_restart_a_promoted_resource_is_expected_to_be_promoted(world: World) -> None:
    world.order("start")
    world.done()
    world.order("promote")
    world.done()
    successor = world.restarted()
    successor.done(OperationResult(OcfCode.RUNNING_PROMOTED))
    assert successor.reports == []
    assert set(successor.entries()) == {"web_last_0"}


def test_texts_that_cannot_be_read_are_dropped(world: World) -> None:
    assert world.executor.restore(["", "{}", "[1]", '{"format": 1}', '{"format": 99}'], 0, 0) == []
    assert world.executor.history() is None


def test_the_queue_of_a_resource_has_a_limit_and_says_so(world: World) -> None:
    for _ in range(MAX_QUEUED + 1):
        world.order("start")
    assert world.reports == []
    world.order("start")
    assert world.reports[0].status is ExecStatus.INVALID


def test_a_result_for_what_is_not_running_is_our_own_fault(world: World) -> None:
    with pytest.raises(InvariantBroken):
        world.executor.on_result(99, OK, 0, 0)


def test_a_degraded_result_counts_as_the_expected_one(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done(OperationResult(OcfCode.DEGRADED))
    assert world.reports[0].failure_entry is None


def test_deleting_a_resource_ends_everything_about_it(world: World) -> None:
    world.order("monitor", interval_ms=5_000)
    world.done(STOPPED)
    world.order("delete")
    assert world.reports[-1].forget_resource
    assert (world.timers, world.kept, world.executor.history()) == ({}, {}, None)


def test_what_runs_is_stopped_with_the_parameters_that_it_was_started_with() -> None:
    world = World()
    world.order("start", ip="10.0.0.1", CRM_meta_timeout="5000")
    world.done()
    world.order("stop", ip="10.0.0.2", CRM_meta_timeout="7000")
    (run,) = world.running.values()
    assert dict(run.operation.parameters) == {"ip": "10.0.0.1"}, "the configuration has changed meanwhile"
    assert run.operation.timeout_ms == 7000
    world.done()
    world.order("start", ip="10.0.0.2")
    world.done()
    world.order("stop")
    (run,) = world.running.values()
    assert dict(run.operation.parameters) == {"ip": "10.0.0.2"}, "it was deleted from the configuration"
