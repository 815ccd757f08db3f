"""Machines with messaging and crm in virtual time, their power, their agents, and what faults do to them.

The messaging half is the world of the membership scope (`crm.simulator.world`): its cores, clock and network. On top of each machine's core runs a
crm process on a `VirtualLoop`, attached by messaging's own client. A supervisor starts a process again that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from crm.api.errors import ApiError
from crm.controller import properties
from crm.controller.messages import Changes
from crm.simulator.checkers import Checkers
from crm.simulator.clock import Violation
from crm.simulator.cluster.box import Box, Write
from crm.simulator.cluster.configuration import Configuration
from crm.simulator.cluster.crm import live
from crm.simulator.cluster.dice import Dice
from crm.simulator.cluster.link import Link
from crm.simulator.cluster.loop import Process, VirtualLoop
from crm.simulator.cluster.moment import Moment
from crm.simulator.cluster.power import Power
from crm.simulator.cluster.swarm import ClusterSwarm
from crm.simulator.cluster.watch import Watch
from crm.simulator.machine import Machine, Session
from crm.simulator.world import World
from messaging import ipc
from messaging.effects import CrmAttached, CrmDetached, CrmMulticast, CrmSend, CrmVouched, DropCrm, Effect, Event
from messaging.ipc import Kind
from messaging.types import MessagingEvent, View

EPOCH_S = 1_700_000_000
SUPERVISOR_MS = 100
"""At most this long after its machine's start a daemon starts."""


class Wire(Checkers):
    """Messaging has its own scope; here its events only go to the crm, over the simulated socket."""

    boxes: dict[int, Box]

    def stream_payload(self, machine: Machine, payload: bytes) -> None:
        pass

    def installed(self, machine: Machine, view: View, now: int) -> None:
        self.views += 1
        self.quorate_views += view.quorate

    def told(self, machine: Machine, session: Session, event: MessagingEvent) -> None:
        if isinstance(event, View):
            session.view = event
        link = self.boxes[machine.node_id].link
        if link is not None and link.open:
            link.tell(event)


class ClusterWorld(World):
    """See the module's text. `failure` is the first thing that must not be and was."""

    def __init__(self, swarm: ClusterSwarm, dice: Dice, folder: Path, trace: bool = False) -> None:
        super().__init__(swarm.messaging, dice.of("messaging"), trace)
        self.dice = dice
        self.cluster_swarm = swarm
        self.configuration: Configuration = swarm.configuration
        self.temper = swarm.temper
        self.failure = ""
        self.boxes = {n: Box(n, folder / f"n{n}") for n in self.machines}
        self.loop = VirtualLoop(self.clock, self._execute, self._escaped)  # type: ignore[abstract]
        self.power = Power(self)
        self.power.switches = swarm.switches
        self.watch = Watch(self, self.fail)
        self.processes: list[Process] = []
        self.moments: list[Callable[[Moment, Box], None]] = []
        wire = Wire(self.swarm, self.machines)
        wire.boxes = self.boxes
        self.checkers = wire
        self.network.admitted, wire.frames = wire.admitted, self.network.sent

    def wall_s(self) -> float:
        return EPOCH_S + self.clock.now / 1000

    def fail(self, text: str) -> None:
        if not self.failure:
            self.failure = text
            self.note(f"FAILED: {text}")

    def run_for(self, ms: int) -> None:
        """Let time pass. Violation when something happened that must not."""
        end = self.clock.now + ms
        while self.clock.now < end:
            self.clock.run_until(min(end, self.clock.now + 50))
            if self.failure:
                raise Violation(self.failure)

    def moment(self, moment: Moment, box: Box) -> None:
        for listener in self.moments:
            listener(moment, box)

    def dc(self) -> Box | None:
        """The machine whose crm takes itself for the DC."""
        for box in self.boxes.values():
            if box.crm_up and box.node is not None and box.node.controller.coordinator is not None:
                return box
        return None

    def box_named(self, name: str) -> Box | None:
        return next((box for box in self.boxes.values() if box.name == name), None)

    # --- power

    def power_on(self, node_id: int) -> None:
        box = self.boxes[node_id]
        if box.powered:
            return
        self.note(f"{box.name} power on")
        box.power_on()
        self.clock.after(self.dice.of("boot").randint(1, SUPERVISOR_MS), partial(self._start_messaging, box, box.boots))
        self.clock.after(self.dice.of("boot").randint(1, SUPERVISOR_MS), partial(self._start_crm, box, box.boots))

    def cut_power(self, node_id: int) -> None:
        box = self.boxes[node_id]
        if not box.powered:
            return
        if box.running:
            self.note(f"{box.name} loses power with {' '.join(sorted(box.running))}")
        box.power_off(self.dice.of("tear"))
        box.link = None
        self.crash(node_id)

    # --- daemons

    def _start_messaging(self, box: Box, boot: int) -> None:
        if box.powered and box.boots == boot and not box.left and self.machines[box.node_id].core is None:
            self.boot(box.node_id)

    def _start_crm(self, box: Box, boot: int) -> None:
        if not box.powered or box.boots != boot or box.left or box.crm_up:
            return
        process = Process(f"crm of {box.name}")
        self.processes.append(process)
        box.process = process
        self.note(f"{box.name} crm starts")
        self.loop.start(process, partial(live, self, box, len(self.processes)))

    def start_again(self, node_id: int) -> None:
        """Somebody starts the daemons of a machine that has left."""
        box = self.boxes[node_id]
        box.left = False
        self._start_messaging(box, box.boots)
        self._start_crm(box, box.boots)

    def life_of(self, box: Box) -> int:
        """Which of all crm processes runs here."""
        return self.processes.index(box.process) + 1 if box.process is not None else 0

    def kill_crm(self, node_id: int) -> None:
        box = self.boxes[node_id]
        if not box.crm_up:
            return
        self.note(f"{box.name} crm is killed")
        box.kill_crm(self.dice.of("tear"))
        if box.link is not None:
            box.link.close()
        delay_ms = self.dice.of("boot").randint(1, self.cluster_swarm.restart_ms)
        self.clock.after(delay_ms, partial(self._start_crm, box, box.boots))

    def kill_messaging(self, node_id: int) -> None:
        box = self.boxes[node_id]
        if self.machines[node_id].core is None:
            return
        self.kill(node_id)
        delay_ms = self.dice.of("boot").randint(1, self.cluster_swarm.restart_ms)
        self.clock.after(delay_ms, partial(self._start_messaging, box, box.boots))

    def stand_still(self, node_id: int, how_long_ms: int) -> None:
        """The whole machine, as a suspended virtual one."""
        self.pause(node_id, how_long_ms)
        self.hang(node_id, how_long_ms)

    def hang(self, node_id: int, how_long_ms: int) -> None:
        """crm alone."""
        process = self.boxes[node_id].process
        if process is None or not process.alive or process.stopped:
            return
        self.note(f"n{node_id} crm stands still for {how_long_ms} ms")
        process.stopped = True
        self.clock.after(how_long_ms, partial(self.loop.go_on, process))

    def crm_left(self, box: Box, process: Process) -> None:
        """crm has ended with 0: the supervisor ends messaging too."""
        if box.running and box.node is not None:
            # In maintenance a node leaves what it runs alone; whoever asked it to go takes care of that before maintenance ends.
            if properties.option(box.node.cib.document, "maintenance-mode") != "true":
                self.fail(f"{box.name} has left while it runs {', '.join(sorted(box.running))}")
            for name in list(box.running):
                del box.running[name]
                self.watch.moved(box, name)
        self.note(f"{box.name} has left the cluster")
        process.kill()
        box.node = None
        box.left = True
        self.leave(box.node_id)

    def _gone(self, node_id: int, text: str, at_once: bool) -> None:
        super()._gone(node_id, text, at_once)
        box = self.boxes[node_id]
        link, box.link = box.link, None
        if link is not None:
            link.hang_up()

    # --- the socket between the two

    def attached(self, box: Box) -> None:
        self.give(box.node_id, CrmAttached())

    def from_crm(self, link: Link, kind: Kind, body: bytes) -> None:
        node_id = next((n for n, box in self.boxes.items() if box.link is link), 0)
        if not node_id:
            return
        match kind:
            case Kind.VOUCH:
                self.give(node_id, CrmVouched())
            case Kind.MULTICAST:
                message = ipc.read_multicast(body)
                self.multicasts += 1
                self.give(node_id, CrmMulticast(message.token, message.view_id, message.payload))
            case Kind.SEND:
                self.give(node_id, CrmSend(*ipc.read_send(body)))
            case Kind.QUERY:
                self._answer(node_id, link, ipc.read_json(body))
            case Kind.LEAVE:
                self.boxes[node_id].link = None
                self.give(node_id, CrmDetached(True))
                link.hang_up()
            case _:
                raise NotImplementedError(kind)

    def _answer(self, node_id: int, link: Link, question: dict[str, Any]) -> None:
        """What messaging says of itself; these machines have no watchdog."""
        core = self.machines[node_id].core
        reply: dict[str, Any] = {"id": question.get("id", 0)}
        match question.get("name"):
            case "watchdog":
                reply["result"] = {"own": {}, "peers": {}}
            case "status" if core is not None:
                reply["result"] = core.status()
            case "quorum" if core is not None:
                reply["result"] = core.quorum()
            case name:
                reply["error"] = f"{name} is not simulated"
        link.answer(reply)

    def crm_hung_up(self, link: Link) -> None:
        for node_id, box in self.boxes.items():
            if box.link is link:
                box.link = None
                self.give(node_id, CrmDetached(False))
        link.hang_up()

    def _admit(self, machine: Machine, event: Event) -> bool:
        if isinstance(event, CrmMulticast | CrmSend):
            return machine.session is not None
        return super()._admit(machine, event)

    def _vouch(self, machine: Machine, session: Session) -> None:
        """crm does that itself here."""

    def _perform(self, machine: Machine, effect: Effect) -> None:
        super()._perform(machine, effect)
        if isinstance(effect, DropCrm):
            box = self.boxes[machine.node_id]
            link, box.link = box.link, None
            self.note(f"{box.name} messaging drops crm: {effect.reason}")
            if link is not None:
                link.drop(effect.reason)

    # --- what crm's loop asks of the machine

    def _execute(self, process: Process | None, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        box = next((box for box in self.boxes.values() if box.process is process), None)
        if box is None:
            return
        write = Write(process, work, future)
        box.writes.append(write)
        rng = self.dice.of(f"disk of {box.name}")
        delay_ms = rng.choice([0, 1, 4]) + rng.randint(0, box.slow_disk_ms)
        self.clock.after(delay_ms, partial(self._disk_done, box, write))

    def _disk_done(self, box: Box, write: Write) -> None:
        if write not in box.writes:
            return
        box.writes.remove(write)
        if write.future.done():
            return
        if box.full_disk:
            write.future.set_exception(OSError(28, "No space left on device"))
            return
        try:
            result = write.work()
        except OSError as error:
            write.future.set_exception(error)
        else:
            write.future.set_result(result)

    def _escaped(self, process: Process | None, message: str, error: object) -> None:
        if process is not None and not process.alive:
            return
        if isinstance(error, OSError):
            return
        name = process.name if process is not None else "the world"
        self.fail(f"{name}: {message}: {type(error).__name__}: {error}")

    # --- for the checkers and the agents

    def on_event(self, box: Box, record: dict[str, Any]) -> None:
        if self._trace:
            hidden = ("seq", "event", "time_ms", "mono_ms", "node", "cause")
            fields = " ".join(f"{key}={value}" for key, value in record.items() if key not in hidden)
            self.note(f"{box.name}   {record['event']} {fields}")
        self.watch.event(box, record)

    def set_promotion_score(self, box: Box, name: str, score: str) -> None:
        """An agent calls crm_attribute."""
        node, process = box.node, box.process
        if node is None or process is None or not process.alive:
            return
        attribute = f"master-{name.partition(':')[0]}"

        async def call() -> None:
            word = node.controller.attributes.wish(str(box.node_id), box.name, attribute, score)
            reason = f"{attribute} of {box.name} was set"
            with contextlib.suppress(ApiError):
                await node.promised(Changes(reason=reason, words=(word,)))

        self.loop.start(process, call)
