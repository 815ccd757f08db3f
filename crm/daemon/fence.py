"""Where the controller's fencing requests meet the fencer, its agents and the configuration.

Theory of operation. The devices are the `stonith` resources of the CIB, read anew whenever the configuration changes: those that are not disabled
(`target-role` Stopped) and that this node is not banned from. A request goes into the fencer's core; its effects are agents to run (each
a task), timers, and answers. What an agent can do is read from its own meta-data, once for each agent; until that is known it is taken to know
the usual actions.

A node does not fence itself while another can do it: such a request goes to another member of the group.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from lxml import etree

from agents.runner import Runner
from agents.types import AgentId, Operation
from crm.api import errors
from crm.api.errors import ApiError
from crm.cib import xml
from crm.controller import properties, status
from crm.controller.effects import Fence
from crm.controller.graph import INFINITY
from crm.daemon.clock import epoch_s, now_ms
from crm.daemon.peers import Peers
from fencing import topology
from fencing.core import Fencer
from fencing.devices import AgentAbilities, Device, Problem, read
from fencing.types import Answer, AskWatchdog, Effect, Event, FenceAction, Outcome, Request, RunDevice, SetTimer

METADATA_TIMEOUT_MS: Final = 10_000
CURIOSITY_S: Final = 3.0
"""After a new agent appears in the configuration, until it is asked what it can do."""
DEFAULT_TIMEOUT_MS: Final = 60_000
HARMLESS: Final = frozenset(("on", "list", "status", "monitor", "metadata"))
"""What fence agents do without ending anybody's life."""
HOST_ARGUMENTS: Final = ("port", "plug")
"""Parameters that fence agents take the node's name by, in the order of preference."""

_log = logging.getLogger("vigil.fencing")


class Fencing:
    """`done(token, ok, text)` is called once for each request of the controller. `others()` gives the rest of the group."""

    def __init__(
        self,
        node: str,
        runner: Runner,
        done: Callable[[int, bool, str], None],
        peers: Peers,
        others: Callable[[], list[int]],
    ) -> None:
        self.node = node
        self.core = Fencer(node)
        self.broken: Callable[[BaseException], None] = lambda error: None
        self.record: Callable[[str, dict[str, Any], str], object] = lambda name, fields, cause: None
        """Into the event log: the name of the record, its fields and its cause."""
        self._causes: dict[str, str] = {}
        """What a node is to be fenced for, by its name."""
        self.chance: Callable[[], float] = random.random
        self.acts: Callable[[str], int | None] = lambda target: None
        self.fenced_for_peer: Callable[[str, str, int | None], None] = lambda target, action, incarnation: None
        self._runner = runner
        self._done = done
        self._peers = peers
        self._others = others
        self._abilities: dict[AgentId, AgentAbilities] = {}
        self._asked: set[AgentId] = set()
        self._told: set[AgentId] = set()
        self._curious = False
        self._learning: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: dict[str, list[Callable[[bool, str], None]]] = {}
        self._answers: dict[int, asyncio.Future[tuple[bool, str]]] = {}
        self._tokens: dict[int, str] = {}
        self._acted: dict[str, int | None] = {}
        """The life of each target that a device of ours acted on last."""
        self._last_remote = 0
        self._document: etree._Element | None = None
        self._known: list[Device] = []
        self._complaints: list[Problem] = []
        self.ask_watchdog: Callable[[str, str], Awaitable[tuple[int, str]]] = _no_watchdog
        """Of a target, with the reason: how long until it has reset itself, or 0 and why nobody may rely on that."""
        peers.handler("fence_execute", self._execute_for_peer)

    # --- what there is to know ---------------------------------------------------------------------------------------

    def history(self) -> list[dict[str, Any]]:
        return [_record(event) for event in [*self.core.history(), *self.core.pending()]]

    def cause_of(self, target: str) -> str:
        """What this node was last fenced for, for the event log."""
        return self._causes.get(target, "")

    def listen(self, target: str, done: Callable[[bool, str], None]) -> None:
        """Tell `done` about the next end of a fencing of `target`."""
        self._listeners.setdefault(target, []).append(done)

    # --- what happens ------------------------------------------------------------------------------------------------

    def on_configuration(self, document: etree._Element) -> None:
        """The devices may have changed."""
        self._document = document
        devices: list[Device] = []
        complaints: list[Problem] = []
        for primitive in _stonith_resources(document, self.node):
            agent = AgentId("stonith", "", primitive.get("type", ""))
            parameters = _values(document, primitive, "instance_attributes")
            if agent not in self._asked:
                self._asked.add(agent)
                self._curious = True
            priority = _values(document, primitive, "meta_attributes").get("priority", "0")
            device, problems = read(
                primitive.get("id", ""),
                agent,
                parameters,
                priority=int(priority) if priority.lstrip("-").isdigit() else 0,
                abilities=self._abilities.get(agent),
            )
            devices.append(device)
            complaints += problems
        levels, level_problems = topology.read(
            (level.get("id", ""), {str(key): str(value) for key, value in level.attrib.items()})
            for level in xml.elements(xml.section(document, "fencing-topology"), "fencing-level")
        )
        for problem in complaints:
            if problem not in self._complaints:
                _log.warning("fence device %s: %s: %s", problem.device, problem.parameter, problem.message)
        for item in level_problems:
            _log.warning("fencing level %s: %s", item.element, item.message)
        self._complaints = complaints
        if devices != self._known:
            _log.info("fence devices: %s", ", ".join(device.id for device in devices) or "none")
            self._known = devices
        attributes = {
            node.get("uname", ""): status.permanent_attributes(document, node.get("id", ""))
            for node in xml.elements(xml.section(document, "nodes"), "node")
        }
        self.core.configure(devices, levels, attributes)
        self.core.watchdog = properties.watchdog_timeout_ms(document) != 0
        if self._curious and self._learning is None:
            self._learning = asyncio.create_task(self._learn_all(CURIOSITY_S))
            self._learning.add_done_callback(self._over)

    def request(self, fence: Fence) -> None:
        """What the controller asks for."""
        self._tokens[fence.token] = fence.target
        self._causes[fence.target] = fence.cause
        others = self._others()
        if fence.target == self.node and fence.action != "on" and others:
            self._spawn(self._ask_peer(fence, others[0]))
            return
        self._spawn(
            self._begin_knowing(
                Request(
                    token=fence.token,
                    target=fence.target,
                    action=FenceAction(fence.action),
                    reason=fence.reason,
                    timeout_ms=fence.timeout_ms or DEFAULT_TIMEOUT_MS,
                    delay_ms=fence.delay_ms,
                    chance=self.chance(),
                )
            )
        )

    async def close(self) -> None:
        if self._learning is not None:
            self._tasks.add(self._learning)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- between nodes -----------------------------------------------------------------------------------------------

    async def _ask_peer(self, fence: Fence, peer: int) -> None:
        params = {
            "target": fence.target,
            "action": fence.action,
            "reason": fence.reason,
            "timeout_ms": fence.timeout_ms or DEFAULT_TIMEOUT_MS,
            "cause": fence.cause,
        }
        try:
            answer = await self._peers.call(peer, "fence_execute", params)
            self._answered(fence.token, True, str(answer.get("text", "")))
        except ApiError as error:
            self._answered(fence.token, False, error.message)

    async def _execute_for_peer(self, params: dict[str, Any]) -> dict[str, Any]:
        self._last_remote -= 1  # the controller's own tokens are positive
        token = self._last_remote
        future: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        self._answers[token] = future
        self._causes[str(params["target"])] = str(params.get("cause", ""))
        await self._begin_knowing(
            Request(
                token=token,
                target=str(params["target"]),
                action=FenceAction(str(params["action"])),
                reason=str(params.get("reason", "")),
                timeout_ms=int(params.get("timeout_ms", DEFAULT_TIMEOUT_MS)),
            )
        )
        ok, text = await future
        if not ok:
            raise ApiError(errors.FAILED, text)
        # Whoever asked may have been the target itself: then nobody but this node knows that it is off.
        target = str(params["target"])
        self.fenced_for_peer(target, str(params["action"]), self._acted.get(target))
        return {"text": text}

    # --- effects -----------------------------------------------------------------------------------------------------

    async def _begin_knowing(self, request: Request) -> None:
        """Begin when it is known what the agents can do."""
        if self._curious:
            await self._learn_all(0)
        self._perform(self.core.request(request, now_ms(), epoch_s()))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case RunDevice(call_id, device, operation):
                    if operation.action not in HARMLESS:
                        target = operation.parameters.get("nodename", "")
                        self._acted[target] = self.acts(target)
                    self._spawn(self._run(call_id, device, operation))
                case Answer(token, _, confirmed, text):
                    self._answered(token, confirmed, text)
                case AskWatchdog(job, target):
                    self._spawn(self._watchdog(job, target))
                case SetTimer(name, at_ms):
                    delay = max(0, at_ms - now_ms()) / 1000
                    asyncio.get_running_loop().call_later(delay, self._due, name)
                case Event(outcome=Outcome.PENDING):
                    pass
                case Event():
                    _log.info("fencing of %s (%s): %s, %s", effect.target, effect.action, effect.outcome, effect.text)

    def _due(self, name: str) -> None:
        self._perform(self.core.on_timer(name, now_ms(), epoch_s()))

    async def _watchdog(self, job: int, target: str) -> None:
        wait_ms, why_not = await self.ask_watchdog(target, "fenced by the cluster")
        if wait_ms:
            _log.warning("%s has no fence device that works: it resets itself within %d ms", target, wait_ms)
        self._perform(self.core.on_watchdog(job, wait_ms, why_not, now_ms(), epoch_s()))

    def watchdog_void(self, target: str, why: str) -> None:
        """A target that should have reset itself is there again."""
        self._perform(self.core.watchdog_void(target, why, now_ms(), epoch_s()))

    async def _run(self, call_id: int, device: str, operation: Operation) -> None:
        result = await self._runner.run(operation)
        target = operation.parameters.get("nodename", "")
        text = "" if result.ok else result.exit_reason or f"exit status {result.rc}"
        fields = {"device": device, "action": operation.action, "target": target, "ok": result.ok, "text": text}
        fields["exec_ms"] = result.run_ms
        self.record("fence_device", fields, self._causes.get(target, ""))
        self._perform(self.core.on_result(call_id, result, now_ms(), epoch_s()))

    def _answered(self, token: int, ok: bool, text: str) -> None:
        remote = self._answers.pop(token, None)
        if remote is not None:
            if not remote.done():
                remote.set_result((ok, text))
            return
        target = self._tokens.pop(token, "")
        self._done(token, ok, text)
        for listener in self._listeners.pop(target, ()):
            listener(ok, text)

    async def _learn_all(self, delay_s: float) -> None:
        """Ask the agents that are new; not while the node has better things to do, unless one is needed now."""
        await asyncio.sleep(delay_s)
        self._curious = False
        await asyncio.gather(*(self._learn(agent) for agent in self._asked - self._told))
        self._learning = None
        if self._document is not None:
            self.on_configuration(self._document)

    async def _learn(self, agent: AgentId) -> None:
        """What the agent can do, from its own description."""
        self._told.add(agent)
        result = await self._runner.run(Operation(agent, "metadata", str(agent), timeout_ms=METADATA_TIMEOUT_MS))
        try:
            described = xml.parse_fragment(result.stdout[result.stdout.find("<resource-agent") :], comments=False)
        except xml.CibSyntaxError:
            _log.warning("%s does not describe itself; taken to know the usual actions", agent)
            return
        actions = frozenset(action.get("name", "") for action in described.iter("action"))
        names = {parameter.get("name") for parameter in described.iter("parameter")}
        argument = next((name for name in HOST_ARGUMENTS if name in names), "none")
        self._abilities[agent] = AgentAbilities(actions, argument)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken(error)


async def _no_watchdog(_target: str, _reason: str) -> tuple[int, str]:
    return 0, ""


def _stonith_resources(document: etree._Element, node: str) -> Iterator[etree._Element]:
    """Fence devices that are in use and that this node may use."""
    resources = xml.section(document, "resources")
    if resources is None:
        return
    banned = {
        location.get("rsc")
        for location in xml.elements(xml.section(document, "constraints"), "rsc_location")
        if location.get("node") == node and _minus_infinity(location.get("score", "0"))
    }
    for primitive in resources.iter("primitive"):
        if primitive.get("class") != "stonith" or primitive.get("id") in banned:
            continue
        role = ""
        element: etree._Element | None = primitive
        while element is not None and element is not resources:
            role = role or _values(document, element, "meta_attributes").get("target-role", "")
            element = element.getparent()
        if role.lower() != "stopped":
            yield primitive


def _minus_infinity(score: str) -> bool:
    if score == "-INFINITY":
        return True
    return score.lstrip("-").isdigit() and int(score) <= -INFINITY


def _values(document: etree._Element, element: etree._Element, kind: str) -> dict[str, str]:
    """Name and value of the nvpairs in sets of this kind, those of the resource's template behind its own."""
    found: dict[str, str] = {}
    for holder in element.iterchildren(kind):
        for pair in holder.iterchildren("nvpair"):
            found.setdefault(pair.get("name", ""), pair.get("value", ""))
    name = element.get("template")
    resources = xml.section(document, "resources")
    for template in () if name is None else xml.elements(resources, "template"):
        if template.get("id") == name:
            for key, value in _values(document, template, kind).items():
                found.setdefault(key, value)
    return found


def _record(event: Event) -> dict[str, Any]:
    return {
        "target": event.target,
        "action": str(event.action),
        "outcome": str(event.outcome),
        "reason": event.reason,
        "device": event.device,
        "text": event.text,
        "began": event.began,
        "ended": event.ended,
    }
