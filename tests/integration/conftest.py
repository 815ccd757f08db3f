"""Labs for tests: real nodes, taken down whatever happens; when a test fails, what they have to say is shown (evidence.py)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evidence
import pytest

from crm.api.errors import ApiError
from crm.lab import cluster, isolation, layout
from crm.lab.client import ask
from crm.lab.layout import Isolation, Lab, LabError, TieBreaker, Timers
from crm.lab.node_init import MARKER

FORM_LIMIT_S = 90.0
ANSWER_LIMIT_S = 90.0
GONE_LIMIT_S = 20.0
TEST_LIMIT_S = 600
"""All limits are for what never comes; on a busy machine everything may take its time."""


def pytest_configure() -> None:
    """Who ends the tests ends them as ^C does: their labs and nodes are taken down."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_LIMIT_S))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    evidence.forget_the_dead()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.extend(evidence.sections())
    return report


UNHURRIED = Timers(keepalive_ms=400, warntime_ms=1200, deadtime_ms=2000, initdead_ms=10_000)
"""Several labs share the machine: nobody should be taken for dead because it waits for its turn."""


@dataclass
class LabCluster(evidence.Witness):
    """A lab with the verbs that tests read well with."""

    lab: Lab
    kept: list[evidence.Section] | None = None

    def crm(
        self, node: str, *words: str, text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "crm.shell.main", *words]
        result = cluster.run(self.lab, node, command, input=text, text=True, capture_output=True)
        if check:
            assert result.returncode == 0, f"crm {' '.join(words)} on {node}: {result.stdout}{result.stderr}"
        return result

    def configure(self, text: str) -> None:
        self.crm(self.lab.nodes[0], "configure", "load", "update", "-", text=text)

    def online(self) -> set[str]:
        """The nodes that every node's daemon reports online."""
        return cluster.online(self.lab)

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = ANSWER_LIMIT_S) -> float:
        return cluster.wait_for(condition, limit_s, what)

    def wait_formed(self) -> None:
        self.wait(lambda: self.online() == set(self.lab.nodes), "the cluster has not formed", FORM_LIMIT_S)

    def wait_idle(self, node: str) -> None:
        def idle() -> bool:
            try:
                with cluster.api(self.lab, node) as client:
                    client.call("wait", timeout_ms=20_000)
            except ApiError:
                return False
            return True

        self.wait(idle, f"{node}: the cluster does not become idle")

    def ask(self, do: str, **parameters: Any) -> dict[str, Any]:
        return ask(self.lab, do, **parameters)

    def watch(self, name: str = "probe", device: str | None = None) -> None:
        self.ask(
            "probe-start", name=name, device=device, address=self.lab.service_address, port=self.lab.service_port()
        )

    def answers(self, since: float = 0.0, name: str = "probe") -> list[tuple[float, str]]:
        return [(at, node) for at, node in self.ask("probe-report", name=name, since=since)["answers"]]

    def first_answer(
        self, since: float, *, by: str | None = None, limit_s: float = ANSWER_LIMIT_S
    ) -> tuple[float, str]:
        found: list[tuple[float, str]] = []

        def answered() -> bool:
            found[:] = [(at, node) for at, node in self.answers(since) if by is None or node == by]
            return bool(found)

        self.wait(answered, f"no answer{f' by {by}' if by else ''}", limit_s)
        return found[0]

    def server(self) -> str:
        """Who answers now."""
        return self.first_answer(time.time())[1]

    def fenced_since(self, at: float) -> list[str]:
        log = self.ask("status")["power_log"]
        return [entry["plug"] for entry in log if entry["at"] >= at and entry["action"] in ("off", "reboot")]

    def pids_of(self, node: str) -> dict[str, list[int]]:
        """Host pids of the node's processes by what they are: init, vigild, messaging, crm, web (a web server), other.

        A child that is the same program as its parent is the policy worker, or about to become an agent: other.
        """
        seen: dict[int, tuple[str, int]] = {}
        for pid in self.ask("pids", node=node)["pids"]:
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if stat[0] not in "ZX":
                    seen[pid] = _role(b" ".join(words).decode(errors="replace")), int(stat[1])
        found: dict[str, list[int]] = {}
        for pid, (role, parent) in seen.items():
            own = role if seen.get(parent, ("", 0))[0] != role else "other"
            found.setdefault(own, []).append(pid)
        return found

    def kill(self, node: str, role: str) -> None:
        """SIGKILL for a process of the node; returns when it is there again, and all nodes have noticed and are together again."""
        watched = self.other(node)
        before = cluster.view_at(self.lab, watched)
        killed: list[int] = []

        def kill() -> bool:
            killed[:] = self.pids_of(node).get(role, [])[:1]
            with suppress(ProcessLookupError):
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
                return bool(killed)
            return False

        def replaced() -> bool:
            pids = self.pids_of(node).get(role, [])
            return bool(pids) and killed[0] not in pids

        def together() -> bool:
            views = {cluster.view_at(self.lab, each) for each in self.lab.nodes}
            noticed = role not in ("messaging", "crm") or views.isdisjoint({"", before})
            return noticed and len(views) == 1 and self.online() == set(self.lab.nodes)

        self.wait(kill, f"there is no {role} on {node}")
        self.wait(replaced, f"{role} of {node} is not started again")
        self.wait(together, f"not everybody is back after the death of {role} on {node}")

    def other(self, node: str) -> str:
        """Another node than this."""
        return next(each for each in self.lab.nodes if each != node)

    def last_words(self, *, asked: bool = True) -> list[evidence.Section]:
        lab, name = self.lab, self.lab.name
        found = []
        if asked:
            with suppress(LabError):
                found.append((f"lab {name}: machine room", json.dumps(self.ask("status"))))
            found += evidence.told_by_daemons(f"lab {name}", {node: lab.run_dir(node) for node in lab.nodes})
        found += evidence.events(f"lab {name}: event logs", {node: lab.state_dir(node) for node in lab.nodes})
        for node in lab.nodes:
            found += evidence.tail(f"lab {name}: log of {node}", lab.log(node))
            found += evidence.tail(f"lab {name}: console of {node}", lab.node_folder(node) / "console.log")
        found += evidence.tail(f"lab {name}: keeper", lab.folder / "keeper.log")
        found += evidence.tail(f"lab {name}: arbiter", lab.arbiter_folder / "log")
        return found


def _role(command: str) -> str:
    for word, role in (
        ("crm.daemon.supervisor", "vigild"),
        ("-m messaging.arbiter", "other"),
        ("-m messaging", "messaging"),
        ("crm.daemon.worker", "other"),
        ("crm.daemon", "crm"),
        ("crm.lab.node_init", "init"),
        ("webserver.py start", "web"),
    ):
        if word in command:
            return role
    return "other"


WEB = """
primitive web-ip ocf:vigil:IPaddr params ip={address} cidr_netmask=24 op monitor interval=5s
primitive web ocf:vigil:WebServer params port={port} op monitor interval=2s
group web-service web-ip web meta resource-stickiness=100
"""


def web_service(lab: Lab, *, fencing: bool = True, action: str = "off") -> str:
    """The demo's configuration, for the tests."""
    if not fencing:
        return "property stonith-enabled=false\n" + WEB.format(address=lab.service_address, port=lab.service_port())
    power = (
        f"primitive power stonith:fence_vigil_lab params ip={lab.power_address} ipport={lab.power_port()} "
        f'pcmk_host_list="{" ".join(lab.nodes)}" op monitor interval=60s\n'
    )
    return (
        f"property stonith-enabled=true stonith-action={action}\n"
        + power
        + WEB.format(address=lab.service_address, port=lab.service_port())
    )


@pytest.fixture
def machines() -> None:
    """The test needs namespaces."""
    try:
        isolation.choose(Isolation.MACHINE)
    except LabError as error:
        pytest.skip(str(error))


@contextmanager
def make_labs() -> Iterator[Callable[..., LabCluster]]:
    """A function that makes labs; they are taken down at the end, and nothing of them may be left."""
    home = Path(tempfile.mkdtemp(prefix="vl", dir="/tmp"))  # short: the paths of Unix sockets are limited
    before = os.environ.get("VIGIL_LAB_HOME")
    os.environ["VIGIL_LAB_HOME"] = str(home)
    made: list[LabCluster] = []

    def make(
        name: str = "t",
        *,
        nodes: int = 2,
        tie_breaker: TieBreaker = TieBreaker.PING,
        isolation_wanted: str = Isolation.MACHINE,
        timers: Timers = UNHURRIED,
        watchdog_ms: int = 0,
        form: bool = True,
    ) -> LabCluster:
        lab, _ = cluster.plan(
            name,
            nodes=nodes,
            tie_breaker=tie_breaker,
            isolation_wanted=isolation_wanted,
            timers=timers,
            watchdog_ms=watchdog_ms,
        )
        each = LabCluster(lab)
        made.append(each)
        evidence.call(each)
        cluster.up(lab)
        if form:
            each.wait_formed()
        return each

    problems = []
    try:
        yield make
    finally:
        for each in made:
            each.kept = each.kept or each.last_words(asked=False)
        for name in layout.names():
            try:
                cluster.down(name)
            except (LabError, OSError) as error:
                problems.append(f"lab {name} does not go down: {error}")
        problems += [f"left over: {each}" for each in end_leftovers(home)]
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            del os.environ["VIGIL_LAB_HOME"]
        else:
            os.environ["VIGIL_LAB_HOME"] = before
    assert not problems, "\n".join(problems)


@pytest.fixture
def make_lab() -> Iterator[Callable[..., LabCluster]]:
    """`make_labs` for one test."""
    with make_labs() as make:
        yield make


def end_leftovers(home: Path) -> list[str]:
    """Processes that still belong to a lab below `home` after a time in which all should have ended; they are killed."""
    marks = [f"{MARKER}={home}/".encode(), f"VIGIL_LAB_HOME={home}\0".encode(), f"{home}/".encode()]
    deadline = time.monotonic() + GONE_LIMIT_S
    while (found := evidence.command_lines(marks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for each in found:
        with suppress(ProcessLookupError):
            os.kill(int(each.split()[0]), signal.SIGKILL)
    return found
