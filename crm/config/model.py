"""A configuration in which every value is known: what `load` returns and the daemons read as RUN_DIR/resolved.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEFAULT_PORT = 5410
DEFAULT_METRICS_PORT = 9664
MAX_NODES = 32
MAX_LINKS = 8
DEFAULT_DEADTIME_MS = 2000
DEFAULT_DSCP = 48
"""CS6, network control (RFC 4594, section 3.2): heartbeats go before bulk where the network looks."""

DEFAULT_BAUD = 115200
ABSENT = "-"
"""The address of a node that is not on a serial line."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One node of the cluster. `endpoints` are in the order of the links."""

    id: int
    name: str
    votes: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Link:
    mode: str
    port: int
    group: str
    interface: str
    ttl: int
    dscp: int = DEFAULT_DSCP
    fallback: str = "none"
    baud: int = 0


@dataclass(frozen=True, slots=True)
class Timers:
    keepalive_ms: int
    warntime_ms: int
    deadtime_ms: int
    initdead_ms: int
    vouch_ms: int


@dataclass(frozen=True, slots=True)
class Heuristic:
    """A program that says whether a node is fit to win: `score` points while it ends with 0."""

    program: str
    score: int = 1
    interval_ms: int = 2000
    timeout_ms: int = 1900
    tko: int = 3


@dataclass(frozen=True, slots=True)
class PingGroup:
    """Targets that count as one: while `one` or `all` of them answer."""

    targets: tuple[str, ...]
    need: str = "one"


@dataclass(frozen=True, slots=True)
class TieBreaker:
    """`votes` 0: it decides even splits only. `prefer`: see `messaging.tiebreak.preference`."""

    type: str = "none"
    targets: tuple[str, ...] = ()
    interval_ms: int = 1000
    timeout_ms: int = 500
    tko: int = 3
    device: str = ""
    label: str = ""
    votes: int = 0
    min_score: int = 0
    master_wins: bool = True
    heuristics: tuple[Heuristic, ...] = ()
    groups: tuple[PingGroup, ...] = ()
    address: str = ""
    certificate: str = ""
    algorithm: str = "ffsplit"
    prefer: str = "lowest"
    accept_without_fencing: bool = False

    @property
    def shared(self) -> bool:
        """Whether both halves may hold its evidence at one time, so that only fencing decides between them."""
        return self.type == "ping" or not self.master_wins


@dataclass(frozen=True, slots=True)
class Quorum:
    policy: str
    expected_votes: int
    two_node: bool
    wait_for_all: bool
    tie_breaker: TieBreaker
    auto_tie_breaker: str = ""
    tie_nodes: tuple[int, ...] = ()
    last_man_standing: bool = False
    last_man_standing_window_ms: int = 10_000
    allow_downscale: bool = False
    least_votes: int = 1


@dataclass(frozen=True, slots=True)
class Paths:
    state_dir: str
    run_dir: str
    log_file: str
    log_level: str


@dataclass(frozen=True, slots=True)
class Agents:
    ocf_root: str


@dataclass(frozen=True, slots=True)
class Events:
    """The event log: where it is (empty: STATE_DIR/events), how large a file may become, and how many older ones are kept."""

    folder: str = ""
    max_mib: int = 10
    keep: int = 9


@dataclass(frozen=True, slots=True)
class Alerts:
    """The user as whom alert agents run; empty: the daemon's own."""

    user: str = "hacluster"


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The device that resets this node (empty: none), and which losses let it."""

    device: str = ""
    timeout_ms: int = 10_000
    on_quorum_loss: str = "reset"
    on_crm_loss: str = "reset"
    on_disk_loss: str = "ignore"


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where Prometheus may fetch them; None: nowhere."""

    listen: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """The local API: the group whose members may use it beside root; empty for nobody."""

    group: str = "haclient"


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration in which every value is known. `this_node` is the id of the node it is for."""

    cluster_name: str
    key_file: str
    this_node: int
    nodes: tuple[NodeEntry, ...]
    links: tuple[Link, ...]
    timers: Timers
    quorum: Quorum
    paths: Paths
    agents: Agents
    events: Events = Events()
    alerts: Alerts = Alerts()
    metrics: Metrics = Metrics()
    api: Api = Api()
    encryption: str = "none"
    watchdog: Watchdog = Watchdog()

    @property
    def node(self) -> NodeEntry:
        """The node this configuration is for."""
        return next(node for node in self.nodes if node.id == self.this_node)

    @property
    def state_dir(self) -> Path:
        return Path(self.paths.state_dir)

    @property
    def run_dir(self) -> Path:
        return Path(self.paths.run_dir)

    def to_document(self) -> dict[str, Any]:
        """The resolved form as plain values."""
        document = asdict(self)
        names = {"cluster_name": "name", "key_file": "key_file", "encryption": "encryption"}
        document["cluster"] = {name: document.pop(key) for key, name in names.items()}
        document["node"] = {"id": document.pop("this_node"), "name": self.node.name}
        return document

    def to_resolved_json(self, source: Path | None = None) -> str:
        """The text of RUN_DIR/resolved.json. `source` is the file that it comes from, by its absolute path."""
        document = self.to_document()
        if source is not None:
            document["source"] = str(source)
        return json.dumps(document, indent=2) + "\n"
