"""Streams: both ends prove themselves, and no record is good in any other place."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messaging import keyring
from messaging.config import Encryption
from messaging.frame import Rejection
from messaging.stream import HANDSHAKE_BYTES, MAX_MESSAGE_BYTES, StreamCodec, StreamRejected

RING = keyring.parse("1 " + "ab" * 32, "keys")
LISTED = frozenset({1, 2, 3})
nonces = itertools.count(1)


def end(
    node_id: int,
    dial_to: int | None = None,
    *,
    ring: keyring.Keyring = RING,
    cluster: str = "web",
    incarnation: int = 10,
    encryption: Encryption | None = None,
) -> StreamCodec:
    nonce = next(nonces).to_bytes(16, "big")
    return StreamCodec(ring, cluster, node_id, incarnation, LISTED, nonce, dial_to, encryption or _chosen[0])


_chosen = [Encryption.NONE]


@pytest.fixture(autouse=True, params=[Encryption.NONE, Encryption.REQUIRED])
def chosen(request: pytest.FixtureRequest) -> Iterator[Encryption]:
    """Everything holds for streams that are only authenticated and for encrypted ones."""
    _chosen[0] = request.param
    yield request.param
    _chosen[0] = Encryption.NONE


def connect(dialer: StreamCodec, listener: StreamCodec) -> None:
    _, answer = listener.feed(dialer.start())
    _, confirm = dialer.feed(answer)
    assert dialer.open
    assert not listener.open, "the listener must see its own nonce first"
    listener.feed(confirm)
    assert listener.open


def pair() -> tuple[StreamCodec, StreamCodec]:
    dialer, listener = end(1, 2, incarnation=11), end(2, incarnation=22)
    connect(dialer, listener)
    return dialer, listener


def wire(codec: StreamCodec, message: bytes) -> bytes:
    return codec.encode(message)


def reason(codec: StreamCodec, data: bytes) -> Rejection:
    with pytest.raises(StreamRejected) as told:
        codec.feed(data)
    return told.value.reason


def test_both_ends_know_each_other_after_the_handshake() -> None:
    dialer, listener = pair()
    assert (dialer.peer, dialer.peer_incarnation) == (2, 22)
    assert (listener.peer, listener.peer_incarnation) == (1, 11)


@pytest.mark.parametrize("size", [0, 1, MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES])
def test_messages_of_any_size_arrive_whole_in_both_directions(size: int) -> None:
    dialer, listener = pair()
    message = random.Random(size).randbytes(size)
    assert listener.feed(wire(dialer, message) + wire(dialer, b"next"))[0] == [message, b"next"]
    assert dialer.feed(wire(listener, message))[0] == [message]


def test_messages_arrive_however_the_bytes_are_cut() -> None:
    rng = random.Random(3)
    dialer, listener = end(1, 2), end(2)
    to_listener, to_dialer = dialer.start(), b""
    received: list[bytes] = []
    sent = [rng.randbytes(rng.randint(0, 200)) for _ in range(20)]
    queued = False
    while len(received) < len(sent):
        take = rng.randint(1, 40)
        messages, reply = listener.feed(to_listener[:take])
        received += messages
        to_listener, to_dialer = to_listener[take:], to_dialer + reply
        take = rng.randint(1, 40)
        _, reply = dialer.feed(to_dialer[:take])
        to_dialer, to_listener = to_dialer[take:], to_listener + reply
        if dialer.open and not queued:
            queued = True
            to_listener += b"".join(wire(dialer, message) for message in sent)
    assert received == sent


def test_a_replayed_handshake_does_not_open_a_stream() -> None:
    dialer, listener = end(1, 2), end(2)
    hello = dialer.start()
    _, answer = listener.feed(hello)
    _, confirm = dialer.feed(answer)
    listener.feed(confirm)
    fresh = end(2)
    fresh.feed(hello)
    assert reason(fresh, confirm) is Rejection.REPLAY


def test_a_replayed_reordered_or_reflected_record_is_rejected() -> None:
    dialer, listener = pair()
    first, second = wire(dialer, b"first"), wire(dialer, b"second")
    assert reason(listener, second) is Rejection.BAD_MAC
    dialer, listener = pair()
    first = wire(dialer, b"first")
    listener.feed(first)
    assert reason(listener, first) is Rejection.BAD_MAC
    dialer, listener = pair()
    assert reason(dialer, wire(dialer, b"mine")) is Rejection.BAD_MAC


def test_a_record_of_another_session_is_rejected() -> None:
    one, _ = pair()
    _, other = pair()
    assert reason(other, wire(one, b"x")) is Rejection.BAD_MAC


def test_a_record_that_claims_to_be_too_long_is_rejected_before_it_is_awaited() -> None:
    _, listener = pair()
    assert reason(listener, (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")) is Rejection.OVERSIZED


@pytest.mark.parametrize(
    ("dialer", "expected"),
    [
        (end(1, 2, ring=keyring.parse("1 " + "ef" * 32, "keys")), Rejection.BAD_MAC),
        (end(1, 2, ring=keyring.parse("5 " + "ab" * 32, "keys")), Rejection.UNKNOWN_KEY),
        (end(1, 2, cluster="mail"), Rejection.WRONG_CLUSTER),
        (end(9, 2), Rejection.UNLISTED),
        (end(1, 3), Rejection.UNLISTED),
    ],
)
def test_a_dialer_that_does_not_belong_here_is_rejected(dialer: StreamCodec, expected: Rejection) -> None:
    assert reason(end(2), dialer.start()) is expected


def test_a_listener_other_than_the_one_dialed_is_rejected() -> None:
    dialer, wrong = end(1, 2), end(3)
    with pytest.raises(StreamRejected):
        wrong.feed(dialer.start())


def test_random_bytes_are_rejected() -> None:
    assert reason(end(2), random.Random(4).randbytes(HANDSHAKE_BYTES)) is Rejection.FOREIGN


@pytest.mark.parametrize("wants", [(True, True), (True, False), (False, True), (False, False)])
def test_a_stream_is_encrypted_when_either_end_wants_it(wants: tuple[bool, bool]) -> None:
    choice = {True: Encryption.REQUIRED, False: Encryption.NONE}
    dialer, listener = end(1, 2, encryption=choice[wants[0]]), end(2, encryption=choice[wants[1]])
    connect(dialer, listener)
    for sender, receiver in ((dialer, listener), (listener, dialer)):
        record = wire(sender, b"in the clear?")
        assert (b"in the clear?" in record) != any(wants)
        assert receiver.feed(record)[0] == [b"in the clear?"]


def test_nobody_on_the_way_can_talk_both_ends_out_of_encryption() -> None:
    dialer, listener = end(1, 2, encryption=Encryption.REQUIRED), end(2, encryption=Encryption.NONE)
    hello = bytearray(dialer.start())
    hello[4] = 0  # the flag
    assert reason(listener, bytes(hello)) is Rejection.BAD_MAC


def test_the_same_record_is_another_ciphertext_in_each_place_direction_and_session() -> None:
    sealed = set()
    for _ in range(2):
        dialer, listener = end(1, 2, encryption=Encryption.REQUIRED), end(2, encryption=Encryption.REQUIRED)
        connect(dialer, listener)
        for each in (dialer, dialer, listener, listener):
            sealed.add(wire(each, bytes(64)))
    assert len(sealed) == 8


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=400), st.integers(0, 500))
def test_a_stream_that_was_tampered_with_anywhere_gives_a_beginning_of_what_was_sent_or_is_refused(
    noise: bytes, at: int
) -> None:
    dialer, listener = pair()
    sent = [b"%d" % number * number for number in range(12)]
    data = bytearray(b"".join(wire(dialer, message) for message in sent))
    data[at : at + len(noise)] = noise
    received: list[bytes] = []
    try:
        for start in range(0, len(data), 37):
            received += listener.feed(bytes(data[start : start + 37]))[0]
    except StreamRejected:
        pass
    assert received == sent[: len(received)]


def test_what_waits_in_a_stream_is_never_more_than_one_record() -> None:
    _, listener = pair()
    listener.feed((MAX_MESSAGE_BYTES).to_bytes(4, "big"))
    with pytest.raises(StreamRejected):
        for _ in range(100):
            listener.feed(bytes(4096))
    assert len(listener._buffer) <= MAX_MESSAGE_BYTES + 4096 + 40
