#!/usr/bin/env python3
"""Clients that ask for much: changes of the configuration a second, each durable on every member, and a burst of attribute updates.

Usage: python benchmarks/clients.py [--nodes 3] [--clients 8] [--seconds 10] [--updates 5000]

Each client is a thread with a connection of its own and waits for each answer. A configuration change sets one value, which differs each time. While
the attributes are updated, `status` is asked all the time, and its slowest answer is reported; `crm status` is run as a command, too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from idle import cpu_s
from start_many import processes

from crm.lab import cluster
from crm.lab.layout import Isolation, Lab, TieBreaker


def options_xml(name: str, value: str) -> str:
    pair = f'<nvpair id="options-{name}" name="{name}" value="{value}"/>'
    return f'<crm_config><cluster_property_set id="options">{pair}</cluster_property_set></crm_config>'


def at_once(clients: int, work: Callable[[int], None]) -> float:
    """Seconds that `work(number)` took in all the threads together."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def changes(lab: Lab, clients: int, seconds: float) -> None:
    took: list[float] = []
    until = time.monotonic() + seconds

    def work(number: int) -> None:
        node = lab.nodes[number % len(lab.nodes)]
        with cluster.api(lab, node) as client:
            count = 0
            while (began := time.monotonic()) < until:
                count += 1
                pair = f'<nvpair id="{node}-{number}" name="rack-{number}" value="{count}"/>'
                held = f'<instance_attributes id="{node}-attributes">{pair}</instance_attributes>'
                xml = f'<nodes><node id="{lab.nodes.index(node) + 1}" uname="{node}">{held}</node></nodes>'
                client.call("cib.apply", operation="modify", scope="nodes", xml=xml)
                took.append(time.monotonic() - began)

    pids = [pid for each in processes(lab).values() for pid in each]
    before = sum(cpu_s(pids))
    elapsed = at_once(clients, work)
    cpu_ms = (sum(cpu_s(pids)) - before) * 1000 / len(took)
    print(
        f"{clients} clients: {len(took) / elapsed:.0f} configuration changes a second; "
        f"median {statistics.median(took) * 1000:.1f} ms, slowest {max(took) * 1000:.0f} ms; "
        f"{cpu_ms:.1f} ms of CPU each in all processes of all nodes"
    )
    held = set()
    for node in lab.nodes:
        with cluster.api(lab, node) as client:
            held.add(client.call("cib.query", xpath="//nodes")["xml"])
    print(f"  the copies of all {len(lab.nodes)} members are {'the same' if len(held) == 1 else 'DIFFERENT'}")


def updates(lab: Lab, clients: int, count: int) -> None:
    answers: list[float] = []
    commands: list[float] = []
    done = threading.Event()

    def look() -> None:
        with cluster.api(lab, lab.nodes[0]) as client:
            while not done.is_set():
                began = time.monotonic()
                client.call("status")
                answers.append(time.monotonic() - began)
                time.sleep(0.02)

    def command() -> None:
        while not done.is_set():
            began = time.monotonic()
            cluster.run(lab, lab.nodes[0], [sys.executable, "-m", "crm.shell.main", "status"], capture_output=True)
            commands.append(time.monotonic() - began)

    def work(number: int) -> None:
        node = lab.nodes[number % len(lab.nodes)]
        with cluster.api(lab, node) as client:
            for each in range(count // clients):
                name, value = f"burst-{number}-{each % 50}", str(each)
                client.call("attribute.update", node=node, name=name, value=value, lifetime="reboot")

    pids = [pid for each in processes(lab).values() for pid in each]
    before = sum(cpu_s(pids))
    watchers = [threading.Thread(target=look), threading.Thread(target=command)]
    for watcher in watchers:
        watcher.start()
    elapsed = at_once(clients, work)
    done.set()
    for watcher in watchers:
        watcher.join()
    cpu_ms = (sum(cpu_s(pids)) - before) * 1000 / count
    print(
        f"{count} attribute updates in {elapsed:.1f} s ({count / elapsed:.0f} a second), {cpu_ms:.1f} ms of CPU each in all processes of all nodes; "
        f"meanwhile `status` of the API: median "
        f"{statistics.median(answers) * 1000:.0f} ms, slowest {max(answers) * 1000:.0f} ms; `crm status` as a command: "
        f"median {statistics.median(commands) * 1000:.0f} ms, slowest {max(commands) * 1000:.0f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--updates", type=int, default=5000)
    options = parser.parse_args()
    os.environ["VIGIL_LAB_HOME"] = tempfile.mkdtemp(prefix="vl", dir="/tmp")
    lab, _ = cluster.plan("busy", nodes=options.nodes, tie_breaker=TieBreaker.NONE, isolation_wanted=Isolation.MACHINE)
    cluster.up(lab)
    try:
        cluster.wait_for(lambda: cluster.online(lab) == set(lab.nodes), 60, "the cluster has not formed")
        with cluster.api(lab, "n1") as client:
            client.call(
                "cib.apply", operation="modify", scope="crm_config", xml=options_xml("stonith-enabled", "false")
            )
            client.call("wait", timeout_ms=30_000)
        changes(lab, 1, options.seconds / 2)
        changes(lab, options.clients, options.seconds)
        updates(lab, options.clients, options.updates)
    finally:
        cluster.down("busy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
