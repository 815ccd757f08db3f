"""Three machines under exercise: what runs on them, what is watched all the while, and the audit after each exercise.

What the nodes say of themselves is not believed: the agents' own state files are looked at from outside, on every node that has power. A watcher
does so all the time; the audit does when the cluster says that it has nothing left to do.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from conftest import LabCluster

from crm.api.errors import ApiError
from crm.cib import xml
from crm.lab import cluster
from crm.lab.layout import LabError
from crm.policy.schedule import schedule

SETTLE_LIMIT_S = 120.0
WATCH_S = 0.01
SINGLE = ("alone", "first", "second", "third", "near", "later")
"""Primitives of which there is one; `first`, `second`, `third` are a group, `near` goes where it is, `later` starts after it."""
INTERNAL_ERRORS = ("Traceback", "InvariantBroken", "broken rule", "AssertionError")

CONFIGURATION = """\
property stonith-enabled=true stonith-action=reboot
primitive power stonith:fence_vigil_lab params ip={power} ipport={port} pcmk_host_list="{nodes}" op monitor interval=60s
primitive alone ocf:vigil:Dummy op monitor interval=1s
primitive first ocf:vigil:Dummy op monitor interval=1s
primitive second ocf:vigil:Dummy op monitor interval=1s
primitive third ocf:vigil:Dummy op monitor interval=1s
group line first second third
primitive near ocf:vigil:Dummy op monitor interval=1s
colocation near-line inf: near line
order line-near Mandatory: line near
primitive later ocf:vigil:Dummy
order alone-later Mandatory: alone later
primitive each ocf:vigil:Dummy op monitor interval=2s
clone everywhere each meta interleave=true
primitive roles ocf:vigil:Stateful op monitor interval=2s role=Promoted op monitor interval=3s role=Unpromoted
ms database roles
rsc_defaults resource-stickiness=10 migration-threshold=5 failure-timeout=5s
"""


def configuration(made: LabCluster) -> str:
    lab = made.lab
    return CONFIGURATION.format(power=lab.power_address, port=lab.power_port(), nodes=" ".join(lab.nodes))


def powered(made: LabCluster) -> dict[str, int]:
    """The nodes that have power, and the process that is their life."""
    nodes = made.ask("status")["nodes"]
    return {name: each["pid"] for name, each in nodes.items() if each["power"] == "on" and each["pid"]}


def active(made: LabCluster, node: str) -> dict[str, str]:
    """What the agents on a node have active, and as what (`` for those without roles)."""
    return {name: role for name, role, *_ in _states(made, node)}


def _states(made: LabCluster, node: str) -> set[tuple[str, str, int, int]]:
    """Name and role of what is active, and which state file says so: one that was written anew is another."""
    found = set()
    for file in (made.lab.run_dir(node) / "resource-agents").glob("vigil-*.state"):
        with suppress(FileNotFoundError):
            stat = file.stat()
            name = file.name.removesuffix(".state").split("-", 2)[2]
            found.add((name, file.read_text().strip(), stat.st_ino, stat.st_ctime_ns))
    return found


def everywhere(made: LabCluster) -> dict[str, dict[str, str]]:
    return {node: active(made, node) for node in powered(made)}


def twice(made: LabCluster) -> list[str]:
    """Primitives that are active on two nodes with power at one moment.

    The files of a node that has just lost its power are still there, so what is found counts only when the very same lives still go on after it.
    And the nodes are looked at one after the other: what is found counts only when all of it is still the same when they are looked at again.
    """
    while True:
        before = powered(made)
        first = {node: _states(made, node) for node in before}
        found = {node: {name: role for name, role, *_ in first[node] & _states(made, node)} for node in before}
        owners = {name: [node for node in found if name in found[node]] for name in SINGLE}
        doubled = [f"{name} on {' and '.join(nodes)}" for name, nodes in owners.items() if len(nodes) > 1]
        promoted = [node for node in found if found[node].get("roles") == "promoted"]
        if len(promoted) > 1:
            doubled.append(f"roles promoted on {' and '.join(promoted)}")
        if not doubled or powered(made) == before:
            return doubled


class Watcher:
    """Looks for what must never be, all the time, from a thread of its own."""

    def __init__(self, made: LabCluster) -> None:
        self.found: list[str] = []
        self.looks = 0
        self._made = made
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(WATCH_S):
            with suppress(LabError):  # a machine room that is busy answers the next time
                self.found += twice(self._made)
                self.looks += 1


def settle(made: LabCluster, nodes: Iterable[str]) -> None:
    """Wait until exactly these nodes are members, as each of them says, and none has anything left to do."""
    wanted = set(nodes)

    def members() -> bool:
        return all(cluster.online_at(made.lab, node) == wanted for node in wanted)

    def wants_nothing() -> bool:
        try:
            with cluster.api(made.lab, min(wanted)) as client:
                client.call("wait", timeout_ms=20_000)
            return not left_to_do(made, min(wanted))
        except ApiError:
            return False

    made.wait(members, f"{wanted} are not the members", SETTLE_LIMIT_S)
    made.wait(wants_nothing, "the cluster does not come to rest", SETTLE_LIMIT_S)


def document(made: LabCluster, node: str) -> str:
    with cluster.api(made.lab, node) as client:
        return str(client.call("cib.query")["xml"])


def left_to_do(made: LabCluster, node: str) -> list[str]:
    """What the policy engine would do with the CIB as it is."""
    root = xml.parse(document(made, node).encode())
    return [action.key for action in schedule(root, int(time.time()), masked=False).synapses]


def audit(made: LabCluster, members: Iterable[str], marks: dict[str, int]) -> None:
    """Everything that has to hold when an exercise is over. `marks`: how far each node's log had been read; moved on."""
    nodes = sorted(members)

    def alike() -> bool:
        with suppress(ApiError):
            return len({document(made, node) for node in nodes}) == 1
        return False

    made.wait(alike, "the members' CIBs differ")
    # A failure may just have expired; the cluster looks again a second later.
    made.wait(lambda: not left_to_do(made, nodes[0]), "the policy engine wants something that nobody does")
    running = everywhere(made)
    owners = {name: [node for node in running if name in running[node]] for name in (*SINGLE, "each", "roles")}
    for name in SINGLE:
        assert len(owners[name]) == 1, f"{name} runs on {owners[name]}"
    assert len({owners[name][0] for name in ("first", "second", "third", "near")}) == 1, f"apart: {owners}"
    assert sorted(owners["each"]) == nodes, f"a clone instance a member: {owners['each']}"
    assert sorted(owners["roles"]) == nodes, f"an instance a member: {owners['roles']}"
    assert [running[node]["roles"] for node in nodes].count("promoted") == 1, running
    assert errors_in_logs(made, marks) == []


def orders_hold(made: LabCluster, since_ms: int) -> list[str]:
    """Starts since then, when everything was running, that came before what they had to wait for: by the nodes' event logs on disk."""
    wrong = []
    up = set(SINGLE)
    for record in records(made, since_ms):
        if record["event"] != "action_result" or not record["ok"]:
            continue
        name, operation = record["resource"], record["operation"]
        if operation == "stop":
            up.discard(name)
        elif operation == "start":
            for first, then in (*itertools.pairwise(SINGLE[1:5]), ("alone", "later")):
                if name == then and first not in up:
                    wrong.append(f"{then} started on {record['node']} without {first}")
            up.add(name)
    return wrong


def records(made: LabCluster, since_ms: int) -> list[dict[str, Any]]:
    """What all nodes have written down since then, in one order; what a node wrote before it was reset is there, too."""
    found = []
    for node in made.lab.nodes:
        for file in (made.lab.state_dir(node) / "events").glob("events.jsonl*"):
            lines = file.read_text().splitlines()
            found += [record for line in lines if line.endswith("}") and (record := json.loads(line))]
    return sorted((each for each in found if each["time_ms"] >= since_ms), key=lambda each: int(each["order"]))


def errors_in_logs(made: LabCluster, marks: dict[str, int]) -> list[str]:
    found = []
    for node in made.lab.nodes:
        path: Path = made.lab.log(node)
        text = path.read_text(errors="replace") if path.exists() else ""
        fresh, marks[node] = text[marks.get(node, 0) :], len(text)
        found += [f"{node}: {line}" for line in fresh.splitlines() if any(word in line for word in INTERNAL_ERRORS)]
    return found


def repair(made: LabCluster) -> None:
    """Everything whole and on, whatever the exercise left."""
    made.ask("heal")
    for node in made.lab.nodes:
        if node not in powered(made):
            power_on(made, node)


def power_on(made: LabCluster, node: str) -> None:
    """Fencing may have started the node again already."""
    try:
        made.ask("power-on", node=node)
    except LabError:
        if node not in powered(made):
            raise
