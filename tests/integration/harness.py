"""Real nodes on loopback: each a `vigild` with its children, in folders and on ports of its own.

    with Cluster(tmp_path, nodes=2) as cluster:
        cluster.start()
        cluster.wait_online()
        cluster.call("n1", "status")

Every process of a node carries a mark in its environment, by which `crash` finds and kills all of them at once, as a power cut
would; the fence agent of the tests does the same. Waiting is always for a condition, within a bound.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lxml import etree

from crm.api.client import Client
from crm.api.errors import ApiError

ROOT = Path(__file__).resolve().parents[2]
MARK = "VIGIL_TEST_NODE"
WAIT_S = 30.0
LOOK_S = 0.02

CONFIG = """\
[cluster]
name = "{cluster}"
key_file = "{folder}/keys"

[node]
name = "{name}"

{nodes}
[[links]]
mode = "unicast"
port = {port}

[timers]
deadtime_ms = {deadtime_ms}
initdead_ms = {initdead_ms}

[quorum]
{quorum}

[paths]
state_dir = "{folder}/{name}/state"
run_dir = "{folder}/{name}/run"
log_file = "{folder}/{name}/log"
"""

FENCE_AGENT = """\
#!{python}
import os, signal, sys, time

if "-o" in sys.argv and "metadata" in sys.argv:
    options = {{"action": "metadata"}}
else:
    options = dict(line.strip().split("=", 1) for line in sys.stdin if "=" in line)
action = options.get("action", "reboot")
METADATA = '''<?xml version="1.0"?>
<resource-agent name="fence_test" shortdesc="ends every process of a test node"><longdesc>For tests.</longdesc>
<parameters>
<parameter name="action"><content type="string" default="reboot"/></parameter>
<parameter name="port"><content type="string"/></parameter>
<parameter name="mark"><content type="string"/></parameter>
</parameters>
<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/>
<action name="list"/><action name="metadata"/></actions></resource-agent>'''
if action == "metadata":
    print(METADATA)
    sys.exit(0)
if action in ("monitor", "list", "on", "start", "stop"):
    sys.exit(0)
target = options.get("port") or options.get("plug") or options.get("nodename") or ""
mark = ("{mark}=" + "{secret}" + ":" + target + "\\0").encode()


def pids():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/" + entry + "/environ", "rb") as file:
                    if mark in file.read() + b"\\0" and open("/proc/" + entry + "/stat").read().rpartition(")")[2].split()[0] != "Z":
                        yield int(entry)
            except OSError:
                pass


if action == "status":
    sys.exit(2 if not list(pids()) else 0)
clean = 0
while clean < 2:
    found = list(pids())
    clean = 0 if found else clean + 1
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    time.sleep(0.005)
for part in ("run", "rsctmp"):  # what a reboot would lose
    for folder, _, names in os.walk("{folder}/" + target + "/" + part, topdown=False):
        for name in names:
            try:
                os.unlink(os.path.join(folder, name))
            except OSError:
                pass
with open("{log}", "a") as file:
    file.write("%.3f %s %s\\n" % (time.time(), action, target))
"""


def free_ports(count: int) -> list[int]:
    """Port numbers that are free now for both UDP and TCP on loopback."""
    found: list[int] = []
    while len(found) < count:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            stream.bind(("127.0.0.1", 0))
            port = stream.getsockname()[1]
            with suppress(OSError):
                datagram.bind(("127.0.0.1", port))
                found.append(port)
    return found


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = WAIT_S) -> Any:
    """The first true value of `condition()`; AssertionError naming `what` when there is none in time."""
    until = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(LOOK_S)


@dataclass
class TestNode:
    """One node. `process` is its vigild, None while it is off."""

    __test__ = False

    name: str
    node_id: int
    folder: Path
    secret: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def mark(self) -> str:
        return f"{MARK}={self.secret}:{self.name}"

    def pids(self) -> list[int]:
        """Every living process of this node, whoever its parent is."""
        wanted = f"{self.mark}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes() + b"\0" and _alive(entry):
                    found.append(int(entry.name))
        return found

    def pid_of(self, part: str) -> int | None:
        """The process of `vigild`, `messaging`, `crm` or `policy`; None when there is none."""
        if part == "policy":
            with suppress(ApiError), Client(str(self.run_dir), timeout_s=5) as client:
                return int(client.call("status")["policy_worker"]) or None
            return None
        try:
            pid = int((self.run_dir / f"{part}.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if _alive(Path(f"/proc/{pid}")) else None

    def log(self) -> str:
        with suppress(OSError):
            return (self.folder / "log").read_text(errors="replace")
        return ""


def _alive(entry: Path) -> bool:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@dataclass
class Cluster:
    """A few nodes on loopback, all of them stopped at the end."""

    folder: Path
    count: int = 2
    deadtime_ms: int = 1000
    quorum: str = ""
    nodes: dict[str, TestNode] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_hex(8))

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "keys").write_text(f"1 {secrets.token_hex(32)}\n")
        (self.folder / "keys").chmod(0o600)
        agents = self.folder / "fence"
        agents.mkdir()
        script = FENCE_AGENT.format(
            python=sys.executable, mark=MARK, secret=self.secret, log=self.fence_log, folder=self.folder
        )
        (agents / "fence_test").write_text(script)
        (agents / "fence_test").chmod(0o755)
        names = [f"n{number}" for number in range(1, self.count + 1)]
        ports = free_ports(self.count)
        table = "".join(
            f'[[nodes]]\nname = "{name}"\nid = {number}\naddresses = ["127.0.0.1:{port}"]\n\n'
            for number, (name, port) in enumerate(zip(names, ports, strict=True), 1)
        )
        for number, name in enumerate(names, 1):
            node = TestNode(name, number, self.folder / name, self.secret)
            self.nodes[name] = node
            for part in ("state", "run", "rsctmp"):
                (node.folder / part).mkdir(parents=True)
            text = CONFIG.format(
                cluster="test",
                folder=self.folder,
                name=name,
                nodes=table,
                port=ports[0],
                deadtime_ms=self.deadtime_ms,
                initdead_ms=max(self.deadtime_ms, 1000),
                quorum=self.quorum,
            )
            (node.folder / "vigil.toml").write_text(text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.nodes:
            self.crash(name)

    @property
    def fence_log(self) -> Path:
        return self.folder / "fence.log"

    def fenced(self) -> list[str]:
        """Names of the nodes that the fence agent has ended, in order."""
        with suppress(OSError):
            return [line.split()[2] for line in self.fence_log.read_text().splitlines()]
        return []

    # --- power -------------------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        for name in names or tuple(self.nodes):
            node = self.nodes[name]
            environment = os.environ | {
                MARK: f"{self.secret}:{name}",
                "PYTHONPATH": str(ROOT),
                "PYTHONWARNINGS": "default",
                "HA_RSCTMP": str(node.folder / "rsctmp"),
                "VIGIL_FENCE_PATH": str(self.folder / "fence"),
                "VIGIL_RUN_DIR": str(node.run_dir),
            }
            command = [sys.executable, "-m", "crm.daemon.supervisor", "--config", str(node.folder / "vigil.toml")]
            with (node.folder / "log").open("ab") as log:
                node.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )

    def crash(self, name: str) -> None:
        """Every process of the node at once, and what RUN_DIR held is gone, as after a power cut."""
        node = self.nodes[name]
        clean = 0
        while clean < 2:
            pids = node.pids()
            clean = 0 if pids else clean + 1
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if node.process is not None:
            node.process.wait()
            node.process = None
        for folder in (node.run_dir, node.folder / "rsctmp"):
            for path in sorted(folder.rglob("*"), reverse=True):
                with suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()

    def stop(self, name: str, limit_s: float = WAIT_S) -> int:
        """Ask vigild to end; its exit status."""
        process = self.nodes[name].process
        assert process is not None
        process.terminate()
        status = process.wait(limit_s)
        self.nodes[name].process = None
        return status

    def kill(self, name: str, part: str) -> int:
        """SIGKILL for one process of a node, as soon as there is one; its id."""
        node = self.nodes[name]
        pid = int(wait_for(lambda: node.pid_of(part), f"{part} of {name} to be running"))
        os.kill(pid, signal.SIGKILL)
        if part == "vigild" and node.process is not None:
            node.process.wait()
        return pid

    # --- questions ---------------------------------------------------------------------------------------------------

    def call(self, name: str, method: str, timeout_s: float = WAIT_S, **params: Any) -> Any:
        with Client(str(self.nodes[name].run_dir), timeout_s=timeout_s) as client:
            return client.call(method, **params)

    def status(self, name: str) -> dict[str, Any] | None:
        """None while the node's daemon does not answer."""
        with suppress(ApiError):
            answer: dict[str, Any] = self.call(name, "status", 5)
            return answer
        return None

    def online(self, seen_by: str) -> set[str]:
        answer = self.status(seen_by)
        return set() if answer is None else {each["name"] for each in answer["nodes"] if each["state"] == "online"}

    def wait_online(self, *names: str, limit_s: float = WAIT_S) -> None:
        """Until each of these nodes (default: all) sees exactly these online."""
        wanted = set(names or self.nodes)
        for name in sorted(wanted):
            wait_for(lambda name=name: self.online(name) == wanted, f"{name} to see {sorted(wanted)} online", limit_s)

    def wait_idle(self, name: str, limit_s: float = WAIT_S) -> None:
        self.call(name, "wait", limit_s + 5, timeout_ms=int(limit_s * 1000))

    def cib(self, name: str, xpath: str = "") -> etree._Element:
        answer = self.call(name, "cib.query", **({"xpath": xpath} if xpath else {}))
        return etree.fromstring(answer["xml"])

    def apply(self, name: str, xml: str, operation: str = "create", **params: Any) -> str:
        answer = self.call(name, "cib.apply", operation=operation, xml=xml, **params)
        return str(answer["version"])

    def events(self, name: str, *names: str) -> Iterator[dict[str, Any]]:
        for event in self.call(name, "events.recent")["events"]:
            if not names or event["event"] in names:
                yield event

    def running(self, resource: str) -> list[str]:
        """Where an ocf:vigil:Dummy has left its state file: on which nodes it is active."""
        return sorted(
            name for name, node in self.nodes.items() if list((node.folder / "rsctmp").glob(f"*{resource}*.state"))
        )

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{node.log()}" for name, node in self.nodes.items())


def show(value: Any) -> str:
    return json.dumps(value, indent=1)
