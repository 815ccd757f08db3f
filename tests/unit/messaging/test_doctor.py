"""What those who try the network tell each other: directions are kept apart, and what makes no sense changes nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import keyring
from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig, NodeConfig, QuorumConfig, Timers
from messaging.doctor import Doctor, Findings
from messaging.frame import FIRST_PROBE, FrameCodec

RING = keyring.parse("1 " + "ab" * 32, "keys")
CONFIG = MessagingConfig(
    "web",
    1,
    tuple(NodeConfig(n, f"n{n}", 1, (Endpoint(f"127.0.0.{n}", 7999),)) for n in (1, 2)),
    (LinkConfig(0, LinkMode.UNICAST, 7999),),
    Timers(200, 500, 1000, 3000, 3000),
    QuorumConfig(2),
    Path("/nowhere"),
    Path("/nowhere"),
    Path("/nowhere"),
)


def codec(node_id: int) -> FrameCodec:
    return FrameCodec(RING, "web", node_id, 5, (1, 2))


def test_what_arrived_here_and_what_arrived_there_are_told_apart() -> None:
    mine, theirs = Findings(), Findings()
    theirs.take(0, 1, 2, mine.document("run", "multicast", 0, [2]), None)
    mine.take(0, 2, 1, theirs.document("run", "unicast", 0, [1]), 48)
    assert mine.there[0, 2] == {"multicast"}
    assert mine.here[0, 2] == {"unicast", "dscp-48"}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["run", "way", "heard", "1"]), inner),
        max_leaves=8,
    )
)
def test_an_authentic_frame_that_makes_no_sense_changes_nothing(document: object) -> None:
    async def scenario() -> None:
        doctor = Doctor(CONFIG, codec(1), 5, running=True)
        doctor.start = lambda run="", seconds=0.0: run  # type: ignore[method-assign]  # no session is of use here
        doctor.heard(codec(2).pack(FIRST_PROBE, json.dumps(document).encode()), [])
        assert all(len(words) <= 1 for words in doctor._findings.here.values())

    asyncio.run(scenario())


def test_what_is_not_authentic_begins_no_session() -> None:
    async def scenario() -> None:
        doctor = Doctor(CONFIG, codec(1), 5, running=True)
        other = FrameCodec(keyring.parse("1 " + "cd" * 32, "keys"), "web", 2, 5, (1, 2))
        document = json.dumps({"run": "x", "way": "unicast"}).encode()
        doctor.heard(other.pack(FIRST_PROBE, document), [])
        doctor.heard(codec(2).pack(FIRST_PROBE + 7, document), [])
        assert not doctor.busy
        doctor.heard(codec(2).pack(FIRST_PROBE, document), [])
        assert doctor.busy
        doctor.close()

    asyncio.run(scenario())


def test_a_run_that_is_over_is_not_begun_again_by_its_last_words() -> None:
    async def scenario() -> None:
        doctor = Doctor(CONFIG, codec(1), 5, running=True)
        run = doctor.start(seconds=0.0)
        await doctor.finished()
        doctor.heard(codec(2).pack(FIRST_PROBE, json.dumps({"run": run, "way": "unicast"}).encode()), [])
        assert not doctor.busy

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [576, 1280, 1500])
def test_a_frame_of_a_size_is_an_ip_packet_of_that_size(size: int) -> None:
    sent: list[bytes] = []

    class Mouth:
        def sendto(self, data: bytes, _: object) -> None:
            sent.append(data)

    doctor = Doctor(CONFIG, codec(1), 5, running=True)
    doctor._send(CONFIG.links[0], Mouth(), f"size-{size}", [], ("127.0.0.1", 9), size)  # type: ignore[arg-type]
    assert len(sent[0]) + 28 == size


def test_who_follows_a_run_goes_over_to_the_next_and_who_leads_one_does_not() -> None:
    async def scenario() -> None:
        sender, follower, leader = (
            codec(2),
            Doctor(CONFIG, codec(1), 5, running=True),
            Doctor(CONFIG, codec(1), 5, running=True),
        )
        own = leader.start()
        for run in ("first", "second"):
            document = json.dumps({"run": run, "way": "unicast"}).encode()
            for doctor in (follower, leader):
                doctor.heard(sender.pack(FIRST_PROBE, document), [])
                await asyncio.sleep(0)
            assert follower.status()["run"] == run
            assert leader.status()["run"] == own
        follower.close()
        leader.close()

    asyncio.run(scenario())
