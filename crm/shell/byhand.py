"""`crm maintenance action`: an agent run on this node, while the cluster leaves its resource alone.

Theory of operation. Only what is unmanaged, or in maintenance (itself, its node, the cluster), may be touched: otherwise the next monitor of the cluster undoes what
was done, or recovers it. What changes the state of a resource is done where it runs; it is started only where no other node has it.
"""

from __future__ import annotations

import time
from typing import Final

from agents.types import ExecStatus, OcfCode, OperationResult
from crm.policy.model import Node, Primitive, Resource
from crm.policy.state import effective_now, unpack
from crm.shell.session import ShellError
from crm.shell.shell import Shell
from crm.tools.command import Failure
from crm.tools.resources import by_hand
from crm.tools.resources.listing import find, places

ACTIONS: Final = ("start", "stop", "monitor", "promote", "demote", "validate-all")
WHERE_IT_RUNS: Final = ("stop", "promote", "demote")
NOT_A_FAILURE: Final = {"monitor": (OcfCode.OK, OcfCode.NOT_RUNNING, OcfCode.RUNNING_PROMOTED)}


def run(shell: Shell, resource: str, action: str) -> tuple[str, str]:
    """(what went wrong, what the agent said). ShellError when it is not to be done."""
    if action not in ACTIONS:
        raise ShellError(f"{action!r} is not an action; expected one of {', '.join(ACTIONS)}")
    here_name = str(shell.live.call("membership")["node"])
    document = shell.live.query_cib()
    state = unpack(document, effective_now(document, None, int(time.time()))[0])
    try:
        wanted = find(state, resource)
        primitive = by_hand.primitive_of(wanted, action)
    except Failure as failure:
        raise ShellError(str(failure).partition("\n")[0]) from None
    here = next((node for node in state.nodes if node.name == here_name), None)
    _refuse(wanted, primitive, action, here, here_name)
    operation = by_hand.operation_for(state, primitive, action, here)
    result = by_hand.execute(operation)
    text = f"{action} of {primitive.config_id} on {here_name}: {_told(result)}"
    fine = result.status is ExecStatus.DONE and result.rc in NOT_A_FAILURE.get(action, (OcfCode.OK,))
    output = "\n".join(part.rstrip("\n") for part in (result.stdout, result.stderr) if part.strip())
    return ("" if fine else f"{action} of {primitive.config_id} failed", f"{text}\n{output}".rstrip("\n"))


def _told(result: OperationResult) -> str:
    reason = f", {result.exit_reason}" if result.exit_reason else ""
    if result.status is not ExecStatus.DONE:
        return f"{result.status.text}{reason}"
    return f"{OcfCode.text_of(result.rc)} ({result.rc}){reason}"


def _refuse(wanted: Resource, primitive: Primitive, action: str, here: Node | None, name: str) -> None:
    alone = not primitive.managed or primitive.maintenance or (here is not None and here.maintenance)
    if not alone and action not in ("monitor", "validate-all"):
        raise ShellError(
            f"the cluster takes care of {wanted.id} and would undo this; before: crm maintenance on {wanted.id}"
        )
    active = sorted({node for node, _ in places(wanted)})
    if action in WHERE_IT_RUNS and name not in active:
        where = f"runs on {', '.join(active)}" if active else "does not run"
        raise ShellError(f"{wanted.id} {where}, as far as the cluster knows; {action} it where it runs, this is {name}")
    elsewhere = [node for node in active if node != name]
    if action == "start" and elsewhere and isinstance(wanted, Primitive):
        raise ShellError(f"{wanted.id} runs on {', '.join(elsewhere)}: started here too it would be active twice")
