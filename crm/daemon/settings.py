"""What the crm daemon takes from `RUN_DIR/resolved.json`; by the time it is read it has been checked."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crm.cib import xml

ENV_FEATURE_SET: Final = "VIGIL_FEATURE_SET"


class SettingsError(Exception):
    """The resolved configuration is missing or is none; the text says what to do."""


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Paths are absolute; `vouch_ms` is the longest silence that messaging accepts from crm."""

    cluster: str
    node_id: int
    node_name: str
    nodes: tuple[tuple[int, str], ...]
    votes: tuple[tuple[int, int], ...]
    """Only where both halves of an even split may be quorate: one of them is to hold back its fencing."""
    expected_votes: int
    state_dir: Path
    run_dir: Path
    ocf_root: Path
    log_file: Path | None
    log_level: str
    deadtime_ms: int
    source: str = ""
    """The vigil.toml that this was made of."""
    needs_fencing: str = ""
    """The tie-breaker under which both halves may go on, so that fencing must not be disabled; empty where it may be."""
    api_group: str = "haclient"
    """Whose members may use the local API beside root; empty for nobody."""
    events_dir: str = ""
    events_max_bytes: int = 10 << 20
    events_keep: int = 9
    alerts_user: str = "hacluster"
    """As whom alert agents run; empty: as this daemon."""
    feature_set: str = xml.FEATURE_SET
    """What this node says it can do; the environment (VIGIL_FEATURE_SET) may make it less, to rehearse an upgrade."""
    all_votes: tuple[tuple[int, int], ...] = ()
    """By node id, where they are not all 1."""
    metrics: tuple[str, int] | None = None
    """Address and port where Prometheus may fetch them."""

    @property
    def weights(self) -> dict[str, int]:
        """The votes of each node of the cluster, by its name."""
        votes = dict(self.all_votes)
        return {name: votes.get(node_id, 1) for node_id, name in self.nodes}

    @property
    def events_folder(self) -> Path:
        return Path(self.events_dir) if self.events_dir else self.state_dir / "events"

    @property
    def messaging_socket(self) -> Path:
        return self.run_dir / "messaging.sock"

    @property
    def api_socket(self) -> Path:
        return self.run_dir / "crm.sock"


def load(path: Path) -> DaemonSettings:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return from_document(document)
    except OSError as error:
        raise SettingsError(f"cannot read the resolved configuration {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} is not a resolved configuration ({error}); write it with: python -m crm.config resolve"
        ) from None


def from_document(document: dict[str, Any]) -> DaemonSettings:
    paths = document["paths"]
    return DaemonSettings(
        cluster=str(document["cluster"]["name"]),
        node_id=int(document["node"]["id"]),
        node_name=str(document["node"]["name"]),
        nodes=tuple((int(node["id"]), str(node["name"])) for node in document["nodes"]),
        votes=tuple((int(node["id"]), int(node["votes"])) for node in document["nodes"])
        if document["quorum"].get("two_node") or document["quorum"]["tie_breaker"]["type"] == "ping"
        else (),
        expected_votes=int(document["quorum"]["expected_votes"]),
        state_dir=Path(paths["state_dir"]),
        run_dir=Path(paths["run_dir"]),
        ocf_root=Path(document.get("agents", {}).get("ocf_root", "/usr/lib/ocf")),
        log_file=Path(paths["log_file"]) if paths.get("log_file") else None,
        log_level=str(paths.get("log_level") or "info"),
        deadtime_ms=int(document["timers"]["deadtime_ms"]),
        source=str(document.get("source", "")),
        needs_fencing=_needs_fencing(document["quorum"]["tie_breaker"]),
        api_group=str(document.get("api", {}).get("group", "haclient")),
        events_dir=str(document.get("events", {}).get("folder", "")),
        events_max_bytes=int(document.get("events", {}).get("max_mib", 10)) << 20,
        events_keep=int(document.get("events", {}).get("keep", 9)),
        alerts_user=str(document.get("alerts", {}).get("user", "hacluster")),
        feature_set=feature_set(os.environ.get(ENV_FEATURE_SET, "")),
        all_votes=tuple((int(node["id"]), int(node["votes"])) for node in document["nodes"]),
        metrics=_endpoint(document.get("metrics", {}).get("listen")),
    )


def feature_set(claimed: str) -> str:
    """Never more than this version has."""
    less = claimed.replace(".", "").isdecimal() and xml.feature_key(claimed) < xml.feature_key(xml.FEATURE_SET)
    return claimed if less else xml.FEATURE_SET


def _needs_fencing(tie_breaker: dict[str, Any]) -> str:
    kind = str(tie_breaker["type"])
    shared = kind == "ping" or not tie_breaker.get("master_wins", True)
    return kind if shared and not tie_breaker.get("accept_without_fencing", False) else ""


def _endpoint(value: dict[str, Any] | None) -> tuple[str, int] | None:
    return None if value is None else (str(value["host"]), int(value["port"]))
