"""The course of one run: a cluster comes up and is configured, faults and clients (safety), then everything heals and it must settle (liveness).

At the end of liveness: one quorate view with all crms, one DC with nothing left to do, equal CIBs in memory and on disk, every promise kept, no
order without a report, what the executors believe is what really runs, and the policy engine, asked once more, has nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crm.cib import xml
from crm.cib.replica import configuration_bytes
from crm.cib.store import CibStore
from crm.controller import status
from crm.controller.graph import ActionKind, parse
from crm.daemon import clock as daemon_clock
from crm.daemon.documents import Documents
from crm.daemon.node import Node
from crm.daemon.worker import OK, decide
from crm.simulator.clock import Violation
from crm.simulator.cluster.agents import Temper
from crm.simulator.cluster.box import Box
from crm.simulator.cluster.clients import Clients
from crm.simulator.cluster.dice import Dice
from crm.simulator.cluster.power import Switches
from crm.simulator.cluster.storm import Storm
from crm.simulator.cluster.swarm import ClusterSwarm, draw
from crm.simulator.cluster.watch import Counts, Promise
from crm.simulator.cluster.world import ClusterWorld

START_MS: Final = 60_000
"""Within this the cluster must be up and configured."""
LIVENESS_MS: Final = 240_000
"""Within this after the faults end, the cluster must have settled: longer than any timeout or failure-timeout of the configurations, twice."""
CALM_MS: Final = 12_000
"""For this long nothing may change before it counts as settled: longer than the longest interval of a monitor."""
STEP_MS: Final = 200


@dataclass(slots=True)
class Outcome:
    """What became of one seed. `failure` is empty when all held."""

    seed: int
    swarm: ClusterSwarm
    failure: str = ""
    virtual_ms: int = 0
    settled_after_ms: int = 0
    faults: int = 0
    calls: int = 0
    cuts: int = 0
    counts: Counts = field(default_factory=Counts)
    log: list[str] = field(default_factory=list)


def run(seed: int, trace: bool = False) -> Outcome:
    """All phases of one seed. A Violation becomes the outcome's failure; any other error does, too."""
    dice = Dice(seed)
    swarm = draw(dice)
    outcome = Outcome(seed, swarm)
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    silenced = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="vigil-sim-", dir=place) as folder:
        world = ClusterWorld(swarm, dice, Path(folder), trace)
        course = Course(world)
        wall = daemon_clock.wall
        daemon_clock.wall = world.wall_s
        asyncio._set_running_loop(world.loop)
        try:
            course.bring_up()
            course.safety()
            outcome.settled_after_ms = course.liveness()
        except Violation as violation:
            outcome.failure = world.failure or str(violation)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"
            outcome.failure = world.failure or text
        finally:
            world.loop.end(world.processes)
            asyncio._set_running_loop(None)
            daemon_clock.wall = wall
            logging.disable(silenced)
    outcome.virtual_ms, outcome.faults, outcome.log = world.now, course.storm.faults, world.log
    outcome.calls, outcome.cuts, outcome.counts = course.clients.calls, world.power.cuts, world.watch.counts
    if outcome.failure:
        world.note(f"FAILED: {outcome.failure}")
    return outcome


class Course:
    """See the module's text."""

    def __init__(self, world: ClusterWorld) -> None:
        self.clients = Clients(world)
        self.storm = Storm(world, self.clients)
        self._world = world
        self._rng = world.dice.of("course")
        self._swarm = world.cluster_swarm
        self._storming = False
        self._last_asked: tuple[str, str] | None = None

    # --- coming up

    def bring_up(self) -> None:
        """All machines get power at about the same time; the first configuration is accepted."""
        world = self._world
        temper, world.temper = world.temper, Temper()
        for node_id in world.boxes:
            world.clock.after(self._rng.randint(0, 1500), lambda n=node_id: world.power_on(n))
        self._wait(lambda: self._together() is not None, START_MS, "all nodes in one view")
        asked = 0

        def configured() -> bool:
            nonlocal asked
            if world.watch.promises:
                return True
            if world.now >= asked + 2000:
                asked = world.now
                self.clients.configure(world.boxes[1])
            return False

        self._wait(configured, START_MS, "the first configuration")
        world.run_for(self._rng.randint(0, 6000))
        world.temper = temper

    # --- safety

    def safety(self) -> None:
        world = self._world
        world.note("--- safety: faults")
        world.network.max_delay_ms = 1 + self._rng.randint(0, self._swarm.messaging.max_delay_ms)
        self._storming = True
        self.storm.begin()
        if self._swarm.client_gap_ms:
            self._clients()
        world.run_for(self._swarm.safety_ms)
        self._storming = False
        self.storm.end()

    def _clients(self) -> None:
        if self._storming:
            self.clients.anything()
            self._world.clock.after(self._rng.randint(1, 2 * self._swarm.client_gap_ms), self._clients)

    # --- liveness

    def liveness(self) -> int:
        """Heal, and demand that the cluster settles. How long it took."""
        world = self._world
        world.note("--- liveness: faults end")
        world.network.cut.clear()
        world.network.loss = world.network.duplication = 0.0
        world.network.max_delay_ms = 3
        world.temper = Temper()
        world.power.switches = Switches()
        world.power.dead_until = 0
        for box in world.boxes.values():
            box.slow_disk_ms, box.full_disk = 0, False
        world.run_for(6_000)  # what stands still goes on, agents that hang are ended
        began = world.now
        calm_since: int | None = None
        before = ""
        asked = -30_000
        while True:
            self._keep_up()
            pending = self._unsettled()
            picture = self._picture()
            if pending or picture != before:
                calm_since = None
            elif calm_since is None:
                calm_since = world.now
            before = picture
            if not pending and calm_since is not None and world.now - calm_since >= CALM_MS:
                self._last_asked = None
                if asked >= began and not self._unsettled():
                    break
            if not pending and asked < began:
                asked = world.now
                self.clients.settle(world.boxes[min(world.boxes)])
            if world.now - began > LIVENESS_MS:
                raise Violation(f"liveness: not settled within {LIVENESS_MS} ms: {pending or 'it goes on changing'}")
            world.run_for(STEP_MS)
        took = world.now - began - CALM_MS
        self._audit()
        return took

    def _keep_up(self) -> None:
        """What an administrator does: machines that are off or have left are started."""
        world = self._world
        if (world.now // STEP_MS) % 20 == 0:
            for box in world.boxes.values():
                if not box.powered:
                    world.power_on(box.node_id)
                elif box.left:
                    self.storm.bring_back(box)

    def _picture(self) -> str:
        boxes = self._world.boxes.values()
        return ";".join(f"{box.name}:{sorted(box.running.items())}" for box in boxes)

    def _together(self) -> dict[int, Node] | None:
        """All nodes, when they are synchronised in one view with all crms."""
        found: dict[int, Node] = {}
        for box in self._world.boxes.values():
            node = box.node
            if node is None or not box.crm_up or node.controller.view is None or not node.controller.synced:
                return None
            found[box.node_id] = node
        views = {node.controller.view.view_id for node in found.values() if node.controller.view is not None}
        whole = all(
            node.controller.view is not None and len(node.controller.view.group) == len(found)
            for node in found.values()
        )
        return found if len(views) == 1 and whole else None

    def _unsettled(self) -> str:
        """What is not as it must be in the end; empty when nothing is pending."""
        nodes = self._together()
        if nodes is None:
            return f"no common view: {self._world.pending()}; {self._crms()}"
        view = nodes[1].controller.view
        if view is None or not view.quorate:
            return "no quorum"
        dcs = [node for node in nodes.values() if node.controller.coordinator is not None]
        if len(dcs) != 1:
            return f"{len(dcs)} DCs"
        busy = [f"n{n} {node.controller.describe()}" for n, node in nodes.items() if node.controller.busy]
        if busy:
            return f"busy: {'; '.join(busy)}"
        for n, node in nodes.items():
            at_work = [order.key for _, order, _ in node.executing.core.in_flight() if not order.interval_ms]
            if at_work:
                return f"n{n} is at work: {', '.join(at_work)}"
        return self._wanted(dcs[0])

    def _crms(self) -> str:
        return "; ".join(
            f"{box.name} {'up' if box.crm_up else 'down'} {box.node.controller.state if box.node else ''}"
            for box in self._world.boxes.values()
        )

    def _wanted(self, dc: Node) -> str:
        """What the policy engine would still do. It is asked again when the CIB has changed, and when all has been calm."""
        asked = (dc.crm_id, str(dc.cib.version))
        if asked == self._last_asked:
            return ""
        verdict, text = decide(xml.to_bytes(dc.cib.document), daemon_clock.epoch_s(), Documents())
        if verdict != OK:
            return f"the policy engine fails: {text.decode()}"
        actions = [s.action.key for s in parse(text).synapses if s.action.kind is not ActionKind.PSEUDO]
        self._last_asked = None if actions else asked
        return f"the policy engine wants {', '.join(actions[:8])}" if actions else ""

    def _audit(self) -> None:
        nodes = self._together() or {}
        first = nodes[1]
        digests = {node.cib.digest() for node in nodes.values()}
        if len(digests) != 1:
            raise Violation(f"CIBs differ: {[str(node.cib.version) for node in nodes.values()]}")
        for node_id, node in nodes.items():
            box = self._world.boxes[node_id]
            self._audit_disk(box, node)
            believed = set(node.executing.core.active_resources())
            if believed != set(box.running):
                raise Violation(f"{box.name} believes {sorted(believed)} and runs {sorted(box.running)}")
            lost = self._world.watch.unreported(box, self._world.life_of(box))
            if lost:
                raise Violation(f"no report on {box.name} for {lost[:5]}")
        for entry in first.cib.document.iter("lrm_rsc_op"):
            if entry.get("op-status") == "-1":
                raise Violation(f"still pending in the status section: {entry.get('id')} on {entry.get('on_node')}")
        self._audit_promises(first)
        if self.clients.waiting():
            raise Violation(f"no answer: {'; '.join(self.clients.waiting()[:3])}")

    def _audit_disk(self, box: Box, node: Node) -> None:
        loaded = CibStore(box.state_dir / "cib").load()
        if loaded.document is None or configuration_bytes(loaded.document) != configuration_bytes(node.cib.document):
            raise Violation(f"the CIB on the disk of {box.name} is another than in memory")

    def _audit_promises(self, node: Node) -> None:
        document = node.cib.document
        ids = {element.get("id") for element in document.find("configuration").iter("*")}  # type: ignore[union-attr]
        for promise in self._world.watch.promises:
            if (promise.element in ids) == promise.there:
                continue
            if promise.certain or not self._kept_aside(promise):
                how = "" if promise.certain else " (not accepted by a majority, and not kept aside)"
                raise Violation(f"an acknowledged change is lost: {promise.element} there={promise.there}{how}")
        for kept in self._world.watch.attributes:
            box = self._world.boxes[kept.node_id]
            if kept.stay != self._world.watch.stay_of(box):
                continue
            value = status.transient_attributes(document, str(kept.node_id)).get(kept.name)
            if value != kept.value:
                raise Violation(f"an acknowledged attribute is lost: {kept.name} of n{kept.node_id} is {value}")

    def _kept_aside(self, promise: Promise) -> bool:
        """Whether a machine kept a configuration in which it is kept."""
        asides = [path for box in self._world.boxes.values() for path in (box.state_dir / "cib/aside").glob("*.xml")]
        return any((f'"{promise.element}"' in path.read_text()) == promise.there for path in asides)

    def _wait(self, condition: Callable[[], bool], limit_ms: int, what: str) -> None:
        end = self._world.now + limit_ms
        while not condition():
            if self._world.now >= end:
                raise Violation(f"not within {limit_ms} ms: {what}; {self._world.pending()}; {self._crms()}")
            self._world.run_for(STEP_MS)
