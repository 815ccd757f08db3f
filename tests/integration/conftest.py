"""Labs for tests: real nodes, taken down whatever happens; their logs are shown when a test fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crm.api.errors import ApiError
from crm.lab import cluster, isolation, layout
from crm.lab.client import ask
from crm.lab.layout import Isolation, Lab, LabError, TieBreaker, Timers
from crm.lab.node_init import MARKER

FORM_LIMIT_S = 30.0
ANSWER_LIMIT_S = 30.0
LOG_LINES = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when in ("setup", "call") and report.failed:
        for made in [*getattr(item, "labs", []), *getattr(item.parent, "labs", [])]:
            report.sections.extend(made.last_words())
    return report


@dataclass(slots=True)
class LabCluster:
    """A lab with the verbs that tests read well with."""

    lab: Lab

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
        """Host pids of the node's processes by what they are: vigild, messaging, crm, policy, agent."""
        found: dict[str, list[int]] = {}
        for pid in self.ask("pids", node=node)["pids"]:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            text = b" ".join(words).decode(errors="replace")
            found.setdefault(_role(text), []).append(pid)
        return found

    def last_words(self) -> list[tuple[str, str]]:
        sections = []
        for node in self.lab.nodes:
            path = self.lab.log(node)
            if path.exists():
                lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
                sections.append((f"log of {node}", "\n".join(lines)))
        return sections


def _role(command: str) -> str:
    for word, role in (
        ("crm.daemon.supervisor", "vigild"),
        ("-m messaging", "messaging"),
        ("crm.daemon", "crm"),
        ("crm.lab.node_init", "init"),
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
def make_labs(item: pytest.Item | pytest.Collector) -> Iterator[Callable[..., LabCluster]]:
    """A function that makes labs; they are taken down at the end, and nothing of them may be left. Failures of `item` show their logs."""
    home = Path(tempfile.mkdtemp(prefix="vl", dir="/tmp"))
    before = os.environ.get("VIGIL_LAB_HOME")
    os.environ["VIGIL_LAB_HOME"] = str(home)
    made: list[LabCluster] = []
    item.labs = made  # type: ignore[union-attr]

    def make(
        name: str = "t",
        *,
        nodes: int = 2,
        tie_breaker: TieBreaker = TieBreaker.PING,
        isolation_wanted: str = Isolation.MACHINE,
        timers: Timers | None = None,
        watchdog_ms: int = 0,
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
        cluster.up(lab)
        each.wait_formed()
        return each

    try:
        yield make
    finally:
        for name in layout.names():
            cluster.down(name)
        shutil.rmtree(home, ignore_errors=True)
        if before is None:
            del os.environ["VIGIL_LAB_HOME"]
        else:
            os.environ["VIGIL_LAB_HOME"] = before
    assert not left_over(home), "processes of the lab are left"


@pytest.fixture
def make_lab(request: pytest.FixtureRequest) -> Iterator[Callable[..., LabCluster]]:
    """`make_labs` for one test."""
    with make_labs(request.node) as make:
        yield make


def left_over(home: Path) -> list[str]:
    """Command lines of processes that still belong to a lab below `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{MARKER}={home}".encode() in environment or f"{home}/".encode() in command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found
