"""systemd units as resources: the one place where unit states become OCF codes.

Theory of operation. `start` and `stop` are jobs; `systemctl` waits for their end and its exit code says whether the
job succeeded. What the unit then is, is another question and is always asked of `systemctl show`: an inactive unit is
"not running", whether it failed or was stopped; one in between (`activating`, `deactivating`) has no answer yet and
is asked again until it has settled or the operation's time is up.

A unit that is not known is "not installed", except that stopping it is a success: what cannot run does not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.command import Command, finished
from agents.environment import plain_environment
from agents.lsb import unsupported
from agents.paths import AgentPaths
from agents.process import Ended
from agents.types import ExecStatus, OcfCode, Operation, OperationResult

PROPERTIES: Final = "LoadState,ActiveState,SubState,Result"
STATES: Final[Mapping[str, OcfCode | None]] = {
    "active": OcfCode.OK,
    "reloading": OcfCode.OK,
    "refreshing": OcfCode.OK,
    "inactive": OcfCode.NOT_RUNNING,
    "failed": OcfCode.NOT_RUNNING,
    "maintenance": OcfCode.NOT_RUNNING,
    "activating": None,
    "deactivating": None,
}
"""`ActiveState`; None: not settled yet."""

VERBS: Final[Mapping[str, str]] = {
    "start": "start",
    "stop": "stop",
    "reload": "reload",
    "restart": "restart",
    "monitor": "show",
    "status": "show",
}
_SUFFIXES: Final = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice")
_UNIT_NOT_FOUND: Final = 5
"""What systemctl answers to a job for a unit it does not know (it uses the LSB numbers)."""


def unit_name(name: str) -> str:
    """The full unit name: without a suffix it is a service."""
    return name if name.endswith(_SUFFIXES) else name + ".service"


def parse_properties(text: str) -> dict[str, str]:
    """What `systemctl show` prints: one NAME=VALUE a line."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def state_of(properties: Mapping[str, str]) -> OcfCode | None:
    """The OCF meaning of a unit's properties; None while it is between two states."""
    active = properties.get("ActiveState", "")
    if properties.get("LoadState") == "not-found" and active != "active":
        return OcfCode.NOT_INSTALLED
    return STATES.get(active, OcfCode.UNKNOWN_ERROR)


class SystemdConvention:
    def __init__(self, paths: AgentPaths, base: Mapping[str, str]) -> None:
        self._paths = paths
        self._base = base

    def prepare(self, operation: Operation) -> Command | OperationResult:
        verb = VERBS.get(operation.action)
        if verb is None:
            return unsupported(operation)
        options = (f"--property={PROPERTIES}",) if verb == "show" else ("--no-ask-password",)
        argv = (self._paths.systemctl, verb, *options, "--", unit_name(operation.agent.type))
        return Command(argv, {**plain_environment(operation, self._base), "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""})

    def interpret(self, operation: Operation, ended: Ended) -> OperationResult | None:
        assert ended.code is not None
        if VERBS[operation.action] == "show":
            return self._state(ended)
        if ended.code == 0:
            return finished(ended, OcfCode.OK)
        if ended.code == _UNIT_NOT_FOUND:
            if operation.action == "stop":
                return finished(ended, OcfCode.OK)
            reason = f"unit {unit_name(operation.agent.type)} is not installed"
            return finished(ended, OcfCode.NOT_INSTALLED, ExecStatus.NOT_INSTALLED, reason)
        return finished(ended, OcfCode.UNKNOWN_ERROR, reason=_last_line(ended))

    def _state(self, ended: Ended) -> OperationResult | None:
        if ended.code != 0:
            return finished(ended, OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR, _last_line(ended))
        properties = parse_properties(ended.stdout.decode("utf-8", "replace"))
        code = state_of(properties)
        if code is None:
            return None
        reason = ""
        if code is OcfCode.NOT_INSTALLED:
            return finished(ended, code, ExecStatus.NOT_INSTALLED, "the unit is not installed")
        if properties.get("ActiveState") == "failed":
            reason = f"the unit failed: {properties.get('Result', 'unknown')}"
        return finished(ended, code, reason=reason)


def _last_line(ended: Ended) -> str:
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else f"systemctl ended with {ended.code}"
