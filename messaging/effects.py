"""What goes into a node's core and what comes out: the whole surface between `messaging.node.Node` and the world.

The daemon performs the effects with sockets and files, the simulator in a world of its own. The order of effects in
the returned list is part of the contract: what is persisted comes before what relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from messaging.config import MessagingConfig
from messaging.quorum import Roll, Wish
from messaging.types import MessagingEvent, ViewId

# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a life."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """`Node.due_ms` has come."""


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """An authenticated datagram."""

    link: int
    sender: int
    incarnation: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """An authenticated stream to this life of the peer stands."""

    peer: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class StreamClosed:
    peer: int


@dataclass(frozen=True, slots=True)
class StreamReceived:
    peer: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CrmAttached:
    pass


@dataclass(frozen=True, slots=True)
class CrmVouched:
    pass


@dataclass(frozen=True, slots=True)
class CrmDetached:
    """`graceful`: it said so; otherwise its connection just ended."""

    graceful: bool


@dataclass(frozen=True, slots=True)
class CrmMulticast:
    """`view_id` is the last view that crm has seen."""

    token: int
    view_id: ViewId
    payload: bytes


@dataclass(frozen=True, slots=True)
class CrmSend:
    target: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class EvidenceChanged:
    """The tie-breaker's evidence appeared or went, or this is the answer to `AskTieBreaker`.

    With `until_ms` it ends then, whether anybody says so or not. It counts only while all of `members` are in this node's part.
    """

    holds: bool
    until_ms: int | None = None
    members: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Evicted:
    """The half that won (`by` is the name of a node of it) says on the quorum disk that it goes on without this node."""

    by: str


@dataclass(frozen=True, slots=True)
class WishMade:
    """The operator asks for another electorate (`messaging.quorum.plan_expected` and its kin have checked it)."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Relisted:
    """The operator has added, removed or renamed nodes. Whose votes count is asked for by itself (`WishMade`)."""

    config: MessagingConfig


@dataclass(frozen=True, slots=True)
class WaitingEnded:
    """The operator says that the nodes `wait_for_all` waits for are off."""


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """Say goodbye and finish."""


Event = (
    Started
    | TimerFired
    | DatagramReceived
    | StreamOpened
    | StreamClosed
    | StreamReceived
    | CrmAttached
    | CrmVouched
    | CrmDetached
    | CrmMulticast
    | CrmSend
    | EvidenceChanged
    | Evicted
    | WishMade
    | Relisted
    | WaitingEnded
    | LeaveRequested
)

# --- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Durable:
    """What must survive the process. `seen_all` must not survive a boot of the machine, the ceiling and the roll must.

    `roll` is the electorate that the members of a view agreed on, None while it is that of the configuration. `electors` are
    the ids, votes and expected votes of the configuration at that time: when an operator writes others, those count.
    """

    sequence_ceiling: int
    seen_all: bool
    roll: Roll | None = None
    electors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Persist:
    """On stable storage before the next effect is performed."""

    durable: Durable


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """To all nodes, on all links."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Keep trying to connect to the peer until it stands or `CloseStream` comes."""

    peer: int


@dataclass(frozen=True, slots=True)
class CloseStream:
    """No `StreamClosed` follows for it."""

    peer: int


@dataclass(frozen=True, slots=True)
class SendStream:
    peer: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Notify:
    """To crm."""

    event: MessagingEvent


@dataclass(frozen=True, slots=True)
class DropCrm:
    """Close the connection to crm. No `CrmDetached` follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class HoldCrm:
    """Stop (or go on) taking multicasts from crm: too many are on their way."""

    hold: bool


@dataclass(frozen=True, slots=True)
class AskTieBreaker:
    """Evidence may be needed soon: look now, and answer with `EvidenceChanged`. Until then there is none."""


class Level:
    """Severity of a report, in the words of `logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Report:
    """A line for the log."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The goodbye is done: the daemon may end."""


Effect = (
    Persist
    | SendDatagram
    | OpenStream
    | CloseStream
    | SendStream
    | Notify
    | DropCrm
    | HoldCrm
    | AskTieBreaker
    | Report
    | Finished
)
