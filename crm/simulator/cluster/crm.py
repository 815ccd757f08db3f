"""A crm process on a simulated machine: `crm.daemon.node.Node` with other surroundings and a policy engine in the same process."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agents.runner import Runner
from crm.api.server import ApiServer
from crm.cib.replica import Reply
from crm.controller.effects import Effect
from crm.controller.messages import Orders
from crm.daemon.documents import Documents
from crm.daemon.node import Node
from crm.daemon.policy_client import PolicyClient
from crm.daemon.settings import DaemonSettings
from crm.daemon.surroundings import Surroundings
from crm.daemon.worker import OK, decide
from crm.simulator.clock import Violation
from crm.simulator.cluster.agents import CHANGING, SimulatedRunner
from crm.simulator.cluster.box import Box
from crm.simulator.cluster.link import Link
from crm.simulator.cluster.loop import CURRENT, Process
from crm.simulator.cluster.moment import Moment
from messaging.client import AttachRefused, MessagingClient

if TYPE_CHECKING:
    from crm.simulator.cluster.world import ClusterWorld


class SimulatedSurroundings(Surroundings):
    """One simulated machine."""

    def __init__(self, world: ClusterWorld, box: Box, settings: DaemonSettings) -> None:
        super().__init__(settings)
        self._world = world
        self._box = box

    async def connect(self) -> MessagingClient:
        await asyncio.sleep(0.001)
        world, box = self._world, self._box
        if world.machines[box.node_id].core is None:
            raise ConnectionRefusedError("no messaging daemon")
        if box.link is not None:
            raise AttachRefused("a crm is attached already")
        box.link = link = Link(world.clock, world.loop, world.from_crm, world.crm_hung_up)
        world.attached(box)
        welcome = {
            "node_id": box.node_id,
            "name": box.name,
            "cluster": self.settings.cluster,
            "vouch_interval_ms": world.swarm.timers.vouch_ms,
        }
        return link.client(welcome)

    def runner(self) -> Runner:
        return SimulatedRunner(self._world, self._box)

    def boot(self) -> str:
        return f"boot-{self._box.boots}"

    def cores(self) -> int:
        return 2

    def load_percent(self) -> int:
        return self._world.dice.of("load").choice((10, 10, 300))

    async def serve(self, api: ApiServer) -> None:
        """Clients of the world ask the cores themselves."""

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._world.dice.of("ids").getrandbits(128), version=4))

    def chance(self) -> float:
        return self._world.dice.of("chance").random()

    def end(self) -> NoReturn:
        self._world.fail(f"{self._box.name} finds itself broken")
        raise Violation(self._box.name)


class SimulatedPolicy(PolicyClient):
    """Decides in this process, after a while; the worker may be killed meanwhile."""

    def __init__(self, world: ClusterWorld, box: Box) -> None:
        self.node: Node | None = None
        self._world = world
        self._box = box
        self._asked = 0
        self._documents = Documents()

    @property
    def pid(self) -> int:
        return 1

    def ask(self, number: int, document: bytes, epoch_s: int) -> None:
        self._asked = number
        delay_ms = self._world.dice.of("policy").randint(1, self._world.cluster_swarm.decide_ms)
        asyncio.get_running_loop().call_later(delay_ms / 1000, self._answer, number, document, epoch_s)

    def lose(self) -> None:
        """The worker is killed: the answer to an open question is that there is none."""
        if self._asked and self.node is not None:
            number, self._asked = self._asked, 0
            self._tell(number, None, "the policy worker is gone")

    def _answer(self, number: int, document: bytes, epoch_s: int) -> None:
        if self._asked != number:
            return
        self._asked = 0
        verdict, text = decide(document, epoch_s, self._documents)
        if verdict != OK:
            self._world.fail(f"the policy engine of {self._box.name} failed: {text.decode(errors='replace')}")
        self._tell(number, text if verdict == OK else None, "" if verdict == OK else text.decode())

    def _tell(self, number: int, graph: bytes | None, error: str) -> None:
        if self.node is not None:
            self.node.on_decided(number, graph, error)

    async def close(self) -> None:
        pass


def settings_of(world: ClusterWorld, box: Box) -> DaemonSettings:
    from crm.simulator.swarm import Mode

    ids = range(1, world.swarm.size + 1)
    both = world.swarm.mode in (Mode.TWO_NODE, Mode.PING)
    votes = world.cluster_swarm.messaging.votes
    return DaemonSettings(
        cluster="simulated",
        node_id=box.node_id,
        node_name=box.name,
        nodes=tuple((number, f"n{number}") for number in ids),
        votes=tuple((number, 1) for number in ids) if both else (),
        expected_votes=sum(votes) or world.swarm.size,
        all_votes=tuple(zip(ids, votes, strict=True)) if votes else (),
        state_dir=box.state_dir,
        run_dir=box.run_dir,
        ocf_root=Path("/nonexistent"),
        log_file=None,
        log_level="critical",
        deadtime_ms=world.swarm.timers.deadtime_ms,
    )


async def live(world: ClusterWorld, box: Box, life: int) -> None:
    """The whole life of one crm process, until it has left the cluster."""
    process = CURRENT.get()
    assert isinstance(process, Process)
    policy = SimulatedPolicy(world, box)
    settings = settings_of(world, box)
    node = Node(settings, policy, SimulatedSurroundings(world, box, settings))
    policy.node = box.node = node
    node.journal.listeners.append(lambda record: world.on_event(box, record))
    node.inputs.offer = lambda *_: None  # type: ignore[method-assign]
    _account(world, box, node, life)
    await node.run()
    world.crm_left(box, process)


def _account(world: ClusterWorld, box: Box, node: Node, life: int) -> None:
    """Let the checkers see what the executor is given and what it reports."""
    order, reported = node.executing.order, node.executing._reported
    begin, send, decided = node.executing.begin, node.controller.order, node.on_decided
    reply, answer = node.cib._reply, node._on_answer

    def ordered(given: Any) -> None:
        action = given.action
        changing = action.task in CHANGING and action.resource is not None
        operation = f"{action.task} of {action.resource.id}" if changing else ""
        world.watch.ordered(box, life, given.transition_key, operation)
        order(given)

    def report(given: Any) -> None:
        world.watch.reported(box, given.transition_key)
        reported(given)

    def replying(answer: Reply) -> None:
        world.watch.answering(box, node.cib.replica._view, answer)
        reply(answer)

    def answering(ticket: int, problem: str) -> None:
        if node.controller.view is not None:
            world.watch.answered_in[box.node_id] = node.controller.view
        answer(ticket, problem)

    async def began() -> None:
        await begin()
        world.watch.begun(box, node.executing.core)

    def sending(orders: Orders) -> list[Effect]:
        world.watch.sent(box, node, orders)
        world.moment(Moment.ORDERED, box)
        return send(orders)

    def on_decided(number: int, graph: bytes | None, error: str) -> None:
        with world.watch.decided(number):
            decided(number, graph, error)

    node._on_answer = answering  # type: ignore[method-assign]
    node.cib._reply = replying  # type: ignore[assignment,method-assign]
    node.executing.begin = began  # type: ignore[method-assign]
    node.controller.order = sending  # type: ignore[method-assign]
    node.on_decided = on_decided  # type: ignore[method-assign]
    node.executing.order = ordered  # type: ignore[assignment,method-assign]
    node.executing._reported = report
