"""The whole text of a simulation (24): status, what is going to happen, its execution, and the status after it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from crm.policy.dates import show_utc
from crm.policy.inject import OperationSpec
from crm.policy.model import ClusterState
from crm.policy.render.status import header_lines, status_lines
from crm.policy.schedule import Transition
from crm.policy.simulate import Execution, execute
from crm.policy.state import unpack
from crm.policy.values import parse_integer

if TYPE_CHECKING:
    from lxml.etree import _Element


def date_line(cib: _Element, argument: str | None) -> str | None:
    """Where the time of the simulation comes from, if not from the clock."""
    if argument is not None:
        return f"Setting effective cluster time: {argument}"
    text = cib.get("execution-date")
    if text is not None and text.lstrip("-").isdigit():
        return f"Using the original execution date of: {show_utc(parse_integer(text) or 0)}"
    return None


def current_status(cib: _Element, now: int) -> list[str]:
    return state_lines(unpack(cib, now))


def state_lines(state: ClusterState) -> list[str]:
    return [*header_lines(state), "Current cluster status:", *status_lines(state, pending=True), ""]


def transition_summary(transition: Transition) -> list[str]:
    return ["Transition Summary:", *transition.summary.lines(), ""]


def executed(execution: Execution) -> list[str]:
    return [
        "Executing Cluster Transition:",
        *(line if line.startswith("Pretending") else f"  * {line}" for line in execution.lines),
    ]


def revised_status(cib: _Element, now: int) -> list[str]:
    return ["Revised Cluster Status:", *status_lines(unpack(cib, now), pending=False)]


def render_simulation(
    transition: Transition,
    cib: _Element,
    clock: int,
    argument: str | None = None,
    failures: tuple[OperationSpec, ...] = (),
) -> str:
    """What `crm_simulate -S` prints for a scheduled CIB, which is not changed. Results are dated by the clock (epoch seconds)."""
    date = date_line(cib, argument)
    lines = [date] if date is not None else []
    lines += state_lines(transition.state)
    lines += transition_summary(transition)
    after = deepcopy(cib)
    lines += executed(execute(after, transition, clock, failures))
    if date is not None:
        lines.append(date)
    lines.append("")
    lines += revised_status(after, transition.state.now)
    return "\n".join(lines) + "\n"
