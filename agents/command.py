"""What a standard contributes: the command to run for an operation, and what its end means.

Theory of operation. Each of `ocf`, `lsb`, `systemd` and `stonith` is a `Convention`: it knows no process, it
turns an operation into a `Command` (or straight into a result, when nothing can be run) and an `Ended` into a result in OCF terms.
The runner does the rest, the same for all. What can go wrong before an agent even runs is translated here, once.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from agents.environment import EXIT_REASON_PREFIX
from agents.process import Ended
from agents.types import ExecStatus, OcfCode, Operation, OperationResult

REASON_LIMIT: Final = 256
"""Characters of an exit reason that are kept: it travels in the CIB of every node."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ufffd]+")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run. `stdin` None is an empty standard input."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: bytes | None = None


class Convention(Protocol):
    def prepare(self, operation: Operation) -> Command | OperationResult:
        """The command for this operation, or its result when it needs none."""

    def interpret(self, operation: Operation, ended: Ended) -> OperationResult | None:
        """The result of a command that ended by itself; None when it must be asked again a little later."""


def not_found(what: str) -> OperationResult:
    """The agent is not installed here."""
    return OperationResult(OcfCode.NOT_INSTALLED, ExecStatus.NOT_INSTALLED, f"{what} is not installed")


def not_executable(path: str, error: OSError) -> OperationResult:
    """The system refused to execute the agent."""
    if error.errno == errno.ENOENT and not os.path.exists(path):  # noqa: PTH110 - a text, not a path of ours
        return not_found(path)
    if error.errno == errno.ENOENT:
        reason = f"the interpreter that {path} names is not installed"
        return OperationResult(OcfCode.NOT_INSTALLED, ExecStatus.NOT_INSTALLED, reason)
    if error.errno in (errno.EACCES, errno.EPERM):
        return OperationResult(OcfCode.INSUFFICIENT_PRIV, ExecStatus.ERROR, f"{path} is not executable")
    reason = f"{path} cannot be executed: {error.strerror or error}"
    return OperationResult(OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR, reason)


def cut_short(operation: Operation, ended: Ended) -> OperationResult | None:
    """The result when the program did not end by itself; None when it did."""
    if ended.timed_out or ended.undead:
        reason = f"{operation.action} did not end within {operation.timeout_ms} ms"
        if ended.undead:
            reason += " and could not be killed"
        return finished(ended, OcfCode.UNKNOWN_ERROR, ExecStatus.TIMEOUT, reason)
    if ended.code is None:
        reason = f"{operation.action} was ended by signal {ended.signal}"
        return finished(ended, OcfCode.UNKNOWN_ERROR, ExecStatus.ERROR, reason)
    return None


def finished(ended: Ended, rc: int, status: ExecStatus = ExecStatus.DONE, reason: str = "") -> OperationResult:
    """A result with the output and the time of the program that ended."""
    return OperationResult(
        rc=rc,
        status=status,
        exit_reason=clean_reason(reason),
        stdout=ended.stdout.decode("utf-8", "replace"),
        stderr=ended.stderr.decode("utf-8", "replace"),
        run_ms=ended.run_ms,
    )


def exit_reason(stderr: bytes) -> str:
    """What the agent says about its end: the last line with the agreed prefix."""
    prefix = EXIT_REASON_PREFIX.encode()
    start = stderr.rfind(prefix)
    if start < 0:
        return ""
    line, _, _ = stderr[start + len(prefix) :].partition(b"\n")
    return clean_reason(line.decode("utf-8", "replace"))


def clean_reason(text: str) -> str:
    """One line that XML and a terminal can carry, of bounded length."""
    text = _UNPRINTABLE.sub(" ", text).strip()
    return text if len(text) <= REASON_LIMIT else text[: REASON_LIMIT - 1] + "…"
