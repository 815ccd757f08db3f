"""The watchdog: who deserves to be fed, what may be presumed of a lost node, and a real pipe as device."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from arbiter_world import config_of

from messaging.config import MessagingConfig, TieBreakerConfig, TieBreakerType, WatchdogConfig
from messaging.errors import SetupError
from messaging.watchdog import Device, Watchdog
from messaging.watchdog_core import Commit, Effect, Feed, Health, WatchdogCore, presumed_ms

TIMEOUT_MS = 1000
WELL = Health(quorate=True, in_group=True, attached=True)
NO_QUORUM = replace(WELL, quorate=False)
NO_CRM = replace(WELL, in_group=False, attached=False)


def rules(**changes: str) -> WatchdogConfig:
    return replace(WatchdogConfig("/dev/watchdog", TIMEOUT_MS), **changes)  # type: ignore[arg-type]


def feeds(effects: list[Effect]) -> bool:
    return Feed() in effects


def committed(**changes: str) -> WatchdogCore:
    core = WatchdogCore(rules(**changes), committed=False)
    assert core.look(WELL, 0) == [Commit(True), Feed()]
    return core


def test_a_node_that_starts_is_fed_until_it_has_something_to_lose() -> None:
    core = WatchdogCore(rules(), committed=False)
    for now_ms in range(0, 10_000, 200):
        assert core.look(Health(quorate=False, in_group=False, attached=False), now_ms) == [Feed()]
    assert not core.watched


def test_a_node_that_lost_its_quorum_is_not_fed_until_it_has_it_again() -> None:
    core = committed()
    assert not feeds(core.look(NO_QUORUM, 200))
    assert core.hungry == "this node has no quorum"
    assert core.watched, "the others may rely on it now more than ever"
    assert feeds(core.look(WELL, 400))


def test_a_daemon_that_was_restarted_knows_that_there_was_something_to_lose() -> None:
    core = WatchdogCore(rules(), committed=True)
    assert core.watched
    assert not feeds(core.look(NO_QUORUM, 0))


def test_a_crm_may_be_away_for_half_of_the_timeout_and_may_leave_politely() -> None:
    core = committed()
    assert feeds(core.look(NO_CRM, 200))
    assert feeds(core.look(NO_CRM, 200 + TIMEOUT_MS // 2))
    assert not feeds(core.look(NO_CRM, 201 + TIMEOUT_MS // 2))
    assert feeds(core.look(WELL, 900))
    assert core.look(replace(NO_CRM, departed=True), 1000) == [Commit(False), Feed()]
    assert feeds(core.look(replace(NO_CRM, departed=True, quorate=False), 9000))


def test_each_loss_can_be_ignored_and_the_disk_counts_only_when_asked_for() -> None:
    assert feeds(committed(on_quorum_loss="ignore").look(NO_QUORUM, 200))
    core = committed(on_crm_loss="ignore")
    assert feeds(core.look(NO_CRM, 200)) and feeds(core.look(NO_CRM, 9000))
    no_disk = replace(WELL, disk=False)
    assert feeds(committed().look(no_disk, 200))
    assert not feeds(committed(on_disk_loss="reset").look(no_disk, 200))


def test_an_order_holds_for_good() -> None:
    core = committed()
    kept, said = core.order("evicted")
    assert kept == Commit(True, "evicted") and "evicted" in getattr(said, "text", "")
    assert core.order("again") == []
    assert not feeds(core.look(WELL, 200)) and not feeds(core.look(replace(NO_CRM, departed=True), 9000))


def configured(tie_breaker: TieBreakerConfig | None = None, **changes: bool) -> MessagingConfig:
    config = replace(config_of(1, 2), watchdog=rules())
    quorum = replace(config.quorum, **changes)  # type: ignore[arg-type]
    return replace(config, quorum=replace(quorum, tie_breaker=tie_breaker) if tie_breaker else quorum)


def test_a_time_may_be_presumed_only_where_two_sides_are_never_both_quorate() -> None:
    config = configured()
    expected = 3 * TIMEOUT_MS + config.timers.deadtime_ms + 2 * config.timers.keepalive_ms
    assert presumed_ms(config) == expected
    assert presumed_ms(configured(TieBreakerConfig(TieBreakerType.QDISK))) == expected
    assert presumed_ms(configured(TieBreakerConfig(TieBreakerType.QDISK, master_wins=False))) == 0
    assert presumed_ms(configured(TieBreakerConfig(TieBreakerType.PING))) == 0
    assert presumed_ms(configured(two_node=True)) == 0
    assert presumed_ms(configured(ignore=True)) == 0
    for loss in ("on_quorum_loss", "on_crm_loss"):
        assert presumed_ms(replace(config, watchdog=rules(**{loss: "ignore"}))) == 0
    assert presumed_ms(replace(config, watchdog=WatchdogConfig())) == 0


# --- a pipe as device ---------------------------------------------------------------------------------------------------


def test_the_device_is_fed_while_all_is_well_and_stopped_by_a_clean_end_only(tmp_path: Path) -> None:
    pipe = tmp_path / "dog"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    config = replace(configured(), run_dir=tmp_path, watchdog=replace(rules(), device=str(pipe)))
    health = [WELL]
    announced: list[bool] = []
    made = Watchdog(config, lambda: health[0], announced.append)
    made.open()
    made.look(0)
    assert os.read(reader, 100) == b"1000\n"
    assert announced == [True]
    assert (tmp_path / "watchdog").exists()
    health[0] = NO_QUORUM
    made.look(200)
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    assert made.status()["not_fed"] == "this node has no quorum"
    again = Watchdog(config, lambda: health[0], announced.append)  # a killed daemon's successor
    assert again.status()["committed"] is True
    made.close(goodbye=True)
    assert os.read(reader, 100) == b"V\n"
    assert not (tmp_path / "watchdog").exists()
    again.open()
    again.order("evicted")
    again.close(goodbye=True)
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    health[0] = WELL
    third = Watchdog(config, lambda: health[0], announced.append)  # a restart is no way around it
    third.open()
    third.look(9000)
    assert third.status()["not_fed"] == "evicted"
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    os.close(reader)


def test_a_device_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("absent", "No such file"), ("file", "is no watchdog"), ("pipe", "nobody reads it")):
        with pytest.raises(SetupError, match=why):
            Device(str(tmp_path / name), TIMEOUT_MS)


def test_a_daemon_that_ends_without_a_goodbye_stops_the_device_only_where_nothing_is_to_be_lost(tmp_path: Path) -> None:
    pipe = tmp_path / "dog"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    config = replace(configured(), run_dir=tmp_path, watchdog=replace(rules(), device=str(pipe)))
    health = [Health(quorate=False, in_group=False, attached=False)]
    made = Watchdog(config, lambda: health[0], lambda _: None)
    made.open()
    made.look(0)
    made.close(goodbye=False)
    assert os.read(reader, 100) == b"1000\nV\n", "a wrong configuration must not reset the machine"
    health[0] = WELL
    made.open()
    made.look(200)
    made.close(goodbye=False)
    assert os.read(reader, 100) == b"1000\n", "it may be running something: the device goes on"
    os.close(reader)
    made.look(400)
    assert made.status()["not_fed"], "nobody reads it any more"
