"""The files behind the executor's `Persist`: kept while the machine is up, worthless afterwards.

Theory of operation. One file a resource in `RUN_DIR/executor`, replaced atomically. Nothing is synced: a crash of the machine, after which
the files could be torn or old, also ends everything they tell about. Where the folder does survive a restart of the machine, the identity of
the boot in `boot` tells: when it is another one, all of it is thrown away. In a PID namespace (a node of a laboratory, a container) the
machine is the namespace, so the start of its first process belongs to the identity.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")
_SUFFIX: Final = ".json"


def boot_identity() -> str:
    """The same until the machine, or the PID namespace, is started again."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    first = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot}:{first}"


class StateFiles:
    """The folder of one node's executor. It is made when missing and emptied when it tells of another boot."""

    def __init__(self, folder: Path, boot: str | None = None) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity = boot_identity() if boot is None else boot
        mark = folder / "boot"
        if not mark.exists() or mark.read_text() != identity:
            self.clear()
            mark.write_text(identity)

    def load(self) -> list[str]:
        """Every text that was kept."""
        return [path.read_text(errors="replace") for path in sorted(self._folder.glob("*" + _SUFFIX))]

    def keep(self, resource: str, text: str | None) -> None:
        """What a `Persist` asks for."""
        path = self._folder / (_file_name(resource) + _SUFFIX)
        if text is None:
            path.unlink(missing_ok=True)
            return
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(path)

    def clear(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()


def _file_name(resource: str) -> str:
    """Resource ids may hold colons and be long; what is not a plain name becomes a digest."""
    return resource if _SAFE.match(resource) else hashlib.sha256(resource.encode()).hexdigest()
