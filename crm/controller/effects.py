"""What the controller asks of the daemon, and what it needs to see. Effects are carried out in the order given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lxml import etree

from crm.cib.lineage import Standing
from crm.cib.xml import Version
from crm.controller.messages import Message, Order
from crm.controller.status import Update
from crm.events.causes import Causes


@dataclass(frozen=True, slots=True)
class Multicast:
    """To all members in total order, this one included. Its fate comes back under `tag`."""

    message: Message
    tag: int


@dataclass(frozen=True, slots=True)
class Execute:
    """For this node's executor: start, stop, monitor, cancel, delete, ... Its end comes back through `on_operation`."""

    order: Order


@dataclass(frozen=True, slots=True)
class Fence:
    """For the fencer. `on_fenced` is told about its end under `token`."""

    token: int
    target: str
    action: str
    reason: str
    timeout_ms: int
    delay_ms: int = 0
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Decide:
    """Run the policy engine on the document as it is now; the answer goes to `on_decision` with this number."""

    number: int
    reason: str
    causes: Causes = ()


@dataclass(frozen=True, slots=True)
class AddNodes:
    """The configuration does not know these members yet: (node id, name)."""

    nodes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Synchronised:
    """Whether changes of the CIB may be made now: not while a view is being joined, or the group is too small a part of it."""

    now: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """A clean-up: this node's executor forgets a resource, or one entry of its history; it will be probed."""

    resource: str
    entry_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeepAttributes:
    """This node's transient attributes have changed (`Controller.own_attributes`): to be kept where they outlive crm but not the machine."""


@dataclass(frozen=True, slots=True)
class KeepTable:
    """What this node's attribute table knows of it beside the status section, to be kept likewise."""

    own: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell this member that its message with this number, and all before it, are here: one word for many, the last one counts."""

    member: int
    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A client's change is at every member, or (`problem`) it is not known whether it is."""

    ticket: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """This node's part is done: leave the cluster and end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The cluster does not take this node in: leave the group, and come again only when this has changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class UseFeatures:
    """Every member has this feature set, and the cluster works with an older one: write it into the CIB."""

    feature_set: str


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the event log. `cause` is the id of what led to it (`crm.events.causes`)."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""


Effect = (
    Multicast
    | Execute
    | Fence
    | Decide
    | AddNodes
    | Synchronised
    | Forget
    | KeepAttributes
    | KeepTable
    | Acknowledge
    | Answer
    | Leave
    | Refused
    | UseFeatures
    | Record
)


class CibPort(Protocol):
    """The replica, as the controller sees it. Its document is the same at all members of a synchronised view."""

    @property
    def document(self) -> etree._Element: ...

    @property
    def version(self) -> Version: ...

    def digest(self) -> str: ...

    def apply_status(self, updates: Iterable[Update]) -> Sequence[Update]:
        """Apply updates delivered in the total order; those that changed something (num_updates then grew)."""
        ...

    @property
    def standing(self) -> Standing: ...

    def copy(self) -> bytes:
        """This copy, to be given to `adopt` of another member."""
        ...

    def adopt(self, copy: bytes) -> None:
        """Take another member's copy in place of ours."""
        ...


class ExecutorPort(Protocol):
    """The executor, as the controller sees it."""

    def history(self) -> str | None:
        """What is known to have run on this node, as an `<lrm>` element; None when nothing is."""
        ...

    def active(self) -> bool:
        """Whether a resource is, or may be, running here."""
        ...
