"""The controller of one node: joins views, keeps the status section, obeys and, when elected, directs.

Theory of operation. Inputs are what messaging delivers, what the executor and the fencer report, and the time; the answer to each is
a list of effects, to be carried out in order. Everything that all members must know travels as a multicast and takes effect when it
is *delivered*, at the sender too: so all members see one history, and the next DC knows what the last one knew.

In a view: announce own facts; when all have spoken, take the agreed CIB if ours differs, tell our history if it is lacking, and be synchronised.
Only then are own changes sent (they wait in the outbox), orders obeyed and, at the DC, decisions made. A change that was not delivered
because the view ended is sent again in the next one, if it is still about this node; an order that was not delivered never existed.

An operation's result, its fail count and the end of its action are one message, so none is known without the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from crm.attributes.absent import AbsentNotes
from crm.attributes.table import AttributeTable
from crm.cib import xml
from crm.controller import failures, membership, properties, status
from crm.controller.dc import Coordinator, Memory
from crm.controller.effects import (
    Acknowledge,
    Answer,
    CibPort,
    Effect,
    Execute,
    ExecutorPort,
    Forget,
    KeepAttributes,
    KeepTable,
    Leave,
    Record,
    Refused,
    Synchronised,
)
from crm.controller.election import Facts
from crm.controller.fencing import FencingRequests, changes_when_off, incarnation_in
from crm.controller.graph import Action, ActionKind, Graph
from crm.controller.join import Agreement, Join, Stage
from crm.controller.messages import (
    Announcement,
    Changes,
    CibCopy,
    MessageError,
    MyHistory,
    Order,
    Orders,
    Result,
    decode,
)
from crm.controller.outbox import Outbox
from crm.controller.promises import Promises, concerned
from crm.controller.status import (
    Attributes,
    EraseNode,
    ForgetOperation,
    ForgetResource,
    History,
    Operation,
    Update,
)
from crm.controller.types import Identity, OperationReport, Settings
from crm.events import causes as causal
from crm.events.causes import Causes
from messaging.types import View

DEADTIME_SLACK_MS: Final = 50
"""Of the failure detector's deadtime: its clock and ours are read at different moments."""


class Controller:
    """See the module's text. `now_ms` is monotonic; `epoch_s` is wall clock, for what is recorded."""

    def __init__(self, me: Identity, cib: CibPort, executor: ExecutorPort, settings: Settings | None = None) -> None:
        self.me = me
        self.settings = settings or Settings()
        self._cib_lost = self.settings.cib_lost
        self.view: View | None = None
        self.dc: int | None = None
        self.coordinator: Coordinator | None = None
        self.leaving = False
        self._cib = cib
        self._executor = executor
        self._join: Join | None = None
        self._memory = Memory(me.crm_id, me.name)
        self._orders: dict[str, Order] = {}
        self._outbox = Outbox(str(me.node_id))
        self._promises = Promises(me.node_id)
        self._renewed: set[int] = set()
        """Members that are not those of the last synchronised view, or have been away from it."""
        self._adopted = False
        """The document was replaced since the last synchronised view."""
        self.open = False
        self._fencing = FencingRequests(self.settings)
        self._last_synced: View | None = None
        self._seniority = 0
        self._my_attributes: dict[str, str] = dict(self.settings.attributes)
        self._shutdown_until_ms: int | None = None
        self._silent_since: dict[int, int] = {}
        self._died: set[int] = set()
        self.refused: dict[int, str] = {}
        """Nodes that were too old to be taken in when they came last, with the reason."""
        self.attributes = AttributeTable(str(me.node_id), self.settings.table)
        self._absent = AbsentNotes()
        self._kept_table: Mapping[str, Any] = self.settings.table

    def relist(
        self, nodes: frozenset[str], votes: Mapping[int, int], expected_votes: int, weights: Mapping[str, int]
    ) -> None:
        """Nodes were added to or removed from the configuration, or renamed."""
        self.settings = replace(
            self.settings, expected_nodes=nodes, votes=votes, expected_votes=expected_votes, weights=weights
        )
        self._fencing.use(self.settings)
        if self.coordinator is not None:
            self.coordinator.expected_nodes = nodes

    # --- what there is to know ---------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        return self._join is not None and self._join.stage is Stage.SYNCED

    @property
    def state(self) -> str:
        """The controller's state in Pacemaker's names."""
        if self.leaving:
            return "S_STOPPING"
        if self._join is None:
            return "S_STARTING"
        if not self.synced:
            return "S_PENDING"
        return self.coordinator.state if self.coordinator is not None else "S_NOT_DC"

    @property
    def busy(self) -> bool:
        """Something is decided, under way or waiting to be sent, as far as this node can know."""
        coordinator = self.coordinator
        return not self.synced or not self._outbox.empty or (coordinator is not None and not coordinator.idle)

    @property
    def unsent(self) -> bool:
        """Changes of this node that have not been delivered yet."""
        return self._outbox.unsent

    @property
    def shutting_down(self) -> bool:
        return self._shutdown_until_ms is not None or self.leaving

    def own_attributes(self) -> dict[str, str]:
        """This node's transient attributes."""
        return status.transient_attributes(self._cib.document, str(self.me.node_id))

    def describe(self) -> dict[str, Any]:
        """For `status`: JSON values."""
        coordinator = self.coordinator
        transition = None if coordinator is None else coordinator.transition
        return {
            "state": self.state,
            "dc": self.dc,
            "synced": self.synced,
            "without_cib": list(self.without_cib()),
            "refused": list(self.refused.values()),
            "feature_sets": self.feature_sets(),
            "orders": sorted(f"{order.action.key} on {order.action.node}" for order in self._orders.values()),
            "fencing": sorted(self._fencing.targets),
            "transition": None
            if transition is None
            else {
                "number": transition.number,
                "in_flight": [f"{action.key} on {action.node}" for action in transition.in_flight],
                "aborted": transition.aborted.reason if transition.aborted else None,
            },
        }

    def feature_sets(self) -> dict[str, str]:
        """Of each member of the view, as far as they have spoken; different ones while an upgrade is under way."""
        facts = {} if self._join is None else self._join.facts
        return {each.name: each.feature_set for each in sorted(facts.values(), key=lambda each: each.node_id)}

    def next_wake_ms(self) -> int | None:
        times = [self._shutdown_until_ms]
        if self.coordinator is not None:
            times += [self.coordinator.next_wake_ms(), self.attributes.next_wake_ms()]
        return min((time for time in times if time is not None), default=None)

    # --- messaging ---------------------------------------------------------------------------------------------------

    def on_view(self, view: View, now_ms: int) -> list[Effect]:
        """A view was installed: begin to join it."""
        if self.synced and self.view is not None:
            self._last_synced = self.view
        self._remember_attributes()
        was_dc = self.dc == self.me.node_id
        self._outbox.on_view()
        self._promises.on_view(view.group)
        self._fencing.on_view(view)
        gone = {member.node_id for member in view.left}
        if self.view is not None:
            gone |= self.view.group - view.group
        self.attributes.on_view(map(str, gone))
        self._renewed |= gone
        self.open = False
        self.view = view
        self.coordinator = None
        self._memory.on_view(view, now_ms)
        dead = self.settings.deadtime_ms - DEADTIME_SLACK_MS
        self._died |= {node for node, since in self._silent_since.items() if now_ms - since >= dead}
        self._died -= view.member_ids
        for node_id in view.member_ids:
            self._silent_since.pop(node_id, None)
        fields = {
            "id": str(view.view_id),
            "members": [member.name for member in view.members],
            "group": sorted(view.group),
            "quorate": view.quorate,
            "reason": view.reason,
            "joined": [member.name for member in view.joined],
            "left": [member.name for member in view.left],
            # In both, since it did not come along from our view; but it is the same life of the node.
            "stayed": [member.name for member in view.left if member in view.joined],
        }
        effects: list[Effect] = [Record("view", fields, causal.of_view(view.view_id)), Synchronised(False)]
        if self.me.node_id not in view.group:
            self._join = None
            self._memory.ordered.clear()  # what ends meanwhile is told to others
            self.dc = None
            return effects
        self._join = Join(view.group)
        effects.append(self._outbox.multicast(Announcement(self._facts(view, was_dc))))
        return effects

    def on_delivered(self, sender: int, payload: bytes, tag: int | None, epoch_s: int, now_ms: int) -> list[Effect]:
        """A controller message in its place of the total order; `tag` when it is ours."""
        own = None if tag is None else self._outbox.landed(tag)
        try:
            message = decode(payload)
        except MessageError as error:
            return [Record("bad_message", {"sender": sender, "error": str(error)})]
        if self._join is None:
            return []
        match message:
            case Announcement(facts):
                effects = self._on_facts(facts, now_ms)
            case CibCopy():
                effects = self._on_cib_copy(sender, message, now_ms)
            case MyHistory(updates):
                unsettled = status.unsettled_arrivals(self._cib.document, updates)
                self._join.unsettled += unsettled
                self._cib.apply_status([*updates, *self._join.unsettled])
                self._join.on_history(sender)
                mine = str(self.me.node_id)
                effects = [Forget(each.resource_id) for each in unsettled if each.node_id == mine]
                effects += self._check_synced(now_ms)
            case Changes():
                effects = self._on_changes(sender, message, now_ms)
            case Orders():
                effects = self._on_orders(message, now_ms)
        if isinstance(own, Changes) and own.promises:
            effects += self._answers(self._promises.delivered(own.number, own.promises))
        return effects + self._flush()

    def on_peer_late(self, node_id: int, silent_ms: int, now_ms: int) -> list[Effect]:
        """A node is silent. When it is gone after deadtime, it died; one that is gone before has been restarted."""
        self._silent_since[node_id] = now_ms - silent_ms
        return []

    def on_undelivered(self, tag: int, now_ms: int) -> list[Effect]:
        """One of ours died with its view."""
        message = self._outbox.landed(tag)
        effects: list[Effect] = []
        match message:
            case Changes():
                self._outbox.again(message)
            case Orders():
                # It may come after the view that ended it, when nobody coordinates: nothing may wait for such an order.
                for order in message.orders:
                    self._memory.forget(order.transition_key)
                if self.coordinator is not None:
                    effects = self.coordinator.on_not_sent(message, now_ms)
            case _:
                pass
        # Within its own view there is no point in sending again: the next view is about to come.
        return effects + ([] if self._outbox.of_this_view(tag) else self._flush())

    def on_disconnected(self, now_ms: int) -> list[Effect]:
        """Messaging is gone, and with it the view. What runs here goes on; a new view begins a new join."""
        if self.synced and self.view is not None:
            self._last_synced = self.view
        self._remember_attributes()
        if self.view is not None:
            self.attributes.on_view(map(str, self.view.member_ids))
            self._renewed |= self.view.member_ids
        self._promises.on_view(frozenset())
        self.view = None
        self.dc = None
        self.coordinator = None
        self._join = None
        self._outbox.forget_all()
        self._memory.ordered.clear()  # what ends meanwhile is told to others
        self.open = False
        return [Synchronised(False)]

    # --- joining -----------------------------------------------------------------------------------------------------

    def _facts(self, view: View, was_dc: bool) -> Facts:
        member = view.member(self.me.node_id)
        before = self._last_synced
        return Facts(
            node_id=self.me.node_id,
            name=self.me.name,
            incarnation=member.incarnation if member is not None else 0,
            crm_id=self.me.crm_id,
            feature_set=self.settings.feature_set,
            version=self._cib.version,
            standing=self._cib.standing,
            digest=self._cib.digest(),
            quorate_before=before is not None and before.quorate,
            peers_before=0 if before is None else len(before.group),
            was_dc=was_dc,
            seniority=self._seniority,
            # Who has taken another's document and was interrupted before it told its history owes that still.
            history_current=(before is not None and not self._adopted) or self._nothing_to_tell(),
            leaving=self.leaving,
            action_limit=self.settings.action_limit,
            cib_lost=self._cib_lost,
            same_boot=before is not None or self.settings.resumes,
            cib_feature_set=self._cib.document.get(xml.FEATURES, ""),
        )

    def _nothing_to_tell(self) -> bool:
        recorded = status.history_of(self._cib.document, str(self.me.node_id))
        return recorded is None and self._executor.history() is None and not self._my_attributes

    def _on_facts(self, facts: Facts, now_ms: int) -> list[Effect]:
        assert self._join is not None
        agreement = self._join.on_facts(facts)
        if agreement is None:
            return self._refuse() + self._say_without_cib()
        self.dc = agreement.dc
        effects: list[Effect] = []
        if agreement.transfer:
            if agreement.source == self.me.node_id:
                effects.append(self._outbox.multicast(CibCopy(agreement.digest, self._cib.copy())))
            return effects
        return self._tell_history(agreement) + self._check_synced(now_ms)

    def _refuse(self) -> list[Effect]:
        """Members that are too old leave; everybody knows whom and why."""
        join = self._join
        effects: list[Effect] = []
        for node_id in sorted(frozenset() if join is None else join.refused):
            assert join is not None
            facts = join.facts[node_id]
            text = (
                f"{facts.name} has feature set {facts.feature_set}, and the cluster works with {join.needed} by now; "
                f"expected at least that: a newer version of Vigil on {facts.name}"
            )
            self.refused[node_id] = text
            effects.append(Record("member_refused", {"peer": facts.name, "text": text}, self._view_cause))
            if node_id == self.me.node_id:
                effects.append(Refused(text))
        return effects

    @property
    def _view_cause(self) -> str:
        return causal.of_view(self.view.view_id if self.view is not None else "")

    def _say_without_cib(self) -> list[Effect]:
        lost = self.without_cib()
        if not lost:
            return []
        return [Record("cib_missing", {"lost_by": list(lost), "text": "waiting for a member that has the CIB"})]

    def without_cib(self) -> tuple[str, ...]:
        """Names of the members that have lost their CIB while nobody in the view can give them one: nothing is decided."""
        lost = frozenset() if self._join is None else self._join.without_cib
        return () if self.view is None else tuple(each.name for each in self.view.members if each.node_id in lost)

    def _on_cib_copy(self, sender: int, message: CibCopy, now_ms: int) -> list[Effect]:
        assert self._join is not None
        agreement = self._join.agreement
        if agreement is None or not self._join.on_cib(sender):
            return []
        effects: list[Effect] = []
        if self.me.node_id in agreement.lacking:
            members = () if self.view is None else self.view.members
            names = {member.node_id: member.name for member in members}
            fields = {"from": names.get(sender, str(sender)), "instead_of": str(self._cib.version)}
            effects.append(Record("cib_taken", fields, causal.of_view(self.view.view_id if self.view else "")))
            self._cib.adopt(message.copy)
            self._adopted = True
        return effects + self._tell_history(agreement) + self._check_synced(now_ms)

    def _tell_history(self, agreement: Agreement) -> list[Effect]:
        if self.me.node_id not in agreement.histories:
            return []
        identity, name = str(self.me.node_id), self.me.name
        updates: list[Update] = [History(identity, name, self._executor.history())]
        updates.append(Attributes(identity, name, dict(self._my_attributes), replace=True))
        for order in self._orders.values():
            pending = status.pending(order.action, order.transition_key)
            updates += [] if pending is None else [pending]
        return [self._outbox.multicast(MyHistory(tuple(updates)))]

    def _check_synced(self, now_ms: int) -> list[Effect]:
        join, view = self._join, self.view
        if join is None or view is None or join.stage is not Stage.SYNCED or join.agreement is None:
            return []
        if self._last_synced is view:
            return []
        self._last_synced = view
        self._cib_lost = False
        for node_id in view.group:
            self.refused.pop(node_id, None)
        self._seniority += 1
        agreement = join.agreement
        self._memory.on_synchronised(join.facts.values())
        name = next((member.name for member in view.members if member.node_id == agreement.dc), str(agreement.dc))
        fields = {"dc": name, "cib": str(self._cib.version), "source": agreement.source}
        effects: list[Effect] = [Record("dc", fields, causal.of_view(view.view_id)), *self._open_if_allowed()]
        self._note_startup(agreement, view, now_ms)
        if agreement.dc == self.me.node_id:
            self.coordinator = Coordinator(
                me=self.me.node_id,
                cib=self._cib,
                view=view,
                facts=join.facts,
                memory=self._memory,
                hands=self,
                expected_nodes=self.settings.expected_nodes,
                died=frozenset(self._died),
                deadtime_ms=self.settings.deadtime_ms,
            )
            effects += self.coordinator.begin(now_ms)
        effects.append(KeepAttributes())
        effects += self._set_for_absent(join.facts.values())
        return effects + self._tell_attributes(now_ms) + self._resume_promises(agreement)

    def _tell_attributes(self, now_ms: int) -> list[Effect]:
        """Those that have come are told what is held back and what is private; the DC tells it of nodes without a daemon too."""
        self.attributes.resume(now_ms)
        members = [] if self.view is None else [str(number) for number in self.view.member_ids]
        told = self.attributes.tell(members if self.coordinator is not None else ())
        return self.publish(Changes(reason="attributes of a member", expected=True, words=told)) if told else []

    def _set_for_absent(self, everybody: Iterable[Facts]) -> list[Effect]:
        """What was set for those who have come back while they were away: the DC sets it again."""
        effects: list[Effect] = []
        for facts in everybody:
            identity = str(facts.node_id)
            values = self._absent.of(identity)
            if values and not facts.same_boot:
                self._absent.forget(identity)
            elif values and self.coordinator is not None:
                effects += self.set_attributes(identity, facts.name, values, f"set while {facts.name} was away")
        return effects

    def _note_absent(self, updates: Iterable[Update]) -> None:
        view = self.view
        if view is None:
            return
        here = {str(member) for member in view.group}
        for update in updates:
            if isinstance(update, EraseNode):
                self._absent.forget(update.node_id)
            elif isinstance(update, Attributes) and update.node_id in here:
                self._absent.drop(update.node_id, update.values)
            elif isinstance(update, Attributes) and view.quorate and not self._is_remote(update.node_id):
                self._absent.note(update.node_id, update.values)

    def _is_remote(self, node_id: str) -> bool:
        """It has no crm that could come back."""
        state = status.node_state(self._cib.document, node_id)
        return not node_id.isdigit() or (state is not None and state.get("remote_node") == "true")

    def _note_startup(self, agreement: Agreement, view: View, now_ms: int) -> None:
        """Every member notes until when the others are awaited: any of them may be the DC before they are all there."""
        document = self._cib.document
        if not membership.awaited(document, view, self.settings.expected_nodes):
            self._memory.startup_until_ms = None
        elif self._seniority == 1 and agreement.cold_start:
            self._memory.startup_until_ms = now_ms + properties.dc_deadtime_ms(document)

    def _open_if_allowed(self, told: bool = False) -> list[Effect]:
        """Let changes of the configuration through, from the same place in the order at every member."""
        if self.open or self.view is None:
            return []
        wanted, votes = self.settings.expected_nodes, self.settings.weights
        if not told and not membership.may_change(self._cib.document, self.view, wanted, votes):
            return []
        self.open = True
        return [Synchronised(True)]

    def _remember_attributes(self) -> None:
        """Our transient attributes are ours to keep: another partition's CIB may not know them."""
        if self._last_synced is not None:
            self._my_attributes = self.own_attributes()

    # --- changes and orders ------------------------------------------------------------------------------------------

    def _on_changes(self, sender: int, message: Changes, now_ms: int) -> list[Effect]:
        updates = list(message.updates)
        effective = list(self._cib.apply_status(updates))
        if message.words:
            words = self._from_words(message, now_ms)
            updates += words
            effective += self._cib.apply_status(words)
        self._note_absent(updates)
        effects: list[Effect] = self._keep_table() if message.words else []
        for result in message.results:
            self._orders.pop(result.transition_key, None)
            self._memory.forget(result.transition_key)  # it may be one of ours, of a view in which this was the DC
        effects += self._open_if_allowed(message.opens)
        effects += self._about_me(sender, message, effective)
        if message.number and sender != self.me.node_id:
            effects.append(Acknowledge(sender, message.number))
        if sender == self.me.node_id and not message.results and not message.expected:
            effects.append(Record("change", {"reason": message.reason}, causal.name_of(message.causes)))
        if self.coordinator is not None:
            effects += _attributes_record(message, effective)
            effects += self.coordinator.on_changes(sender, message, effective, now_ms)
        return effects

    def _keep_table(self) -> list[Effect]:
        own = self.attributes.own()
        if own == self._kept_table:
            return []
        self._kept_table = own
        return [KeepTable(own)]

    def _from_words(self, message: Changes, now_ms: int) -> list[Update]:
        """What is to be written of attributes now: one update for each node, however many there are."""
        document = self._cib.document
        known: dict[str, dict[str, str]] = {}

        def current(node_id: str, name: str) -> str | None:
            if node_id not in known:
                known[node_id] = status.transient_attributes(document, node_id)
            return known[node_id].get(name)

        wanted: dict[tuple[str, str], dict[str, str | None]] = {}
        for write in self.attributes.apply(message.words, current, now_ms):
            wanted.setdefault((write.node_id, write.uname), {})[write.name] = write.value
        return [Attributes(node_id, uname, values) for (node_id, uname), values in wanted.items()]

    def _about_me(self, sender: int, message: Changes, effective: Sequence[Update]) -> list[Effect]:
        """What others changed about this node, its executor must hear; what its own executor reported, it knows."""
        mine = str(self.me.node_id)
        effects: list[Effect] = []
        reported = sender == self.me.node_id and bool(message.results)
        for update in effective:
            match update:
                case ForgetResource(node_id, resource) if node_id in (mine, None) and not reported:
                    effects.append(Forget(resource))
                case ForgetOperation(node_id, resource, entry) if node_id == mine and not reported:
                    effects.append(Forget(resource, entry))
                case _:
                    pass
        if any(isinstance(update, Attributes) and update.node_id == mine for update in effective):
            effects.append(KeepAttributes())
        return effects

    def _on_orders(self, message: Orders, now_ms: int) -> list[Effect]:
        self._cib.apply_status(message.updates)
        effects: list[Effect] = []
        for order in message.orders:
            if order.action.executed_on != self.me.name:
                continue
            if order.action.kind is ActionKind.CLUSTER and order.action.task == "do_shutdown":
                self.leaving = True
                effects.append(Leave("the cluster has moved everything off this node"))
            else:
                self._orders[order.transition_key] = order
                fields = {
                    "operation": order.action.task,
                    "resource": order.action.resource.id if order.action.resource else "",
                    "interval_ms": order.action.interval_ms,
                    "number": message.transition,
                }
                effects += [Record("action", fields, order.cause), Execute(order)]
        return effects

    def on_operation(self, report: OperationReport, epoch_s: int, now_ms: int) -> list[Effect]:
        """The executor finished an operation: publish its result, its fail count and the end of its action as one."""
        order = self._orders.pop(report.transition_key, None)
        # What nobody waits for (a monitor that found a change) happened of itself.
        cause = order.cause if order is not None else self._memory.new_cause("op")
        identity, name = str(self.me.node_id), self.me.name
        updates: list[Update] = []
        if report.resource is not None:
            for entry in (report.entry, report.failure_entry):
                if entry is not None:
                    updates.append(Operation(identity, name, report.resource, entry))
            forgotten = list(report.forget)
            if report.entry is None and report.failure_entry is None:
                forgotten.append(f"pending-{report.resource.id}_{report.task}_{report.interval_ms}")
            updates += [ForgetOperation(identity, report.resource.id, entry) for entry in forgotten]
            if report.forget_resource:
                updates.append(ForgetResource(identity, report.resource.id))
            if failures.counts_as_failure(
                report.task, report.interval_ms, report.op_status, report.rc, report.target_rc
            ):
                updates.append(self._failure(report, epoch_s))
        result = Result(report.transition_key, report.ok, report.text or f"{report.task} gave {report.rc}")
        fields = {
            "operation": report.task,
            "resource": report.resource.id if report.resource else "",
            "interval_ms": report.interval_ms,
            "rc": report.rc,
            "status": report.op_status,
            "ok": report.ok,
            "target_rc": report.target_rc,
            "exec_ms": _exec_ms(report),
            "text": report.text,
        }
        changes = Changes(tuple(updates), (result,), causes=(cause,), load_percent=report.load_percent)
        record = Record("action_result", fields, cause)
        if report.postponed:
            shown = ("operation", "resource", "interval_ms", "text")
            record = Record("action_postponed", {name: fields[name] for name in shown}, cause)
        return [record, *self.publish(changes)]

    def _failure(self, report: OperationReport, epoch_s: int) -> Attributes:
        assert report.resource is not None
        identity = str(self.me.node_id)
        present = status.transient_attributes(self._cib.document, identity)
        for waiting in self._outbox.waiting_attributes():  # counts that are on their way count too
            present.update({key: value for key, value in waiting.values.items() if value is not None})
        wanted = failures.failure_attributes(
            present,
            report.resource.id,
            report.task,
            report.interval_ms,
            start_is_fatal=properties.start_failure_is_fatal(self._cib.document),
            epoch_s=epoch_s,
        )
        return Attributes(identity, self.me.name, wanted)

    def publish(self, changes: Changes) -> list[Effect]:
        """Send changes to everybody when that is possible; they take effect when they are delivered."""
        if not changes.causes and not changes.expected:
            changes = replace(changes, causes=(self._memory.new_cause("change"),))
        self._outbox.add(changes)
        return self._flush()

    # --- what clients wait for ---------------------------------------------------------------------------------------

    def promise(self, changes: Changes) -> tuple[int, list[Effect]]:
        """Publish a client's changes; `Answer` with this ticket follows when every member has them."""
        asked = self._promises.ask(changes)
        return asked.promises[0], self.publish(asked)

    def on_acknowledged(self, member: int, number: int) -> list[Effect]:
        """A member of this view has our messages up to this number."""
        return self._answers(self._promises.acknowledged(member, number))

    def _resume_promises(self, agreement: Agreement) -> list[Effect]:
        renewed = frozenset(self._renewed | agreement.histories)
        resumed = self._promises.resume(kept_document=not self._adopted, renewed=renewed)
        self._renewed.clear()
        self._adopted = False
        effects: list[Effect] = []
        for ticket in resumed.doubtful:
            self._promises.close(ticket)
            effects.append(Answer(ticket, "the members parted meanwhile; it is not known whether it was counted"))
        for changes in resumed.again:
            effects += self.publish(changes)
        return effects

    def _answers(self, tickets: Sequence[int]) -> list[Effect]:
        """Every member of this view has these. A part of the cluster without quorum promises only what its own members keep for themselves."""
        effects: list[Effect] = []
        for ticket in tickets:
            asked = self._promises.asked(ticket)
            self._promises.close(ticket)
            view = self.view
            here = set() if view is None else {str(member) for member in view.group}
            problem = ""
            if asked.words and (view is None or not view.quorate) and not concerned(asked) <= here:
                problem = "this part of the cluster has no quorum; the other part may not hear of it"
            effects.append(Answer(ticket, problem))
        return effects

    def order(self, orders: Orders) -> list[Effect]:
        return [self._outbox.multicast(orders)]

    def set_attributes(
        self, node_id: str, uname: str, values: Mapping[str, str | None], reason: str, causes: Causes = ()
    ) -> list[Effect]:
        """Transient attributes of any node, from a client or from an agent of this node."""
        return self.publish(Changes((Attributes(node_id, uname, dict(values)),), (), reason, causes=causes))

    def _flush(self) -> list[Effect]:
        return self._outbox.flush() if self.synced else []

    # --- fencing -----------------------------------------------------------------------------------------------------

    def fence(self, action: Action, transition_key: str, delay_ms: int, cause: str) -> list[Effect]:
        return self._fencing.for_transition(action, transition_key, delay_ms, self.view, cause)

    def fence_on_request(self, target: str, how: str) -> list[Effect]:
        """Fencing that somebody asked for; one that is under way already is the answer to this request too."""
        return self._fencing.on_request(target, how, self.view, self._memory.new_cause("fence"))

    def on_fencing_acts(self, target: str) -> int | None:
        """A fence device begins to act: which life of the target it is going to end."""
        return self._fencing.acts(target, self.view)

    def on_fenced(self, token: int, ok: bool, text: str, now_ms: int) -> list[Effect]:
        """The fencer is done with a request of ours."""
        job = self._fencing.ended(token)
        if job is None:
            return []
        if ok and job.outlived and incarnation_in(self.view, job.target) is None:
            ok, text = False, f"{job.target} came back after that ({text}), and has gone again since"
        fields = {"target": job.target, "action": job.action, "text": text}
        effects: list[Effect] = [Record("fenced" if ok else "fence_failed", fields, job.cause)]
        if ok:
            causes = (job.cause,) if job.cause else ()
            effects += self.confirmed_off(job.target, job.action, job.transition_key, job.incarnation, causes)
        if self.coordinator is not None:
            effects += self.coordinator.on_fenced(job.transition_key, job.target, ok, text, now_ms, job.cause)
        return effects

    def confirmed_off(
        self,
        target: str,
        action: str,
        transition_key: str = "",
        incarnation: int | None = None,
        causes: Causes = (),
    ) -> list[Effect]:
        """A node is known to be off (fenced, or on the operator's word): what it ran is no more."""
        document, view = self._cib.document, self.view
        return self.publish(changes_when_off(document, view, target, action, transition_key, incarnation, causes))

    # --- from the daemon ---------------------------------------------------------------------------------------------

    def on_decision(self, number: int, graph: Graph | str, epoch_ms: int, now_ms: int) -> list[Effect]:
        """The policy engine's answer to `Decide`: a graph, or what went wrong."""
        if self.coordinator is None:
            return []
        return self.coordinator.on_decision(number, graph, epoch_ms, now_ms)

    def on_configuration_changed(self, reason: str, now_ms: int, cause: str = "") -> list[Effect]:
        """The replicated configuration changed by a client's hand (delivered, at every member)."""
        if self.coordinator is None:
            return []
        return self.coordinator.on_configuration_changed(reason, now_ms, cause)

    def request_shutdown(self, epoch_s: int, now_ms: int) -> list[Effect]:
        """Ask the cluster to move everything off this node; `Leave` follows, at the latest after shutdown-escalation."""
        if self.shutting_down:
            return []
        if self._join is None and not self._executor.active():
            self.leaving = True
            return [Leave("nothing runs here and there is no cluster to ask")]
        self._shutdown_until_ms = now_ms + properties.shutdown_escalation_ms(self._cib.document)
        values = {"shutdown": str(epoch_s)}
        cause = self._memory.new_cause("shutdown")
        record = Record("shutdown_requested", {"who": self.me.name}, cause)
        me = str(self.me.node_id)
        return [record, *self.set_attributes(me, self.me.name, values, "a node asks to shut down", (cause,))]

    def on_tick(self, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        if self._shutdown_until_ms is not None and self._shutdown_until_ms <= now_ms and not self.leaving:
            self.leaving = True
            self._shutdown_until_ms = None
            effects.append(Leave("shutdown-escalation is over"))
        if self.coordinator is not None:
            effects += self.coordinator.on_tick(now_ms)
            for release in self.attributes.due(now_ms):
                effects += self.publish(Changes(reason=f"{release.name} was set", words=(release,)))
        return effects + self._flush()


def _exec_ms(report: OperationReport) -> int:
    """How long the agent took, as its history entry has it."""
    return int((report.entry or report.failure_entry or {}).get("exec-time", "0"))


def _attributes_record(message: Changes, effective: Sequence[Update]) -> list[Effect]:
    """Transient attributes that changed: node, name and value (None: deleted)."""
    values = [
        [update.uname, name, value]
        for update in effective
        if isinstance(update, Attributes)
        for name, value in update.values.items()
    ]
    return [Record("attributes", {"values": values}, causal.name_of(message.causes))] if values else []
