"""The words between whoever wants an operation and the agent that carries it out.

Theory of operation. An `AgentId` names a program, an `Operation` is one run of it, an `OperationResult` is what became
of that run, always in OCF terms: whatever an LSB script, a systemd unit or a fence agent answers has been translated
before it gets here. Two answers are kept apart: `status` says whether the run itself ended as a run should
(`ExecStatus`), `rc` says what the agent found or did (`OcfCode`). An agent that was killed because its time was up has a
`status` of TIMEOUT; its `rc` then means nothing more than "error".

The numbers and names are Pacemaker's, because both are recorded in the CIB (`rc-code`, `op-status`).

This module knows no process, file or clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final


class Standard(StrEnum):
    """What an agent's calling convention is."""

    OCF = "ocf"
    LSB = "lsb"
    SYSTEMD = "systemd"
    SERVICE = "service"
    STONITH = "stonith"


class AgentError(ValueError):
    """The text names no agent. The message says which part is wrong and what was expected."""


@dataclass(frozen=True, slots=True, order=True)
class AgentId:
    """`standard:provider:type` for OCF, `standard:type` for the others (`provider` is then empty)."""

    standard: str
    provider: str
    type: str

    def __str__(self) -> str:
        if self.provider:
            return f"{self.standard}:{self.provider}:{self.type}"
        return f"{self.standard}:{self.type}"

    @classmethod
    def parse(cls, text: str) -> AgentId:
        """From "ocf:heartbeat:IPaddr2", "systemd:nginx", "lsb:foo", "service:x", "stonith:fence_dummy".

        A bare "Dummy" is not accepted: which provider it means is a question for the shell. AgentError otherwise.
        """
        standard, _, rest = text.partition(":")
        if standard not in frozenset(Standard):
            known = ", ".join(Standard)
            raise AgentError(f"agent {text!r} has the unknown class {standard!r}, expected one of {known}")
        if standard == Standard.OCF:
            provider, _, name = rest.partition(":")
            if not provider or not name:
                raise AgentError(f"agent {text!r} is incomplete, expected ocf:PROVIDER:TYPE")
        else:
            provider, name = "", rest
            if not name:
                raise AgentError(f"agent {text!r} is incomplete, expected {standard}:TYPE")
        for part in (provider, name):
            if "/" in part or part.startswith(".") or "\0" in part:
                raise AgentError(f"agent {text!r} has a part {part!r} that cannot be a file name")
        if standard == Standard.OCF and ":" in name:
            raise AgentError(f"agent {text!r} has too many parts, expected ocf:PROVIDER:TYPE")
        return cls(standard, provider, name)


class OcfCode(IntEnum):
    """Exit codes of an OCF resource agent, with Pacemaker's names; 193 stands for "no result yet"."""

    OK = 0
    UNKNOWN_ERROR = 1
    INVALID_PARAM = 2
    UNIMPLEMENT_FEATURE = 3
    INSUFFICIENT_PRIV = 4
    NOT_INSTALLED = 5
    NOT_CONFIGURED = 6
    NOT_RUNNING = 7
    RUNNING_PROMOTED = 8
    FAILED_PROMOTED = 9
    DEGRADED = 190
    DEGRADED_PROMOTED = 191
    UNKNOWN = 193

    @property
    def text(self) -> str:
        """The words that status displays use."""
        return _CODE_TEXT[self]

    @classmethod
    def text_of(cls, rc: int) -> str:
        """The words for any exit code, also one that no standard defines."""
        return _CODE_TEXT.get(rc, "error")


_CODE_TEXT: Final[dict[int, str]] = {
    OcfCode.OK: "ok",
    OcfCode.UNKNOWN_ERROR: "error",
    OcfCode.INVALID_PARAM: "invalid parameter",
    OcfCode.UNIMPLEMENT_FEATURE: "unimplemented feature",
    OcfCode.INSUFFICIENT_PRIV: "insufficient privileges",
    OcfCode.NOT_INSTALLED: "not installed",
    OcfCode.NOT_CONFIGURED: "not configured",
    OcfCode.NOT_RUNNING: "not running",
    OcfCode.RUNNING_PROMOTED: "promoted",
    OcfCode.FAILED_PROMOTED: "promoted (failed)",
    OcfCode.DEGRADED: "degraded",
    OcfCode.DEGRADED_PROMOTED: "promoted (degraded)",
    OcfCode.UNKNOWN: "unknown",
}


class ExecStatus(IntEnum):
    """How the run itself went: the `op-status` of a history entry."""

    UNKNOWN = -2
    PENDING = -1
    DONE = 0
    CANCELLED = 1
    TIMEOUT = 2
    NOT_SUPPORTED = 3
    ERROR = 4
    ERROR_HARD = 5
    ERROR_FATAL = 6
    NOT_INSTALLED = 7
    NOT_CONNECTED = 8
    INVALID = 9
    NO_FENCE_DEVICE = 10
    NO_SECRETS = 11

    @property
    def text(self) -> str:
        """The words that status displays use."""
        return _STATUS_TEXT[self]

    @classmethod
    def text_of(cls, status: int) -> str:
        """The words for any `op-status`, also one that Pacemaker does not have."""
        return _STATUS_TEXT.get(status, "Error")


_STATUS_TEXT: Final[dict[int, str]] = {
    ExecStatus.UNKNOWN: "UNKNOWN!",
    ExecStatus.PENDING: "pending",
    ExecStatus.DONE: "complete",
    ExecStatus.CANCELLED: "Cancelled",
    ExecStatus.TIMEOUT: "Timed Out",
    ExecStatus.NOT_SUPPORTED: "NOT SUPPORTED",
    ExecStatus.ERROR: "Error",
    ExecStatus.ERROR_HARD: "Hard error",
    ExecStatus.ERROR_FATAL: "Fatal error",
    ExecStatus.NOT_INSTALLED: "Not installed",
    ExecStatus.NOT_CONNECTED: "Internal communication failure",
    ExecStatus.INVALID: "Cannot execute now",
    ExecStatus.NO_FENCE_DEVICE: "No fence device",
    ExecStatus.NO_SECRETS: "CIB secrets unavailable",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One run of one agent.

    `resource` is the instance as the agent sees it (`web`, `web:0`). `parameters` are the resource's and the
    operation's own, without prefix; `meta` are names with their `CRM_meta_` prefix, as the transition graph has them.
    `interval_ms` is 0 unless recurring. `timeout_ms` 0 means none. `environment` is added as it is and wins over
    everything the runner would set. `node` is the name of the node it runs on, empty when unknown.
    """

    agent: AgentId
    action: str
    resource: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    timeout_ms: int = 20_000
    interval_ms: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    node: str = ""

    def __str__(self) -> str:
        interval = f" every {self.interval_ms} ms" if self.interval_ms else ""
        return f"{self.action} of {self.resource} ({self.agent}){interval}"


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What became of a run. `rc` is an OCF exit code, possibly one no standard defines; times in milliseconds.

    `exit_reason` is the sentence for people: the agent's own, or ours when the agent gave none and the run went wrong.
    `queued_ms` is the time spent waiting for earlier operations; the runner leaves it 0.
    """

    rc: int
    status: ExecStatus = ExecStatus.DONE
    exit_reason: str = ""
    stdout: str = ""
    stderr: str = ""
    queued_ms: int = 0
    run_ms: int = 0

    @property
    def ok(self) -> bool:
        """The run ended and the agent said 0."""
        return self.status is ExecStatus.DONE and self.rc == OcfCode.OK
