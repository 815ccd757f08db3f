"""The ping tie-breaker, with real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from messaging.config import PingGroupConfig, TieBreakerConfig, TieBreakerType
from messaging.errors import SetupError
from messaging.tiebreak import Evidence
from messaging.tiebreak.ping import PingTieBreaker, checksum, split_target


def config(*targets: str, interval_ms: int = 100, timeout_ms: int = 80, tko: int = 2) -> TieBreakerConfig:
    return TieBreakerConfig(TieBreakerType.PING, targets, interval_ms, timeout_ms, tko)


def listener() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(64)
    return made


class Silent:
    """A port whose queue is full: connecting to it gets no answer."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._waiting: list[socket.socket] = []
        for _ in range(4):
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex(("127.0.0.1", self.port))
            self._waiting.append(made)

    def close(self) -> None:
        for made in [*self._waiting, self._listener]:
            made.close()


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_evidence_is_lost_after_tko_rounds_or_at_once_when_it_is_asked_for() -> None:
    evidence = Evidence(tko=3)
    assert evidence.round(answered=True, urgent=False)
    assert [evidence.round(answered=False, urgent=False) for _ in range(3)] == [False, False, True]
    assert not evidence.holds
    evidence.round(answered=True, urgent=True)
    assert evidence.round(answered=False, urgent=True)
    assert not evidence.holds


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", None)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("gateway", ("gateway", None)),
        ("fd00::1", ("fd00::1", None)),
        ("[fd00::1]:80", ("fd00::1", 80)),
    ],
)
def test_targets_are_read(target: str, expected: tuple[str, int | None]) -> None:
    assert split_target(target) == expected


def test_the_checksum_is_that_of_rfc_1071() -> None:
    data = bytes.fromhex("0800 0000 1234 0001".replace(" ", ""))
    total = checksum(data)
    assert checksum(data[:2] + total.to_bytes(2, "big") + data[4:]) == 0


def test_a_target_that_accepts_or_refuses_is_evidence_and_one_that_is_silent_is_not() -> None:
    async def scenario() -> None:
        closed = listener()
        refusing = closed.getsockname()[1]
        closed.close()
        silent = Silent()
        with listener() as open_:
            for target, expected in (
                (f"127.0.0.1:{open_.getsockname()[1]}", True),
                (f"127.0.0.1:{refusing}", True),
                (f"127.0.0.1:{silent.port}", False),
            ):
                seen: list[bool] = []
                breaker = PingTieBreaker(config(target))
                breaker.start(seen.append)
                await asyncio.sleep(0.15)
                await until(lambda seen=seen, expected=expected: bool(seen) or not expected)  # type: ignore[misc]
                assert breaker.status() == {"targets": {target: expected}, "holds": expected}
                assert seen == ([True] if expected else [])
                breaker.close()
        silent.close()

    asyncio.run(scenario())


def test_asking_looks_at_once_and_believes_only_what_is_seen_now() -> None:
    async def scenario() -> None:
        seen: list[bool] = []
        breaker = PingTieBreaker(config("127.0.0.1:1", interval_ms=600_000, timeout_ms=300))
        breaker.start(seen.append)
        await until(lambda: seen == [True])
        silent = Silent()
        breaker._tcp_targets = [(socket.AF_INET, ("127.0.0.1", silent.port), "127.0.0.1:1")]  # the network is cut
        breaker.ask()
        await until(lambda: seen == [True, False])
        breaker.close()
        silent.close()

    asyncio.run(scenario())


def test_icmp_answers_where_it_is_permitted_and_says_so_where_it_is_not() -> None:
    async def scenario() -> None:
        seen: list[bool] = []
        breaker = PingTieBreaker(config("127.0.0.1"))
        try:
            breaker.start(seen.append)
        except SetupError as error:
            assert os.geteuid() != 0
            assert "ping_group_range" in str(error)
            return
        await until(lambda: seen == [True])
        breaker.ask()
        await until(lambda: seen == [True, True])
        breaker.close()

    asyncio.run(scenario())


def test_a_name_that_does_not_resolve_is_told() -> None:
    async def scenario() -> None:
        with pytest.raises(SetupError, match="does not resolve"):
            PingTieBreaker(config("no-such-host.invalid:1")).start(lambda _: None)

    asyncio.run(scenario())


@pytest.mark.parametrize(("every", "holds"), [(False, True), (True, False)])
def test_a_group_answers_when_one_of_its_targets_does_or_when_all_do(every: bool, holds: bool) -> None:
    async def run() -> None:
        up, silent = listener(), Silent()
        targets = (f"127.0.0.1:{up.getsockname()[1]}", f"127.0.0.1:{silent.port}")
        rules = replace(config(), groups=(PingGroupConfig(targets, every),))
        breaker = PingTieBreaker(rules)
        told: list[bool] = []
        breaker.start(lambda now, *_: told.append(now))
        try:
            breaker.ask()
            await until(lambda: bool(told))
            assert told[-1] is holds
            if every:
                silent.close()  # a port that refuses answers too
                await until(lambda: told[-1])
        finally:
            breaker.close()
            up.close()
            silent.close()

    asyncio.run(run())


def test_one_target_or_one_group_is_enough_and_a_target_of_several_groups_is_asked_once() -> None:
    async def run() -> None:
        up, silent = listener(), Silent()
        here, nobody = f"127.0.0.1:{up.getsockname()[1]}", f"127.0.0.1:{silent.port}"
        groups = (PingGroupConfig((nobody, here), every=True), PingGroupConfig((here,), every=True))
        breaker = PingTieBreaker(replace(config(nobody), groups=groups))
        told: list[bool] = []
        breaker.start(lambda now, *_: told.append(now))
        try:
            await until(lambda: bool(told) and told[-1])
            assert set(breaker.status()["targets"]) == {here, nobody}
        finally:
            breaker.close()
            up.close()
            silent.close()

    asyncio.run(run())
