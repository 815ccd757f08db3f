"""The sections of vigil.toml as people write them: types and ranges of single values, nothing on how they relate."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from crm.config.model import DEFAULT_PORT, MAX_LINKS


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ClusterSection(Section):
    name: str = Field(min_length=1, max_length=64)
    key_file: str = Field(default="/etc/vigil/keys", min_length=1)
    encryption: Literal["none", "aes-256-gcm-optional", "aes-256-gcm"] = "none"


class ThisNodeSection(Section):
    name: str = Field(default="", max_length=64)


class NodeSection(Section):
    name: str = Field(min_length=1, max_length=64)
    id: int = Field(ge=1, le=255)
    addresses: list[str] = Field(min_length=1, max_length=MAX_LINKS)
    votes: int = Field(default=1, ge=0, le=255)


class LinkSection(Section):
    mode: Literal["unicast", "multicast", "broadcast", "serial"] = "unicast"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    group: str = ""
    interface: str = Field(default="", max_length=15)
    ttl: int | None = Field(default=None, ge=1, le=255)
    dscp: int | None = Field(default=None, ge=0, le=63)
    fallback: Literal["none", "unicast"] | None = None
    baud: int | None = Field(default=None, ge=1200, le=4_000_000)


class TimersSection(Section):
    keepalive_ms: int | None = Field(default=None, ge=10, le=60_000)
    warntime_ms: int | None = Field(default=None, ge=20, le=600_000)
    failover_ms: int | None = Field(default=None, ge=200, le=600_000)
    deadtime_ms: int | None = Field(default=None, ge=50, le=600_000)
    initdead_ms: int | None = Field(default=None, ge=50, le=3_600_000)
    vouch_ms: int | None = Field(default=None, ge=200, le=600_000)


class HeuristicSection(Section):
    program: str = Field(min_length=1, max_length=1000)
    score: int = Field(default=1, ge=1, le=1000)
    interval_ms: int = Field(default=2000, ge=100, le=600_000)
    timeout_ms: int | None = Field(default=None, ge=10, le=600_000)
    tko: int = Field(default=3, ge=1, le=100)


class PingGroupSection(Section):
    targets: list[str] = Field(min_length=1, max_length=16)
    need: Literal["one", "all"] = "one"


class TieBreakerSection(Section):
    type: Literal["none", "ping", "qdisk", "arbiter"] = "none"
    targets: list[str] = Field(default=[], max_length=16)
    interval_ms: int | None = Field(default=None, ge=20, le=60_000)
    timeout_ms: int | None = Field(default=None, ge=10, le=60_000)
    tko: int | None = Field(default=None, ge=1, le=100)
    groups: list[PingGroupSection] = Field(default=[], max_length=16)
    device: str = ""
    label: str = Field(default="", max_length=64)
    votes: int | None = Field(default=None, ge=1, le=8160)
    min_score: int | None = Field(default=None, ge=1, le=16_000)
    master_wins: bool = True
    heuristics: list[HeuristicSection] = Field(default=[], max_length=16)
    address: str = ""
    certificate: str = ""
    algorithm: Literal["ffsplit", "lms"] = "ffsplit"
    prefer: Literal["lowest", "highest", "resources"] = "lowest"
    accept_without_fencing: bool = False


class QuorumSection(Section):
    policy: Literal["majority", "ignore"] = "majority"
    expected_votes: int | None = Field(default=None, ge=1, le=8160)
    two_node: bool | None = None
    wait_for_all: bool | None = None
    auto_tie_breaker: bool = False
    auto_tie_breaker_node: Any = None
    last_man_standing: bool = False
    last_man_standing_window_ms: int | None = Field(default=None, ge=100, le=3_600_000)
    allow_downscale: bool = False
    tie_breaker: TieBreakerSection = TieBreakerSection()


class WatchdogSection(Section):
    device: str = ""
    timeout_ms: int = Field(default=10_000, ge=100, le=600_000)
    on_quorum_loss: Literal["reset", "ignore"] = "reset"
    on_crm_loss: Literal["reset", "ignore"] = "reset"
    on_disk_loss: Literal["reset", "ignore"] = "ignore"


class PathsSection(Section):
    state_dir: str = Field(default="/var/lib/vigil", min_length=1)
    run_dir: str = Field(default="/run/vigil", min_length=1)
    log_file: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class AgentsSection(Section):
    ocf_root: str = Field(default="/usr/lib/ocf", min_length=1)


class EventsSection(Section):
    folder: str = ""
    max_mib: int = Field(default=10, ge=1, le=10_000)
    keep: int = Field(default=9, ge=0, le=1000)


class AlertsSection(Section):
    user: str = Field(default="hacluster", max_length=32, pattern=r"^[A-Za-z0-9_.-]*$")


class MetricsSection(Section):
    listen: str = ""


class ApiSection(Section):
    group: str = Field(default="haclient", max_length=32, pattern=r"^[A-Za-z0-9_.-]*$")


MODELS: dict[str, type[Section]] = {
    "cluster": ClusterSection,
    "node": ThisNodeSection,
    "nodes": NodeSection,
    "links": LinkSection,
    "timers": TimersSection,
    "quorum": QuorumSection,
    "watchdog": WatchdogSection,
    "paths": PathsSection,
    "agents": AgentsSection,
    "events": EventsSection,
    "alerts": AlertsSection,
    "metrics": MetricsSection,
    "api": ApiSection,
}
TABLES = ("nodes", "links")
TIE_BREAKER_TABLES: dict[str, type[Section]] = {"groups": PingGroupSection, "heuristics": HeuristicSection}
SECTIONS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(list[model] if name in TABLES else model)  # type: ignore[valid-type]
    for name, model in MODELS.items()
}
OPTIONAL: dict[str, Any] = {
    "node": {},
    "links": [{}],
    "timers": {},
    "quorum": {},
    "watchdog": {},
    "paths": {},
    "agents": {},
    "events": {},
    "alerts": {},
    "metrics": {},
    "api": {},
}


def all_keys() -> list[str]:
    """Every key of the file, dotted; docs/reference/vigil-toml.md explains these and no others."""
    keys = [f"{section}.{name}" for section, model in MODELS.items() for name in model.model_fields]
    keys.remove("quorum.tie_breaker")
    for table, model in TIE_BREAKER_TABLES.items():
        keys += [f"quorum.tie_breaker.{table}.{name}" for name in model.model_fields]
    own = [name for name in TieBreakerSection.model_fields if name not in TIE_BREAKER_TABLES]
    return keys + [f"quorum.tie_breaker.{name}" for name in own]
