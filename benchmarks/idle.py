#!/usr/bin/env python3
"""What an idle node costs: CPU share and memory of all Vigil processes of each node of a lab, measured over a while.

Usage: python benchmarks/idle.py [--nodes 2] [--seconds 60] [--tie-breaker ping]

CPU is user + system time of the node's Vigil processes (as a share of one core), and beside it that of the agents they ran (monitors); memory is PSS from
/proc/PID/smaps_rollup, summed over the node's Vigil processes (not the services they run). The lab runs the demo's configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from crm.lab import cluster
from crm.lab.client import ask
from crm.lab.demo import configuration
from crm.lab.layout import Isolation, Lab, TieBreaker

VIGIL = ("crm.daemon", "-m messaging", "crm.daemon.supervisor")
TICKS = os.sysconf("SC_CLK_TCK")


def vigil_processes(lab: Lab, node: str) -> list[int]:
    found = []
    for pid in ask(lab, "pids", node=node)["pids"]:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        if any(word in command for word in VIGIL):
            found.append(pid)
    return found


def cpu_s(pids: list[int]) -> tuple[float, float]:
    """User and system time: of the processes themselves, and of the agents they have run and waited for."""
    own = agents = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own += sum(int(value) for value in fields[11:13])
        agents += sum(int(value) for value in fields[13:15])
    return own / TICKS, agents / TICKS


def pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tie-breaker", type=TieBreaker, choices=list(TieBreaker), default=TieBreaker.PING)
    options = parser.parse_args()
    os.environ["VIGIL_LAB_HOME"] = tempfile.mkdtemp(prefix="vl", dir="/tmp")
    lab, _ = cluster.plan(
        "idle", nodes=options.nodes, tie_breaker=options.tie_breaker, isolation_wanted=Isolation.MACHINE
    )
    cluster.up(lab)
    try:
        wanted = set(lab.nodes)
        cluster.wait_for(lambda: cluster.online(lab) == wanted, 60, "the cluster has not formed")
        command = [sys.executable, "-m", "crm.shell.main", "configure", "load", "update", "-"]
        cluster.run(lab, "n1", command, input=configuration(lab), text=True)
        with cluster.api(lab, "n1") as client:
            client.call("wait", timeout_ms=30_000)
        time.sleep(5)
        pids = {node: vigil_processes(lab, node) for node in lab.nodes}
        if options.tie_breaker is TieBreaker.ARBITER:
            pids["arbiter"] = [int((lab.arbiter_folder / "pid").read_text())]
        before = {node: cpu_s(each) for node, each in pids.items()}
        time.sleep(options.seconds)
        print(f"{'node':>7} {'processes':>10} {'CPU %':>7} {'agents %':>9} {'PSS MiB':>8}")
        for node, each in pids.items():
            own, agents = (
                (now - then) / options.seconds * 100 for now, then in zip(cpu_s(each), before[node], strict=True)
            )
            pss_mib = sum(map(pss_kib, each)) / 1024
            print(f"{node:>7} {len(each):>10} {own:>7.2f} {agents:>9.2f} {pss_mib:>8.1f}")
    finally:
        cluster.down("idle")
    return 0


if __name__ == "__main__":
    sys.exit(main())
