"""The fencer without agents: which device is asked for what, and when a node counts as fenced."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from agents.types import AgentId, ExecStatus, OperationResult
from fencing.core import HISTORY_LIMIT, LIST_VALID_MS, Fencer, parse_list
from fencing.devices import AgentAbilities, Device, read
from fencing.topology import Level
from fencing.types import Answer, Effect, Event, FenceAction, InvariantBroken, Outcome, Request, RunDevice, SetTimer

AGENT = AgentId.parse("stonith:fence_test")
OK = OperationResult(0)
REFUSED = OperationResult(1, ExecStatus.ERROR, "no route to the switch")


def device(
    identity: str = "power", abilities: AgentAbilities | None = None, priority: int = 0, **params: str
) -> Device:
    params.setdefault("pcmk_host_list", "n1 n2")
    made, problems = read(identity, AGENT, params, abilities=abilities, priority=priority)
    assert problems == []
    return made


class Room:
    """Drives a fencer, and remembers what it asked for."""

    def __init__(self, *devices: Device, levels: Iterable[Level] = ()) -> None:
        self.fencer = Fencer("n1")
        self.fencer.configure(devices, levels, {"n2": {"rack": "7"}})
        self.now = 1_000
        self.runs: dict[int, RunDevice] = {}
        self.answers: list[Answer] = []
        self.timers: dict[str, int] = {}
        self.events: list[Event] = []
        self.tokens = 0

    def take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case RunDevice():
                    self.runs[effect.call_id] = effect
                case Answer():
                    self.answers.append(effect)
                case SetTimer():
                    self.timers[effect.name] = effect.at_ms
                case Event():
                    self.events.append(effect)

    def fence(self, target: str = "n2", action: str = "off", **more: int | float) -> int:
        self.tokens += 1
        request = Request(self.tokens, target, FenceAction(action), "test", **more)  # type: ignore[arg-type]
        self.take(self.fencer.request(request, self.now, 100))
        return self.tokens

    def done(self, result: OperationResult = OK, after_ms: int = 10) -> None:
        call = min(self.runs)
        del self.runs[call]
        self.now += after_ms
        self.take(self.fencer.on_result(call, result, self.now, 200))

    def at_work(self) -> list[tuple[str, str]]:
        return [(run.device, run.operation.action) for run in self.runs.values()]


def test_a_node_is_confirmed_only_when_the_device_has_answered() -> None:
    room = Room(device())
    token = room.fence()
    assert room.at_work() == [("power", "off")]
    assert room.answers == []
    room.done()
    assert [(answer.token, answer.confirmed) for answer in room.answers] == [(token, True)]
    assert [event.outcome for event in room.events] == [Outcome.PENDING, Outcome.DONE]


def test_the_agent_gets_the_plug_and_the_node_but_not_what_is_for_the_cluster() -> None:
    room = Room(device(ip="10.0.0.9", pcmk_host_map="n2:17", pcmk_host_list=""))
    room.fence()
    (run,) = room.runs.values()
    assert dict(run.operation.parameters) == {"ip": "10.0.0.9", "nodename": "n2", "port": "17"}


def test_without_devices_the_failure_says_so() -> None:
    room = Room()
    room.fence()
    assert room.answers[0].text == "no device can fence n2: there are no fence devices"
    assert not room.answers[0].confirmed


def test_a_node_that_no_device_is_for_cannot_be_fenced() -> None:
    room = Room(device(pcmk_host_list="n1"))
    room.fence()
    assert room.answers[0].text == "no device can fence n2: none of the fence devices is for it"


def test_a_failure_names_every_device_and_what_it_said() -> None:
    room = Room(device("a", pcmk_off_retries="1"), device("b", pcmk_off_retries="1"))
    room.fence()
    room.done(REFUSED)
    room.done(OperationResult(1, ExecStatus.TIMEOUT, "off did not end within 60000 ms"))
    assert room.answers[0].text == (
        "no device can fence n2: a could not switch n2 off: no route to the switch; "
        "b could not switch n2 off: off did not end within 60000 ms"
    )


def test_a_failed_device_is_tried_again_and_then_the_next_one() -> None:
    room = Room(device("a"), device("b"))
    room.fence()
    room.done(REFUSED)
    assert room.at_work() == [("a", "off")]
    room.done(REFUSED)
    assert room.at_work() == [("b", "off")]
    room.done()
    assert room.answers[0].confirmed


def test_a_device_is_not_tried_again_when_its_time_is_up() -> None:
    room = Room(device("a"), device("b"))
    room.fence(timeout_ms=5_000)
    room.done(REFUSED, after_ms=5_000)
    assert room.at_work() == [("b", "off")]


def test_the_second_try_gets_only_the_time_that_is_left() -> None:
    room = Room(device())
    room.fence(timeout_ms=5_000)
    room.done(REFUSED, after_ms=2_000)
    (run,) = room.runs.values()
    assert run.operation.timeout_ms == 3_000


def test_a_device_with_higher_priority_is_tried_first() -> None:
    room = Room(device("a"), device("z", priority=5))
    room.fence()
    assert room.at_work() == [("z", "off")]


def test_those_who_want_the_same_share_one_fencing() -> None:
    room = Room(device())
    first, second = room.fence(), room.fence()
    assert len(room.runs) == 1
    room.done()
    assert [answer.token for answer in room.answers] == [first, second]
    third = room.fence()
    assert len(room.runs) == 1, "what is asked for afterwards is done again"
    room.done()
    assert room.answers[-1].token == third


def test_reboot_is_off_and_on_where_the_device_cannot_reboot_and_nobody_waits_for_the_on() -> None:
    abilities = AgentAbilities(frozenset(("off", "on", "status", "monitor")))
    room = Room(device(abilities=abilities))
    room.fence(action="reboot")
    assert room.at_work() == [("power", "off")]
    room.done()
    assert room.answers[0].confirmed
    assert room.at_work() == [("power", "on")]
    room.done(REFUSED)
    assert len(room.answers) == 1


def test_the_administrators_word_for_an_action_is_used() -> None:
    room = Room(device(pcmk_reboot_action="cycle"))
    room.fence(action="reboot")
    assert room.at_work() == [("power", "cycle")]


def test_all_devices_of_a_level_must_succeed_before_a_node_counts_as_fenced() -> None:
    room = Room(device("a"), device("b"), levels=[Level(1, ("a", "b"), target="n2")])
    room.fence(action="reboot")
    assert room.at_work() == [("a", "off")]
    room.done()
    assert room.at_work() == [("b", "off")]
    assert room.answers == []
    room.done()
    assert room.answers[0].confirmed
    assert room.at_work() == [("a", "on"), ("b", "on")]


def test_the_next_level_is_tried_from_its_beginning_when_one_fails() -> None:
    levels = [Level(2, ("c",), target="n2"), Level(1, ("a", "b"), target="n2")]
    room = Room(device("a"), device("b", pcmk_off_retries="1"), device("c"), levels=levels)
    room.fence()
    room.done()
    room.done(REFUSED)
    assert room.at_work() == [("c", "off")]
    room.done()
    assert room.answers[0].confirmed


def test_a_level_with_a_device_that_does_not_exist_is_skipped_and_named() -> None:
    room = Room(device("a"), levels=[Level(1, ("gone",), target="n2")])
    room.fence()
    assert room.answers[0].text == "no device can fence n2: level 1 names gone, which does not exist"


def test_a_device_with_a_list_of_its_own_is_asked_once_a_while() -> None:
    room = Room(device(pcmk_host_list="", pcmk_host_check="dynamic-list"))
    room.fence()
    assert room.at_work() == [("power", "list")]
    room.done(OperationResult(0, stdout="n1,n1,on\nn2,n2,off\n"))
    assert room.at_work() == [("power", "off")]
    room.done()
    room.fence("n1")
    assert room.at_work() == [("power", "off")]
    room.done()
    room.now += LIST_VALID_MS + 1
    room.fence()
    assert room.at_work() == [("power", "list")]


def test_a_device_that_cannot_list_its_plugs_is_named_in_the_failure() -> None:
    room = Room(device(pcmk_host_list="", pcmk_host_check="dynamic-list"))
    room.fence()
    room.done(REFUSED)
    assert "power cannot say whom it can fence: no route to the switch" in room.answers[0].text


@pytest.mark.parametrize(("rc", "able"), [(0, True), (2, True), (1, False)])
def test_a_device_asked_about_a_node_knows_it_when_it_gives_a_state(rc: int, able: bool) -> None:
    room = Room(device(pcmk_host_list="", pcmk_host_check="status"))
    room.fence()
    assert room.at_work() == [("power", "status")]
    room.done(OperationResult(rc))
    assert (room.at_work() == [("power", "off")]) is able


def test_a_device_does_one_thing_at_a_time_unless_told_otherwise() -> None:
    room = Room(device())
    room.fence("n1")
    room.fence("n2")
    assert len(room.runs) == 1
    room.done()
    assert len(room.runs) == 1
    room.done()
    assert [answer.target for answer in room.answers] == ["n1", "n2"]
    several = Room(device(pcmk_action_limit="-1"))
    several.fence("n1")
    several.fence("n2")
    assert len(several.runs) == 2


def test_delays_are_waited_for_before_the_first_device_only() -> None:
    room = Room(
        device("a", pcmk_delay_base="2s", pcmk_delay_max="6s", pcmk_off_retries="1"), device("b", pcmk_delay_base="9s")
    )
    room.fence(delay_ms=500, chance=0.5)
    assert room.runs == {}
    ((name, at),) = room.timers.items()
    assert at - room.now == 500 + 2_000 + 2_000
    room.now = at
    room.take(room.fencer.on_timer(name, room.now, 0))
    room.done(REFUSED)
    assert room.at_work() == [("b", "off")]


def test_a_persons_word_ends_the_request_and_what_the_device_says_later_changes_nothing() -> None:
    room = Room(device())
    room.fence()
    room.take(room.fencer.confirm("n2", "root", room.now, 0))
    assert room.answers[0].confirmed
    assert room.answers[0].text == "n2 is off on the word of root"
    room.done(REFUSED)
    assert len(room.answers) == 1
    assert room.fencer.history()[-1].outcome is Outcome.DONE


def test_a_removed_device_is_not_used_any_more() -> None:
    room = Room(device("a"), device("b"))
    room.fence()
    room.fencer.configure([device("b")])
    room.done(REFUSED)
    assert room.at_work() == [("b", "off")]


def test_history_is_bounded_and_can_be_forgotten() -> None:
    room = Room()
    for _ in range(HISTORY_LIMIT + 10):
        room.fence()
    room.fence("n1")
    assert len(room.fencer.history()) == HISTORY_LIMIT
    room.fencer.forget_history("n2")
    assert [event.target for event in room.fencer.history()] == ["n1"]


def test_can_fence_tells_yes_no_and_unknown() -> None:
    assert Room().fencer.can_fence("n2") is False
    assert Room(device()).fencer.can_fence("n2") is True
    assert Room(device(pcmk_host_list="n1")).fencer.can_fence("n2") is False
    assert Room(device(pcmk_host_list="", pcmk_host_check="status")).fencer.can_fence("n2") is None


def test_lists_are_read_with_aliases_and_states() -> None:
    assert parse_list("n1\n2,n2\n3,n3,on\n\n") == {"n1", "2", "n2", "3", "n3"}


def test_a_result_for_what_is_not_running_is_our_own_fault() -> None:
    with pytest.raises(InvariantBroken):
        Fencer("n1").on_result(7, OK, 0, 0)
