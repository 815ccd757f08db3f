"""What the executor promises whatever happens, over random sequences of orders, results, timers and restarts."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.types import AgentId, ExecStatus, OperationResult
from crm.executor.core import Executor
from crm.executor.types import CancelTimer, Effect, Order, Persist, Report, Run, SetTimer

AGENT = AgentId.parse("ocf:vigil:Dummy")
RESOURCES = ("a", "b")
ACTIONS = ("start", "stop", "promote", "monitor", "notify", "reload-agent", "cancel", "delete")
RESULTS = (
    OperationResult(0),
    OperationResult(1),
    OperationResult(7),
    OperationResult(8),
    OperationResult(1, ExecStatus.TIMEOUT),
)


class ExecutorPromises(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.executor = Executor("n1", "1")
        self.now = 0
        self.number = 0
        self.running: dict[int, Run] = {}
        self.timers: dict[str, int] = {}
        self.kept: dict[str, str] = {}
        self.unanswered: set[str] = set()
        self.recurring_keys: set[str] = set()
        self.calls: set[int] = set()

    def take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Run(call_id, operation):
                    assert call_id not in self.calls, "a call id is used once"
                    self.calls.add(call_id)
                    busy = {run.operation.resource for run in self.running.values()}
                    assert operation.resource not in busy, "never two agents on one resource"
                    self.running[call_id] = effect
                case Report(transition_key=key):
                    assert key in self.unanswered or key in self.recurring_keys or key == "", "one end for each order"
                    self.unanswered.discard(key)
                case SetTimer(name, at):
                    assert at >= self.now
                    self.timers[name] = at
                case CancelTimer(name):
                    self.timers.pop(name, None)
                case Persist(resource, None):
                    self.kept.pop(resource, None)
                case Persist(resource, str(text)):
                    self.kept[resource] = text

    @rule(
        resource=st.sampled_from(RESOURCES), action=st.sampled_from(ACTIONS), interval=st.sampled_from((0, 1000, 5000))
    )
    def order(self, resource: str, action: str, interval: int) -> None:
        if action not in ("monitor", "cancel"):
            interval = 0
        self.number += 1
        key = f"{self.number}:1:0:x"
        parameters = {"CRM_meta_operation": "monitor", "CRM_meta_interval": str(interval)} if action == "cancel" else {}
        self.unanswered.add(key)
        if action == "monitor" and interval:
            self.recurring_keys.add(key)
        order = Order(resource, AGENT, action, key, 0 if action == "cancel" else interval, 0, parameters)
        self.take(self.executor.on_order(order, self.now, 1))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), result=st.sampled_from(RESULTS))
    def end(self, data: st.DataObject, result: OperationResult) -> None:
        call = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[call]
        self.now += 7
        self.take(self.executor.on_result(call, result, self.now, 1))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def fire(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.timers)))
        self.now = max(self.now, self.timers.pop(name))
        self.take(self.executor.on_timer(name, self.now, 1))

    @rule(resource=st.sampled_from(RESOURCES))
    def clean_up(self, resource: str) -> None:
        self.take(self.executor.forget(resource))

    @rule()
    def killed_and_restarted(self) -> None:
        """What was under way is gone with the daemon; whoever waits for it learns that by the restart."""
        self.executor = Executor("n1", "1")
        self.running.clear()
        self.timers.clear()
        self.unanswered.clear()
        self.calls.clear()
        self.take(self.executor.restore(list(self.kept.values()), self.now, 1))

    @invariant()
    def waiting_orders_are_being_worked_on(self) -> None:
        assert not self.unanswered or self.running or self.timers

    @invariant()
    def what_has_ended_is_idle(self) -> None:
        assert self.executor.idle == (not self.running)

    def teardown(self) -> None:
        """Let everything come to its end: every order has had its report."""
        for _ in range(200):
            if not self.running:
                break
            call = min(self.running)
            del self.running[call]
            self.take(self.executor.on_result(call, OperationResult(0), self.now, 1))
        assert not self.unanswered


TestExecutorPromises = ExecutorPromises.TestCase
TestExecutorPromises.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
