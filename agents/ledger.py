"""Which agents are at work, written down so that a successor finds them.

Theory of operation. When the daemon is killed, the agents it started go on. A start that still runs while its
successor begins a new one would be a double run, so nothing may be run on a resource before the predecessor's agents are
known to be gone. For each run there is one file in `RUN_DIR/operations`: it is written with a random token before the
program starts (the token is in the program's environment too), gets the pid when it has started, and is removed when the end is known.
`end_orphans` reads what a predecessor left and ends those agents, group by group.

A pid alone proves nothing after a while, but a process of that pid whose environment has the token and whose command line has the program
is the agent. When the daemon died between starting a program and writing its pid, the token is looked for in all processes. A
group whose leader has ended by itself is left alone: the agent did its work, and what remains in its group is the service.

The folder lies on a file system that does not survive a reboot, so nothing is synced.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.process import KILL_PATIENCE_MS, TERM_GRACE_MS, signal_group
from agents.types import Operation

TOKEN: Final = "VIGIL_OPERATION"
"""The environment variable that marks the processes of one run."""
_LOOK_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Orphan:
    """An operation that a predecessor started and whose end it never saw. `ended`: its agent was still there."""

    resource: str
    action: str
    interval_ms: int
    pid: int
    ended: bool


class Entry:
    """One run in the ledger. The file stays open while the agent runs: this is on the path of every operation."""

    def __init__(self, path: str, text: str, token: str) -> None:
        self.token = token
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(self._fd, text.encode())

    def started(self, pid: int) -> None:
        os.write(self._fd, b"%d\n" % pid)

    def done(self) -> None:
        self.leave()
        os.unlink(self._path)  # noqa: PTH108 - as above

    def leave(self) -> None:
        """The run is over for us, but its process is still there: the entry stays for a successor."""
        os.close(self._fd)


class Ledger:
    """The runs of one daemon. The folder is made when missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open(self, operation: Operation, program: str) -> Entry:
        """To be called before the program is started."""
        token = secrets.token_hex(8)
        record = {
            "resource": operation.resource,
            "action": operation.action,
            "interval_ms": operation.interval_ms,
            "program": program,
            "token": token,
        }
        return Entry(f"{self._folder}/{token}", json.dumps(record) + "\n", token)

    async def end_orphans(self) -> list[Orphan]:
        """End every agent that a predecessor left at work. To be called once, before the first run.

        Entries that cannot be read are dropped: they were being written when the daemon died, before the program started.
        """
        found = [self._read(path) for path in sorted(self._folder.iterdir())]
        entries = [entry for entry in found if entry is not None]
        by_token = _pids_by_token() if any(entry.pid == 0 for entry in entries) else {}
        return list(await asyncio.gather(*(_end(entry, by_token) for entry in entries)))

    def _read(self, path: Path) -> _Record | None:
        try:
            head, _, tail = path.read_text().partition("\n")
            record = json.loads(head)
            return _Record(
                path=path,
                resource=str(record["resource"]),
                action=str(record["action"]),
                interval_ms=int(record["interval_ms"]),
                program=str(record["program"]),
                token=str(record["token"]),
                pid=int(tail.strip() or 0),
            )
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            return None


@dataclass(frozen=True, slots=True)
class _Record:
    path: Path
    resource: str
    action: str
    interval_ms: int
    program: str
    token: str
    pid: int


async def _end(record: _Record, by_token: dict[str, list[int]]) -> Orphan:
    candidates = [record.pid] if record.pid else by_token.get(record.token, [])
    found = [pid for pid in candidates if _token_of(pid) == record.token and _runs(pid, record.program)]
    pid, alive = (found[0], True) if found else (record.pid, False)
    if alive:
        await _end_group(pid)
    record.path.unlink(missing_ok=True)
    return Orphan(record.resource, record.action, record.interval_ms, pid, alive)


async def _end_group(pgid: int) -> None:
    if not signal_group(pgid, signal.SIGTERM):
        return
    if not await _group_gone(pgid, TERM_GRACE_MS):
        signal_group(pgid, signal.SIGKILL)
        await _group_gone(pgid, KILL_PATIENCE_MS)


async def _group_gone(pgid: int, patience_ms: int) -> bool:
    deadline = time.monotonic() + patience_ms / 1000
    while _group_alive(pgid):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_LOOK_MS / 1000)
    return True


def _group_alive(pgid: int) -> bool:
    """Some member is still there. Zombies that nobody reaps do not count: they do nothing any more."""
    try:
        os.killpg(pgid, 0)
    except OSError:
        return False
    return any(_group_of(pid) == pgid for pid in _processes())


def _group_of(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[2])


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs ten times as much here
        if name.isdigit():
            yield int(name)


def _pids_by_token() -> dict[str, list[int]]:
    """Leaders of a session of their own that carry a token."""
    found: dict[str, list[int]] = {}
    for pid in _processes():
        token = _token_of(pid)
        if token is not None:
            found.setdefault(token, []).append(pid)
    return found


def _token_of(pid: int) -> str | None:
    """The token in the environment of a process that leads its session; None when it has none, or is gone."""
    wanted = TOKEN.encode() + b"="
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if wanted not in environment or os.getsid(pid) != pid:
            return None
    except OSError:
        return None
    entry = next((entry for entry in environment.split(b"\0") if entry.startswith(wanted)), wanted)
    return entry[len(wanted) :].decode("ascii", "replace")


def _runs(pid: int, program: str) -> bool:
    """The process is the agent itself and not a service that inherited its environment."""
    try:
        return program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
