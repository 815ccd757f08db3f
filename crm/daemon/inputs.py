"""The inputs of decisions, kept as Pacemaker keeps them, so that each decision can be replayed (`crm_simulate -x`).

Theory of operation. There are three series: `pe-error-N.bz2` of decisions that met errors, `pe-warn-N.bz2` of those with warnings or fencing,
`pe-input-N.bz2` of all others. Each is numbered round and round within its limit (`pe-error-series-max` and so on; negative: without end, 0: nothing is
kept). They are compressed and written by one background thread, one at a time; when decisions come faster than that, the ones in between are
left out, but a warning or an error is not left out for an ordinary one. Losing one is no harm, so nothing is synced.
"""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import logging
from pathlib import Path
from typing import Final

_WEIGHT: Final = ("input", "warn", "error")

_log = logging.getLogger("vigil.inputs")


class InputSeries:
    """Files in one folder. `last` names the newest one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next: dict[str, int] = {}
        self._waiting: tuple[int, bytes, int, str, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self.last: Path | None = None

    def offer(self, number: int, document: bytes, epoch_s: int, series: str = "input", limit: int = -1) -> None:
        """The input of decision `number`, made at `epoch_s`. `limit`: files of the series before numbers are used again."""
        if limit == 0 or (self._waiting is not None and _WEIGHT.index(series) < _WEIGHT.index(self._waiting[3])):
            return
        self._waiting = (number, document, epoch_s, series, limit)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._waiting is not None:
            number, document, epoch_s, series, limit = self._waiting
            self._waiting = None
            try:
                self.last = await asyncio.to_thread(self._save, document, epoch_s, series, limit)
            except OSError as error:
                _log.warning("the input of transition %d could not be kept: %s", number, error)

    def _save(self, document: bytes, epoch_s: int, series: str, limit: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark = self._folder / f"pe-{series}.last"
        if series not in self._next:
            self._next[series] = 0
            with contextlib.suppress(OSError, ValueError):
                self._next[series] = int(mark.read_text()) + 1
        number = self._next[series]
        if 0 < limit <= number:
            number = 0
        path = self._folder / f"pe-{series}-{number}.bz2"
        # The time of the decision belongs to its input; crm_simulate takes it from here.
        dated = document.replace(b"<cib ", f'<cib execution-date="{epoch_s}" '.encode(), 1)
        path.write_bytes(bz2.compress(dated, 1))
        mark.write_text(str(number))
        self._next[series] = number + 1
        return path
