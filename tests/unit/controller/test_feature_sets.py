"""Nodes of different versions: they work together while an upgrade is under way; once it is over, who is older is told to stay away."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from controller_world import World, graph
from lxml import etree

from crm.cib import xml
from crm.controller.election import Facts, common_features, elect, too_old
from crm.controller.messages import Announcement, decode, encode
from crm.controller.types import Settings
from crm.daemon.settings import feature_set

OLD, NEW = "3.20.4", "3.20.5"
OLDER = Settings(feature_set=OLD)
QUORATE = (1, 2, 3, 3)


def idle(document: etree._Element) -> Any:
    return graph()


def document(features: str, epoch: int = 5) -> str:
    return (
        f'<cib crm_feature_set="{features}" admin_epoch="0" epoch="{epoch}" num_updates="0"><configuration><crm_config/>'
        "</configuration><status/></cib>"
    )


def settle(world: World) -> None:
    """What the daemon does with the DC's wish: every copy gets it."""
    wishes = {wish for node in world.nodes.values() for wish in node.wishes}
    assert len(wishes) == 1
    for node in world.nodes.values():
        node.replica.document.set("crm_feature_set", wishes.pop() if wishes else NEW)
        node.wishes.clear()


def test_while_versions_are_mixed_the_oldest_member_is_the_dc_and_the_cluster_works_with_what_it_can() -> None:
    world = World(idle)
    world.add(1, document(OLD))
    world.add(2, document(OLD), OLDER)
    world.add(3, document(OLD))
    world.install(1, 2, 3)
    assert world.dc().name == "n2"
    assert [node.wishes for node in world.nodes.values()] == [[], [], []]
    assert world.dc().controller.describe()["feature_sets"] == {"n1": NEW, "n2": OLD, "n3": NEW}


def test_a_rolling_upgrade_goes_through_node_by_node_and_then_the_cluster_moves_on() -> None:
    world = World(idle)
    for number in (1, 2, 3):
        world.add(number, document(OLD), OLDER)
    world.install(1, 2, 3)
    for number in (1, 2, 3):
        rest = [other for other in (1, 2, 3) if other != number]
        world.install(*rest)
        world.add(number, xml.to_text(world.nodes[rest[0]].replica.document), life=2)
        world.install(1, 2, 3)
        assert world.equal() and not any(node.refused for node in world.nodes.values())
        if number == 2:  # two are new: when the last one is down for its upgrade, nobody is old any more
            assert not any(node.wishes for node in world.nodes.values())
    assert world.dc().wishes[-1] == NEW


def test_a_member_that_is_older_than_the_cluster_is_refused_and_everybody_knows_why() -> None:
    world = World(idle)
    world.add(1, document(NEW)).replica.stands = QUORATE
    world.add(2, document(NEW)).replica.stands = QUORATE
    world.install(1, 2)
    late = world.add(3, document(OLD), OLDER)
    world.install(1, 2, 3)
    assert "n3 has feature set 3.20.4" in late.refused and "works with 3.20.5" in late.refused
    assert not world.nodes[1].refused and not world.nodes[2].refused
    assert late.replica.document.get("crm_feature_set") == OLD, "it has taken nothing"
    for number in (1, 2):
        node = world.nodes[number]
        assert not node.synced and node.controller.describe()["refused"] == [late.refused]
        assert [record.fields["peer"] for record in node.records if record.name == "member_refused"] == ["n3"]
    world.install(1, 2, 3, group=(1, 2))  # it has left the group
    assert world.equal() and world.nodes[1].synced
    assert world.nodes[1].controller.describe()["refused"] == [late.refused], "status still says so"
    world.add(3, document(OLD), life=2)
    world.install(1, 2, 3)
    assert world.equal() and world.nodes[1].controller.describe()["refused"] == []


def test_a_node_alone_that_is_older_than_its_own_configuration_decides_nothing() -> None:
    world = World(idle)
    node = world.add(1, document(NEW), OLDER)
    world.install(1)
    assert node.refused and not node.synced and node.controller.dc is None


def test_without_quorum_the_cluster_does_not_move_on() -> None:
    world = World(idle)
    world.add(1, document(OLD))
    world.install(1, quorate=False)
    assert world.dc().wishes == []
    world.install(1)
    assert world.dc().wishes == [NEW]


def test_the_side_with_quorum_says_what_is_needed() -> None:
    """A minority of new ones must not have locked out the majority that went on with the older version."""
    world = World(idle)
    for number, stands in ((1, (5, 1, 9, 9)), (2, (5, 1, 9, 9)), (3, (4, 1, 8, 8))):
        settings = None if number == 3 else OLDER
        world.add(number, document(NEW if number == 3 else OLD), settings).replica.stands = stands
    world.install(1, 2, 3)
    assert world.equal() and not any(node.refused for node in world.nodes.values())
    assert world.nodes[3].replica.document.get("crm_feature_set") == OLD


def test_facts_of_another_version_are_understood() -> None:
    world = World(idle)
    facts = world.add(1, document(NEW)).controller
    view = world.install(1)
    payload = encode(Announcement(facts._facts(view, False)))
    more = payload.replace(b'{"t":"facts"', b'{"t":"facts","of_tomorrow":{"a":1}')
    less = payload.replace(b',"cib_feature_set":"3.20.5"', b"").replace(b',"action_limit":0', b"")
    assert less != payload != more
    assert decode(more) == decode(payload)
    old = decode(less)
    assert isinstance(old, Announcement) and old.facts.cib_feature_set == ""


@pytest.mark.parametrize(
    ("claimed", "used"), [("", NEW), (OLD, OLD), ("3.19", "3.19"), ("9.9.9", NEW), ("nonsense", NEW), (NEW, NEW)]
)
def test_a_node_may_claim_less_than_it_can_and_never_more(claimed: str, used: str) -> None:
    assert feature_set(claimed) == used


@pytest.mark.parametrize("seed", range(40))
def test_all_orders_of_the_same_facts_give_one_verdict(seed: int) -> None:
    dice = random.Random(seed)
    everybody = [_facts(dice, number) for number in range(1, dice.randint(1, 5) + 1)]
    verdicts = {(too_old(order), elect(order), common_features(order)) for order in itertools.permutations(everybody)}
    assert len(verdicts) == 1
    _, _, common = verdicts.pop()
    assert all(xml.feature_key(common) <= xml.feature_key(facts.feature_set) for facts in everybody)
    left = everybody
    while left and (refused := too_old(left)):
        left = [facts for facts in left if facts.node_id not in refused]


def _facts(dice: random.Random, number: int) -> Facts:
    features = ("3.9.0", "3.10.0", "3.20.5", "3.20.5.1", "4.0")
    has = dice.choice(features)
    return Facts(
        node_id=number,
        name=f"n{number}",
        incarnation=1,
        crm_id="x",
        feature_set=has,
        version=xml.Version(0, dice.randint(0, 2), 0),
        standing=(dice.randint(0, 1), 1, dice.randint(0, 1), dice.randint(0, 2)),
        digest=dice.choice("ab"),
        quorate_before=dice.random() < 0.5,
        peers_before=dice.randint(0, 2),
        was_dc=False,
        seniority=0,
        history_current=True,
        cib_lost=dice.random() < 0.1,
        cib_feature_set=dice.choice(features),
    )
