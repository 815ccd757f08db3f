"""Following a cause: what led to it and what came of it, on all nodes, in an order that no clock can spoil."""

from __future__ import annotations

from typing import Any

from crm.events import follow, words
from crm.events.causes import MAX_CAUSES, joined
from crm.events.clock import MAX_AHEAD_US, HybridClock


def record(node: str, order: int, event: str, cause: str, **fields: Any) -> dict[str, Any]:
    return {"node": node, "order": order, "time_ms": order, "event": event, "cause": cause, **fields}


FAILOVER = [
    record("n1", 1, "peer_late", "late-n2.5", peer="n2", silent_ms=601),
    record("n3", 2, "peer_late", "late-n2.5", peer="n2", silent_ms=604),
    record("n1", 3, "peer_lost", "view-7.1", peer="n2", after=["late-n2.5"]),
    record("n1", 4, "transition", "view-7.1", number=41, actions=2, plan=["fence n2", "start web on n1"]),
    record("n3", 5, "action_result", "view-7.1", operation="start", resource="web", rc=0, ok=True, exec_ms=12),
    record("n1", 6, "transition", "cib-0.9.0", number=42, actions=1, plan=["stop db on n1"], after=["view-7.1"]),
    record("n1", 7, "action_result", "cib-0.9.0", operation="stop", resource="db", rc=0, ok=True),
    record("n1", 8, "transition", "cib-0.9.0", number=43, actions=1, after=["op-n3.1"]),
    record("n3", 9, "action_result", "op-n3.1", operation="monitor", resource="db", rc=7, ok=False),
    record("n1", 10, "change", "change-n1.4", reason="somebody else's"),
]


def search(cause: str, records: list[dict[str, Any]] = FAILOVER) -> list[int]:
    looking = follow.Search(cause)
    while looking.wanted:
        wanted = looking.wanted
        looking.on_found(each for each in reversed(records) if follow.matches(each, wanted))
    return [each["order"] for each in looking.result()]


def test_one_id_leads_from_the_missed_heartbeat_to_the_service_and_on() -> None:
    assert search("view-7.1") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_same_story_is_found_from_its_beginning() -> None:
    assert search("late-n2.5") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_else_led_to_a_consequence_is_another_story() -> None:
    assert 9 not in search("view-7.1")
    assert search("op-n3.1") == [6, 7, 8, 9]


def test_an_unknown_id_finds_nothing() -> None:
    assert search("view-9.9") == []


def test_what_several_nodes_noticed_alike_is_told_once() -> None:
    told = [(each["event"], nodes) for each, nodes in follow.condensed(FAILOVER[:3])]
    assert told == [("peer_late", ["n1", "n3"]), ("peer_lost", ["n1"])]


def test_a_consequence_sorts_after_its_cause_whatever_the_clocks_say() -> None:
    ahead, behind = HybridClock(), HybridClock()
    order = ahead.tell(5_000_000)
    behind.hear(order, 1_000_000)  # its clock is four seconds behind
    later = behind.tell(1_000_001)
    assert later > order
    ahead.hear(later, 5_000_001)
    assert ahead.tell(5_000_001) > later


def test_equal_clocks_give_the_time_itself_and_never_the_same_twice() -> None:
    clock = HybridClock()
    assert [clock.tell(100), clock.tell(100), clock.tell(50), clock.tell(200)] == [100, 101, 102, 200]


def test_a_clock_that_is_mad_is_not_followed() -> None:
    clock = HybridClock()
    clock.hear(1000 + MAX_AHEAD_US + 1, 1000)
    assert clock.tell(1000) == 1000


def test_causes_are_kept_in_their_order_once_and_bounded() -> None:
    assert joined(("a", "b"), ("", "a", "c")) == ("a", "b", "c")
    assert len(joined([str(number) for number in range(100)])) == MAX_CAUSES


def test_every_record_has_words_and_one_of_another_version_is_shown_as_it_is() -> None:
    assert words.line(FAILOVER[4]) == "start of web ok in 12 ms [view-7.1]"
    failed = record("n3", 9, "action_result", "", operation="monitor", resource="db", interval_ms=5000, rc=7, ok=False)
    assert words.sentence(failed) == "monitor every 5 s of db failed: not running"
    assert words.level(failed) == "warning"
    assert words.sentence(record("n1", 1, "fenced", "", pole="n2")) == "fenced pole=n2"
    assert words.sentence(record("n1", 1, "of_tomorrow", "", x=1)) == "of tomorrow x=1"
