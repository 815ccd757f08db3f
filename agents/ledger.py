"""Which agents are at work, written down so that a successor finds them.

Theory of operation. When the daemon is killed, the agents it started go on. A start that still runs while its
successor begins a new one would be a double run, so nothing may be run on a resource before the predecessor's agents are
known to be gone. For each run there is one file in `RUN_DIR/operations`: it is written with a random token before the
program starts (the token is in the program's environment too), gets the pid when it has started, and is removed when the end is known.
`end_orphans` reads what a predecessor left and ends those agents, group by group.

A pid alone proves nothing after a while: with it is kept the time at which the process started. When the daemon died
between starting a program and writing its pid, the token is looked for in the environments of the processes. A group whose
leader has ended by itself is left alone: the agent did its work, and what remains in its group is the service.

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
    """One run in the ledger."""

    def __init__(self, path: Path, text: str, token: str) -> None:
        self._path = path
        self._text = text
        self.token = token
        path.write_text(text)

    def started(self, pid: int) -> None:
        self._path.write_text(f"{self._text}{pid} {start_time(pid) or 0}\n")

    def done(self) -> None:
        self._path.unlink(missing_ok=True)


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
        return Entry(self._folder / token, json.dumps(record) + "\n", token)

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
            pid, _, started = tail.strip().partition(" ")
            return _Record(
                path=path,
                resource=str(record["resource"]),
                action=str(record["action"]),
                interval_ms=int(record["interval_ms"]),
                program=str(record["program"]),
                token=str(record["token"]),
                pid=int(pid or 0),
                started=int(started or 0),
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
    started: int


def start_time(pid: int) -> int | None:
    """When the process started (clock ticks after boot); None when it does not exist or has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the name in parentheses, may contain anything: the rest begins after the last parenthesis.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


async def _end(record: _Record, by_token: dict[str, list[int]]) -> Orphan:
    pid = record.pid
    if pid:
        alive = start_time(pid) == record.started
    else:
        pid = next((p for p in by_token.get(record.token, ()) if _runs(p, record.program)), 0)
        alive = pid != 0
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
    wanted = TOKEN.encode() + b"="
    for pid in _processes():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if wanted not in environment or os.getsid(pid) != pid:
                continue
        except OSError:
            continue
        for entry in environment.split(b"\0"):
            if entry.startswith(wanted):
                found.setdefault(entry[len(wanted) :].decode("ascii", "replace"), []).append(pid)
    return found


def _runs(pid: int, program: str) -> bool:
    """The process is the agent itself and not a service that inherited its environment."""
    try:
        return program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
