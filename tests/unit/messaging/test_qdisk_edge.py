"""The quorum disk with real files: blocks, labels, and two and more tie-breakers at once on one disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from messaging.config import MessagingConfig, NodeConfig, QuorumConfig, TieBreakerConfig, TieBreakerType, Timers
from messaging.errors import SetupError
from messaging.tiebreak import Surroundings
from messaging.tiebreak import qdisk as edge
from messaging.tiebreak.qdisk import Disk, QuorumDisk, make, read_label, runs
from messaging.tiebreak.qdisk_blocks import (
    BLOCK_SIZE,
    BLOCKS,
    DISK_SIZE,
    EMPTY,
    Claim,
    Label,
    Mark,
    State,
    mark_block,
    pack,
    state_block,
    unpack_label,
    unpack_mark,
    unpack_state,
)
from messaging.types import Member

INTERVAL_MS = 50
TKO = 5
STATE = State("u", 2, "b", 17, 4, Claim.MASTER, True, 9, (1, 2), True)
MARK = Mark("u", 2, 17, 1, "a", 16, 9)


def config(path: Path, node_id: int, *, cluster: str = "c", label: str = "", nodes: int = 2) -> MessagingConfig:
    return MessagingConfig(
        cluster=cluster,
        node_id=node_id,
        nodes=tuple(NodeConfig(n, f"n{n}", 1, ()) for n in range(1, nodes + 1)),
        links=(),
        timers=Timers(50, 100, 500, 500, 3000),
        quorum=QuorumConfig(
            nodes,
            tie_breaker=TieBreakerConfig(
                TieBreakerType.QDISK, interval_ms=INTERVAL_MS, tko=TKO, device=str(path), label=label
            ),
        ),
        key_file=path,
        state_dir=path.parent,
        run_dir=path.parent,
    )


class Node:
    """A tie-breaker and what it says."""

    def __init__(self, path: Path, node_id: int, *, incarnation: int = 1, name: str = "") -> None:
        self.around = Surroundings(True)
        self.said: list[bool] = []
        self.until_ms = 0
        self.evicted: list[str] = []
        me = Member(node_id, name or f"n{node_id}", incarnation)
        self.breaker = QuorumDisk(config(path, node_id), me, lambda: self.around, self.evicted.append)

    @property
    def holds(self) -> bool:
        return bool(self.said) and self.said[-1] and edge.now_ms() < self.until_ms

    def hear(self, holds: bool, until_ms: int | None = None) -> None:
        self.said.append(holds)
        self.until_ms = until_ms or 0

    async def start(self) -> None:
        await self.breaker.settle(self.hear)
        self.breaker.start(self.hear)


async def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "qdisk"
    make(str(path), "c", "shared")
    return path


# --- blocks


def test_blocks_read_as_they_were_written() -> None:
    assert unpack_label(pack(Label("c", "u", "shared"))) == Label("c", "u", "shared")
    assert unpack_state(pack(STATE), "u", 2) == STATE
    assert unpack_mark(pack(MARK), "u", 2) == MARK
    assert len(pack(STATE)) == BLOCK_SIZE


def test_a_block_stays_within_one_sector_even_for_the_largest_cluster() -> None:
    big = State("u" * 36, 255, "n" * 64, 10**13, 10**12, Claim.MASTER, False, 10**9, tuple(range(224, 256)), False)
    assert not pack(big)[512:].strip(b"\0")


def test_a_block_of_another_disk_or_node_is_none() -> None:
    assert unpack_state(pack(STATE), "other", 2) is None
    assert unpack_state(pack(STATE), "u", 1) is None
    assert unpack_mark(pack(MARK), "u", 1) is None


def test_whatever_is_torn_or_strange_is_none_and_no_error() -> None:
    old, new = pack(STATE), pack(MARK)
    length = len(old.rstrip(b"\0"))
    for cut in range(1, length):
        torn = new[:cut] + old[cut:]
        assert torn == old or unpack_state(torn, "u", 2) is None
    for flipped in range(length):
        block = bytearray(old)
        block[flipped] ^= 0x55
        assert unpack_state(bytes(block), "u", 2) is None
    for block_ in (EMPTY, os.urandom(BLOCK_SIZE), pack(MARK)):
        assert unpack_label(block_) is None
        assert unpack_state(block_, "u", 2) is None


def test_no_two_blocks_have_one_place() -> None:
    places = [0, *map(state_block, range(1, 256)), *map(mark_block, range(1, 256))]
    assert len(set(places)) == len(places) == BLOCKS
    assert max(places) == BLOCKS - 1


def test_numbers_are_read_in_runs() -> None:
    assert runs([1, 2, 3, 7, 256, 257]) == [(1, 3), (7, 1), (256, 2)]
    assert runs([]) == []


# --- making and opening


def test_a_disk_is_made_once_and_its_label_is_found(disk: Path) -> None:
    assert disk.stat().st_size == DISK_SIZE
    with contextlib.closing(Disk(str(disk))) as opened:
        assert read_label(opened, "c", "shared").label == "shared"
        assert read_label(opened, "c", "").cluster == "c"
    with pytest.raises(SetupError, match="'shared' of cluster 'c' already"):
        make(str(disk), "d", "x")
    assert make(str(disk), "d", "x", force=True).cluster == "d"


def test_what_is_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(DISK_SIZE - 1) + b"x")
    with pytest.raises(SetupError, match="not empty"):
        make(str(path), "c", "l")
    assert path.read_bytes()[-1:] == b"x"


def test_what_is_too_small_or_not_there_is_refused(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(BLOCK_SIZE))
    with pytest.raises(SetupError, match=f"needs {DISK_SIZE}"):
        make(str(small), "c", "l")
    with pytest.raises(SetupError, match="cannot be made a quorum disk: No such file"):
        make(str(tmp_path / "no" / "folder"), "c", "l")


@pytest.mark.parametrize(
    ("cluster", "label", "words"),
    [("d", "", "'c'.*'d'"), ("c", "mine", "'shared'.*'mine'")],
)
def test_the_disk_of_another_cluster_is_refused_and_both_are_named(
    disk: Path, cluster: str, label: str, words: str
) -> None:
    async def scenario() -> None:
        wrong = config(disk, 1, cluster=cluster, label=label)
        breaker = QuorumDisk(wrong, Member(1, "n1", 1), lambda: Surroundings(True), lambda _: None)
        with pytest.raises(SetupError, match=words):
            await breaker.check()
        breaker.close()

    asyncio.run(scenario())


def test_what_is_no_quorum_disk_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "blank"
    path.write_bytes(bytes(DISK_SIZE))
    with contextlib.closing(Disk(str(path))) as opened, pytest.raises(SetupError, match="crm cluster mkqdisk"):
        read_label(opened, "c", "")


# --- at work


def test_the_lowest_becomes_master_and_the_other_follows_when_it_is_gone(disk: Path) -> None:
    async def scenario() -> None:
        one, two = Node(disk, 1), Node(disk, 2)
        await one.start()
        await two.start()
        await until(lambda: one.holds, "n1 is not master")
        assert not two.holds
        assert two.breaker.status()["holds"] is False
        one.breaker.close()
        await until(lambda: two.holds, "n2 does not follow")
        assert not one.holds
        assert two.breaker.status()["master"] == "n2"
        two.breaker.close()

    asyncio.run(scenario())


def test_a_part_that_cannot_win_gives_the_disk_up_for_one_that_can(disk: Path) -> None:
    async def scenario() -> None:
        one, two = Node(disk, 1), Node(disk, 2)
        await one.start()
        await two.start()
        await until(lambda: one.holds, "n1 is not master")
        one.around = Surroundings(False)
        await until(lambda: two.holds, "n2 does not follow")
        assert one.said[-1] is False
        one.around = Surroundings(True)
        await asyncio.sleep(INTERVAL_MS * 3 / 1000)
        assert two.holds, "who is master stays it"
        for node in (one, two):
            node.breaker.close()

    asyncio.run(scenario())


def test_a_master_that_leaves_goes_when_another_has_followed(disk: Path) -> None:
    async def scenario() -> None:
        one, two = Node(disk, 1), Node(disk, 2)
        await one.start()
        await two.start()
        await until(lambda: one.holds, "n1 is not master")
        await one.breaker.hand_over()
        assert two.holds
        for node in (one, two):
            node.breaker.close()

    asyncio.run(scenario())


def test_the_next_life_of_a_master_is_settled_when_another_has_followed(disk: Path) -> None:
    async def scenario() -> None:
        one, two = Node(disk, 1), Node(disk, 2)
        await one.start()
        await two.start()
        await until(lambda: one.holds, "n1 is not master")
        one.breaker.close()
        again = Node(disk, 1, incarnation=2)
        await again.breaker.settle(again.hear)
        assert two.holds
        assert not again.said
        for node in (again, two):
            node.breaker.close()

    asyncio.run(scenario())


def test_asking_tells_what_is_known_at_once(disk: Path) -> None:
    async def scenario() -> None:
        one = Node(disk, 1)
        await one.start()
        one.breaker.ask()
        assert one.said == [False]
        await until(lambda: one.holds, "n1 is not master")
        one.said.clear()
        one.breaker.ask()
        assert one.said == [True]
        one.breaker.close()

    asyncio.run(scenario())


def test_a_lost_member_is_marked_and_finds_it_and_the_mark_goes_when_it_is_back(disk: Path) -> None:
    both = (Member(1, "n1", 1), Member(2, "n2", 1))

    async def scenario() -> None:
        one, two = Node(disk, 1), Node(disk, 2)
        one.around = two.around = Surroundings(True, True, 5, both)
        await one.start()
        await two.start()
        await until(lambda: one.holds, "n1 is not master")
        one.around = Surroundings(True, True, 6, both[:1])
        await until(lambda: two.evicted == ["n1"], "n2 does not find the mark against it")
        assert two.breaker.status()["evicted_by"] == "n1"
        one.around = Surroundings(True, True, 7, both)
        await until(lambda: two.breaker.status()["evicted_by"] == "", "the mark stays")
        assert two.evicted == ["n1"]
        for node in (one, two):
            node.breaker.close()

    asyncio.run(scenario())


def test_who_said_goodbye_is_not_marked(disk: Path) -> None:
    both = (Member(1, "n1", 1), Member(2, "n2", 1))

    async def scenario() -> None:
        one = Node(disk, 1)
        one.around = Surroundings(True, True, 5, both)
        await one.start()
        await until(lambda: one.holds, "n1 is not master")
        one.around = Surroundings(True, True, 6, both[:1], frozenset({2}))
        await asyncio.sleep(INTERVAL_MS * 4 / 1000)
        one.breaker.close()

    asyncio.run(scenario())
    with contextlib.closing(Disk(str(disk))) as opened:
        assert opened.read(mark_block(2), 1) == [EMPTY]


def test_two_machines_with_one_node_id_are_told_and_neither_wins_for_long(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        one, twin = Node(disk, 1), Node(disk, 1, incarnation=2, name="twin")
        await one.start()
        await twin.start()
        await until(lambda: "twin" in one.breaker.status()["error"], "n1 does not notice its twin")
        await until(lambda: "n1" in twin.breaker.status()["error"], "the twin does not notice")
        assert not (one.holds and twin.holds)
        for node in (one, twin):
            node.breaker.close()

    asyncio.run(scenario())
    assert "must be this node's alone" in caplog.text


def test_a_disk_that_is_not_there_is_absence_and_is_used_when_it_appears(tmp_path: Path, disk: Path) -> None:
    async def scenario() -> None:
        late = tmp_path / "late"
        one = Node(late, 1)
        await one.start()
        assert "No such file" in one.breaker.status()["error"]
        late.symlink_to(disk)
        await until(lambda: one.holds, "the disk is not used")
        assert one.breaker.status()["error"] == ""
        one.breaker.close()

    asyncio.run(scenario())


def test_errors_and_stalls_of_the_disk_end_the_evidence_in_time(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_s = (TKO - 1) * INTERVAL_MS / 1000

    async def scenario() -> None:
        one = Node(disk, 1)
        await one.start()
        write = Disk.write

        def fails(self: Disk, number: int, block: bytes) -> None:
            raise OSError(5, "Input/output error")

        def stalls(self: Disk, number: int, block: bytes) -> None:
            time.sleep(4 * hold_s)  # in the disk's own thread, as a system call would
            write(self, number, block)

        for fault, words in ((fails, "Input/output error"), (stalls, "has not answered")):
            monkeypatch.setattr(Disk, "write", write)
            await until(lambda: one.holds, "n1 is not master")
            monkeypatch.setattr(Disk, "write", fault)
            await until(lambda: not one.holds, "the evidence stays")
            await until(lambda w=words: w in one.breaker.status()["error"], f"not told: {words}")  # type: ignore[misc]
        monkeypatch.setattr(Disk, "write", write)
        await until(lambda: one.holds, "the disk is not used again")
        one.breaker.close()

    asyncio.run(scenario())
