"""What those who try the network tell each other: directions are kept apart, and what makes no sense changes nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messaging_nodes import LIMIT_S, Cable, free_ports

from messaging import keyring
from messaging.config import Endpoint, LinkConfig, LinkMode, MessagingConfig, NodeConfig, QuorumConfig, Timers
from messaging.doctor import Doctor, Findings
from messaging.frame import FIRST_PROBE, FrameCodec
from messaging.links import attempts

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
        family = socket.AF_INET

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


async def until(condition: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + LIMIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.02)


def on_cable(node_id: int, ends: Sequence[str], ports: list[int]) -> Doctor:
    config = replace(
        CONFIG,
        node_id=node_id,
        nodes=(
            *(
                NodeConfig(n, f"n{n}", 1, (Endpoint(f"127.0.0.{n}", ports[0]), Endpoint(end, 0)))
                for n, end in zip((1, 2), ends, strict=True)
            ),
            NodeConfig(3, "n3", 1, (Endpoint("127.0.0.3", ports[0]), Endpoint("-", 0))),
        ),
        links=(LinkConfig(0, LinkMode.UNICAST, ports[0]), LinkConfig(1, LinkMode.SERIAL, 0, baud=115200)),
    )
    frames = FrameCodec(RING, "web", node_id, 5, (1, 2, 3))
    return Doctor(config, frames, 5, running=False)


def test_a_serial_line_is_tried_in_both_directions_and_who_is_not_on_it_does_not_count() -> None:
    async def scenario() -> None:
        cable.start()
        ports = free_ports(1)
        doctors = [on_cable(n, cable.ends, ports) for n in (1, 2, 3)]
        for doctor in doctors:
            doctor.start(seconds=60)

        def lines() -> list[dict[str, Any]]:
            return [doctor.status()["links"][1] for doctor in doctors]

        def both_ways(line: dict[str, Any]) -> bool:
            return all(peer["here"] == ["serial"] and "serial" in (peer["there"] or ()) for peer in line["peers"])

        await until(lambda: all(map(both_ways, lines())))
        assert [[peer["name"] for peer in line["peers"]] for line in lines()] == [["n2"], ["n1"], []]
        assert [line["error"] for line in lines()] == ["", "", ""]
        for doctor in doctors:
            doctor.close()

    cable = Cable()
    asyncio.run(scenario())
    cable.close()


def test_a_serial_device_that_is_not_there_is_named() -> None:
    async def scenario() -> None:
        doctor = on_cable(1, ("/dev/nothing-here", "/dev/nothing-there"), free_ports(1))
        doctor.start(seconds=60)
        await until(lambda: bool(doctor.status()["links"][1]["error"]))
        assert "/dev/nothing-here" in doctor.status()["links"][1]["error"]
        doctor.close()

    asyncio.run(scenario())


def test_the_dscp_is_read_of_packets_of_both_families() -> None:
    assert attempts.dscp_of([(socket.IPPROTO_IP, socket.IP_TOS, bytes([48 << 2]))]) == 48
    assert attempts.dscp_of([(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("@i", 46 << 2))]) == 46
    assert attempts.dscp_of([(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, b"")]) is None
    assert attempts.dscp_of([]) is None


def test_ipv6_has_no_broadcast_and_a_group_of_its_own_kind() -> None:
    place = attempts.place_of(CONFIG.links[0], Endpoint("::1", 7999))
    assert place.ways == ["unicast", "multicast"]
    assert place.groups["multicast"] == (attempts.GROUP_V6, 7999)
