"""When half of a cluster takes changes of the configuration: once nobody is left to be fenced, also while agents are at work.

An agent that promotes a database writes which copy is the latest, and waits for that; were the configuration closed until the agent has ended, both would wait.
"""

from __future__ import annotations

from controller_world import World, graph, rsc_op
from lxml import etree

from crm.controller.types import Settings


def starts_web(document: etree._Element) -> str:
    return graph((rsc_op(1, "start", "web", 1), ()), (rsc_op(2, "monitor", "web", 1, interval=10000), (1,)))


def test_without_fencing_the_configuration_opens_while_the_agents_of_the_recovery_are_at_work() -> None:
    world = World(starts_web)
    for number in (1, 2):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2"))))
    world.deciding = False
    world.install(1, 2)
    for node in world.nodes.values():
        node.decisions.clear()
    world.install(1)
    assert not world.nodes[1].synced, "nothing has been decided"
    world.answer(world.nodes[1])
    assert [order.action.key for order in world.nodes[1].orders] == ["web_start_0"]
    assert world.nodes[1].synced
