#!/usr/bin/env python3
"""How soon the cluster reacts: to a failed monitor, to `standby`, to the loss of a node, and to the loss of the node that is DC.

Usage: python benchmarks/reactions.py [--runs 5]

Three nodes of machine isolation with fencing; `svc` is an `ocf:vigil:Dummy` with a monitor every second, `addr` an address that goes with it. All nodes
share one monotonic clock, so times are differences of `mono_ms` in the nodes' event records; what the agents themselves took (`exec_ms` of the
results) is shown beside them. The DC is lost and another node is lost in turns, each while it runs `svc`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from typing import Any

from crm.lab import cluster, layout
from crm.lab.client import ask
from crm.lab.layout import Isolation, Lab, TieBreaker, Timers

CONFIGURATION = """\
property stonith-enabled=true stonith-action=off
primitive power stonith:fence_vigil_lab params ip={power} ipport={port} pcmk_host_list="{nodes}"
primitive svc ocf:vigil:Dummy params state={state} op monitor interval=1s
primitive addr ocf:vigil:IPaddr params ip={address} cidr_netmask={prefix}
group service addr svc meta resource-stickiness=100
"""
STATE = "/run/svc.state"


class Rehearsal:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def call(self, at: str, method: str, **parameters: Any) -> Any:
        with cluster.api(self.lab, at) as client:
            return client.call(method, **parameters)

    def crm(self, node: str, *words: str, text: str | None = None) -> None:
        command = [sys.executable, "-m", "crm.shell.main", *words]
        done = cluster.run(self.lab, node, command, input=text, text=True, capture_output=True)
        if done.returncode:
            raise SystemExit(f"crm {' '.join(words)}: {done.stderr}")

    def settle(self, nodes: set[str]) -> None:
        def all_there() -> bool:
            return all(cluster.online_at(self.lab, node) == nodes for node in nodes)

        cluster.wait_for(all_there, 60, "the cluster has not formed")
        self.call(sorted(nodes)[0], "wait", timeout_ms=60_000)

    def dc(self) -> str:
        return str(self.call(next(iter(cluster.online(self.lab))), "status")["dc"])

    def owner(self, node: str) -> str:
        for each in self.lab.nodes:
            test = cluster.run(self.lab, each, ["test", "-e", STATE]) if each in cluster.online(self.lab) else None
            if test is not None and test.returncode == 0:
                return each
        raise SystemExit(f"svc runs nowhere, as seen from {node}")

    def records(self, since_ms: int, nodes: set[str]) -> list[dict[str, Any]]:
        found = []
        for node in nodes:
            found += self.call(node, "events.recent", since_ms=since_ms)["events"]
        return sorted(found, key=lambda record: record["mono_ms"])

    def started(self, since_ms: int, nodes: set[str]) -> list[dict[str, Any]]:
        """The results of all operations since then, once `svc` has started."""

        def results() -> list[dict[str, Any]]:
            return [record for record in self.records(since_ms, nodes) if record["event"] == "action_result"]

        def there() -> bool:
            return any(r["operation"] == "start" and r["resource"] == "svc" and r["rc"] == 0 for r in results())

        cluster.wait_for(there, 30, "svc has not started")
        return results()

    def monitor_fails(self) -> tuple[float, float]:
        nodes = set(self.lab.nodes)
        since_ms, owner = int(time.time() * 1000), self.owner("n1")
        cluster.run(self.lab, owner, ["rm", STATE])
        results = self.started(since_ms, nodes)
        failed = next(r for r in results if r["operation"] == "monitor" and r["resource"] == "svc" and r["rc"] == 7)
        after = [r for r in results if r["mono_ms"] > failed["mono_ms"] and r["resource"] == "svc"]
        end = next(r for r in after if r["operation"] == "start")
        self.settle(nodes)
        self.crm("n1", "resource", "cleanup", "svc")
        self.settle(nodes)
        return end["mono_ms"] - failed["mono_ms"], sum(
            r.get("exec_ms", 0) for r in after if r["operation"] in ("stop", "start")
        )

    def standby(self) -> tuple[float, float]:
        nodes = set(self.lab.nodes)
        since_ms, owner, began = int(time.time() * 1000), self.owner("n1"), time.monotonic_ns() // 1_000_000
        self.call(owner, "attribute.update", node=owner, name="standby", value="on", lifetime="forever")
        results = self.started(since_ms, nodes)
        up = next(r for r in results if r["operation"] == "start" and r["resource"] == "addr")
        agents = sum(
            r.get("exec_ms", 0) for r in results if r["mono_ms"] <= up["mono_ms"] and r["operation"] != "monitor"
        )
        self.settle(nodes)
        self.call(owner, "attribute.update", node=owner, name="standby", value=None, lifetime="forever")
        self.settle(nodes)
        return up["mono_ms"] - began, agents

    def loss(self, of_dc: bool) -> float:
        nodes, dc = set(self.lab.nodes), self.dc()
        victim = dc if of_dc else next(node for node in reversed(self.lab.nodes) if node != dc)
        self.crm(dc, "configure", "location", "here", "service", "1000:", victim)
        self.settle(nodes)
        assert self.owner(dc) == victim, f"svc should be on {victim}"
        since_ms, began = int(time.time() * 1000), time.monotonic_ns() // 1_000_000
        ask(self.lab, "crash", node=victim)
        results = self.started(since_ms, nodes - {victim})
        end = next(r for r in results if r["operation"] == "start" and r["resource"] == "svc")
        self.settle(nodes - {victim})
        self.crm(next(iter(nodes - {victim})), "configure", "delete", "here")
        ask(self.lab, "power-on", node=victim)
        self.settle(nodes)
        return float(end["mono_ms"] - began)


def line(what: str, times: list[float], agents: list[float] | None = None) -> None:
    text = f"{what}: median {statistics.median(times):.0f} ms, {min(times):.0f} to {max(times):.0f} ms in {len(times)} runs"
    if agents is not None:
        text += f"; the agents' own time is {statistics.median(agents):.0f} ms of it"
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    os.environ["VIGIL_LAB_HOME"] = tempfile.mkdtemp(prefix="vl", dir="/tmp")
    lab, _ = cluster.plan(
        "react",
        nodes=3,
        tie_breaker=TieBreaker.NONE,
        isolation_wanted=Isolation.MACHINE,
        timers=Timers(keepalive_ms=200, warntime_ms=600, deadtime_ms=1000, initdead_ms=3000),
    )
    cluster.up(lab)
    try:
        run = Rehearsal(lab)
        run.settle(set(lab.nodes))
        text = CONFIGURATION.format(
            power=lab.power_address,
            port=lab.power_port(),
            nodes=" ".join(lab.nodes),
            state=STATE,
            address=lab.service_address,
            prefix=layout.PREFIX,
        )
        run.crm("n1", "configure", "load", "update", "-", text=text)
        run.settle(set(lab.nodes))
        failures = [run.monitor_fails() for _ in range(options.runs)]
        line("failed monitor to restarted service", [each[0] for each in failures], [each[1] for each in failures])
        moves = [run.standby() for _ in range(options.runs)]
        line("standby to the address on another node", [each[0] for each in moves], [each[1] for each in moves])
        other = [run.loss(of_dc=False) for _ in range(options.runs)]
        line("power cut of a node to the service on another", other)
        dc = [run.loss(of_dc=True) for _ in range(options.runs)]
        line("power cut of the DC to the service on another", dc)
    finally:
        cluster.down("react")
    return 0


if __name__ == "__main__":
    sys.exit(main())
