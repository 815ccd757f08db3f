"""`crm configure`: the configuration, as statements of the configure language.

One-shot, each command is committed at once. In the interactive shell commands edit a copy, `commit` (or leaving the level, after asking) writes it.
Either way the result is checked first, and errors that the edit brings in stop it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from crm.shell import editing
from crm.shell.configuration import Configuration, ConfigurationError, Mode
from crm.shell.grammar.lexer import XML, Statement, Word
from crm.shell.grammar.statements import READERS
from crm.shell.level import make_level
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of

app = make_level("configure", "See and change the configuration.")
T = TypeVar("T")

_RAW: Final = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": ["--help"],
}
"""Words that begin with a minus, such as -inf:, belong to the statement."""


@app.command()
def show(
    context: typer.Context,
    objects: Annotated[
        list[str] | None, typer.Argument(help="xml, changed, type:KEYWORD, or ids; all objects without.")
    ] = None,
) -> None:
    """Print the configuration, or the objects named."""
    shell = shell_of(context)
    words = list(objects or ())
    as_xml = "xml" in words[:1]
    configuration = editing.current(shell)
    text = _translate(
        lambda: configuration.text(words[1:] if as_xml else words, as_xml=as_xml, hide_secrets=not as_xml)
    )
    editing.print_configuration(text, plain=as_xml)


def _translate(action: Callable[[], T]) -> T:
    """Problems of the configuration become problems of the shell."""
    try:
        return action()
    except ConfigurationError as error:
        raise editing.shell_error(error) from None


_STATEMENT_HELP: Final = {
    "primitive": "A resource: ID AGENT [params ...] [meta ...] [utilization ...] [op NAME ...]...",
    "rsc_template": "A template for primitives: ID AGENT [params ...] [meta ...] [op ...]...",
    "group": "Resources that run together, in order: ID MEMBER... [meta ...]",
    "clone": "A resource that runs on many nodes: ID MEMBER [meta ...]",
    "ms": "A promotable clone: ID MEMBER [meta ...]",
    "bundle": "A container: ID docker|podman ... [network ...] [storage ...] [primitive ID]",
    "location": "Where a resource may run: ID RESOURCE SCORE: NODE, or ID RESOURCE rule ...",
    "colocation": "What runs together: ID SCORE: DEPENDENT PRIMARY",
    "order": "What comes first: ID [KIND:] FIRST[:ACTION] THEN[:ACTION]",
    "rsc_ticket": "What needs a ticket: ID TICKET: RESOURCE [loss-policy=...]",
    "property": "Options of the cluster: NAME=VALUE...",
    "rsc_defaults": "Defaults of all resources: NAME=VALUE...",
    "op_defaults": "Defaults of all operations: NAME=VALUE...",
    "node": "A node's attributes: NAME [attributes ...] [utilization ...]",
    "tag": "A name for several objects: ID MEMBER...",
    "fencing_topology": "Which devices fence which node: [TARGET:] DEVICE[,DEVICE]...",
    "alert": "A program that is told: ID PATH [to RECIPIENT]",
    "role": "What may be seen and changed: ID read|write|deny ...",
    "acl_target": "The roles of a user: ID ROLE...",
    "acl_group": "The roles of a group of users: ID ROLE...",
    XML: "An object as XML.",
}


def _statement_command(keyword: str) -> Callable[..., None]:
    def command(context: typer.Context, words: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        editing.put_statement(shell_of(context), statement_of(keyword, words or []))

    # Brackets would be taken for markup.
    command.__doc__ = _STATEMENT_HELP.get(keyword, "An old spelling.").replace("[", "\\[")
    return command


for _keyword in (*READERS, XML):
    app.command(_keyword, context_settings=_RAW, hidden=_keyword not in _STATEMENT_HELP)(_statement_command(_keyword))


def statement_of(keyword: str, words: list[str]) -> Statement:
    """A statement from words that the caller's shell has already cut and unquoted."""
    head = Word(keyword, 1, 1)
    if keyword == XML:
        return Statement((head,), 1, " ".join(words))
    found = [head]
    column = len(keyword) + 2
    for text in words:
        found.append(Word(text, 1, column, text.find("="), quoted=any(character.isspace() for character in text)))
        column += len(text) + 1
    return Statement(tuple(found), 1)


@app.command()
def load(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[xml] [update|replace] FILE", help="'-' is standard input.")],
) -> None:
    """Load statements (or XML) from a file: update objects, or replace the configuration."""
    shell = shell_of(context)
    *options, name = words
    options = [option for option in options if option != "xml"]
    if len(options) > 1 or (options and options[0] not in ("update", "replace", "push")):
        raise ShellError(
            f"{' '.join(options)!r} is not known; expected load [xml] update FILE or load [xml] replace FILE"
        )
    mode = Mode.REPLACE if options and options[0] != "update" else Mode.UPDATE
    from crm.shell.tree import script

    text = script(name)
    source = "standard input" if name == "-" else name
    if text.lstrip().startswith("<"):
        editing.load_xml(shell, text, source, mode)
    else:
        editing.load_text(shell, text, source, mode)


@app.command()
def save(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[xml] FILE [ID...]", help="'-' is standard output.")],
) -> None:
    """Write the configuration, or the objects named, to a file."""
    shell = shell_of(context)
    as_xml = words[:1] == ["xml"]
    rest = words[1:] if as_xml else words
    if not rest:
        raise ShellError("there is no file to write to; expected save [xml] FILE [ID...]")
    configuration = editing.current(shell)
    text = _translate(lambda: configuration.text(rest[1:], as_xml=as_xml))
    if rest[0] == "-":
        print(text, end="")
        return
    path = Path(rest[0])
    try:
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ShellError(f"cannot write {path}: {error.strerror}") from None
    shell.say(f"configuration written to {path}")


@app.command()
def edit(
    context: typer.Context,
    objects: Annotated[list[str] | None, typer.Argument(help="Ids; everything without.")] = None,
) -> None:
    """Change the configuration, or the objects named, in $EDITOR."""
    editing.edit_text(shell_of(context), list(objects or ()))


@app.command()
def delete(
    context: typer.Context,
    objects: Annotated[list[str], typer.Argument(help="Ids of resources, constraints, tags...")],
    force: Annotated[bool, typer.Option("--force", "-F", help="Even if it runs, or a group is left empty.")] = False,
) -> None:
    """Delete objects, and the constraints that mention them. A resource has to be stopped before."""
    shell = shell_of(context)
    forced = force or shell.force
    if not forced and shell.session.live:
        _refuse_running(shell, objects)

    def change(configuration: Configuration) -> list[str]:
        return configuration.delete(objects, force=forced)

    also = editing.change(shell, change)
    shell.say(f"deleted {', '.join(objects)}{'; with it went ' + ', '.join(also) if also else ''}")


def _refuse_running(shell: Shell, objects: list[str]) -> None:
    from crm.shell.commands.resource import still_running

    running = still_running(shell, objects)
    if running:
        raise ShellError(
            f"{', '.join(running)} must be stopped first: crm resource stop {' '.join(running)} --wait (with --force the cluster stops it as it goes)",
            tuple(f"{name} runs on {', '.join(nodes)}" for name, nodes in running.items()),
        )


@app.command()
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(help="The id now.")],
    new: Annotated[str, typer.Argument(help="The id from now on.")],
) -> None:
    """Give an object another id, and everything that refers to it."""
    shell = shell_of(context)
    editing.change(shell, lambda configuration: configuration.rename(old, new))
    shell.say(f"renamed {old} to {new}")


@app.command()
def modgroup(
    context: typer.Context,
    group: Annotated[str, typer.Argument(help="The group.")],
    words: Annotated[list[str], typer.Argument(metavar="add|remove MEMBER [before|after OTHER]")],
) -> None:
    """Add a member to a group, or remove one."""
    shell = shell_of(context)
    editing.change(shell, lambda configuration: editing.change_group(configuration, group, words))
    shell.say(f"group {group}: {' '.join(words)}")


@app.command()
def erase(context: typer.Context) -> None:
    """Remove the whole configuration; nodes stay."""
    shell = shell_of(context)
    if not shell.confirm("Remove all resources, constraints and options?"):
        return
    editing.change(shell, lambda configuration: configuration.apply([], Mode.REPLACE))
    shell.say("the configuration is empty")


@app.command()
def verify(context: typer.Context) -> None:
    """Say what is wrong with the configuration; exit code 1 when there are errors."""
    shell = shell_of(context)
    errors = editing.print_report(shell, editing.current(shell))
    if errors:
        raise typer.Exit(1)


@app.command()
def upgrade(context: typer.Context) -> None:
    """Bring the configuration to the newest schema: old syntax is converted."""
    shell = shell_of(context)
    if shell.pending is not None and shell.pending.changed:
        raise ShellError("there are edits that are not committed; commit or refresh first")
    before = shell.session.query_cib().get("validate-with", "no schema")
    shell.session.apply("upgrade")
    shell.pending = None
    after = shell.session.query_cib().get("validate-with", "")
    shell.say(f"the configuration is of {after} already" if before == after else f"upgraded from {before} to {after}")


@app.command()
def simulate(context: typer.Context) -> None:
    """Show what the cluster would do, were what was edited committed."""
    shell = shell_of(context)
    shell.show_preview(editing.current(shell).root)


@app.command()
def commit(
    context: typer.Context,
    force: Annotated[str | None, typer.Argument(metavar="[force]", help="Despite errors and conflicts.")] = None,
) -> None:
    """Write what was edited to the cluster."""
    shell = shell_of(context)
    if force not in (None, "force"):
        raise ShellError(f"{force!r} is not known; expected commit or commit force")
    if not shell.collecting:
        shell.say("nothing to commit: outside the interactive shell each command commits at once")
        return
    editing.commit(shell, force=force is not None or shell.force)


@app.command()
def refresh(context: typer.Context) -> None:
    """Drop what was edited and read the configuration again."""
    shell = shell_of(context)
    shell.pending = None
    shell.say("the configuration was read again")


def is_statement(word: str) -> bool:
    return word.lower() in READERS or word == XML
