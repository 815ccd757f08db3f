"""Running agents: real processes, written for the purpose."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import runner
from agents.ledger import Ledger
from agents.lsb import to_ocf
from agents.paths import AgentPaths
from agents.process import STDERR_LIMIT, STDOUT_LIMIT
from agents.runner import Runner
from agents.systemd import parse_properties, state_of, unit_name
from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult

ROOT = Path(__file__).resolve().parents[3]


class Workshop:
    """A folder of agents of provider `test`, and a runner that finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = AgentPaths(
            ocf_search=(folder / "ocf",),
            lsb=folder / "init.d",
            systemctl=str(folder / "systemctl"),
            rsctmp=folder / "rsctmp",
            run_dir=folder / "run",
        )
        for name in ("ocf/test", "init.d", "run"):
            (folder / name).mkdir(parents=True)

    def agent(self, body: str, name: str = "it", where: str = "ocf/test") -> AgentId:
        self.write(self.folder / where / name, body)
        return AgentId.parse(f"ocf:test:{name}" if where.startswith("ocf") else f"lsb:{name}")

    @staticmethod
    def write(path: Path, body: str) -> None:
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, operation: Operation) -> OperationResult:
        async def scene() -> OperationResult:
            return await Runner(self.paths).run(operation)

        return asyncio.run(scene())


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def read_when_there(path: Path, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.005)
    raise AssertionError(f"{path} did not appear")


# --- what an agent is given -----------------------------------------------------------------------------------------------


def test_an_ocf_agent_gets_the_environment_that_pacemaker_gives(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    agent = workshop.agent('env; echo "args=$*"; echo "umask=$(umask)"; echo "cwd=$(pwd)"; cat')
    result = workshop.run(
        Operation(
            agent,
            "start",
            "web:0",
            {"ip": "10.0.0.1", "OCF_CHECK_LEVEL": "10", "crm_feature_set": "3.20.5"},
            {"CRM_meta_on_node_uuid": "1", "interleave": "true"},
            timeout_ms=33_000,
            node="n1",
        )
    )
    given = dict(line.partition("=")[::2] for line in result.stdout.splitlines())
    expected = {
        "OCF_ROOT": "/usr/lib/ocf",
        "OCF_RA_VERSION_MAJOR": "1",
        "OCF_RA_VERSION_MINOR": "1",
        "OCF_EXIT_REASON_PREFIX": "ocf-exit-reason:",
        "OCF_RESOURCE_INSTANCE": "web:0",
        "OCF_RESOURCE_TYPE": "it",
        "OCF_RESOURCE_PROVIDER": "test",
        "OCF_RESKEY_ip": "10.0.0.1",
        "OCF_RESKEY_crm_feature_set": "3.20.5",
        "OCF_CHECK_LEVEL": "10",
        "OCF_RESKEY_CRM_meta_timeout": "33000",
        "OCF_RESKEY_CRM_meta_on_node": "n1",
        "OCF_RESKEY_CRM_meta_on_node_uuid": "1",
        "OCF_RESKEY_CRM_meta_interleave": "true",
        "HA_RSCTMP": str(workshop.paths.rsctmp),
        "HTTP_PROXY": "http://proxy",
        "VIGIL_RUN_DIR": str(workshop.paths.run_dir),
        "args": "start",
        "umask": "0026",
        "cwd": "/",
    }
    assert {name: given.get(name) for name in expected} == expected
    assert not {"PYTHONPATH", "NOTIFY_SOCKET", "OCF_RESKEY_OCF_CHECK_LEVEL"} & set(given)
    assert "/usr/sbin" in given["PATH"].split(":")
    assert workshop.paths.rsctmp.is_dir()


def test_the_exit_code_and_the_last_exit_reason_are_what_the_agent_said(workshop: Workshop) -> None:
    agent = workshop.agent(
        "echo noise >&2; echo 'ocf-exit-reason:first' >&2; echo 'ocf-exit-reason:disk\tfull' >&2; echo x >&2; exit 6"
    )
    result = workshop.run(Operation(agent, "start", "r"))
    assert (result.rc, result.status, result.exit_reason) == (6, ExecStatus.DONE, "disk full")


def test_a_parameter_that_no_environment_can_hold_is_named(workshop: Workshop) -> None:
    agent = workshop.agent("exit 0")
    result = workshop.run(Operation(agent, "start", "r", {"blob": "x" * 200_000}))
    assert (result.rc, result.status) == (OcfCode.NOT_CONFIGURED, ExecStatus.ERROR)
    assert "'OCF_RESKEY_blob'" in result.exit_reason


# --- what can go wrong ----------------------------------------------------------------------------------------------------


def test_an_agent_that_is_not_there_is_not_installed(workshop: Workshop) -> None:
    result = workshop.run(Operation(AgentId.parse("ocf:test:nothing"), "monitor", "r"))
    assert (result.rc, result.status) == (OcfCode.NOT_INSTALLED, ExecStatus.NOT_INSTALLED)
    assert result.exit_reason == "agent ocf:test:nothing is not installed"


def test_an_agent_without_the_right_to_run_or_without_interpreter_is_told_apart(workshop: Workshop) -> None:
    agent = workshop.agent("exit 0")
    path = workshop.folder / "ocf/test/it"
    path.chmod(0o644)
    result = workshop.run(Operation(agent, "start", "r"))
    assert (result.rc, result.status) == (OcfCode.INSUFFICIENT_PRIV, ExecStatus.ERROR)
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    result = workshop.run(Operation(agent, "start", "r"))
    assert (result.rc, result.status) == (OcfCode.NOT_INSTALLED, ExecStatus.NOT_INSTALLED)
    path.write_bytes(b"\x7fELFnonsense")
    result = workshop.run(Operation(agent, "start", "r"))
    assert (result.rc, result.status) == (OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR)


def test_an_agent_ended_by_a_signal_is_an_error(workshop: Workshop) -> None:
    result = workshop.run(Operation(workshop.agent("kill -9 $$"), "start", "r"))
    assert (result.rc, result.status) == (OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR)
    assert result.exit_reason == "start was ended by signal 9"


def test_when_time_is_up_the_whole_group_is_ended(workshop: Workshop) -> None:
    pids = workshop.folder / "pids"
    agent = workshop.agent(f"sleep 600 & echo $$ $! > {pids}; wait")
    result = workshop.run(Operation(agent, "start", "r", timeout_ms=2000))
    assert (result.rc, result.status) == (OcfCode.UNKNOWN_ERROR, ExecStatus.TIMEOUT)
    assert result.exit_reason == "start did not end within 2000 ms"
    assert result.run_ms >= 2000
    leader, child = (int(pid) for pid in pids.read_text().split())
    assert not alive(leader)
    deadline = time.monotonic() + 60
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child)


def test_an_agent_that_ignores_sigterm_is_killed(workshop: Workshop) -> None:
    result = workshop.run(
        Operation(workshop.agent("trap '' TERM; while :; do sleep 1; done"), "stop", "r", timeout_ms=200)
    )
    assert result.status is ExecStatus.TIMEOUT
    assert result.run_ms < 60_000


def test_a_daemon_that_keeps_the_output_open_does_not_hold_up_the_result(workshop: Workshop) -> None:
    pid = workshop.folder / "pid"
    agent = workshop.agent(f"sleep 6000 & echo $! > {pid}; echo started")
    result = workshop.run(Operation(agent, "start", "r"))
    daemon = int(pid.read_text())
    try:
        assert result.ok
        assert result.stdout == "started\n"
        assert alive(daemon), "what an agent starts is the service, and stays"
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_output_is_drained_and_bounded(workshop: Workshop) -> None:
    agent = workshop.agent(
        "head -c 3000000 /dev/zero | tr '\\0' a; head -c 300000 /dev/zero | tr '\\0' b >&2; echo ocf-exit-reason:end >&2; exit 1"
    )
    result = workshop.run(Operation(agent, "start", "r"))
    assert len(result.stdout) == STDOUT_LIMIT
    assert len(result.stderr) == STDERR_LIMIT
    assert result.exit_reason == "end"


def test_being_cancelled_ends_the_agent_first(workshop: Workshop) -> None:
    pid = workshop.folder / "pid"
    agent = workshop.agent(f"echo $$ > {pid}; sleep 600")

    async def scene() -> None:
        task = asyncio.create_task(Runner(workshop.paths).run(Operation(agent, "start", "r")))
        leader = int(await asyncio.to_thread(read_when_there, pid))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not alive(leader)

    asyncio.run(scene())


def test_many_agents_run_at_the_same_time_and_leave_nothing(workshop: Workshop) -> None:
    agent = workshop.agent("exit 0")

    async def scene() -> list[OperationResult]:
        runner = Runner(workshop.paths)
        return await asyncio.gather(*(runner.run(Operation(agent, "monitor", f"r{n}")) for n in range(100)))

    before = len(list(Path("/proc/self/fd").iterdir()))
    assert all(result.ok for result in asyncio.run(scene()))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- init scripts and units -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "code", "expected"),
    [
        ("status", 0, OcfCode.OK),
        ("status", 1, OcfCode.NOT_RUNNING),
        ("status", 3, OcfCode.NOT_RUNNING),
        ("status", 4, OcfCode.UNKNOWN_ERROR),
        ("status", 99, OcfCode.UNKNOWN_ERROR),
        ("start", 5, OcfCode.NOT_INSTALLED),
        ("start", 99, OcfCode.UNKNOWN_ERROR),
        ("stop", 7, OcfCode.OK),
    ],
)
def test_init_script_codes_become_ocf_codes(action: str, code: int, expected: OcfCode) -> None:
    assert to_ocf(action, code) is expected


def test_an_init_script_is_asked_for_status_and_knows_no_parameters(workshop: Workshop) -> None:
    agent = workshop.agent('[ "$1" = status ] && exit 3; env | grep -q OCF_RESKEY && exit 1; exit 0', "svc", "init.d")
    assert workshop.run(Operation(agent, "monitor", "r", {"a": "b"})).rc == OcfCode.NOT_RUNNING
    assert workshop.run(Operation(agent, "start", "r", {"a": "b"})).ok
    promote = workshop.run(Operation(agent, "promote", "r"))
    assert (promote.rc, promote.status) == (OcfCode.UNIMPLEMENT_FEATURE, ExecStatus.NOT_SUPPORTED)
    missing = workshop.run(Operation(AgentId.parse("lsb:none"), "start", "r"))
    assert missing.rc == OcfCode.NOT_INSTALLED


def test_a_service_is_the_init_script_where_there_is_one_else_the_unit(workshop: Workshop) -> None:
    workshop.agent("exit 0", "svc", "init.d")

    async def scene() -> list[AgentId]:
        runner = Runner(workshop.paths)
        return [runner.resolve(AgentId.parse("service:svc")), runner.resolve(AgentId.parse("service:other"))]

    assert [str(agent) for agent in asyncio.run(scene())] == ["lsb:svc", "systemd:other"]


@pytest.mark.parametrize(
    ("active", "load", "expected"),
    [
        ("active", "loaded", OcfCode.OK),
        ("reloading", "loaded", OcfCode.OK),
        ("inactive", "loaded", OcfCode.NOT_RUNNING),
        ("failed", "loaded", OcfCode.NOT_RUNNING),
        ("activating", "loaded", None),
        ("deactivating", "loaded", None),
        ("inactive", "not-found", OcfCode.NOT_INSTALLED),
        ("active", "not-found", OcfCode.OK),
    ],
)
def test_unit_states_become_ocf_codes(active: str, load: str, expected: OcfCode | None) -> None:
    assert state_of(parse_properties(f"ActiveState={active}\nLoadState={load}\n")) is expected


def test_unit_names_get_their_suffix() -> None:
    assert [unit_name(name) for name in ("nginx", "a.b", "x.socket")] == ["nginx.service", "a.b.service", "x.socket"]


def test_a_unit_that_has_not_settled_is_asked_again(workshop: Workshop) -> None:
    """systemctl is played by a script here: the answers are its own, the waiting is ours."""
    count = workshop.folder / "count"
    workshop.write(
        workshop.folder / "systemctl",
        f"""echo x >> {count}
[ "$1" = show ] || exit 0
[ $(wc -l < {count}) -lt 3 ] && state=activating || state=active
echo LoadState=loaded; echo ActiveState=$state""",
    )
    unit = AgentId.parse("systemd:web")
    assert workshop.run(Operation(unit, "monitor", "r")).ok
    assert len(count.read_text().split()) == 3
    assert workshop.run(Operation(unit, "start", "r")).ok


def test_a_unit_that_never_settles_runs_out_of_time(workshop: Workshop) -> None:
    workshop.write(workshop.folder / "systemctl", "echo LoadState=loaded; echo ActiveState=activating")
    result = workshop.run(Operation(AgentId.parse("systemd:web"), "monitor", "r", timeout_ms=350))
    assert (result.status, result.exit_reason) == (ExecStatus.TIMEOUT, "systemd:web did not settle within 350 ms")


def test_a_unit_that_is_unknown_cannot_be_started_but_is_stopped(workshop: Workshop) -> None:
    workshop.write(workshop.folder / "systemctl", "echo 'Unit web.service not found.' >&2; exit 5")
    unit = AgentId.parse("systemd:web")
    assert workshop.run(Operation(unit, "start", "r")).status is ExecStatus.NOT_INSTALLED
    assert workshop.run(Operation(unit, "stop", "r")).ok


# --- a runner that was killed ---------------------------------------------------------------------------------------------

SCENE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from agents.ledger import Ledger
from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId, Operation
paths = AgentPaths(ocf_search=(Path({folder!r}) / "ocf",), rsctmp=Path({folder!r}) / "rsctmp")
runner = Runner(paths, Ledger(Path({folder!r}) / "operations"))
asyncio.run(runner.run(Operation(AgentId.parse("ocf:test:it"), "start", "web")))
"""


@pytest.fixture
def orphan(workshop: Workshop) -> Iterator[int]:
    """The pid of an agent whose runner was killed."""
    pid = workshop.folder / "pid"
    workshop.agent(f"trap '' TERM; sleep 600 & echo $$ > {pid}; wait; wait; sleep 600")
    script = SCENE.format(root=str(ROOT), folder=str(workshop.folder))
    runner = subprocess.Popen([sys.executable, "-c", script])
    leader = int(read_when_there(pid))
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    yield leader
    if alive(leader):
        os.killpg(leader, signal.SIGKILL)


def test_a_successor_ends_what_a_killed_runner_left_at_work(workshop: Workshop, orphan: int) -> None:
    assert alive(orphan)
    (found,) = asyncio.run(Ledger(workshop.folder / "operations").end_orphans())
    assert (found.resource, found.action, found.pid, found.ended) == ("web", "start", orphan, True)
    assert not alive(orphan)
    assert list((workshop.folder / "operations").iterdir()) == []


def test_an_agent_is_found_by_its_mark_when_its_pid_was_not_written_down(workshop: Workshop, orphan: int) -> None:
    (entry,) = (workshop.folder / "operations").iterdir()
    entry.write_text(entry.read_text().splitlines()[0] + "\n")
    (found,) = asyncio.run(Ledger(workshop.folder / "operations").end_orphans())
    assert (found.pid, found.ended) == (orphan, True)
    assert not alive(orphan)


def test_a_recycled_pid_is_left_alone(workshop: Workshop) -> None:
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        folder = workshop.folder / "operations"
        ledger = Ledger(folder)
        record = {"resource": "web", "action": "start", "interval_ms": 0, "program": "/x", "token": "t"}
        (folder / "t").write_text(json.dumps(record) + f"\n{bystander.pid}\n")
        (found,) = asyncio.run(ledger.end_orphans())
        assert not found.ended
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_torn_entry_is_dropped(workshop: Workshop) -> None:
    folder = workshop.folder / "operations"
    ledger = Ledger(folder)
    (folder / "torn").write_text('{"resource": "we')
    assert asyncio.run(ledger.end_orphans()) == []
    assert list(folder.iterdir()) == []


def test_a_finished_run_leaves_no_entry(workshop: Workshop) -> None:
    agent = workshop.agent('test -n "$VIGIL_OPERATION" || exit 1; exit 0')

    async def scene() -> OperationResult:
        return await Runner(workshop.paths, Ledger(workshop.folder / "operations")).run(Operation(agent, "start", "r"))

    assert asyncio.run(scene()).ok
    assert list((workshop.folder / "operations").iterdir()) == []


def test_monitors_that_hang_do_not_hold_up_what_must_happen_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_AT_ONCE", 2)
    agent = workshop.agent('case "$1" in monitor) echo $$ >> "$OCF_RESKEY_log"; sleep 300;; esac; exit 0')
    log = workshop.folder / "log"

    async def scene() -> list[OperationResult]:
        at_work = Runner(workshop.paths)
        monitor = Operation(agent, "monitor", "web", {"log": str(log)}, interval_ms=10_000, timeout_ms=0)
        monitors = [asyncio.create_task(at_work.run(monitor)) for _ in range(3)]
        deadline = time.monotonic() + 30
        while not log.exists() or len(log.read_text().split()) < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        stops = [at_work.run(Operation(agent, "stop", f"r{number}", timeout_ms=30_000)) for number in range(4)]
        results = await asyncio.wait_for(asyncio.gather(*stops), 60)
        assert len(log.read_text().split()) == 2, "of the monitors two are at work, as the limit says"
        for task in monitors:
            task.cancel()
        await asyncio.gather(*monitors, return_exceptions=True)
        return list(results)

    assert [result.ok for result in asyncio.run(scene())] == [True] * 4
