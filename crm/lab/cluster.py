"""What `crm lab` does: make a lab, look at it, break it, mend it, take it away.

Every function takes a `Lab` and either does what its name says or raises LabError with a sentence for the person who asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crm.api.client import Client
from crm.api.errors import ApiError
from crm.lab import isolation, layout
from crm.lab.client import ask
from crm.lab.configuration import write_configuration
from crm.lab.layout import MAX_NODES, Isolation, Lab, LabError, TieBreaker, Timers

KEEPER_LIMIT_S = 60.0
POLL_S = 0.02
PORTS = range(21000, 32000)
"""Below those that the kernel hands out by itself."""


def plan(
    name: str,
    *,
    nodes: int = 2,
    tie_breaker: TieBreaker = TieBreaker.PING,
    isolation_wanted: str = "auto",
    timers: Timers | None = None,
    no_fencing: bool = False,
    watchdog_ms: int = 0,
) -> tuple[Lab, str]:
    """A lab that could be made, and why it is isolated as it is. Nothing exists yet."""
    layout.check_name(name)
    if not 1 <= nodes <= MAX_NODES:
        raise LabError(f"a lab has 1 to {MAX_NODES} nodes, got {nodes}")
    folder = layout.home() / name
    if (folder / "lab.json").exists():
        raise LabError(f"lab {name!r} exists already: crm lab down --name {name} removes it")
    verdict = isolation.choose(isolation_wanted)
    lab = Lab(
        name=name,
        folder=folder,
        nodes=tuple(f"n{number}" for number in range(1, nodes + 1)),
        isolation=verdict.isolation,
        rootless=verdict.rootless,
        tie_breaker=tie_breaker,
        timers=timers or Timers(),
        base_port=_free_port_block(nodes) if verdict.isolation is Isolation.PROCESS else 0,
        no_fencing=no_fencing,
        watchdog_ms=watchdog_ms,
    )
    layout.check_paths(lab)
    return lab, verdict.reason


def _free_port_block(nodes: int) -> int:
    """A block of loopback ports of which none is taken. The search begins anywhere, so that two labs made at one time get different ones."""
    size = layout.ports_needed(nodes)
    count = len(PORTS) // size
    first = secrets.randbelow(count)
    for number in range(count):
        base = PORTS.start + (first + number) % count * size
        if all(_is_free(port) for port in range(base, base + size)):
            return base
    raise LabError(f"no free block of {size} ports between {PORTS.start} and {PORTS.stop} on loopback")


def _is_free(port: int) -> bool:
    """For TCP and UDP."""
    with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            stream.bind(("127.0.0.1", port))
            datagram.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def up(lab: Lab, *, power_on: bool = True) -> None:
    """Make the lab and power all its nodes on. On failure everything made so far is taken away again."""
    lab.folder.mkdir(parents=True)
    try:
        lab.save()
        write_configuration(lab)
        _start_keeper(lab)
        if power_on:
            for node in lab.nodes:
                ask(lab, "power-on", node=node)
    except BaseException:
        down(lab.name)
        raise


def _start_keeper(lab: Lab) -> None:
    command = [sys.executable, "-m", "crm.lab.keeper", "--lab", str(lab.folder)]
    if lab.isolation is Isolation.MACHINE:
        command = [*isolation.namespace_prefix(lab.rootless), *command]
    log = lab.folder / "keeper.log"
    with log.open("ab") as said:
        try:
            # It ends as soon as the keeper is ready, and leaves it behind.
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                timeout=KEEPER_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"the keeper did not come up within {KEEPER_LIMIT_S:.0f} s; see {log}") from None
    if result.returncode != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise LabError(f"the keeper ended: {lines[-1] if lines else f'exit code {result.returncode}'}")


def down(name: str) -> None:
    """Power everything off, end the keeper, remove the folder. Works on a half-made or damaged lab too."""
    layout.check_name(name)
    folder = layout.home() / name
    if not folder.exists():
        raise LabError(f"there is no lab named {name!r}")
    pid = _keeper_pid(folder)
    with contextlib.suppress(LabError):  # damaged or not running: the signals below do
        ask(layout.load(name), "shutdown")
    if pid is not None:
        _end(pid)
    shutil.rmtree(folder)
    if not any(layout.home().iterdir()):
        layout.home().rmdir()


def _keeper_pid(folder: Path) -> int | None:
    """The keeper's pid, if the process of that number still is this lab's keeper."""
    try:
        pid = int((folder / "keeper.pid").read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(folder).encode() in words else None


def _end(pid: int) -> None:
    """Wait for the keeper's own end, then ask, then insist."""
    for number, limit_s in ((None, 3.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        if number is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if _gone(pid):
                return
            time.sleep(POLL_S)
    raise LabError(f"the keeper (pid {pid}) did not end")


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def enter(lab: Lab, node: str) -> tuple[list[str], dict[str, str]]:
    """The command prefix and the environment in which something runs on a node."""
    check_node(lab, node)
    state = ask(lab, "status")["nodes"][node]
    if state["power"] != "on" or state["pid"] is None:
        raise LabError(f"{node} is off (crm lab power-on {node})")
    environment = os.environ | {"VIGIL_RUN_DIR": str(lab.run_dir(node)), "VIGIL_NODE": node}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', '')}:/usr/sbin:/sbin"
    if lab.isolation is Isolation.PROCESS:
        return [], environment
    user = ["--user", "--preserve-credentials"] if lab.rootless else []
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
    return ["nsenter", "--target", str(state["pid"]), *user, *namespaces, "--"], environment


def run(lab: Lab, node: str, command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command on a node; `options` go to subprocess.run."""
    prefix, environment = enter(lab, node)
    return subprocess.run([*prefix, *command], env=environment, check=False, **options)


def check_node(lab: Lab, node: str) -> None:
    if node not in lab.nodes:
        raise LabError(f"lab {lab.name!r} has no node {node!r}; it has {', '.join(lab.nodes)}")


def api(lab: Lab, node: str, *, timeout_s: float = 60.0) -> Client:
    """A connection to the node's daemon: its socket lies in the lab's folder."""
    check_node(lab, node)
    return Client(str(lab.run_dir(node)), timeout_s=timeout_s)


def status(lab: Lab, node: str) -> dict[str, Any] | None:
    """What the node's daemon says of the cluster; None when no daemon answers there."""
    try:
        with api(lab, node, timeout_s=5.0) as client:
            answer: dict[str, Any] = client.call("status")
            return answer
    except ApiError:
        return None


def online(lab: Lab) -> set[str]:
    """The nodes that every node's daemon reports as online."""
    return set.intersection(*(online_at(lab, node) for node in lab.nodes))


def online_at(lab: Lab, node: str) -> set[str]:
    """The nodes that this node's daemon reports as online; none when it does not answer."""
    answer = status(lab, node)
    return {each["name"] for each in answer["nodes"] if each["state"] == "online"} if answer else set()


def view_at(lab: Lab, node: str) -> str:
    """The id of the view that this node's crm is in; empty when it is in none, or does not answer."""
    answer = status(lab, node)
    return str(answer["view"]["id"]) if answer and answer["view"] else ""


def wait_for(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    """Seconds until `condition()` held; LabError when it did not within `limit_s`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise LabError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(POLL_S)
    return time.monotonic() - began
