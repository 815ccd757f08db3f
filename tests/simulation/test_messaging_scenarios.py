"""Named courses of events: what a cluster of messaging nodes does, and within which time."""

from __future__ import annotations

import pytest
from messaging_world import TIMERS, World

from messaging.config import QuorumConfig, TieBreakerConfig, TieBreakerType
from messaging.types import View

AGREE_MS = 60
"""From everybody knowing to everybody having installed, in a network with 3 ms of delay."""


def cluster(count: int, quorum: QuorumConfig | None = None, seed: int = 1) -> World:
    """All nodes up, in one view with their crms."""
    world = World(seed, count, quorum)
    for node_id in world.machines:
        world.boot(node_id)
    world.wait(lambda: world.agree(set(world.machines)), 1000, "the first view")
    return world


def view(world: World, node_id: int) -> View:
    seen = world.machines[node_id].crm_view
    assert seen is not None
    return seen


def pair(tie_breaker: bool = False, two_node: bool = False) -> QuorumConfig:
    kind = TieBreakerType.PING if tie_breaker else TieBreakerType.NONE
    return QuorumConfig(2, two_node=two_node, wait_for_all=True, tie_breaker=TieBreakerConfig(kind))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16, 32])
def test_nodes_that_start_together_are_in_one_view_at_once_without_waiting_for_initdead(count: int) -> None:
    world = World(1, count)
    for node_id in world.machines:
        world.boot(node_id)
    took = world.wait(lambda: world.agree(set(world.machines)), 1000, "the first view")
    assert took < 250
    assert view(world, 1).quorate


def test_a_node_that_starts_alone_waits_for_initdead_before_it_goes_on_alone() -> None:
    world = World(1, 3)
    world.boot(1)
    world.run_for(TIMERS.initdead_ms - 100)
    assert world.machines[1].crm_view is None
    world.run_for(200)
    assert view(world, 1).member_ids == {1}
    assert not view(world, 1).quorate


@pytest.mark.parametrize("victim", [1, 2, 3])
@pytest.mark.parametrize("count", [3, 5])
def test_a_death_gives_a_new_view_within_deadtime_and_a_few_milliseconds(count: int, victim: int) -> None:
    world = cluster(count)
    world.crash(victim)
    survivors = set(world.machines) - {victim}
    took = world.wait(lambda: world.agree(survivors), 2 * TIMERS.deadtime_ms, "a view without the dead node")
    assert TIMERS.deadtime_ms - TIMERS.keepalive_ms - 10 <= took <= TIMERS.deadtime_ms + AGREE_MS
    seen = view(world, min(survivors))
    assert [member.node_id for member in seen.left] == [victim]
    assert seen.graceful == frozenset()
    assert seen.joined == ()


def test_a_goodbye_gives_a_new_view_at_once_and_says_that_it_was_one() -> None:
    world = cluster(3)
    world.leave(1)
    took = world.wait(lambda: world.agree({2, 3}), 1000, "a view without the node that left")
    assert took < AGREE_MS
    assert view(world, 2).graceful == {1}
    world.wait(lambda: world.machines[1].core is None, 1000, "the end of the goodbye")


def test_a_node_that_restarts_faster_than_deadtime_has_left_and_joined() -> None:
    world = cluster(3)
    before = view(world, 1).member(2)
    world.crash(2)
    world.boot(2, reboot=False)
    took = world.wait(lambda: world.agree({1, 2, 3}), 1000, "a view with the new incarnation")
    assert took < 2 * AGREE_MS
    gone = [seen for seen in world.machines[1].views if before in seen.left]
    assert len(gone) == 1, "the old incarnation is gone, once"
    after = view(world, 1).member(2)
    assert before is not None and after is not None
    assert after.incarnation > before.incarnation
    assert any(after in seen.joined for seen in world.machines[1].views)


def test_a_crm_that_dies_leaves_the_group_at_once_while_its_node_stays_a_member() -> None:
    world = cluster(3)
    world.detach(2)
    took = world.wait(lambda: view(world, 1).group == {1, 3}, 1000, "a view with the group shrunk")
    assert took < AGREE_MS
    assert view(world, 1).member_ids == {1, 2, 3}
    assert view(world, 1).graceful == frozenset()


def test_a_crm_that_says_goodbye_is_told_from_one_that_dies() -> None:
    world = cluster(3)
    world.detach(3, graceful=True)
    world.wait(lambda: view(world, 1).group == {1, 2}, 1000, "a view with the group shrunk")
    assert view(world, 1).graceful == {3}


def test_a_crm_that_comes_back_at_once_was_seen_away_by_everybody() -> None:
    world = cluster(2)
    seen_before = len(world.machines[1].views)
    world.detach(2)
    world.attach(2)
    world.wait(
        lambda: view(world, 1).group == {1, 2} and len(world.machines[1].views) > seen_before, 1000, "its return"
    )
    assert [sorted(seen.group) for seen in world.machines[1].views[seen_before:]] == [[1], [1, 2]]


def test_a_crm_that_stops_vouching_leaves_the_group() -> None:
    world = cluster(2)
    world.stop_vouching(2)  # but the connection stands
    world.wait(lambda: view(world, 1).group == {1}, TIMERS.vouch_ms + 200, "a view with the group shrunk")
    assert not world.machines[2].attached, "and its connection was ended"


def test_partitions_go_on_apart_and_merge_when_the_network_heals() -> None:
    world = cluster(5)
    world.split({1, 2}, {3, 4, 5})
    world.wait(lambda: world.agree({1, 2}) and world.agree({3, 4, 5}), 1500, "two views")
    assert not view(world, 1).quorate
    assert view(world, 3).quorate
    world.heal()
    world.wait(lambda: world.agree({1, 2, 3, 4, 5}), 2000, "one view")
    assert {member.node_id for member in view(world, 1).joined} == {3, 4, 5}
    assert {member.node_id for member in view(world, 4).joined} == {1, 2}


def test_where_two_nodes_do_not_hear_each_other_all_agree_on_who_goes() -> None:
    world = cluster(3)
    world.cut = {(2, 3)}
    world.wait(lambda: world.agree({1, 2}) and world.agree({3}), 3000, "a view without node 3")
    world.run_for(20_000)
    assert world.agree({1, 2})
    assert world.agree({3})
    assert len(world.machines[1].views) < 10, "and they do not go back and forth"
    world.heal()
    world.wait(lambda: world.agree({1, 2, 3}), 3000, "one view")


def test_the_well_connected_majority_wins_over_the_lowest_id() -> None:
    world = cluster(4)
    world.cut = {(a, b) for a, b in [(1, 3), (3, 1), (1, 4), (4, 1)]}
    world.wait(lambda: world.agree({2, 3, 4}) and world.agree({1}), 4000, "a view of the three that hear each other")
    assert view(world, 2).quorate


def test_who_notices_a_death_first_neither_goes_off_alone_nor_is_left_alone() -> None:
    """Found by the simulator: its heartbeats to node 6 were lost before node 1 died, so node 6 noticed 300 ms earlier."""
    world = cluster(6)
    rest = {2, 3, 4, 5, 6}
    seen = {n: len(world.machines[n].views) for n in rest}
    world.cut = {(1, 6)}
    world.run_for(300)
    world.crash(1)
    world.wait(lambda: world.agree(rest), TIMERS.deadtime_ms + AGREE_MS, "a view without node 1")
    for node_id in rest:
        for each in world.machines[node_id].views[seen[node_id] :]:
            assert rest <= each.member_ids


def test_a_node_that_was_paused_beyond_deadtime_knows_that_it_was_away_and_comes_back_as_new() -> None:
    world = cluster(2, pair(two_node=True))
    world.pause(1, 3000)
    world.wait(lambda: world.agree({2}), 1500, "the other goes on alone")
    assert view(world, 2).quorate
    world.wait(lambda: view(world, 1).member_ids == {1}, 4000, "it stands alone when it wakes")
    assert not view(world, 1).quorate, "although two_node would let it: it has not listened yet"
    world.wait(lambda: world.agree({1, 2}), 2000, "they are together again")
    assert {member.node_id for member in view(world, 2).joined} == {1}


def test_a_short_pause_is_nobodys_death() -> None:
    world = cluster(3)
    seen = len(world.machines[2].views)
    for node_id in (1, 2, 3):
        world.pause(node_id, 700)
        world.run_for(1500)
    assert len(world.machines[2].views) == seen


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_quarter_of_all_heartbeats_lost_is_nobodys_death(seed: int) -> None:
    world = cluster(3, seed=seed)
    seen = len(world.machines[1].views)
    world.loss = 0.25
    world.run_for(60_000)
    assert len(world.machines[1].views) == seen


# --- quorum


def test_two_node_lets_the_survivor_go_on_at_once() -> None:
    for victim in (1, 2):
        world = cluster(2, pair(two_node=True))
        world.crash(victim)
        world.wait(lambda w=world, v=victim: w.agree({3 - v}), 1200, "a view of the survivor")
        assert view(world, 3 - victim).quorate


def test_without_tie_breaker_a_half_is_not_enough() -> None:
    world = cluster(2, pair())
    world.crash(1)
    world.wait(lambda: world.agree({2}), 1200, "a view of the survivor")
    assert not view(world, 2).quorate
    assert "even split without tie-breaker" in view(world, 2).reason


@pytest.mark.parametrize("victim", [1, 2])
def test_with_ping_the_survivor_whatever_its_id_is_quorate_at_once(victim: int) -> None:
    world = cluster(2, pair(tie_breaker=True))
    for node_id in (1, 2):
        world.set_evidence(node_id, True)
    world.crash(victim)
    took = world.wait(lambda: world.agree({3 - victim}), 1200, "a view of the survivor")
    assert took <= TIMERS.deadtime_ms + AGREE_MS
    assert view(world, 3 - victim).quorate


def test_with_ping_the_half_that_is_cut_off_is_not_quorate_and_the_other_is() -> None:
    world = cluster(2, pair(tie_breaker=True))
    world.set_evidence(2, True)
    world.split({1}, {2})
    world.wait(lambda: world.agree({1}) and world.agree({2}), 1500, "two views")
    assert not view(world, 1).quorate
    assert view(world, 2).quorate


def test_evidence_that_comes_or_goes_after_the_split_changes_the_verdict() -> None:
    world = cluster(2, pair(tie_breaker=True))
    world.crash(1)
    world.wait(lambda: world.agree({2}), 1500, "a view of the survivor")
    assert not view(world, 2).quorate
    world.set_evidence(2, True)
    world.wait(lambda: view(world, 2).quorate, 100, "quorum by evidence")
    world.set_evidence(2, False)
    world.wait(lambda: not view(world, 2).quorate, 100, "no quorum without")


def test_wait_for_all_holds_after_a_boot_and_not_after_a_restart_of_the_daemon() -> None:
    world = cluster(2, pair(two_node=True))
    world.crash(1)
    world.wait(lambda: world.agree({2}), 1500, "the survivor alone")
    world.crash(2)
    world.boot(2, reboot=False)  # the daemon was restarted on a machine that went on
    world.wait(lambda: world.agree({2}), TIMERS.initdead_ms + 500, "the survivor again")
    assert view(world, 2).quorate
    world.crash(2)
    world.boot(2)  # the machine was fenced
    world.wait(lambda: world.agree({2}), TIMERS.initdead_ms + 500, "alone after a boot")
    assert not view(world, 2).quorate
    assert "wait_for_all" in view(world, 2).reason
    world.boot(1)
    world.wait(lambda: world.agree({1, 2}), 1000, "both")
    assert view(world, 2).quorate


def test_a_node_that_leaves_politely_waits_for_all_when_it_comes_back() -> None:
    world = cluster(2, pair(two_node=True))
    world.leave(1)
    world.wait(lambda: world.machines[1].core is None, 1000, "the end of the goodbye")
    world.split({1}, {2})
    world.boot(1, reboot=False)
    world.wait(lambda: world.agree({1}), TIMERS.initdead_ms + 500, "alone")
    assert not view(world, 1).quorate


# --- messages


def test_messages_of_all_arrive_everywhere_in_one_order() -> None:
    world = cluster(3)
    for number in range(60):
        world.multicast(1 + number % 3, b"%d" % number)
        world.run_for(world.random.randint(0, 3))
    world.run_for(100)
    orders = [[each.payload for each in world.machines[n].delivered[view(world, n).view_id]] for n in (1, 2, 3)]
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]) == 60
    world.run_for(1000)
    assert all(world.machines[n].core.ordering.retained == 0 for n in (1, 2, 3))  # type: ignore[union-attr]


def test_direct_messages_arrive_in_order_and_only_there() -> None:
    world = cluster(3)
    for number in range(20):
        world.send(1, 3, b"%d" % number)
        world.send(3, 3, b"own %d" % number)
    world.run_for(50)
    received = world.machines[3].directs
    assert [payload for sender, payload in received if sender == 1] == [b"%d" % number for number in range(20)]
    assert [payload for sender, payload in received if sender == 3] == [b"own %d" % number for number in range(20)]
    assert world.machines[2].directs == []


def test_a_direct_message_from_before_a_split_does_not_arrive_after_it() -> None:
    world = cluster(2, pair(two_node=True))
    world.split({1}, {2})
    world.send(1, 2, b"old")
    world.wait(lambda: world.agree({1}) and world.agree({2}), 1500, "two views")
    world.heal()
    world.wait(lambda: world.agree({1, 2}), 2000, "one view")
    world.send(1, 2, b"new")
    world.run_for(2000)
    assert world.machines[2].directs == [(1, b"new")]


def test_what_the_dead_sequencer_gave_to_one_survivor_reaches_all_and_the_rest_is_reported() -> None:
    for seed in range(1, 40):
        world = cluster(3, seed=seed)
        for number in range(10):
            for node_id in (1, 2, 3):
                world.multicast(node_id, b"%d from %d" % (number, node_id))
        world.run_for(world.random.randint(0, 4))
        world.crash(1)
        world.wait(lambda w=world: w.agree({2, 3}), 1500, "a view of the survivors")
        assert not world.machines[2].open_tokens
        assert not world.machines[3].open_tokens


@pytest.mark.parametrize(("end", "other"), [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)])
def test_a_stream_that_ended_at_one_end_only_is_dialed_anew_before_anybody_is_missed(end: int, other: int) -> None:
    world = cluster(3)
    world.run_for(TIMERS.deadtime_ms)  # the stream has settled
    views = {n: len(world.machines[n].views) for n in world.machines}
    world.half_break(end, other)
    for node_id in world.machines:
        world.multicast(node_id, b"from %d" % node_id)
    world.send(end, other, b"there")
    world.send(other, end, b"and back")
    world.run_for(TIMERS.keepalive_ms)
    for node_id, machine in world.machines.items():
        assert {each.payload for each in machine.delivered[view(world, node_id).view_id]} == {
            b"from 1",
            b"from 2",
            b"from 3",
        }
        assert not machine.open_tokens
    assert (end, b"there") in world.machines[other].directs
    assert (other, b"and back") in world.machines[end].directs
    world.run_for(3 * TIMERS.deadtime_ms)
    assert {n: len(world.machines[n].views) for n in world.machines} == views


@pytest.mark.parametrize(("slow", "other"), [(1, 2), (2, 1), (3, 1), (3, 2)])
def test_a_member_that_takes_no_messages_is_left_out_before_it_comes_back(
    monkeypatch: pytest.MonkeyPatch, slow: int, other: int
) -> None:
    monkeypatch.setattr("messaging.channel.MAX_UNACKED_BYTES", 5000)
    world = cluster(3)
    world.run_for(TIMERS.deadtime_ms)
    views = len(world.machines[other].views)
    world.half_break(slow, other)  # and what is sent meanwhile is more than is kept
    for number in range(8):
        world.send(other, slow, b"%d" % number * 1000)
        world.multicast(slow, b"%d" % number)
    world.wait(lambda: len(world.machines[other].views) > views, 2000, "a view without it")
    world.wait(lambda: world.agree({1, 2, 3}), 8000, "one view again")
    for node_id in world.machines:
        world.multicast(node_id, b"after")
    world.run_for(1000)
    assert not any(machine.open_tokens for machine in world.machines.values())
    for node_id, machine in world.machines.items():
        assert sum(each.payload == b"after" for each in machine.delivered[view(world, node_id).view_id]) == 3


@pytest.mark.parametrize(("end", "other"), [(1, 3), (3, 1)])
def test_who_was_given_up_and_is_back_before_a_view_without_it_stands_has_lost_no_message(end: int, other: int) -> None:
    given_up = 0
    for silence_ms in range(TIMERS.deadtime_ms - 60, TIMERS.deadtime_ms + 60, 4):
        world = cluster(3, seed=5)
        world.run_for(TIMERS.deadtime_ms)
        views = len(world.machines[1].views)
        world.cut = {(1, 3), (3, 1)}
        for number in range(silence_ms // 20):
            world.multicast(1 + number % 3, b"%d" % number)
            world.send(end, other, b"%d" % number)
            if number == silence_ms // 20 - 20:
                world.pause(2, 600)  # without it there is no agreement
            world.run_for(20)
        world.run_for(silence_ms % 20)
        world.heal()
        world.wait(lambda w=world: w.agree({1, 2, 3}), 8000, "one view")
        world.run_for(2000)
        assert not any(machine.open_tokens for machine in world.machines.values()), (silence_ms, world.describe())
        if len(world.machines[1].views) == views:
            given_up += any("is dead" in line for line in world.log)
            received = [payload for _, payload in world.machines[other].directs]
            assert received == [b"%d" % number for number in range(silence_ms // 20)], silence_ms
    assert given_up, "no silence was long enough to give somebody up and short enough to keep the view"
