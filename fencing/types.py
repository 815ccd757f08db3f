"""What the fencer is told, and what it asks for. Effects are carried out in the order given; times are milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.types import Operation


class FenceAction(StrEnum):
    ON = "on"
    OFF = "off"
    REBOOT = "reboot"


class Outcome(StrEnum):
    """How a request stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody's wish to have a node fenced. `token` names it in the answer; several may want the same.

    `timeout_ms` is what one device gets for one action unless it has its own. `delay_ms` comes on top of the devices' delays.
    `chance`, from 0 up to 1, is drawn anew by whoever asks: it decides about random delays.
    """

    token: int
    target: str
    action: FenceAction
    reason: str = ""
    timeout_ms: int = 60_000
    delay_ms: int = 0
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class RunDevice:
    """Run a fence agent. Its result comes back through `on_result` with this call id."""

    call_id: int
    device: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a request: only `confirmed` lets the node's resources start elsewhere. `text` is for people."""

    token: int
    target: str
    confirmed: bool
    text: str


@dataclass(frozen=True, slots=True)
class AskWatchdog:
    """No device could do it: does the target's own watchdog? The answer comes back through `on_watchdog` with this job."""

    job: int
    target: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `on_timer` with this name at `at_ms` (monotonic)."""

    name: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the fencing history, when it begins and when it ends. Times are seconds of the wall clock."""

    identity: int
    target: str
    action: FenceAction
    reason: str
    outcome: Outcome
    device: str
    text: str
    began: int
    ended: int = 0


Effect = RunDevice | AskWatchdog | Answer | SetTimer | Event


class InvariantBroken(AssertionError):
    """A rule of the fencer itself does not hold."""
