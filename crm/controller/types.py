"""What a controller is told of itself, and what the executor tells it: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crm.cib import xml
from crm.controller.graph import ResourceDefinition


@dataclass(frozen=True, slots=True)
class Identity:
    """`crm_id` is new for each start of the crm process; it also names this controller in transition keys (a UUID)."""

    node_id: int
    name: str
    crm_id: str


@dataclass(frozen=True, slots=True)
class Settings:
    """`expected_nodes`: names from the node's configuration. `attributes`: transient ones kept over a restart of crm; `resumes`: there is something kept.

    `action_limit`: operations that this node takes at a time from a transition. `deadtime_ms`: of the failure detector. `votes` by
    node id and `expected_votes` tell an even split, in which both halves may be quorate. `weights`: the votes of all nodes, by
    name, whatever the rules of quorum are. `cib_lost`: every copy of the CIB on disk is damaged.
    `table`: what `KeepTable` kept. `feature_set`: what this version can do.
    """

    expected_nodes: frozenset[str] = frozenset()
    action_limit: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    deadtime_ms: int = 1000
    votes: Mapping[int, int] = field(default_factory=dict)
    expected_votes: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    cib_lost: bool = False
    table: Mapping[str, Any] = field(default_factory=dict)
    resumes: bool = False
    feature_set: str = xml.FEATURE_SET


@dataclass(frozen=True, slots=True)
class OperationReport:
    """The end of one operation of this node's executor.

    `entry`: the `lrm_rsc_op` to record, None when the operation leaves none. `failure_entry`: the `last_failure` one. `forget`: ids of
    entries that are over; `forget_resource`: the whole history is. `transition_key` is the one of the order.
    """

    task: str
    resource: ResourceDefinition | None
    interval_ms: int
    rc: int
    target_rc: int
    op_status: int
    transition_key: str
    entry: Mapping[str, str] | None = None
    failure_entry: Mapping[str, str] | None = None
    forget: tuple[str, ...] = ()
    forget_resource: bool = False
    text: str = ""
    load_percent: int = 0
    """How busy the node's cores are, 0 when unknown."""
    postponed: bool = False
    """It has not run: a recurring operation that begins later was accepted."""

    @property
    def ok(self) -> bool:
        return self.op_status == 0 and {190: 0, 191: 8}.get(self.rc, self.rc) == self.target_rc
