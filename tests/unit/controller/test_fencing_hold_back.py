"""Two halves of an even split must not fence each other at the same moment: one of them has a head start."""

from __future__ import annotations

import pytest
from controller_world import NOTHING, World, crm_event, graph
from lxml import etree

from crm.controller.fencing import FENCE_HOLD_BACK_MS
from crm.controller.types import Settings


def fence_whoever_is_lost(document: etree._Element) -> str:
    """A policy: fence each node that is not a member any more and was not fenced yet."""
    steps = [
        (crm_event(number, "stonith", int(state.get("id", "0")), stonith_action="off"), ())
        for number, state in enumerate(document.iter("node_state"), start=1)
        if state.get("in_ccm") == "false" and state.get("expected") == "member"
    ]
    return graph(*steps) if steps else NOTHING


@pytest.mark.parametrize(
    ("nodes", "survivors", "delay_ms"),
    [(2, (1,), 0), (2, (2,), FENCE_HOLD_BACK_MS), (4, (3, 4), FENCE_HOLD_BACK_MS), (3, (2, 3), 0)],
    ids=["the half with the lowest id", "the other half", "two of four", "a majority"],
)
def test_only_the_half_of_an_even_split_without_the_lowest_id_waits(
    nodes: int, survivors: tuple[int, ...], delay_ms: int
) -> None:
    world = World(fence_whoever_is_lost)
    votes = dict.fromkeys(range(1, nodes + 1), 1)
    for number in votes:
        world.add(number, settings=Settings(votes=votes, expected_votes=nodes))
    world.install(*votes)
    world.install(*survivors)
    world.pass_time(10_000)
    fences = [fence for number in survivors for fence in world.nodes[number].fences]
    assert fences and {fence.delay_ms for fence in fences} == {delay_ms}
