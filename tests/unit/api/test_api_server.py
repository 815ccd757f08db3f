"""Server and both clients over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crm.api import server as server_module
from crm.api.aio import AsyncClient
from crm.api.client import Client
from crm.api.errors import ApiError, ErrorItem
from crm.api.server import ApiServer, Call, Feed, Hub, Peer
from crm.api.wire import Decoder, encode


async def _echo(call: Call) -> Any:
    return {"params": dict(call.params), "uid": call.peer.uid, "pid": call.peer.pid}


async def _refuse(call: Call) -> Any:
    raise ApiError("invalid", "no", [ErrorItem("error", "e", "node n1", "expected better")])


async def _crash(call: Call) -> Any:
    raise RuntimeError("a bug")


async def _typed(call: Call) -> Any:
    call.only("name", "count", "flag")
    return [call.need_text("name", choices=("a", "b")), call.integer("count", 3), call.boolean("flag")]


async def _for_ever(call: Call) -> Any:
    await asyncio.Event().wait()


async def _count(call: Call, feed: Feed) -> Any:
    for number in range(call.integer("to") or 0):
        feed.push({"n": number})
    return "done"


def _server(path: Path, hub: Hub) -> ApiServer:
    server = ApiServer(path / "crm.sock")
    for name, handler in {
        "echo": _echo,
        "refuse": _refuse,
        "crash": _crash,
        "typed": _typed,
        "for-ever": _for_ever,
    }.items():
        server.method(name, handler)
    server.subscription("count", _count)
    server.subscription("events", hub.serve)
    return server


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A server in a thread of its own; gives its run folder."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = _server(tmp_path, Hub())
        await server.start()
        ready.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield tmp_path
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    assert not thread.is_alive()
    loop.close()


def _run(path: Path, body: Callable[[ApiServer, Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub()
        server = _server(path, hub)
        await server.start()
        try:
            async with asyncio.timeout(60):
                await body(server, hub)
        finally:
            await server.close()

    asyncio.run(main())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (the condition belongs to others)
            await asyncio.sleep(0.005)


def test_a_call_gets_its_result_and_the_server_knows_who_called(running: Path) -> None:
    with Client(str(running)) as client:
        answer = client.call("echo", text="ä\n", number=3, absent=None)
    assert answer == {"params": {"text": "ä\n", "number": 3}, "uid": os.getuid(), "pid": os.getpid()}


def test_a_refusal_arrives_with_code_message_and_items_and_the_connection_stays(running: Path) -> None:
    with Client(str(running)) as client:
        with pytest.raises(ApiError) as refused:
            client.call("refuse")
        assert refused.value.code == "invalid"
        assert refused.value.items == (ErrorItem("error", "e", "node n1", "expected better"),)
        assert client.call("echo")["params"] == {}


def test_an_unknown_method_is_refused_with_the_known_ones(running: Path) -> None:
    with Client(str(running)) as client, pytest.raises(ApiError, match="known are count, crash, echo") as refused:
        client.call("no.such")
    assert refused.value.code == "unknown-method"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "name: expected one of a, b, it is missing"),
        ({"name": "c"}, "name: expected one of a, b, got 'c'"),
        ({"name": 1}, "name: expected a string, got 1"),
        ({"name": "a", "count": True}, "count: expected an integer, got True"),
        ({"name": "a", "flag": "yes"}, "flag: expected true or false, got 'yes'"),
        ({"name": "a", "extra": 1, "more": 2}, "no parameter extra, more; expected name, count, flag"),
    ],
)
def test_a_wrong_parameter_is_named(running: Path, params: dict[str, Any], message: str) -> None:
    with Client(str(running)) as client:
        with pytest.raises(ApiError, match=message) as refused:
            client.call("typed", **params)
        assert refused.value.code == "bad-request"
        assert client.call("typed", name="a") == ["a", 3, False]


@pytest.mark.parametrize("params", [{"name": "a\x01"}, {"steps": [{"xpath": "//a[\x00]"}]}, {"x\x02": 1}])
def test_what_no_document_can_hold_reaches_no_method(running: Path, params: dict[str, Any]) -> None:
    with Client(str(running)) as client:
        with pytest.raises(ApiError, match="expected text that XML can hold") as refused:
            client.call("echo", **params)
        assert refused.value.code == "bad-request"
        assert client.call("echo", name="tab\tline\nÄ漢😀")["params"] == {"name": "tab\tline\nÄ漢😀"}


def test_a_fault_of_ours_is_logged_with_its_traceback_and_told_without(
    running: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(str(running)) as client:
        with pytest.raises(ApiError) as refused:
            client.call("crash")
        assert refused.value.code == "internal"
        assert "a bug" not in refused.value.message
        assert client.call("echo")["params"] == {}
    assert "RuntimeError: a bug" in caplog.text


def test_a_call_that_is_not_answered_ends_after_the_timeout(running: Path) -> None:
    with Client(str(running), timeout_s=0.1) as client:
        with pytest.raises(ApiError, match=r"within 0\.1 s") as late:
            client.call("for-ever")
        assert late.value.code == "timeout"
        client.timeout_s = 60.0
        assert client.call("echo")["params"] == {}


def test_without_a_daemon_the_error_names_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_RUN_DIR", str(tmp_path))
    with Client() as client, pytest.raises(ApiError, match=f"{tmp_path}/crm.sock .No such file") as unavailable:
        client.call("echo")
    assert unavailable.value.code == "unavailable"


def test_a_subscription_gives_its_events_in_order_and_ends(running: Path) -> None:
    with Client(str(running)) as client:
        assert [event["n"] for event in client.subscribe("count", to=500)] == list(range(500))
        assert client.call("echo")["params"] == {}


def test_large_answers_arrive_whole(running: Path) -> None:
    text = "x" * 5_000_000
    with Client(str(running)) as client:
        assert client.call("echo", text=text)["params"]["text"] == text


def test_many_calls_and_subscriptions_share_one_connection(tmp_path: Path) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        async with await AsyncClient.connect(str(tmp_path)) as client:
            hanging = asyncio.create_task(client.call("for-ever"))
            answers = await asyncio.gather(*(client.call("echo", n=n) for n in range(200)))
            assert [answer["params"]["n"] for answer in answers] == list(range(200))
            assert [event["n"] async for event in client.subscribe("count", to=10)] == list(range(10))
            hanging.cancel()
        assert server.counters.requests >= 202

    _run(tmp_path, body)


def test_published_events_reach_every_subscriber_until_it_leaves(tmp_path: Path) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        async with await AsyncClient.connect(str(tmp_path)) as one, await AsyncClient.connect(str(tmp_path)) as two:
            first, second = one.subscribe("events"), two.subscribe("events")
            waiting = [asyncio.ensure_future(anext(first)), asyncio.ensure_future(anext(second))]
            await _until(lambda: hub.subscribers == 2)
            hub.publish({"what": "view"})
            assert [await waiter for waiter in waiting] == [{"what": "view"}] * 2
            await first.aclose()  # type: ignore[attr-defined]
            await _until(lambda: hub.subscribers == 1)
            assert (await one.call("echo"))["params"] == {}
        await _until(lambda: hub.subscribers == 0)

    _run(tmp_path, body)


def test_a_subscriber_that_does_not_read_is_dropped_with_the_reason(tmp_path: Path) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "crm.sock"), limit=1024)
        writer.write(encode({"id": 1, "method": "events"}))
        await _until(lambda: hub.subscribers == 1)
        padding = "x" * 10_000
        while hub.subscribers:
            hub.publish({"padding": padding})
            await asyncio.sleep(0)
        assert server.counters.slow_clients == 1
        decoder = Decoder(1 << 20)
        frames: list[dict[str, Any]] = []
        while data := await reader.read(65536):
            frames.extend(decoder.feed(data))
        assert frames[-1]["id"] == 1
        assert frames[-1]["error"]["code"] == "slow-client"
        assert len(frames) < server_module.MAX_QUEUED_EVENTS
        writer.close()
        await _until(lambda: server.counters.clients == 0)

    _run(tmp_path, body)


def test_a_slow_subscriber_that_never_reads_again_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SLOW_GRACE_S", 0.05)

    async def body(server: ApiServer, hub: Hub) -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(tmp_path / "crm.sock"))
            silent.sendall(encode({"id": 1, "method": "events"}))
            await _until(lambda: hub.subscribers == 1)
            while hub.subscribers:
                hub.publish({"padding": "x" * 10_000})
                await asyncio.sleep(0)
            await _until(lambda: server.counters.clients == 0)

    _run(tmp_path, body)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack(">I", 0xFFFFFFFF), "larger than the limit"),
        (struct.pack(">I", 2) + b"[]", "not a JSON object"),
        (b"GET / HTTP/1.1\r\n\r\n", "larger than the limit"),
    ],
)
def test_a_peer_that_does_not_speak_the_protocol_is_told_and_closed(tmp_path: Path, data: bytes, message: str) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "crm.sock"))
        writer.write(data)
        (frame,) = Decoder(1 << 20).feed(await reader.read())
        assert frame["id"] is None
        assert message in frame["error"]["message"]
        assert server.counters.wire_errors == 1
        writer.close()

    _run(tmp_path, body)


@pytest.mark.parametrize(
    "request_",
    [{"method": "echo"}, {"id": "1", "method": "echo"}, {"id": 1}, {"id": 1, "method": "echo", "params": []}],
)
def test_a_malformed_request_is_refused_and_the_next_one_served(tmp_path: Path, request_: dict[str, Any]) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "crm.sock"))
        writer.write(encode(request_) + encode({"id": 2, "method": "echo"}))
        decoder, frames = Decoder(1 << 20), []
        while len(frames) < 2:
            frames += decoder.feed(await reader.read(65536))
        assert frames[0]["error"]["code"] == "bad-request"
        assert frames[1]["result"]["params"] == {}
        writer.close()

    _run(tmp_path, body)


def test_a_server_that_ends_tells_its_clients(tmp_path: Path) -> None:
    async def main() -> None:
        server = _server(tmp_path, Hub())
        await server.start()
        async with await AsyncClient.connect(str(tmp_path)) as client:
            waiting = asyncio.create_task(client.call("for-ever"))
            await _until(lambda: server.counters.requests == 1)
            await server.close()
            with pytest.raises(ApiError) as ended:
                await waiting
            assert ended.value.code == "shutting-down"
            with pytest.raises(ApiError):
                await client.call("echo")
        assert not (tmp_path / "crm.sock").exists()

    asyncio.run(main())


def test_the_handler_of_a_client_that_goes_away_is_cancelled(tmp_path: Path) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        cancelled = asyncio.Event()

        async def handler(call: Call) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        server.method("late", handler)
        client = await AsyncClient.connect(str(tmp_path))
        task = asyncio.create_task(client.call("late"))
        await _until(lambda: server.counters.requests == 1)
        await client.close()
        await cancelled.wait()
        with contextlib.suppress(ApiError):
            await task

    _run(tmp_path, body)


def test_the_socket_is_for_its_owner_only_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "crm.sock").write_text("left over")

    async def body(server: ApiServer, hub: Hub) -> None:
        assert (tmp_path / "crm.sock").stat().st_mode & 0o777 == 0o600

    _run(tmp_path, body)


def test_a_user_who_is_not_allowed_is_refused_by_his_credentials(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        # Only root can become another user; the check itself is the same set membership.
        assert os.geteuid() in ApiServer(tmp_path / "crm.sock").allowed_uids
        return
    _let_others_in(tmp_path)

    async def body(server: ApiServer, hub: Hub) -> None:
        server.path.chmod(0o666)
        program = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
            "s.connect(sys.argv[1]); sys.stdout.buffer.write(s.makefile('rb').read())"
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(server.path), stdout=subprocess.PIPE
        )
        output, _ = await child.communicate()
        (frame,) = Decoder(1 << 20).feed(output)
        assert frame["error"]["code"] == "permission-denied"
        assert server.counters.refused == 1

    _run(tmp_path, body)


def test_a_member_of_the_group_is_let_in_and_the_guard_sees_who_it_is(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        # Only root can become a member of another group; the kernel's word for our own groups is what it is then.
        assert ApiServer(tmp_path / "crm.sock", allowed_gid=65533).allowed_gid == 65533
        return
    _let_others_in(tmp_path)
    seen: list[Peer] = []

    async def body() -> None:
        server = ApiServer(tmp_path / "crm.sock", allowed_gid=65533)
        server.method("echo", _echo)
        server.guard(lambda call: seen.append(call.peer))
        await server.start()
        program = (
            "import os, sys; from crm.api.client import Client; os.setgroups([]); os.setgid(65533); os.setuid(65534);"
            "print(Client(sys.argv[1]).call('echo')['uid'])"
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await child.communicate()
        await server.close()
        assert output == b"65534\n", errors.decode()

    asyncio.run(body())
    assert [(peer.uid, peer.gid) for peer in seen] == [(65534, 65533)]


def test_the_guard_refuses_before_any_handler_runs(tmp_path: Path) -> None:
    async def body(server: ApiServer, hub: Hub) -> None:
        def guard(call: Call) -> None:
            raise ApiError("permission-denied", f"not {call.method}")

        server.guard(guard)
        async with await AsyncClient.connect(str(tmp_path)) as client:
            for method in ("echo", "events"):
                with pytest.raises(ApiError, match=f"not {method}"):
                    await client.call(method)
            with pytest.raises(ApiError, match="there is no method"):
                await client.call("nothing")

    _run(tmp_path, body)


def _let_others_in(folder: Path) -> None:
    folder.chmod(0o755)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/") and "pytest" in str(parent):
            parent.chmod(0o755)


def test_importing_the_client_stays_cheap() -> None:
    """The tools that agents call pay for each module; these are the expensive ones."""
    program = "import sys, crm.api.client; print(*sorted(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    base = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sorted(sys.modules))"], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"asyncio", "dataclasses", "inspect", "lxml", "pydantic", "pathlib", "subprocess", "logging"}
    assert not (set(listed) - set(base)) & heavy
