"""The asyncio client of the local API: many requests and subscriptions at once on one connection.

    async with await AsyncClient.connect(run_dir) as client:
        status = await client.call("status")
        async for event in client.subscribe("events"):
            ...

A reader task hands each answer to whoever waits for its id. When the connection ends, everything that waits gets an `ApiError`.
Events of a subscription queue without a limit here only as long as the server's own bound allows (`slow-client`): this
side always reads, so a consumer that cannot keep up must leave the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final

from crm.api import errors, wire
from crm.api.client import DEFAULT_TIMEOUT_S, socket_path
from crm.api.errors import ApiError

_CHUNK: Final = 256 * 1024
MAX_WAITING_EVENTS: Final = 10_000
"""Events that a consumer may leave unread in one subscription before the subscription fails with `slow-client`."""

_Frame = dict[str, Any]


class AsyncClient:
    """Made by `connect`. `timeout_s` (None: for ever) bounds each call, not subscriptions."""

    def __init__(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float | None
    ) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._reader = reader
        self._writer = writer
        self._last_id = 0
        self._waiting: dict[int, asyncio.Queue[_Frame | ApiError]] = {}
        self._ended: ApiError | None = None
        self._task = asyncio.create_task(self._read(), name=f"api client of {path}")

    @classmethod
    async def connect(cls, run_dir: str | None = None, *, timeout_s: float | None = DEFAULT_TIMEOUT_S) -> AsyncClient:
        path = socket_path(run_dir)
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError as error:
            raise ApiError(
                errors.UNAVAILABLE,
                f"no Vigil daemon answers on {path} ({error.strerror}): is vigild running on this node?",
            ) from None
        return cls(path, reader, writer, timeout_s)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(self, method: str, /, **params: Any) -> Any:
        """The result of one request. Parameters that are None are left out."""
        request, queue = await self._request(method, params)
        try:
            async with asyncio.timeout(self.timeout_s):
                while True:
                    frame = await _next(queue)
                    if "event" not in frame:
                        return frame.get("result")
        except TimeoutError:
            raise ApiError(errors.TIMEOUT, f"no answer to {method} from the daemon within {self.timeout_s} s") from None
        finally:
            self._waiting.pop(request, None)

    async def subscribe(self, method: str, /, **params: Any) -> AsyncIterator[Any]:
        """The events, until the daemon ends the subscription or the consumer leaves the loop (then it is cancelled)."""
        request, queue = await self._request(method, params)
        over = False
        try:
            while True:
                frame = await _next(queue)
                if "event" not in frame:
                    over = True
                    return
                yield frame["event"]
        except ApiError:
            over = True
            raise
        finally:
            self._waiting.pop(request, None)
            if not over and self._ended is None:
                with contextlib.suppress(OSError):
                    self._write("cancel", {"id": request})

    async def close(self) -> None:
        """Ends the connection; what still waits gets `unavailable`."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _write(self, method: str, params: dict[str, Any]) -> int:
        self._last_id += 1
        self._writer.write(wire.encode({"id": self._last_id, "method": method, "params": params}))
        return self._last_id

    async def _request(self, method: str, params: dict[str, Any]) -> tuple[int, asyncio.Queue[_Frame | ApiError]]:
        if self._ended is not None:
            raise self._ended
        request = self._write(method, {key: value for key, value in params.items() if value is not None})
        queue: asyncio.Queue[_Frame | ApiError] = asyncio.Queue()
        self._waiting[request] = queue
        # A connection that broke is reported by the reader task, which may still find the daemon's reason.
        with contextlib.suppress(OSError):
            await self._writer.drain()
        return request, queue

    async def _read(self) -> None:
        decoder = wire.Decoder(wire.MAX_ANSWER_BYTES)
        ended = ApiError(errors.UNAVAILABLE, f"the connection to {self.path} is closed")
        try:
            while data := await self._reader.read(_CHUNK):
                for frame in decoder.feed(data):
                    if frame.get("id") is None and "error" in frame:
                        ended = ApiError.from_json(frame["error"])
                    else:
                        self._dispatch(frame)
        except wire.WireError as error:
            ended = ApiError(errors.BAD_REQUEST, f"the daemon on {self.path} sent what is not an answer: {error}")
        except OSError as error:
            ended = ApiError(errors.UNAVAILABLE, f"the connection to {self.path} broke: {error}")
        finally:
            self._ended = ended
            for queue in self._waiting.values():
                queue.put_nowait(ended)

    def _dispatch(self, frame: _Frame) -> None:
        identity = frame.get("id")
        queue = self._waiting.get(identity) if isinstance(identity, int) else None
        if queue is None:
            return
        if queue.qsize() < MAX_WAITING_EVENTS:
            queue.put_nowait(frame)
        elif isinstance(identity, int):
            queue.put_nowait(
                ApiError(
                    errors.SLOW_CLIENT, f"more than {MAX_WAITING_EVENTS} events of a subscription were left unread"
                )
            )
            del self._waiting[identity]


async def _next(queue: asyncio.Queue[_Frame | ApiError]) -> _Frame:
    frame = await queue.get()
    if isinstance(frame, ApiError):
        raise frame
    if "error" in frame:
        raise ApiError.from_json(frame["error"])
    return frame
