"""Serial lines: frames in noise, streams over lost pieces, and two real daemons whose cable is a pair of pseudo-terminals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messaging_nodes import Cable, RealCluster

from messaging.errors import Malformed
from messaging.links.pipe import MAX_WINDOW, PIECE_BYTES, Pipe
from messaging.links.serial import MAX_FRAME_BYTES, Reader, enclose
from messaging.types import Delivered

SPEED = 1000
OVERHEAD = 60


# --- frames on the line


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=8), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(frames: list[bytes], step: int) -> None:
    line = b"".join(map(enclose, frames))
    reader = Reader()
    found = [frame for start in range(0, len(line), step) for frame in reader.feed(line[start : start + step])]
    assert found == frames


def test_after_noise_the_next_frame_but_one_is_whole_again() -> None:
    reader = Reader()
    found = reader.feed(random.Random(1).randbytes(500) + enclose(b"first") + enclose(b"second"))
    assert found[-1] == b"second"


def test_an_endless_frame_fills_nothing() -> None:
    reader = Reader()
    for _ in range(100):
        assert reader.feed(bytes(4096)) == []
        assert len(reader._kept) <= 2 * MAX_FRAME_BYTES
    assert reader.feed(b"\xc0" + enclose(b"next")) == [b"next"]


# --- streams over pieces


def carry(loss: float, seed: int, sent: dict[int, bytes]) -> dict[int, bytes]:
    """Both ends write at once; the line takes a piece each 100 ms in each direction, and loses some."""
    rng = random.Random(seed)
    ends = [Pipe(7, SPEED, OVERHEAD), Pipe(7, SPEED, OVERHEAD)]
    for end, data in sent.items():
        ends[end].write(data)
    got = {0: b"", 1: b""}
    now_ms = 0
    while now_ms < 3_000_000 and any(got[1 - end] != data for end, data in sent.items()):
        now_ms += 100
        for end in (0, 1):
            piece = ends[end].next_piece(now_ms)
            if piece is not None and rng.random() >= loss:
                got[1 - end] += ends[1 - end].on_piece(piece, now_ms)
    return got


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("seed", range(5))
def test_all_bytes_arrive_in_order_although_pieces_are_lost(loss: float, seed: int) -> None:
    rng = random.Random(seed)
    sent = {0: rng.randbytes(5000), 1: rng.randbytes(3000)}
    assert carry(loss, seed, sent) == {0: sent[1], 1: sent[0]}


def test_a_pipe_that_is_over_says_so_and_takes_nothing_more() -> None:
    first, second = Pipe(7, SPEED, OVERHEAD), Pipe(7, SPEED, OVERHEAD)
    first.close()
    piece = first.next_piece(0)
    assert piece is not None
    assert second.on_piece(piece, 0) == b""
    assert second.over
    assert second.next_piece(0) is None


def test_what_flies_at_once_is_bounded_by_the_line() -> None:
    for speed in (120, 960, 11520, 400_000):
        pipe = Pipe(7, speed, OVERHEAD)
        pipe.write(bytes(100 * MAX_WINDOW * PIECE_BYTES))
        flying = 0
        while pipe.next_piece(0) is not None:
            flying += 1
        assert flying <= MAX_WINDOW
        assert flying <= 2 or flying * (PIECE_BYTES + OVERHEAD) <= speed * 0.5


@given(st.lists(st.binary(max_size=PIECE_BYTES + 40), max_size=20))
def test_pieces_that_make_no_sense_are_refused_or_ignored(pieces: list[bytes]) -> None:
    pipe = Pipe(7, SPEED, OVERHEAD)
    pipe.write(b"x" * 1000)
    for piece in pieces:
        try:
            pipe.on_piece(piece, 0)
        except Malformed:
            continue
        pipe.next_piece(0)
    assert pipe.buffered <= 1000


# --- real daemons


@contextmanager
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        yield made
    finally:
        made.close()


def test_a_line_beside_a_network_carries_heartbeats_and_no_messages_and_may_be_pulled(tmp_path: Path) -> None:
    async def scenario(line: Cable) -> None:
        async with RealCluster(tmp_path, 2, line=line.ends) as cluster:
            line.start()
            await cluster.start()
            crm = cluster.crms[1]

            async def state() -> dict[str, object]:
                answer = await crm.client.query("links")
                each: dict[str, object] = answer["links"][1]["peers"][0]
                return each

            async def until(wanted: str) -> dict[str, object]:
                async with asyncio.timeout(60):
                    while (now := await state())["state"] != wanted:  # noqa: ASYNC110 (a daemon is asked)
                        await asyncio.sleep(0.05)
                return now

            now = await until("up")
            assert now["stream"] is False
            views = len(crm.views)
            line.plugged = False
            await until("down")
            line.plugged = True
            await until("up")
            rng = random.Random(7)
            for _ in range(50):
                line.noise(rng.randbytes(2000))
                await asyncio.sleep(0.01)
            line.noise(b"\xc0")
            await until("up")
            crm.client.multicast(b"x" * 50_000)
            await cluster.crms[2].until(
                lambda: any(isinstance(event, Delivered) for event in cluster.crms[2].seen), "the message"
            )
            assert len(crm.views) == views

    with cable() as line:
        asyncio.run(scenario(line))
