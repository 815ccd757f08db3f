"""The controller's fencing: what was asked of this node's fencer, and what its success means for the status section.

Theory of operation. There is one request for a node at a time; who wants the same later shares it. When the fencer has confirmed it, everything that is
known of the node's resources is erased, unless the node has come back meanwhile: then it is another life of it, which tells for itself.

A confirmation speaks of the life that the node had when the device began to act (`acts`): a life that was seen before that ends with it, one that was
first seen after it does not. Who came back after it and is gone again has not been fenced.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from lxml import etree

from crm.controller import membership
from crm.controller.effects import Effect, Fence, Record
from crm.controller.graph import Action
from crm.controller.messages import Changes, Result
from crm.controller.status import EraseNode, NodeState, Update
from crm.controller.types import Settings
from crm.events.causes import Causes
from messaging.types import View

FENCE_HOLD_BACK_MS: Final = 500
"""Head start of the half of an even split that has the lowest node id; longer than a power switch takes to act on a request."""


@dataclass(slots=True)
class FencingJob:
    """Fencing that this node's fencer is carrying out.

    `incarnation`: of the target in the view when a device last began to act (or it was asked for); None when it was in none. `outlived`: a
    later life of the target has been seen since.
    """

    token: int
    target: str
    action: str
    transition_key: str
    incarnation: int | None
    cause: str = ""
    outlived: bool = False


class FencingRequests:
    """See the module's text."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: dict[str, FencingJob] = {}
        self._tokens = 0

    def use(self, settings: Settings) -> None:
        """Other nodes belong to the cluster from now on."""
        self._settings = settings

    @property
    def targets(self) -> Collection[str]:
        return self._jobs.keys()

    def for_transition(
        self, action: Action, transition_key: str, delay_ms: int, view: View | None, cause: str = ""
    ) -> list[Effect]:
        target = action.node or ""
        job = self._jobs.get(target)
        if job is not None:
            job.transition_key = transition_key
            return []
        how = action.meta("stonith_action") or "reboot"
        timeout_ms = max(action.timeout_ms, 0)
        delay_ms = max(delay_ms, self._hold_back_ms(target, view))
        job = FencingJob(0, target, how, transition_key, incarnation_in(view, target), cause)
        return self._begin(job, action.reason or action.key, timeout_ms, delay_ms)

    def on_request(self, target: str, how: str, view: View | None, cause: str = "") -> list[Effect]:
        """Fencing that somebody asked for; one that is under way already is the answer to this request too."""
        if target in self._jobs:
            return []
        job = FencingJob(0, target, how, "", incarnation_in(view, target), cause)
        return self._begin(job, "somebody asked for it", 0, 0)

    def acts(self, target: str, view: View | None) -> int | None:
        """A device begins to act on the target. The life of it that this is going to end, None when it is in no view."""
        incarnation = incarnation_in(view, target)
        job = self._jobs.get(target)
        if job is not None:
            job.incarnation, job.outlived = incarnation, False
        return incarnation

    def on_view(self, view: View) -> None:
        for job in self._jobs.values():
            job.outlived |= incarnation_in(view, job.target) not in (None, job.incarnation)

    def ended(self, token: int) -> FencingJob | None:
        """The fencer is done with a request; None when it is none of ours."""
        job = next((job for job in self._jobs.values() if job.token == token), None)
        if job is not None:
            del self._jobs[job.target]
        return job

    def _begin(self, job: FencingJob, reason: str, timeout_ms: int, delay_ms: int) -> list[Effect]:
        self._tokens += 1
        job.token = self._tokens
        self._jobs[job.target] = job
        return [
            Record("fence_requested", {"target": job.target, "action": job.action, "reason": reason}, job.cause),
            Fence(job.token, job.target, job.action, reason, timeout_ms, delay_ms, job.cause),
        ]

    def _hold_back_ms(self, target: str, view: View | None) -> int:
        """In an even split both halves may be quorate, and would fence each other at the same moment: both off.

        So the half without the lowest node id waits; when the other half is alive, it fences in that time.
        """
        votes = self._settings.votes
        if view is None or not votes or any(member.name == target for member in view.members):
            return 0
        present = sum(votes.get(node_id, 0) for node_id in view.member_ids)
        even = 2 * present == self._settings.expected_votes
        return FENCE_HOLD_BACK_MS if even and min(votes) not in view.member_ids else 0


def changes_when_off(
    document: etree._Element,
    view: View | None,
    target: str,
    action: str,
    transition_key: str = "",
    incarnation: int | None = None,
    causes: Causes = (),
) -> Changes:
    """What is to be written when a node is known to be off (fenced, or on the operator's word): what it ran is no more."""
    results = (Result(transition_key, True),) if transition_key else ()
    identity = membership.id_of(document, view, target)
    came_back = incarnation_in(view, target) not in (None, incarnation)
    updates: tuple[Update, ...] = ()
    if action != "on" and identity and not came_back:
        updates = (NodeState(identity, target, False, "offline", "down", "down"), EraseNode(identity, target))
    return Changes(updates, results, f"{target} was fenced", bool(transition_key), causes=causes)


def incarnation_in(view: View | None, name: str) -> int | None:
    if view is None:
        return None
    return next((member.incarnation for member in view.members if member.name == name), None)
