"""What a node at rest does by a shorter way is what it would do by the long one: both are run side by side through storms."""

from __future__ import annotations

from typing import Any

import pytest

from crm.simulator import world
from crm.simulator.course import run
from messaging.effects import DatagramReceived, Effect, Event
from messaging.node import Node
from messaging.tiebreak import Surroundings


class Long(Node):
    """Takes each event as if much had happened before, and forgets what it was asked last."""

    def _everyday(self, event: Event, now_ms: int) -> list[Effect] | None:
        return None

    def heard_again(self, event: DatagramReceived, now_ms: int) -> bool:
        return False

    def surroundings(self, without: frozenset[int] = frozenset()) -> Surroundings:
        self._surroundings = None
        return super().surroundings(without)


class Both(Node):
    """A node, and beside it one that goes the long way."""

    short = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.long = Long(*arguments)

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        effects = super().handle(event, now_ms)
        assert self.long.handle(event, now_ms) == effects, (event, now_ms)
        assert self.long.due_ms is not None
        assert self.due_ms is not None
        assert self.due_ms <= self.long.due_ms, "it may look too early, but never too late"
        self.long.due_ms = self.due_ms  # from when on it would be late is from when it was called
        return effects

    def heard_again(self, event: DatagramReceived, now_ms: int) -> bool:
        again = super().heard_again(event, now_ms)
        if again and self.long.due_ms is not None:
            assert self.long.handle(event, now_ms) == []
            self.long.due_ms = self.due_ms
        return again

    def _everyday(self, event: Event, now_ms: int) -> list[Effect] | None:
        effects = super()._everyday(event, now_ms)
        Both.short += effects is not None
        return effects

    def surroundings(self, without: frozenset[int] = frozenset()) -> Surroundings:
        around = super().surroundings(without)
        assert around == self.long.surroundings(without)
        return around


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_short_way_and_the_long_way_come_to_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "Node", Both)
    Both.short = 0
    assert run(seed).failure == ""
    assert Both.short > 100
