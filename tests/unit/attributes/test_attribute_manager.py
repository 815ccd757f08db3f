"""Dampening and the arithmetic of node attributes."""

from __future__ import annotations

import pytest

from crm.attributes.manager import LONGEST, AttributeManager, Write
from crm.attributes.values import evaluate


def ping(value: str | None, node: str = "1") -> Write:
    return Write(node, f"n{node}", "pingd", value)


def test_without_a_delay_a_value_passes_at_once() -> None:
    assert AttributeManager().update("1", "n1", "pingd", "100", 0, None, 0) == [ping("100")]


def test_the_value_that_is_written_already_is_not_written_again() -> None:
    assert AttributeManager().update("1", "n1", "pingd", "100", 0, "100", 0) == []


def test_a_dampened_value_is_written_when_it_has_come_to_rest_and_only_the_newest() -> None:
    manager = AttributeManager()
    assert manager.update("1", "n1", "pingd", "0", 5000, "100", 0) == []
    assert manager.update("1", "n1", "pingd", "50", 5000, "100", 3000) == []
    assert manager.on_tick(5000) == [] and manager.next_wake_ms() == 8000
    assert manager.on_tick(8000) == [ping("50")]
    assert manager.next_wake_ms() is None


def test_a_value_that_returns_to_what_was_written_cancels_the_change() -> None:
    manager = AttributeManager()
    manager.update("1", "n1", "pingd", "0", 5000, "100", 0)
    manager.update("1", "n1", "pingd", "100", 5000, "100", 1000)
    assert manager.next_wake_ms() is None


def test_a_value_that_never_comes_to_rest_is_written_all_the_same() -> None:
    manager = AttributeManager()
    for moment in range(0, 100_000, 500):
        manager.update("1", "n1", "pingd", str(moment), 1000, None, moment)
        if manager.on_tick(moment):
            break
    assert moment == LONGEST * 1000


def test_the_values_of_several_nodes_are_written_together() -> None:
    manager = AttributeManager()
    manager.update("1", "n1", "pingd", "0", 5000, "100", 0)
    manager.update("2", "n2", "pingd", "0", 5000, "100", 4000)
    assert manager.on_tick(5000) == [ping("0"), ping("0", "2")]


def test_a_value_without_delay_takes_along_what_is_held_back_and_replaces_it() -> None:
    manager = AttributeManager()
    manager.update("1", "n1", "pingd", "0", 5000, "100", 0)
    manager.update("2", "n2", "pingd", "0", 5000, "100", 0)
    assert manager.update("1", "n1", "pingd", "100", 0, "100", 10) == [ping("0", "2"), ping("100")]
    assert manager.next_wake_ms() is None


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("5", None, "5"),
        ("on", "off", "on"),
        ("value++", None, "1"),
        ("value++", "4", "5"),
        ("value--", "4", "3"),
        ("value+=10", "4", "14"),
        ("value-=10", "4", "-6"),
        ("value++", "INFINITY", "INFINITY"),
        ("value+=INFINITY", "3", "INFINITY"),
        ("value++", "999999", "INFINITY"),
        ("value++", "text", "1"),
        ("value-=INFINITY", "0", "-INFINITY"),
        ("value+=", "3", "value+="),
        ("values++", "3", "values++"),
    ],
)
def test_a_value_may_be_counted_from_the_old_one(text: str, old: str | None, new: str) -> None:
    assert evaluate(text, old) == new
