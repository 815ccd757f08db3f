"""What the executor is told, and what it asks for. Effects are carried out in the order given.

All times are milliseconds; `epoch` is the wall clock in seconds, used only in what is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agents.types import AgentId, ExecStatus, Operation

if TYPE_CHECKING:
    from agents.metadata import AgentMetadata

DEFAULT_TIMEOUT_MS: Final = 20_000
META: Final = "CRM_meta_"
RELOAD: Final = "reload-agent"
"""The action that the policy engine orders when parameters have changed that the agent can take over while it runs."""


@dataclass(frozen=True, slots=True)
class AgentTraits:
    """What of an agent's meta-data matters for its history.

    `restart`: parameters whose change needs a restart although the agent can reload; None when it cannot reload.
    `private`: parameters that are left out of the secure digest. `reload`: the agent's own word for `reload-agent`: those of OCF 1.0 say `reload`.
    """

    restart: tuple[str, ...] | None = None
    private: tuple[str, ...] = ()
    reload: str = RELOAD


NO_TRAITS: Final = AgentTraits()


def traits_of(metadata: AgentMetadata) -> AgentTraits:
    word = "reload" if RELOAD not in metadata.action_names and "reload" in metadata.action_names else RELOAD
    return AgentTraits(metadata.restart_parameters(), metadata.private_parameters(), word)


@dataclass(frozen=True, slots=True)
class Order:
    """One operation to carry out, as the transition graph has it.

    `parameters` are all attributes of the graph's action: the resource's own, and meta-attributes with their `CRM_meta_` prefix.
    `resource` names the history and is what the agent sees as its instance.
    """

    resource: str
    agent: AgentId
    action: str
    transition_key: str
    interval_ms: int = 0
    target_rc: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    traits: AgentTraits = NO_TRAITS

    @property
    def key(self) -> str:
        """The operation key: RESOURCE_ACTION_INTERVAL."""
        return f"{self.resource}_{self.action}_{self.interval_ms}"

    def meta(self, name: str) -> str | None:
        return self.parameters.get(META + name)

    @property
    def timeout_ms(self) -> int:
        return _number(self.meta("timeout"), DEFAULT_TIMEOUT_MS)

    @property
    def start_delay_ms(self) -> int:
        return _number(self.meta("start_delay"), 0)


@dataclass(frozen=True, slots=True)
class Run:
    """Run the agent. Its result comes back through `on_result` with this call id."""

    call_id: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Persist:
    """Keep this text for the resource where it outlives the daemon but not the machine; None: drop what is kept."""

    resource: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The end of an operation (or a change in a recurring one), to be published together with what it means.

    `entry` and `failure_entry` are attributes of `lrm_rsc_op` elements; `forget` are ids of entries that are over,
    `forget_resource` says that the whole history is; `postponed` that a recurring operation was accepted and begins later. `transition_key` is empty for what nobody ordered.
    """

    resource: str
    agent: AgentId
    action: str
    interval_ms: int
    transition_key: str
    target_rc: int
    rc: int
    status: ExecStatus
    entry: Mapping[str, str] | None = None
    failure_entry: Mapping[str, str] | None = None
    forget: tuple[str, ...] = ()
    forget_resource: bool = False
    text: str = ""
    postponed: bool = False


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `on_timer` with this name at `at_ms` (monotonic). Setting a name again replaces it."""

    name: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    name: str


Effect = Run | Persist | Report | SetTimer | CancelTimer


class InvariantBroken(AssertionError):
    """A rule of the executor itself does not hold."""


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else default
