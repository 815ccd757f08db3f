"""One member's copy of the CIB, kept equal to the others' and on disk before anybody is told that a change was made.

Theory of operation. A change is multicast; every member applies it when it is delivered, in the total order of the view, to the
same document, with the same result (`crm.cib.operations`). A change of the configuration is then written to disk, and
each member tells the one that asked (`Durable`). That one answers its client when every member of the view that it is in by then has
done so: a member that leaves is waited for no longer, one that joins must first have written the agreed document. Changes of the status are not written: it
describes what the members know, and each tells it again when it joins.

*Batches*: the daemon feeds what has arrived and then calls `flush()`. However many changes that was, one document is written and one message
goes to each member that asked; while one write is under way, the next batch gathers.

*Views*: when a view is installed the copies may differ. The controllers agree on one (`crm.controller.join`), and say `synchronised()` at the same
place in the total order everywhere. Until then delivered changes wait; they are applied then, on the agreed document. If the view
changes before, those that waited are dropped by everybody, and each member multicasts its own again.

*After a partition* one side's configuration is taken (`adopt`): that with the highest `standing` (`crm.cib.lineage`). A copy whose changes are not all
in the one that was taken is handed out to be kept in a file.

The class does no I/O and knows no time: it returns effects, to be carried out in order (`Persist` before what follows from `on_persisted`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lxml import etree

from crm.cib import wire, xml
from crm.cib.editor import IdIndex
from crm.cib.lineage import Lineage, Standing
from crm.cib.operations import Applied, Check, Operation, Refusal, apply
from crm.cib.report import ReportItem
from crm.cib.verify import check_changes
from crm.cib.wire import Change, CibMessageError, Differs, Durable, Mark
from crm.cib.xml import Version
from crm.cib.xml import configuration_bytes as configuration_bytes

MAX_PENDING: Final = 10_000
"""Changes of this member's clients that may be under way at once."""
MAX_WAITING: Final = 50_000
"""Delivered changes that may wait for the view to be synchronised; beyond it, something is badly wrong."""
MAX_ATTEMPTS: Final = 5
"""How often a change is multicast again because views ended before it was delivered."""

_LINEAGE = "lineage "


# Effects


@dataclass(frozen=True, slots=True)
class Multicast:
    """To all members in total order. When messaging reports it undelivered, `on_undelivered(request)`."""

    payload: bytes
    request: int


@dataclass(frozen=True, slots=True)
class Send:
    node: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Persist:
    """Write `document` (canonical, without status) to stable storage, then call `on_persisted(ticket)`. One at a time."""

    ticket: int
    document: bytes
    version: Version
    digest: str
    lineage: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The end of a request. `error` is empty when it was done: `version` is the one that the change led to, `items` are warnings."""

    request: int
    version: Version
    error: str = ""
    message: str = ""
    items: tuple[ReportItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """The document changed. `sections` as in `Applied`; `everything`: another document took its place."""

    version: Version
    sections: frozenset[str]
    origin: int
    automatic: bool = False
    everything: bool = False

    @property
    def configuration(self) -> bool:
        return self.everything or bool(self.sections - {xml.STATUS, "cib"})


@dataclass(frozen=True, slots=True)
class KeepAside:
    """Keep a configuration that the cluster did not take, under this name, and tell people why."""

    name: str
    document: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """This member cannot go on as one: leave the group, and come back to be synchronised anew."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """For the log and the counters: something that should not happen, and did no harm."""

    code: str
    message: str


Effect = Multicast | Send | Persist | Reply | Changed | KeepAside | Withdraw | Notice

ApplyUpdates = Callable[[etree._Element, Iterable[Any]], Sequence[Any]]
"""Applies status updates to a document in place and gives back those that changed something."""


@dataclass(frozen=True, slots=True)
class GroupView:
    """The replica's part of a view. `gone`: members that left or did not come along, though they may be back at once."""

    sequence: int
    leader: int
    group: frozenset[int]
    quorate: bool
    gone: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Pending:
    """A request of a client of this member, from its multicast to its reply."""

    request: int
    operation: Operation
    automatic: bool
    attempts: int = 1
    mark: Mark | None = None
    version: Version = field(default_factory=Version)
    warnings: tuple[ReportItem, ...] = ()
    durable: set[int] = field(default_factory=set)
    """Members that have it on disk."""


@dataclass(slots=True)
class _Writing:
    ticket: int
    mark: Mark | None
    version: Version
    digest: str
    askers: frozenset[int]


class CibReplica:
    """See the module's text. `me` is this member's node id, `session` unique for each start of the process.

    `check` must be the same at all members: it decides with them whether a change is made.
    """

    def __init__(
        self,
        me: int,
        session: str,
        document: etree._Element,
        *,
        lineage: Lineage | None = None,
        check: Check | None = check_changes,
        apply_updates: ApplyUpdates | None = None,
    ) -> None:
        self._me = me
        self._session = session
        self._document = document
        self._ids = IdIndex(document)
        self._check = check
        self._apply_updates = apply_updates
        self._view: GroupView | None = None
        self._synchronised = False
        self._waiting: deque[tuple[Mark, int, Change]] = deque()
        self._pending: dict[int, _Pending] = {}
        self._next_number = 0
        self._numbers: dict[int, int] = {}
        self._lineage = Lineage() if lineage is None else lineage
        self._dirty = False
        self._mark: Mark | None = None
        self._askers: set[int] = set()
        self._writing: _Writing | None = None
        self._tickets = 0
        self._written: Durable | None = None
        self._durable: dict[int, Mark] = {}
        """Up to where each member has the changes of this view on disk. It may say so before this member has applied them itself."""
        self._disk_refuses = False
        self._digest: str | None = None

    # What there is to know

    @property
    def document(self) -> etree._Element:
        """The document itself, not a copy: to be read, and changed by nobody else."""
        return self._document

    @property
    def version(self) -> Version:
        return xml.version(self._document)

    @property
    def ready(self) -> bool:
        """Whether changes are applied as they are delivered."""
        return self._synchronised

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def lineage(self) -> Lineage:
        return self._lineage

    @property
    def standing(self) -> Standing:
        """Whose copy is to be taken when copies differ: the highest standing, among equal ones the highest version."""
        return self._lineage.standing

    def digest(self) -> str:
        """Of the whole document, status included."""
        if self._digest is None:
            self._digest = xml.digest(self._document)
        return self._digest

    # Requests of this member's clients

    def request(self, request: int, operation: Operation, *, automatic: bool = False) -> list[Effect]:
        """Asks the cluster for a change; a `Reply` with the same number follows, at once or later. `automatic`: made by the cluster itself."""
        if self._view is None:
            return [self._refusal(request, "unavailable", "this node is not part of a cluster yet")]
        if len(self._pending) >= MAX_PENDING:
            return [self._refusal(request, "unavailable", f"more than {MAX_PENDING} changes are under way")]
        if request in self._numbers:
            raise ValueError(f"request {request} is under way already")
        self._next_number += 1
        self._numbers[request] = self._next_number
        self._pending[self._next_number] = _Pending(request, operation, automatic)
        return [self._multicast(self._next_number)]

    def on_undelivered(self, request: int) -> list[Effect]:
        """The multicast of a request was not delivered and will not be: the view ended. It is sent again, a few times."""
        number = self._numbers.get(request)
        if number is None:
            return []
        return self._again(number)

    # What messaging delivers

    def on_view(self, view: GroupView) -> list[Effect]:
        """A view was installed. Delivered changes wait from here on until `synchronised()`."""
        self._view = view
        self._synchronised = False
        self._durable.clear()
        dropped = [change.number for _, sender, change in self._waiting if self._mine(sender, change)]
        self._waiting.clear()
        effects: list[Effect] = []
        for number in dropped:
            effects += self._again(number)
        for number in self._applied_numbers():
            self._pending[number].durable &= (view.group - view.gone) | {self._me}
        return effects

    def synchronised(self) -> list[Effect]:
        """All members have the same document now. To be called at the same place in the total order everywhere."""
        if self._view is None:
            raise ValueError("synchronised without a view")
        self._synchronised = True
        if self._view.quorate and self._lineage.provisional:
            self._lineage = self._lineage.confirmed((self._view.sequence, self._view.leader))
            self._dirty = True
        effects = self._announce()
        for number in self._applied_numbers():
            effects += self._settle(number)
        while self._waiting:
            effects += self._execute(*self._waiting.popleft())
        return effects

    def _announce(self) -> list[Effect]:
        """Everybody's changes of earlier views are in the agreed document: all are told when it is on disk here."""
        view = self._view
        if view is None:
            return []
        mark = Mark(view.sequence, view.leader, 0)
        if self._dirty or self._writing is not None:
            self._dirty = True
            self._mark = mark
            self._askers = set(view.group)
            return []
        # Without a digest: what is on disk was written in an earlier view, perhaps in another partition.
        payload = wire.encode(Durable(mark, self.version, ""))
        told: list[Effect] = [Send(node, payload) for node in sorted(view.group - {self._me})]
        return told + self._acknowledged(self._me, mark)

    def on_delivered(self, sequence: int, sender: int, payload: bytes) -> list[Effect]:
        """A multicast of the current view."""
        if self._view is None:
            return [Notice("cib-without-view", f"a message of node {sender} came before any view")]
        try:
            message = wire.decode(payload)
        except CibMessageError as error:
            return [Notice("cib-message", f"from node {sender}: {error}")]
        if not isinstance(message, Change):
            return [Notice("cib-message", f"from node {sender}: {type(message).__name__} is not for everybody")]
        mark = Mark(self._view.sequence, self._view.leader, sequence)
        if self._synchronised:
            return self._execute(mark, sender, message)
        if len(self._waiting) >= MAX_WAITING:
            return [Withdraw(f"more than {MAX_WAITING} changes wait for the view to be synchronised")]
        self._waiting.append((mark, sender, message))
        return []

    def on_direct(self, sender: int, payload: bytes) -> list[Effect]:
        """A message to this member alone."""
        try:
            message = wire.decode(payload)
        except CibMessageError as error:
            return [Notice("cib-message", f"from node {sender}: {error}")]
        match message:
            case Durable():
                return self._compare(sender, message) + self._acknowledged(sender, message.mark)
            case Differs(version, digest):
                if self._written_here() and self._written is not None and self._written.version == version:
                    return [Withdraw(f"this copy of the CIB, version {version}, differs from that of node {sender}")]
                return [
                    Notice("cib-differs", f"node {sender} found a difference in version {version}, now past ({digest})")
                ]
            case Change():
                return [Notice("cib-message", f"from node {sender}: a change must be multicast")]

    # The controller's side

    def apply_status(self, updates: Iterable[Any]) -> Sequence[Any]:
        """Applies status updates that were delivered in the total order; those that changed something come back."""
        if self._apply_updates is None:
            raise ValueError("this replica was given no function for status updates")
        effective = self._apply_updates(self._document, updates)
        if effective:
            version = self.version
            self._document.set("num_updates", str(version.num_updates + 1))
            self._digest = None
        return effective

    def copy(self) -> bytes:
        """This copy for another member, to be given to its `adopt`."""
        return f"{_LINEAGE}{self._lineage}\n".encode() + xml.to_bytes(self._document)

    def adopt(self, copy: bytes) -> list[Effect]:
        """Takes the agreed copy in place of this one. ValueError (CibSyntaxError) when it is none; nothing is changed then.

        A bare document is accepted too, but nothing is known then of where its changes were made.
        """
        lineage, document = _open_copy(copy)
        new = xml.parse(document)
        mine, theirs = configuration_bytes(self._document), configuration_bytes(new)
        effects: list[Effect] = []
        if mine != theirs:
            if reason := self._why_keep(new, lineage):
                short = xml.digest(mine)[:8]
                effects.append(KeepAside(f"cib-{self.version}-{short}.xml", durable_bytes(self._document), reason))
            text = f"not applied: the cluster has taken another configuration, version {xml.version(new)}, meanwhile"
            effects += [self._end(number, "not-applied", text) for number in self._applied_numbers()]
            self._lineage = Lineage()
        if lineage is not None:
            self._lineage = lineage
        self._document = new
        self._ids = IdIndex(new)
        self._digest = None
        self._dirty = True
        effects.append(Changed(self.version, frozenset(), self._me, automatic=True, everything=True))
        return effects

    # The disk

    def flush(self) -> list[Effect]:
        """To be called when there is no more input at the moment: writes what has changed, unless a write is under way."""
        if not self._dirty or self._writing is not None or self._disk_refuses:
            return []
        self._tickets += 1
        document = durable_bytes(self._document)
        digest = xml.digest(document)
        version = self.version
        self._writing = _Writing(self._tickets, self._mark, version, digest, frozenset(self._askers))
        self._askers.clear()
        self._dirty = False
        return [Persist(self._tickets, document, version, digest, str(self._lineage))]

    def on_persisted(self, ticket: int) -> list[Effect]:
        """The document of this ticket is on stable storage."""
        writing = self._writing
        if writing is None or writing.ticket != ticket:
            raise ValueError(f"no write with ticket {ticket} is under way")
        self._writing = None
        effects: list[Effect] = []
        if writing.mark is not None:
            self._written = Durable(writing.mark, writing.version, writing.digest)
            payload = wire.encode(self._written)
            effects += [Send(node, payload) for node in sorted(writing.askers - {self._me}) if self._in_group(node)]
            effects += self._acknowledged(self._me, writing.mark)
        return effects + self.flush()

    def on_persist_failed(self, ticket: int, reason: str) -> list[Effect]:
        """It could not be written. A member that cannot write must not hold up or deceive the others.

        Nothing is written any more until `disk_again`: to be tried after a while, and before this node joins anew.
        """
        writing = self._writing
        if writing is None or writing.ticket != ticket:
            raise ValueError(f"no write with ticket {ticket} is under way")
        self._writing = None
        self._dirty = True
        self._askers |= writing.askers
        self._disk_refuses = True
        return [Withdraw(f"the CIB cannot be written: {reason}")]

    def disk_again(self) -> list[Effect]:
        """Try the disk again."""
        self._disk_refuses = False
        return self.flush()

    # Parts

    def _mine(self, sender: int, change: Change) -> bool:
        return sender == self._me and change.session == self._session

    def _in_group(self, node: int) -> bool:
        return self._view is not None and node in self._view.group

    def _multicast(self, number: int) -> Multicast:
        pending = self._pending[number]
        change = Change(self._session, number, pending.operation, pending.automatic)
        return Multicast(wire.encode(change), pending.request)

    def _again(self, number: int) -> list[Effect]:
        pending = self._pending.get(number)
        if pending is None:
            return []
        if pending.attempts >= MAX_ATTEMPTS:
            text = f"not applied: the membership changed {pending.attempts} times while the change was under way"
            return [self._end(number, "not-applied", text)]
        pending.attempts += 1
        return [self._multicast(number)]

    def _execute(self, mark: Mark, sender: int, change: Change) -> list[Effect]:
        """Applies a change in its place in the order."""
        result = apply(self._document, change.operation, ids=self._ids, check=self._check)
        mine = self._mine(sender, change) and change.number in self._pending
        if isinstance(result, Refusal):
            return [self._end(change.number, str(result.code), result.message, result.items)] if mine else []
        effects: list[Effect] = []
        if result.sections or result.durable:
            self._digest = None
            effects.append(Changed(result.version, result.sections, sender, change.automatic))
        if result.durable:
            self._note_durable(mark, sender, change.automatic)
        if mine:
            effects += self._applied(change.number, mark, result)
        return effects

    def _note_durable(self, mark: Mark, sender: int, automatic: bool) -> None:
        self._dirty = True
        self._mark = mark
        self._askers.add(sender)
        if self._view is not None and not automatic:
            self._lineage = self._lineage.recorded((self._view.sequence, self._view.leader), self._view.quorate)

    def _applied(self, number: int, mark: Mark, result: Applied) -> list[Effect]:
        pending = self._pending[number]
        pending.version = result.version
        pending.mark = mark
        pending.warnings = result.warnings
        pending.durable |= {node for node, known in self._durable.items() if mark <= known}
        return self._settle(number) if result.durable else [self._end(number)]

    def _applied_numbers(self) -> list[int]:
        return [number for number, pending in self._pending.items() if pending.mark is not None]

    def _settle(self, number: int) -> list[Effect]:
        """The reply, if nobody is waited for any more. This member counts even when its crm is not part of the group just now.

        Between views nothing is settled: the configuration that is taken may be one without the change.
        """
        if not self._synchronised or self._view is None:
            return []
        waited_for = self._view.group | {self._me}
        return [self._end(number)] if waited_for <= self._pending[number].durable else []

    def _acknowledged(self, node: int, mark: Mark) -> list[Effect]:
        effects: list[Effect] = []
        self._durable[node] = max(mark, self._durable.get(node, mark))
        for number in self._applied_numbers():
            pending = self._pending[number]
            if pending.mark is not None and pending.mark <= mark and node not in pending.durable:
                pending.durable.add(node)
                effects += self._settle(number)
        return effects

    def _compare(self, sender: int, message: Durable) -> list[Effect]:
        """Same version, other content: one of both has applied something wrongly. It is told; joining anew settles it."""
        mine = self._written
        if mine is None or not self._written_here() or not message.digest or not _same_view(mine.mark, message.mark):
            return []
        if mine.version != message.version or mine.digest == message.digest:
            return []
        text = f"the CIB of node {sender}, version {message.version}, differs from this one"
        return [Notice("cib-differs", text), Send(sender, wire.encode(Differs(message.version, mine.digest)))]

    def _written_here(self) -> bool:
        """Whether the last write was made in this view: only then can others' writes be compared with it."""
        if self._written is None or self._view is None:
            return False
        return _same_view(self._written.mark, Mark(self._view.sequence, self._view.leader, 0))

    def _end(self, number: int, error: str = "", message: str = "", items: tuple[ReportItem, ...] = ()) -> Reply:
        pending = self._pending.pop(number)
        del self._numbers[pending.request]
        return Reply(pending.request, pending.version, error, message, items if error else pending.warnings)

    def _refusal(self, request: int, error: str, message: str) -> Reply:
        return Reply(request, self.version, error, message)

    def _why_keep(self, new: etree._Element, lineage: Lineage | None) -> str:
        """Why this configuration must not just disappear; empty when nothing in it is lost."""
        mine, theirs = self.version, xml.version(new)
        if lineage is not None and lineage.contains(self._lineage):
            return ""
        if lineage is None and not self._lineage.provisional and mine < theirs:
            return ""
        how = "accepted without quorum" if self._lineage.provisional else "made on this side"
        return f"version {mine} holds changes {how} that are not in version {theirs}, which the cluster has taken"


def _same_view(one: Mark, other: Mark) -> bool:
    return (one.view_sequence, one.view_leader) == (other.view_sequence, other.view_leader)


def _open_copy(copy: bytes) -> tuple[Lineage | None, bytes]:
    if not copy.startswith(_LINEAGE.encode()):
        return None, copy
    head, _, document = copy.partition(b"\n")
    return Lineage.parse(head[len(_LINEAGE) :].decode("utf-8", "replace")), document


def durable_bytes(document: etree._Element) -> bytes:
    """The document as it is written to disk: everything but what is in the status."""
    root = etree.Element(document.tag)
    for key, value in document.attrib.items():
        root.set(str(key), str(value))
    head = xml.to_bytes(root)
    return head[:-2] + b">" + configuration_bytes(document) + b"<status/></cib>"
