"""Packets: each is accepted once and unchanged, everything else is counted and has no effect."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import keyring
from messaging.config import Encryption
from messaging.frame import HEADER, MAX_DATAGRAM_BYTES, OVERHEAD, WINDOW, FrameCodec, Packet, Rejection

RING = keyring.parse("1 " + "ab" * 32 + "\n2 " + "cd" * 32, "keys")


def codec(
    node_id: int,
    *,
    ring: keyring.Keyring = RING,
    cluster: str = "web",
    incarnation: int = 100,
    listed: tuple[int, ...] = (1, 2, 3),
    encryption: Encryption | None = None,
) -> FrameCodec:
    return FrameCodec(ring, cluster, node_id, incarnation, listed, encryption or _chosen[0])


_chosen = [Encryption.NONE]


@pytest.fixture(autouse=True, params=[Encryption.NONE, Encryption.REQUIRED])
def chosen(request: pytest.FixtureRequest) -> Iterator[Encryption]:
    """Everything holds for frames that are only authenticated and for encrypted ones."""
    _chosen[0] = request.param
    yield request.param
    _chosen[0] = Encryption.NONE


def rejected(receiver: FrameCodec, data: bytes, link: int = 0) -> Rejection:
    before = receiver.rejected.copy()
    assert receiver.unpack(link, data) is None
    (reason,) = (receiver.rejected - before).elements()
    return reason


def test_a_packet_arrives_as_it_was_sent() -> None:
    packet = codec(2).unpack(0, codec(1).pack(0, b"hello"))
    assert packet == Packet(sender=1, incarnation=100, sequence=1, payload=b"hello")


def test_a_packet_signed_with_an_older_key_of_the_ring_is_accepted() -> None:
    old = keyring.parse("2 " + "cd" * 32, "keys")
    assert codec(2).unpack(0, codec(1, ring=old).pack(0, b"x")) is not None


def test_a_wrong_key_with_a_known_id_is_rejected() -> None:
    other = keyring.parse("1 " + "ef" * 32, "keys")
    assert rejected(codec(2), codec(1, ring=other).pack(0, b"x")) is Rejection.BAD_MAC


def test_an_unknown_key_id_is_rejected() -> None:
    other = keyring.parse("9 " + "ab" * 32, "keys")
    assert rejected(codec(2), codec(1, ring=other).pack(0, b"x")) is Rejection.UNKNOWN_KEY


def test_another_clusters_packet_is_rejected() -> None:
    assert rejected(codec(2), codec(1, cluster="mail").pack(0, b"x")) is Rejection.WRONG_CLUSTER


def test_an_unlisted_node_is_rejected_although_it_has_the_key() -> None:
    assert rejected(codec(2), codec(9, listed=(9,)).pack(0, b"x")) is Rejection.UNLISTED


def test_a_packet_of_another_link_is_rejected() -> None:
    assert rejected(codec(2), codec(1).pack(1, b"x"), link=0) is Rejection.WRONG_LINK


def test_ones_own_packet_that_loops_back_is_dropped() -> None:
    assert rejected(codec(1), codec(1).pack(0, b"x")) is Rejection.OWN


def test_a_packet_cut_anywhere_is_rejected() -> None:
    data = codec(1).pack(0, b"hello")
    assert len(data) <= OVERHEAD + 5
    for keep in range(len(data)):
        assert rejected(codec(2), data[:keep]) is Rejection.TRUNCATED


def test_a_packet_with_something_appended_or_beyond_the_limit_is_rejected() -> None:
    data = codec(1).pack(0, b"hello")
    assert rejected(codec(2), data + b"!") is Rejection.OVERSIZED
    assert rejected(codec(2), data + bytes(MAX_DATAGRAM_BYTES)) is Rejection.OVERSIZED


def test_no_flipped_bit_gets_through() -> None:
    data = codec(1).pack(0, b"hello")
    receiver = codec(2, encryption=Encryption.OPTIONAL)
    for bit in range(8 * len(data)):
        forged = bytearray(data)
        forged[bit // 8] ^= 1 << bit % 8
        assert receiver.unpack(0, bytes(forged)) is None
    assert receiver.unpack(0, data) is not None, "and rejecting them has had no effect"


def test_random_bytes_never_get_through_or_raise() -> None:
    rng = random.Random(1)
    receiver = codec(2)
    for _ in range(2000):
        size = rng.choice([0, 1, HEADER.size, OVERHEAD, OVERHEAD + 10, 1500])
        assert receiver.unpack(0, rng.randbytes(size)) is None
    assert sum(receiver.rejected.values()) == 2000


def test_a_replayed_packet_is_rejected() -> None:
    sender, receiver = codec(1), codec(2)
    data = sender.pack(0, b"x")
    assert receiver.unpack(0, data) is not None
    assert rejected(receiver, data) is Rejection.REPLAY


def test_packets_that_overtake_one_another_are_all_accepted_once() -> None:
    sender, receiver = codec(1), codec(2)
    first = sender.pack(0, b"first")
    assert receiver.unpack(0, first) is not None
    packets = [sender.pack(0, b"%d" % number) for number in range(WINDOW)]
    random.Random(2).shuffle(packets)
    assert all(receiver.unpack(0, packet) is not None for packet in packets)
    assert all(rejected(receiver, packet) is Rejection.REPLAY for packet in packets)


def test_a_packet_older_than_the_window_is_rejected() -> None:
    sender, receiver = codec(1), codec(2)
    assert receiver.unpack(0, sender.pack(0, b"")) is not None
    late = sender.pack(0, b"late")
    for _ in range(WINDOW + 1):
        receiver.unpack(0, sender.pack(0, b""))
    assert rejected(receiver, late) is Rejection.REPLAY


def test_a_receiver_that_has_just_started_rejects_recordings_older_than_the_first_packet_it_saw() -> None:
    sender = codec(1)
    recorded = sender.pack(0, b"recorded")
    fresh = sender.pack(0, b"fresh")
    receiver = codec(2)
    assert receiver.unpack(0, fresh) is not None
    assert rejected(receiver, recorded) is Rejection.REPLAY


def test_an_earlier_incarnation_is_rejected_once_a_later_one_is_known() -> None:
    receiver = codec(2)
    old = codec(1, incarnation=100)
    assert receiver.unpack(0, old.pack(0, b"old")) is not None
    assert receiver.unpack(0, codec(1, incarnation=101).pack(0, b"new")) is not None
    assert rejected(receiver, old.pack(0, b"old")) is Rejection.OLD_INCARNATION
    assert rejected(receiver, old.pack(1, b"old"), link=1) is Rejection.OLD_INCARNATION


def test_links_have_windows_of_their_own() -> None:
    sender, receiver = codec(1), codec(2)
    assert receiver.unpack(0, sender.pack(0, b"x")) is not None
    assert receiver.unpack(1, sender.pack(1, b"x")) is not None


@pytest.mark.parametrize(
    ("sends", "takes", "passes"),
    [
        (Encryption.NONE, Encryption.NONE, True),
        (Encryption.NONE, Encryption.OPTIONAL, True),
        (Encryption.NONE, Encryption.REQUIRED, False),
        (Encryption.OPTIONAL, Encryption.NONE, True),
        (Encryption.OPTIONAL, Encryption.REQUIRED, True),
        (Encryption.REQUIRED, Encryption.NONE, True),
    ],
)
def test_encryption_is_switched_on_node_by_node_and_then_demanded(
    sends: Encryption, takes: Encryption, passes: bool
) -> None:
    data = codec(1, encryption=sends).pack(0, b"the payload")
    assert (b"the payload" in data) == (sends is Encryption.NONE)
    receiver = codec(2, encryption=takes)
    if passes:
        assert receiver.unpack(0, data) == Packet(1, 100, 1, b"the payload")
    else:
        assert rejected(receiver, data) is Rejection.PLAINTEXT


def test_no_two_frames_are_encrypted_with_the_same_key_and_nonce() -> None:
    # The same payload under the same key and nonce would be the same ciphertext.
    sealed = set()
    for life, sender, link in itertools.product((100, 101), (1, 2), (0, 1)):
        codec_ = codec(sender, incarnation=life, encryption=Encryption.REQUIRED)
        for turn in range(3):
            sealed.add(codec_.pack(link, bytes(64))[HEADER.size :])
            if turn == 1:  # the key file was read again
                codec_.keyring = keyring.parse("1 " + "ab" * 32 + "\n2 " + "cd" * 32, "keys")
    assert len(sealed) == 2 * 2 * 2 * 3


def test_loss_is_what_is_missing_behind_the_newest() -> None:
    sender, receiver = codec(1), codec(2)
    assert receiver.seen(1, 0) == (0, 0)
    for number in range(300):
        data = sender.pack(0, b"")
        if number == 0 or number % 4:
            receiver.unpack(0, data)
    assert receiver.seen(1, 0) == (300, 32)


def test_forged_senders_incarnations_and_links_fill_nothing() -> None:
    receiver = codec(2)
    rng = random.Random(5)
    for number in range(3000):
        data = bytearray(codec(1, incarnation=rng.getrandbits(60)).pack(rng.randrange(256), b"x"))
        data[-1] ^= 1
        receiver.unpack(number % 8, bytes(data))
    kept = [getattr(receiver, name) for name in ("_windows", "_incarnations", "_sealers")]
    assert [len(each) for each in kept] == [0, 0, 0]


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 255))
def test_whatever_is_changed_anywhere_nothing_raises(noise: bytes, at: int, flags: int) -> None:
    data = bytearray(codec(1).pack(0, b"some payload"))
    data[at : at + len(noise)] = noise
    if len(data) > 34:
        data[34] = flags
    receiver = codec(2, encryption=Encryption.OPTIONAL)
    taken = receiver.unpack(0, bytes(data))
    assert taken is None or taken.payload == b"some payload"
