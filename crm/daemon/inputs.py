"""The inputs of decisions, kept as Pacemaker keeps them: `pe-input-N.bz2`, so that each decision can be replayed (`crm_simulate -x`).

Theory of operation. The newest `SERIES` are kept, numbered round and round. They are compressed and written by one background thread,
one at a time; when decisions come faster than that, the ones in between are left out. Losing one is no harm, so nothing is synced.
"""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import logging
from pathlib import Path
from typing import Final

SERIES: Final = 1000
"""Files kept before numbers are used again."""

_log = logging.getLogger("vigil.inputs")


class InputSeries:
    """Files in one folder. `last` names the newest one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next: int | None = None
        self._waiting: tuple[int, bytes, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self.last: Path | None = None

    def offer(self, number: int, document: bytes, epoch_s: int) -> None:
        self._waiting = (number, document, epoch_s)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._waiting is not None:
            number, document, epoch_s = self._waiting
            self._waiting = None
            try:
                self.last = await asyncio.to_thread(self._save, document, epoch_s)
            except OSError as error:
                _log.warning("the input of transition %d could not be kept: %s", number, error)

    def _save(self, document: bytes, epoch_s: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark = self._folder / "pe-input.last"
        if self._next is None:
            self._next = 0
            with contextlib.suppress(OSError, ValueError):
                self._next = (int(mark.read_text()) + 1) % SERIES
        path = self._folder / f"pe-input-{self._next}.bz2"
        # The time of the decision belongs to its input; crm_simulate takes it from here.
        dated = document.replace(b"<cib ", f'<cib execution-date="{epoch_s}" '.encode(), 1)
        path.write_bytes(bz2.compress(dated, 1))
        mark.write_text(str(self._next))
        self._next = (self._next + 1) % SERIES
        return path
