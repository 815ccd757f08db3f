"""The format of the local API: frames of JSON.

Theory of operation. A frame is a length (4 bytes, big-endian) and that many bytes of UTF-8 JSON, always an object. A request is
`{"id", "method", "params"}`; each is answered by one frame with `result` or `error`, or, for a subscription, by any
number of frames with `event` and at last one with `result` or `error`. Answers carry the id of their request and may come in any order.

`Decoder` turns bytes as they arrive into objects and knows nothing of sockets. A length beyond the limit is refused before
a byte of the frame is kept. A `WireError` is final for its connection: there is no way to find the next frame.

On the path of the quick tools, like `crm.api.errors`: no heavy imports.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
"""Largest request a server takes: a whole CIB to replace."""
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
"""Largest answer a client takes: a whole CIB with status."""
SOCKET_NAME: Final = "crm.sock"

_LENGTH = struct.Struct(">I")
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class WireError(Exception):
    """The peer does not speak the protocol, or the frame is too large; the connection is to be closed."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame. ValueError or TypeError when `message` is not JSON (our own fault)."""
    body = _encoder.encode(message).encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in, objects out. `limit` is the largest body accepted, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._failed = False

    @property
    def pending(self) -> int:
        """Bytes of a frame that has begun but not ended; not 0 at the end of a connection means it was cut."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects completed by `data`. WireError as soon as something is wrong, and from then on."""
        if self._failed:
            raise WireError("the connection has already failed")
        self._buffer += data
        messages: list[dict[str, Any]] = []
        start = 0
        try:
            while len(self._buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if length > self._limit:
                    raise WireError(f"a frame of {length} bytes is larger than the limit of {self._limit}")
                end = start + _LENGTH.size + length
                if len(self._buffer) < end:
                    break
                messages.append(_object(bytes(self._buffer[start + _LENGTH.size : end])))
                start = end
        except WireError:
            self._failed = True
            raise
        if start:
            del self._buffer[:start]
        return messages


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise WireError("a frame is not UTF-8 text") from None
    except RecursionError:
        raise WireError("a frame is nested too deeply") from None
    except ValueError as error:
        raise WireError(f"a frame is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WireError("a frame is not a JSON object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
