"""Frames of the local API: whatever comes in is an object, or a WireError, and nothing is kept beyond the limit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.api.errors import ApiError, ErrorItem
from crm.api.wire import Decoder, WireError, encode

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(), _JSON, max_size=4), max_size=5), st.integers(1, 7))
def test_objects_survive_any_fragmentation(messages: list[dict[str, object]], step: int) -> None:
    stream = b"".join(encode(message) for message in messages)
    decoder = Decoder(1 << 20)
    received = [m for i in range(0, len(stream), step) for m in decoder.feed(stream[i : i + step])]
    assert received == messages
    assert decoder.pending == 0


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error_or_incomplete_never_anything_else(data: bytes) -> None:
    try:
        for message in Decoder(1 << 10).feed(data):
            assert isinstance(message, dict)
    except WireError:
        pass


def test_a_frame_larger_than_the_limit_is_refused_by_its_length_alone() -> None:
    decoder = Decoder(100)
    with pytest.raises(WireError, match="101 bytes is larger than the limit of 100"):
        decoder.feed(struct.pack(">I", 101))
    with pytest.raises(WireError):
        decoder.feed(encode({}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[1]", "not a JSON object"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_not_an_object_says_so(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        Decoder(1 << 20).feed(struct.pack(">I", len(body)) + body)


def test_values_that_json_does_not_have_are_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": float("inf")})


def test_an_error_survives_the_wire_with_its_items() -> None:
    error = ApiError("invalid", "2 errors", [ErrorItem("error", "x", "primitive web", "expected a type", "type")])
    again = ApiError.from_json(error.to_json())
    assert (again.code, again.message, again.items) == (error.code, error.message, error.items)
    assert str(again) == "2 errors\n  error: primitive web: expected a type"
    assert ApiError.from_json("nonsense").code == "internal"
