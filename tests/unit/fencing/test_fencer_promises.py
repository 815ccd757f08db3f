"""What the fencer promises whatever its devices do."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.types import AgentId, ExecStatus, OperationResult
from fencing.core import Fencer
from fencing.devices import AgentAbilities, Device, read
from fencing.topology import Level
from fencing.types import Answer, Effect, FenceAction, Request, RunDevice, SetTimer

AGENT = AgentId.parse("stonith:fence_test")
GOOD = OperationResult(0, stdout="n1\nn2\n")
RESULTS = (GOOD, OperationResult(1, ExecStatus.ERROR, "no"), OperationResult(1, ExecStatus.TIMEOUT, "late"))
SWITCHING = ("off", "reboot", "cycle")


def _devices() -> list[Device]:
    wanted = {
        "a": {"pcmk_host_list": "n1 n2"},
        "b": {"pcmk_host_check": "dynamic-list"},
        "c": {"pcmk_host_list": "n2", "pcmk_delay_base": "1s", "pcmk_reboot_action": "cycle"},
        "d": {"pcmk_host_check": "status", "pcmk_action_limit": "-1"},
    }
    poor = AgentAbilities(frozenset(("off", "on", "status", "list")))
    return [read(name, AGENT, params, abilities=poor)[0] for name, params in wanted.items()]


class FencerPromises(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fencer = Fencer("n1")
        self.devices = _devices()
        self.fencer.configure(self.devices, [Level(1, ("a", "c"), target="n3"), Level(2, ("b",), target="n3")])
        self.now = 0
        self.token = 0
        self.waiting: dict[int, str] = {}
        self.running: dict[int, RunDevice] = {}
        self.timers: set[str] = set()
        self.off: set[str] = set()
        """Nodes that a device (or a person) has said to be off since the last request began."""

    def take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case RunDevice(call_id, device):
                    busy = [run.device for run in self.running.values()]
                    assert device == "d" or device not in busy, "a device does one thing at a time"
                    self.running[call_id] = effect
                case Answer(token, target, confirmed):
                    assert self.waiting.pop(token, None) == target, "one answer for each request"
                    assert not confirmed or target in self.off, "nothing is confirmed on a guess"
                case SetTimer(name):
                    self.timers.add(name)

    @rule(node=st.sampled_from(("n1", "n2", "n3", "n9")), action=st.sampled_from((FenceAction.OFF, FenceAction.REBOOT)))
    def request(self, node: str, action: FenceAction) -> None:
        self.token += 1
        if node not in self.waiting.values():
            self.off.discard(node)
        self.waiting[self.token] = node
        self.take(self.fencer.request(Request(self.token, node, action, chance=0.5), self.now, 1))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), result=st.sampled_from(RESULTS), took_ms=st.sampled_from((5, 70_000)))
    def end(self, data: st.DataObject, result: OperationResult, took_ms: int) -> None:
        call = data.draw(st.sampled_from(sorted(self.running)))
        run = self.running.pop(call)
        self.now += took_ms
        if result.ok and run.operation.action in SWITCHING:
            self.off.add(run.operation.parameters["nodename"])
        self.take(self.fencer.on_result(call, result, self.now, 1))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def fire(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.timers)))
        self.timers.discard(name)
        self.now += 1_000
        self.take(self.fencer.on_timer(name, self.now, 1))

    @rule(node=st.sampled_from(("n1", "n2", "n3")))
    def confirm(self, node: str) -> None:
        self.off.add(node)
        self.take(self.fencer.confirm(node, "root", self.now, 1))

    @rule(left=st.integers(0, 4))
    def configure(self, left: int) -> None:
        self.fencer.configure(self.devices[:left])

    @invariant()
    def requests_are_being_worked_on(self) -> None:
        assert not self.waiting or self.running or self.timers

    def teardown(self) -> None:
        for _ in range(500):
            if self.running:
                call = min(self.running)
                del self.running[call]
                self.now += 10
                self.take(self.fencer.on_result(call, RESULTS[1], self.now, 1))
            elif self.timers:
                self.take(self.fencer.on_timer(self.timers.pop(), self.now, 1))
        assert not self.waiting
        assert not self.fencer.pending()


TestFencerPromises = FencerPromises.TestCase
TestFencerPromises.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
