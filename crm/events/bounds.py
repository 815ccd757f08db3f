"""How large a record may be: nothing that is kept or written grows with what happened."""

from __future__ import annotations

from typing import Any, Final

MAX_ITEMS: Final = 50
"""Of a list in a record."""
MAX_TEXT: Final = 2000
"""Characters of a text in a record."""


def shortened(record: dict[str, Any]) -> dict[str, Any]:
    """The record itself when it is small enough; else a copy, with long lists and texts cut. `NAME_left_out` says by how much."""
    found = record
    for key, value in record.items():
        limit = MAX_ITEMS if isinstance(value, list) else MAX_TEXT if isinstance(value, str) else None
        if limit is not None and len(value) > limit:
            found = {**found, key: value[:limit], f"{key}_left_out": len(value) - limit}
    return found
