"""The synchronous client of the local API, for the command-line tools and the shell.

    with Client() as client:
        text = client.call("cib.query", scope="resources")["xml"]

Standard library only, and little of it: importing this module costs about 13 ms beyond the interpreter's own
start, because agents call such tools in every monitor. One connection, one request at a time; it is not for threads.

Which daemon: the socket `crm.sock` in the folder given, else in `VIGIL_RUN_DIR`, else in /run/vigil. Everything that can go
wrong is an `ApiError`: `unavailable` when no daemon answers, `timeout`, or what the daemon says.
"""

from __future__ import annotations

import _socket as socket  # the C module: its Python wrapper (enums, selectors) costs 8 ms and adds nothing that is used here
import os
import time

from crm.api import errors, wire
from crm.api.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Final

DEFAULT_RUN_DIR: Final = "/run/vigil"
DEFAULT_TIMEOUT_S: Final = 60.0
"""How long a call waits for its answer. Longer than a fencing action takes by default."""
_CHUNK = 256 * 1024


def socket_path(run_dir: str | None = None) -> str:
    """Where the daemon's socket is: in `run_dir`, else `VIGIL_RUN_DIR`, else /run/vigil."""
    return os.path.join(run_dir or os.environ.get("VIGIL_RUN_DIR") or DEFAULT_RUN_DIR, wire.SOCKET_NAME)  # noqa: PTH118 (pathlib costs 10 ms)


class Client:
    """A connection, made when it is first needed. `timeout_s` None means for ever."""

    def __init__(self, run_dir: str | None = None, *, timeout_s: float | None = DEFAULT_TIMEOUT_S) -> None:
        self.path = socket_path(run_dir)
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._decoder = wire.Decoder(wire.MAX_ANSWER_BYTES)
        self._received: list[dict[str, Any]] = []
        self._last_id = 0
        self._deadline: float | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, method: str, /, **params: Any) -> Any:
        """The result of one request. Parameters that are None are left out."""
        self._begin(self.timeout_s)
        request = self._send(method, params)
        while True:
            answer = self._answer(request)
            if "event" not in answer:
                return _result(answer)

    def subscribe(self, method: str, /, **params: Any) -> Iterator[Any]:
        """The events of a subscription, until the daemon ends it. The first is waited for without a limit of time.

        The connection belongs to the subscription from here on: `close()` ends it.
        """
        self._begin(self.timeout_s)
        request = self._send(method, params)
        self._begin(None)
        while True:
            answer = self._answer(request)
            if "event" not in answer:
                _result(answer)
                return
            yield answer["event"]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._decoder = wire.Decoder(wire.MAX_ANSWER_BYTES)
        self._received.clear()

    def _connect(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._limit(connection)
        try:
            connection.connect(self.path)
        except OSError as error:
            connection.close()
            raise ApiError(
                errors.UNAVAILABLE,
                f"no Vigil daemon answers on {self.path} ({os.strerror(error.errno) if error.errno else error}): "
                "is vigild running on this node?",
            ) from None
        self._socket = connection
        return connection

    def _send(self, method: str, params: dict[str, Any]) -> int:
        self._last_id += 1
        given = {key: value for key, value in params.items() if value is not None}
        frame = wire.encode({"id": self._last_id, "method": method, "params": given})
        connection = self._connect()
        self._limit(connection)
        try:
            connection.sendall(frame)
        except TimeoutError:
            self.close()
            raise self._late(method) from None
        except OSError:
            # The daemon may have refused us and closed: its reason is still there to be read.
            pass
        return self._last_id

    def _answer(self, request: int) -> dict[str, Any]:
        """The next frame for `request`; an error without an id concerns the connection as a whole."""
        while True:
            while self._received:
                answer = self._received.pop(0)
                identity = answer.get("id")
                if identity == request:
                    return answer
                if identity is None and "error" in answer:
                    self.close()
                    raise ApiError.from_json(answer["error"])
            self._receive()

    def _receive(self) -> None:
        connection = self._connect()
        self._limit(connection)
        try:
            data = connection.recv(_CHUNK)
        except TimeoutError:
            self.close()
            raise self._late("the request") from None
        except OSError as error:
            self.close()
            raise ApiError(errors.UNAVAILABLE, f"the connection to {self.path} broke: {error}") from None
        if not data:
            self.close()
            raise ApiError(errors.UNAVAILABLE, f"the daemon on {self.path} closed the connection without an answer")
        try:
            self._received.extend(self._decoder.feed(data))
        except wire.WireError as error:
            self.close()
            raise ApiError(
                errors.BAD_REQUEST, f"the daemon on {self.path} sent what is not an answer: {error}"
            ) from None

    def _begin(self, timeout_s: float | None) -> None:
        """The answer as a whole is due within `timeout_s`, however many pieces it comes in."""
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def _limit(self, connection: socket.socket) -> None:
        # Not 0: that would make the socket non-blocking.
        connection.settimeout(None if self._deadline is None else max(0.001, self._deadline - time.monotonic()))

    def _late(self, what: str) -> ApiError:
        return ApiError(errors.TIMEOUT, f"no answer to {what} from the daemon on {self.path} within {self.timeout_s} s")


def _result(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise ApiError.from_json(answer["error"])
    return answer.get("result")
