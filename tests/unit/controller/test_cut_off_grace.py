"""Without fencing, a node that was lost gets the time to notice that it is cut off, and to stop what it runs."""

from __future__ import annotations

import pytest
from controller_world import NOTHING, World
from lxml import etree

from crm.controller.properties import STOP_ALLOWANCE_MS
from crm.controller.types import Settings

DEADTIME_MS = 800
CIB = """<cib validate-with="pacemaker-4.0" epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config>
<cluster_property_set id="options">{}</cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration><status/></cib>"""
OFF = '<nvpair id="off" name="stonith-enabled" value="false"/>'


def world(options: str) -> tuple[World, list[int]]:
    """Three nodes in one view, and the times at which the policy engine was asked."""
    asked: list[int] = []

    def policy(document: etree._Element) -> str:
        asked.append(made.now_ms)
        return NOTHING

    made = World(policy)
    for number in (1, 2, 3):
        made.add(number, CIB.format(options), Settings(deadtime_ms=DEADTIME_MS))
    made.install(1, 2, 3)
    asked.clear()
    return made, asked


def test_nothing_is_decided_before_the_lost_node_can_have_stopped() -> None:
    made, asked = world(OFF)
    made.install(2, 3)
    lost_ms = made.now_ms
    made.pass_time(60_000)
    assert asked[0] == lost_ms + DEADTIME_MS + STOP_ALLOWANCE_MS


def test_a_dc_that_comes_later_knows_since_when_the_node_is_lost() -> None:
    made, asked = world(OFF)
    made.install(2, 3)
    lost_ms = made.now_ms
    made.pass_time(500)
    made.install(2, 3)
    made.pass_time(60_000)
    assert asked[0] == lost_ms + DEADTIME_MS + STOP_ALLOWANCE_MS


@pytest.mark.parametrize("options", ["", OFF.replace("false", "true")], ids=["fencing by default", "fencing asked for"])
def test_with_fencing_nobody_waits(options: str) -> None:
    made, asked = world(options)
    made.install(2, 3)
    assert asked == [made.now_ms]


def test_the_side_without_quorum_stops_what_it_runs_at_once() -> None:
    made, asked = world(OFF)
    made.install(3, quorate=False)
    assert asked == [made.now_ms]


def test_the_time_can_be_chosen_and_a_node_that_is_back_ends_it() -> None:
    made, asked = world(OFF + '<nvpair id="grace" name="cut-off-grace" value="7s"/>')
    made.install(2, 3)
    lost_ms = made.now_ms
    made.pass_time(6_900)
    assert asked == []
    made.install(1, 2, 3)
    assert asked == [lost_ms + 6_900]
