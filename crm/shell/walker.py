"""Walks the tree of commands level by level, line after line: the core of the interactive shell and of scripts.

Theory of operation. `Walker` knows the level it is in, and either moves (`configure`, `up`, `quit`) or runs the command through the same entry point as a one-shot
call. In the configure level statements are collected until `commit`; leaving the level with changes asks, and in a script commits.
`run_text` feeds it from a text, where the first failure ends the run.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from enum import StrEnum
from typing import Any, Final

import typer

from crm.api.errors import ApiError
from crm.shell import tree
from crm.shell.session import ShellError
from crm.shell.shell import Shell

UP: Final = ("up", "end", "back", "..", "cd ..")
QUIT: Final = ("quit", "exit", "bye")
HELP: Final = ("help", "?", "h")
LIST: Final = ("ls",)
CONFIGURE: Final = ("configure",)


class Outcome(StrEnum):
    GOOD = "good"
    FAILED = "failed"
    QUIT = "quit"


class Walker:
    """`path` is the level: () at the top, ("configure",), ("resource",)..."""

    def __init__(self, shell: Shell, path: tuple[str, ...] = (), *, script: bool = False) -> None:
        self.shell = shell
        self.script = script
        self.path: tuple[str, ...] = ()
        shell.interactive = True
        self._enter(path)

    @property
    def prompt(self) -> str:
        changed = "*" if self.shell.pending is not None and self.shell.pending.changed else ""
        return f"crm({self.shell.session.name}){'/'.join(self.path)}{changed}# "

    def execute(self, text: str) -> Outcome:
        """One complete line (continuation lines included)."""
        stripped = text.strip()
        if not stripped or stripped.startswith("#"):
            return Outcome.GOOD
        try:
            return self._execute(stripped)
        except (ShellError, ApiError) as error:
            print(f"crm: {error}", file=sys.stderr)
            return Outcome.FAILED
        except KeyboardInterrupt:
            print()
            return Outcome.FAILED

    def _execute(self, text: str) -> Outcome:
        if text.startswith("!"):
            return Outcome.GOOD if subprocess.run(text[1:], shell=True, check=False).returncode == 0 else Outcome.FAILED
        first = text.split(maxsplit=1)[0]
        if text in UP:
            return self.leave(1)
        if text in QUIT:
            return Outcome.QUIT if self.leave(len(self.path)) is Outcome.GOOD else Outcome.FAILED
        if first in HELP:
            return self._help(text.split()[1:])
        if text in LIST:
            print("  ".join(self.commands()))
            return Outcome.GOOD
        if self.path == CONFIGURE:
            from crm.shell.commands.configure import is_statement

            if is_statement(first):
                return self._statement(text)
        return self._command(_words(text))

    def _statement(self, text: str) -> Outcome:
        from crm.shell import editing
        from crm.shell.grammar import lexer

        statements, problems = lexer.split(text)
        if problems:
            raise editing.language_error(problems)
        for statement in statements:
            editing.put_statement(self.shell, statement)
        return Outcome.GOOD

    def _command(self, words: list[str]) -> Outcome:
        if words[0] == "cd":
            words = words[1:] or ["/"]
        if words[0].startswith("/"):
            words = [words[0][1:], *words[1:]]
            if self.leave(len(self.path)) is not Outcome.GOOD:
                return Outcome.FAILED
            if not words[0]:
                return Outcome.GOOD
        words[0] = tree.ABBREVIATIONS.get(words[0], words[0])
        path = self.path if words[0] in self.commands() else ()
        target = resolve((*path, *words))
        if target is not None and _is_level(target):
            if path != self.path and self.leave(len(self.path)) is not Outcome.GOOD:
                return Outcome.FAILED
            self._enter((*path, *words))
            return Outcome.GOOD
        if not path and not words[0].startswith("-") and words[0] not in command_names(()):
            raise ShellError(f"there is no command {words[0]!r} here; help shows those there are")
        collecting = self.shell.collecting
        # A configure command given from elsewhere is a one-shot: it commits at once.
        self.shell.collecting = collecting and path == CONFIGURE
        try:
            code = tree.run([*path, *words], self.shell)
        finally:
            self.shell.collecting = collecting
        return Outcome.GOOD if code == 0 else Outcome.FAILED

    def commands(self) -> list[str]:
        """The names of the commands in this level."""
        return command_names(self.path)

    def _enter(self, path: tuple[str, ...]) -> None:
        self.path = tuple(tree.ABBREVIATIONS.get(name, name) for name in path)
        self.shell.collecting = self.path == CONFIGURE
        if not self.shell.collecting:
            self.shell.pending = None

    def leave(self, levels: int) -> Outcome:
        """Goes up; edits that are not committed are asked about, and committed by a script."""
        if not self.path or levels < 1:
            return Outcome.GOOD
        pending = self.shell.pending
        if pending is not None and pending.changed:
            answer = "y" if self.script or self.shell.force else self._ask()
            if answer == "c":
                return Outcome.FAILED
            if answer == "y":
                from crm.shell import editing

                editing.commit(self.shell)
            else:
                self.shell.say("the changes were dropped")
        self._enter(self.path[:-levels])
        return Outcome.GOOD

    def _ask(self) -> str:
        try:
            answer = input("There are changes that are not committed. Commit them? [yes/no/cancel] ")
        except EOFError:
            answer = "no"
        return {"y": "y", "n": "n"}.get(answer.strip().lower()[:1], "c")

    def _help(self, words: list[str]) -> Outcome:
        path = self.path if not words or words[0] in self.commands() else ()
        code = tree.run([*path, *words, "--help"], self.shell)
        if not words:
            print("Also: help [COMMAND], ls, up, quit, !COMMAND of the system's shell. Tab completes.")
        return Outcome.GOOD if code == 0 else Outcome.FAILED


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ShellError(f"{text!r}: {str(error).lower()}") from None


def root_group() -> Any:
    """The tree of commands."""
    return typer.main.get_command(tree.app)


def resolve(path: tuple[str, ...]) -> Any:
    """The command or level at a path, or None."""
    current = root_group()
    for name in path:
        if not hasattr(current, "list_commands"):
            return None
        current = current.get_command(None, name)
        if current is None:
            return None
    return current


def command_names(path: tuple[str, ...]) -> list[str]:
    level = resolve(path)
    if not hasattr(level, "list_commands"):
        return []
    if not path:
        return list(level.list_commands(None))
    return [name for name in level.list_commands(None) if not level.get_command(None, name).hidden]


def _is_level(command: Any) -> bool:
    return hasattr(command, "list_commands")


def join_lines(lines: list[str]) -> list[tuple[int, str]]:
    """Logical lines with the number of the first physical one each; a backslash at the end continues a line."""
    found: list[tuple[int, str]] = []
    pending: list[str] = []
    start = 1
    for number, line in enumerate(lines, start=1):
        if not pending:
            start = number
        pending.append(line)
        if not line.rstrip().endswith("\\") or line.lstrip().startswith("#"):
            found.append((start, "\n".join(pending)))
            pending = []
    if pending:
        found.append((start, "\n".join(pending)))
    return found


def run_text(shell: Shell, text: str, source: str, path: tuple[str, ...] = ()) -> int:
    """Runs a script. The first failure ends it with exit code 1; edits at its end are committed."""
    walker = Walker(shell, path, script=True)
    for number, line in join_lines(text.splitlines()):
        outcome = walker.execute(line)
        if outcome is Outcome.FAILED:
            print(f"crm: {source}, line {number}: stopped here", file=sys.stderr)
            return 1
        if outcome is Outcome.QUIT:
            return 0
    return 0 if walker.execute("quit") is Outcome.QUIT else 1
