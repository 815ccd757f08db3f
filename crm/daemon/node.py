"""One node's crm: the loop around the cores.

Theory of operation. Messaging's events come in order and are handled one at a time: each goes into the replica or the
controller, and the effects are performed before the next one. What the executor, the fencer, the policy worker and clients bring goes in the same
way. There is one timer for the controller, set to when it wants to be woken; nothing polls.

On the wire the first byte of a message says whose it is: `K` controller, `C` CIB, `P` a question between peers, `H` what of the receiver's is here. A stamp follows, which keeps the
records of all nodes in order (`crm.events.clock`).

While messaging is away (it is being restarted) the node keeps what it runs, decides nothing, and connects again; then it joins the view with
what it knows. An error in a core is a broken rule of our own: the process ends at once (the supervisor starts a new one, which joins with a
history that can be trusted) rather than go on with a wrong idea.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import ApiServer, Hub
from crm.cib import without_fencing, xml
from crm.cib.operations import Kind, Operation
from crm.cib.replica import Changed, GroupView
from crm.controller import membership, messages, properties
from crm.controller.core import Controller
from crm.controller.effects import (
    Acknowledge,
    AddNodes,
    Answer,
    Decide,
    Effect,
    Execute,
    Fence,
    Forget,
    KeepAttributes,
    KeepTable,
    Leave,
    Multicast,
    Record,
    Refused,
    Synchronised,
    UseFeatures,
)
from crm.controller.graph import GraphError, parse
from crm.controller.types import Identity, OperationReport, Settings
from crm.daemon import access
from crm.daemon.clock import epoch_ms, epoch_s, now_ms
from crm.daemon.executing import Executing
from crm.daemon.fence import Fencing
from crm.daemon.inputs import InputSeries
from crm.daemon.journal import Journal
from crm.daemon.peers import Peers
from crm.daemon.policy_client import PolicyClient
from crm.daemon.replication import Replication
from crm.daemon.selffence import SelfFencing
from crm.daemon.settings import DaemonSettings
from crm.daemon.surroundings import Surroundings
from crm.daemon.weighing import Weighing, weight
from crm.events import causes as causal
from crm.events.causes import Causes
from crm.events.clock import STAMP_BYTES
from messaging.client import AttachRefused, MessagingClient
from messaging.types import Delivered, Direct, MessagingEvent, PeerLate, Undelivered, View

RECONNECT_S: Final = 0.05
"""Between attempts to reach messaging while it is being restarted; grows to RECONNECT_LIMIT_S."""
RECONNECT_LIMIT_S: Final = 1.0
ACTIONS_PER_CORE: Final = 2
"""Operations that this node takes at a time from one transition, for each core (node-action-limit)."""
VOUCHES_PER_INTERVAL: Final = 3
CONTROLLER: Final = b"K"
CIB: Final = b"C"
PEER: Final = b"P"
HAVE: Final = b"H"

_log = logging.getLogger("vigil")


class Node:
    """See the module's text. `policy` was made before the loop ran."""

    def __init__(
        self, settings: DaemonSettings, policy: PolicyClient, surroundings: Surroundings | None = None
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.journal = Journal(settings.node_name, now_ms)
        self.surroundings = surroundings or Surroundings(settings)
        self.crm_id = self.surroundings.new_id()
        self.client: MessagingClient | None = None
        self.leaving = asyncio.Event()
        self.changed = asyncio.Condition()
        self.executing = Executing(
            settings.node_name,
            str(settings.node_id),
            settings.run_dir,
            self.surroundings.runner(),
            self.surroundings.boot(),
            self._on_report,
        )
        self.cib = Replication(
            settings.node_id, self.crm_id, settings.state_dir, settings.cluster, settings.feature_set
        )
        self.cib.multicast = self._multicast_cib
        self.cib.send = lambda node, payload: self._send(node, CIB + payload)
        self.cib.changed = self._on_cib_changed
        self.cib.withdraw = self._withdraw
        self.cib.kept_aside = lambda file, why: self.journal.record("kept_aside", {"file": file, "text": why})
        self._welcome = asyncio.Event()
        """Not any more: the cluster has refused this node, and would again."""
        self._welcome.set()
        self._attributes_file = settings.run_dir / "attributes.json"
        self._table_file = settings.run_dir / "attribute-table.json"
        self.controller = Controller(
            Identity(settings.node_id, settings.node_name, self.crm_id),
            self.cib,
            self.executing.core,
            self._controller_settings(),
        )
        self.peers = Peers(lambda node, payload: self._send(node, PEER + payload))
        self.fencing = Fencing(
            settings.node_name, self.executing.runner, self._on_fenced, self.peers, self._rest_of_the_group
        )
        self.fencing.chance = self.surroundings.chance
        self.executing.load_percent = self.surroundings.load_percent
        self.fencing.acts = self.controller.on_fencing_acts
        self.fencing.fenced_for_peer = self._on_fenced_for_peer
        self.fencing.record = self.journal.record
        self.self_fencing = SelfFencing(self)
        self._weighing = Weighing()
        self.fencing.ask_watchdog = self.self_fencing.ask
        self.cib.broken = self.executing.broken = self.fencing.broken = self.broken
        self.inputs = InputSeries(settings.state_dir / "pengine")
        self.hub = Hub()
        self.journal.listeners.append(self.hub.publish)
        self.api = ApiServer(settings.api_socket, allowed_gid=access.group_id(settings.api_group))
        self.api.guard(lambda call: access.guard(call, self.cib.document))
        self._tokens: dict[int, tuple[bytes, int]] = {}
        self._promised: dict[int, asyncio.Future[None]] = {}
        self._have: dict[int, int] = {}
        """Member -> the last number to acknowledge, at the end of this round of the loop."""
        self._unkept = False
        """This node's attributes have changed since they were written to RUN_DIR."""
        self._round_ends = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._notified = False
        self._asked = (0, b"", 0)
        """The last question to the policy worker: number, document, seconds since the epoch."""

    def _controller_settings(self) -> Settings:
        """What the controller has to know of the configuration, of this machine and of an earlier life of this crm."""
        settings = self.settings
        return Settings(
            expected_nodes=frozenset(name for _, name in settings.nodes),
            action_limit=max(4, ACTIONS_PER_CORE * self.surroundings.cores()),
            attributes=_load(self._attributes_file),
            table=_load(self._table_file),
            resumes=self._attributes_file.exists(),
            deadtime_ms=settings.deadtime_ms,
            votes=dict(settings.votes),
            expected_votes=settings.expected_votes,
            weights=settings.weights,
            cib_lost=self.cib.lost,
            feature_set=settings.feature_set,
        )

    async def run(self) -> int:
        """Until the node has left. The exit status: 0 when it left on purpose."""
        began = now_ms()
        await self.executing.begin()
        self.executing.on_configuration(self.cib.document)
        if self.settings.needs_fencing and without_fencing.is_disabled(self.cib.document):
            _log.error("%s", without_fencing.danger(self.settings.needs_fencing))
        await self.surroundings.serve(self.api)
        started = {"crm_id": self.crm_id, "pid": os.getpid(), "took_ms": now_ms() - began}
        self.journal.record("crm_started", {**started, "predecessor": self.surroundings.predecessor()})
        member = asyncio.create_task(self._be_member())
        gone = asyncio.create_task(self.leaving.wait())
        try:
            await asyncio.wait((member, gone), return_when=asyncio.FIRST_COMPLETED)
            if member.done():
                member.result()
        finally:
            member.cancel()
            gone.cancel()
            await asyncio.gather(member, gone, return_exceptions=True)
            await self._end()
        return 0

    async def _end(self) -> None:
        """In this order: nothing new from clients, no agent left, the disk up to date, goodbye to the group."""
        await self.api.close()
        await self.executing.close()
        if self.leaving.is_set():
            # What a successor continues from is for one that finds things as they were. Who left on purpose comes back as a new node: it
            # does not ask to shut down again, and looks at what runs by then.
            self.executing.leave_nothing()
            for file in (self._attributes_file, self._table_file):
                file.unlink(missing_ok=True)
        await self.fencing.close()
        await self.cib.close()
        if self.client is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await self.client.leave()
        await self.policy.close()

    # --- messaging ---------------------------------------------------------------------------------------------------

    async def _be_member(self) -> None:
        """Attach to messaging, handle what it tells, and again when the connection is lost."""
        pause = RECONNECT_S
        while True:
            await self._welcome.wait()
            await self.cib.writable.wait()  # it would be taken in, have nothing on its disk, and leave again
            try:
                client = await self.surroundings.connect()
            except (OSError, TimeoutError, AttachRefused) as error:
                if pause >= RECONNECT_LIMIT_S:
                    _log.warning("messaging cannot be reached: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RECONNECT_LIMIT_S)
                continue
            pause = RECONNECT_S
            self.client = client
            self._weigh()
            vouching = asyncio.create_task(self._vouch(client))
            try:
                async for event in client.events():
                    self._on_event(event)
            finally:
                vouching.cancel()
                self.client = None
                if not self.leaving.is_set():
                    self._on_disconnected(client.lost_reason)

    async def _vouch(self, client: MessagingClient) -> None:
        while True:
            client.vouch()
            await asyncio.sleep(client.vouch_interval_ms / 1000 / VOUCHES_PER_INTERVAL)

    def _on_event(self, event: MessagingEvent) -> None:
        match event:
            case View():
                self._on_view(event)
            case Delivered(_, sequence, sender, payload, token):
                own = self._tokens.pop(token, None) if sender == self.settings.node_id else None
                kind, body = self._opened(payload)
                if kind == CONTROLLER:
                    tag = own[1] if own is not None else None
                    self._perform(self.controller.on_delivered(sender, body, tag, epoch_s(), now_ms()))
                elif kind == CIB:
                    self.cib.on_delivered(sequence, sender, body)
                else:
                    _log.warning("node %d multicast a message of an unknown kind: %r", sender, kind)
            case Undelivered(token):
                self._on_undelivered(token)
            case Direct(sender, payload):
                kind, body = self._opened(payload)
                if kind == CIB:
                    self.cib.on_direct(sender, body)
                elif kind == PEER:
                    self.peers.on_message(sender, body)
                elif kind == HAVE:
                    self._on_have(sender, body)
            case PeerLate(node_id, silent_ms):
                fields = {"peer": self.name_of(node_id), "silent_ms": silent_ms}
                self.journal.record("peer_late", fields, self._silence(node_id))
                self._perform(self.controller.on_peer_late(node_id, silent_ms, now_ms()))
        self._after()

    def _on_view(self, view: View) -> None:
        cause = causal.of_view(view.view_id)
        before = self.controller.view
        for member in view.left:
            still_there = any(other.incarnation == member.incarnation for other in view.joined)
            if member.node_id not in view.graceful and not still_there:
                fields = {"peer": member.name, "after": [causal.of_silence(member.name, member.incarnation)]}
                self.journal.record("peer_lost", fields, cause)
        gone = frozenset(member.node_id for member in view.left)
        if before is not None:
            gone |= before.group - view.group
        self.peers.on_view()
        quorate = membership.speaks_for_all(view, self.settings.weights)
        self.cib.on_view(GroupView(view.view_id.sequence, view.view_id.leader, view.group, quorate, gone))
        self._perform(self.controller.on_view(view, now_ms()))
        for target in self.self_fencing.on_view(view):
            self.fencing.watchdog_void(target, f"{target} is heard again before its time is up")

    def _on_undelivered(self, token: int) -> None:
        known = self._tokens.pop(token, None)
        if known is None:
            return
        kind, number = known
        if kind == CIB:
            self.cib.on_undelivered(number)
        else:
            self._perform(self.controller.on_undelivered(number, now_ms()))

    def _on_disconnected(self, reason: str) -> None:
        """Nothing that was on its way will be heard of again: it counts as undelivered."""
        self.journal.record("messaging_lost", {"reason": reason})
        self.peers.on_view()
        for token in list(self._tokens):
            self._on_undelivered(token)
        self._perform(self.controller.on_disconnected(now_ms()))
        self._after()

    def _withdraw(self, reason: str) -> None:
        """Leave the group and join it anew, by dropping the connection."""
        self.journal.record("withdrawn", {"reason": reason})
        if self.client is not None:
            self._spawn(self.client.close())

    def _multicast(self, kind: bytes, payload: bytes, number: int) -> None:
        if self.client is None:
            asyncio.get_running_loop().call_soon(self._never_sent, kind, number)
            return
        token = self.client.multicast(kind + self.journal.stamp() + payload)
        self._tokens[token] = (kind, number)

    def _never_sent(self, kind: bytes, number: int) -> None:
        if kind == CONTROLLER:
            self._perform(self.controller.on_undelivered(number, now_ms()))
        # The replica sends its own again in the next view, when it has heard of this end.
        elif self.client is None:
            asyncio.get_running_loop().call_later(RECONNECT_S, self._never_sent, kind, number)
        else:
            self.cib.on_undelivered(number)

    def _multicast_cib(self, payload: bytes, request: int) -> None:
        self._multicast(CIB, payload, request)

    def _send(self, node: int, payload: bytes) -> None:
        if self.client is not None:
            self.client.send(node, payload[:1] + self.journal.stamp() + payload[1:])

    def _opened(self, payload: bytes) -> tuple[bytes, bytes]:
        """Whose a message is, and what it says."""
        body = 1 + STAMP_BYTES
        self.journal.hear(payload[1:body])
        return payload[:1], payload[body:]

    def _at_end_of_round(self) -> None:
        """What is done once for everything that a round of the loop brings."""
        if not self._round_ends:
            self._round_ends = True
            asyncio.get_running_loop().call_soon(self._end_round)

    def _end_round(self) -> None:
        """First kept, then acknowledged."""
        self._round_ends = False
        if self._unkept:
            self._unkept = False
            _save(self._attributes_file, self.controller.own_attributes())
        have, self._have = self._have, {}
        view = self.controller.view
        for member, number in have.items():
            if view is not None and member in view.group:
                self._send(member, HAVE + f"{view.view_id} {number}".encode())

    def _on_have(self, sender: int, body: bytes) -> None:
        view_id, _, number = body.decode(errors="replace").partition(" ")
        view = self.controller.view
        if not number.isdecimal():
            _log.warning("node %d acknowledges nonsense: %r", sender, body[:100])
        elif view is not None and str(view.view_id) == view_id:
            self._perform(self.controller.on_acknowledged(sender, int(number)))

    def _silence(self, node_id: int) -> str:
        """The cause that a silent member's records begin with."""
        view = self.controller.view
        member = None if view is None else view.member(node_id)
        return causal.of_silence(self.name_of(node_id), 0 if member is None else member.incarnation)

    # --- the other sources of events ---------------------------------------------------------------------------------

    def _weigh(self) -> None:
        client = self.client
        if client is not None and client.weighs:
            now = weight(self.cib.document, self.executing.core.active_resources())
            self._spawn(self._weighing.tell(client, now))

    def _on_report(self, report: OperationReport) -> None:
        self._weigh()
        self._perform(self.controller.on_operation(report, epoch_s(), now_ms()))
        self._after()

    def _on_fenced(self, token: int, ok: bool, text: str) -> None:
        self._perform(self.controller.on_fenced(token, ok, text, now_ms()))
        self._after()

    def _on_fenced_for_peer(self, target: str, action: str, incarnation: int | None) -> None:
        cause = self.fencing.cause_of(target)
        text = f"{target} had asked for it itself"
        self.journal.record("fenced", {"target": target, "action": action, "text": text}, cause)
        self._perform(self.controller.confirmed_off(target, action, "", incarnation, (cause,) if cause else ()))
        self._after()

    def _on_cib_changed(self, changed: Changed) -> None:
        if changed.configuration:
            self.executing.on_configuration(self.cib.document)
            self.fencing.on_configuration(self.cib.document)
            self._weigh()
        if changed.everything:
            return  # part of a join; the decision that follows it sees the new document
        what = ",".join(sorted(changed.sections)) or "cib"
        cause = causal.of_cib(changed.version)
        root = self.cib.document
        by = "" if changed.automatic else root.get("update-client", "")
        fields = {
            "version": str(changed.version),
            "sections": sorted(changed.sections),
            "by": by or "the cluster",
            "on": root.get("update-origin", "") if by else self.name_of(changed.origin),
        }
        self.journal.record("cib_changed", fields, cause)
        reason = f"{what} changed, version {changed.version}"
        self._perform(self.controller.on_configuration_changed(reason, now_ms(), cause))
        self._after()

    def on_decided(self, number: int, graph: bytes | None, error: str) -> None:
        """The policy worker's answer."""
        series = "error" if graph is None else "input"
        if graph is None:
            answer = self.controller.on_decision(number, error, epoch_ms(), now_ms())
        else:
            try:
                parsed = parse(graph)
                series = parsed.attributes.get("series", series)
                answer = self.controller.on_decision(number, parsed, epoch_ms(), now_ms())
            except GraphError as problem:
                answer = self.controller.on_decision(number, str(problem), epoch_ms(), now_ms())
        asked, document, moment = self._asked
        if asked == number:
            kept = self.inputs.offer(document, moment, series, properties.input_series_max(self.cib.document, series))
            answer = [_naming_input(effect, kept) for effect in answer]
        self._perform(answer)
        self._after()

    def on_stop_signal(self) -> None:
        """SIGTERM: ask the cluster to let this node go."""
        self._perform(self.controller.request_shutdown(epoch_s(), now_ms()))
        self._after()

    def relist(self, settings: DaemonSettings) -> None:
        """Nodes were added to or removed from the configuration, or renamed."""
        self.settings = settings
        names = frozenset(name for _, name in settings.nodes)
        self.controller.relist(names, dict(settings.votes), settings.expected_votes, settings.weights)
        self.journal.record("nodes_relisted", {"nodes": sorted(names)})
        self._after()

    def perform(self, effects: Iterable[Effect]) -> None:
        """Effects of something that a client asked of the controller."""
        self._perform(effects)
        self._after()

    async def promised(self, changes: messages.Changes) -> None:
        """Make a client's changes; returns when every member has them. ApiError when that is not known."""
        ticket, effects = self.controller.promise(changes)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._promised[ticket] = future
        try:
            self.perform(effects)
            await future
        finally:
            self._promised.pop(ticket, None)

    def _on_answer(self, ticket: int, problem: str) -> None:
        future = self._promised.get(ticket)
        if future is None or future.done():
            return
        if problem:
            future.set_exception(ApiError(errors.UNCERTAIN, problem))
        else:
            future.set_result(None)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Multicast(message, tag):
                    self._multicast(CONTROLLER, messages.encode(message), tag)
                case Execute(order):
                    self.executing.order(order)
                case Fence():
                    self.fencing.request(effect)
                case Decide(number, reason, causes):
                    self._decide(number, reason, causes)
                case AddNodes(nodes):
                    for node_id, name in nodes:
                        self._spawn(self._add_node(node_id, name))
                case Synchronised(now):
                    if now:
                        self.cib.synchronised()
                        self.fencing.on_configuration(self.cib.document)
                        view = self.controller.view
                        if self.controller.coordinator is not None and view is not None and view.quorate:
                            self._spawn(self.self_fencing.tell_policy())
                case Forget(resource, entry_id):
                    self.executing.forget(resource, entry_id)
                case KeepAttributes():
                    self._unkept = True
                    self._at_end_of_round()
                case KeepTable(own):
                    _save(self._table_file, dict(own))
                case Acknowledge(member, number):
                    self._have[member] = number
                    self._at_end_of_round()
                case Answer(ticket, problem):
                    self._on_answer(ticket, problem)
                case Leave(reason):
                    self.journal.record("leaving", {"reason": reason})
                    self.leaving.set()
                case Refused(reason):
                    _log.error("this node is not taken in: %s", reason)
                    self._welcome.clear()
                    self._withdraw(reason)
                case UseFeatures(feature_set):
                    self._spawn(self._use_features(feature_set))
                case Record(name, fields, cause):
                    self.journal.record(name, fields, cause)

    def _decide(self, number: int, reason: str, causes: Causes) -> None:
        document = xml.to_bytes(self.cib.document)
        moment = epoch_s()
        fields = {"number": number, "reason": reason, "after": list(causes[1:])}
        self.journal.record("decide", fields, causal.name_of(causes))
        self._asked = (number, document, moment)
        self.policy.ask(number, document, moment)

    async def _add_node(self, node_id: str, name: str) -> None:
        element = f'<node id="{node_id}" uname="{name}"/>'
        try:
            await self.cib.request(Operation(Kind.CREATE, xml=element, scope="nodes"), automatic=True)
        except ApiError as error:
            if error.code != errors.EXISTS:  # asked for in the view before, too
                _log.warning("node %s is not in the configuration yet: %s", name, error)

    async def _use_features(self, feature_set: str) -> None:
        try:
            await self.cib.request(Operation(Kind.BUMP, feature_set=feature_set), automatic=True)
        except ApiError as error:
            _log.warning("the cluster does not work with feature set %s yet: %s", feature_set, error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.broken(task.exception())

    def broken(self, error: BaseException | None) -> None:
        """A rule of our own does not hold: end at once. Resources go on; the next crm finds them."""
        _log.critical("internal error, ending: %r", error, exc_info=error)
        self.surroundings.end()

    def _after(self) -> None:
        """After every event: set the timer anew, wake those who wait for a state."""
        wake = self.controller.next_wake_ms()
        if wake != self._timer_ms:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_ms = wake
            self._timer = None
            if wake is not None:
                delay = max(0, wake - now_ms()) / 1000
                self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)
        if not self._notified:
            self._notified = True
            self._spawn(self._notify())

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_ms = None
        self._perform(self.controller.on_tick(now_ms()))
        self._after()

    async def _notify(self) -> None:
        self._notified = False
        async with self.changed:
            self.changed.notify_all()

    def _rest_of_the_group(self) -> list[int]:
        view = self.controller.view
        return [] if view is None else sorted(view.group - {self.settings.node_id})

    def name_of(self, node_id: int) -> str:
        return next((name for number, name in self.settings.nodes if number == node_id), str(node_id))


def _naming_input(effect: Effect, file_name: str | None) -> Effect:
    """The event of a decision says in which file its input is kept, so that it can be replayed."""
    if isinstance(effect, Record) and effect.name == "transition" and file_name is not None:
        return replace(effect, fields={**effect.fields, "input": file_name})
    return effect


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _save(path: Path, values: dict[str, Any]) -> None:
    """In RUN_DIR: outlives this process, not the machine."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(values), encoding="utf-8")
    os.replace(fresh, path)  # noqa: PTH105 - for each change of an attribute: pathlib costs as much as the call
