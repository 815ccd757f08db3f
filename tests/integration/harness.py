"""Real nodes on loopback: each a `vigild` with its children, in folders and on ports of its own.

    with Cluster(tmp_path, nodes=2) as cluster:
        cluster.start()
        cluster.wait_online()
        cluster.call("n1", "status")

Every process of a node carries a mark in its environment, by which `crash` finds and kills all of them at once, as a power cut
would; the fence agent of the tests does the same. Waiting is always for a condition, within a bound. When a test fails, what the nodes
have to say is shown (evidence.py).

Each cluster has an address of its own in 127.0.0.0/8, and ports that the kernel gives to nobody by itself: a port that was free a moment ago,
or that belongs to a node which is down just now, is never somebody else's.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import evidence
from lxml import etree

from crm.api.client import Client
from crm.api.errors import ApiError

ROOT = Path(__file__).resolve().parents[2]
MARK = "VIGIL_TEST_NODE"
WAIT_S = 90.0
"""For what never comes: on a busy machine everything may take its time."""
LOOK_S = 0.02
FIRST_PORT = 15405
DEADTIME_MS = 2000
"""Nobody should be taken for dead because it waits for its turn."""
VOUCH_MS = 10_000

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
initdead_ms = {deadtime_ms}
vouch_ms = {vouch_ms}

[quorum]
{quorum}

[paths]
state_dir = "{folder}/{name}/state"
run_dir = "{folder}/{name}/run"
log_file = "{folder}/{name}/log"
"""

FENCE_AGENT = """\
#!{python}
import fcntl, os, signal, sys, time

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
power = open("{folder}/" + target + ".power", "a")
fcntl.flock(power, fcntl.LOCK_EX)  # nobody switches it on meanwhile
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


def _online(status: dict[str, Any] | None) -> set[str]:
    return {each["name"] for each in status["nodes"] if each["state"] == "online"} if status else set()


def _view(status: dict[str, Any] | None) -> str:
    return str(status["view"]["id"]) if status and status["view"] else ""


def _alive(entry: Path) -> bool:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def own_address() -> str:
    """An address of this machine that nobody else uses."""
    return "127." + ".".join(str(1 + secrets.randbelow(250)) for _ in range(3))


@dataclass
class Cluster(evidence.Witness):
    """A few nodes on loopback, all of them stopped at the end."""

    folder: Path
    count: int = 2
    deadtime_ms: int = DEADTIME_MS
    quorum: str = ""
    nodes: dict[str, TestNode] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_hex(8))
    address: str = field(default_factory=own_address)
    kept: list[evidence.Section] | None = None

    def endpoint(self, number: int) -> str:
        """Where the node of this number is reached."""
        return f"{self.address}:{FIRST_PORT + number}"

    def __enter__(self) -> Self:
        evidence.call(self)
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
        table = "".join(
            f'[[nodes]]\nname = "{name}"\nid = {number}\naddresses = ["{self.endpoint(number)}"]\n\n'
            for number, name in enumerate(names, 1)
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
                port=FIRST_PORT,
                deadtime_ms=self.deadtime_ms,
                vouch_ms=VOUCH_MS,
                quorum=self.quorum,
            )
            (node.folder / "vigil.toml").write_text(text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kept = self.words() if error is not None else self.last_words(asked=False)
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

    @contextmanager
    def power(self, name: str) -> Iterator[None]:
        """One hand at a time on the switch of a node: the fence agent takes the same lock."""
        with (self.folder / f"{name}.power").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

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
            with self.power(name), (node.folder / "log").open("ab") as log:
                node.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )

    def crash(self, name: str) -> None:
        """Every process of the node at once, and what RUN_DIR held is gone, as after a power cut."""
        node = self.nodes[name]
        with self.power(name):
            until = time.monotonic() + WAIT_S
            clean = 0
            while clean < 2:
                pids = node.pids()
                clean = 0 if pids else clean + 1
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if time.monotonic() > until:
                    left = evidence.command_lines([node.mark.encode()])
                    raise AssertionError(f"processes of {name} do not end: {left}")
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
        killed = 0

        def done() -> bool:
            nonlocal killed
            killed = node.pid_of(part) or 0
            with suppress(ProcessLookupError):
                if killed:
                    os.kill(killed, signal.SIGKILL)
                    return True
            return False

        wait_for(done, f"{part} of {name} to be running")
        if part == "vigild" and node.process is not None:
            node.process.wait()
        return killed

    def wait_gone(self, name: str) -> None:
        """Until no process of the node is left; what its vigild started last may end a moment after it."""
        wait_for(lambda: not self.nodes[name].pids(), f"all processes of {name} to end")

    # --- questions ---------------------------------------------------------------------------------------------------

    def call(self, name: str, method: str, timeout_s: float = WAIT_S, /, **params: Any) -> Any:
        with Client(str(self.nodes[name].run_dir), timeout_s=timeout_s) as client:
            return client.call(method, **params)

    def status(self, name: str) -> dict[str, Any] | None:
        """None while the node's daemon does not answer."""
        with suppress(ApiError):
            answer: dict[str, Any] = self.call(name, "status", 5)
            return answer
        return None

    def online(self, seen_by: str) -> set[str]:
        return _online(self.status(seen_by))

    def wait_online(self, *names: str, limit_s: float = WAIT_S) -> None:
        """Until each of these nodes (default: all) sees exactly these online."""
        wanted = set(names or self.nodes)

        def sees(name: str) -> bool:
            process = self.nodes[name].process
            assert process is None or process.poll() is None, f"vigild of {name} has ended ({process.returncode})"
            return self.online(name) == wanted

        for name in sorted(wanted):
            wait_for(partial(sees, name), f"{name} to see {sorted(wanted)} online", limit_s)

    def wait_settled(self, *names: str, after: str = "") -> None:
        """Until each of these nodes (default: all) sees exactly these online, in one view, which is another than `after`."""
        wanted = set(names or self.nodes)

        def settled() -> bool:
            answers = [self.status(name) for name in sorted(wanted)]
            views = {_view(answer) for answer in answers}
            return (
                views.isdisjoint({"", after}) and len(views) == 1 and all(_online(each) == wanted for each in answers)
            )

        wait_for(settled, f"{sorted(wanted)} to be together" + (f" in a view after {after}" if after else ""))

    def view(self, name: str) -> str:
        """The id of the view that a node's crm is in; empty when it is in none, or does not answer."""
        return _view(self.status(name))

    def wait_idle(self, name: str, limit_s: float = WAIT_S) -> None:
        """Until the DC has nothing left to do; asked anew when a node's death cuts the answer off."""

        def idle() -> bool:
            with suppress(ApiError):
                self.call(name, "wait", timeout_ms=20_000)
                return True
            return False

        wait_for(idle, f"{name}: the cluster to be idle", limit_s)

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

    def at_once(self, resource: str) -> list[str]:
        """On which nodes a resource is active at one and the same moment.

        The nodes are looked at one after the other: what moves meanwhile would be seen twice. So they are looked at again, and only a state
        file that is still the same one counts.
        """
        first, second = self._state_files(resource), self._state_files(resource)
        found = sorted({name for name, *_ in first & second})
        return found if len(found) > 1 else []

    def _state_files(self, resource: str) -> set[tuple[str, str, int, int]]:
        found = set()
        for name, node in self.nodes.items():
            for path in (node.folder / "rsctmp").glob(f"*{resource}*.state"):
                with suppress(OSError):
                    stat = path.stat()
                    found.add((name, path.name, stat.st_ino, stat.st_ctime_ns))
        return found

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{node.log()}" for name, node in self.nodes.items())

    def last_words(self, *, asked: bool = True) -> list[evidence.Section]:
        found = []
        if asked:
            found += evidence.told_by_daemons("cluster", {name: node.run_dir for name, node in self.nodes.items()})
        found += evidence.events("event logs", {name: node.folder / "state" for name, node in self.nodes.items()})
        for name, node in self.nodes.items():
            found += evidence.tail(f"log of {name}", node.folder / "log")
        return found + evidence.tail("fence agent", self.fence_log)
