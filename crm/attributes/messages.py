"""What members say to one another about node attributes that are not simply written: parts of the controllers' `Changes`.

What a message does to the status section depends on the message and the document alone, never on a member's table: a member that has just come, and
does not know yet what is held back, writes exactly what the others write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Wish:
    """A client's wish for one attribute of one node. `value` None deletes; `value++` and `value+=N` count where the wish is delivered.

    `hold`: keep it back until its `Release`. `private`: it never goes to the status section. `delay_ms`: from now on the attribute's changes wait so
    long (0: not at all); None leaves that as it is. `valued` False: only the delay is meant.
    """

    node_id: str
    uname: str
    name: str
    value: str | None = None
    hold: bool = False
    private: bool = False
    delay_ms: int | None = None
    valued: bool = True


@dataclass(frozen=True, slots=True)
class Release:
    """The time of an attribute has come: these values are written, all at once. (node id, node name, value)"""

    name: str
    values: tuple[tuple[str, str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Told:
    """All that a member has in its table about one node (itself, or at the DC a node without a daemon), and the delays it knows. For those that have come."""

    node_id: str
    uname: str
    delays: Mapping[str, int]
    private: Mapping[str, str]
    held: Mapping[str, str | None]


Word = Wish | Release | Told

_KINDS: Final[dict[str, type[Any]]] = {"wish": Wish, "release": Release, "told": Told}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def encode(word: Word) -> list[Any]:
    """A JSON value: the kind, then the fields in order."""
    return [_NAMES[type(word)], *(getattr(word, name) for name in word.__slots__)]


def decode(data: list[Any]) -> Word:
    """The reverse. ValueError when it is none."""
    try:
        kind, *fields = data
        if kind == "release":
            name, values = fields
            return Release(name, tuple((node_id, uname, value) for node_id, uname, value in values))
        word: Word = _KINDS[kind](*fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not about attributes: {str(data)[:200]} ({error})") from None
    return word
