"""What the arbiter keeps on disk: for each cluster one small file, replaced whole and synced before anybody is answered."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from messaging.arbiter.core import Kept, Record


class Records:
    """The records below a folder. `notes` names what could not be read; the core then assumes the worst of that cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.notes: list[str] = []

    def load(self) -> dict[str, Record]:
        """Everything that is whole."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                document = json.loads(path.read_text(encoding="utf-8"))
                grants = tuple(
                    Kept(int(each["grant"]), tuple(map(int, each["part"])), int(each["hold_ms"]))
                    for each in document["grants"]
                )
                found[str(document["cluster"])] = Record(int(document["last_grant"]), grants)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.notes.append(f"{path} is damaged ({type(error).__name__}): its cluster begins anew, after a pause")
        return found

    def save(self, cluster: str, record: Record) -> None:
        """Returns when it is on stable storage. OSError when it is not."""
        path = self._folder / f"{cluster}.json"
        temporary = path.with_suffix(".new")
        text = json.dumps({"cluster": cluster, **asdict(record)}) + "\n"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def forget(self, cluster: str) -> None:
        with suppress(FileNotFoundError):
            (self._folder / f"{cluster}.json").unlink()
