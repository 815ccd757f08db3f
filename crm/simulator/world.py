"""A cluster of messaging nodes in virtual time: performs their effects, and does to them what the course asks for.

The nodes are `messaging.node.Node`, the class the daemon runs. As in the daemon, one event is handled at a time, effects
are performed in their order, and a write to disk holds up everything behind it; a node that crashes meanwhile has not
done the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

from crm.simulator.arbiter import NetworkArbiter
from crm.simulator.checkers import Checkers, Sent
from crm.simulator.clock import PPM, Clock, Violation, local_time, virtual_time
from crm.simulator.keys import STAGES, frames
from crm.simulator.machine import MAX_UNREAD_DATAGRAMS, RUN_DIR, STATE_DIR, WALL_MS, Disk, Machine, Session
from crm.simulator.network import Network
from crm.simulator.quorum_disk import SharedDisk
from crm.simulator.swarm import Mode, Swarm
from messaging.effects import (
    AskTieBreaker,
    CloseStream,
    CrmAttached,
    CrmDetached,
    CrmMulticast,
    CrmSend,
    CrmVouched,
    DatagramReceived,
    DropCrm,
    Effect,
    Event,
    EvidenceChanged,
    Finished,
    LeaveRequested,
    Notify,
    OpenStream,
    Persist,
    Report,
    SendDatagram,
    SendStream,
    Started,
    TimerFired,
)
from messaging.errors import InvariantBroken
from messaging.node import Node
from messaging.persist import StateStore
from messaging.types import View

LINK_CHECK_MS = 1000
"""As `messaging.daemon`."""

_KNOWN_AT_THE_EDGE = frozenset({CrmAttached, CrmDetached, CrmMulticast, CrmSend, EvidenceChanged})
_TIMER = TimerFired()


def names(node_ids: Iterable[int]) -> str:
    return " ".join(f"n{node_id}" for node_id in sorted(node_ids)) or "nobody"


class World:
    """See the module's text. With `trace`, `log` collects what happens, readable."""

    def __init__(self, swarm: Swarm, rng: random.Random, trace: bool = False) -> None:
        self.swarm = swarm
        self.rng = rng
        self.clock = Clock()
        self.machines = {n: self._machine(n) for n in range(1, swarm.size + 1)}
        self.checkers = Checkers(swarm, self.machines)
        self.network = Network(self.clock, rng, self.machines, self.give, swarm.timers.deadtime_ms, swarm.links)
        self.network.admitted = self.checkers.admitted
        self.checkers.frames = self.network.sent
        self.disk: SharedDisk | None = None
        if swarm.mode is Mode.QDISK:
            rules = swarm.config(1).quorum.tie_breaker
            self.disk = SharedDisk(self.clock, rng, self.machines, rules.interval_ms, rules.tko, self.give, self.note)
        self.arbiter: NetworkArbiter | None = None
        if swarm.mode is Mode.ARBITER:
            give, note = self.give, self.note
            self.arbiter = NetworkArbiter(self.clock, rng, self.machines, swarm.config, give, note, swarm.codec)
        self.log: list[str] = []
        self.multicasts = 0
        self.key_stage = dict.fromkeys(self.machines, 0)
        self.on_install: Callable[[int, View], None] = lambda node_id, view: None
        self.wiped = 0
        self._trace = trace
        self._token = 0
        self._session = 0

    def _machine(self, node_id: int) -> Machine:
        disk = Disk(self.clock, self.rng, self.swarm.run_in_memory)
        store = StateStore(STATE_DIR, RUN_DIR, disk)
        return Machine(node_id, self.swarm.drift_ppm[node_id - 1], self.rng.randint(0, 10_000_000), disk, store)

    @property
    def now(self) -> int:
        return self.clock.now

    def note(self, text: str) -> None:
        if self._trace:
            self.log.append(f"{self.clock.now / 1000:10.3f} {text}")

    def up(self) -> list[int]:
        return [n for n, machine in self.machines.items() if machine.core is not None]

    # --- power and processes

    def boot(self, node_id: int) -> None:
        """Start the daemon."""
        machine = self.machines[node_id]
        before, same_boot = machine.incarnation, machine.boot_id == machine.disk.boot_id()
        machine.boot_id = machine.disk.boot_id()
        store = machine.store = StateStore(STATE_DIR, RUN_DIR, machine.disk)
        store.begin()
        for text in store.notes:
            self.note(f"n{node_id}   {text}")
        machine.incarnation = store.incarnation
        machine.life += 1
        machine.inbox.clear()
        machine.todo.clear()
        machine.newest.clear()
        machine.datagrams_waiting = machine.paused_until = 0
        machine.writing = machine.leaving = machine.told_evidence = False
        machine.no_evidence_since = self.clock.now
        machine.timer_due = machine.installed = machine.session = None
        machine.link_check_ms = 0
        core = Node(self.swarm.config(node_id), machine.incarnation, store.durable)
        if self.swarm.codec:
            self.network.wires[node_id] = frames(
                self.swarm.config(node_id), machine.incarnation, self.key_stage[node_id]
            )
        self.checkers.started(machine, machine.incarnation, before if same_boot and store.durable.seen_all else None)
        self.note(f"n{node_id} starts, incarnation {machine.incarnation}, ceiling {store.durable.sequence_ceiling}")
        outside = self.disk or self.arbiter
        if outside is not None:
            outside.settle(machine, core, partial(self._enter, machine, core))
        else:
            self._enter(machine, core)

    def _enter(self, machine: Machine, core: Node) -> None:
        """From now on it takes part."""
        machine.core = core
        self.give(machine.node_id, Started())
        self.probe(machine.node_id)

    def crash(self, node_id: int) -> None:
        """The power fails."""
        if self.machines[node_id].core is not None:
            self._gone(node_id, f"n{node_id} loses power", at_once=self.rng.random() < 0.3)
            self.machines[node_id].disk.power_fails()

    def wipe(self, node_id: int) -> None:
        """A node that is down gets a new disk. What keeps its lives apart then is the clock on the wall, so that must be right."""
        machine = self.machines[node_id]
        if self.wiped or machine.core is not None or machine.incarnation >= WALL_MS + self.clock.now:
            return
        self.wiped = node_id
        self.note(f"n{node_id} has lost its disk")
        machine.disk.wipe()
        machine.disk.wall_offset_ms = 0
        self.checkers.wiped(node_id)

    def set_wall_clock(self, node_id: int, off_ms: int) -> None:
        if node_id != self.wiped:
            self.note(f"n{node_id} the clock on the wall jumps: {off_ms} ms off")
            self.machines[node_id].disk.wall_offset_ms = off_ms

    def kill(self, node_id: int) -> None:
        """The daemon dies; the machine goes on."""
        self._gone(node_id, f"n{node_id} is killed", at_once=True)
        self.machines[node_id].disk.sync()

    def _gone(self, node_id: int, text: str, at_once: bool) -> None:
        machine = self.machines[node_id]
        if machine.core is None:
            return
        self.note(text)
        machine.core = machine.session = machine.installed = None
        machine.life += 1
        machine.writing = False
        machine.inbox.clear()
        machine.todo.clear()
        outside = self.disk or self.arbiter
        if outside is not None:
            outside.gone(node_id)
        self.network.lost(node_id, at_once)

    def pause(self, node_id: int, how_long_ms: int) -> None:
        machine = self.machines[node_id]
        self.note(f"n{node_id} is stopped for {how_long_ms} ms")
        machine.paused_until = max(machine.paused_until, self.clock.now + how_long_ms)
        self.clock.at(machine.paused_until, self._go_on, machine, machine.life)

    def leave(self, node_id: int) -> None:
        self.note(f"n{node_id} is asked to leave")
        self.machines[node_id].leaving = True
        outside = self.disk or self.arbiter
        if outside is not None:
            outside.hand_over(node_id, partial(self.give, node_id, LeaveRequested()))
        else:
            self.give(node_id, LeaveRequested())

    def next_keys(self) -> None:
        """The operator's next step of a key rotation reaches one node; no step before all have made the last one."""
        stage = min(self.key_stage.values())
        node_id = self.rng.choice([n for n, each in self.key_stage.items() if each == stage])
        self.key_stage[node_id] = stage + 1
        self.note(f"n{node_id} reads its keys again: step {stage + 1} of a rotation")
        if node_id in self.network.wires:
            self.network.wires[node_id].keyring = STAGES[(stage + 1) % len(STAGES)]

    # --- crm

    def attach(self, node_id: int) -> None:
        self.note(f"n{node_id} crm attaches")
        self.give(node_id, CrmAttached())

    def detach(self, node_id: int, graceful: bool) -> None:
        self.note(f"n{node_id} crm {'says goodbye' if graceful else 'dies'}")
        self.give(node_id, CrmDetached(graceful))

    def multicast(self, node_id: int) -> None:
        machine = self.machines[node_id]
        session = machine.session
        if machine.core is None or session is None or session.view is None or self.clock.now < machine.paused_until:
            return
        self._token += 1
        self.multicasts += 1
        self.give(node_id, CrmMulticast(self._token, session.view.view_id, b"%d" % self._token))

    def send(self, node_id: int, target: int) -> None:
        machine = self.machines[node_id]
        if machine.core is not None and machine.session is not None and self.clock.now >= machine.paused_until:
            self._token += 1
            self.give(node_id, CrmSend(target, b"%d" % self._token))

    def _vouch(self, machine: Machine, session: Session) -> None:
        if machine.session is session and session.vouching:
            self.give(machine.node_id, CrmVouched())
            self.clock.after(self.swarm.timers.vouch_ms // 3, self._vouch, machine, session)

    # --- evidence

    def probe(self, node_id: int) -> None:
        """The tie-breaker of a node notices, after a while, what it sees of its target."""
        machine = self.machines[node_id]
        if self.swarm.mode is Mode.PING and machine.core is not None:
            self.clock.after(self.rng.randint(1, 400), self._probed, machine, machine.life)

    def _probed(self, machine: Machine, life: int) -> None:
        if machine.life == life:
            self.give(machine.node_id, EvidenceChanged(machine.sees_target))

    # --- running the cores

    def give(self, node_id: int, event: Event) -> None:
        """An event for a node: now, or when it can take it."""
        machine = self.machines[node_id]
        if machine.core is None:
            return
        if machine.writing or self.clock.now < machine.paused_until:
            self._keep(machine, event)
        else:
            self._handle(machine, event)

    def _keep(self, machine: Machine, event: Event) -> None:
        if isinstance(event, TimerFired):
            return
        if isinstance(event, DatagramReceived):
            if machine.datagrams_waiting >= MAX_UNREAD_DATAGRAMS:
                return
            machine.datagrams_waiting += 1
        machine.inbox.append(event)

    def _handle(self, machine: Machine, event: Event) -> None:
        core = machine.core
        if core is None or (type(event) in _KNOWN_AT_THE_EDGE and not self._admit(machine, event)):
            return
        try:
            effects = core.handle(event, machine.offset_ms + self.clock.now * (PPM + machine.drift_ppm) // PPM)
        except InvariantBroken as error:
            raise Violation(f"n{machine.node_id} finds itself broken: {error}") from error
        view = core.membership.view
        if view is not machine.installed and view is not None:
            waits = 0  # what the disk does not have yet, nobody has been told
            while waits < len(effects) and isinstance(effects[waits], Persist):
                waits += 1
            machine.todo.extend([*effects[:waits], view, *effects[waits:]])
            self._work(machine)
        elif effects:
            if len(effects) == 1 and type(effects[0]) is SendDatagram and not machine.todo:
                self._perform(machine, effects[0])  # by far the most
                self._arm(machine)
                return
            machine.todo.extend(effects)
            self._work(machine)
        elif core.due_ms != machine.timer_due:
            self._arm(machine)

    def _admit(self, machine: Machine, event: Event) -> bool:
        """What the daemon's own edge knows of an event: which crm it is from, and what the checkers must remember."""
        match event:
            case CrmAttached():
                if machine.session is not None:
                    return False
                self._session += 1
                attached = machine.session = Session(self._session)
                self.clock.after(self.swarm.timers.vouch_ms // 3, self._vouch, machine, attached)
            case CrmDetached():
                if machine.session is None:
                    return False
                machine.session = None
            case CrmMulticast(token, view_id, _):
                if machine.session is None or machine.session.view is None or machine.core is None:
                    return False  # said by a crm that is gone meanwhile
                self.checkers.sent[token] = Sent(machine.core.me, view_id)
                machine.session.open_tokens[token] = view_id
            case CrmSend(_, payload):
                view = machine.core.membership.view if machine.core else None
                session = machine.session
                if session is None or session.view is None or machine.core is None or view is None:
                    return False
                self.checkers.sent[int(payload.partition(b" ")[0])] = Sent(machine.core.me, view.view_id)
            case EvidenceChanged(holds):
                if machine.told_evidence and not holds:
                    machine.no_evidence_since = self.clock.now
                machine.told_evidence = holds
            case _:
                pass
        return True

    def _work(self, machine: Machine) -> None:
        """Perform what is to be done, up to a write that takes its time."""
        while machine.todo:
            effect = machine.todo.popleft()
            if isinstance(effect, Persist):
                machine.disk.begin()
                machine.store.save(effect.durable)
                delay = self.rng.choice([0, 0, 1, 4]) + self.rng.randint(0, machine.disk.slow_ms)
                if delay:
                    machine.writing = True
                    self.clock.after(delay, self._written, machine, machine.life)
                    return
                machine.disk.sync()
            elif isinstance(effect, View):
                machine.installed = effect
                self.checkers.installed(machine, effect, self.clock.now)
                self.on_install(machine.node_id, effect)
            else:
                self._perform(machine, effect)
        self._arm(machine)

    def _written(self, machine: Machine, life: int) -> None:
        if machine.life != life:
            return
        machine.disk.sync()
        machine.writing = False
        self._work(machine)
        self._go_on(machine, life)

    def _go_on(self, machine: Machine, life: int) -> None:
        """Read what waited."""
        while machine.life == life and not machine.writing and self.clock.now >= machine.paused_until:
            if not machine.inbox:
                machine.timer_due = None
                self.give(machine.node_id, TimerFired())
                return
            event = machine.inbox.popleft()
            if isinstance(event, CrmMulticast) and self._overdue(machine):
                machine.inbox.appendleft(event)  # its crm said it before it could hear of what the timer may bring
                event = TimerFired()
            if isinstance(event, DatagramReceived):
                machine.datagrams_waiting -= 1
            self._handle(machine, event)

    def _overdue(self, machine: Machine) -> bool:
        due_ms = machine.core.due_ms if machine.core is not None else None
        return due_ms is not None and due_ms < local_time(self.clock.now, machine.offset_ms, machine.drift_ppm)

    def _arm(self, machine: Machine) -> None:
        due = machine.core.due_ms if machine.core is not None else None
        if due is None or machine.timer_due == due:
            return
        machine.timer_due = due
        when = virtual_time(due, machine.offset_ms, machine.drift_ppm)
        self.clock.at(when, self._fire, machine, machine.life, due)

    def _fire(self, machine: Machine, life: int, due: int) -> None:
        if machine.life == life and machine.timer_due == due:
            machine.timer_due = None
            self.give(machine.node_id, _TIMER)

    def _perform(self, machine: Machine, effect: Effect) -> None:
        match effect:
            case SendDatagram(payload):
                self.network.datagram(machine.node_id, payload)
                if self.swarm.links > 1:
                    self._check_links(machine)
            case SendStream(peer, payload):
                self.checkers.stream_payload(machine, payload)
                self.network.send(machine.node_id, peer, payload)
            case Notify(event):
                if machine.session is not None:
                    self.checkers.told(machine, machine.session, event)
            case Report(_, text):
                self.note(f"n{machine.node_id}   {text}")
            case OpenStream(peer):
                self.network.dial(machine.node_id, peer)
            case CloseStream(peer):
                self.network.close(machine.node_id, peer)
            case AskTieBreaker():
                if self.swarm.mode is Mode.PING:
                    if machine.told_evidence:
                        machine.told_evidence, machine.no_evidence_since = False, self.clock.now
                    self.probe(machine.node_id)
                else:
                    self.clock.after(0, self._ask, machine, machine.life)
            case DropCrm():
                machine.session = None
            case Finished():
                self._gone(machine.node_id, f"n{machine.node_id} has left", at_once=True)
            case _:
                pass

    def _ask(self, machine: Machine, life: int) -> None:
        outside = self.disk or self.arbiter
        if machine.life == life and outside is not None:
            outside.ask(machine.node_id)

    def _check_links(self, machine: Machine) -> None:
        """Now and then: move streams off silent links."""
        core = machine.core
        if core is None or self.clock.now < machine.link_check_ms:
            return
        machine.link_check_ms = self.clock.now + LINK_CHECK_MS
        now = local_time(self.clock.now, machine.offset_ms, machine.drift_ppm)
        silent_ms = self.swarm.timers.deadtime_ms
        for peer, alive in core.detector.alive.items():
            link = self.network.link_of(machine.node_id, peer)
            if link is not None and now - alive.links.get(link, 0) > silent_ms > now - max(alive.links.values()):
                self.note(f"n{machine.node_id} moves its stream to n{peer} off link {link}")
                self.clock.after(0, self._move, machine, machine.life, peer)

    def _move(self, machine: Machine, life: int, peer: int) -> None:
        if machine.life == life:
            self.network.move(machine.node_id, peer)

    # --- what must come true

    def agree(self, members: set[int], *, fates: bool = True) -> bool:
        """Whether these nodes, and only they, share one view with all their crms, and every multicast has its fate."""
        first = self.machines[min(members)].installed
        if first is None or first.member_ids != members or first.group != members:
            return False
        for node_id in members:
            machine = self.machines[node_id]
            session = machine.session
            if machine.installed is None or machine.installed.view_id != first.view_id:
                return False
            if session is None or session.view is None or session.view.view_id != first.view_id:
                return False
            if fates and session.open_tokens:
                return False
        return True

    def pending(self) -> str:
        """What each node waits for, for people."""
        return "; ".join(self._describe(machine) for machine in self.machines.values())

    def _describe(self, machine: Machine) -> str:
        core, view = machine.core, machine.installed
        if core is None:
            return f"n{machine.node_id} down"
        text = f"n{machine.node_id} {core.membership.phase}"
        text += f" in {view.view_id} {{{names(view.member_ids)}}}" if view else " without view"
        if view is not None and view.group != view.member_ids:
            text += f" with the crms of {names(view.group)}"
        if machine.session is None:
            return text + " no crm"
        return text + (f" undecided {sorted(machine.session.open_tokens)}" if machine.session.open_tokens else "")
