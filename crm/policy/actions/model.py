"""Actions, and the relations between them.

Theory of operation. An `Action` is one thing that may happen: an operation of a resource on a node, a fencing, a shutdown, or a
pseudo-action that others are only ordered around. A `Relation` says how one action (`first`) bears on another (`then`). Both are
plain mutable records without behaviour; the plan creates them, propagation changes their flags, the graph writes them down.

Flags and relation bits are plain ints: propagation tests millions of them. Every list of actions or relations is kept oldest first (it
only ever grows at its end); where the specification says "newest first" it is read backwards. Sections are those of part 3 of the
scheduler specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crm.policy.model import Node, OpConfig, Resource

# --- flags of an action (2.1) -----------------------------------------------------------------------------------------

OPTIONAL: Final = 1  # need not happen; without it the action is required
RUNNABLE: Final = 2
PSEUDO: Final = 4
MIGRATABLE: Final = 8  # part of a live migration
ALWAYS: Final = 16  # goes into the graph even when optional
RESCHEDULE: Final = 32  # a recurring action whose definition changed
ABORT: Final = 64  # the stop of a dangling migration source
ON_DC: Final = 128  # needs no live node

# --- bits of a relation (10.1) ----------------------------------------------------------------------------------------

ORD: Final = 1 << 0
THENREQ: Final = 1 << 1
FIRSTREQ: Final = 1 << 2
PROMREQ: Final = 1 << 3
BLOCK: Final = 1 << 4
RESTART: Final = 1 << 5
MIGBLOCK: Final = 1 << 6
REAL: Final = 1 << 7
ASYM: Final = 1 << 8
MIN: Final = 1 << 9
NESTPROBE: Final = 1 << 10
THENREQ1: Final = 1 << 11
CANCEL: Final = 1 << 12
SAMENODE: Final = 1 << 13
TGRAPH: Final = 1 << 14
FGRAPH: Final = 1 << 15
IFUNMIG: Final = 1 << 16
ANTI: Final = 1 << 17
LOAD: Final = 1 << 18
SERIAL: Final = 1 << 19
GUESTOK: Final = 1 << 20

# Completion names (10, 13.2): what a collective's action is called once all its parts are done, and back.
COMPLETED: Final = {
    "start": "running",
    "stop": "stopped",
    "promote": "promoted",
    "demote": "demoted",
    "notify": "notified",
}
ELEMENTARY: Final = {done: task for task, done in COMPLETED.items()}


class Action:
    """One possible action. `id` is its place in the order of creation, from 1."""

    __slots__ = (
        "cause",
        "count",
        "extra",
        "flags",
        "id",
        "inputs",
        "interval_ms",
        "key",
        "meta",
        "minimum",
        "needs",
        "node",
        "op",
        "outputs",
        "own_meta",
        "priority",
        "reason",
        "related",
        "rsc",
        "summary",
        "summary_at",
        "synapse",
        "task",
        "version",
    )

    def __init__(
        self, number: int, key: str, task: str, rsc: Resource | None, node: Node | None, flags: int, interval_ms: int
    ) -> None:
        self.id = number
        self.key = key
        self.task = task
        self.rsc = rsc
        self.node = node
        self.flags = flags
        self.interval_ms = interval_ms
        self.op: OpConfig | None = None
        self.meta: dict[str, str] = _EMPTY  # shared by all actions of one definition; never changed
        self.own_meta: Mapping[str, str] | None = None  # wins over `meta`; replaced, never changed: probes share it
        self.extra: dict[str, str] | None = None
        self.needs = ""  # "", "quorum" or "fencing"
        self.reason: str | None = None
        self.cause: Action | None = None  # the action that the reason names, if one does
        self.priority = 0
        self.minimum = 0  # runnable predecessors needed; 0: an ordinary action
        self.count = 0
        self.inputs: list[Relation] = []
        self.outputs: list[Relation] = []
        self.related: dict[Action, int] | None = None  # bits declared towards each output, once there are many
        self.version = 0  # propagation's clock when the flags last changed
        self.summary = 0  # a collective's flags seen through its children, and when they were computed
        self.summary_at = -1
        self.synapse = -1  # place in the graph, once written

    # Readable forms of the flags for everything but the inner loops.

    @property
    def optional(self) -> bool:
        return bool(self.flags & OPTIONAL)

    @property
    def runnable(self) -> bool:
        return bool(self.flags & RUNNABLE)

    @property
    def pseudo(self) -> bool:
        return bool(self.flags & PSEUDO)

    @property
    def migratable(self) -> bool:
        return bool(self.flags & MIGRATABLE)

    @property
    def in_graph(self) -> bool:
        return self.synapse >= 0

    def get_meta(self, name: str) -> str | None:
        if self.own_meta is not None:
            value = self.own_meta.get(name)
            if value is not None:
                return value
        return self.meta.get(name)

    def set_meta(self, name: str, value: str) -> None:
        self.add_meta({name: value})

    def add_meta(self, values: Mapping[str, str]) -> None:
        if values:
            self.own_meta = values if self.own_meta is None else {**self.own_meta, **values}

    def all_meta(self) -> dict[str, str]:
        return {**self.meta, **self.own_meta} if self.own_meta else self.meta

    def __repr__(self) -> str:
        where = f" {self.node.name}" if self.node is not None else ""
        words = [
            "optional" if self.flags & OPTIONAL else "required",
            "runnable" if self.flags & RUNNABLE else "unrunnable",
        ]
        words += [
            word
            for flag, word in ((PSEUDO, "pseudo"), (MIGRATABLE, "migratable"), (ALWAYS, "always"))
            if self.flags & flag
        ]
        return f"<Action {self.id} {self.key}{where}: {' '.join(words)}>"


_EMPTY: dict[str, str] = {}


class Relation:
    """`first` bears on `then`. `bits` is the end that `then` sees (propagation may drop some), `declared` the other."""

    __slots__ = ("bits", "declared", "first", "seen", "then")

    def __init__(self, first: Action, then: Action, bits: int) -> None:
        self.first = first
        self.then = then
        self.bits = bits
        self.declared = bits
        self.seen = -1  # propagation's clock when this was last evaluated

    def __repr__(self) -> str:
        return f"<{self.first.key} -> {self.then.key} {self.bits:#x}>"
