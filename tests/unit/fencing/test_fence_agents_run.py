"""Fence agents as real processes: the laboratory's plugin against a real power switch, and an agent in the common style."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from lxml import etree

from agents.paths import SHIPPED_FENCE, AgentPaths
from agents.runner import Runner
from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult

PLUGIN = SHIPPED_FENCE / "fence_vigil_lab"
LAB = AgentId.parse("stonith:fence_vigil_lab")

Answerer = Callable[[dict[str, str]], dict[str, object]]


class Switch:
    """A power switch that speaks the plugin's protocol."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.states = {"n1": "on", "n2": "on"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        self.requests.append(request)
        writer.write(json.dumps(self.answer(request)).encode() + b"\n")
        await writer.drain()
        writer.close()

    def answer(self, request: dict[str, str]) -> dict[str, object]:
        action, plug = request["action"], request.get("plug", "")
        if action in ("list", "monitor"):
            return {"ok": True, "plugs": list(self.states)}
        if plug not in self.states:
            return {"ok": False, "error": f"no plug {plug}"}
        if action != "status":
            self.states[plug] = "off" if action == "off" else "on"
        return {"ok": True, "state": self.states[plug]}


def with_switch(path: Path, work: Callable[[Switch, Runner], Awaitable[None]]) -> None:
    async def scene() -> None:
        switch = Switch()
        server = await asyncio.start_unix_server(switch.serve, path)
        async with server:
            await work(switch, Runner(AgentPaths(rsctmp=path.parent)))

    asyncio.run(scene())


async def fence(runner: Runner, path: Path, action: str, **params: str) -> OperationResult:
    return await runner.run(Operation(LAB, action, "power", {"socket": str(path), **params}, timeout_ms=10_000))


def test_the_plugin_switches_a_node_off_and_tells_its_state(tmp_path: Path) -> None:
    path = tmp_path / "switch"

    async def work(switch: Switch, runner: Runner) -> None:
        assert (await fence(runner, path, "off", plug="n2")).ok
        assert switch.requests == [{"action": "off", "plug": "n2"}]
        assert (await fence(runner, path, "status", plug="n2")).rc == 2
        assert (await fence(runner, path, "status", port="n1")).rc == 0
        assert (await fence(runner, path, "list")).stdout == "n1,n1\nn2,n2\n"
        assert (await fence(runner, path, "start")).ok
        assert switch.requests[-1] == {"action": "monitor"}

    with_switch(path, work)


def test_a_refusal_of_the_switch_is_a_failure_with_its_words(tmp_path: Path) -> None:
    path = tmp_path / "switch"

    async def work(_: Switch, runner: Runner) -> None:
        result = await fence(runner, path, "off", plug="n9")
        assert (result.rc, result.status) == (OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR)
        assert result.exit_reason == "fence_vigil_lab: no plug n9"

    with_switch(path, work)


def test_a_switch_that_does_not_confirm_off_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "switch"

    async def work(switch: Switch, runner: Runner) -> None:
        switch.answer = lambda request: {"ok": True, "state": "on"}  # type: ignore[method-assign]
        assert not (await fence(runner, path, "off", plug="n2")).ok

    with_switch(path, work)


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("action=off\nsocket=/nowhere/at/all\nplug=n1\n", "No such file"),
        ("action=off\n", "needs plug"),
        ("action=explode\nplug=n1\n", "unknown action 'explode'"),
        ("action=monitor\nip=127.0.0.1\nipport=none\n", "invalid literal"),
    ],
)
def test_mistakes_end_with_one_line_and_code_1(stdin: str, words: str) -> None:
    done = subprocess.run([PLUGIN], input=stdin, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_plugin_describes_itself() -> None:
    done = subprocess.run([PLUGIN, "-o", "metadata"], capture_output=True, check=True, timeout=20)
    root = etree.fromstring(done.stdout)
    assert {action.get("name") for action in root.iter("action")} >= {
        "on",
        "off",
        "reboot",
        "status",
        "list",
        "monitor",
    }


def test_an_agent_in_the_common_style_reads_its_options_from_standard_input(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    agent = tmp_path / "fence_script"
    agent.write_text(f"#!/bin/sh\ncat > {seen}\ngrep -q action=status {seen} && exit 2\necho no luck >&2\nexit 1\n")
    agent.chmod(0o755)
    runner_paths = AgentPaths(fence_search=(tmp_path,), rsctmp=tmp_path)

    async def scene() -> tuple[OperationResult, OperationResult]:
        runner = Runner(runner_paths)
        params = {"ip": "h", "pcmk_host_list": "n1", "port": "7", "passwd": "two\nlines"}
        agent_id = AgentId.parse("stonith:fence_script")
        off = await runner.run(Operation(agent_id, "off", "power", params))
        text = seen.read_text()
        assert text == "action=off\nip=h\nport=7\npasswd=two lines\n"
        return off, await runner.run(Operation(agent_id, "status", "power", params))

    off, status = asyncio.run(scene())
    assert (off.rc, off.exit_reason) == (1, "no luck")
    assert status.rc == 2


def test_the_reason_of_a_failure_is_what_the_agent_said_without_its_log_prefix(tmp_path: Path) -> None:
    agent = tmp_path / "fence_chatty"
    lines = [
        "WARNING:root:Parse error: Ignoring unknown option 'foo=bar'",
        "2026-01-01 10:00:00,123 ERROR: Failed: Unable to connect/login to fencing device",
        "2026-01-01 10:00:00,124 ERROR: Please use '-h' for usage",
    ]
    agent.write_text("#!/bin/sh\ncat >&2 <<'END'\n" + "\n".join(lines) + "\n\nEND\nexit 1\n")
    agent.chmod(0o755)

    async def scene() -> OperationResult:
        runner = Runner(AgentPaths(fence_search=(tmp_path,), rsctmp=tmp_path))
        return await runner.run(Operation(AgentId.parse("stonith:fence_chatty"), "off", "power"))

    assert asyncio.run(scene()).exit_reason == "Failed: Unable to connect/login to fencing device"


def test_stopping_a_device_needs_no_agent_and_a_missing_one_is_not_installed(tmp_path: Path) -> None:
    async def scene() -> list[OperationResult]:
        runner = Runner(AgentPaths(rsctmp=tmp_path))
        missing = AgentId.parse("stonith:fence_nowhere")
        return [
            await runner.run(Operation(LAB, "stop", "power")),
            await runner.run(Operation(missing, "off", "power")),
        ]

    stopped, missing = asyncio.run(scene())
    assert stopped.ok
    assert (missing.rc, missing.exit_reason) == (OcfCode.NOT_INSTALLED, "fence agent fence_nowhere is not installed")
