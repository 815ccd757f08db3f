"""The entry point: options that hold for every command, and the tree of commands, each level imported when it is used.

crm [options]                      interactive
crm [options] LEVEL COMMAND ...    one command; exit code 0, 1 (it failed) or 2 (it was not understood)
crm -f FILE                        the commands of a file, one a line, until one fails
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from crm.api.errors import ApiError
from crm.shell.session import Done, ShellError
from crm.shell.shell import Shell

LEVELS: Final[dict[str, str]] = {
    "status": "crm.shell.commands.status",
    "configure": "crm.shell.commands.configure",
    "resource": "crm.shell.commands.resource",
    "node": "crm.shell.commands.node",
    "maintenance": "crm.shell.commands.maintenance",
    "cluster": "crm.shell.commands.cluster",
    "why": "crm.shell.commands.why",
    "events": "crm.shell.commands.events",
    "history": "crm.shell.commands.history",
    "ra": "crm.shell.commands.ra",
    "cib": "crm.shell.commands.cib",
    "options": "crm.shell.commands.options",
    "lab": "crm.shell.commands.lab",
}
"""Each level (or single command) and the module that has it as `app`."""
ABBREVIATIONS: Final = {"st": "status", "cfg": "configure", "rsc": "resource"}
_PRINTABLE: Final = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(TyperGroup):
    """Imports the module of a level when it is asked for; all of them for help and for suggestions."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        name = ABBREVIATIONS.get(cmd_name, cmd_name)
        if name in LEVELS and name not in self.commands:
            self._load(name)
        elif name not in self.commands:
            for level in LEVELS:
                if level not in self.commands:
                    self._load(level)
        return self.commands.get(name)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(LEVELS)

    def _load(self, name: str) -> None:
        module = importlib.import_module(LEVELS[name])
        application: typer.Typer = module.app
        if application.registered_callback is None and len(application.registered_commands) == 1:
            command: Any = typer.main.get_command(application)
        else:
            # Through a parent, so that the level does not get options of its own for installing completion.
            parent = typer.Typer(add_completion=False)
            parent.add_typer(application, name=name)
            above: Any = typer.main.get_command(parent)
            command = above.commands[name]
        command.name = name
        self.add_command(command, name)


app = typer.Typer(
    cls=LazyGroup,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
    help="See, configure and drive a Vigil cluster. Without a command: interactive.",
)


@app.callback()
def root(
    context: typer.Context,
    cib: Annotated[str | None, typer.Option("--cib", "-c", help="Work on this CIB file (also: CIB_file).")] = None,
    run_dir: Annotated[str | None, typer.Option(help="Whose daemon to talk to (also: VIGIL_RUN_DIR).")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Return when the cluster has carried it out.")] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Do it without asking.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Change nothing: show what the cluster would do then.")
    ] = False,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Run the commands of this file ('-': input).")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    shell = context.obj if isinstance(context.obj, Shell) else Shell()
    if not shell.interactive:
        shell.cib_file, shell.run_dir = cib, run_dir
        shell.wait, shell.force, shell.preview = wait, force, preview
    context.obj = shell
    if version:
        from importlib.metadata import version as version_of

        print(f"vigil {version_of('vigil')}")
        raise typer.Exit
    if context.invoked_subcommand is None and not shell.interactive:
        shell.start, shell.script = (), file


def run(arguments: list[str], shell: Shell | None = None) -> int:
    """One command line. Returns the exit code; whatever goes wrong has been printed."""
    strange = next((word for word in arguments if not _PRINTABLE.fullmatch(word)), None)
    if strange is not None:
        print(f"crm: {strange!r} has characters in it that no configuration can hold", file=sys.stderr)
        return 2
    command = typer.main.get_command(app)
    try:
        command.main(args=arguments, prog_name="crm", obj=shell or Shell())
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Done:
        return 0
    except (ShellError, ApiError) as error:
        print(f"crm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does.
        sys.stderr.close()
        return 1
    return 0


def script(path: str) -> str:
    """The text of a file of commands. ShellError when it cannot be read."""
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ShellError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ShellError(f"{path} is not UTF-8 text") from None
