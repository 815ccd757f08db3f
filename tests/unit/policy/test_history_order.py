"""Which of two history entries is newer, and which operations are in effect."""

from __future__ import annotations

from functools import cmp_to_key

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from crm.policy.history.entries import active_window, compare, expected_rc, is_admitted, read_entry, sorted_entries
from crm.policy.model import HistoryEntry

UUIDS = ("11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000")


def element(name: str = "a", **attributes: str) -> etree._Element:
    values = {"id": name, "operation": "start", "rc-code": "0", "op-status": "0", **attributes}
    return etree.Element(
        "lrm_rsc_op", {key.replace("_", "-") if key != "on_node" else key: v for key, v in values.items()}
    )


def history(elements: list[etree._Element]) -> etree._Element:
    parent = etree.Element("lrm_resource", {"id": "r"})
    parent.extend(elements)
    return parent


def record(name: str = "a", **attributes: str) -> HistoryEntry:
    return read_entry(element(name, **attributes))


def magic(transition: int, uuid: int = 0) -> str:
    return f"-1:193;5:{transition}:0:{UUIDS[uuid]}"


_RECORDS = st.builds(
    lambda name, call, changed, node, transition, uuid: record(
        name,
        call_id=str(call),
        last_rc_change=str(changed),
        on_node=node,
        transition_magic=magic(transition, uuid),
    ),
    st.sampled_from("abcdef"),
    st.integers(-1, 4),
    st.integers(-1, 3),
    st.sampled_from(("n1", "N1", "n2")),
    st.integers(-1, 3),
    st.integers(0, 1),
)


@given(_RECORDS, _RECORDS)
def test_if_one_is_newer_the_other_is_older(a: HistoryEntry, b: HistoryEntry) -> None:
    assert compare(a, b) == -compare(b, a)


@given(st.permutations(range(6)))
def test_distinct_call_ids_alone_decide_on_one_node(calls: list[int]) -> None:
    elements = [element(f"e{call}", call_id=str(call), on_node="n1", last_rc_change=str(-call)) for call in calls]
    assert [entry.call_id for entry in sorted_entries(history(elements))] == sorted(calls)


@given(st.lists(_RECORDS, max_size=5, unique_by=lambda each: each.id))
def test_entries_that_cannot_be_told_apart_keep_their_reverse_order(records: list[HistoryEntry]) -> None:
    backwards = records[::-1]
    slow = sorted(backwards, key=cmp_to_key(compare))
    assert [entry.xml for entry in sorted_entries(history([r.xml for r in records]))] == [entry.xml for entry in slow]


def test_across_nodes_time_decides() -> None:
    older = record(call_id="9", last_rc_change="100", on_node="n1")
    newer = record("b", call_id="2", last_rc_change="200", on_node="n2")
    assert compare(older, newer) < 0


def test_a_pending_operation_is_newer_unless_its_transition_is_older() -> None:
    done = record(call_id="3", transition_magic=magic(7))
    assert compare(record("b", call_id="-1", transition_magic=magic(7)), done) > 0
    assert compare(record("b", call_id="-1", transition_magic=magic(6)), done) < 0
    assert compare(record("b", call_id="-1", transition_magic=magic(6, 1)), done) > 0
    assert compare(record("b", call_id="-1", transition_magic="nonsense"), done) == 0


def test_a_transition_key_needs_all_its_parts() -> None:
    assert expected_rc(f"3:4:7:{UUIDS[0]}") == 7
    assert expected_rc("3:4:7:short") == 7
    assert expected_rc("3:4:7") == expected_rc("") == expected_rc(None) == -1


def test_what_cannot_be_interpreted_is_not_admitted() -> None:
    assert is_admitted(record())
    for broken in (
        {"operation": "notify"},
        {"op_status": "1"},
        {"op_status": "12"},
        {"rc_code": "-3"},
        {"rc_code": "x"},
    ):
        assert not is_admitted(record(**broken)), broken
    assert not is_admitted(record(""))


def test_the_window_begins_with_the_last_start_or_with_what_implies_one() -> None:
    def window(*tasks: str) -> tuple[int, int]:
        return active_window([record(f"e{i}", operation=task) for i, task in enumerate(tasks)])

    assert window("start", "monitor", "stop") == (0, 2)
    assert window("stop", "start", "monitor") == (1, 0)
    assert window("migrate_from", "monitor") == (0, -1)
    assert window("monitor", "monitor") == (0, -1)
    assert window("stop", "monitor") == (1, 0)
    assert window("promote", "monitor") == (0, -1)
    assert window() == (-1, -1)


def test_on_two_nodes_within_one_second_a_later_transition_of_the_same_dc_is_newer() -> None:
    there = {"on_node": "n1", "call_id": "85", "last_rc_change": "1700000028"}
    here = {"on_node": "n2", "call_id": "43", "last_rc_change": "1700000028"}
    older, newer = record("a", **there, transition_magic=magic(110)), record("b", **here, transition_magic=magic(112))
    assert compare(older, newer) < 0 < compare(newer, older)
    assert compare(record("a", **there, transition_magic=magic(112)), newer) == 0
