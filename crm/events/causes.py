"""Causal ids: one name for everything that came of one happening.

Theory of operation. What happens of itself (a view, a change of the configuration, an operation that fails while nobody ordered one, a point in time)
gets a new id where it is first known. What is done because of it, on whatever node, carries the same id: the decision, the transition, each order and its
result, the fencing. So one id is followed from the missed heartbeat to the service on another node.

When several happenings lead to one decision, the first one names it and the others are kept beside it (`after`). A tuple of causes is in that
order: the name first. It is bounded, because a cluster under load has many changes a second and one decision for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Causes = tuple[str, ...]

MAX_CAUSES: Final = 8
"""Causes kept of one decision."""


def joined(*groups: Iterable[str]) -> Causes:
    """All causes in their order, each once, at most `MAX_CAUSES`."""
    return tuple(dict.fromkeys(cause for group in groups for cause in group if cause))[:MAX_CAUSES]


def name_of(causes: Causes) -> str:
    """The id under which the consequences are recorded; empty when there is none."""
    return causes[0] if causes else ""


def of_view(view_id: object) -> str:
    return f"view-{view_id}"


def of_cib(version: object) -> str:
    return f"cib-{version}"


def of_silence(node: str, incarnation: int) -> str:
    """Known to all who miss this life of a node, before there is a view that says so."""
    return f"late-{node}.{incarnation}"
