"""What messaging promises to the layer above it: views, ordered messages, and their fate.

These types are the whole vocabulary between the messaging daemon and crm. They hold values only; who decides them
is written in `messaging.membership` (views), `messaging.ordering` (messages) and `messaging.quorum` (the verdict).

What holds for every view, at every member that installs it:

- `view_id`, `members`, `group`, `quorate` and `reason` are the same at all members. View ids only grow.
- Members that come together from one view into the next have delivered the same messages in it, in the same order.
- `joined` and `left` are relative to the view this node had before. `left` comes first: a node that restarted is in `left`
  with its old incarnation and in `joined` with its new one. A node that is still there but did *not* come along from
  this node's previous view (it was in another partition, or missed a view) is in both with one incarnation: what it
  knows may differ, so treat it as new.
- `graceful` names the nodes that said goodbye, be it to the members (they are in `left`) or only to the group (they
  are still in `members`). A node that is gone without it was lost: it may still be running things.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One life of a node's messaging daemon. `incarnation` grows with every start."""

    node_id: int
    name: str
    incarnation: int


@dataclass(frozen=True, slots=True, order=True)
class ViewId:
    """Totally ordered: by sequence, then by the id of the node that led the agreement."""

    sequence: int
    leader: int

    def __str__(self) -> str:
        return f"{self.sequence}.{self.leader}"


@dataclass(frozen=True, slots=True)
class View:
    """An agreed membership. See the module's text for what holds for it."""

    view_id: ViewId
    members: tuple[Member, ...]
    group: frozenset[int]
    quorate: bool
    reason: str
    joined: tuple[Member, ...] = ()
    left: tuple[Member, ...] = ()
    graceful: frozenset[int] = frozenset()

    def member(self, node_id: int) -> Member | None:
        """The member with this id, or None."""
        for member in self.members:
            if member.node_id == node_id:
                return member
        return None

    @property
    def member_ids(self) -> frozenset[int]:
        return frozenset(member.node_id for member in self.members)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A multicast of the view `view_id`, in its place in the total order (`sequence` counts from 1 in each view).

    `token` is the sender's own number for it (what `multicast` returned there), so that a sender recognises its own.
    """

    view_id: ViewId
    sequence: int
    sender: int
    payload: bytes
    token: int = 0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A multicast of mine that no member which goes on with this node delivered, or ever will.

    It comes before the view that ended its chance. A node on the far side of a partition may have delivered it.
    """

    token: int


@dataclass(frozen=True, slots=True)
class Direct:
    """A message to this node alone. Reliable and in order while both nodes stay members."""

    sender: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PeerLate:
    """A member has been silent for longer than `warntime`; it is not dead yet."""

    node_id: int
    silent_ms: int


MessagingEvent = View | Delivered | Undelivered | Direct | PeerLate
