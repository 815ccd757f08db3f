"""The entry point.

crm [options]                      interactive
crm [options] LEVEL COMMAND ...    one command; exit code 0, 1 (it failed) or 2 (it was not understood)
crm -f FILE                        the commands of a file, one a line, until one fails
"""

from __future__ import annotations

import sys

from crm.shell.shell import Shell
from crm.shell.tree import run


def main() -> None:
    sys.exit(start(sys.argv[1:]))


def start(arguments: list[str]) -> int:
    """Runs a command line, and the interactive shell or the script that it asks for. Returns the exit code."""
    shell = Shell()
    code = run(arguments, shell)
    if code != 0 or shell.start is None:
        return code
    from crm.shell import interactive

    return interactive.begin(shell)


if __name__ == "__main__":
    main()
