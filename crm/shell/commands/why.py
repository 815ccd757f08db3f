"""`crm why`: the cluster's reasons."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from crm.shell.session import ShellError
from crm.shell.shell import shell_of

app = typer.Typer(add_completion=False)


@app.command()
def why(
    context: typer.Context,
    resource: Annotated[str, typer.Argument(help="The id of a resource.")],
    node: Annotated[str | None, typer.Argument(help="Why (or why not) on this node.")] = None,
) -> None:
    """Explain where a resource runs, or why it does not, with the constraints and failures behind it."""
    from crm.policy.explain import explain_text

    shell = shell_of(context)
    text = explain_text(shell.session.query_cib(), resource, node, int(time.time()))
    if text.startswith(("There is no resource", "There is no node")):
        raise ShellError(text[0].lower() + text[1:].rstrip("."))
    shell.say(text)
