"""When half of a cluster takes changes of the configuration: once nobody is left to be fenced, also while agents are at work.

An agent that promotes a database writes which copy is the latest, and waits for that; were the configuration closed until the agent has ended, both would wait.
"""

from __future__ import annotations

from controller_world import NOTHING, World, graph, rsc_op
from lxml import etree

from crm.cib import xml
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


def test_members_that_an_erased_configuration_does_not_know_are_entered_again() -> None:
    world = World(lambda document: NOTHING)
    for number in (1, 2):
        world.add(number)
    world.install(1, 2)
    dc = world.dc()
    assert dc.strangers == [(("1", "n1"), ("2", "n2"))], "a new cluster"
    for node in world.nodes.values():  # as the daemon would, and as `cibadmin --erase` leaves it
        nodes = xml.ensure_section(node.replica.document, "nodes")
        for number in (1, 2):
            etree.SubElement(nodes, "node", {"id": str(number), "uname": f"n{number}"})
    world.perform(dc, dc.controller.on_configuration_changed("a change", world.now_ms))
    assert len(dc.strangers) == 1, "everybody is known"
    for node in world.nodes.values():
        xml.ensure_section(node.replica.document, "nodes").clear()
    world.perform(dc, dc.controller.on_configuration_changed("erased", world.now_ms))
    assert dc.strangers[1:] == [(("1", "n1"), ("2", "n2"))]
