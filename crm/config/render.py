"""A configuration as a commented vigil.toml."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from crm.config.model import Config, Endpoint, NodeEntry, Quorum, TieBreaker, Timers


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

    def follows(self, key: str, value: Any, given: bool, comment: str) -> None:
        """A value that follows from others unless it is given."""
        if given:
            self.value(key, value, comment)
        else:
            self.comment(f"{key} = {json.dumps(value)}  ({comment})")


def render(config: Config) -> str:
    """A commented vigil.toml that loads to this configuration."""
    out = _Writer()
    out.comment("Vigil: the configuration of one node. The same on all nodes but for [node].")
    out.comment("Every key is explained in docs/reference/vigil-toml.md. Check with: crm cluster check")
    out.table("cluster")
    out.value("name", config.cluster_name)
    out.value("key_file", config.key_file, "mode 0600; the same on all nodes")
    out.value("encryption", config.encryption, "none, aes-256-gcm-optional or aes-256-gcm")
    out.table("node")
    out.value("name", config.node.name, "which of the nodes below this one is")
    for node in config.nodes:
        out.table("[nodes]")
        out.value("name", node.name)
        out.value("id", node.id)
        out.value("addresses", tuple(_address(endpoint) for endpoint in node.endpoints), "one for each link")
        out.value("votes", node.votes)
    for link in config.links:
        out.table("[links]")
        out.value("mode", link.mode, "unicast, multicast, broadcast or serial")
        if link.mode == "serial":
            out.value("baud", link.baud)
            continue
        out.value("port", link.port, "UDP for heartbeats, TCP for group messages")
        if link.group:
            out.value("group", link.group)
        if link.interface:
            out.value("interface", link.interface)
        out.value("ttl", link.ttl, "hops that heartbeats may take")
        out.value("dscp", link.dscp)
        if link.mode != "unicast":
            out.value("fallback", link.fallback, "unicast: to those whom the group does not reach; or none")
    _render_timers(out, config.timers)
    _render_quorum(out, config.quorum, config.nodes)
    if config.watchdog.device:
        out.table("watchdog")
        out.value("device", config.watchdog.device, "resets this node unless it is fed")
        out.value("timeout_ms", config.watchdog.timeout_ms, "the same on all nodes")
        out.value("on_quorum_loss", config.watchdog.on_quorum_loss, "reset or ignore")
        out.value("on_crm_loss", config.watchdog.on_crm_loss)
        out.value("on_disk_loss", config.watchdog.on_disk_loss)
    out.table("paths")
    out.value("state_dir", config.paths.state_dir, "survives a reboot")
    out.value("run_dir", config.paths.run_dir, "sockets; emptied by a reboot")
    out.value("log_file", config.paths.log_file, "empty: standard error, for the journal")
    out.value("log_level", config.paths.log_level)
    out.table("agents")
    out.value("ocf_root", config.agents.ocf_root)
    out.table("events")
    out.value("folder", config.events.folder, "the event log; empty: STATE_DIR/events")
    out.value("max_mib", config.events.max_mib, "of one file; then another is begun")
    out.value("keep", config.events.keep, "older files")
    out.table("alerts")
    out.value("user", config.alerts.user, "alert agents run as this user; empty: as the daemon")
    out.table("metrics")
    listen = "" if config.metrics.listen is None else str(config.metrics.listen)
    out.value("listen", listen, "address:port for Prometheus; empty: off")
    out.table("api")
    out.value("group", config.api.group, "members may use crm and the tools; empty: root only")
    return "\n".join(out.lines) + "\n"


def _address(endpoint: Endpoint) -> str:
    return str(endpoint) if endpoint.port else endpoint.host


def _render_timers(out: _Writer, timers: Timers) -> None:
    out.table("timers")
    out.comment("keepalive < warntime < deadtime <= initdead; deadtime is at least three keepalives.")
    out.value("keepalive_ms", timers.keepalive_ms, "between two heartbeats")
    out.value("warntime_ms", timers.warntime_ms, "silent for this long: late, logged")
    out.value("deadtime_ms", timers.deadtime_ms, "silent for this long: dead")
    out.value("initdead_ms", timers.initdead_ms, "how long a starting node waits for the others")
    out.value("vouch_ms", timers.vouch_ms, "a crm that does not vouch for itself for this long leaves the group")


def _render_votes(out: _Writer, quorum: Quorum, nodes: tuple[NodeEntry, ...]) -> None:
    """What follows from the nodes is only told: written down, it would not follow when nodes are added or removed."""
    votes = sum(node.votes for node in nodes)
    decided = quorum.tie_breaker.type != "none" or quorum.auto_tie_breaker
    pair = len(nodes) == 2 and all(node.votes == 1 for node in nodes)
    changing = quorum.last_man_standing or quorum.allow_downscale
    floor = quorum.least_votes if quorum.allow_downscale else quorum.expected_votes
    given = floor != (1 if quorum.allow_downscale else votes)
    out.follows("expected_votes", floor, given, "the sum of the nodes' votes; with allow_downscale, the least")
    note = "at an even split of two nodes both go on, and fencing decides"
    out.follows("two_node", quorum.two_node, quorum.two_node != (pair and not decided and not changing), note)
    note = "after a boot, wait until all nodes were seen once"
    waits = len(nodes) == 2 or quorum.last_man_standing
    out.follows("wait_for_all", quorum.wait_for_all, quorum.wait_for_all != waits, note)
    if quorum.auto_tie_breaker:
        out.value("auto_tie_breaker", True, "at an even split, the half with one certain node goes on")
        chosen = quorum.tie_nodes if quorum.auto_tie_breaker == "list" else quorum.auto_tie_breaker
        out.value("auto_tie_breaker_node", chosen, "lowest, highest, or a list of node ids")
    if quorum.last_man_standing:
        out.value("last_man_standing", True, "nodes that are lost for longer than the window are counted out")
        out.value("last_man_standing_window_ms", quorum.last_man_standing_window_ms)
    if quorum.allow_downscale:
        out.value("allow_downscale", True, "nodes that leave politely are counted out")


def _render_quorum(out: _Writer, quorum: Quorum, nodes: tuple[NodeEntry, ...]) -> None:
    out.table("quorum")
    out.value("policy", quorum.policy, "majority or ignore")
    _render_votes(out, quorum, nodes)
    out.table("quorum.tie_breaker")
    tie_breaker = quorum.tie_breaker
    out.value("type", tie_breaker.type, "none, ping, qdisk or arbiter")
    if tie_breaker.accept_without_fencing:
        out.value("accept_without_fencing", True, "both halves may go on, and nothing keeps them apart")
    match tie_breaker.type:
        case "qdisk":
            _render_quorum_disk(out, tie_breaker)
        case "arbiter":
            _render_arbiter(out, tie_breaker)
        case _:
            _render_ping(out, tie_breaker)


def _render_quorum_disk(out: _Writer, tie_breaker: TieBreaker) -> None:
    out.value("device", tie_breaker.device, "shared by all nodes; made with crm cluster mkqdisk")
    out.value("label", tie_breaker.label, "what mkqdisk was told; empty: any of this cluster")
    out.value("interval_ms", tie_breaker.interval_ms, "between two writes")
    out.value("tko", tie_breaker.tko, "intervals without a write that count as gone")
    if not tie_breaker.master_wins:
        out.value("master_wins", False, "every node that writes in time has evidence: fencing decides")
    if tie_breaker.votes:
        out.value("votes", tie_breaker.votes)
    if tie_breaker.heuristics:
        out.value("min_score", tie_breaker.min_score, "a node with a lower score cannot win")
    for heuristic in tie_breaker.heuristics:
        out.table("[quorum.tie_breaker.heuristics]")
        out.value("program", heuristic.program)
        out.value("score", heuristic.score)
        out.value("interval_ms", heuristic.interval_ms)
        out.value("timeout_ms", heuristic.timeout_ms)
        out.value("tko", heuristic.tko)


def _render_arbiter(out: _Writer, tie_breaker: TieBreaker) -> None:
    out.value("address", tie_breaker.address, "where vigil-arbiter runs")
    out.value("certificate", tie_breaker.certificate, "made with vigil-arbiter add; mode 0600")
    out.value("algorithm", tie_breaker.algorithm, "ffsplit (even splits) or lms (the last man standing goes on)")
    out.value("prefer", tie_breaker.prefer, "of two equal sides: lowest, highest or resources")
    out.value("interval_ms", tie_breaker.interval_ms, "between two reports")
    out.value("tko", tie_breaker.tko, "intervals without a report that count as gone")


def _render_ping(out: _Writer, tie_breaker: TieBreaker) -> None:
    if tie_breaker.type != "none":
        out.value("targets", tie_breaker.targets, "host (ICMP) or host:port (TCP)")
    out.value("interval_ms", tie_breaker.interval_ms)
    out.value("timeout_ms", tie_breaker.timeout_ms)
    out.value("tko", tie_breaker.tko, "unanswered intervals in a row that count as lost")
    for group in tie_breaker.groups:
        out.table("[quorum.tie_breaker.groups]")
        out.value("targets", group.targets)
        out.value("need", group.need, "one or all of them")
