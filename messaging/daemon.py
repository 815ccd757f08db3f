"""The messaging daemon: where the core meets sockets, files and the clock.

It feeds `Node.handle` with what happens and performs the effects in their order. Everything is one asyncio loop and
one timer, set to `Node.due_ms`; nothing polls. An effect on stable storage blocks the loop on purpose: what follows
must not happen before it. When the core breaks one of its own rules (`InvariantBroken`) the daemon ends at once, so
that the node goes silent instead of wrong.

SIGTERM says goodbye to the members and ends; SIGHUP reads the key file again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from dataclasses import replace
from typing import Any

from messaging import keyring, realtime
from messaging.config import MessagingConfig, load_resolved
from messaging.effects import (
    AskTieBreaker,
    CloseStream,
    DropCrm,
    Effect,
    Event,
    Evicted,
    EvidenceChanged,
    Finished,
    HoldCrm,
    LeaveRequested,
    Notify,
    OpenStream,
    Persist,
    Relisted,
    Report,
    SendDatagram,
    SendStream,
    Started,
    TimerFired,
    WaitingEnded,
    WishMade,
)
from messaging.errors import MessagingError, SetupError
from messaging.frame import FrameCodec
from messaging.keykeeper import KeyKeeper
from messaging.links.network import Network
from messaging.local import LocalServer
from messaging.node import Node
from messaging.persist import StateStore
from messaging.tiebreak import kinds
from messaging.tiebreak.preference import Prefer
from messaging.watchdog import Watchdog
from messaging.watchdog_core import Health, presumed_ms

RESOLVED = "resolved.json"
"""What vigild makes of vigil.toml, in RUN_DIR."""

TRIAL_S = 8
MAX_TRIAL_S = 60
"""How long the network is tried, unless told otherwise, and at most."""

log = logging.getLogger("messaging")


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Daemon:
    """One node's messaging. `run` returns the exit code."""

    def __init__(self, config: MessagingConfig) -> None:
        self._config = config
        self._store = StateStore(config.state_dir, config.run_dir)
        self._keyring = keyring.load(config.key_file)
        self._store.begin()
        for note in self._store.notes:
            log.warning(note)
        self._node = Node(config, self._store.incarnation, self._store.durable)
        listed = [node.node_id for node in config.nodes]
        life = self._store.incarnation
        self._frames = FrameCodec(
            self._keyring, config.cluster, config.node_id, life, listed, encryption=config.encryption
        )
        self._network = Network(config, self._frames, life, self._handle, self._on_control)
        self._keys = KeyKeeper(config, self._network)
        me = config.node(config.node_id)
        welcome = {
            "node_id": me.node_id,
            "name": me.name,
            "cluster": config.cluster,
            "vouch_interval_ms": config.timers.vouch_ms,
            "weighs": config.quorum.tie_breaker.prefer == Prefer.RESOURCES,
        }
        self._local = LocalServer(config.socket_path, welcome, self._handle, self._answer, log.warning)
        self._tie_breaker = kinds.make(config, self._node.me, self._node.surroundings, self._on_evicted)
        self._watchdog = (
            Watchdog(config, self._health, self._node.announce_watchdog) if config.watchdog.device else None
        )
        self._feeding: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._done: asyncio.Future[int] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._queue: list[Event] = []
        self._busy = False

    async def run(self) -> int:
        """Until SIGTERM or a broken rule."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        loop.set_exception_handler(self._unforeseen)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave)
        loop.add_signal_handler(signal.SIGHUP, self._keys.reload)
        try:
            if self._watchdog is not None:
                self._watchdog.open()
                self._feed()
            if self._tie_breaker is not None:
                await self._tie_breaker.settle(self._on_evidence)  # before anybody can hear of this life
            await self._local.start()
            if self._tie_breaker is not None:
                self._tie_breaker.start(self._on_evidence)
            for missing in realtime.harden():
                log.info(missing)
            await self._network.start(loop)
            gc.collect()
            gc.freeze()  # what exists now stays: no collection need look at it
            log.info("node %s of cluster %s is up", self._config.node(self._config.node_id).name, self._config.cluster)
            self._handle(Started())
            return await self._done
        finally:
            self._shut()

    def _leave(self) -> None:
        if self._tie_breaker is None:
            self._handle(LeaveRequested())
            return
        handed_over = asyncio.get_running_loop().create_task(self._tie_breaker.hand_over())
        handed_over.add_done_callback(lambda _: self._handle(LeaveRequested()))
        self._leaving = handed_over

    def _unforeseen(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught, in a callback or a task."""
        log.critical("this node stops: %s", context.get("message"), exc_info=context.get("exception"))
        self._finish(1)

    def _shut(self) -> None:
        for timer in (self._timer, self._feeding):
            if timer is not None:
                timer.cancel()
        if self._watchdog is not None:
            self._watchdog.close(goodbye=False)
        if self._tie_breaker is not None:
            self._tie_breaker.close()
        self._network.shut()
        self._local.shut()

    # --- events

    def _on_evidence(self, holds: bool, until_ms: int | None = None, members: frozenset[int] = frozenset()) -> None:
        self._handle(EvidenceChanged(holds, until_ms, members))

    def _on_control(self, peer: int, document: dict[str, Any]) -> None:
        """A word of a peer's daemon, about keys."""
        self._keys.on_document(peer, document)

    def _handle(self, event: Event) -> None:
        """One event at a time: performing effects can cause events, which wait for their turn."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                for effect in self._node.handle(self._queue.pop(0), now_ms()):
                    self._perform(effect)
            self._set_timer()
        except (MessagingError, OSError) as error:
            log.critical("this node stops: %s: %s", type(error).__name__, error)
            self._finish(1)
        except Exception:  # the edge: a fault of ours that nobody foresaw; silent is better than wrong
            log.critical("this node stops", exc_info=True)
            self._finish(1)
        finally:
            self._busy = False

    def _set_timer(self) -> None:
        due_ms = self._node.due_ms
        if self._timer is not None:
            if not self._timer.cancelled() and due_ms is not None and self._timer.when() == due_ms / 1000:
                return
            self._timer.cancel()
        if due_ms is not None:
            self._timer = asyncio.get_running_loop().call_at(due_ms / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._handle(TimerFired())

    # --- effects

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SendDatagram(payload):
                self._network.send(payload)
            case SendStream(peer, payload):
                self._network.streams.send(peer, payload)
            case Notify(event):
                self._local.notify(event)
            case Report(level, text):
                log.log(level, text)
            case Persist(durable):
                self._store.save(durable)
            case OpenStream(peer):
                self._network.streams.open(peer)
            case CloseStream(peer):
                self._network.streams.close(peer)
            case DropCrm(reason):
                self._local.drop(reason)
            case HoldCrm(hold):
                self._local.hold(hold)
            case AskTieBreaker():
                if self._tie_breaker is not None:
                    self._tie_breaker.ask()
            case Finished():
                if self._watchdog is not None:
                    self._watchdog.close(goodbye=True)
                self._finish(0)

    def _finish(self, code: int) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(code)

    # --- watchdog

    def _feed(self) -> None:
        if self._watchdog is None:
            return
        self._watchdog.look(now_ms())
        self._feeding = asyncio.get_running_loop().call_later(self._watchdog.interval_ms / 1000, self._feed)

    def _health(self) -> Health:
        detail = self._tie_breaker.status() if self._tie_breaker is not None else {}
        return replace(self._node.health(now_ms()), disk=not detail.get("error"))

    def _on_evicted(self, by: str) -> None:
        if self._watchdog is not None:
            self._watchdog.order(f"node {by} has evicted it on the quorum disk")
        self._handle(Evicted(by))

    def _watchdog_answer(self) -> dict[str, Any]:
        """Of this node, and how long each of the others takes to reset itself once it is lost; 0: do not rely on it."""
        presumed = presumed_ms(self._config)
        peers = {name: presumed if watched else 0 for name, watched in self._node.watched().items()}
        own = {} if self._watchdog is None else self._watchdog.status()
        return {"own": own, "peers": peers}

    def _starve(self, reason: str) -> dict[str, Any]:
        """A member fences this node. ValueError when there is no watchdog that would do it."""
        if self._watchdog is None:
            raise ValueError("this node has no watchdog")
        self._watchdog.order(reason)
        return {}

    # --- queries

    def _answer(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        match name:
            case "status":
                return self._node.status()
            case "quorum":
                answer = self._node.quorum()
                if self._tie_breaker is not None:
                    detail = answer["evidence_detail"] = self._tie_breaker.status()
                    answer["standing"]["weights"] = {
                        str(key): value for key, value in detail.get("weights", {}).items()
                    }
                return answer
            case "keys":
                return self._keys.status()
            case "doctor":
                return self._network.doctor.status()
            case "doctor.start":
                seconds = min(MAX_TRIAL_S, max(1, int(parameters.get("seconds", TRIAL_S))))
                return {"run": self._network.doctor.start(seconds=seconds)}
            case "keys.rotate":
                return self._keys.rotate()
            case "nodes.reload":
                return self._reload_nodes()
            case "quorum.change":
                return self._change_quorum(parameters)
            case "weight.set":
                self._node.weight = max(0, int(parameters.get("weight", 0)))
                return {}
            case "watchdog":
                return self._watchdog_answer()
            case "watchdog.starve":
                return self._starve(str(parameters.get("reason", "")) or "by order")
            case "links":
                return self._links_answer()
        raise ValueError(f"unknown query {name!r}: expected status, links, keys or quorum")

    def _reload_nodes(self) -> dict[str, Any]:
        """The resolved configuration has other nodes. ValueError when more than that has changed, or it is not usable."""
        try:
            fresh = load_resolved(self._config.run_dir / RESOLVED)
            if replace(fresh, nodes=self._config.nodes, quorum=self._config.quorum) != self._config:
                raise ValueError("more than the nodes has changed in the configuration: restart this node's daemons")
            if fresh.quorum.tie_breaker != self._config.quorum.tie_breaker:
                raise ValueError("the tie-breaker has changed in the configuration: restart this node's daemons")
            self._network.relist(fresh)
        except SetupError as error:
            raise ValueError(str(error)) from None
        self._config = fresh
        self._keys.relist(fresh)
        if self._tie_breaker is not None:
            self._tie_breaker.relist(fresh)
        self._handle(Relisted(fresh))
        return {"nodes": [node.name for node in fresh.nodes]}

    def _change_quorum(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What the operator asks for; whether the members agree shows in `quorum`. ValueError when it cannot be."""
        match parameters.get("action"):
            case "expected-votes":
                wish = self._node.plan_expected(int(parameters.get("votes", 0)), force=bool(parameters.get("force")))
                log.warning("the operator sets expected votes to %d", wish.electorate.expected)
                self._handle(WishMade(wish))
            case "nodes":
                self._handle(WishMade(self._node.plan_nodes()))
            case "retire":
                self._handle(WishMade(self._node.plan_retirement(int(parameters.get("node_id", 0)))))
            case "unblock":
                log.warning("the operator says that the nodes wait_for_all waits for are off")
                self._handle(WaitingEnded())
            case other:
                raise ValueError(f"unknown change of quorum {other!r}")
        return {}

    def _links_answer(self) -> dict[str, Any]:
        rejected = {reason.value: count for reason, count in self._frames.rejected.items()}
        if self._node.malformed:
            rejected["malformed"] = rejected.get("malformed", 0) + self._node.malformed
        ring = self._frames.keyring
        keys = {"sending": ring.sending.key_id, "accepted": sorted(ring.keys)}
        return {
            "links": self._network.status(),
            "encryption": self._config.encryption.value,
            "peers": self._node.peers(now_ms()),
            "rejected": rejected,
            "keys": keys,
        }
