"""The event log: whole lines in order, bounded, never waited for; and found again by cause."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest

from crm.daemon.eventlog import MAX_WAITING, EventLog, Files, read
from crm.daemon.journal import Journal
from crm.events.bounds import MAX_ITEMS, MAX_TEXT, shortened
from crm.events.select import Selection


def record(number: int, cause: str = "", **fields: Any) -> dict[str, Any]:
    return {"seq": number, "event": "noted", "time_ms": number, "order": number, "node": "n1", "cause": cause, **fields}


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [each["seq"] for each in found]


def nothing_lost(count: int, why: str) -> None:
    raise AssertionError(f"{count} records lost: {why}")


async def written(files: Files, count: int) -> EventLog:
    log = EventLog(files, nothing_lost)
    for number in range(count):
        log.append(record(number))
    await log.close()
    return log


def test_records_are_lines_of_json_in_their_order(tmp_path: Path) -> None:
    files = Files(tmp_path / "log", 1 << 20, 3)
    asyncio.run(written(files, 500))
    lines = files.path.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(500))


def test_files_are_bounded_in_size_and_number_and_read_as_one(tmp_path: Path) -> None:
    files = Files(tmp_path, 2000, 2)
    asyncio.run(written(files, 300))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(path.stat().st_size < 2100 for path in tmp_path.iterdir())
    found = numbers(read(files, Selection(), 1000))
    assert found == list(range(found[0], 300)) and len(found) > 30


def test_nothing_older_is_kept_when_none_is_wanted(tmp_path: Path) -> None:
    files = Files(tmp_path, 1000, 0)
    asyncio.run(written(files, 100))
    assert {path.name for path in tmp_path.iterdir()} <= {"events.jsonl"}


def test_a_line_that_a_power_cut_has_cut_costs_only_itself(tmp_path: Path) -> None:
    files = Files(tmp_path, 1 << 20, 1)
    asyncio.run(written(files, 3))
    with files.path.open("ab") as file:
        file.write(b'{"seq": 3, "event": "no')
    again = Files(tmp_path, 1 << 20, 1)
    again.write([b'{"seq":4,"event":"noted","time_ms":4,"node":"n1","cause":""}\n'])
    assert numbers(read(again, Selection(), 10)) == [0, 1, 2, 4]


def test_reading_is_by_cause_by_time_and_bounded(tmp_path: Path) -> None:
    files = Files(tmp_path, 1 << 20, 1)
    log = [record(1, "view-7.1"), record(2, "view-7.11"), record(3, "cib-1", after=["view-7.1"]), record(4, "view-7.1")]
    asyncio.run(_append(files, log))
    assert numbers(read(files, Selection(frozenset(("view-7.1",))), 10)) == [1, 3, 4]
    assert numbers(read(files, Selection(since_ms=3), 10)) == [3, 4]
    assert numbers(read(files, Selection(), 2)) == [3, 4]


def test_a_clock_that_was_set_hides_nothing_that_happened_since(tmp_path: Path) -> None:
    """Set back by an hour at the fourth record, then forward again: each node writes the time that its clock has."""
    files = Files(tmp_path, 1 << 20, 1)
    times = [9000, 9001, 9002, 5400, 5401, 9003]
    asyncio.run(_append(files, [{**record(number), "time_ms": at} for number, at in enumerate(times)]))
    assert numbers(read(files, Selection(since_ms=9000), 10)) == [0, 1, 2, 5]
    assert numbers(read(files, Selection(since_ms=5401, until_ms=9001), 10)) == [0, 1, 4]


def test_a_power_cut_may_leave_zeros_or_half_a_character(tmp_path: Path) -> None:
    files = Files(tmp_path, 1 << 20, 1)
    asyncio.run(written(files, 2))
    with files.path.open("ab") as file:
        file.write(b'{"seq":2,"text":"\xc3' + b"\0" * 5000)
    again = Files(tmp_path, 1 << 20, 1)
    asyncio.run(_append(again, [record(3)]))
    assert numbers(read(again, Selection(), 10)) == [0, 1, 3]


def test_a_disk_that_fills_in_the_middle_of_a_line_costs_no_record_that_comes_later(tmp_path: Path) -> None:
    files = Files(tmp_path, 1 << 20, 1)
    asyncio.run(written(files, 2))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = json.dumps(record(2)).encode() + b"\n"
    resource.setrlimit(resource.RLIMIT_FSIZE, (files.path.stat().st_size + len(line) // 2, unlimited[1]))
    try:
        with pytest.raises(OSError, match="large"):
            files.write([line])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert not files.path.read_bytes().endswith(b"\n"), "half a line is there"
    files.write([json.dumps(record(3)).encode() + b"\n"])
    assert numbers(read(files, Selection(), 10)) == [0, 1, 3]


def test_readers_get_whole_records_in_order_while_files_are_written_and_renamed(tmp_path: Path) -> None:
    files = Files(tmp_path, 20_000, 3)
    wrong: list[list[int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            found = numbers(read(files, Selection(), 50))
            if found and found != list(range(found[0], found[-1] + 1)):
                wrong.append(found)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(3000):
        files.write([json.dumps(record(number)).encode() + b"\n"])
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []


async def _append(files: Files, records: list[dict[str, Any]]) -> None:
    log = EventLog(files, nothing_lost)
    for each in records:
        log.append(each)
    await log.close()


def test_a_long_list_is_cut_and_says_so(tmp_path: Path) -> None:
    files = Files(tmp_path, 1 << 20, 1)
    asyncio.run(_append(files, [record(1, values=list(range(MAX_ITEMS + 7)))]))
    (found,) = read(files, Selection(), 1)
    assert len(found["values"]) == MAX_ITEMS and found["values_left_out"] == 7


def test_what_is_kept_in_memory_does_not_grow_with_what_happened() -> None:
    journal = Journal("n1")
    heard: list[dict[str, Any]] = []
    journal.listeners.append(heard.append)
    journal.record("attributes", {"values": [["n1", str(number), "1"] for number in range(5000)], "text": "x" * 10_000})
    (kept,) = journal.recent()
    assert len(kept["values"]) == MAX_ITEMS and kept["values_left_out"] == 5000 - MAX_ITEMS
    assert len(kept["text"]) == MAX_TEXT
    assert len(heard[0]["values"]) == 5000, "who alerts them gets all"
    small = {"a": [1], "b": "x"}
    assert shortened(small) is small


class Unwilling(Files):
    """A disk that refuses for a while."""

    refusals = 2

    def write(self, lines: list[bytes]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(28, os.strerror(28))
        super().write(lines)


def test_what_the_disk_refused_is_counted_and_told_when_it_takes_again(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []

    async def course() -> None:
        log = EventLog(Unwilling(tmp_path, 1 << 20, 1), lambda count, why: told.append((count, why)))
        for number in range(3):
            log.append(record(number))
            await log.close()

    asyncio.run(course())
    assert len(told) == 1 and told[0][0] == 2 and "No space" in told[0][1]


def test_a_disk_that_hangs_costs_records_but_no_memory_without_bound(tmp_path: Path) -> None:
    told: list[int] = []

    async def course() -> None:
        log = EventLog(Files(tmp_path, 1 << 30, 1), lambda count, why: told.append(count))
        for number in range(MAX_WAITING + 100):  # the loop does not get to the disk meanwhile
            log.append(record(number))
        assert log.waiting == MAX_WAITING
        await log.close()

    asyncio.run(course())
    assert told == [100]


def test_a_file_that_somebody_moved_away_is_begun_anew_for_the_same_readers(tmp_path: Path) -> None:
    files = Files(tmp_path, 1 << 20, 1)
    asyncio.run(written(files, 2))
    files.path.rename(tmp_path / "elsewhere")
    asyncio.run(_append(files, [record(2)]))
    assert numbers(read(files, Selection(), 10)) == [2]
    assert files.path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("folder", ["events", "events/of/this/node"])
def test_the_folder_is_made(tmp_path: Path, folder: str) -> None:
    asyncio.run(written(Files(tmp_path / folder, 1 << 20, 1), 1))
    assert (tmp_path / folder / "events.jsonl").stat().st_mode & 0o007 == 0
