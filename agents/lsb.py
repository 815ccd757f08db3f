"""Init scripts (LSB): the one place where their exit codes become OCF ones.

Theory of operation. `monitor` is the script's `status`; actions that only OCF knows are not supported. A script
knows nothing of parameters. For `status` the LSB numbers mean other things than for the rest:

    status   0 running   1 dead, pid file left   2 dead, lock file left   3 not running   4 unknown
    others   0 success   1 error 2 invalid arguments 3 unimplemented 4 privileges 5 not installed 6 not configured 7 not running
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.command import Command, exit_reason, finished, not_found
from agents.environment import plain_environment
from agents.paths import AgentPaths, first_existing
from agents.process import Ended
from agents.types import ExecStatus, OcfCode, Operation, OperationResult

STATUS: Final[Mapping[int, OcfCode]] = {
    0: OcfCode.OK,
    1: OcfCode.NOT_RUNNING,
    2: OcfCode.NOT_RUNNING,
    3: OcfCode.NOT_RUNNING,
    4: OcfCode.UNKNOWN_ERROR,
    150: OcfCode.NOT_INSTALLED,
    151: OcfCode.INSUFFICIENT_PRIV,
}
"""`status` results; 150 and 151 are the application-specific ones that init scripts in the field use so."""

ACTION: Final[Mapping[int, OcfCode]] = {
    0: OcfCode.OK,
    1: OcfCode.UNKNOWN_ERROR,
    2: OcfCode.INVALID_PARAM,
    3: OcfCode.UNIMPLEMENT_FEATURE,
    4: OcfCode.INSUFFICIENT_PRIV,
    5: OcfCode.NOT_INSTALLED,
    6: OcfCode.NOT_CONFIGURED,
    7: OcfCode.NOT_RUNNING,
}
"""Results of everything but `status`."""

SUPPORTED: Final[Mapping[str, str]] = {
    "start": "start",
    "stop": "stop",
    "restart": "restart",
    "reload": "reload",
    "force-reload": "force-reload",
    "status": "status",
    "monitor": "status",
}


def to_ocf(action: str, code: int) -> OcfCode:
    """The OCF meaning of what an init script answered to `action` (the script's own word for it)."""
    if action == "status":
        return STATUS.get(code, OcfCode.UNKNOWN_ERROR)
    if action == "stop" and code == 7:
        # LSB counts stopping what does not run as success; some scripts answer 7 all the same.
        return OcfCode.OK
    return ACTION.get(code, OcfCode.UNKNOWN_ERROR)


class LsbConvention:
    def __init__(self, paths: AgentPaths, base: Mapping[str, str]) -> None:
        self._paths = paths
        self._base = base

    def prepare(self, operation: Operation) -> Command | OperationResult:
        word = SUPPORTED.get(operation.action)
        if word is None:
            return unsupported(operation)
        path = first_existing((self._paths.lsb / operation.agent.type,))
        if path is None:
            return not_found(f"init script {self._paths.lsb / operation.agent.type}")
        return Command((str(path), word), plain_environment(operation, self._base))

    def interpret(self, operation: Operation, ended: Ended) -> OperationResult | None:
        assert ended.code is not None
        rc = to_ocf(SUPPORTED[operation.action], ended.code)
        return finished(ended, rc, reason=exit_reason(ended.stderr))


def unsupported(operation: Operation) -> OperationResult:
    """The class has no such action."""
    reason = f"{operation.agent.standard} agents have no action {operation.action!r}"
    return OperationResult(OcfCode.UNIMPLEMENT_FEATURE, ExecStatus.NOT_SUPPORTED, reason)
