"""What the daemon remembers: `STATE_DIR/messaging.json` for good, `RUN_DIR/messaging-boot.json` until the next boot.

For good: the incarnation of this life (each start uses a higher one), the highest view sequence that may have been
used, and whose votes count where the members of a view have changed that (`messaging.quorum.Roll`). Until the boot: that `wait_for_all` is satisfied. A daemon that is restarted on a running machine goes on where it
was, while a machine that has been fenced starts anew and waits for all: that is what ends a fencing loop. RUN_DIR is
on a tmpfs on most machines; where it is not, the kernel's boot id in the file makes it void.

Writing replaces the file atomically and waits for the disk. A file that does not read falls back to the copy of the
state before; without any, both numbers restart from the clock, above whatever was used.

`Machine` is what this needs of the machine. The simulator has its own, with power that fails and files that rot.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

from messaging.effects import Durable
from messaging.errors import SetupError
from messaging.quorum import Roll, read_roll, roll_document

STATE_FILE = "messaging.json"
BOOT_FILE = "messaging-boot.json"


class Machine(Protocol):
    """Files, the clock on the wall, and the present boot. Methods on files raise OSError."""

    def read(self, path: Path) -> bytes: ...

    def replace(self, path: Path, data: bytes) -> None:
        """After a crash either the old or the new content is there; the new one once this has returned."""

    def wall_ms(self) -> int: ...

    def boot_id(self) -> str: ...


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash either the old or the new content is there. OSError when it cannot."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class ThisMachine:
    """The real one."""

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def replace(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_id(self) -> str:
        """The kernel's name for the present boot; empty where there is none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""


class StateStore:
    """The files of one node. `begin` must come first: it starts a new life."""

    def __init__(self, state_dir: Path, run_dir: Path, machine: Machine | None = None) -> None:
        self._machine: Machine = machine or ThisMachine()
        self._state = state_dir / STATE_FILE
        self._boot = run_dir / BOOT_FILE
        self.incarnation = 0
        self.durable = Durable(0, False)
        self.notes: list[str] = []

    def begin(self) -> None:
        """Read what the last life left and write down that a new one began. SetupError when the disk refuses."""
        state = self._read_state()
        self.incarnation = max(state["incarnation"] + 1, self._machine.wall_ms())
        roll, electors = self._read_roll()
        seen_all = self._read_seen_all() and not self.notes  # what was lost may have been whose votes count
        self.durable = Durable(state["sequence_ceiling"], seen_all, roll, electors)
        try:
            self.save(self.durable)
        except OSError as error:
            raise SetupError(f"cannot write {error.filename or self._state}: {error.strerror}") from None

    def save(self, durable: Durable) -> None:
        """Returns when it is on the disk. OSError when it cannot be."""
        if durable.seen_all != self._read_seen_all():
            self._write(self._boot, {"boot_id": self._machine.boot_id(), "seen_all": durable.seen_all})
        document: dict[str, Any] = {"incarnation": self.incarnation, "sequence_ceiling": durable.sequence_ceiling}
        if durable.roll is not None:
            document["roll"] = roll_document(durable.roll)
            document["electors"] = list(durable.electors)
        self._write(self._state, document)
        self._write(self._state.with_name(f"{STATE_FILE}.copy"), document)
        self.durable = durable

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        self._machine.replace(path, (json.dumps(document, sort_keys=True) + "\n").encode())

    def _read_state(self) -> dict[str, int]:
        faults = 0
        for path in (self._state, self._state.with_name(f"{STATE_FILE}.copy")):
            try:
                document = json.loads(self._machine.read(path))
                return {name: int(document[name]) for name in ("incarnation", "sequence_ceiling")}
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError, KeyError) as error:
                faults += 1
                self.notes.append(f"{path} does not read ({error}): falling back")
        ceiling = (
            self._machine.wall_ms() // 1000 if faults else 0
        )  # views never come faster than one a second for years
        return {"incarnation": 0, "sequence_ceiling": ceiling}

    def _read_roll(self) -> tuple[Roll | None, tuple[int, ...]]:
        """Of the same file that `_read_state` takes the numbers from; none where that has none."""
        for path in (self._state, self._state.with_name(f"{STATE_FILE}.copy")):
            try:
                document = json.loads(self._machine.read(path))
                if "roll" not in document:
                    return None, ()
                return read_roll(document["roll"]), tuple(int(number) for number in document["electors"])
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError, KeyError) as error:
                self.notes.append(f"{path} has no electorate that reads ({error}): falling back")
        return None, ()

    def _read_seen_all(self) -> bool:
        try:
            document = json.loads(self._machine.read(self._boot))
            return bool(document["seen_all"]) and document["boot_id"] == self._machine.boot_id()
        except (OSError, ValueError, TypeError, KeyError):
            return False
