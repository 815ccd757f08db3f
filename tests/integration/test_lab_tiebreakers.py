"""Two machines with each tie-breaker: power cuts, cuts of the network and pauses of either node, one after the other. The service
runs exactly once in the end, and never on both nodes at one time.

The labs run side by side, because most of the time each of them waits for a timer. While a lab goes through its faults, a watcher
looks again and again at the processes of both nodes, whoever can reach them.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import WEB, LabCluster, web_service
from test_lab_qdisk import come_back, views_of

from crm.api.errors import ApiError
from crm.lab import cluster
from crm.lab.layout import LabError, TieBreaker, Timers

pytestmark = [pytest.mark.usefixtures("machines"), pytest.mark.undisturbed]
MakeLab = Callable[..., LabCluster]

LOOK_S = 0.05
SIDE_BY_SIDE = 4
WATCHDOG_MS = 1500
LIMIT_S = 90.0
UNHURRIED = Timers(keepalive_ms=400, warntime_ms=1200, deadtime_ms=2000, initdead_ms=6000)
"""Several labs share the machine: nobody should be taken for dead because it waits for its turn."""
PATIENT = Timers(keepalive_ms=1000, warntime_ms=2500, deadtime_ms=5000, initdead_ms=10_000)
"""Where messaging is killed: on a busy machine it takes its time to be back, and should be before it counts as dead."""

FAULTS = (
    ("crash", "n1"),
    ("crash", "n2"),
    ("partition", "n2"),
    ("partition", "n1"),
    ("pause", "n1"),
    ("pause", "n2"),
)


@dataclass(frozen=True)
class Case:
    """A tie-breaker. `winner`: who goes on when the network is cut, where that is known in advance."""

    name: str
    tie_breaker: TieBreaker
    watchdog_ms: int = 0
    winner: str = ""


CASES = (
    Case("none", TieBreaker.NONE),
    Case("ping", TieBreaker.PING, winner="the one with the ping node"),
    Case("qdisk", TieBreaker.QDISK),
    Case("arbiter", TieBreaker.ARBITER, winner="n1"),
    Case("watchdog", TieBreaker.ARBITER, WATCHDOG_MS, winner="n1"),
)


class Watcher(threading.Thread):
    """Looks for web servers on both nodes. `both` is what was found; `looks` how often it looked."""

    def __init__(self, made: LabCluster) -> None:
        super().__init__(daemon=True)
        self.made = made
        self.both: list[str] = []
        self.looks = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(LOOK_S):
            with suppress(LabError):  # a keeper that is busy answers the next time
                self._look()

    def _look(self) -> None:
        first, second = self.made.lab.nodes
        before = self.servers(first)
        there = self.servers(second)
        # The same process before and after: then it was there all the time in between.
        still = before & self.servers(first) if before and there else set()
        self.looks += 1
        if still:
            self.both.append(f"{time.time():.3f}: {first} {sorted(still)}, {second} {sorted(there)}")

    def servers(self, node: str) -> set[int]:
        found = set()
        for pid in self.made.ask("pids", node=node)["pids"]:
            with suppress(OSError):
                if b"webserver.py\0start" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(pid)
        return found

    def end(self) -> None:
        self._ended.set()
        self.join()


def resets_since(made: LabCluster, at: float) -> set[str]:
    """Nodes whose power was cut by fencing or by their watchdog."""
    log = made.ask("status")["power_log"]
    return {entry["plug"] for entry in log if entry["at"] >= at and entry["action"] != "on"}


def strike(made: LabCluster, fault: str, victim: str) -> str:
    """Do it, and wait until it is settled who goes on. Returns who does not."""
    at = time.time()
    if fault == "partition":
        made.ask("partition", nodes=[victim])
    else:
        made.ask(fault, node=victim)
    if fault == "crash" and made.lab.watchdog_ms:
        return victim  # no power switch is asked, and no watchdog of a node without power barks
    made.wait(lambda: bool(resets_since(made, at)), f"nobody was reset after {fault} {victim}", LIMIT_S)
    lost = resets_since(made, at)
    assert len(lost) == 1, f"{fault} {victim}: {lost} were reset"
    return lost.pop()


def arbiter_free(made: LabCluster) -> bool:
    """Both nodes are in touch with the arbiter, and nobody holds the vote any more that the fault before gave him."""
    for node in made.lab.nodes:
        with suppress(ApiError), cluster.api(made.lab, node, timeout_s=5.0) as client:
            detail = client.call("messaging.query", name="quorum").get("evidence_detail") or {}
            if detail.get("connected") and not detail.get("granted_to"):
                continue
        return False
    return True


def survive(made: LabCluster, case: Case, watcher: Watcher) -> None:
    for fault, victim in FAULTS:
        lost = strike(made, fault, victim)
        winner = next(node for node in made.lab.nodes if node != lost)
        if fault != "partition":
            assert lost == victim, f"{fault} {victim}: {lost} was reset"
        elif case.winner == "n1":
            assert winner == "n1"
        elif case.winner:
            assert lost == victim
        made.ask("heal")
        # A node that its watchdog has reset may be back before its time is up: then it may serve again.
        made.first_answer(time.time(), by=None if case.watchdog_ms else winner, limit_s=LIMIT_S)
        made.wait_idle(winner)
        for node in made.lab.nodes:
            made.ask("power-on", node=node)
        made.wait(lambda: made.online() == set(made.lab.nodes), f"{lost} is not back after {fault} {victim}", LIMIT_S)
        made.wait_idle(winner)
        if case.tie_breaker is TieBreaker.ARBITER:
            made.wait(lambda: arbiter_free(made), f"the arbiter does not come to rest after {fault} {victim}", LIMIT_S)
        running = [node for node in made.lab.nodes if watcher.servers(node)]
        assert len(running) == 1, f"after {fault} {victim} the service runs on {running}"
        made.first_answer(time.time(), by=running[0], limit_s=LIMIT_S)


def go_through(made: LabCluster, case: Case) -> None:
    if case.watchdog_ms:
        service = WEB.format(address=made.lab.service_address, port=made.lab.service_port())
        made.configure("property stonith-enabled=true fencing-watchdog-timeout=-1\n" + service)
    else:
        made.configure(web_service(made.lab, action="off"))
    made.watch()
    made.first_answer(0.0, limit_s=LIMIT_S)
    made.wait_idle("n1")
    watcher = Watcher(made)
    watcher.start()
    try:
        survive(made, case, watcher)
    finally:
        watcher.end()
    assert watcher.looks > 20
    assert not watcher.both, f"{case.name}: the service ran on both nodes: {watcher.both}"


@pytest.mark.timeout(900)  # five labs, perhaps on a busy machine
def test_with_each_tie_breaker_the_service_survives_what_happens_to_either_node_and_never_runs_twice(
    make_lab: MakeLab,
) -> None:
    def whole(case: Case) -> str:
        try:
            made = make_lab(case.name, tie_breaker=case.tie_breaker, watchdog_ms=case.watchdog_ms, timers=UNHURRIED)
            go_through(made, case)
        except (AssertionError, LabError) as error:
            return f"{case.name}: {error}"
        made.kept = []  # when another lab fails, this one has nothing to say
        return ""

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        problems = [problem for problem in pool.map(whole, CASES) if problem]
    assert not problems, "\n".join(problems)


def quorate(made: LabCluster, node: str) -> bool | None:
    """What the node says; None while it does not answer."""
    with suppress(ApiError), cluster.api(made.lab, node, timeout_s=5.0) as client:
        return bool(client.call("messaging.query", name="quorum")["quorate"])
    return None


def test_without_its_arbiter_no_half_goes_on_and_when_it_is_back_exactly_one_does(make_lab: MakeLab) -> None:
    made = make_lab(tie_breaker=TieBreaker.ARBITER)
    made.configure("property stonith-enabled=false\n")

    def are(*wanted: bool) -> Callable[[], bool]:
        return lambda: sorted(map(str, (quorate(made, node) for node in made.lab.nodes))) == sorted(map(str, wanted))

    made.ask("arbiter-stop")
    made.wait(are(True, True), "the whole needs no arbiter")
    made.ask("partition", nodes=["n2"])
    made.wait(are(False, False), "no half goes on without it")
    for _ in range(2):
        made.ask("arbiter-start")
        made.wait(are(True, False), "exactly one half goes on")
        made.ask("arbiter-stop")
        made.wait(are(False, False), "what it has given ends with it")
    made.ask("heal")
    made.wait(are(True, True), "the whole is quorate")


def alone(made: LabCluster, node: str) -> bool:
    return len(views_of(made, node)[-1].split(";")[0].split()) == 1


def test_a_node_that_is_stopped_costs_the_other_no_quorum_and_killed_messaging_costs_it_no_service(
    make_lab: MakeLab,
) -> None:
    made = make_lab(tie_breaker=TieBreaker.ARBITER, timers=PATIENT)
    made.configure(
        "property stonith-enabled=false crm-restart-grace=60s\nprimitive d ocf:vigil:Dummy\nlocation here d 1000: n1\n"
    )
    made.wait_idle("n1")
    made.wait(lambda: all(quorate(made, node) for node in made.lab.nodes), "no quorum")
    made.wait(lambda: arbiter_free(made), "the arbiter does not come to rest")
    before = len(views_of(made, "n2"))
    made.ask("power-off", node="n1")
    made.wait(lambda: alone(made, "n2"), "no view alone")
    assert not [view for view in views_of(made, "n2")[before:] if "; quorate:" not in view]
    come_back(made, "n1")
    made.wait_idle("n1")
    made.wait(lambda: arbiter_free(made), "the arbiter does not come to rest")
    before, position = len(views_of(made, "n1")), made.lab.log("n1").stat().st_size
    os.kill(made.pids_of("n2")["messaging"][0], signal.SIGKILL)
    made.wait(lambda: len(views_of(made, "n1")) > before, "nobody noticed")
    made.wait(lambda: made.online() == {"n1", "n2"}, "they do not find together")
    made.wait(lambda: not alone(made, "n1"), "they do not find together")
    made.wait_idle("n1")
    # It may be back before its old life is counted as dead, and then n1 is alone, without the vote, for some milliseconds.
    assert views_of(made, "n1")[-1].startswith("n1 n2; quorate")
    said = made.lab.log("n1").read_bytes()[position:].decode()
    assert "stop of d" not in said
    assert "start of d ok" in made.lab.log("n1").read_text()
