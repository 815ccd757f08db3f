"""OCF resource agents (versions 1.0 and 1.1): the agent speaks our language already.

Theory of operation. The action is the only argument, everything else is in the environment. The exit code is taken as it is, also
one that the standard does not define: the policy engine decides what it means. An agent that is not there is "not
installed"; whether that matters (a probe) or is fatal (a start) is again the policy engine's decision.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents import trace
from agents.command import Command, exit_reason, finished, not_found
from agents.environment import BadParameter, ocf_environment
from agents.paths import AgentPaths, first_existing
from agents.process import Ended
from agents.types import ExecStatus, OcfCode, Operation, OperationResult


class OcfConvention:
    def __init__(self, paths: AgentPaths, base: Mapping[str, str]) -> None:
        self._paths = paths
        self._base = base

    def prepare(self, operation: Operation) -> Command | OperationResult:
        agent = operation.agent
        path = first_existing(self._paths.ocf_candidates(agent.provider, agent.type))
        if path is None:
            return not_found(f"agent {agent}")
        try:
            environment = ocf_environment(operation, self._paths, self._base)
        except BadParameter as error:
            return OperationResult(OcfCode.NOT_CONFIGURED, ExecStatus.ERROR, str(error))
        argv: tuple[str, ...] = (str(path), operation.action)
        if trace.wanted(operation) and (traced := trace.traced(argv, operation, self._paths)) != argv:
            argv = traced
            environment.pop("OCF_RESKEY_trace_ra")  # the shell functions of the agents would trace once more
        return Command(argv, environment)

    def interpret(self, operation: Operation, ended: Ended) -> OperationResult | None:
        assert ended.code is not None
        return finished(ended, ended.code, reason=exit_reason(ended.stderr))
