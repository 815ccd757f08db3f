"""Late, dead, back; and a node that was itself delayed excuses the others."""

from __future__ import annotations

from messaging.failure_detector import Change, FailureDetector, Liveness


def detector() -> FailureDetector:
    made = FailureDetector(warntime_ms=500, deadtime_ms=1000)
    made.heard(2, incarnation=7, link=0, now_ms=10_000)
    return made


def test_a_silent_peer_is_late_after_warntime_and_dead_after_deadtime() -> None:
    watching = detector()
    assert watching.due_ms == 10_500
    assert watching.expire(10_499) == []
    assert watching.expire(10_500) == [Change(2, Liveness.LATE, 500)]
    assert watching.expire(10_999) == []
    assert watching.due_ms == 11_000
    assert watching.expire(11_000) == [Change(2, Liveness.DEAD, 1000)]
    assert watching.alive == {}
    assert watching.due_ms is None


def test_a_late_peer_that_is_heard_again_is_back() -> None:
    watching = detector()
    watching.expire(10_600)
    assert watching.heard(2, 7, 0, 10_700) == Change(2, Liveness.BACK, 700)
    assert watching.expire(11_100) == []


def test_any_link_keeps_a_peer_alive_and_each_links_time_is_known() -> None:
    watching = detector()
    for now_ms in range(10_200, 13_000, 200):
        watching.heard(2, 7, 1, now_ms)
        assert watching.expire(now_ms) == []
    assert watching.alive[2].links == {0: 10_000, 1: 12_800}


def test_nobody_dies_before_the_end_of_an_excuse() -> None:
    watching = detector()
    watching.excuse(11_900)
    assert watching.expire(11_899) == []
    assert watching.due_ms == 11_900
    assert [change.liveness for change in watching.expire(11_900)] == [Liveness.LATE, Liveness.DEAD]


def test_nobody_is_called_late_for_what_this_node_could_not_hear() -> None:
    watching = detector()
    watching.excuse(10_900)
    assert watching.expire(10_800) == []
    watching.heard(2, 7, 0, 10_850)
    assert watching.expire(11_300) == []
    assert [change.liveness for change in watching.expire(11_350)] == [Liveness.LATE]


def test_nobody_dies_without_having_been_late() -> None:
    assert [change.liveness for change in detector().expire(99_000)] == [Liveness.LATE, Liveness.DEAD]
