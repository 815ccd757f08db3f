"""What the executor keeps of one resource over a restart of the daemon, as text.

Theory of operation. One JSON object a resource. It is written and read by the same version or the one before an upgrade, so unknown
fields are ignored and a text that lacks something is not used: the resource is then unknown and will be probed, which is
always safe. The text is only meaningful until the machine restarts; `statefiles` sees to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.types import AgentError, AgentId, ExecStatus
from crm.executor.types import AgentTraits, Order

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class SavedRepeat:
    """A recurring operation and its last reported (rc, status)."""

    order: Order
    call_id: int
    last: tuple[int, ExecStatus]


@dataclass(frozen=True, slots=True)
class Saved:
    """`definition`: an order whose parameters describe the resource, for a look at it; `role_rc`: what a monitor should find."""

    resource: str
    agent: AgentId
    entries: Mapping[str, Mapping[str, str]]
    repeats: tuple[SavedRepeat, ...]
    active: bool
    role_rc: int
    in_flight: bool
    last_call: int
    definition: Order | None


def dump(saved: Saved) -> str:
    data = {
        "format": FORMAT,
        "resource": saved.resource,
        "agent": str(saved.agent),
        "entries": {name: dict(entry) for name, entry in saved.entries.items()},
        "repeats": [[_order(repeat.order), repeat.call_id, *map(int, repeat.last)] for repeat in saved.repeats],
        "active": saved.active,
        "role_rc": saved.role_rc,
        "in_flight": saved.in_flight,
        "last_call": saved.last_call,
        "definition": None if saved.definition is None else _order(saved.definition),
    }
    return json.dumps(data, separators=(",", ":"))


def load(text: str) -> Saved | None:
    """None when the text is not one of ours, or torn."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            return None
        return Saved(
            resource=data["resource"],
            agent=AgentId.parse(data["agent"]),
            entries={name: dict(entry) for name, entry in data["entries"].items()},
            repeats=tuple(
                SavedRepeat(_read_order(order), call_id, (rc, ExecStatus(status)))
                for order, call_id, rc, status in data["repeats"]
            ),
            active=bool(data["active"]),
            role_rc=int(data["role_rc"]),
            in_flight=bool(data["in_flight"]),
            last_call=int(data["last_call"]),
            definition=None if data["definition"] is None else _read_order(data["definition"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, AgentError):
        return None


def _order(order: Order) -> dict[str, Any]:
    return {
        "resource": order.resource,
        "agent": str(order.agent),
        "action": order.action,
        "key": order.transition_key,
        "interval_ms": order.interval_ms,
        "target_rc": order.target_rc,
        "parameters": dict(order.parameters),
        "restart": order.traits.restart,
        "private": order.traits.private,
    }


def _read_order(data: Mapping[str, Any]) -> Order:
    restart = data["restart"]
    return Order(
        resource=data["resource"],
        agent=AgentId.parse(data["agent"]),
        action=data["action"],
        transition_key=data["key"],
        interval_ms=int(data["interval_ms"]),
        target_rc=int(data["target_rc"]),
        parameters=dict(data["parameters"]),
        traits=AgentTraits(None if restart is None else tuple(restart), tuple(data["private"])),
    )
