"""Any member, the DC too, dies after any message of a join and of what follows it: those who are left join anew, agree, and repeat nothing."""

from __future__ import annotations

from typing import Any

import pytest
from controller_world import NOTHING, World, graph, rsc_op
from lxml import etree

from crm.cib import xml
from crm.controller import status

TAKEN, OTHER = 7, 3
"""Epochs: of the cluster's CIB, and of the newcomer's."""
LRM = '<lrm id="3"><lrm_resources><lrm_resource id="old" class="ocf" provider="vigil" type="Dummy"/></lrm_resources></lrm>'
GRACE_MS = 6_000
"""Longer than a member whose crm may be restarting is waited for."""
DC_DEADTIME_MS = 25_000
STEPS = 9
"""More messages than the join and the transition after it have; the last ones find all done."""


def _start_web_on_n2(document: etree._Element) -> Any:
    entries = [entry for entry in document.iter("lrm_rsc_op") if entry.get("operation") == "start"]
    if any(entry.get("rc-code") == "0" for entry in entries):
        return NOTHING
    return graph((rsc_op(1, "start", "web", 2), ()), (rsc_op(2, "monitor", "web", 2, interval=10000), (1,)))


def _document(epoch: int) -> str:
    document = xml.empty()
    document.set("epoch", str(epoch))
    nodes = xml.ensure_section(document, "nodes")
    for number in (1, 2, 3):
        etree.SubElement(nodes, "node", {"id": str(number), "uname": f"n{number}"})
    return xml.to_text(document)


def _about_to_join() -> World:
    """n1 and n2 have been a cluster; n3 comes with an older CIB and something that its executor knows."""
    world = World(lambda document: NOTHING)
    for number in (1, 2):
        world.add(number, _document(TAKEN)).replica.stands = (5, 1, 4, 4)
    world.install(1, 2)
    world.pass_time(DC_DEADTIME_MS)  # they do not wait for n3 any more
    world.add(3, _document(OTHER), lrm=LRM).replica.stands = (2, 1, 2, 2)
    world.policy = _start_web_on_n2
    world.install(1, 2, 3, deliver=False)
    return world


def _check(world: World, left: list[int]) -> None:
    assert world.equal() and world.dc().node_id in left
    for number in left:
        node = world.nodes[number]
        assert node.synced and node.controller.state in ("S_IDLE", "S_NOT_DC", "S_TRANSITION_ENGINE"), (
            node.controller.state
        )
        assert node.replica.version.epoch == (OTHER if left == [3] else TAKEN)


@pytest.mark.parametrize("victim", [1, 2, 3])
@pytest.mark.parametrize("after", range(STEPS))
def test_whoever_dies_after_whichever_message_the_rest_joins_anew(victim: int, after: int) -> None:
    world = _about_to_join()
    world.deliver(after)
    left = [number for number in (1, 2, 3) if number != victim]
    world.install(*left)
    world.pass_time(GRACE_MS)
    _check(world, left)
    if victim != 3:
        assert status.lrm_resource(world.nodes[left[0]].replica.document, "3", "old") is not None, (
            "n3's history is known"
        )
    # The dead one is back without anything but its old disk; then the join of its new life is cut short likewise, by the next in turn.
    world.add(victim, _document(OTHER), life=2)
    world.install(1, 2, 3, deliver=False)
    world.deliver(after)
    next_one = victim % 3 + 1
    rest = [number for number in (1, 2, 3) if number != next_one]
    world.install(*rest)
    assert world.equal() and world.dc().node_id in rest


@pytest.mark.parametrize("after", range(STEPS))
def test_the_dc_dies_and_what_it_ordered_is_done_once(after: int) -> None:
    world = _about_to_join()
    world.deliver(after)
    world.install(2, 3)
    world.pass_time(GRACE_MS)
    starts = [order for order in world.nodes[2].orders if order.action.task == "start"]
    assert len(starts) == 1, "ordered by the old DC or by the new one, not by both"
    world.finish(world.nodes[2], world.nodes[2].run("web_start_0"))
    assert [order.action.key for order in world.nodes[2].orders] == ["web_monitor_10000"]
