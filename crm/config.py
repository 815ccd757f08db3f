"""`vigil.toml`: the one configuration file of a node. What is in it, what must hold in it, and how it is written.

    load(path)               -> Config, or ConfigError with *every* problem: file, line, key, what was expected
    config.to_resolved_json() -> the text of RUN_DIR/resolved.json, which the daemons read (no pydantic needed there)
    render(config)           -> a commented vigil.toml that loads to the same Config

The file is the same on all nodes but for `[node] name`, which may be left out where the host's name is the node's.
Two passes find the problems: pydantic checks every section for itself (types, ranges, unknown keys), then `_check_*`
looks at how the values relate. A section with faults of its own does not keep the others from being looked at.

As a command: `python -m crm.config check FILE` and `python -m crm.config resolve FILE --output OUT`.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
import socket
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

DEFAULT_PORT = 5410
MAX_NODES = 32
MAX_LINKS = 8
DEFAULT_DEADTIME_MS = 2000
QDISK_TKO = 7
QDISK_EXTRA = 2
"""Intervals of a quorum disk, beyond its tko, until a survivor is master: to read the last sign of life, and to notice."""

NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")

Milliseconds = Field(ge=1, le=3_600_000)


# --- what load returns ----------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Timers:
    keepalive_ms: int
    warntime_ms: int
    deadtime_ms: int
    initdead_ms: int
    vouch_ms: int


@dataclass(frozen=True, slots=True)
class TieBreaker:
    type: str = "none"
    targets: tuple[str, ...] = ()
    interval_ms: int = 1000
    timeout_ms: int = 500
    tko: int = 3
    device: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Quorum:
    policy: str
    expected_votes: int
    two_node: bool
    wait_for_all: bool
    tie_breaker: TieBreaker


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
        document["cluster"] = {"name": document.pop("cluster_name"), "key_file": document.pop("key_file")}
        document["node"] = {"id": document.pop("this_node"), "name": self.node.name}
        return document

    def to_resolved_json(self) -> str:
        """The text of RUN_DIR/resolved.json."""
        return json.dumps(self.to_document(), indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` is 0 when the problem has no place (something is missing)."""

    line: int
    key: str
    message: str


class ConfigError(Exception):
    """Everything that is wrong with a file; `str` is one line a problem."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.key)))
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        for problem in self.problems:
            where = f"{self.path}:{problem.line}" if problem.line else self.path
            yield f"{where}: {problem.key}: {problem.message}" if problem.key else f"{where}: {problem.message}"


# --- the sections as people write them ------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Cluster(_Section):
    name: str = Field(min_length=1, max_length=64)
    key_file: str = Field(default="/etc/vigil/keys", min_length=1)


class _ThisNode(_Section):
    name: str = Field(default="", max_length=64)


class _Node(_Section):
    name: str = Field(min_length=1, max_length=64)
    id: int = Field(ge=1, le=255)
    addresses: list[str] = Field(min_length=1, max_length=MAX_LINKS)
    votes: int = Field(default=1, ge=0, le=255)


class _Link(_Section):
    mode: Literal["unicast", "multicast", "broadcast"] = "unicast"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    group: str = ""
    interface: str = Field(default="", max_length=15)
    ttl: int = Field(default=1, ge=1, le=255)


class _Timers(_Section):
    keepalive_ms: int | None = Field(default=None, ge=10, le=60_000)
    warntime_ms: int | None = Field(default=None, ge=20, le=600_000)
    deadtime_ms: int = Field(default=DEFAULT_DEADTIME_MS, ge=50, le=600_000)
    initdead_ms: int | None = Field(default=None, ge=50, le=3_600_000)
    vouch_ms: int = Field(default=3000, ge=200, le=600_000)


class _TieBreaker(_Section):
    type: Literal["none", "ping", "qdisk"] = "none"
    targets: list[str] = Field(default=[], max_length=16)
    interval_ms: int | None = Field(default=None, ge=20, le=60_000)
    timeout_ms: int | None = Field(default=None, ge=10, le=60_000)
    tko: int | None = Field(default=None, ge=1, le=100)
    device: str = ""
    label: str = Field(default="", max_length=64)


class _Quorum(_Section):
    policy: Literal["majority", "ignore"] = "majority"
    expected_votes: int | None = Field(default=None, ge=1, le=8160)
    two_node: bool | None = None
    wait_for_all: bool | None = None
    tie_breaker: _TieBreaker = _TieBreaker()


class _Paths(_Section):
    state_dir: str = Field(default="/var/lib/vigil", min_length=1)
    run_dir: str = Field(default="/run/vigil", min_length=1)
    log_file: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class _Agents(_Section):
    ocf_root: str = Field(default="/usr/lib/ocf", min_length=1)


_MODELS: dict[str, type[_Section]] = {
    "cluster": _Cluster,
    "node": _ThisNode,
    "nodes": _Node,
    "links": _Link,
    "timers": _Timers,
    "quorum": _Quorum,
    "paths": _Paths,
    "agents": _Agents,
}
_TABLES = ("nodes", "links")
_SECTIONS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(list[model] if name in _TABLES else model)  # type: ignore[valid-type]
    for name, model in _MODELS.items()
}
_OPTIONAL: dict[str, Any] = {"node": {}, "links": [{}], "timers": {}, "quorum": {}, "paths": {}, "agents": {}}


def all_keys() -> list[str]:
    """Every key of the file, dotted; docs/reference/vigil-toml.md explains these and no others."""
    keys = [f"{section}.{name}" for section, model in _MODELS.items() for name in model.model_fields]
    keys.remove("quorum.tie_breaker")
    return keys + [f"quorum.tie_breaker.{name}" for name in _TieBreaker.model_fields]


# --- loading --------------------------------------------------------------------------------------------------------


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
        raise ConfigError(where, [_syntax_problem(error)]) from None
    check = _Check(_key_lines(text))
    config = check.run(document)
    if check.problems or config is None:
        raise ConfigError(where, check.problems)
    return config


class _Check:
    """One pass over one document: collects problems and builds the resolved values."""

    def __init__(self, lines: dict[str, int]) -> None:
        self.problems: list[Problem] = []
        self._lines = lines
        self._sections: dict[str, Any] = {}

    def run(self, document: dict[str, Any]) -> Config | None:
        for name in document.keys() - _SECTIONS.keys():
            self._add(name, f"unknown section; expected one of {', '.join(_SECTIONS)}")
        for name, adapter in _SECTIONS.items():
            if name not in document and name not in _OPTIONAL:
                self._add(name, f"missing; every cluster needs [{'[nodes]' if name == 'nodes' else name}]")
                continue
            try:
                self._sections[name] = adapter.validate_python(document.get(name, _OPTIONAL.get(name)))
            except ValidationError as error:
                self._add_validation(name, error)
        nodes, links = self._sections.get("nodes"), self._sections.get("links")
        if links is not None:
            self._check_links(links)
        entries = self._check_nodes(nodes, links) if nodes is not None else None
        this_node = self._find_this_node(nodes) if nodes is not None and "node" in self._sections else None
        timers = self._resolve_timers(self._sections["timers"]) if "timers" in self._sections else None
        quorum = None
        if "quorum" in self._sections and nodes is not None:
            quorum = self._resolve_quorum(self._sections["quorum"], nodes, timers)
        for key in ("cluster.key_file", "paths.state_dir", "paths.run_dir", "paths.log_file", "agents.ocf_root"):
            self._check_absolute(key)
        if self.problems or entries is None or this_node is None or timers is None or quorum is None or links is None:
            return None
        cluster, paths, agents = (self._sections[name] for name in ("cluster", "paths", "agents"))
        return Config(
            cluster_name=cluster.name,
            key_file=cluster.key_file,
            this_node=this_node,
            nodes=entries,
            links=tuple(_resolve_link(link) for link in links),
            timers=timers,
            quorum=quorum,
            paths=Paths(paths.state_dir, paths.run_dir, paths.log_file, paths.log_level),
            agents=Agents(agents.ocf_root),
        )

    # --- problems

    def _add(self, key: str, message: str) -> None:
        """The line is the key's own, or that of what contains it."""
        at = key
        while at and at not in self._lines:
            at = at.rpartition(".")[0]
        self.problems.append(Problem(self._lines.get(at, 0), key, message))

    def _add_validation(self, section: str, error: ValidationError) -> None:
        for fault in error.errors():
            parts = [section, *(str(part + 1) if isinstance(part, int) else part for part in fault["loc"])]
            message = fault["msg"][:1].lower() + fault["msg"][1:]
            match fault["type"]:
                case "missing":
                    message = "missing"
                case "extra_forbidden":
                    message = f"unknown key; expected one of {self._known_keys(section, fault['loc'])}"
                case _:
                    message = message.replace("input should be", "expected").replace("Input should be", "expected")
                    message = f"{message}, got {_shown(fault['input'])}"
            self._add(".".join(parts), message)

    @staticmethod
    def _known_keys(section: str, loc: tuple[int | str, ...]) -> str:
        model = _TieBreaker if "tie_breaker" in loc[:-1] else _MODELS[section]
        return ", ".join(model.model_fields)

    def _check_absolute(self, key: str) -> None:
        section, _, name = key.partition(".")
        value = getattr(self._sections.get(section), name, "")
        if value and not value.startswith("/"):
            self._add(key, f"expected an absolute path, got {_shown(value)}")

    # --- nodes and links

    def _check_links(self, links: list[_Link]) -> None:
        if not 1 <= len(links) <= MAX_LINKS:
            self._add("links", f"expected 1 to {MAX_LINKS} links, got {len(links)}")
        for number, link in enumerate(links, start=1):
            key = f"links.{number}.group"
            address = _ip(link.group)
            if link.mode == "unicast" and link.group:
                self._add(key, "a unicast link has no group; remove it, or set mode to multicast or broadcast")
            elif link.mode == "multicast" and (address is None or not address.is_multicast):
                self._add(key, f"expected a multicast address such as 239.192.7.1, got {_shown(link.group)}")
            elif link.mode == "broadcast" and link.group and (address is None or address.version != 4):
                self._add(key, f"expected an IPv4 broadcast address such as 10.0.0.255, got {_shown(link.group)}")

    def _check_nodes(self, nodes: list[_Node], links: list[_Link] | None) -> tuple[NodeEntry, ...]:
        if not 1 <= len(nodes) <= MAX_NODES:
            self._add("nodes", f"expected 1 to {MAX_NODES} nodes, got {len(nodes)}")
        entries: list[NodeEntry] = []
        used: dict[str, dict[Any, str]] = {"id": {}, "name": {}, "address": {}}
        for number, node in enumerate(nodes, start=1):
            key = f"nodes.{number}"
            self._check_unique(used["id"], node.id, f"{key}.id", "id", node.name)
            self._check_unique(used["name"], node.name, f"{key}.name", "name", f"node {number}")
            if not NODE_NAME.fullmatch(node.name):
                self._add(f"{key}.name", f"expected letters, digits, '.', '_' or '-', got {_shown(node.name)}")
            if links is not None and len(node.addresses) != len(links):
                self._add(
                    f"{key}.addresses",
                    f"expected one address for each of the {len(links)} links, got {len(node.addresses)}",
                )
            endpoints = []
            for place, address in enumerate(node.addresses):
                port = links[place].port if links is not None and place < len(links) else DEFAULT_PORT
                endpoint = parse_endpoint(address, port)
                if endpoint is None:
                    self._add(f"{key}.addresses", f"expected host or host:port, got {_shown(address)}")
                    continue
                self._check_unique(used["address"], endpoint, f"{key}.addresses", "address", node.name)
                endpoints.append(endpoint)
            entries.append(NodeEntry(node.id, node.name, node.votes, tuple(endpoints)))
        return tuple(sorted(entries, key=lambda entry: entry.id))

    def _check_unique(self, used: dict[Any, str], value: Any, key: str, what: str, owner: str) -> None:
        if value in used:
            self._add(key, f"{what} {value} is already that of {used[value]}")
        used.setdefault(value, owner)

    def _find_this_node(self, nodes: list[_Node]) -> int | None:
        wanted = self._sections["node"].name
        names = {node.name: node.id for node in nodes}
        host = socket.gethostname()
        for candidate in [wanted] if wanted else [host, host.partition(".")[0]]:
            if candidate in names:
                return names[candidate]
        known = ", ".join(names)
        if wanted:
            self._add("node.name", f"{_shown(wanted)} is not one of the nodes ({known})")
        else:
            self._add("node.name", f"missing, and the host's name {_shown(host)} is not one of the nodes ({known})")
        return None

    # --- timers

    def _resolve_timers(self, timers: _Timers) -> Timers:
        """Fill in what follows from deadtime, then compare what was given."""
        dead = timers.deadtime_ms
        resolved = Timers(
            keepalive_ms=timers.keepalive_ms or max(10, dead // 5),
            warntime_ms=timers.warntime_ms or dead // 2,
            deadtime_ms=dead,
            initdead_ms=timers.initdead_ms or max(3 * dead, dead + 2000),
            vouch_ms=timers.vouch_ms,
        )
        if resolved.keepalive_ms >= resolved.warntime_ms:
            self._add(
                "timers.warntime_ms",
                f"expected more than keepalive_ms ({resolved.keepalive_ms}), got {resolved.warntime_ms}",
            )
        if resolved.warntime_ms >= dead:
            self._add("timers.warntime_ms", f"expected less than deadtime_ms ({dead}), got {resolved.warntime_ms}")
        if dead < 3 * resolved.keepalive_ms:
            self._add(
                "timers.deadtime_ms",
                f"expected at least three keepalive_ms ({3 * resolved.keepalive_ms}), so that two lost heartbeats "
                f"are not a death, got {dead}",
            )
        if resolved.initdead_ms < dead:
            self._add("timers.initdead_ms", f"expected at least deadtime_ms ({dead}), got {resolved.initdead_ms}")
        return resolved

    # --- quorum

    def _resolve_quorum(self, quorum: _Quorum, nodes: list[_Node], timers: Timers | None) -> Quorum:
        votes = sum(node.votes for node in nodes)
        expected = quorum.expected_votes if quorum.expected_votes is not None else max(votes, 1)
        has_tie_breaker = quorum.tie_breaker.type != "none"
        pair = len(nodes) == 2 and all(node.votes == 1 for node in nodes)
        two_node = quorum.two_node if quorum.two_node is not None else pair and not has_tie_breaker
        wait_for_all = quorum.wait_for_all if quorum.wait_for_all is not None else len(nodes) == 2
        if votes == 0:
            self._add("nodes", "expected at least one node with a vote")
        if expected < votes:
            self._add(
                "quorum.expected_votes",
                f"expected at least the sum of the nodes' votes ({votes}), or two halves could each have a majority, "
                f"got {expected}",
            )
        if quorum.two_node and not (pair and expected == 2):
            self._add("quorum.two_node", "expected exactly two nodes with one vote each")
        if quorum.two_node and has_tie_breaker:
            self._add(
                "quorum.two_node",
                "two_node makes both halves quorate, so the tie-breaker would decide nothing; remove one of them",
            )
        if two_node and quorum.wait_for_all is False:
            self._add(
                "quorum.wait_for_all",
                "two_node needs wait_for_all, or a node that was fenced starts, finds itself alone and fences back",
            )
        return Quorum(
            policy=quorum.policy,
            expected_votes=expected,
            two_node=two_node,
            wait_for_all=wait_for_all,
            tie_breaker=self._resolve_tie_breaker(quorum.tie_breaker, nodes, timers),
        )

    def _resolve_tie_breaker(self, given: _TieBreaker, nodes: list[_Node], timers: Timers | None) -> TieBreaker:
        key = "quorum.tie_breaker"
        if given.type != "qdisk" and (given.device or given.label):
            name = "device" if given.device else "label"
            self._add(f"{key}.{name}", f'a {name} without a quorum disk; set type = "qdisk" or remove it')
        if given.type == "qdisk":
            return self._resolve_quorum_disk(given, timers)
        slack_ms = timers.deadtime_ms - timers.warntime_ms if timers else 60_000
        interval_ms = given.interval_ms or 1000
        timeout_ms = given.timeout_ms or max(10, min(500, interval_ms - 1, slack_ms * 4 // 5))
        resolved = TieBreaker(given.type, tuple(given.targets), interval_ms, timeout_ms, given.tko or 3)
        if given.type == "none":
            if given.targets:
                self._add(f"{key}.targets", 'targets without a tie-breaker; set type = "ping" or remove them')
            return resolved
        if not given.targets:
            self._add(f"{key}.targets", "expected at least one target, such as the router towards the clients")
        own = {endpoint.host for node in nodes for each in node.addresses if (endpoint := parse_endpoint(each, 1))}
        for target in given.targets:
            endpoint = parse_endpoint(target, 1)
            if endpoint is None:
                self._add(f"{key}.targets", f"expected host or host:port, got {_shown(target)}")
            elif endpoint.host in own and not _is_loopback(endpoint.host):
                self._add(f"{key}.targets", f"{endpoint.host} is a node of this cluster, so its owner always wins")
        if interval_ms < 100:
            self._add(f"{key}.interval_ms", f"expected at least 100 for a ping tie-breaker, got {interval_ms}")
        if timeout_ms >= interval_ms:
            self._add(f"{key}.timeout_ms", f"expected less than interval_ms ({interval_ms}), got {timeout_ms}")
        if timers and timeout_ms > slack_ms:
            self._add(
                f"{key}.timeout_ms",
                f"expected at most deadtime_ms - warntime_ms ({slack_ms}), so that the answer is there when it is "
                f"needed, got {timeout_ms}",
            )
        return resolved

    def _resolve_quorum_disk(self, given: _TieBreaker, timers: Timers | None) -> TieBreaker:
        """The disk's verdict must be there when a member is declared dead: see docs/guide/quorum-disk.md."""
        key = "quorum.tie_breaker"
        time_ms = timers.deadtime_ms - timers.keepalive_ms if timers else DEFAULT_DEADTIME_MS
        if given.tko is None:
            tko = (
                QDISK_TKO if given.interval_ms is None else max(3, min(100, time_ms // given.interval_ms - QDISK_EXTRA))
            )
        else:
            tko = given.tko
        interval_ms = given.interval_ms or max(20, time_ms // (tko + QDISK_EXTRA + 1))
        if not given.device:
            self._add(f"{key}.device", "expected the shared device, such as /dev/disk/by-id/...")
        elif not given.device.startswith("/"):
            self._add(f"{key}.device", f"expected an absolute path, got {_shown(given.device)}")
        if given.targets:
            self._add(f"{key}.targets", 'a quorum disk has no targets; remove them, or set type = "ping"')
        if given.timeout_ms is not None:
            self._add(f"{key}.timeout_ms", "a quorum disk has no timeout_ms: tko and interval_ms say when it is lost")
        if tko < 3:
            self._add(f"{key}.tko", f"expected at least 3 for a quorum disk, got {tko}")
        elif timers and (tko + QDISK_EXTRA) * interval_ms > time_ms:
            self._add(
                f"{key}.{'interval_ms' if given.interval_ms is not None else 'tko'}",
                f"expected (tko + {QDISK_EXTRA}) * interval_ms of at most deadtime_ms - keepalive_ms ({time_ms}), so that the "
                f"disk knows that a node is gone when the cluster does, got {(tko + QDISK_EXTRA) * interval_ms} "
                f"({tko} + {QDISK_EXTRA} times {interval_ms})",
            )
        return TieBreaker("qdisk", (), interval_ms, 500, tko, given.device, given.label)


def _resolve_link(link: _Link) -> Link:
    group = link.group or ("255.255.255.255" if link.mode == "broadcast" else "")
    return Link(link.mode, link.port, group, link.interface, link.ttl)


# --- small readers --------------------------------------------------------------------------------------------------


def parse_endpoint(text: str, default_port: int) -> Endpoint | None:
    """`host`, `host:port`, `[v6]` or `[v6]:port`; None when it is none of them."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?", text)
    if match is None and text.count(":") > 1:
        return Endpoint(text, default_port) if _ip(text) else None
    if match is None:
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?::(\d{1,5}))?", text)
    if match is None:
        return None
    host, port = match[1], int(match[2]) if match[2] else default_port
    if not 1 <= port <= 65535 or (re.fullmatch(r"[\d.]+", host) and _ip(host) is None):
        return None
    return Endpoint(host, port)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return address is not None and address.is_loopback


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else text[:57] + "..."


def _syntax_problem(error: tomllib.TOMLDecodeError) -> Problem:
    match = re.search(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error), re.DOTALL)
    if match is None:
        return Problem(0, "", f"is not TOML: {error}")
    place = f" (column {match[3]})" if match[3] else " (at the end of the file)"
    return Problem(int(match[2] or 0), "", f"is not TOML: {match[1][:1].lower()}{match[1][1:]}{place}")


_TABLE = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=(.*)$"
)


def _key_lines(text: str) -> dict[str, int]:
    """The line of every key of a document that is known to be TOML; tables of an array are numbered from 1.

    tomllib tells values, not places. This reads just enough of the syntax to find keys: table headers, `key =`, and
    where a value that spans lines ends.
    """
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix, depth, quote = "", 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        rest = line
        if not depth and not quote:
            table = _TABLE.match(line)
            key = _KEY.match(line)
            if table:
                name = _dotted(table[2])
                if table[1] == "[[":
                    counts[name] = counts.get(name, 0) + 1
                    lines.setdefault(name, number)
                    name = f"{name}.{counts[name]}"
                lines.setdefault(name, number)
                prefix = name + "."
                continue
            if not key:
                continue
            lines.setdefault(prefix + _dotted(key[1]), number)
            rest = key[2]
        depth, quote = _scan_value(rest, depth, quote)
    return lines


def _dotted(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _scan_value(text: str, depth: int, quote: str) -> tuple[int, str]:
    """Follow brackets and multi-line strings over one line: the depth and the open multi-line quote at its end."""
    at = 0
    while at < len(text):
        if quote:
            end = text.find(quote, at)
            if end < 0:
                return depth, quote if len(quote) == 3 else ""
            at, quote = end + len(quote), ""
            continue
        char = text[at]
        if char == "#":
            break
        if char in "\"'":
            quote = char * 3 if text.startswith(char * 3, at) else char
            at += len(quote)
            continue
        depth += (char in "[{") - (char in "]}")
        at += 1
    return depth, quote if len(quote) == 3 else ""


# --- writing --------------------------------------------------------------------------------------------------------


def example(
    cluster_name: str,
    nodes: Sequence[tuple[str, Sequence[str]]],
    *,
    this_node: str = "",
    links: Sequence[Link] = (),
    deadtime_ms: int = DEFAULT_DEADTIME_MS,
    tie_breaker: TieBreaker | None = None,
    key_file: str = "/etc/vigil/keys",
    paths: Paths | None = None,
    ocf_root: str = "/usr/lib/ocf",
) -> Config:
    """A checked configuration from names and addresses; ids are given in order. ConfigError as from `load`."""
    document: dict[str, Any] = {
        "cluster": {"name": cluster_name, "key_file": key_file},
        "node": {"name": this_node or nodes[0][0]},
        "nodes": [
            {"name": name, "id": number, "addresses": list(addresses)}
            for number, (name, addresses) in enumerate(nodes, start=1)
        ],
        "timers": {"deadtime_ms": deadtime_ms},
        "agents": {"ocf_root": ocf_root},
    }
    if links:
        document["links"] = [asdict(link) for link in links]
    if tie_breaker is not None:
        document["quorum"] = {"tie_breaker": _given_tie_breaker(tie_breaker)}
    if paths is not None:
        document["paths"] = asdict(paths)
    check = _Check({})
    config = check.run(document)
    if check.problems or config is None:
        raise ConfigError("the configuration", check.problems)
    return config


def _given_tie_breaker(tie_breaker: TieBreaker) -> dict[str, Any]:
    """As it would stand in a file; of a quorum disk only what differs from the general default."""
    document = {**asdict(tie_breaker), "targets": list(tie_breaker.targets)}
    if tie_breaker.type == "qdisk":
        default = asdict(TieBreaker())
        document = {key: value for key, value in document.items() if key == "type" or value != default[key]}
        document.pop("targets", None)
    return document


def for_node(config: Config, name: str) -> Config:
    """The same configuration for another node of the cluster. KeyError when there is none of that name."""
    for node in config.nodes:
        if node.name == name:
            return replace(config, this_node=node.id)
    raise KeyError(name)


@dataclass(slots=True)
class _Writer:
    lines: list[str] = field(default_factory=list)

    def comment(self, *texts: str) -> None:
        self.lines += [f"# {text}" for text in texts]

    def table(self, name: str) -> None:
        self.lines += ["", f"[{name}]"]

    def value(self, key: str, value: Any, comment: str = "") -> None:
        text = json.dumps(list(value) if isinstance(value, tuple) else value)
        self.lines.append(f"{key} = {text}" + (f"  # {comment}" if comment else ""))


def render(config: Config) -> str:
    """A commented vigil.toml that loads to this configuration."""
    out = _Writer()
    out.comment("Vigil: the configuration of one node. The same on all nodes but for [node].")
    out.comment("Every key is explained in docs/reference/vigil-toml.md. Check with: crm cluster check")
    out.table("cluster")
    out.value("name", config.cluster_name)
    out.value("key_file", config.key_file, "mode 0600; the same on all nodes")
    out.table("node")
    out.value("name", config.node.name, "which of the nodes below this one is")
    for node in config.nodes:
        out.table("[nodes]")
        out.value("name", node.name)
        out.value("id", node.id)
        out.value("addresses", tuple(str(endpoint) for endpoint in node.endpoints), "one for each link")
        out.value("votes", node.votes)
    for link in config.links:
        out.table("[links]")
        out.value("mode", link.mode, "unicast, multicast or broadcast")
        out.value("port", link.port, "UDP for heartbeats, TCP for group messages")
        if link.group:
            out.value("group", link.group)
        if link.interface:
            out.value("interface", link.interface)
        out.value("ttl", link.ttl)
    _render_timers(out, config.timers)
    _render_quorum(out, config.quorum)
    out.table("paths")
    out.value("state_dir", config.paths.state_dir, "survives a reboot")
    out.value("run_dir", config.paths.run_dir, "sockets; emptied by a reboot")
    out.value("log_file", config.paths.log_file, "empty: standard error, for the journal")
    out.value("log_level", config.paths.log_level)
    out.table("agents")
    out.value("ocf_root", config.agents.ocf_root)
    return "\n".join(out.lines) + "\n"


def _render_timers(out: _Writer, timers: Timers) -> None:
    out.table("timers")
    out.comment("keepalive < warntime < deadtime <= initdead; deadtime is at least three keepalives.")
    out.value("keepalive_ms", timers.keepalive_ms, "between two heartbeats")
    out.value("warntime_ms", timers.warntime_ms, "silent for this long: late, logged")
    out.value("deadtime_ms", timers.deadtime_ms, "silent for this long: dead")
    out.value("initdead_ms", timers.initdead_ms, "how long a starting node waits for the others")
    out.value("vouch_ms", timers.vouch_ms, "a crm that does not vouch for itself for this long leaves the group")


def _render_quorum(out: _Writer, quorum: Quorum) -> None:
    out.table("quorum")
    out.value("policy", quorum.policy, "majority or ignore")
    out.value("expected_votes", quorum.expected_votes)
    out.value("two_node", quorum.two_node, "at an even split of two nodes both go on, and fencing decides")
    out.value("wait_for_all", quorum.wait_for_all, "after a boot, wait until all nodes were seen once")
    out.table("quorum.tie_breaker")
    tie_breaker = quorum.tie_breaker
    out.value("type", tie_breaker.type, "none, ping or qdisk")
    if tie_breaker.type == "qdisk":
        out.value("device", tie_breaker.device, "shared by all nodes; made with crm cluster mkqdisk")
        out.value("label", tie_breaker.label, "what mkqdisk was told; empty: any of this cluster")
        out.value("interval_ms", tie_breaker.interval_ms, "between two writes")
        out.value("tko", tie_breaker.tko, "intervals without a write that count as gone")
        return
    if tie_breaker.type != "none":
        out.value("targets", tie_breaker.targets, "host (ICMP) or host:port (TCP)")
    out.value("interval_ms", tie_breaker.interval_ms)
    out.value("timeout_ms", tie_breaker.timeout_ms)
    out.value("tko", tie_breaker.tko, "unanswered intervals in a row that count as lost")


# --- the command ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """`check FILE` and `resolve FILE --output OUT`; exit code 78 (EX_CONFIG) and all problems when the file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m crm.config", description="Check or resolve a vigil.toml")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say what is wrong with a file")
    resolve = commands.add_parser("resolve", help="write the resolved form that the daemons read")
    for command in (check, resolve):
        command.add_argument("file", type=Path)
    resolve.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        config = load(given.file)
        if given.command == "resolve":
            given.output.parent.mkdir(parents=True, exist_ok=True)
            fresh = given.output.with_name(f".{given.output.name}.new")
            fresh.write_text(config.to_resolved_json(), encoding="utf-8")
            fresh.replace(given.output)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    except OSError as error:
        sys.stderr.write(f"{given.output}: cannot be written: {error.strerror}\n")
        return 78
    sys.stdout.write(f"{given.file}: cluster {config.cluster_name}, node {config.node.name}: good\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
