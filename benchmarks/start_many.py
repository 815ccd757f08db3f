#!/usr/bin/env python3
"""How long a cluster takes to start many resources that came with one change of the configuration, and where the CPU time goes.

Usage: python benchmarks/start_many.py [--count 300] [--nodes 3] [--floor]

The resources are `ocf:pacemaker:Dummy` without a monitor, on a lab of machine isolation without fencing. Time counts from the sending of the
change until the last start has its result in the CIB and no transition is left. Of each node the CPU time of Vigil's processes, by process, and
of the agents. `--floor` measures instead what running the agents alone costs: a probe on every node and a start for each
resource, as many at a time as there are cores, without a cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from idle import cpu_s

from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId, Operation
from crm.lab import cluster
from crm.lab.client import ask
from crm.lab.layout import Isolation, Lab, TieBreaker

NAMES = {"crm.daemon": "crm", "messaging": "messaging", "supervisor": "vigild"}
LIMIT_S = 600
STARTS = "//lrm_rsc_op[@operation='start' and @rc-code='0']"


def processes(lab: Lab) -> dict[str, list[int]]:
    """The pids of Vigil's processes on all nodes, by kind."""
    found: dict[str, list[int]] = defaultdict(list)
    for node in lab.nodes:
        for pid in ask(lab, "pids", node=node)["pids"]:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if "-m" not in words:
                continue
            module = words[words.index("-m") + 1]
            kind = NAMES.get(module.rpartition(".")[2] if "supervisor" in module else module)
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            if kind == "crm" and int(parent) in found["crm"]:
                kind = "policy worker"
            if kind:
                found[kind].append(pid)
    return found


def dummies(count: int) -> str:
    rows = "".join(
        f'<primitive id="d{number}" class="ocf" provider="pacemaker" type="Dummy"/>' for number in range(1, count + 1)
    )
    return f"<resources>{rows}</resources>"


def in_a_cluster(count: int, nodes: int) -> None:
    os.environ["VIGIL_LAB_HOME"] = tempfile.mkdtemp(prefix="vl", dir="/tmp")
    lab, _ = cluster.plan("many", nodes=nodes, tie_breaker=TieBreaker.NONE, isolation_wanted=Isolation.MACHINE)
    cluster.up(lab)
    try:
        cluster.wait_for(lambda: cluster.online(lab) == set(lab.nodes), 60, "the cluster has not formed")
        with cluster.api(lab, "n1", timeout_s=LIMIT_S) as client:
            off = '<nvpair id="fencing" name="stonith-enabled" value="false"/>'
            client.call(
                "cib.apply",
                operation="modify",
                scope="crm_config",
                xml=f'<crm_config><cluster_property_set id="options">{off}</cluster_property_set></crm_config>',
            )
            client.call("wait", timeout_ms=30_000)
            kinds = processes(lab)
            before = {kind: [cpu_s([pid]) for pid in pids] for kind, pids in kinds.items()}
            began = time.monotonic()
            client.call("cib.apply", operation="modify", scope="resources", xml=dummies(count))
            accepted = time.monotonic() - began
            client.call("wait", timeout_ms=LIMIT_S * 1000)
            took = time.monotonic() - began
            started = client.call("cib.query", xpath=STARTS)["xml"].count("<lrm_rsc_op")
        print(f"{started} of {count} started after {took:.2f} s (the change was accepted after {accepted:.2f} s)")
        for kind, pids in kinds.items():
            used = [
                (now[0] - then[0], now[1] - then[1])
                for now, then in zip((cpu_s([pid]) for pid in pids), before[kind], strict=True)
            ]
            own = ", ".join(f"{each[0]:.2f}" for each in used)
            ran = f"; agents {sum(each[1] for each in used):.2f} s" if kind == "crm" else ""
            print(f"  {kind}: {own} s of CPU{ran}")
    finally:
        cluster.down("many")


async def alone(count: int, nodes: int) -> None:
    state = tempfile.mkdtemp(prefix="vigil-floor")
    paths = AgentPaths.from_environment({**os.environ, "HA_RSCTMP": state})
    runner = Runner(paths)
    agent = AgentId("ocf", "pacemaker", "Dummy")
    slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def run(number: int) -> None:
        async with slots:
            for action in (*["monitor"] * nodes, "start"):
                parameters = {"state": f"{state}/d{number}"}
                await runner.run(Operation(agent, action, f"d{number}", parameters))

    began = time.monotonic()
    await asyncio.gather(*(run(number) for number in range(count)))
    took = time.monotonic() - began
    print(
        f"{count * (nodes + 1)} runs of the agent alone: {took:.2f} s, {took / count / (nodes + 1) * 1000:.1f} ms each"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--floor", action="store_true")
    options = parser.parse_args()
    if options.floor:
        asyncio.run(alone(options.count, options.nodes))
    else:
        in_a_cluster(options.count, options.nodes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
