"""`vigil-arbiter` and the node's side of it, over real TLS on loopback: who may speak, what is answered, what survives."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from arbiter_world import config_of
from messaging_nodes import own_network

from messaging.arbiter import certificates
from messaging.arbiter.command import main
from messaging.arbiter.core import Kept, Record
from messaging.arbiter.protocol import Decoder, Hello, Message, Refused, Report, Verdict, decode, encode
from messaging.arbiter.records import Records
from messaging.config import MessagingConfig
from messaging.errors import Malformed, SetupError
from messaging.tiebreak import Surroundings
from messaging.tiebreak.arbiter import NetworkArbiter, client_context
from messaging.tiebreak.preference import Prefer
from messaging.types import Member

WAIT_S = 60.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, f"not within {WAIT_S} s: {what}"
        time.sleep(0.01)


PORT = 15413


class Running:
    """A real arbiter process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Nobody else's, also while no arbiter runs: a port that the kernel hands out may be another's by then.
        self.host = own_network() + ".1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "messaging.arbiter", "run", "--dir", str(self.folder)]
        command += ["--listen", self.host, "--port", str(PORT), "--log-file", str(self.folder / "log")]
        self.process = subprocess.Popen(command)
        wait_for(lambda: (self.folder / "status.sock").exists(), "the arbiter is up")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            (self.folder / "status.sock").unlink(missing_ok=True)

    def status(self) -> dict[str, object]:
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(str(self.folder / "status.sock"))
            with sock.makefile("rb") as stream:
                answer: dict[str, object] = json.loads(stream.readline())
                return answer


@pytest.fixture
def arbiter(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    """An arbiter that serves cluster c, and has done so before; else, with the parameter "new", it gives nothing at first."""
    if getattr(request, "param", "") != "new":
        (tmp_path / "records").mkdir()
        Records(tmp_path / "records").save("c", Record())
    certificates.make_authority(tmp_path)
    certificates.add_cluster(tmp_path, "c")
    made = Running(tmp_path)
    made.start()
    yield made
    made.kill()


def configured(arbiter: Running, node_id: int, **changes: object) -> MessagingConfig:
    config = config_of(node_id, 2)
    rules = replace(
        config.quorum.tie_breaker,
        address=f"{arbiter.host}:{PORT}",
        certificate=str(arbiter.folder / "clusters" / "c.pem"),
        **changes,  # type: ignore[arg-type]
    )
    return replace(config, quorum=replace(config.quorum, tie_breaker=rules))


class Node:
    """The node's side, with surroundings that the test sets."""

    def __init__(self, arbiter: Running, node_id: int) -> None:
        self.part = frozenset({1, 2})
        self.node_id = node_id
        self.evidence: list[tuple[int | None, frozenset[int]]] = []
        me = Member(node_id, f"n{node_id}", 1)
        self.edge = NetworkArbiter(configured(arbiter, node_id), me, self.surroundings)

    def surroundings(self, without: frozenset[int]) -> Surroundings:
        part = self.part - without | {self.node_id}
        return Surroundings(len(part) == 1, part=part, needs=len(part) == 1)

    def told(self, holds: bool, until_ms: int | None = None, members: frozenset[int] = frozenset()) -> None:
        assert holds
        self.evidence.append((until_ms, members))

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < until, f"not within {WAIT_S} s: {what}: {self.edge.status()}"
            await asyncio.sleep(0.01)


def test_of_two_nodes_that_lose_each_other_one_gets_the_vote_and_the_other_the_reason(arbiter: Running) -> None:
    async def run() -> None:
        first, second = Node(arbiter, 1), Node(arbiter, 2)
        try:
            for node in (first, second):
                await node.edge.settle(node.told)
                node.edge.start(node.told)
            for node in (second, first):  # what the one was given while the other settled has run out
                await node.until(lambda node=node: "not needed" in str(node.edge.status()["reason"]), "it is told")  # type: ignore[misc]
            await first.until(lambda: '"votes_given": []' in json.dumps(arbiter.status()), "nobody has the vote")
            for node in (first, second):
                node.evidence.clear()
                node.part = frozenset({node.node_id})
                node.edge.ask()
            await first.until(lambda: bool(first.edge.status()["holds"]), "the preferred node has the vote")
            assert first.evidence[0][1] == {1}
            await second.until(lambda: "n1" in str(second.edge.status()["reason"]), "the other is told who has it")
            assert not second.evidence
        finally:
            first.edge.close()
            second.edge.close()

    asyncio.run(run())


def test_a_killed_arbiter_remembers_who_has_the_vote(arbiter: Running) -> None:
    async def run() -> None:
        first, second = Node(arbiter, 1), Node(arbiter, 2)
        first.part = frozenset({1})
        try:
            first.edge.start(first.told)
            await first.until(lambda: bool(first.edge.status()["holds"]), "it is granted")
            arbiter.kill()
            arbiter.start()
            second.part = frozenset({2})
            second.edge.start(second.told)
            await second.until(lambda: "the vote is with" in str(second.edge.status()["reason"]), "it remembers")
            first.edge.close()
            await second.until(
                lambda: bool(second.edge.status()["holds"]), "it follows when the other is gone for good"
            )
        finally:
            first.edge.close()
            second.edge.close()

    asyncio.run(run())


@pytest.mark.parametrize("arbiter", ["old", "new"], indirect=True)
def test_a_node_that_leaves_waits_until_the_other_has_the_vote_also_when_the_arbiter_is_so_new_that_it_gives_none_yet(
    arbiter: Running,
) -> None:
    async def run() -> None:
        first, second = Node(arbiter, 1), Node(arbiter, 2)
        try:
            for node in (first, second):
                node.edge.start(node.told)
            for node in (first, second):
                await node.until(lambda node=node: "not needed" in str(node.edge.status()["reason"]), "it is told")  # type: ignore[misc]
            await first.edge.hand_over()
            given = arbiter.status()["c"]["votes_given"]  # type: ignore[index]
            assert [each["part"] for each in given] == [[2]]
            await second.until(lambda: bool(second.edge.status()["holds"]), "it hears of it")
        finally:
            first.edge.close()
            second.edge.close()

    asyncio.run(run())


# --- who may speak ------------------------------------------------------------------------------------------------------


def talk(arbiter: Running, certificate: Path, *messages: Message, raw: bytes = b"") -> list[Message]:
    """What comes back until the arbiter closes the connection, or a verdict."""
    heard: list[Message] = []
    with (
        socket.create_connection((arbiter.host, PORT), timeout=WAIT_S) as plain,
        client_context(str(certificate)).wrap_socket(plain) as stream,
    ):
        stream.sendall(b"".join(map(encode, messages)) + raw)
        decoder = Decoder()
        while data := stream.recv(65536):
            heard += decoder.feed(data)
            if any(isinstance(each, Verdict) for each in heard):
                break
    return heard


def hello(**changes: object) -> Hello:
    values: dict[str, object] = {
        "version": 1,
        "cluster": "c",
        "node_id": 1,
        "name": "n1",
        "incarnation": 5,
        "stale_ms": 700,
        "deadtime_ms": 1000,
        "prefer": Prefer.LOWEST,
        "votes": ((1, 1), (2, 1)),
    }
    return Hello(**values | changes)  # type: ignore[arg-type]


def test_a_certificate_speaks_for_its_own_cluster_only(arbiter: Running) -> None:
    other = certificates.add_cluster(arbiter.folder, "d")
    (refused,) = talk(arbiter, other, hello())
    assert refused == Refused("this certificate is for cluster d, not for c")
    (answer,) = talk(arbiter, other, hello(cluster="d"), Report(1, (1, 2), False, ()))
    assert isinstance(answer, Verdict)


def test_a_removed_cluster_and_a_stranger_are_refused(
    arbiter: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = arbiter.folder / "kept.pem"
    kept.write_bytes((arbiter.folder / "clusters" / "c.pem").read_bytes())
    assert main(["remove", "c", "--dir", str(arbiter.folder)]) == 0
    wait_for(lambda: "arbiter of 0 clusters" in (arbiter.folder / "log").read_text(), "it has read its clusters again")
    (refused,) = talk(arbiter, kept, hello())
    assert isinstance(refused, Refused) and "not valid any more" in refused.reason
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    certificates.make_authority(elsewhere)
    stranger = certificates.add_cluster(elsewhere, "c")
    with pytest.raises(ssl.SSLError):  # this arbiter is none that the stranger's authority has made
        talk(arbiter, stranger, hello())


def test_an_arbiter_is_not_believed_that_another_cluster_plays(arbiter: Running) -> None:
    """A cluster's certificate is good for a client only: it cannot be used to play the arbiter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arbiter.folder / "clusters" / "c.pem")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    playing = context.wrap_bio(incoming, outgoing, server_side=True)
    to_client, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(str(arbiter.folder / "clusters" / "c.pem")).wrap_bio(to_client, from_client)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        for _ in range(4):
            for side in (client, playing):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
            incoming.write(from_client.read())
            to_client.write(outgoing.read())


def test_nonsense_ends_the_connection_and_nothing_else(arbiter: Running) -> None:
    certificate = arbiter.folder / "clusters" / "c.pem"
    for raw in (b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"\0\0\0\x05[1,2]", encode(Verdict(1, 1, (1,), ""))):
        assert talk(arbiter, certificate, hello(), raw=raw) == []
    assert talk(arbiter, certificate, hello(), hello(node_id=2), Report(1, (1, 2), False, ())) == [], (
        "one node a connection"
    )
    for wrong in (hello(version=9), hello(node_id=3)):
        (refused,) = talk(arbiter, certificate, wrong)
        assert isinstance(refused, Refused)
    assert isinstance(talk(arbiter, certificate, hello(), Report(1, (1, 2), False, ()))[0], Verdict)
    talk(arbiter, certificate, hello(incarnation=9), Report(1, (1, 2), False, ()))


# --- small parts --------------------------------------------------------------------------------------------------------


def test_a_node_does_not_wait_for_an_arbiter_that_is_not_there(arbiter: Running) -> None:
    async def run() -> None:
        arbiter.kill()
        node = Node(arbiter, 1)
        node.edge._rules = replace(node.edge._rules, interval_ms=600_000)
        began = time.monotonic()
        try:
            await node.edge.settle(node.told)
            await node.edge.hand_over()
        finally:
            node.edge.close()
        assert time.monotonic() - began < WAIT_S
        assert not node.edge.status()["connected"]

    asyncio.run(run())


def test_messages_come_back_as_they_were_and_nothing_else_is_one() -> None:
    for message in (
        hello(),
        Report(3, (1, 2), True, (1, 2), True, 7),
        Verdict(3, 4, (1, 2), "why", (2,), True),
        Refused("no"),
    ):
        assert Decoder().feed(encode(message)) == [message]
    decoder = Decoder()
    found = [each for byte in encode(hello()) * 2 for each in decoder.feed(bytes([byte]))]
    assert found == [hello(), hello()]
    good = json.loads(encode(Report(3, (1, 2), True, ()))[4:])
    wrong: list[dict[str, object]] = [
        *({"part": value} for value in ([0], [256], "1", None, [1.0], [True])),
        *({"needs": value} for value in (1, None)),
        *({"sequence": value} for value in (-1, 1 << 63, "1")),
        {"kind": "rapport"},
        {"more": 1},
    ]
    for change in wrong:
        with pytest.raises(Malformed):
            decode(json.dumps(good | change).encode())


def test_records_survive_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.load() == {}
    record = Record(4, (Kept(4, (1, 2), 900),))
    records.save("web", record)
    records.save("b", Record(1))
    assert Records(tmp_path).load() == {"web": record, "b": Record(1)}
    (tmp_path / "b.json").write_text('{"cluster"')
    again = Records(tmp_path)
    assert again.load() == {"web": record}
    assert "b.json is damaged" in again.notes[0]


def test_the_command_says_what_to_do_and_refuses_what_would_lose_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--dir", str(tmp_path)]
    assert main(["add", "web", *folder]) == 1
    assert "vigil-arbiter init" in capsys.readouterr().err
    assert main(["list", *folder]) == 1
    assert main(["run", *folder]) == 78
    assert main(["init", *folder]) == 0
    assert main(["init", *folder]) == 1
    assert main(["add", "web", "--address", "10.0.0.9", *folder]) == 0
    said = capsys.readouterr().out
    assert 'address = "10.0.0.9"' in said and str(tmp_path / "clusters" / "web.pem") in said
    assert main(["add", "web", *folder]) == 1
    assert main(["add", "a/b", *folder]) == 1
    assert main(["list", *folder]) == 0
    assert capsys.readouterr().out.endswith("web\n")
    assert (tmp_path / "clusters" / "web.pem").stat().st_mode & 0o077 == 0
    assert main(["status", *folder]) == 1
    assert main(["remove", "other", *folder]) == 1


def test_a_file_that_is_none_of_the_arbiters_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        client_context(str(tmp_path / "absent.pem"))
    (tmp_path / "other.pem").write_text("hello\n")
    with pytest.raises(SetupError, match="is not a file that vigil-arbiter add made"):
        client_context(str(tmp_path / "other.pem"))


def test_it_ends_when_asked_and_shows_who_is_connected(arbiter: Running) -> None:
    talk(arbiter, arbiter.folder / "clusters" / "c.pem", hello(), Report(1, (1,), True, (1,)))
    assert "c" in arbiter.status()
    assert arbiter.process is not None
    os.kill(arbiter.process.pid, signal.SIGTERM)
    assert arbiter.process.wait(WAIT_S) == 0


def test_whatever_bytes_come_they_are_messages_or_malformed() -> None:
    rng = random.Random(7)
    frames = [encode(hello()), encode(Report(3, (1, 2), True, ())), encode(Verdict(3, 4, (1, 2), "why", (2,), True))]
    taken = refused = 0
    for _ in range(3000):
        data = bytearray(rng.choice(frames))
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            taken += len(Decoder().feed(bytes(data)))
        except Malformed:
            refused += 1
    assert taken and refused
    deep = b"[" * 10_000
    with pytest.raises(Malformed):
        Decoder().feed(len(deep).to_bytes(4, "big") + deep)
