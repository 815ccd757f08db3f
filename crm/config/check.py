"""One pass over a document: every section for itself, then nodes, links, timers and quorum beside one another."""

from __future__ import annotations

import re
import socket
from typing import Any

from pydantic import ValidationError

from crm.config.addresses import ip_address, parse_endpoint, unfit
from crm.config.model import (
    ABSENT,
    DEFAULT_BAUD,
    DEFAULT_DSCP,
    DEFAULT_METRICS_PORT,
    DEFAULT_PORT,
    MAX_LINKS,
    MAX_NODES,
    Agents,
    Alerts,
    Api,
    Config,
    Endpoint,
    Events,
    Link,
    Metrics,
    NodeEntry,
    Paths,
)
from crm.config.problems import Problems, shown
from crm.config.quorum import resolve_quorum
from crm.config.sections import (
    MODELS,
    OPTIONAL,
    SECTIONS,
    TIE_BREAKER_TABLES,
    LinkSection,
    NodeSection,
    TieBreakerSection,
)
from crm.config.timers import resolve_timers
from crm.config.watchdog import resolve_watchdog

_IP_MODES = ("unicast", "multicast", "broadcast")
_LINK_KEYS = {
    "interface": _IP_MODES,
    "ttl": _IP_MODES,
    "dscp": _IP_MODES,
    "fallback": ("multicast", "broadcast"),
    "baud": ("serial",),
}
"""The modes for which a key means something; `group` has checks of its own."""

UNICAST_TTL = 64
NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


class Check:
    """One pass over one document: collects problems and builds the resolved values."""

    def __init__(self, lines: dict[str, int]) -> None:
        self.problems = Problems(lines)
        self._sections: dict[str, Any] = {}

    def run(self, document: dict[str, Any]) -> Config | None:
        for name in document.keys() - SECTIONS.keys():
            self.problems.add(name, f"unknown section; expected one of {', '.join(SECTIONS)}")
        for name, adapter in SECTIONS.items():
            if name not in document and name not in OPTIONAL:
                self.problems.add(name, f"missing; every cluster needs [{'[nodes]' if name == 'nodes' else name}]")
                continue
            try:
                self._sections[name] = adapter.validate_python(document.get(name, OPTIONAL.get(name)))
            except ValidationError as error:
                self._add_validation(name, error)
        nodes, links = self._sections.get("nodes"), self._sections.get("links")
        if links is not None:
            self._check_links(links)
            for number, link in enumerate(links):
                if link.mode == "serial" and nodes is not None:
                    self._check_line(number, nodes)
                elif nodes is not None:
                    self._check_versions(number + 1, link, nodes)
        entries = self._check_nodes(nodes, links) if nodes is not None else None
        this_node = self._find_this_node(nodes) if nodes is not None and "node" in self._sections else None
        timers = resolve_timers(self._sections["timers"], self.problems) if "timers" in self._sections else None
        quorum = None
        if "quorum" in self._sections and nodes is not None:
            quorum = resolve_quorum(self._sections["quorum"], nodes, timers, self.problems)
        for key in (
            *("cluster.key_file", "paths.state_dir", "paths.run_dir", "paths.log_file"),
            *("agents.ocf_root", "events.folder", "watchdog.device"),
        ):
            self._check_absolute(key)
        metrics = self._resolve_metrics() if "metrics" in self._sections else None
        watchdog = resolve_watchdog(self._sections["watchdog"], self.problems) if "watchdog" in self._sections else None
        if (
            self.problems.found
            or entries is None
            or this_node is None
            or timers is None
            or quorum is None
            or links is None
            or metrics is None
            or watchdog is None
            or "api" not in self._sections
            or "alerts" not in self._sections
        ):
            return None
        cluster, paths, agents, events = (self._sections[name] for name in ("cluster", "paths", "agents", "events"))
        return Config(
            cluster_name=cluster.name,
            encryption=cluster.encryption,
            key_file=cluster.key_file,
            this_node=this_node,
            nodes=entries,
            links=tuple(_resolve_link(link) for link in links),
            timers=timers,
            quorum=quorum,
            paths=Paths(paths.state_dir, paths.run_dir, paths.log_file, paths.log_level),
            agents=Agents(agents.ocf_root),
            events=Events(events.folder, events.max_mib, events.keep),
            alerts=Alerts(self._sections["alerts"].user),
            metrics=metrics,
            watchdog=watchdog,
            api=Api(self._sections["api"].group),
        )

    # --- problems
    # --- problems

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
                    message = f"{message}, got {shown(fault['input'])}"
            self.problems.add(".".join(parts), message)

    @staticmethod
    def _known_keys(section: str, loc: tuple[int | str, ...]) -> str:
        model = TieBreakerSection if "tie_breaker" in loc[:-1] else MODELS[section]
        for table in TIE_BREAKER_TABLES.keys() & set(loc[:-1]):
            model = TIE_BREAKER_TABLES[table]
        return ", ".join(model.model_fields)

    def _check_absolute(self, key: str) -> None:
        section, _, name = key.partition(".")
        value = getattr(self._sections.get(section), name, "")
        if value and not value.startswith("/"):
            self.problems.add(key, f"expected an absolute path, got {shown(value)}")

    def _resolve_metrics(self) -> Metrics:
        text = self._sections["metrics"].listen
        endpoint = parse_endpoint(text, DEFAULT_METRICS_PORT) if text else None
        if text and (endpoint is None or ip_address(endpoint.host) is None):
            self.problems.add("metrics.listen", f"expected an IP address, with or without a port, got {shown(text)}")
        return Metrics(endpoint)

    # --- nodes and links

    def _check_links(self, links: list[LinkSection]) -> None:
        if not 1 <= len(links) <= MAX_LINKS:
            self.problems.add("links", f"expected 1 to {MAX_LINKS} links, got {len(links)}")
        if links and all(link.mode == "serial" for link in links):
            self.problems.add("links", "serial lines only: expected at least one network beside them")
        for number, link in enumerate(links, start=1):
            key = f"links.{number}.group"
            address = ip_address(link.group)
            self._check_fit(link, f"links.{number}")
            if link.mode == "serial":
                continue
            if link.mode == "unicast" and link.group:
                self.problems.add(key, "a unicast link has no group; remove it, or set mode to multicast or broadcast")
            elif link.mode == "multicast" and (address is None or not address.is_multicast):
                self.problems.add(key, f"expected a multicast address such as 239.192.7.1, got {shown(link.group)}")
            elif link.mode == "broadcast" and link.group and (address is None or address.version != 4):
                self.problems.add(
                    key, f"expected an IPv4 broadcast address such as 10.0.0.255, got {shown(link.group)}"
                )

    def _check_fit(self, link: LinkSection, key: str) -> None:
        """Keys that mean nothing for the mode of a link are a misunderstanding."""
        for name, modes in _LINK_KEYS.items():
            if getattr(link, name) not in (None, "") and link.mode not in modes:
                self.problems.add(f"{key}.{name}", f"means nothing for a {link.mode} link; remove it")

    def _check_line(self, number: int, nodes: list[NodeSection]) -> None:
        """A serial line has two ends."""
        ends = [node.addresses[number] for node in nodes if number < len(node.addresses)]
        if sum(end != ABSENT for end in ends) != 2:
            self.problems.add(
                f"links.{number + 1}",
                f'a serial line joins two nodes: expected a device for two of them and "{ABSENT}" for the others',
            )

    def _check_versions(self, number: int, link: LinkSection, nodes: list[NodeSection]) -> None:
        """One link is one network: nobody sends from an IPv4 address to an IPv6 one."""
        hosts = [endpoint.host for node in nodes for endpoint in _endpoints_on(node, number, link)]
        numeric = [address for host in hosts if (address := ip_address(host)) is not None]
        versions = {address.version for address in numeric}
        if len(versions) > 1:
            self.problems.add(
                f"links.{number}",
                "some nodes have an IPv4 address on this link and some an IPv6 one; give all of them one kind, or make two links",
            )
        group = ip_address(link.group)
        if group is not None and len(versions) == 1 and group.version not in versions:
            self.problems.add(
                f"links.{number}.group",
                f"an IPv{group.version} group, but the nodes have IPv{versions.pop()} addresses on this link, got {shown(link.group)}",
            )

    def _check_nodes(self, nodes: list[NodeSection], links: list[LinkSection] | None) -> tuple[NodeEntry, ...]:
        if not 1 <= len(nodes) <= MAX_NODES:
            self.problems.add("nodes", f"expected 1 to {MAX_NODES} nodes, got {len(nodes)}")
        entries: list[NodeEntry] = []
        used: dict[str, dict[Any, str]] = {"id": {}, "name": {}, "address": {}}
        for number, node in enumerate(nodes, start=1):
            key = f"nodes.{number}"
            self._check_unique(used["id"], node.id, f"{key}.id", "id", node.name)
            self._check_unique(used["name"], node.name, f"{key}.name", "name", f"node {number}")
            if not NODE_NAME.fullmatch(node.name):
                self.problems.add(f"{key}.name", f"expected letters, digits, '.', '_' or '-', got {shown(node.name)}")
            if links is not None and len(node.addresses) != len(links):
                self.problems.add(
                    f"{key}.addresses",
                    f"expected one address for each of the {len(links)} links, got {len(node.addresses)}",
                )
            endpoints = []
            for place, address in enumerate(node.addresses):
                if links is not None and place < len(links) and links[place].mode == "serial":
                    endpoints.append(Endpoint(address, 0))
                    if address != ABSENT and not address.startswith("/"):
                        self.problems.add(
                            f"{key}.addresses",
                            f'expected a device such as /dev/ttyS0 or "{ABSENT}", got {shown(address)}',
                        )
                    continue
                port = links[place].port if links is not None and place < len(links) else DEFAULT_PORT
                endpoint = parse_endpoint(address, port)
                if endpoint is None:
                    self.problems.add(f"{key}.addresses", f"expected host or host:port, got {shown(address)}")
                    continue
                if why := unfit(endpoint.host):
                    self.problems.add(f"{key}.addresses", f"{why}, got {shown(address)}")
                self._check_unique(used["address"], endpoint, f"{key}.addresses", "address", node.name)
                endpoints.append(endpoint)
            entries.append(NodeEntry(node.id, node.name, node.votes, tuple(endpoints)))
        return tuple(sorted(entries, key=lambda entry: entry.id))

    def _check_unique(self, used: dict[Any, str], value: Any, key: str, what: str, owner: str) -> None:
        if value in used:
            self.problems.add(key, f"{what} {value} is already that of {used[value]}")
        used.setdefault(value, owner)

    def _find_this_node(self, nodes: list[NodeSection]) -> int | None:
        wanted = self._sections["node"].name
        names = {node.name: node.id for node in nodes}
        host = socket.gethostname()
        for candidate in [wanted] if wanted else [host, host.partition(".")[0]]:
            if candidate in names:
                return names[candidate]
        known = ", ".join(names)
        if wanted:
            self.problems.add("node.name", f"{shown(wanted)} is not one of the nodes ({known})")
        else:
            self.problems.add(
                "node.name", f"missing, and the host's name {shown(host)} is not one of the nodes ({known})"
            )
        return None


def _endpoints_on(node: NodeSection, number: int, link: LinkSection) -> list[Endpoint]:
    """Where a node is on a link (counted from 1); nowhere when that is not said rightly."""
    if number > len(node.addresses):
        return []
    endpoint = parse_endpoint(node.addresses[number - 1], link.port)
    return [] if endpoint is None else [endpoint]


def _resolve_link(link: LinkSection) -> Link:
    if link.mode == "serial":
        return Link("serial", link.port, "", "", 1, DEFAULT_DSCP, "none", link.baud or DEFAULT_BAUD)
    group = link.group or ("255.255.255.255" if link.mode == "broadcast" else "")
    ttl = link.ttl or (UNICAST_TTL if link.mode == "unicast" else 1)
    dscp = DEFAULT_DSCP if link.dscp is None else link.dscp
    fallback = "none" if link.mode == "unicast" else link.fallback or "unicast"
    return Link(link.mode, link.port, group, link.interface, ttl, dscp, fallback)
