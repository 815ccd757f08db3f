"""Without fencing: the side that goes on waits until the side that was cut off has stopped.

The client of the lab cannot see a node that is cut off, so each node's own network is looked at from outside: which addresses it holds.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import LabCluster
from exercises import powered, settle

from crm.lab.layout import TieBreaker, Timers

pytestmark = [pytest.mark.usefixtures("machines"), pytest.mark.undisturbed]

PARTITIONS = 20
SEED = 20
GRACE = "3s"
"""For the side that was cut off, to stop what it runs: twice what it has by default, so that a busy machine is no reason to be late."""
CONFIGURATION = """\
property stonith-enabled=false cut-off-grace={grace}
primitive addr ocf:vigil:IPaddr params ip={address} cidr_netmask=24 op monitor interval=5s
primitive svc ocf:vigil:Dummy op monitor interval=5s
group service addr svc meta resource-stickiness=100
"""


class Addresses:
    """Who holds the service's address, looked up all the time from the kernel's own tables of each node's network."""

    def __init__(self, made: LabCluster) -> None:
        self.held: list[tuple[float, tuple[str, ...]]] = []
        self._made = made
        self._address = made.lab.service_address
        self._pids = powered(made)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Addresses:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.002):
            # One node is looked at after the other, and the address may move meanwhile: who held it before and after held it all the time.
            before, after = self.now(), self.now()
            held = tuple(node for node in before if node in after) if len(before) > 1 else before
            self.held.append((time.monotonic(), held))

    def now(self) -> tuple[str, ...]:
        return tuple(node for node, pid in self._pids.items() if self._holds(pid))

    def owner(self) -> str:
        """Who holds it, once exactly one does."""
        self._made.wait(lambda: len(self.now()) == 1, "not exactly one node holds the address")
        return self.now()[0]

    def with_one_of(self, nodes: list[str]) -> bool:
        return not set(nodes).isdisjoint(self.now())

    def _holds(self, pid: int) -> bool:
        return f"|-- {self._address}\n" in Path(f"/proc/{pid}/net/fib_trie").read_text(encoding="ascii")


def test_no_two_nodes_hold_the_address_through_twenty_partitions(make_lab: Callable[..., LabCluster]) -> None:
    dice = random.Random(SEED)
    timers = Timers(keepalive_ms=100, warntime_ms=300, deadtime_ms=500, initdead_ms=1500)
    made = make_lab(nodes=3, tie_breaker=TieBreaker.NONE, timers=timers)
    made.configure(CONFIGURATION.format(address=made.lab.service_address, grace=GRACE))
    settle(made, made.lab.nodes)
    moves = 0
    with Addresses(made) as addresses:
        for _ in range(PARTITIONS):
            owner = addresses.owner()
            companion = dice.choice([[], [], [node for node in made.lab.nodes if node != owner][:1]])
            made.ask("partition", nodes=[owner, *companion])
            # Alone it has lost; with a companion it has the majority and keeps what it has.
            rest = [node for node in made.lab.nodes if node != owner and node not in companion]
            if companion:
                settle(made, [owner, *companion])
                assert addresses.now() == (owner,)
            else:
                made.wait(partial(addresses.with_one_of, rest), "the rest has not taken over")
                moves += 1
            made.ask("heal")
            settle(made, made.lab.nodes)
    doubled = [(at, holders) for at, holders in addresses.held if len(holders) > 1]
    gaps = free_times(addresses.held)
    print(f"{moves} moves; nobody held the address for {min(gaps):.3f} to {max(gaps):.3f} s")  # noqa: T201
    assert doubled == []
    assert len(addresses.held) > 1000
    assert moves >= PARTITIONS // 3


def free_times(held: list[tuple[float, tuple[str, ...]]]) -> list[float]:
    """Seconds of each time in which nobody held the address."""
    found = []
    began: float | None = None
    for at, holders in held:
        if not holders and began is None:
            began = at
        elif holders and began is not None:
            found.append(at - began)
            began = None
    return found
