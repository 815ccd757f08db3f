"""Dampening: changes of a node attribute that come in quick succession become one.

Theory of operation. An attribute with a delay is held back until nothing has changed it for that long; then its newest value is written, once. A value that
returns to what was written before cancels the change. However often it changes, it is written at the latest `LONGEST` delays after the
first change, so that a flapping value cannot hide for ever. Without delay a value passes at once, together with what is held back of the
same attribute.

Values live in the status section; this class holds only what is not written yet. It knows no clock: `now_ms` is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST: Final = 5
"""Delays after the first change until it is written in any case."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write this value (None: delete) for this node now."""

    node_id: str
    uname: str
    name: str
    value: str | None


@dataclass(slots=True)
class _Held:
    write: Write
    due_ms: int
    latest_ms: int


class AttributeManager:
    """See the module's text."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], _Held] = {}

    def update(
        self,
        node_id: str,
        uname: str,
        name: str,
        value: str | None,
        delay_ms: int,
        written: str | None,
        now_ms: int,
    ) -> list[Write]:
        """A new value; `written` is what the status section has. What is to be written at once comes back."""
        key = (node_id, name)
        write = Write(node_id, uname, name, value)
        if delay_ms <= 0:
            return [*self._release(name), write] if self._drop(key) or value != written else self._release(name)
        if value == written:
            self._drop(key)
            return []
        held = self._held.get(key)
        latest = now_ms + LONGEST * delay_ms if held is None else held.latest_ms
        self._held[key] = _Held(write, min(now_ms + delay_ms, latest), latest)
        return []

    def on_tick(self, now_ms: int) -> list[Write]:
        """What is due now, with everything else that is held back of the same attributes: readers see one change."""
        names = {held.write.name for held in self._held.values() if held.due_ms <= now_ms}
        return [write for name in sorted(names) for write in self._release(name)]

    def held(self, node_id: str) -> dict[str, str | None]:
        """Values of a node that are not written yet; None for one that will be deleted."""
        return {name: held.write.value for (identity, name), held in self._held.items() if identity == node_id}

    def next_wake_ms(self) -> int | None:
        return min((held.due_ms for held in self._held.values()), default=None)

    def _release(self, name: str) -> list[Write]:
        keys = [key for key in self._held if key[1] == name]
        return [self._held.pop(key).write for key in keys]

    def _drop(self, key: tuple[str, str]) -> bool:
        return self._held.pop(key, None) is not None
