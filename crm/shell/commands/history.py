"""`crm history`: what happened, under the commands that crmsh has for it. The records are those of `crm events`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from crm.shell.commands import events
from crm.shell.level import make_level
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of

app = make_level("history", "What happened: transitions, and what concerns a resource or a node.")

TRANSITIONS: Final = 20
"""Transitions that are listed."""

Since = Annotated[str, typer.Option("--since", help="10m, 2h, 3d, 14:30, or a date and time.")]
Limit = Annotated[int, typer.Option("--limit", "-n", help="The last so many records.")]
Everything = Annotated[bool, typer.Option("--all", "-a", help="Details, too.")]


@app.command()
def latest(context: typer.Context, everything: Everything = False) -> None:
    """The story of the last transition that had something to do."""
    shell = shell_of(context)
    _tell(shell, _transitions(shell)[-1], everything)


@app.command()
def transitions(context: typer.Context, since: Since = "", limit: Limit = TRANSITIONS) -> None:
    """The last transitions: what was decided, where its input is kept, and why (the id of the cause)."""
    events.show(shell_of(context), events.Asked(kinds=("transition",), since=since, limit=limit, everything=True))


@app.command()
def transition(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="Its number; without it the last one.")] = None,
    everything: Everything = False,
) -> None:
    """The story of one transition: what led to it, and what came of it. Of several with one number, the last."""
    shell = shell_of(context)
    found = [each for each in _transitions(shell) if number is None or each["number"] == number]
    if not found:
        raise ShellError(f"nothing is known of transition {number} (crm history transitions lists them)")
    _tell(shell, found[-1], everything)


@app.command()
def resource(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="RESOURCE...", help="Resources.")],
    since: Since = "",
    limit: Limit = 0,
    everything: Everything = False,
) -> None:
    """What happened to these resources."""
    for name in names:
        events.show(shell_of(context), events.Asked(about=name, since=since, limit=limit, everything=everything))


@app.command()
def node(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NODE...", help="Nodes.")],
    since: Since = "",
    limit: Limit = 0,
    everything: Everything = False,
) -> None:
    """What happened to these nodes."""
    for name in names:
        events.show(
            shell_of(context),
            events.Asked(about=name, kinds=("node", "fencing"), since=since, limit=limit, everything=everything),
        )


@app.command()
def log(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help="Without one, all.")] = None,
    since: Since = "",
    limit: Limit = 0,
) -> None:
    """Everything that these nodes say, details and all."""
    events.show(shell_of(context), events.Asked(nodes=tuple(names or ()), since=since, limit=limit, everything=True))


def _transitions(shell: Shell) -> list[dict[str, Any]]:
    params = events.Asked(kinds=("transition",), limit=events.SEARCH_LIMIT, everything=True).params()
    found = [each for each in shell.session.call("events.query", **params)["events"] if each["event"] == "transition"]
    if not found:
        raise ShellError("no transition is known")
    return found


def _tell(shell: Shell, record: dict[str, Any], everything: bool) -> None:
    events.show(shell, events.Asked(cause=str(record["cause"]), everything=everything))
