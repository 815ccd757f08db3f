"""What members say: bytes and values are each other's inverse, and nothing else decodes."""

from __future__ import annotations

import contextlib
import random

import pytest

from messaging.errors import Malformed
from messaging.messages import (
    Accept,
    ChannelAck,
    ChannelData,
    ChannelHello,
    DirectMessage,
    Flush,
    FlushData,
    Flushed,
    FlushRequest,
    Heartbeat,
    Install,
    Message,
    Ordered,
    Propose,
    Refuse,
    Row,
    Submit,
    Withdraw,
    decode,
    encode,
)
from messaging.quorum import Electorate, Roll, Wish
from messaging.types import Member, ViewId

V, W = ViewId(7, 1), ViewId(1 << 40, 255)
MEMBERS = (Member(1, "n1", 1 << 41), Member(2, "zwölf", 5))
ROW = Row(1, 1 << 41, 9, 0x7F, V, {1: 1 << 41, 2: 5})
EXAMPLES: list[Message] = [
    Heartbeat(ROW, 12),
    Heartbeat(ROW, 12, ((Row(3, 1, 1, 0, ViewId(0, 0), {3: 1}), 450), (ROW, 0)), (4, 5), (6,)),
    Propose(V, MEMBERS),
    Accept(V, W, 3, 5),
    Accept(V, W, 3, 5, Roll(W, Electorate((1, 2, 255), 510)), Wish(Electorate((1, 2), 2))),
    Accept(V, W, 3, 5, Roll(W, Electorate((1, 2), 2), Electorate((1,), 1, (2,))), Wish(Electorate((1,), 1), True)),
    Refuse(V, W),
    Withdraw(V),
    FlushRequest(V, W, 3, 10, 20),
    Flushed(V),
    Install(V, MEMBERS, (1, 2), (3,), True, False, "2 of 2 votes; majority", (Flush(W, 9, (1, 2)), Flush(V, 0, ()))),
    Install(
        V, MEMBERS, (), (), False, True, "", (Flush(W, 9, (1, 2)),), Roll(V, Electorate((1,), 1), Electorate((1, 2), 2))
    ),
    Submit(V, 5, b"payload"),
    Ordered(V, 8, 2, 5, b""),
    FlushData(V, 20, Ordered(W, 8, 2, 5, b"payload")),
    DirectMessage(V, b"direct"),
    ChannelHello(4, 5),
    ChannelAck(1 << 50),
    ChannelData(3, b"body"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_what_is_encoded_decodes_to_the_same(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_cut_anywhere_is_malformed_or_shorter(message: Message) -> None:
    data = encode(message)
    for keep in range(len(data)):
        with contextlib.suppress(Malformed):
            assert decode(data[:keep]) != message


def test_bytes_that_are_left_over_are_malformed() -> None:
    with pytest.raises(Malformed, match="too many"):
        decode(encode(Flushed(V)) + b"x")


def test_no_bytes_raise_anything_but_malformed() -> None:
    rng = random.Random(5)
    pool = [encode(message) for message in EXAMPLES]
    for _ in range(5000):
        data = bytearray(rng.choice(pool))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(Malformed):
            decode(bytes(data))
    for payload in (b"", b"\x00", b"\xff" * 100):
        with pytest.raises(Malformed):
            decode(payload)


def test_a_long_reason_is_cut_between_characters() -> None:
    install = Install(V, MEMBERS, (), (), True, True, "ü" * 2000, ())
    back = decode(encode(install))
    assert isinstance(back, Install)
    assert set(back.reason) == {"ü"}
