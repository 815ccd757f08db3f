"""Clients: people and programs that change the configuration, set attributes, move resources and clean up while everything else happens.

A client speaks to the crm of one machine, as a process of that machine would; when that crm dies it never hears an answer. What it was told is done
becomes a `Promise`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from crm.api.errors import ApiError
from crm.cib import xml
from crm.cib.operations import Kind, Operation
from crm.controller import failures, status
from crm.controller.messages import Changes
from crm.controller.status import Attributes, ForgetResource, Update
from crm.daemon.node import Node
from crm.simulator.cluster.box import Box
from crm.simulator.cluster.loop import Process
from crm.simulator.cluster.moment import Moment
from crm.simulator.cluster.watch import AttributePromise

if TYPE_CHECKING:
    from crm.simulator.cluster.world import ClusterWorld

DOINGS: Final = (
    ("note", 6),
    ("forget_note", 2),
    ("attribute", 4),
    ("move", 2),
    ("unmove", 2),
    ("standby", 1),
    ("parameter", 1),
    ("target_role", 1),
    ("cleanup", 1),
    ("maintenance", 1),
)


class Clients:
    """See the module's text."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._rng: random.Random = world.dice.of("clients")
        self._last = 0
        self.calls = 0
        self._open: dict[int, tuple[Process, str]] = {}
        self.refused = 0

    # --- asking

    def ask(self, box: Box, work: Callable[[Node], Awaitable[None]]) -> bool:
        """Start a call at the crm of this machine. False when there is none."""
        node, process = box.node, box.process
        if node is None or process is None or not process.alive:
            return False
        self.calls += 1
        number = self.calls
        self._open[number] = (process, f"a client of {box.name} since {self._world.now}")

        async def call() -> None:
            try:
                await work(node)
            except ApiError as error:
                self.refused += 1
                self._world.note(f"{box.name}   client: {error.code}: {error.message}")
            del self._open[number]

        self._world.loop.start(process, call)
        return True

    def waiting(self) -> list[str]:
        """Who has had no answer, of a crm that lives."""
        return [text for process, text in self._open.values() if process.alive]

    def anything(self) -> None:
        """Some client does something."""
        box = self._rng.choice(list(self._world.boxes.values()))
        names, weights = zip(*DOINGS, strict=True)
        getattr(self, self._rng.choices(names, weights)[0])(box)

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _apply(self, box: Box, operation: Operation, promised: str = "", there: bool = True) -> None:
        async def work(node: Node) -> None:
            done = await node.cib.request(operation)
            if promised:
                self._world.watch.promise(box, promised, there, done.version)
                self._world.moment(Moment.TOLD, box)

        self.ask(box, work)

    # --- what they do

    def note(self, box: Box) -> None:
        """A permanent attribute that nothing else touches."""
        name = f"note-{self._next()}"
        pair = f'<nvpair id="{name}" name="{name}" value="{box.name}"/>'
        text = f'<node id="1" uname="n1"><instance_attributes id="notes">{pair}</instance_attributes></node>'
        self._apply(box, Operation(Kind.MODIFY, xml=text, scope="nodes", allow_create=True), name)

    def forget_note(self, box: Box) -> None:
        """Take away a property; its creation is not promised any more."""
        promises = self._world.watch.promises
        known = [promise for promise in promises if promise.there and promise.element.startswith("note-")]
        if known:
            promise = self._rng.choice(known)
            promises.remove(promise)
            self._apply(box, Operation(Kind.DELETE, xpath=f'//nvpair[@id="{promise.element}"]'), promise.element, False)

    def attribute(self, box: Box) -> None:
        """A transient attribute of any node, written once."""
        target = self._rng.choice(list(self._world.boxes.values()))
        name = f"mark-{self._next()}"

        async def work(node: Node) -> None:
            if not node.controller.synced:
                return
            stay = self._world.watch.stay_of(target)
            word = node.controller.attributes.wish(str(target.node_id), target.name, name, "1")
            await node.promised(Changes(reason=f"{name} of {target.name} was set", words=(word,)))
            # What is set for a node that has never been there in this life of its machine goes when it comes.
            view = self._world.watch.answered_in.get(box.node_id)
            there = view is not None and target.node_id in view.group
            if there and stay == self._world.watch.stay_of(target):
                self._world.watch.attributes.append(AttributePromise(target.node_id, stay, name, "1"))

        self.ask(box, work)

    def move(self, box: Box) -> None:
        top = self._rng.choice(self._world.configuration.tops)
        target = self._rng.choice(list(self._world.boxes.values())).name
        score = self._rng.choice(("INFINITY", "-INFINITY", "500"))
        text = f'<rsc_location id="cli-{top}" rsc="{top}" node="{target}" score="{score}"/>'
        self._apply(box, Operation(Kind.MODIFY, xml=text, scope="constraints", allow_create=True))

    def unmove(self, box: Box) -> None:
        path = '//rsc_location[starts-with(@id,"cli-")]'
        self._apply(box, Operation(Kind.DELETE, xpath=path, all_matches=True))

    def standby(self, box: Box, value: str = "") -> None:
        target = self._rng.choice(list(self._world.boxes.values()))
        self._standby(box, target, value or self._rng.choice(("on", "off")))

    def _standby(self, box: Box, target: Box, value: str) -> None:
        pair = f'<nvpair id="nodes-{target.node_id}-standby" name="standby" value="{value}"/>'
        holder = f'<instance_attributes id="nodes-{target.node_id}">{pair}</instance_attributes>'
        text = f'<node id="{target.node_id}" uname="{target.name}">{holder}</node>'
        self._apply(box, Operation(Kind.MODIFY, xml=text, scope="nodes", allow_create=True))

    def parameter(self, box: Box) -> None:
        """A changed parameter: a restart or a reload."""
        configuration = self._world.configuration
        name = self._rng.choice([*configuration.primitives, *configuration.clones])
        which = self._rng.choice(("fixed", "soft"))
        pair = f'<nvpair id="{name}-ia-{which}" name="{which}" value="{self._next()}"/>'
        text = f'<primitive id="{name}"><instance_attributes id="{name}-ia">{pair}</instance_attributes></primitive>'
        self._apply(box, Operation(Kind.MODIFY, xml=text, scope="resources"))

    def target_role(self, box: Box, value: str = "") -> None:
        name = self._rng.choice(self._world.configuration.tops)
        self._target_role(box, name, value or self._rng.choice(("Stopped", "Started", "Started")))

    def _target_role(self, box: Box, name: str, value: str) -> None:
        tag = {"p": "primitive", "g": "group", "c": "clone", "m": "clone"}[name[0]]
        pair = f'<nvpair id="{name}-meta-target-role" name="target-role" value="{value}"/>'
        text = f'<{tag} id="{name}"><meta_attributes id="{name}-meta">{pair}</meta_attributes></{tag}>'
        self._apply(box, Operation(Kind.MODIFY, xml=text, scope="resources"))

    def cleanup(self, box: Box) -> None:
        """Clear failures and histories of everything, as `crm resource refresh` does."""

        async def work(node: Node) -> None:
            updates: list[Update] = []
            for state in xml.elements(xml.section(node.cib.document, xml.STATUS), "node_state"):
                identity, name = state.get("id", ""), state.get("uname", "")
                attributes = status.transient_attributes(node.cib.document, identity)
                for history in state.iterfind("lrm/lrm_resources/lrm_resource"):
                    resource = history.get("id", "")
                    counts = failures.cleared_attributes(attributes, resource)
                    updates += [Attributes(identity, name, counts)] if counts else []
                    updates.append(ForgetResource(identity, resource))
            if updates and node.controller.synced:
                await node.promised(Changes(tuple(updates), (), "all resources refreshed"))

        self.ask(box, work)

    def maintenance(self, box: Box, value: str = "") -> None:
        # Without fencing whoever is cut off must stop what it runs, which nobody does in maintenance.
        value = value or (
            self._rng.choice(("true", "false", "false")) if self._world.cluster_swarm.fencing else "false"
        )
        pair = f'<nvpair id="option-maintenance-mode" name="maintenance-mode" value="{value}"/>'
        text = f'<crm_config><cluster_property_set id="options">{pair}</cluster_property_set></crm_config>'
        self._apply(box, Operation(Kind.MODIFY, xml=text, scope="crm_config", allow_create=True))

    # --- the administrator

    def configure(self, box: Box) -> None:
        """The configuration of this run, in one transaction."""
        sections = self._world.configuration.sections()
        steps = tuple(Operation(Kind.REPLACE, xml=text, scope=name) for name, text in sections.items())
        first = self._world.configuration.tops[0]
        self._apply(box, Operation(Kind.TRANSACTION, steps=steps), first)

    def settle(self, box: Box) -> None:
        """After all: nothing in standby or maintenance, nothing moved by hand, nothing stopped."""
        self.maintenance(box, "false")
        self.unmove(box)
        for target in self._world.boxes.values():
            self._standby(box, target, "off")
        for name in self._world.configuration.tops:
            self._target_role(box, name, "Started")
        self.cleanup(box)
