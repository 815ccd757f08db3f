"""From a file, from text or from names and addresses to a checked configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from crm.config.check import Check
from crm.config.model import DEFAULT_DEADTIME_MS, Config, Link, Paths, TieBreaker, Watchdog
from crm.config.places import key_lines, syntax_problem
from crm.config.problems import ConfigError, Problem


def load(path: Path | str) -> Config:
    """Read and check a vigil.toml. ConfigError with all problems."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), [Problem(0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem(0, "", f"is not UTF-8 text (byte {error.start})")]) from None
    return loads(text, str(path))


def loads(text: str, where: str = "vigil.toml") -> Config:
    """Like `load`, from text."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, [syntax_problem(error)]) from None
    check = Check(key_lines(text))
    config = check.run(document)
    if check.problems.found or config is None:
        raise ConfigError(where, check.problems.found)
    return config


def example(
    cluster_name: str,
    nodes: Sequence[tuple[str, Sequence[str]]],
    *,
    this_node: str = "",
    links: Sequence[Link] = (),
    deadtime_ms: int = DEFAULT_DEADTIME_MS,
    failover_ms: int = 0,
    tie_breaker: TieBreaker | None = None,
    watchdog: Watchdog | None = None,
    key_file: str = "/etc/vigil/keys",
    paths: Paths | None = None,
    ocf_root: str = "/usr/lib/ocf",
    encryption: str = "none",
) -> Config:
    """A checked configuration from names and addresses; ids are given in order. ConfigError as from `load`."""
    document: dict[str, Any] = {
        "cluster": {"name": cluster_name, "key_file": key_file, "encryption": encryption},
        "node": {"name": this_node or nodes[0][0]},
        "nodes": [
            {"name": name, "id": number, "addresses": list(addresses)}
            for number, (name, addresses) in enumerate(nodes, start=1)
        ],
        "timers": {"failover_ms": failover_ms} if failover_ms else {"deadtime_ms": deadtime_ms},
        "agents": {"ocf_root": ocf_root},
    }
    if links:
        document["links"] = [_link_as_written(link) for link in links]
    if tie_breaker is not None:
        document["quorum"] = {"tie_breaker": _as_written(tie_breaker)}
    if watchdog is not None and watchdog.device:
        document["watchdog"] = asdict(watchdog)
    if paths is not None:
        document["paths"] = asdict(paths)
    check = Check({})
    config = check.run(document)
    if check.problems.found or config is None:
        raise ConfigError("the configuration", check.problems.found)
    return config


def _link_as_written(link: Link) -> dict[str, Any]:
    meaningless: tuple[str, ...] = (
        ("ttl", "dscp", "fallback", "group", "interface") if link.mode == "serial" else ("baud",)
    )
    if link.mode == "unicast":
        meaningless += ("fallback",)
    return {key: value for key, value in asdict(link).items() if key not in meaningless}


def _as_written(tie_breaker: TieBreaker) -> dict[str, Any]:
    """As it would stand in a file: what differs from the general default."""
    default = asdict(TieBreaker())
    document = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(tie_breaker).items()
        if key == "type" or value != default[key]
    }
    for group in document.get("groups", ()):
        group["targets"] = list(group["targets"])
    return document


def for_node(config: Config, name: str) -> Config:
    """The same configuration for another node of the cluster. KeyError when there is none of that name."""
    for node in config.nodes:
        if node.name == name:
            return replace(config, this_node=node.id)
    raise KeyError(name)
