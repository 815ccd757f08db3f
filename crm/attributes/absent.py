"""Values that were set for a node while its crm was away.

Theory of operation. A node that comes back tells its transient attributes itself, since nobody else may know what was set on it meanwhile; so what the others had set for
it would be gone, though a client was told that it is done. Each member of a quorate view therefore notes what is set for those that are not there. When
one of them comes back, and it is the same life of the machine, the DC sets it again; what has been set again leaves the notes of all, so a DC that
dies in between loses nothing. A machine that was restarted, or is known to be off, has no attributes any more, and no notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class AbsentNotes:
    """By node id, name and value (None: deleted)."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, str | None]] = {}

    def note(self, node_id: str, values: Mapping[str, str | None]) -> None:
        """Set for a node that is not there; the last value of a name counts."""
        known = self._notes.setdefault(node_id, {})
        for name, value in values.items():
            known.pop(name, None)
            known[name] = value

    def drop(self, node_id: str, names: Iterable[str]) -> None:
        """Set while the node was there: it knows that itself."""
        known = self._notes.get(node_id, {})
        for name in names:
            known.pop(name, None)
        if not known:
            self._notes.pop(node_id, None)

    def forget(self, node_id: str) -> None:
        self._notes.pop(node_id, None)

    def of(self, node_id: str) -> dict[str, str | None]:
        return dict(self._notes.get(node_id, {}))
