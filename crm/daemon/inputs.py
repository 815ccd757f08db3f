"""The inputs of decisions, kept as Pacemaker keeps them, so that each decision can be replayed (`crm_simulate -x`).

Theory of operation. There are three series: `pe-error-N.bz2` of decisions that met errors, `pe-warn-N.bz2` of those with warnings or fencing,
`pe-input-N.bz2` of all others. Each is numbered round and round within its limit (`pe-error-series-max` and so on; negative: without end, 0: nothing is
kept). The number is given at once, so that the event of the decision can name the file; one background thread compresses and writes them in their
order. When decisions come so fast that more than `WAITING_LIMIT` waits to be written, ordinary ones are left out (and not named), those with warnings
or errors only at twice that. Losing one is no harm, so nothing is synced.
"""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WAITING_LIMIT: Final = 64 << 20
"""Bytes of inputs, not yet compressed, that may wait: some hundred decisions about a thousand resources."""

_log = logging.getLogger("vigil.inputs")


@dataclass(frozen=True, slots=True)
class _Input:
    document: bytes
    epoch_s: int
    series: str
    number: int


class InputSeries:
    """Files in one folder. `last` names the newest one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next: dict[str, int] = {}
        self._waiting: deque[_Input] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self.last: Path | None = None

    def offer(self, document: bytes, epoch_s: int, series: str = "input", limit: int = -1) -> str | None:
        """The input of a decision that was made at `epoch_s`; the name of its file, None when it is not kept.

        `limit`: files of the series before numbers are used again.
        """
        most = WAITING_LIMIT if series == "input" else 2 * WAITING_LIMIT
        if limit == 0 or (self._waiting and self._waiting_bytes + len(document) > most):
            return None
        number = self._number(series, limit)
        self._waiting.append(_Input(document, epoch_s, series, number))
        self._waiting_bytes += len(document)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        return f"pe-{series}-{number}.bz2"

    def _number(self, series: str, limit: int) -> int:
        if series not in self._next:
            self._next[series] = 0
            with contextlib.suppress(OSError, ValueError):
                self._next[series] = int(self._mark(series).read_text()) + 1
        number = self._next[series]
        if 0 < limit <= number:
            number = 0
        self._next[series] = number + 1
        return number

    def _mark(self, series: str) -> Path:
        return self._folder / f"pe-{series}.last"

    async def _write(self) -> None:
        while self._waiting:
            each = self._waiting[0]
            try:
                self.last = await asyncio.to_thread(self._save, each)
            except OSError as error:
                _log.warning("the input of a transition (%s %d) could not be kept: %s", each.series, each.number, error)
            self._waiting.popleft()
            self._waiting_bytes -= len(each.document)

    def _save(self, each: _Input) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"pe-{each.series}-{each.number}.bz2"
        # The time of the decision belongs to its input; crm_simulate takes it from here.
        dated = each.document.replace(b"<cib ", f'<cib execution-date="{each.epoch_s}" '.encode(), 1)
        path.write_bytes(bz2.compress(dated, 1))
        self._mark(each.series).write_text(str(each.number))
        return path
