"""Questions from one crm to another: what only the DC can answer or do, asked from any node.

Theory of operation. A question goes to one member of the view as a direct message and is answered by another; both are JSON with an id.
A question whose view ends is asked again of whoever is DC then, by the one who asked, until its own time is up. Handlers are
those of the local API, so a client may speak to any node.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from crm.api import errors
from crm.api.errors import ApiError

Handler = Callable[[dict[str, Any]], Awaitable[Any]]

_log = logging.getLogger("vigil.peers")


class Peers:
    """`send(node, payload)` puts a direct message on the wire."""

    def __init__(self, send: Callable[[int, bytes], None]) -> None:
        self._send = send
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._serving: set[asyncio.Task[None]] = set()

    def handler(self, name: str, handler: Handler) -> None:
        self._handlers[name] = handler

    async def call(self, node: int, name: str, params: dict[str, Any]) -> Any:
        """The answer of that node; ApiError as it gave it, or `unavailable` when the view ended first."""
        self._last += 1
        number = self._last
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send(node, json.dumps({"id": number, "method": name, "params": params}).encode())
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def on_view(self) -> None:
        """Messages to members that went are lost; whoever waits may ask anew."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ApiError(errors.UNAVAILABLE, "the view changed"))

    def on_message(self, sender: int, payload: bytes) -> None:
        try:
            message = json.loads(payload)
            number = int(message["id"])
        except (ValueError, KeyError, TypeError):
            _log.warning("node %d sent a message that is no question and no answer", sender)
            return
        if "method" in message:
            task = asyncio.create_task(self._serve(sender, number, message))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
            return
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(ApiError.from_json(message["error"]))
        else:
            future.set_result(message.get("result"))

    async def _serve(self, sender: int, number: int, message: dict[str, Any]) -> None:
        handler = self._handlers.get(str(message["method"]))
        answer: dict[str, Any] = {"id": number}
        try:
            if handler is None:
                raise ApiError(errors.UNKNOWN_METHOD, f"this node knows no {message['method']}")
            answer["result"] = await handler(message.get("params") or {})
        except ApiError as error:
            answer["error"] = error.to_json()
        self._send(sender, json.dumps(answer).encode())
