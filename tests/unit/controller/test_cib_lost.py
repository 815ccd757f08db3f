"""A node on whose disk every copy of the CIB is damaged: it takes the others' and never gives its own."""

from __future__ import annotations

from typing import Any

from controller_world import World, graph
from lxml import etree

from crm.controller.types import Settings

LOST = Settings(cib_lost=True)
REAL = '<cib admin_epoch="0" epoch="5" num_updates="0"><configuration><crm_config/></configuration><status/></cib>'


def idle(document: etree._Element) -> Any:
    return graph()


def test_it_takes_the_others_copy_even_if_its_own_empty_one_would_have_been_chosen() -> None:
    world = World(idle)
    world.add(1, settings=LOST)
    world.add(2, REAL).replica.stands = (1, 2, 3, 3)
    world.install(1, 2)
    assert world.equal()
    assert world.nodes[1].replica.version.epoch == 5
    assert world.nodes[1].controller.without_cib() == ()


def test_alone_it_decides_nothing_and_says_so_until_somebody_comes_who_has_one() -> None:
    world = World(idle)
    node = world.add(1, settings=LOST)
    world.install(1)
    assert node.controller.dc is None and not node.synced
    assert node.controller.without_cib() == ("n1",)
    assert [record.fields["lost_by"] for record in node.records if record.name == "cib_missing"] == [["n1"]]
    world.add(2, REAL).replica.stands = (0, 0, 0, 1)
    world.install(1, 2)
    assert world.equal() and node.controller.without_cib() == ()
    world.install(1)
    assert node.controller.dc == 1, "it has a copy now"


def test_beside_a_node_that_never_had_a_configuration_it_waits_too() -> None:
    world = World(idle)
    world.add(1, settings=LOST)
    world.add(2)
    world.install(1, 2)
    assert all(node.controller.dc is None for node in world.nodes.values())
    assert world.nodes[2].controller.without_cib() == ("n1",), "each member can tell"


def test_a_running_cluster_takes_it_in_even_if_nobody_ever_changed_anything_there() -> None:
    world = World(idle)
    world.add(2)
    world.install(2)
    world.add(1, settings=LOST)
    world.install(1, 2)
    assert world.equal() and world.dc().name == "n2"
