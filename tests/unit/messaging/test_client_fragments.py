"""Large messages: taken apart and put together by the client, with one place and one fate each."""

from __future__ import annotations

import pytest

from messaging.client import FRAGMENT_BYTES, MAX_MESSAGE_BYTES, MessagingClient, _fragments, _Puzzle
from messaging.errors import Malformed
from messaging.types import Delivered, Direct, Member, MessagingEvent, Undelivered, View, ViewId

V = ViewId(3, 1)
MEMBERS = (Member(1, "n1", 10), Member(2, "n2", 20))


class Unconnected(MessagingClient):
    """The client's bookkeeping without a daemon: frames that it writes are dropped."""

    def __init__(self) -> None:
        from collections import deque

        self.node_id = 1
        self._last_token = 0
        self._on_the_way = deque()
        self._multicasts, self._directs = _Puzzle(), _Puzzle()
        self._place = 0
        self._view_id = V
        self._writer = self  # type: ignore[assignment]

    def write(self, data: bytes) -> None:
        pass

    def sees(self, *events: MessagingEvent) -> list[MessagingEvent]:
        return [whole for event in events if (whole := self._whole(event)) is not None]


def pieces(sender: int, payload: bytes, place: int, token: int = 1) -> list[Delivered]:
    return [
        Delivered(V, place + number, sender, fragment, token + number)
        for number, fragment in enumerate(_fragments(payload))
    ]


@pytest.mark.parametrize("size", [0, 1, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, 3 * FRAGMENT_BYTES, 1_000_000])
def test_a_message_of_any_size_comes_out_whole(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    (whole,) = Unconnected().sees(*pieces(2, payload, 1))
    assert isinstance(whole, Delivered)
    assert whole.payload == payload
    assert whole.sequence == 1


def test_messages_stand_where_their_last_fragments_do() -> None:
    large, small = pieces(1, bytes(3 * FRAGMENT_BYTES), 1), pieces(2, b"small", 9)
    order = [large[0], large[1], small[0], large[2]]
    seen = Unconnected().sees(*order)
    assert [(event.sender, event.sequence) for event in seen if isinstance(event, Delivered)] == [(2, 1), (1, 2)]


def test_a_message_that_is_cut_by_a_view_change_is_undelivered_once_and_its_pieces_are_forgotten() -> None:
    client = Unconnected()
    token = client.multicast(bytes(3 * FRAGMENT_BYTES))
    other = client.multicast(b"other")
    assert (token, other) == (3, 4)
    sent = pieces(1, bytes(3 * FRAGMENT_BYTES), 1)
    seen = client.sees(sent[0], Undelivered(2), Undelivered(3), Undelivered(4))
    assert seen == [Undelivered(3), Undelivered(4)]
    next_view = View(ViewId(4, 1), MEMBERS, frozenset({1, 2}), True, "", (), ())
    assert client.sees(next_view, *pieces(1, b"new", 1, token=9)) == [
        next_view,
        Delivered(V, 1, 1, b"new", 9),
    ]


def test_direct_fragments_of_a_lost_sender_do_not_mix_with_those_of_its_next_life() -> None:
    client = Unconnected()
    fragments = list(_fragments(bytes(2 * FRAGMENT_BYTES)))
    gone = View(ViewId(4, 1), MEMBERS[:1], frozenset({1}), True, "", (), MEMBERS[1:])
    assert client.sees(Direct(2, fragments[0]), gone, Direct(2, fragments[1])) == [gone]
    assert client.sees(*(Direct(2, fragment) for fragment in _fragments(b"whole"))) == [Direct(2, b"whole")]


def test_what_is_too_large_is_refused_and_what_has_no_head_is_nonsense() -> None:
    with pytest.raises(ValueError, match="at most"):
        Unconnected().multicast(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(Malformed):
        Unconnected().sees(Direct(2, b""))
