"""Which records are shown: by time, kind, and whom they are about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crm.events import select
from crm.events.select import GROUPS, Selection


def record(event: str, **fields: Any) -> dict[str, Any]:
    return {"event": event, "node": "n1", "time_ms": 1000, "order": 1, "cause": "", **fields}


START = record("action_result", operation="start", resource="web", ok=True, rc=0, interval_ms=0)
PROBE = record("action_result", operation="monitor", resource="web", ok=True, rc=7, interval_ms=0)
INSTANCE = record("action", operation="start", resource="each:2", interval_ms=0)
PLAN = record("transition", number=4, actions=2, plan=["fence n2", "start web on n1"])
VIEW = record("view", id="7.1", members=["n1", "n3"], joined=[], left=["n2"])
FENCED = record("fenced", target="n2", action="off")
LOST = record("action_lost", operation="web_monitor_5000", on="n2", number=4)
STUCK = record("transition_stuck", number=4, actions=["my_ip_start_0"])
PINGD = record("attributes", values=[["n2", "pingd", "0"]])
EVERY = {
    "start": START,
    "probe": PROBE,
    "instance": INSTANCE,
    "plan": PLAN,
    "view": VIEW,
    "fenced": FENCED,
    "lost": LOST,
    "stuck": STUCK,
    "pingd": PINGD,
}


def taken(**asked: Any) -> set[str]:
    selection = select.from_params(asked, 0)
    return {name for name, each in EVERY.items() if selection.takes(each)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", {"start", "probe", "plan", "lost"}),
        ("each", {"instance"}),
        ("each:2", {"instance"}),
        ("my_ip", {"stuck"}),
        ("n2", {"plan", "view", "fenced", "lost", "pingd"}),
        ("eb", set()),
        ("4", set()),
    ],
)
def test_a_record_is_about_the_resources_and_nodes_that_it_names(name: str, expected: set[str]) -> None:
    assert taken(about=name) == expected
    hint = Selection(about=name).hint()
    assert all(hint.may_be(json.dumps(EVERY[each]).encode()) for each in expected)


def test_kinds_are_records_or_groups_of_them_and_nonsense_is_refused_with_what_there_is() -> None:
    assert taken(kinds=["fencing"]) == {"fenced"} and taken(kinds=["fenced", "view"]) == {"fenced", "view"}
    assert taken(kinds=["resource"], about="web") == {"start", "probe", "lost"}
    with pytest.raises(
        select.NoSuchKind, match=r"'fence' is no kind of record; expected node, fencing, .*fence_failed"
    ):
        select.of_names(["fence"])


@pytest.mark.parametrize(
    "selection",
    [
        Selection(details=False),
        Selection(kinds=GROUPS["fencing"]),
        Selection(kinds=GROUPS["resource"], about="web", details=False),
        Selection(frozenset(("view-7.1",)), kinds=frozenset(("view",))),
    ],
)
def test_the_look_at_the_bytes_of_a_line_leaves_nothing_out(selection: Selection) -> None:
    hint = selection.hint()
    nasty = record("change", reason='"event":"decide" says "fenced"', cause="view-7.1")
    for each in [*EVERY.values(), nasty, {**VIEW, "cause": "view-7.1"}]:
        for text in (json.dumps(each), json.dumps(each, separators=(",", ":"))):
            assert hint.may_be(text.encode()) or not selection.takes(each), text


def test_details_and_what_is_out_of_time_are_left_out() -> None:
    assert "probe" not in taken(details=False) and "start" in taken(details=False)
    assert taken(since_ms=1001) == set() == taken(until_ms=999) and len(taken(since_ms=1000, until_ms=1000)) == len(
        EVERY
    )


def test_the_last_minute_is_counted_from_the_clock_of_whoever_reads() -> None:
    assert select.from_params({"last_ms": 60_000, "since_ms": 5}, 100_000).since_ms == 40_000
    assert select.from_params({"last_ms": 60_000, "since_ms": 50_000}, 100_000).since_ms == 50_000


def test_a_node_that_is_newer_may_ask_for_records_that_are_not_known_here() -> None:
    assert taken(kinds=["fenced", "of_tomorrow"]) == {"fenced"}


def test_a_selection_travels_as_it_is() -> None:
    one = Selection(frozenset("ab"), 1, 2, GROUPS["fencing"], "web", False)
    assert select.from_params(one.to_params(), 0) == one
    assert select.from_params({}, 0) == Selection()


@pytest.mark.parametrize("asked", [{"kinds": "fenced"}, {"kinds": [1]}, {"since_ms": "soon"}])
def test_what_is_no_selection_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        select.from_params(asked, 0)
