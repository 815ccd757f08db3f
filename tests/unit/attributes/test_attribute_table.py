"""Delays, private values and what members tell one another: tables that are fed the same words in the same order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.attributes.messages import Release, Told, Wish, Word, decode, encode
from crm.attributes.table import AttributeTable, Write
from crm.attributes.values import evaluate

DELAY = 5000


class World:
    """Members 1 to 3 and the status section that they share."""

    def __init__(self, members: str = "123") -> None:
        self.tables = {member: AttributeTable(member) for member in members}
        self.status: dict[tuple[str, str], str] = {}
        self.writes: list[list[Write]] = []

    def deliver(self, *words: Word, now_ms: int = 0) -> None:
        found = [table.apply(words, lambda *key: self.status.get(key), now_ms) for table in self.tables.values()]
        assert all(writes == found[0] for writes in found), "every member writes the same"
        if found[0]:
            self.writes.append(found[0])
        for write in found[0]:
            if write.value is None:
                self.status.pop((write.node_id, write.name), None)
            else:
                self.status[write.node_id, write.name] = write.value

    def set(self, node: str, value: str | None, now_ms: int = 0, name: str = "ping", by: str = "1", **how: Any) -> None:
        self.deliver(self.tables[by].wish(node, f"n{node}", name, value, **how), now_ms=now_ms)

    def release(self, dc: str, now_ms: int) -> None:
        self.deliver(*self.tables[dc].due(now_ms), now_ms=now_ms)


def test_without_a_delay_a_value_is_written_where_it_is_delivered() -> None:
    world = World()
    world.set("1", "100")
    assert world.status == {("1", "ping"): "100"}


def test_the_first_change_starts_the_clock_and_all_values_are_written_together() -> None:
    world = World()
    world.set("1", "100", 0, delay_ms=DELAY)
    world.set("2", "300", 3000, by="2")
    world.set("1", "200", 4000)
    assert world.writes == [] and world.tables["3"].next_wake_ms() == DELAY
    assert world.tables["3"].unwritten("1") == {"ping": "200"}
    world.release("2", DELAY)
    assert world.writes == [[Write("1", "n1", "ping", "200"), Write("2", "n2", "ping", "300")]]
    assert [table.next_wake_ms() for table in world.tables.values()] == [None] * 3


def test_a_value_that_never_rests_is_written_all_the_same() -> None:
    world = World()
    for moment in range(0, DELAY, 500):
        world.set("1", str(moment), moment, delay_ms=DELAY)
    world.release("1", DELAY)
    assert world.status == {("1", "ping"): "4500"}


def test_a_value_that_returns_to_what_is_written_cancels_the_change() -> None:
    world = World()
    world.set("1", "100")
    world.set("1", "0", 0, delay_ms=DELAY)
    world.set("1", "100", 1000)
    assert world.tables["1"].next_wake_ms() is None and len(world.writes) == 1


def test_a_delay_once_set_is_changed_only_on_purpose() -> None:
    world = World()
    world.set("1", "1", 0, delay_ms=DELAY)
    world.set("1", "2", 0, delay_ms=60_000)
    assert world.tables["1"].next_wake_ms() == DELAY
    world.set("1", "3", 1000, delay_ms=10_000, change_delay=True)
    assert world.tables["2"].next_wake_ms() == 11_000 and world.tables["2"].unwritten("1") == {"ping": "3"}
    world.set("1", None, 2000, delay_ms=500, change_delay=True, valued=False)
    assert world.tables["3"].next_wake_ms() == 2500 and world.tables["3"].unwritten("1") == {"ping": "3"}


def test_a_delay_of_nothing_lets_values_pass_again() -> None:
    world = World()
    world.set("1", "1", 0, delay_ms=DELAY)
    world.set("1", "2", 0, delay_ms=0, change_delay=True)
    assert world.status == {("1", "ping"): "2"} and world.tables["1"].next_wake_ms() is None


def test_counting_goes_on_from_what_is_held_back() -> None:
    world = World()
    world.set("1", "5", 0, delay_ms=DELAY)
    for by in "23":
        world.set("1", "value++", 100, by=by)
    world.release("1", DELAY)
    assert world.status == {("1", "ping"): "7"}


def test_two_who_count_at_once_both_count() -> None:
    """Both wishes were made from the same value; each counts where it is delivered."""
    world = World()
    world.set("1", "5")
    wishes = [world.tables[by].wish("1", "n1", "ping", "value++") for by in "23"]
    world.deliver(*wishes)
    assert world.status == {("1", "ping"): "7"}


def test_the_next_dc_writes_what_the_last_one_could_not() -> None:
    world = World()
    world.set("2", "1", 0, delay_ms=DELAY)
    assert world.tables["1"].due(DELAY) and world.tables["1"].due(DELAY) == [], "asked for once; and then the DC dies"
    del world.tables["1"]
    for table in world.tables.values():
        table.on_view(["1"])
    world.release("2", DELAY + 10)
    assert world.status == {("2", "ping"): "1"}


def test_a_release_that_was_lost_is_asked_for_again() -> None:
    world = World()
    world.set("2", "1", 0, delay_ms=DELAY)
    assert world.tables["1"].due(DELAY)
    world.tables["1"].on_view([])
    world.release("1", DELAY + 10)
    assert world.status == {("2", "ping"): "1"}


def test_what_changes_while_its_release_is_on_its_way_is_written_next_time() -> None:
    world = World()
    world.set("1", "1", 0, delay_ms=DELAY)
    releases = world.tables["1"].due(DELAY)
    world.set("1", "2", DELAY)
    world.deliver(*releases, now_ms=DELAY)
    assert world.status == {("1", "ping"): "1"} and world.tables["2"].next_wake_ms() == 2 * DELAY
    world.release("3", 2 * DELAY)
    assert world.status == {("1", "ping"): "2"}


def test_a_private_value_is_known_everywhere_and_written_nowhere() -> None:
    world = World()
    world.set("1", "secret", private=True)
    world.set("1", "value++", by="2")  # stays private whoever sets it
    assert world.writes == [] and world.tables["3"].unwritten("1") == {"ping": "1"}
    world.set("1", None)
    assert world.tables["3"].unwritten("1") == {}
    world.set("2", "seen")
    world.set("2", "still seen", private=True, public=True)
    assert world.status == {("2", "ping"): "still seen"}, "what is public stays so"


def test_what_a_node_had_set_goes_with_it() -> None:
    world = World()
    world.set("3", "p", name="a", private=True)
    world.set("3", "h", 0, name="b", delay_ms=DELAY)
    world.tables["1"].on_view(["3"])
    assert world.tables["1"].unwritten("3") == {} and world.tables["1"].next_wake_ms() is None


def test_who_comes_is_told_by_each_about_itself_and_by_the_dc_about_nodes_without_a_daemon() -> None:
    world = World()
    world.set("1", "p", name="a", private=True)
    world.set("2", "h", 0, name="b", delay_ms=DELAY)
    world.set("remote", "r", name="a", private=True)
    world.tables["4"] = AttributeTable("4")
    told = [*world.tables["1"].tell("1234"), *(word for member in "234" for word in world.tables[member].tell())]
    world.deliver(*told, now_ms=100)
    new = world.tables["4"]
    assert (
        new.unwritten("1") == {"a": "p"} and new.unwritten("2") == {"b": "h"} and new.unwritten("remote") == {"a": "r"}
    )
    assert new.next_wake_ms() == 100 + DELAY
    world.set("4", "5", 200, name="b", by="4")
    assert ("4", "b") not in world.status, "it knows the delay"
    world.release("4", 100 + DELAY)
    assert world.status == {("2", "b"): "h", ("4", "b"): "5"}


def test_a_member_that_does_not_know_what_is_held_back_writes_the_same() -> None:
    world = World()
    world.set("2", "5", 0, delay_ms=DELAY)
    world.tables["4"] = AttributeTable("4")  # nobody has told it yet
    world.set("2", "value++", 100)
    world.release("1", DELAY)
    assert world.status == {("2", "ping"): "6"}
    world.set("2", "9", DELAY, by="4")
    assert world.status == {("2", "ping"): "9"}


def test_a_process_that_restarts_goes_on_with_its_own() -> None:
    world = World()
    world.set("1", "p", name="a", private=True)
    world.set("1", "h", 0, name="b", delay_ms=DELAY)
    kept = json.loads(json.dumps(world.tables["1"].own()))
    again = AttributeTable("1", kept)
    again.resume(700)
    assert again.unwritten("1") == {"a": "p", "b": "h"} and again.next_wake_ms() == 700 + DELAY


@pytest.mark.parametrize(
    "word",
    [
        Wish("1", "n1", "a", "value++", True, False, 5000),
        Wish("1", "n1", "a", None, valued=False),
        Release("a", (("1", "n1", "5"), ("2", "n2", None))),
        Told("1", "n1", {"a": 5}, {"b": "c"}, {"a": None}),
    ],
)
def test_words_survive_the_wire(word: Word) -> None:
    assert decode(json.loads(json.dumps(encode(word)))) == word


@pytest.mark.parametrize("data", [[], ["wish"], ["what", 1], ["release", "a"], 7])
def test_what_is_no_word_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="not about attributes"):
        decode(data)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "delay", "release", "lose", "private"]),
        st.sampled_from("123"),
        st.sampled_from(["1", "2", None, "value++", "value+=5"]),
        st.integers(0, 4000),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_in_the_end_everything_is_written_and_members_agree_all_the_way(
    steps: list[tuple[str, str, str | None, int]],
) -> None:
    world, now = World(), 0
    for kind, member, value, pause in steps:
        now += pause
        match kind:
            case "set":
                world.set(member, value, now, by=member)
            case "delay":
                world.set(member, value, now, by=member, delay_ms=pause, change_delay=True)
            case "private":
                world.set(member, value, now, name="own", by=member, private=True)
            case "lose":
                world.tables[member].due(now)
                for table in world.tables.values():
                    table.on_view([])
            case _:
                world.release(member, now)
        assert len({json.dumps([table.unwritten(node) for node in "123"]) for table in world.tables.values()}) == 1
    wanted = {(node, name): value for node in "123" for name, value in world.tables["1"].unwritten(node).items()}
    world.release("2", now + 10_000)
    for (node, name), value in wanted.items():
        if name == "ping":
            assert world.status.get((node, name)) == value
    assert not any(name == "own" for _, name in world.status)


@pytest.mark.parametrize(
    ("text", "old", "expected"),
    [
        ("value++", None, "1"),
        ("value++", "41", "42"),
        ("value+=5", "37", "42"),
        ("value-=5", "37", "32"),
        ("value--", "nonsense", "-1"),
        ("value++", "INFINITY", "INFINITY"),
        ("value+=INFINITY", "-5", "999995"),
        ("value", "7", "value"),
        ("other++", "7", "other++"),
    ],
)
def test_the_arithmetic_of_values(text: str, old: str | None, expected: str) -> None:
    assert evaluate(text, old) == expected
