"""What the daemon remembers, on real files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from messaging.effects import Durable
from messaging.errors import SetupError
from messaging.persist import BOOT_FILE, STATE_FILE, StateStore, ThisMachine


def begin(folder: Path) -> StateStore:
    store = StateStore(folder / "state", folder / "run")
    store.begin()
    return store


def test_every_life_has_a_higher_incarnation_than_the_one_before(tmp_path: Path) -> None:
    lives = [begin(tmp_path).incarnation for _ in range(5)]
    assert lives == sorted(set(lives))


def test_the_incarnation_grows_also_when_the_clock_has_gone_back(tmp_path: Path) -> None:
    begin(tmp_path)
    file = tmp_path / "state" / STATE_FILE
    future = int(time.time() * 1000) + 10**9
    file.write_text(json.dumps({"incarnation": future, "sequence_ceiling": 5}), encoding="utf-8")
    assert begin(tmp_path).incarnation == future + 1


def test_the_ceiling_and_seen_all_survive_a_restart(tmp_path: Path) -> None:
    begin(tmp_path).save(Durable(1000, True))
    assert begin(tmp_path).durable == Durable(1000, True)


def test_seen_all_does_not_survive_a_boot_and_the_ceiling_does(tmp_path: Path) -> None:
    begin(tmp_path).save(Durable(1000, True))
    file = tmp_path / "run" / BOOT_FILE
    assert json.loads(file.read_text())["boot_id"] == ThisMachine().boot_id()
    file.write_text(json.dumps({"boot_id": "another", "seen_all": True}), encoding="utf-8")
    assert begin(tmp_path).durable == Durable(1000, False)
    file.unlink()
    assert begin(tmp_path).durable == Durable(1000, False)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"incarnation": "x"}', "\0" * 40])
def test_a_state_file_that_does_not_read_falls_back_to_its_copy(tmp_path: Path, content: str) -> None:
    first = begin(tmp_path)
    first.save(Durable(1000, False))
    (tmp_path / "state" / STATE_FILE).write_text(content, encoding="utf-8")
    second = begin(tmp_path)
    assert second.durable.sequence_ceiling == 1000
    assert second.incarnation > first.incarnation
    assert "does not read" in second.notes[0]


def test_without_any_readable_state_the_numbers_start_above_whatever_was_used(tmp_path: Path) -> None:
    first = begin(tmp_path)
    first.save(Durable(1000, False))
    for name in (STATE_FILE, f"{STATE_FILE}.copy"):
        (tmp_path / "state" / name).write_text("broken", encoding="utf-8")
    second = begin(tmp_path)
    assert second.incarnation > first.incarnation
    assert second.durable.sequence_ceiling > 1_000_000


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way", encoding="utf-8")
    with pytest.raises(SetupError, match="cannot write"):
        begin(tmp_path)
