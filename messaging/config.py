"""The configuration as messaging uses it: frozen values, read from the resolved JSON that `crm.config` writes.

`crm.config` owns the file that people write and every check on it; by the time this module reads the result, it is
right. Reading stays free of pydantic so that the process with the real-time priority stays small. Unknown keys are
ignored: the same file also serves crm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from messaging.errors import SetupError
from messaging.quorum import Rules

MAX_NODES = 32
"""Nodes in a cluster. A heartbeat names every node in one packet and hears-sets travel as 32-bit masks."""

MAX_LINKS = 8


class LinkMode(StrEnum):
    UNICAST = "unicast"
    MULTICAST = "multicast"
    BROADCAST = "broadcast"
    SERIAL = "serial"


class Encryption(StrEnum):
    """Whether what this node sends is encrypted, and whether it takes what is not."""

    NONE = "none"
    OPTIONAL = "aes-256-gcm-optional"
    REQUIRED = "aes-256-gcm"


class TieBreakerType(StrEnum):
    NONE = "none"
    PING = "ping"
    QDISK = "qdisk"
    ARBITER = "arbiter"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node is on one link. The same port number serves UDP (heartbeats) and TCP (group messages)."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeConfig:
    node_id: int
    name: str
    votes: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One way between the nodes. `group` is the multicast group or the broadcast address."""

    number: int
    mode: LinkMode
    port: int
    group: str = ""
    interface: str = ""
    ttl: int = 1
    dscp: int = 48
    fallback: bool = False
    """Whether those whom the group does not reach are sent packets of their own."""
    baud: int = 0


@dataclass(frozen=True, slots=True)
class Timers:
    """All in milliseconds. See docs/reference/vigil-toml.md for how they relate."""

    keepalive_ms: int
    warntime_ms: int
    deadtime_ms: int
    initdead_ms: int
    vouch_ms: int


@dataclass(frozen=True, slots=True)
class HeuristicConfig:
    """A program that says whether this node is fit to win: `score` points while it ends with 0."""

    program: str
    score: int
    interval_ms: int
    timeout_ms: int
    tko: int


@dataclass(frozen=True, slots=True)
class PingGroupConfig:
    """Targets that count as one: while one of them answers, or all (`every`)."""

    targets: tuple[str, ...]
    every: bool = False


@dataclass(frozen=True, slots=True)
class TieBreakerConfig:
    """`votes` 0: it decides even splits only."""

    kind: TieBreakerType = TieBreakerType.NONE
    targets: tuple[str, ...] = ()
    interval_ms: int = 1000
    timeout_ms: int = 500
    tko: int = 3
    device: str = ""
    label: str = ""
    votes: int = 0
    min_score: int = 0
    master_wins: bool = True
    heuristics: tuple[HeuristicConfig, ...] = ()
    groups: tuple[PingGroupConfig, ...] = ()
    address: str = ""
    certificate: str = ""
    algorithm: str = "ffsplit"
    prefer: str = "lowest"


@dataclass(frozen=True, slots=True)
class QuorumConfig:
    expected_votes: int
    two_node: bool = False
    wait_for_all: bool = False
    ignore: bool = False
    tie_breaker: TieBreakerConfig = TieBreakerConfig()
    auto_tie_breaker: str = ""
    tie_nodes: tuple[int, ...] = ()
    last_man_standing: bool = False
    last_man_standing_window_ms: int = 10_000
    allow_downscale: bool = False
    least_votes: int = 1

    def rules(self) -> Rules:
        """What the arithmetic needs of it."""
        return Rules(
            two_node=self.two_node,
            wait_for_all=self.wait_for_all,
            ignore=self.ignore,
            tie_breaker="" if self.tie_breaker.kind is TieBreakerType.NONE else self.tie_breaker.kind.value,
            tie_breaker_votes=self.tie_breaker.votes,
            tie_prefer=self.tie_breaker.prefer,
            tie_shared=self.tie_breaker.kind is TieBreakerType.PING or not self.tie_breaker.master_wins,
            auto_tie_breaker=self.auto_tie_breaker,
            tie_nodes=self.tie_nodes,
            last_man_standing=self.last_man_standing,
            allow_downscale=self.allow_downscale,
            least_votes=self.least_votes,
        )


@dataclass(frozen=True, slots=True)
class WatchdogConfig:
    """The device that resets this node (empty: none), and which losses let it: `reset` or `ignore`."""

    device: str = ""
    timeout_ms: int = 10_000
    on_quorum_loss: str = "reset"
    on_crm_loss: str = "reset"
    on_disk_loss: str = "ignore"


@dataclass(frozen=True, slots=True)
class MessagingConfig:
    """Everything the messaging daemon of one node needs to know."""

    cluster: str
    node_id: int
    nodes: tuple[NodeConfig, ...]
    links: tuple[LinkConfig, ...]
    timers: Timers
    quorum: QuorumConfig
    key_file: Path
    state_dir: Path
    run_dir: Path
    log_file: Path | None = None
    log_level: str = "info"
    encryption: Encryption = Encryption.NONE
    watchdog: WatchdogConfig = WatchdogConfig()

    @property
    def votes(self) -> dict[int, int]:
        """Votes of each node, by id."""
        return {node.node_id: node.votes for node in self.nodes}

    def node(self, node_id: int) -> NodeConfig:
        """The configuration of one node. KeyError when it is not listed."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise KeyError(node_id)

    @property
    def socket_path(self) -> Path:
        return self.run_dir / "messaging.sock"


def load_resolved(path: Path) -> MessagingConfig:
    """Read `RUN_DIR/resolved.json`. SetupError when it is missing or was not written by `crm.config`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"cannot read the resolved configuration {path}: {error.strerror}") from None
    except ValueError as error:
        raise SetupError(f"{path} is not JSON ({error}); write it with: python -m crm.config resolve") from None
    try:
        return from_document(document)
    except (KeyError, TypeError, ValueError) as error:
        raise SetupError(
            f"{path} is not a resolved configuration ({type(error).__name__}: {error}); "
            "write it with: python -m crm.config resolve"
        ) from None


def from_document(document: dict[str, Any]) -> MessagingConfig:
    """Build the values from the decoded JSON. KeyError, TypeError or ValueError when something is missing."""
    quorum, timers, paths = document["quorum"], document["timers"], document["paths"]
    return MessagingConfig(
        cluster=str(document["cluster"]["name"]),
        node_id=int(document["node"]["id"]),
        nodes=tuple(
            NodeConfig(
                node_id=int(node["id"]),
                name=str(node["name"]),
                votes=int(node["votes"]),
                endpoints=tuple(Endpoint(str(end["host"]), int(end["port"])) for end in node["endpoints"]),
            )
            for node in document["nodes"]
        ),
        links=tuple(
            LinkConfig(
                number=number,
                mode=LinkMode(link["mode"]),
                port=int(link["port"]),
                group=str(link["group"]),
                interface=str(link["interface"]),
                ttl=int(link["ttl"]),
                dscp=int(link.get("dscp", 48)),
                fallback=link.get("fallback") == "unicast",
                baud=int(link.get("baud", 0)),
            )
            for number, link in enumerate(document["links"])
        ),
        timers=Timers(**{name: int(timers[name]) for name in Timers.__slots__}),
        quorum=QuorumConfig(
            expected_votes=int(quorum["expected_votes"]),
            two_node=bool(quorum["two_node"]),
            wait_for_all=bool(quorum["wait_for_all"]),
            ignore=quorum["policy"] == "ignore",
            auto_tie_breaker=str(quorum.get("auto_tie_breaker", "")),
            tie_nodes=tuple(int(node_id) for node_id in quorum.get("tie_nodes", ())),
            last_man_standing=bool(quorum.get("last_man_standing", False)),
            last_man_standing_window_ms=int(quorum.get("last_man_standing_window_ms", 10_000)),
            allow_downscale=bool(quorum.get("allow_downscale", False)),
            least_votes=int(quorum.get("least_votes", 1)),
            tie_breaker=_tie_breaker(quorum["tie_breaker"]),
        ),
        watchdog=_watchdog(document.get("watchdog", {})),
        key_file=Path(document["cluster"]["key_file"]),
        encryption=Encryption(document["cluster"].get("encryption", "none")),
        state_dir=Path(paths["state_dir"]),
        run_dir=Path(paths["run_dir"]),
        log_file=Path(paths["log_file"]) if paths.get("log_file") else None,
        log_level=str(paths.get("log_level", "info")),
    )


def _tie_breaker(document: dict[str, Any]) -> TieBreakerConfig:
    return TieBreakerConfig(
        kind=TieBreakerType(document["type"]),
        targets=tuple(str(target) for target in document["targets"]),
        interval_ms=int(document["interval_ms"]),
        timeout_ms=int(document["timeout_ms"]),
        tko=int(document["tko"]),
        device=str(document.get("device", "")),
        label=str(document.get("label", "")),
        votes=int(document.get("votes", 0)),
        min_score=int(document.get("min_score", 0)),
        master_wins=bool(document.get("master_wins", True)),
        heuristics=tuple(
            HeuristicConfig(
                str(each["program"]), *(int(each[key]) for key in ("score", "interval_ms", "timeout_ms", "tko"))
            )
            for each in document.get("heuristics", ())
        ),
        groups=tuple(
            PingGroupConfig(tuple(map(str, each["targets"])), each["need"] == "all")
            for each in document.get("groups", ())
        ),
        address=str(document.get("address", "")),
        certificate=str(document.get("certificate", "")),
        algorithm=str(document.get("algorithm", "ffsplit")),
        prefer=str(document.get("prefer", "lowest")),
    )


def _watchdog(document: dict[str, Any]) -> WatchdogConfig:
    default = WatchdogConfig()
    return WatchdogConfig(
        device=str(document.get("device", default.device)),
        timeout_ms=int(document.get("timeout_ms", default.timeout_ms)),
        on_quorum_loss=str(document.get("on_quorum_loss", default.on_quorum_loss)),
        on_crm_loss=str(document.get("on_crm_loss", default.on_crm_loss)),
        on_disk_loss=str(document.get("on_disk_loss", default.on_disk_loss)),
    )
