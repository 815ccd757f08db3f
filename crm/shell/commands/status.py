"""`crm status`: the cluster at a glance."""

from __future__ import annotations

from typing import Annotated

import typer

from crm.shell.shell import shell_of

app = typer.Typer(add_completion=False)


@app.command()
def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw it again whenever something happens.")] = False,
    full: Annotated[bool, typer.Option("--full", help="A line for each resource, however many there are.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """See nodes, resources, failures and fencing. Exit code 0, also when something is wrong with the cluster."""
    from crm.shell.status import show

    session = shell_of(context).session
    if json:
        show.as_json(session)
    elif watch:
        show.watch(session, full=full)
    else:
        show.once(session, full=full)
