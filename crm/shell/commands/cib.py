"""`crm cib`: shadows, copies of the CIB to try things on, and the CIB as a whole."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer

from crm.cib import xml
from crm.shell import commit as committing
from crm.shell.configuration import Configuration
from crm.shell.grammar import show as grammar
from crm.shell.session import FileSession, LiveSession, ShellError
from crm.shell.shell import Shell, shell_of

app = typer.Typer(help="Copies of the CIB to try things on.", invoke_without_command=True, add_completion=False)

FOLDER: Final = "~/.local/state/vigil/shadows"
ENV_FOLDER: Final = "CRM_SHADOW_DIR"
LIVE: Final = "live"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a shadow.")]


@app.callback()
def level(context: typer.Context) -> None:
    if context.invoked_subcommand is None and not shell_of(context).interactive:
        shell_of(context).start = ("cib",)


def shadow(name: str) -> Path:
    """The file of a shadow."""
    if not name or "/" in name or name.startswith(".") or name == LIVE:
        raise ShellError(f"{name!r} cannot be the name of a shadow; expected a plain word")
    return Path(os.environ.get(ENV_FOLDER, FOLDER)).expanduser() / f"{name}.xml"


def _existing(name: str) -> Path:
    path = shadow(name)
    if not path.is_file():
        raise ShellError(f"there is no shadow {name!r}; crm cib list prints them, crm cib new {name} makes one")
    return path


@app.command()
def new(
    context: typer.Context,
    name: Name,
    empty: Annotated[bool, typer.Option("--empty", help="Begin with an empty configuration.")] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Although there is one of that name.")] = False,
) -> None:
    """Copy the CIB to a shadow, and use it."""
    shell = shell_of(context)
    path = shadow(name)
    if path.exists() and not (force or shell.force):
        raise ShellError(f"there is a shadow {name!r} already (--force overwrites it)")
    cib = xml.empty() if empty else shell.session.query_cib()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(xml.to_text(cib), encoding="utf-8")
    except OSError as error:
        raise ShellError(f"cannot write {path}: {error.strerror}") from None
    _use(shell, name)


@app.command()
def use(context: typer.Context, name: Annotated[str, typer.Argument(help="A shadow, or live.")] = LIVE) -> None:
    """Work on a shadow from now on, or on the live CIB again (interactive)."""
    _use(shell_of(context), name)


def _use(shell: Shell, name: str) -> None:
    if name == LIVE:
        shell.use(LiveSession(shell.run_dir))
        shell.say("commands now work on the live CIB")
        return
    path = _existing(name)
    shell.use(FileSession(path))
    if shell.interactive:
        shell.say(
            f"commands now work on the shadow {name}; 'cib use live' ends it, 'cib commit {name}' writes it to the cluster"
        )
    else:
        shell.say(f"the shadow {name} is {path}; work on it with: crm --cib {path} ...")


@app.command("list")
def list_shadows(context: typer.Context) -> None:
    """Print the shadows."""
    for path in sorted(shadow("x").parent.glob("*.xml")):
        shell_of(context).say(path.stem)


@app.command()
def delete(context: typer.Context, name: Name) -> None:
    """Remove a shadow."""
    path = _existing(name)
    shell = shell_of(context)
    if isinstance(shell.session, FileSession) and shell.session.path == path:
        raise ShellError(f"the shadow {name} is in use; 'cib use live' first")
    path.unlink()
    shell.say(f"removed the shadow {name}")


@app.command()
def diff(context: typer.Context, name: Name) -> None:
    """Show what a shadow's configuration has different from the live one."""
    import difflib

    shell = shell_of(context)
    with closing(LiveSession(shell.run_dir)) as session:
        live = session.query_cib()
    texts = [
        grammar.show(cib, hide_secrets=True).splitlines(keepends=True) for cib in (live, xml.load(_existing(name)))
    ]
    lines = list(difflib.unified_diff(texts[0], texts[1], LIVE, name, n=1))
    shell.say("".join(lines).rstrip() if lines else "no difference")


@app.command()
def commit(context: typer.Context, name: Name) -> None:
    """Replace the live configuration by a shadow's."""
    shell = shell_of(context)
    path = _existing(name)

    def action(configuration: Configuration) -> None:
        configuration.replace_with(xml.load(path))

    with closing(LiveSession(shell.run_dir)) as live:
        committing.transact(live, action)
    shell.say(f"the configuration of the shadow {name} is live")


@app.command()
def version(context: typer.Context) -> None:
    """Print the version of the CIB: admin_epoch.epoch.num_updates."""
    shell = shell_of(context)
    shell.say(str(xml.version(shell.session.query_cib())))
