"""The prompt: reads lines with completion and history, and hands them to the walker; or runs a script instead."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from crm.shell import tree
from crm.shell.session import ShellError
from crm.shell.shell import Shell
from crm.shell.walker import Outcome, Walker, run_text

HISTORY: Final = "~/.local/state/vigil/crm_history"


def begin(shell: Shell) -> int:
    """What `Shell.start` and `Shell.script` ask for: a script (a file or what is piped in), or the prompt."""
    path, file = shell.start or (), shell.script
    shell.start = shell.script = None
    try:
        if file is not None:
            return run_text(shell, tree.script(file), "standard input" if file == "-" else file)
        if not sys.stdin.isatty():
            return run_text(shell, sys.stdin.read(), "standard input", path)
    except ShellError as error:
        print(f"crm: {error}", file=sys.stderr)
        return 1
    return loop(shell, path)


def loop(shell: Shell, path: tuple[str, ...] = ()) -> int:
    """Asks for lines until `quit` or the end of input."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.shortcuts import CompleteStyle

    from crm.shell.completion import ShellCompleter

    walker = Walker(shell, path)
    history: History = InMemoryHistory()
    file = Path(os.environ.get("CRM_HISTORY_FILE", HISTORY)).expanduser()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        history = FileHistory(str(file))
    except OSError:
        pass
    prompt: PromptSession[str] = PromptSession(
        history=history,
        completer=ShellCompleter(walker),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,
    )
    while True:
        try:
            text = prompt.prompt(walker.prompt)
            while text.rstrip().endswith("\\"):
                text += "\n" + prompt.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            print()
            text = "quit"
        if walker.execute(text) is Outcome.QUIT:
            return 0
