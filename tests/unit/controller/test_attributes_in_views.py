"""Node attributes among controllers whose views change: what waits, what is private, what was promised."""

from __future__ import annotations

from typing import Any

from controller_world import NOTHING, Node, World

from crm.controller import status
from crm.controller.messages import Changes
from crm.controller.types import Settings

DELAY = 5000


def three() -> World:
    world = World(lambda document: NOTHING)
    for number in (1, 2, 3):
        world.add(number)
    world.install(1, 2, 3)
    return world


def ask(world: World, by: int, node: int, name: str, value: str | None, deliver: bool = True, **how: Any) -> int:
    """The ticket whose answer the client waits for."""
    sender = world.nodes[by]
    word = sender.controller.attributes.wish(str(node), f"n{node}", name, value, **how)
    ticket, effects = sender.controller.promise(Changes(reason=f"{name} was set", words=(word,)))
    world._effects(sender, effects)
    if deliver:
        world.deliver()
    return ticket


def written(node: Node, of: int) -> dict[str, str]:
    return status.transient_attributes(node.replica.document, str(of))


def test_a_value_without_delay_is_everywhere_when_it_is_delivered() -> None:
    world = three()
    ask(world, 2, 1, "speed", "5")
    ask(world, 3, 1, "speed", "value++")
    assert [written(node, 1) for node in world.nodes.values()] == [{"speed": "6"}] * 3
    assert world.equal()


def test_the_values_of_all_nodes_are_written_together_when_the_time_has_come() -> None:
    world = three()
    ask(world, 1, 1, "ping", "100", delay_ms=DELAY)
    world.pass_time(DELAY - 1000)
    ask(world, 3, 3, "ping", "300")
    assert written(world.nodes[2], 1) == {} and written(world.nodes[2], 3) == {}
    decisions = len(world.dc().records)
    world.pass_time(1100)
    assert written(world.nodes[2], 1) == {"ping": "100"} and written(world.nodes[2], 3) == {"ping": "300"}
    decided = [record for record in world.dc().records[decisions:] if record.name == "attributes"]
    assert [record.fields["values"] for record in decided] == [[["n1", "ping", "100"], ["n3", "ping", "300"]]], "once"
    assert world.equal()


def test_the_dc_dies_and_the_next_one_writes_what_waits() -> None:
    world = three()
    first = world.dc()
    others = [number for number in (1, 2, 3) if number != first.node_id]
    ask(world, others[0], others[0], "ping", "1", delay_ms=DELAY)
    ask(world, first.node_id, first.node_id, "ping", "9")
    world.install(*others)
    world.pass_time(DELAY + 100)
    for number in others:
        assert written(world.nodes[number], others[0]) == {"ping": "1"}
    assert world.nodes[others[0]].controller.attributes.unwritten(str(first.node_id)) == {}, "it took its own with it"


def test_a_release_that_died_with_its_view_is_made_again() -> None:
    world = three()
    ask(world, 2, 2, "ping", "1", delay_ms=DELAY)
    dc = world.dc()
    world.now_ms += DELAY
    world._effects(dc, dc.controller.on_tick(world.now_ms))  # on the wire, and not delivered
    world.install(1, 2)
    world.pass_time(100)
    assert written(world.nodes[1], 2) == {"ping": "1"} and written(world.nodes[2], 2) == {"ping": "1"}


def test_what_a_client_asked_for_another_node_survives_the_end_of_the_view() -> None:
    world = three()
    ticket = ask(world, 1, 2, "speed", "5", deliver=False)
    assert world.nodes[1].answers == {}, "the client is not told yet that it is done"
    world.install(1, 2)
    assert world.nodes[1].answers == {ticket: ""}
    assert written(world.nodes[1], 2) == {"speed": "5"}


def test_a_client_is_told_when_every_member_has_it_and_not_before() -> None:
    world = three()
    world.silent = {3}
    ticket = ask(world, 1, 2, "speed", "5")
    assert written(world.nodes[1], 2) == {"speed": "5"} and world.nodes[1].answers == {}
    world.silent = set()
    later = ask(world, 1, 2, "speed", "6")
    assert world.nodes[1].answers == {ticket: "", later: ""}, "one word is good for all before it"


def test_a_member_that_dies_is_waited_for_no_longer_than_until_the_next_view() -> None:
    world = three()
    world.silent = {3}
    ticket = ask(world, 1, 2, "speed", "5")
    counted = ask(world, 1, 2, "tries", "value++")
    assert world.nodes[1].answers == {}
    world.install(1, 2)
    assert world.nodes[1].answers == {ticket: "", counted: ""}
    assert written(world.nodes[2], 2) == {"speed": "5", "tries": "1"}, "counted once"


def test_who_is_cut_off_alone_promises_nothing_about_the_others() -> None:
    world = three()
    world.silent = {2, 3}
    other = ask(world, 1, 2, "speed", "5")
    own = ask(world, 1, 1, "speed", "6")
    world.install(1, quorate=False)
    answers = world.nodes[1].answers
    assert "no quorum" in answers[other]
    assert answers[own] == "", "its own it keeps as long as it lives"
    late = ask(world, 1, 2, "speed", "7")
    assert "no quorum" in answers[late]


def test_what_went_with_a_document_that_was_not_taken_is_asked_for_again_and_what_counts_is_not() -> None:
    world = three()
    world.silent = {2, 3}
    plain = ask(world, 1, 2, "speed", "5")
    counted = ask(world, 1, 2, "tries", "value++")
    # The others never had it, and went on without it.
    for number in (2, 3):
        world.nodes[number].replica.document = world.nodes[number].replica.document.__copy__()
        for pair in world.nodes[number].replica.document.xpath("//transient_attributes"):
            pair.getparent().remove(pair)
        world.nodes[number].replica.stands = (9, 0, 0, 0)
    world.silent = set()
    world.install(2, 3)
    world.install(1, 2, 3)
    answers = world.nodes[1].answers
    assert answers[plain] == "" and "not known" in answers[counted]
    assert [written(node, 2) for node in world.nodes.values()] == [{"speed": "5"}] * 3
    assert world.equal()


def test_a_node_that_is_back_as_a_new_one_is_told_again_what_it_may_not_know() -> None:
    world = three()
    world.silent = {2, 3}
    ticket = ask(world, 1, 2, "own", "x", private=True)
    world.silent = set()
    world.add(2, cib=None, life=2)
    world.nodes[2].incarnation = 2
    world.install(1, 2, 3)
    assert world.nodes[1].answers == {ticket: ""}
    assert [node.controller.attributes.unwritten("2") for node in world.nodes.values()] == [{"own": "x"}] * 3


def test_who_joins_knows_what_is_private_and_what_waits() -> None:
    world = World(lambda document: NOTHING)
    world.add(1)
    world.add(2)
    world.install(1, 2)
    ask(world, 1, 1, "own", "secret", private=True)
    ask(world, 2, 2, "ping", "1", delay_ms=DELAY)
    world.add(3)
    world.install(1, 2, 3)
    new = world.nodes[3].controller.attributes
    assert new.unwritten("1") == {"own": "secret"} and new.unwritten("2") == {"ping": "1"}
    ask(world, 3, 3, "ping", "3")
    assert written(world.nodes[1], 3) == {}, "the newcomer knows of the delay"
    world.pass_time(DELAY + 100)
    assert [written(node, 3) for node in world.nodes.values()] == [{"ping": "3"}] * 3
    assert world.equal() and all(written(node, 1) == {} for node in world.nodes.values())


def test_both_sides_of_a_partition_know_of_each_other_again() -> None:
    world = three()
    ask(world, 1, 1, "own", "a", private=True)
    ask(world, 3, 3, "own", "c", private=True)
    world.install(1, 2)
    assert world.nodes[2].controller.attributes.unwritten("3") == {}
    world.install(1, 2, 3)
    for node in world.nodes.values():
        assert node.controller.attributes.unwritten("1") == {"own": "a"}
        assert node.controller.attributes.unwritten("3") == {"own": "c"}


def test_a_crm_that_restarts_goes_on_with_what_it_had_kept() -> None:
    world = three()
    ask(world, 2, 2, "own", "b", private=True)
    ask(world, 2, 2, "ping", "1", delay_ms=DELAY)
    kept = world.nodes[2].controller.attributes.own()
    world.install(1, 3)
    world.add(2, settings=Settings(table=kept), life=2)
    world.install(1, 2, 3)
    assert world.nodes[1].controller.attributes.unwritten("2") == {"own": "b", "ping": "1"}
    world.pass_time(DELAY + 100)
    assert written(world.nodes[3], 2) == {"ping": "1"}


def without_crm_of_2(world: World) -> None:
    """The crm of n2 is being restarted; its machine and its messaging go on."""
    ask(world, 1, 2, "x", "1")
    ask(world, 1, 2, "y", "1")
    world.install(1, 2, 3, group=(1, 3))
    ask(world, 1, 2, "x", "2")
    ask(world, 3, 2, "y", None)
    ask(world, 3, 2, "tries", "value++")


def test_what_was_set_for_a_node_while_its_crm_was_away_is_there_when_it_is_back() -> None:
    world = three()
    without_crm_of_2(world)
    world.add(2, settings=Settings(attributes={"x": "1", "y": "1"}, resumes=True), life=2)
    world.install(1, 2, 3)
    assert [written(node, 2) for node in world.nodes.values()] == [{"x": "2", "tries": "1"}] * 3
    assert world.equal()
    ask(world, 2, 2, "x", "3")
    world.install(1, 2, 3)
    assert written(world.nodes[1], 2) == {"x": "3", "tries": "1"}, "and is not set again for ever"


def test_a_machine_that_was_restarted_has_no_attributes_whoever_set_them_meanwhile() -> None:
    world = three()
    without_crm_of_2(world)
    world.add(2, life=2)
    world.install(1, 2, 3)
    assert [written(node, 2) for node in world.nodes.values()] == [{}] * 3
    world.install(1, 2, 3)
    assert written(world.nodes[1], 2) == {}


def test_the_dc_dies_before_it_has_set_again_what_an_absent_node_was_to_have() -> None:
    world = three()
    without_crm_of_2(world)
    world.add(2, settings=Settings(attributes={"x": "1", "y": "1"}, resumes=True), life=2)
    world.install(1, 2, 3, deliver=False)
    while not world.nodes[1].controller.synced:
        world.deliver(limit=1)
    dc = world.dc().node_id
    assert written(world.nodes[dc], 2)["x"] == "1"
    others = [number for number in (1, 2, 3) if number != dc]
    world.install(*others)
    assert written(world.nodes[others[0]], 2) == {"x": "2", "tries": "1"}


def test_a_part_without_quorum_sets_nothing_again() -> None:
    world = three()
    ask(world, 1, 2, "x", "1")
    world.install(1, quorate=False)
    ask(world, 1, 2, "x", "9")
    world.install(2, 3)
    world.install(1, 2, 3)
    assert written(world.nodes[3], 2) == {"x": "1"}
