"""Fence agents: a device is driven by a short-lived program that reads its options from standard input.

Theory of operation. The FenceAgentAPI: one `key=value` a line, the action among them; exit code 0 for success, 1 for failure, and for
`status` 2 for "off". The exit code of `status` and `monitor` is kept as the agent gave it (the fencer reads it); a resource's `start`
is a `monitor` of its device, its `stop` needs no program. `meta-data` is spelt `metadata`.

Agents whose action names differ from the API's, or whose host lists need translation, are the fencer's concern: what
arrives here in `parameters` is what is written, except `pcmk_*` and `CRM_meta_*`, which are the cluster's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agents.command import Command, clean_reason, finished, not_found
from agents.environment import plain_environment
from agents.paths import SHIPPED_FENCE, AgentPaths, first_existing
from agents.process import Ended
from agents.types import ExecStatus, OcfCode, Operation, OperationResult

RENAMED: Final[Mapping[str, str]] = {"start": "monitor", "meta-data": "metadata"}
_LOG_PREFIX = re.compile(r"(?:\d{4}-\d\d-\d\d [\d:,]+ )?(?:(?:ERROR|WARNING|CRITICAL|INFO)(?::root)?:\s*)?")
"""How the common library of fence agents begins its lines."""
_OURS: Final = ("pcmk_", "CRM_meta_", "crm_feature_set", "stonith-timeout", "provides")


def options_text(action: str, parameters: Mapping[str, str]) -> bytes:
    """What the agent reads. A line break inside a value would be another option, so it becomes a blank."""
    lines = [f"action={action}"]
    lines += [
        f"{name}={' '.join(value.splitlines())}"
        for name, value in parameters.items()
        if name != "action" and not name.startswith(_OURS)
    ]
    return ("\n".join(lines) + "\n").encode()


class StonithConvention:
    def __init__(self, paths: AgentPaths, base: Mapping[str, str]) -> None:
        self._paths = paths
        self._base = base

    def prepare(self, operation: Operation) -> Command | OperationResult:
        path = first_existing(self._paths.fence_candidates(operation.agent.type))
        if path is None:
            return not_found(f"fence agent {operation.agent.type}")
        if operation.action == "stop":
            return OperationResult(OcfCode.OK)
        action = RENAMED.get(operation.action, operation.action)
        parameters = {} if action == "metadata" else operation.parameters
        stdin = options_text(action, parameters)
        program: tuple[str, ...] = (str(path),)
        if path.parent == SHIPPED_FENCE:
            # Ours are Python without dependencies: our own interpreter, without site packages, starts fastest.
            program = (self._base["VIGIL_PYTHON"], "-I", "-S", str(path))
        # Some agents (and their meta-data) read the command line only.
        argv = (*program, "-o", "metadata") if action == "metadata" else program
        return Command(argv, plain_environment(operation, self._base), stdin)

    def interpret(self, operation: Operation, ended: Ended) -> OperationResult | None:
        assert ended.code is not None
        if ended.code == 0 or operation.action == "status":
            return finished(ended, ended.code)
        return finished(ended, OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR, _reason(ended))


def _reason(ended: Ended) -> str:
    """Fence agents have no agreed form for it: the last line they wrote that is not advice is the best there is."""
    lines = [_LOG_PREFIX.sub("", line.strip()) for line in ended.stderr.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line and not line.startswith("Please use '-h'")]
    return clean_reason(said[-1]) if said else f"the fence agent ended with {ended.code}"
