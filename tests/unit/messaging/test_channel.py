"""A channel loses nothing and repeats nothing while streams break and come back."""

from __future__ import annotations

import random

import pytest

from messaging.channel import ACK_EVERY_MESSAGES, Channel
from messaging.errors import Malformed
from messaging.messages import ChannelAck, ChannelData, ChannelHello, decode


class Pair:
    """Two ends and a stream between them that may break with anything in flight."""

    def __init__(self) -> None:
        self.ends = (Channel(), Channel())
        self.flight: tuple[list[bytes], list[bytes]] = ([], [])  # towards end 0, towards end 1
        self.got: tuple[list[bytes], list[bytes]] = ([], [])

    def open(self) -> None:
        for number, end in enumerate(self.ends):
            self.flight[1 - number].extend(end.opened())

    def break_(self) -> None:
        for end in self.ends:
            end.closed()
        for flight in self.flight:
            flight.clear()

    def send(self, number: int, body: bytes) -> None:
        self.flight[1 - number].extend(self.ends[number].send(body))

    def step(self, number: int) -> None:
        """One payload arrives at an end."""
        if not self.flight[number]:
            return
        end, back = self.ends[number], self.flight[1 - number]
        match decode(self.flight[number].pop(0)):
            case ChannelHello() as hello:
                back.extend(end.hello(hello))
            case ChannelAck() as ack:
                end.acked(ack)
            case ChannelData() as data:
                body, replies = end.received(data)
                back.extend(replies)
                if body is not None:
                    self.got[number].append(body)

    def settle(self) -> None:
        while any(self.flight):
            self.step(0)
            self.step(1)


def test_everything_arrives_once_and_in_order_over_streams_that_break_at_any_moment() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        pair = Pair()
        pair.open()
        sent: tuple[list[bytes], list[bytes]] = ([], [])
        for number in range(400):
            sender = rng.randrange(2)
            body = b"%d" % number
            sent[sender].append(body)
            pair.send(sender, body)
            for _ in range(rng.randint(0, 3)):
                pair.step(rng.randrange(2))
            if rng.random() < 0.03:
                pair.break_()
                if rng.random() < 0.5:
                    pair.open()
                    pair.break_()
                pair.open()
        pair.settle()
        assert pair.got == (sent[1], sent[0])


def test_what_is_acknowledged_is_not_kept() -> None:
    pair = Pair()
    pair.open()
    pair.settle()
    for _ in range(10 * ACK_EVERY_MESSAGES):
        pair.send(0, bytes(100))
        pair.settle()
    assert pair.ends[0].unacked_bytes < 100 * ACK_EVERY_MESSAGES


def test_what_was_given_up_does_not_arrive_later() -> None:
    pair = Pair()
    pair.open()
    pair.settle()
    pair.send(0, b"before")
    pair.settle()
    pair.break_()
    pair.send(0, b"old")
    pair.ends[0].forget()
    pair.send(0, b"new")
    pair.open()
    pair.settle()
    assert pair.got[1] == [b"before", b"new"]


def test_a_gap_is_a_fault_of_the_peer() -> None:
    end = Channel()
    end.opened()
    with pytest.raises(Malformed, match="jumps"):
        end.received(ChannelData(2, b""))
