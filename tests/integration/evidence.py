"""What a failed test leaves for whoever reads its output: the logs of all nodes, what happened on them, what they were told.

Everything is bounded. A cluster that is taken away before the report is made has left its words behind (`keep`); who is asked while it lives is asked
through its daemons, with a short limit, because a daemon that does not answer may be what failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from crm.api.client import Client
from crm.api.errors import ApiError

LOG_LINES = 150
EVENT_LINES = 150
CIB_BYTES = 20_000
LINE_CHARACTERS = 400
ANSWER_LIMIT_S = 3.0

Section = tuple[str, str]


class Witness:
    """Something with words: a lab, or a cluster on loopback."""

    def __init__(self) -> None:
        self.kept: list[Section] | None = None

    def last_words(self) -> list[Section]:
        raise NotImplementedError

    def words(self) -> list[Section]:
        """Those of now, or those kept before it was taken away. Never raises: a failure is being told."""
        if self.kept is not None:
            return self.kept
        try:
            return self.last_words()
        except Exception as error:
            return [("evidence", f"no last words: {error!r}")]

    def keep(self) -> None:
        self.kept = self.words()


_witnesses: list[Witness] = []


def call(witness: Witness) -> None:
    """From now on failures show what it says."""
    _witnesses.append(witness)


def forget_the_dead() -> None:
    """A new test begins: what was taken away before it has nothing to do with it."""
    _witnesses[:] = [each for each in _witnesses if each.kept is None]


def sections() -> list[Section]:
    return [section for each in _witnesses for section in each.words()]


# --- what can be told of nodes ----------------------------------------------------------------------------------------


def tail(title: str, path: Path, lines: int = LOG_LINES) -> list[Section]:
    """The end of a file; nothing when there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    found = [line[:LINE_CHARACTERS] for line in text.splitlines()[-lines:]]
    return [(title, "\n".join(found))] if found else []


def events(title: str, state_dirs: dict[str, Path]) -> list[Section]:
    """The last records of all nodes' event logs on disk, in one order."""
    found: list[tuple[int, str]] = []
    for folder in state_dirs.values():
        for path in (folder / "events").glob("events.jsonl*"):
            with suppress(OSError):
                for line in path.read_text(errors="replace").splitlines():
                    with suppress(ValueError, KeyError, TypeError):
                        found.append((int(json.loads(line)["order"]), line[:LINE_CHARACTERS]))
    return [(title, "\n".join(line for _, line in sorted(found)[-EVENT_LINES:]))] if found else []


def told_by_daemons(name: str, run_dirs: dict[str, Path]) -> list[Section]:
    """How each daemon sees the cluster, and the CIB of one that answers."""
    states, cib = [], ""
    for node, run_dir in run_dirs.items():
        status = _ask(run_dir, "status")
        states.append(f"{node}: {_short(status)}")
        if isinstance(status, dict) and not cib:
            answer = _ask(run_dir, "cib.query")
            cib = str(answer["xml"]) if isinstance(answer, dict) else ""
    found = [(f"{name}: status, as each node tells it", "\n".join(states))]
    if cib:
        found.append((f"{name}: CIB", cib[:CIB_BYTES] + ("\n..." if len(cib) > CIB_BYTES else "")))
    return found


def _ask(run_dir: Path, method: str) -> Any:
    try:
        with Client(str(run_dir), timeout_s=ANSWER_LIMIT_S) as client:
            return client.call(method)
    except ApiError as error:
        return str(error)


def _short(status: Any) -> str:
    if not isinstance(status, dict):
        return str(status)
    keys = ("dc", "version", "controller", "transition", "busy", "pending", "view", "quorum", "fencing")
    nodes = {each["name"]: each["state"] for each in status["nodes"]}
    return json.dumps({"nodes": nodes, **{key: status.get(key) for key in keys}})[: 10 * LINE_CHARACTERS]


def command_lines(marks: Iterable[bytes]) -> list[str]:
    """`PID COMMAND` of every process that has one of these in its environment or its command line."""
    wanted = list(marks)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "environ").read_bytes() + b"\0" + (entry / "cmdline").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(mark in text for mark in wanted):
            found.append(f"{entry.name} {command.strip()}")
    return found
