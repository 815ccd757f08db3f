"""The metrics' HTTP server, over real sockets: what clients may do to it."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import Awaitable, Callable

import pytest

from crm.daemon import metrics
from crm.daemon.metrics import MAX_CONNECTIONS, Server

PAGE = "# HELP a b\n# TYPE a gauge\na 1\n"


async def page() -> str:
    return PAGE


def serving(course: Callable[[Server], Awaitable[None]], text: Callable[[], Awaitable[str]] = page) -> None:
    async def run() -> None:
        server = Server(text, "127.0.0.1", 0)
        await server.start()
        try:
            async with asyncio.timeout(60):
                await course(server)
        finally:
            await server.close()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


async def say(server: Server, request: bytes) -> bytes:
    """What comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_an_ordinary_client_gets_the_page() -> None:
    def fetch(port: int) -> tuple[str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            return answer.read().decode(), answer.headers["Content-Type"]

    async def course(server: Server) -> None:
        text, kind = await asyncio.to_thread(fetch, server.port)
        assert text == PAGE and kind == "text/plain; version=0.0.4; charset=utf-8"

    serving(course)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
    ],
)
def test_each_request_has_one_answer(request_: bytes, status: bytes) -> None:
    async def course(server: Server) -> None:
        answer = await say(server, request_)
        # To a client that goes on sending, the answer may be lost with the connection.
        assert answer.split(b" ")[1:2] == [status] or (status == b"431" and answer == b"")

    serving(course)


def test_who_asks_again_and_again_gets_the_same_page_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    async def count() -> str:
        nonlocal made
        made += 1
        return f"# page {made}\n"

    async def course(server: Server) -> None:
        monkeypatch.setattr(metrics, "HOLD_S", 60.0)
        answers = {await say(server, b"GET /metrics HTTP/1.1\r\n\r\n") for _ in range(20)}
        assert made == 1 and len(answers) == 1
        monkeypatch.setattr(metrics, "HOLD_S", 0.0)
        await say(server, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert made == 2

    serving(course, count)


def test_a_head_request_has_no_body() -> None:
    async def course(server: Server) -> None:
        answer = await say(server, b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n") and f"Content-Length: {len(PAGE)}".encode() in answer

    serving(course)


def test_clients_that_say_nothing_are_bounded_in_number_and_time_and_others_are_served_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "CLIENT_LIMIT_S", 0.6)

    async def course(server: Server) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CONNECTIONS + 5)]
        ends = [await reader.read() for reader, _ in silent if await _ended(reader)]
        assert len(ends) == MAX_CONNECTIONS + 5
        assert (await say(server, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith(PAGE.encode())
        for _, writer in silent:
            writer.close()

    serving(course)


async def _ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server has ended the connection (it does, after its limit)."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def test_a_client_that_does_not_take_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CLIENT_LIMIT_S", 0.6)

    async def large() -> str:
        return PAGE * 1_000_000

    async def course(server: Server) -> None:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect(("127.0.0.1", server.port))
            lazy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            await until(lambda: bool(server._clients))
            await until(lambda: not server._clients)

    serving(course, large)


def test_an_address_that_is_taken_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LISTEN_AGAIN_S", 0.05)

    async def course() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            server = Server(page, "127.0.0.1", other.getsockname()[1])
            await server.start()
        try:
            async with asyncio.timeout(60):
                await until(lambda: server._server is not None)
            assert (await say(server, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith(PAGE.encode())
        finally:
            await server.close()

    asyncio.run(course())
