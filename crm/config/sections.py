"""The sections of vigil.toml as people write them: types and ranges of single values, nothing on how they relate."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from crm.config.model import DEFAULT_DEADTIME_MS, DEFAULT_PORT, MAX_LINKS


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ClusterSection(Section):
    name: str = Field(min_length=1, max_length=64)
    key_file: str = Field(default="/etc/vigil/keys", min_length=1)


class ThisNodeSection(Section):
    name: str = Field(default="", max_length=64)


class NodeSection(Section):
    name: str = Field(min_length=1, max_length=64)
    id: int = Field(ge=1, le=255)
    addresses: list[str] = Field(min_length=1, max_length=MAX_LINKS)
    votes: int = Field(default=1, ge=0, le=255)


class LinkSection(Section):
    mode: Literal["unicast", "multicast", "broadcast"] = "unicast"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    group: str = ""
    interface: str = Field(default="", max_length=15)
    ttl: int = Field(default=1, ge=1, le=255)


class TimersSection(Section):
    keepalive_ms: int | None = Field(default=None, ge=10, le=60_000)
    warntime_ms: int | None = Field(default=None, ge=20, le=600_000)
    deadtime_ms: int = Field(default=DEFAULT_DEADTIME_MS, ge=50, le=600_000)
    initdead_ms: int | None = Field(default=None, ge=50, le=3_600_000)
    vouch_ms: int = Field(default=3000, ge=200, le=600_000)


class TieBreakerSection(Section):
    type: Literal["none", "ping", "qdisk"] = "none"
    targets: list[str] = Field(default=[], max_length=16)
    interval_ms: int | None = Field(default=None, ge=20, le=60_000)
    timeout_ms: int | None = Field(default=None, ge=10, le=60_000)
    tko: int | None = Field(default=None, ge=1, le=100)
    device: str = ""
    label: str = Field(default="", max_length=64)


class QuorumSection(Section):
    policy: Literal["majority", "ignore"] = "majority"
    expected_votes: int | None = Field(default=None, ge=1, le=8160)
    two_node: bool | None = None
    wait_for_all: bool | None = None
    tie_breaker: TieBreakerSection = TieBreakerSection()


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


class MetricsSection(Section):
    listen: str = ""


MODELS: dict[str, type[Section]] = {
    "cluster": ClusterSection,
    "node": ThisNodeSection,
    "nodes": NodeSection,
    "links": LinkSection,
    "timers": TimersSection,
    "quorum": QuorumSection,
    "paths": PathsSection,
    "agents": AgentsSection,
    "events": EventsSection,
    "metrics": MetricsSection,
}
TABLES = ("nodes", "links")
SECTIONS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(list[model] if name in TABLES else model)  # type: ignore[valid-type]
    for name, model in MODELS.items()
}
OPTIONAL: dict[str, Any] = {
    "node": {},
    "links": [{}],
    "timers": {},
    "quorum": {},
    "paths": {},
    "agents": {},
    "events": {},
    "metrics": {},
}


def all_keys() -> list[str]:
    """Every key of the file, dotted; docs/reference/vigil-toml.md explains these and no others."""
    keys = [f"{section}.{name}" for section, model in MODELS.items() for name in model.model_fields]
    keys.remove("quorum.tie_breaker")
    return keys + [f"quorum.tie_breaker.{name}" for name in TieBreakerSection.model_fields]
