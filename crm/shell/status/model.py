"""What `crm status` shows, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class State(StrEnum):
    """Of a resource. The order is not meaningful."""

    STARTED = "Started"
    PROMOTED = "Promoted"
    UNPROMOTED = "Unpromoted"
    STOPPED = "Stopped"
    FAILED = "FAILED"
    STARTING = "Starting"
    STOPPING = "Stopping"
    MIGRATING = "Migrating"
    PROMOTING = "Promoting"
    DEMOTING = "Demoting"
    MIXED = ""
    """Of a group or clone: its members say it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know before all else. `hint`: what to do about it."""

    level: Level
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """`state`: online, offline, pending, UNCLEAN, standby, maintenance. `notes`: why, or what else."""

    name: str
    id: str
    kind: str
    state: str
    dc: bool = False
    here: bool = False
    running: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """`kind`: primitive, group, clone, bundle. `flags`: disabled, unmanaged, blocked... `reason`: why it does not run."""

    id: str
    kind: str
    agent: str
    state: State
    nodes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    reason: str = ""
    children: tuple[ResourceStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Ban:
    """A move or a ban that an administrator's command left. `until` is empty when it has no end."""

    constraint: str
    resource: str
    node: str
    prefers: bool
    until: str = ""
    expired: bool = False
    role: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed operation. `when` in seconds since 1970, 0 unknown."""

    resource: str
    node: str
    operation: str
    interval_ms: int
    rc: int
    text: str
    reason: str
    when: int
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class FailCount:
    """`banned`: the threshold is reached, the resource may not run there."""

    resource: str
    node: str
    count: str
    threshold: str
    banned: bool


@dataclass(frozen=True, slots=True)
class Fencing:
    target: str
    action: str
    outcome: str
    reason: str
    device: str
    text: str
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Daemon:
    name: str
    running: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`activity` is what the cluster is doing just now, "" when idle or unknown. `live`: from a daemon, not from a file."""

    name: str
    here: str
    live: bool
    dc: str
    quorate: bool
    quorum_reason: str
    activity: str
    version: str
    written: str
    now: int
    notices: tuple[Notice, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    resources: tuple[ResourceStatus, ...] = ()
    bans: tuple[Ban, ...] = ()
    failures: tuple[Failure, ...] = ()
    fail_counts: tuple[FailCount, ...] = ()
    fencing: tuple[Fencing, ...] = ()
    daemons: tuple[Daemon, ...] = ()

    @property
    def good(self) -> bool:
        """Nothing that needs attention."""
        return self.quorate and not self.failures and not any(notice.level is Level.ERROR for notice in self.notices)

    def to_json(self) -> dict[str, Any]:
        return {"good": self.good, **asdict(self)}
