"""The event log on disk: every record of this node, a JSON object a line, in files of bounded size.

Theory of operation. Records are appended to a list as they happen; a thread writes what has gathered, one batch at a time, so that order holds and
the daemon never waits for the disk. When the disk hangs, `MAX_WAITING` records may gather; more are dropped and counted, and the count is a record
of its own as soon as something can be written again. A file that has reached its size becomes `events.jsonl.1` (and that one `.2`, ...).
Records are not forced onto the disk: a power cut may cost the last seconds, which the other nodes have in their own words.

Reading is done in a thread too, from the newest record backwards, and looks at a line's bytes before it is parsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from crm.events.bounds import shortened
from crm.events.select import Selection

Record = dict[str, Any]

MAX_WAITING: Final = 20_000
"""Records that may wait for the disk."""
FLUSH_LIMIT_S: Final = 1.0
"""How long a reader waits for what is being written."""
NAME: Final = "events.jsonl"
FILE_MODE: Final = 0o640
STRAYS: Final = 10_000
"""Records in a row that are too old, after which nothing older is looked at. A clock that was set back by hours leaves fewer behind it."""
EVERYTHING: Final = Selection()
_BLOCK: Final = 256 * 1024
_TIME: Final = re.compile(rb'"time_ms": ?(\d+)')

_log = logging.getLogger("vigil.events")
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


class Files:
    """`folder/events.jsonl` and the older files beside it. One batch at a time."""

    def __init__(self, folder: Path, max_bytes: int, keep: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._keep = keep
        self._size = -1
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        return self.folder / NAME

    def write(self, lines: list[bytes]) -> None:
        """Append. OSError when the disk refuses; then nothing, or the beginning, has been written."""
        with self._lock:
            self._append(lines)

    def _append(self, lines: list[bytes]) -> None:
        at = 0
        while at < len(lines):
            if self._size < 0:
                self._begin()
            room = self._max_bytes - self._size
            end = at
            while end < len(lines) and (room > 0 or end == at == 0):
                room -= len(lines[end])
                end += 1
            if end > at:
                data = b"".join(lines[at:end])
                try:
                    with self._open() as file:
                        file.write(data)
                except OSError:
                    self._size = -1  # a part of a line may be there: whoever goes on begins a new one
                    raise
                self._size += len(data)
                at = end
            if self._size >= self._max_bytes:
                self._rotate()

    def newest_first(self) -> list[BinaryIO]:
        """The files that are there, opened at one moment: what is renamed while they are read stays what it was."""
        found: list[BinaryIO] = []
        with self._lock:
            for number in range(self._keep + 1):
                with contextlib.suppress(FileNotFoundError):
                    found.append(self._older(number).open("rb"))
        return found

    def _begin(self) -> None:
        """Go on in the file of a predecessor. What it could not finish is a line of its own, which readers skip."""
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with self._open() as file:
            self._size = file.seek(0, os.SEEK_END)
            if self._size and os.pread(file.fileno(), 1, self._size - 1) != b"\n":
                self._size += file.write(b"\n")
        self.path.chmod(FILE_MODE)

    def _open(self) -> BinaryIO:
        """At its end. Somebody may have moved it away: then a new one is begun."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        opened = os.open(self.path, flags, FILE_MODE)
        if os.fstat(opened).st_size == 0:
            os.fchmod(opened, FILE_MODE)  # whatever the umask of whoever started this daemon
        return os.fdopen(opened, "ab+")

    def _rotate(self) -> None:
        if self._keep == 0:
            self.path.unlink(missing_ok=True)
        for number in range(self._keep, 0, -1):
            younger = self._older(number - 1)
            if younger.exists():
                younger.replace(self._older(number))
        self._size = -1

    def _older(self, number: int) -> Path:
        return self.folder / (f"{NAME}.{number}" if number else NAME)


class EventLog:
    """See the module's text. `append` is a listener of the journal; `lost` is told how many records could not be written, and why."""

    def __init__(self, files: Files, lost: Callable[[int, str], None]) -> None:
        self.files = files
        self.written = 0
        self._lost = lost
        self._waiting: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._dropped = 0
        self._why = ""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def append(self, record: Record) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.append(encode(record))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Everything is in the file, unless the disk refuses."""
        while self._writing is not None:
            await self._writing

    def last_words(self) -> None:
        """This process ends at once: what waits is written now, by whoever calls."""
        lines, self._waiting = self._waiting, []
        try:
            self.files.write(lines)
        except OSError as error:
            _log.error("the last records could not be written: %s", error)

    async def _write(self) -> None:
        try:
            while self._waiting:
                lines, self._waiting = self._waiting, []
                try:
                    await asyncio.to_thread(self.files.write, lines)
                except OSError as error:
                    if not self._why:
                        _log.error("the event log in %s cannot be written: %s", self.files.folder, error)
                    self._dropped += len(lines)
                    self._why = str(error)
                    continue
                self.written += len(lines)
                if self._dropped:
                    count, why, self._dropped, self._why = self._dropped, self._why, 0, ""
                    self._lost(count, why)
        finally:
            self._writing = None

    # --- reading -----------------------------------------------------------------------------------------------------

    async def read(self, selection: Selection = EVERYTHING, limit: int = 1000) -> list[Record]:
        """The last `limit` records of a selection; oldest first."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=FLUSH_LIMIT_S)
        return await asyncio.to_thread(read, self.files, selection, limit)


def read(files: Files, selection: Selection, limit: int) -> list[Record]:
    """From the newest back. Since a clock may have been set, a record that is too old does not end it, but `STRAYS` of them in a row do."""
    found: list[Record] = []
    hint = selection.hint()
    strays = 0
    with contextlib.ExitStack() as opened:
        for file in [opened.enter_context(each) for each in files.newest_first()]:
            for line in _backwards(file):
                at = _TIME.search(line)
                if at is not None and int(at[1]) < selection.since_ms:
                    strays += 1
                    if strays == STRAYS:
                        return found[::-1]
                    continue
                strays = 0
                if not hint.may_be(line):
                    continue
                record = _decode(line)
                if record is None or not selection.takes(record):
                    continue
                found.append(record)
                if len(found) == limit:
                    return found[::-1]
    return found[::-1]


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, the last one first, a block at a time: the end is what is asked for most."""
    at = file.seek(0, os.SEEK_END)
    rest = b""
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        rest, *lines = (file.read(size) + rest).split(b"\n")
        yield from reversed(lines)
    yield rest


def encode(record: Record) -> bytes:
    """One line."""
    return _encoder.encode(shortened(record)).encode("utf-8", "replace") + b"\n"


def _decode(line: bytes) -> Record | None:
    """None for what is not a record: a line that a power cut has cut, or somebody's note."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("time_ms"), int) and {"event", "node"} <= record.keys()
    return record if whole else None
