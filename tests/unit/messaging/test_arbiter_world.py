"""Never two winners by a network arbiter, whatever connections, clocks, nodes and the arbiter do; and a winner when it is quiet.

Each rule is then broken on purpose, to show that the world would notice.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from arbiter_world import DEADTIME_MS, INTERVAL_MS, TKO, TwoWinners, World, config_of

from messaging.arbiter.core import Answer, Arbiter, Effect, Grant
from messaging.arbiter.protocol import Hello, Report, Verdict
from messaging.forecast import forecast, whole
from messaging.tiebreak.arbiter_core import ArbiterClient
from messaging.tiebreak.arbiter_core import Effect as ClientEffect
from messaging.tiebreak.preference import Contender, Prefer, preferred

LIFE_MS = 60_000


@pytest.mark.parametrize("seed", range(1, 25))
def test_two_parts_that_count_on_the_arbiter_at_one_time_have_a_node_in_common(seed: int) -> None:
    world = World(seed, 2 + seed % 4, last=bool(seed % 2) or seed % 3 == 0)
    world.run(LIFE_MS)
    assert world.faults > 20
    assert sum(machine.wins for machine in world.machines) > 2, "nobody ever won: the run shows nothing"


def quiet(count: int, seed: int, **options: object) -> World:
    world = World(seed, count, calm=True, **options)  # type: ignore[arg-type]
    world.run(3 * DEADTIME_MS)
    assert not world.counting(), "together nobody needs the vote"
    return world


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("prefer", ["lowest", "highest"])
def test_of_two_halves_that_reach_the_arbiter_the_preferred_one_wins(seed: int, prefer: str) -> None:
    world = quiet(4, seed, prefer=prefer)
    for machine in world.machines[2:]:
        machine.side = 1
    world.run(DEADTIME_MS)
    assert {m.node_id for m in world.counting()} == ({1, 2} if prefer == "lowest" else {3, 4})
    for _ in range(30):
        world.run(INTERVAL_MS)
        assert {m.node_id for m in world.counting()} == ({1, 2} if prefer == "lowest" else {3, 4})


def test_the_half_that_runs_more_wins_where_that_is_preferred() -> None:
    world = quiet(4, 3, prefer="resources")
    for machine in world.machines[2:]:
        machine.side = 1
        machine.weight = 5
    world.machines[0].weight = 9
    world.run(DEADTIME_MS)
    assert {m.node_id for m in world.counting()} == {3, 4}


def test_the_rule_at_equal_evidence() -> None:
    low, high = Contender(frozenset({1, 4}), 2, 3), Contender(frozenset({2, 3}), 2, 7)
    assert preferred([low, high], Prefer.LOWEST) is low
    assert preferred([low, high], Prefer.HIGHEST) is low
    assert preferred([low, high], Prefer.RESOURCES) is high
    more = Contender(frozenset({5, 6, 7}), 3)
    for prefer in Prefer:
        assert preferred([low, high, more], prefer) is more
    assert preferred([], Prefer.LOWEST) is None


@pytest.mark.parametrize("dead", [1, 2])
def test_the_survivor_of_two_nodes_has_the_vote_within_tko_and_two_intervals(dead: int) -> None:
    world = quiet(2, 7)
    victim = world.machines[dead - 1]
    world.kill(victim)
    world.run(500 + (TKO + 2) * INTERVAL_MS)  # this world's nodes notice within 500 ms
    assert [m.node_id for m in world.counting()] == [3 - dead]


def test_a_half_that_reaches_the_arbiter_wins_over_a_preferred_one_that_does_not() -> None:
    world = quiet(2, 3)
    world.machines[0].side = 1
    world.reach = {0}
    world.cut(world.machines[0].connection)
    world.run(2 * DEADTIME_MS)
    assert [m.node_id for m in world.counting()] == [2]


def test_the_winner_keeps_the_vote_when_the_preferred_half_comes_back_without_healing() -> None:
    world = quiet(2, 3)
    world.machines[0].side = 1
    world.reach = {0}
    world.cut(world.machines[0].connection)
    world.run(2 * DEADTIME_MS)
    world.reach = {0, 1}
    for _ in range(50):
        world.run(INTERVAL_MS)
        assert [m.node_id for m in world.counting()] == [2]


def test_with_last_man_standing_the_largest_part_wins_and_shrinks_to_one_node() -> None:
    world = quiet(5, 4, last=True)
    for machine in world.machines[:2]:
        machine.side = 1
    world.run(DEADTIME_MS)
    assert {m.node_id for m in world.counting()} == {3, 4, 5}
    for number in (5, 4):
        world.kill(world.machines[number - 1])
        world.run(2 * DEADTIME_MS)
        assert {m.node_id for m in world.counting()} == set(range(3, number))


@pytest.mark.parametrize("lost", [False, True])
def test_a_restarted_arbiter_lets_the_holder_go_on_and_nobody_else_win(lost: bool) -> None:
    world = quiet(2, 5)
    world.machines[1].side = 1
    world.run(2 * DEADTIME_MS)
    assert [m.node_id for m in world.counting()] == [1]
    world.stop_arbiter()
    if lost:
        world.records = {}
    world.run(100)
    world.start_arbiter()
    world.run(2 * DEADTIME_MS + TKO * INTERVAL_MS)
    assert [m.node_id for m in world.counting()] == [1]


# --- the same with a rule broken


class GivesToAnybody(Arbiter):
    """Rule 1: who has the vote is not looked at."""

    def on_report(self, connection: int, report: Report, now_ms: int) -> list[Effect]:
        for docket in self._dockets.values():
            for number, grant in docket.grants.items():
                docket.grants[number] = Grant(
                    grant.number, grant.part | set(report.part), grant.hold_ms, grant.until_ms
                )
        return super().on_report(connection, report, now_ms)


class ForgetsEarly(Arbiter):
    """Rule 2: a grant counts half as long here."""

    def on_hello(self, connection: int, hello: Hello, now_ms: int) -> list[Effect]:
        half = Hello(
            **{each: getattr(hello, each) for each in Hello.__slots__}
            | {"stale_ms": hello.stale_ms // 2, "deadtime_ms": 1}
        )
        return super().on_hello(connection, half, now_ms)


class FreesOnClose(Arbiter):
    """Rule 2: the grant of a node whose connection has ended is taken back."""

    def on_closed(self, connection: int) -> list[Effect]:
        cluster, node_id = self._connections.get(connection, ("", 0))
        if cluster:
            docket = self._dockets[cluster]
            docket.grants = {n: grant for n, grant in docket.grants.items() if node_id not in grant.part}
        return super().on_closed(connection)


class ForgetsWhenRestarted(Arbiter):
    """Rule 3: what was granted before is not looked at, and nothing is assumed."""

    def __init__(self, records: object, now_ms: int) -> None:
        super().__init__({}, now_ms)

    def on_hello(self, connection: int, hello: Hello, now_ms: int) -> list[Effect]:
        effects = super().on_hello(connection, hello, now_ms)
        self._dockets[hello.cluster].worst_until_ms = now_ms
        return effects


class AssumesTheBest(Arbiter):
    """Rule 3: a cluster of which nothing is found begins at once."""

    def on_hello(self, connection: int, hello: Hello, now_ms: int) -> list[Effect]:
        effects = super().on_hello(connection, hello, now_ms)
        self._dockets[hello.cluster].worst_until_ms = now_ms
        return effects


class CountsFromTheAnswer(ArbiterClient):
    """Rule 2: the node counts from when it was answered."""

    def on_verdict(self, verdict: Verdict, now_ms: int) -> list[ClientEffect]:
        if self._sent_ms is not None:
            self._sent_ms = now_ms
        return super().on_verdict(verdict, now_ms)


MUTANTS: dict[str, tuple[int, dict[str, object]]] = {
    "gives to anybody": (1, {"arbiter_kind": GivesToAnybody}),
    "forgets early": (1, {"arbiter_kind": ForgetsEarly}),
    "frees on close": (1, {"arbiter_kind": FreesOnClose}),
    "forgets when restarted": (13, {"arbiter_kind": ForgetsWhenRestarted}),
    "assumes the best": (17, {"arbiter_kind": AssumesTheBest}),
    "counts from the answer": (28, {"client_kind": CountsFromTheAnswer}),
    "not bound to parts": (1, {"bound_to_parts": False}),
}
"""With the first seed that finds each. Where a change of the core or of the world makes it another, the search goes on."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_rule_is_found_within_three_hundred_seeds(mutant: str) -> None:
    first, options = MUTANTS[mutant]
    for seed in [first, *(each for each in range(1, 301) if each != first)]:
        world = World(seed, 2 + seed % 4, last=bool(seed % 2) or seed % 3 == 0, **options)  # type: ignore[arg-type]
        try:
            world.run(LIFE_MS)
        except TwoWinners:
            return
    pytest.fail(f"{mutant} survives 300 seeds")


def test_the_answers_of_the_arbiter_are_ordered_after_what_they_rely_on() -> None:
    world = quiet(2, 1)
    arbiter = world.arbiter
    assert arbiter is not None
    found: list[Effect] = []
    for machine in [
        *world.machines,
        world.machines[0],
    ]:  # the preferred one waits until the other agrees that they are apart
        report = Report(1000, (machine.node_id,), True, (machine.node_id,))
        found += arbiter.on_report(machine.connection, report, world.arbiter_clock())
    kinds = [type(effect).__name__ for effect in found]
    given = next(n for n, effect in enumerate(found) if isinstance(effect, Answer) and effect.message.grant)  # type: ignore[union-attr]
    assert "Persist" in kinds[:given]


def foretold(world: World, *sides: set[int], **known: object) -> set[int]:
    """Who wins by the forecast that `crm cluster quorum what-if` shows."""
    config = config_of(1, world.count, world.prefer)
    breaker = replace(config.quorum.tie_breaker, votes=world.count - 1 if world.last else 0)
    rules = replace(config.quorum, tie_breaker=breaker).rules()
    standing = replace(whole(config.votes, world.count, rules), **known)  # type: ignore[arg-type]
    answers = forecast(standing, [frozenset(side) for side in sides])
    return {node_id for answer in answers if answer.quorate for node_id in answer.members}


@pytest.mark.parametrize("prefer", list(Prefer))
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("seed", range(1, 4))
def test_the_forecast_says_who_then_wins(seed: int, last: bool, prefer: Prefer) -> None:
    world = quiet(4, seed, prefer=prefer.value, last=last)
    world.machines[2].weight = 5
    weights = {machine.node_id: machine.weight for machine in world.machines}
    sides = ({1, 2}, {3, 4}) if not last else ({1, 4}, {2, 3})
    expected = foretold(world, *sides, weights=weights)
    for machine in world.machines:
        machine.side = int(machine.node_id in sides[1])
    world.run(DEADTIME_MS)
    assert {m.node_id for m in world.counting()} == expected
    if last:  # and what becomes of the side that has the vote
        first, second = sorted(expected)
        again = foretold(
            world, {first}, {second}, set(range(1, 5)) - expected, weights=weights, vote=frozenset(expected)
        )
        world.kill(world.machines[(set(expected) - again).pop() - 1])
        world.run(2 * DEADTIME_MS)
        assert {m.node_id for m in world.counting()} == again
