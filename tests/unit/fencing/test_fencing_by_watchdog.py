"""A node that no device can fence resets itself, where it is known to be watched; it counts as fenced only when the time has passed."""

from __future__ import annotations

from fencing.core import WATCHDOG, Fencer
from fencing.types import Answer, AskWatchdog, Effect, Event, FenceAction, Outcome, Request, SetTimer


def asked(action: FenceAction = FenceAction.REBOOT, *, allowed: bool = True) -> tuple[Fencer, list[Effect]]:
    fencer = Fencer("n1")
    fencer.watchdog = allowed
    return fencer, fencer.request(Request(7, "n2", action), 1000, 50)


def job_of(effects: list[Effect]) -> int:
    return next(effect.job for effect in effects if isinstance(effect, AskWatchdog))


def test_a_watched_node_counts_as_fenced_after_its_time_and_not_before() -> None:
    fencer, effects = asked()
    effects = fencer.on_watchdog(job_of(effects), 3200, "", 1010, 50)
    assert effects == [SetTimer("fence-1", 4210)]
    event, answer = fencer.on_timer("fence-1", 4210, 53)
    assert answer == Answer(7, "n2", True, "n2 has reset itself: its watchdog has not been fed since it was lost")
    assert isinstance(event, Event) and (event.outcome, event.device) == (Outcome.DONE, WATCHDOG)


def test_a_node_that_is_not_known_to_be_watched_is_not_fenced_and_the_reason_is_told() -> None:
    fencer, effects = asked()
    (_, answer) = fencer.on_watchdog(job_of(effects), 0, "n2 did not say that a watchdog resets it", 1010, 50)
    assert isinstance(answer, Answer) and not answer.confirmed
    assert answer.text.endswith("there are no fence devices; watchdog: n2 did not say that a watchdog resets it")


def test_a_watchdog_is_not_asked_where_the_administrator_does_not_allow_it_nor_to_switch_a_node_on() -> None:
    for effects in (asked(allowed=False)[1], asked(FenceAction.ON)[1]):
        assert not [effect for effect in effects if isinstance(effect, AskWatchdog)]
        assert [effect for effect in effects if isinstance(effect, Answer) and not effect.confirmed]


def test_a_target_that_is_heard_again_before_its_time_is_up_is_not_fenced() -> None:
    fencer, effects = asked()
    fencer.on_watchdog(job_of(effects), 3200, "", 1010, 50)
    (_, answer) = fencer.watchdog_void("n2", "n2 is heard again", 2000, 51)
    assert isinstance(answer, Answer) and not answer.confirmed and "n2 is heard again" in answer.text
    assert fencer.on_timer("fence-1", 4210, 53) == [], "what was waited for is void"
    assert fencer.watchdog_void("n2", "again", 2000, 51) == []


def test_a_persons_word_ends_the_waiting() -> None:
    fencer, effects = asked()
    fencer.on_watchdog(job_of(effects), 3200, "", 1010, 50)
    assert [
        effect for effect in fencer.confirm("n2", "me", 1500, 51) if isinstance(effect, Answer) and effect.confirmed
    ]
    assert fencer.on_timer("fence-1", 4210, 53) == []
