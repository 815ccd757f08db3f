"""The entry point.

    crm [options]                      interactive
    crm [options] LEVEL COMMAND ...    one command; exit code 0, 1 (it failed) or 2 (it was not understood)
    crm -f FILE                        the commands of a file, one a line, until one fails

`crm status` is typed all day and in every script, so its plain forms do not go through the tree of commands: importing typer (and pydantic, which it brings)
would cost more than everything else.
"""

from __future__ import annotations

import sys

from crm.api.errors import ApiError
from crm.shell.session import ShellError
from crm.shell.shell import Shell


def main() -> None:
    sys.exit(start(sys.argv[1:]))


def start(arguments: list[str]) -> int:
    """Runs a command line, and the interactive shell or the script that it asks for. Returns the exit code."""
    quick = _plain_status(arguments)
    shell = quick[0] if quick is not None else Shell()
    try:
        return _status(*quick) if quick is not None else _command(arguments, shell)
    finally:
        shell.close()


def _command(arguments: list[str], shell: Shell) -> int:
    from crm.shell.tree import run

    code = run(arguments, shell)
    if code != 0 or shell.start is None:
        return code
    from crm.shell import interactive

    return interactive.begin(shell)


def _plain_status(arguments: list[str]) -> tuple[Shell, bool] | None:
    """The shell, and whether JSON is wanted, if this is `[--cib FILE] [--run-dir DIR] status [--json]`; None otherwise."""
    shell = Shell()
    words = list(arguments)
    while len(words) > 2 and words[0] in ("--cib", "-c", "--run-dir"):
        option, value = words[:2]
        if option == "--run-dir":
            shell.run_dir = value
        else:
            shell.cib_file = value
        del words[:2]
    if words in (["status"], ["st"]):
        return shell, False
    return (shell, True) if words == ["status", "--json"] else None


def _status(shell: Shell, json: bool) -> int:
    from crm.shell.status import show

    try:
        if json:
            show.as_json(shell.session)
        else:
            show.once(shell.session)
    except (ShellError, ApiError) as error:
        print(f"crm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return 0


if __name__ == "__main__":
    main()
