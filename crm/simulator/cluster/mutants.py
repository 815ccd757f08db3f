"""The mutation check for whole clusters: each mutant breaks one rule of the cluster core, in this process only; a checker must notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from crm.cib.replica import CibReplica, KeepAside
from crm.controller import join as joining
from crm.controller import membership
from crm.controller.core import Controller
from crm.controller.dc import Coordinator
from crm.controller.effects import Effect
from crm.controller.graph import Graph
from crm.controller.messages import Changes
from crm.controller.outbox import Outbox
from crm.controller.status import NodeState, Update
from crm.controller.transition import Transition
from crm.daemon.executing import Executing
from crm.daemon.replication import Replication
from crm.executor.core import Executor
from crm.simulator.mutants import Mutant, Patch

__all__ = ["MUTANTS", "installed"]


@contextmanager
def installed(name: str | None) -> Iterator[None]:
    """With this mutant in place (with none for None). KeyError when there is none of that name."""
    patches = MUTANTS[name].patches() if name else ()
    before = [(where, attribute, getattr(where, attribute)) for where, attribute, _ in patches]
    try:
        for where, attribute, patched in patches:
            setattr(where, attribute, patched)
        yield
    finally:
        for where, attribute, original in before:
            setattr(where, attribute, original)


# --- fencing


def _fence_on_request() -> tuple[Patch, ...]:
    fence = Controller.fence

    def hasty(self: Controller, action: Any, transition_key: str, *rest: Any, **more: Any) -> list[Effect]:
        effects = fence(self, action, transition_key, *rest, **more)
        return [*effects, *self.confirmed_off(action.node or "", "off", transition_key)]

    return ((Controller, "fence", hasty),)


def _believe_failed_fencing() -> tuple[Patch, ...]:
    on_fenced = Controller.on_fenced

    def trusting(self: Controller, token: int, ok: bool, text: str, now_ms: int) -> list[Effect]:
        return on_fenced(self, token, True, text, now_ms)

    return ((Controller, "on_fenced", trusting),)


def _never_fence() -> tuple[Patch, ...]:
    updates_for = membership.updates_for

    def forgiving(document: Any, view: Any, *rest: Any) -> list[Update]:
        return [
            replace(update, expected="down") if isinstance(update, NodeState) and not update.in_ccm else update
            for update in updates_for(document, view, *rest)
        ]

    return ((membership, "updates_for", forgiving),)


# --- acknowledged changes


def _acknowledge_before_write() -> tuple[Patch, ...]:
    def hasty(self: CibReplica, number: int) -> list[Any]:
        return [self._end(number)]

    return ((CibReplica, "_settle", hasty),)


def _acknowledge_own_disk() -> tuple[Patch, ...]:
    def selfish(self: CibReplica, number: int) -> list[Any]:
        return [self._end(number)] if self._me in self._pending[number].durable else []

    return ((CibReplica, "_settle", selfish),)


def _highest_version() -> tuple[Patch, ...]:
    def newest(facts: Any) -> int:
        return int(max(facts, key=lambda each: (each.version, -each.node_id)).node_id)

    return ((joining, "best_cib", newest),)


def _keep_nothing_aside() -> tuple[Patch, ...]:
    perform = Replication._perform

    def careless(self: Replication, effects: list[Any]) -> None:
        perform(self, [effect for effect in effects if not isinstance(effect, KeepAside)])

    return ((Replication, "_perform", careless),)


# --- one DC, one history


def _two_dcs() -> tuple[Patch, ...]:
    check_synced = Controller._check_synced

    def vain(self: Controller, now_ms: int) -> list[Effect]:
        if self._join is not None and self._join.agreement is not None:
            self._join.agreement = replace(self._join.agreement, dc=self.me.node_id)
        return check_synced(self, now_ms)

    return ((Controller, "_check_synced", vain),)


def _forget_pending() -> tuple[Patch, ...]:
    return ((Coordinator, "_under_way", lambda self, action: None),)


def _lose_undelivered() -> tuple[Patch, ...]:
    return ((Outbox, "again", lambda self, changes: None),)


# --- the transition engine


def _no_result() -> tuple[Patch, ...]:
    publish = Controller.publish

    def mute(self: Controller, changes: Changes) -> list[Effect]:
        return publish(self, replace(changes, results=()))

    return ((Controller, "publish", mute),)


def _ignore_inputs() -> tuple[Patch, ...]:
    init = Transition.__init__

    def eager(self: Transition, graph: Graph, *rest: Any) -> None:
        free = tuple(replace(synapse, inputs=()) for synapse in graph.synapses)
        init(self, replace(graph, synapses=free), *rest)

    return ((Transition, "__init__", eager),)


def _ignore_abort() -> tuple[Patch, ...]:
    return ((Transition, "abort", lambda self, priority, reason: None),)


# --- the executor


def _leave_orphans() -> tuple[Patch, ...]:
    async def careless(self: Executing) -> None:
        from crm.daemon.clock import epoch_s, now_ms

        self._perform(self.core.restore(self._files.load(), now_ms(), epoch_s()))

    return ((Executing, "begin", careless),)


def _trust_in_flight() -> tuple[Patch, ...]:
    persist = Executor._persist

    def calm(self: Executor, resource: Any) -> Any:
        running, resource.running = resource.running, None
        effect = persist(self, resource)
        resource.running = running
        return effect

    return ((Executor, "_persist", calm),)


MUTANTS: Final = {
    mutant.name: mutant
    for mutant in (
        Mutant("fence-on-request", "a node counts as off when its fencing was asked for", _fence_on_request),
        Mutant("believe-failed-fencing", "fencing that failed counts as confirmed", _believe_failed_fencing),
        Mutant("never-fence", "a lost node counts as one that left on purpose", _never_fence),
        Mutant("acknowledge-before-write", "a change is acknowledged when it is applied", _acknowledge_before_write),
        Mutant("acknowledge-own-disk", "a change is acknowledged when it is on one disk", _acknowledge_own_disk),
        Mutant("highest-version", "after a partition the CIB with the highest version is taken", _highest_version),
        Mutant("keep-nothing-aside", "a configuration that is not taken is thrown away", _keep_nothing_aside),
        Mutant("two-dcs", "each member takes itself for the DC", _two_dcs),
        Mutant("forget-pending", "the next decision does not know of operations under way", _forget_pending),
        Mutant("lose-undelivered", "what was not delivered is not sent again", _lose_undelivered),
        Mutant("no-result", "the end of an action is not told", _no_result),
        Mutant("ignore-inputs", "actions do not wait for those before them", _ignore_inputs),
        Mutant("ignore-abort", "a transition goes on whatever happens", _ignore_abort),
        Mutant("leave-orphans", "agents of a killed crm are not ended", _leave_orphans),
        Mutant("trust-in-flight", "an operation under way is not written down before it runs", _trust_in_flight),
    )
}
