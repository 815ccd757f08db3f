"""Reading fence devices and topologies from their parameters."""

from __future__ import annotations

import pytest

from agents.types import AgentId
from fencing.devices import AgentAbilities, HostCheck, duration_ms, read
from fencing.topology import Level, levels_for
from fencing.topology import read as read_levels

AGENT = AgentId.parse("stonith:fence_test")


@pytest.mark.parametrize(
    ("params", "actions", "expected"),
    [
        ({"pcmk_host_list": "n1"}, "list status", HostCheck.STATIC_LIST),
        ({"pcmk_host_map": "n1:1"}, "list status", HostCheck.STATIC_LIST),
        ({}, "list status", HostCheck.DYNAMIC_LIST),
        ({}, "status", HostCheck.STATUS),
        ({}, "off", HostCheck.NONE),
        ({"pcmk_host_list": "n1", "pcmk_host_check": "none"}, "list", HostCheck.NONE),
    ],
)
def test_how_hosts_are_found_follows_parameters_and_abilities(
    params: dict[str, str], actions: str, expected: HostCheck
) -> None:
    device, problems = read("d", AGENT, params, abilities=AgentAbilities(frozenset(actions.split())))
    assert (device.check, problems) == (expected, [])


def test_host_lists_may_be_separated_by_blanks_commas_and_semicolons() -> None:
    device, _ = read("d", AGENT, {"pcmk_host_list": " n1, n2;n3  n4"})
    assert device.hosts == {"n1", "n2", "n3", "n4"}


def test_a_map_keeps_several_plugs_of_a_node_together() -> None:
    device, _ = read("d", AGENT, {"pcmk_host_map": "n1:1;n2:2,3"})
    assert device.plugs == {"n1": "1", "n2": "2,3"}
    assert device.knows("n2") is True
    assert device.options("off", "n2")["port"] == "2,3"


def test_a_given_plug_is_not_replaced_and_none_gives_none() -> None:
    fixed, _ = read("d", AGENT, {"port": "5", "pcmk_host_check": "none"})
    assert fixed.options("off", "n2")["port"] == "5"
    silent, _ = read("d", AGENT, {"pcmk_host_argument": "none"})
    assert silent.options("off", "n2") == {"nodename": "n2"}


def test_all_mistakes_are_told_at_once_and_leave_a_usable_device() -> None:
    params = {
        "pcmk_host_list": "n1",
        "pcmk_host_check": "sometimes",
        "pcmk_delay_max": "soon",
        "pcmk_off_retries": "many",
        "pcmk_host_map": "n1",
    }
    device, problems = read("d", AGENT, params)
    assert {problem.parameter for problem in problems} == set(params) - {"pcmk_host_list"}
    assert device.knows("n1") is True


def test_delays_may_differ_by_node() -> None:
    device, _ = read("d", AGENT, {"pcmk_delay_base": "n1:1s;n2:500ms", "pcmk_delay_max": "3"})
    assert device.delay_ms("n1", 0.0) == 1_000
    assert device.delay_ms("n2", 0.0) == 500
    assert device.delay_ms("n1", 0.5) == 2_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30", 30_000), ("30s", 30_000), ("500ms", 500), ("2min", 120_000), ("1h", 3_600_000), ("1x", None), ("", None)],
)
def test_durations(text: str, expected: int | None) -> None:
    assert duration_ms(text) == expected


def test_the_name_of_a_node_wins_over_a_pattern_and_a_pattern_over_an_attribute() -> None:
    levels = [
        Level(1, ("by-attribute",), attribute=("rack", "7")),
        Level(1, ("by-pattern",), pattern="n[0-9]"),
        Level(2, ("second",), target="n2"),
        Level(1, ("first", "too"), target="n2"),
    ]
    assert levels_for(levels, "n2", {"rack": "7"}) == [("first", "too"), ("second",)]
    assert levels_for(levels, "n3", {"rack": "7"}) == [("by-pattern",)]
    assert levels_for(levels, "x", {"rack": "7"}) == [("by-attribute",)]
    assert levels_for(levels, "x", {}) == []


def test_levels_that_cannot_be_used_are_named() -> None:
    levels, problems = read_levels(
        [
            ("good", {"index": "1", "devices": "a,b", "target": "n1"}),
            ("high", {"index": "10", "devices": "a", "target": "n1"}),
            ("empty", {"index": "1", "devices": "", "target": "n1"}),
            ("whom", {"index": "1", "devices": "a"}),
            ("pattern", {"index": "1", "devices": "a", "target-pattern": "("}),
        ]
    )
    assert levels == [Level(1, ("a", "b"), target="n1")]
    assert [problem.element for problem in problems] == ["high", "empty", "whom", "pattern"]
