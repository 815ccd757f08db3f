"""A level of the shell: a group of commands that can also be entered (`crm node`, then its commands one by one)."""

from __future__ import annotations

import typer

from crm.shell.shell import shell_of


def make_level(name: str, about: str) -> typer.Typer:
    """The application of a level. Without a command the interactive shell begins there."""
    app = typer.Typer(help=about, invoke_without_command=True, add_completion=False)

    @app.callback()
    def level(context: typer.Context) -> None:
        shell = shell_of(context)
        if context.invoked_subcommand is None and not shell.interactive:
            shell.start = (name,)

    return app
