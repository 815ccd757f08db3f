"""How commands change the configuration: at once when one-shot, in the pending copy when interactive; checked either way.

The checks run agents, which takes asyncio and more; commands that only look do without, so they are imported where they are used.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from crm.cib import xml
from crm.cib.report import ReportItem, Severity, errors
from crm.shell import commit as committing
from crm.shell.configuration import Configuration, ConfigurationError, Mode
from crm.shell.grammar import show
from crm.shell.grammar.lexer import Problem, Statement
from crm.shell.grammar.statements import LanguageError, Parsed, parse, parse_statement
from crm.shell.session import ShellError
from crm.shell.shell import Shell

if TYPE_CHECKING:
    from crm.shell.catalogue import Catalogue

T = TypeVar("T")
MAX_SHOWN: Final = 50
"""Problems printed of one edit."""


def current(shell: Shell) -> Configuration:
    """The configuration being edited, else the one there is."""
    if shell.pending is not None:
        return shell.pending
    configuration = Configuration(shell.session.query_cib())
    if shell.collecting:
        shell.pending = configuration
    return configuration


def change(shell: Shell, action: Callable[[Configuration], T]) -> T:
    """Carries out one edit. One-shot: checks and commits it. ShellError with everything that is wrong."""
    if shell.collecting:
        try:
            return action(current(shell))
        except ConfigurationError as error:
            raise shell_error(error) from None

    def attempt(configuration: Configuration) -> T:
        result = action(configuration)
        _judge(shell, configuration, force=shell.force)
        if shell.preview:
            shell.show_preview(configuration.root)
        return result

    try:
        result = committing.transact(shell.session, attempt)
    except ConfigurationError as error:
        raise shell_error(error) from None
    shell.settle()
    return result


def shell_error(error: ConfigurationError) -> ShellError:
    if len(error.problems) == 1:
        return ShellError(error.problems[0])
    return ShellError(f"{len(error.problems)} problems; nothing was changed", error.problems)


def _judge(shell: Shell, configuration: Configuration, *, force: bool) -> None:
    """Prints what the edit makes worse; errors stop it unless forced."""
    if not configuration.changed:
        return
    from crm.shell import checks

    items = checks.new_items(configuration, catalogue())
    wrong = errors(items)
    if wrong and not force:
        raise ShellError(
            f"{_count(len(wrong), 'error')} in the configuration; nothing was changed (--force commits it nevertheless)",
            tuple(_lines(items)),
        )
    for line in _lines(items):
        shell.warn(line)


def _lines(items: Sequence[ReportItem]) -> list[str]:
    lines = [f"{item.severity}: {item.element}: {item.message}" for item in items[:MAX_SHOWN]]
    if len(items) > MAX_SHOWN:
        lines.append(f"... and {len(items) - MAX_SHOWN} more")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def catalogue() -> Catalogue:
    """The agents of this node."""
    from crm.shell.catalogue import Installed

    return Installed()


# Statements


def put_statement(shell: Shell, statement: Statement) -> None:
    parsed, problems = parse_statement(statement)
    if problems or parsed is None:
        raise language_error(problems)
    put(shell, [parsed], Mode.CREATE)


def language_error(problems: Sequence[Problem], source: str = "") -> ShellError:
    lines = [f"{source + ', ' if source else ''}{problem}" for problem in problems]
    if len(problems) == 1 and not source:
        problem = problems[0]
        return ShellError(f"{problem.statement + ': ' if problem.statement else ''}{problem.message}")
    return ShellError(f"{_count(len(lines), 'problem')}; nothing was changed", tuple(lines))


def put(shell: Shell, parsed: list[Parsed], mode: Mode) -> None:
    """Applies statements; interactive, says at once what is doubtful about them."""
    change(shell, lambda configuration: configuration.apply(parsed, mode))
    names = ", ".join(f"{item.keyword} {item.identity}" for item in parsed[:5])
    more = f" and {len(parsed) - 5} more" if len(parsed) > 5 else ""
    if not shell.collecting:
        shell.say(f"committed: {names}{more}")
    elif shell.pending is not None:
        from crm.shell import checks

        only = {item.identity for item in parsed}
        for line in _lines(list(checks.check_agents(shell.pending.root, catalogue(), only))):
            shell.warn(line)


def load_text(shell: Shell, text: str, source: str, mode: Mode) -> None:
    try:
        parsed = parse(text, source)
    except LanguageError as error:
        raise language_error(error.problems, source) from None
    change(shell, lambda configuration: configuration.apply(parse(text, source), mode))
    _loaded(shell, len(parsed), source)


def load_xml(shell: Shell, text: str, source: str, mode: Mode) -> None:
    try:
        root = xml.parse_fragment(text, source=source)
    except xml.CibSyntaxError as error:
        raise ShellError(str(error)) from None
    if root.tag == "configuration":
        whole = xml.empty()
        current_part = whole.find("configuration")
        if current_part is not None:
            whole.replace(current_part, root)
        root = whole
    if root.tag != "cib":
        raise ShellError(f"{source}: the root element is <{root.tag}>; expected <cib> or <configuration>")

    def action(configuration: Configuration) -> None:
        if mode is Mode.REPLACE:
            configuration.replace_with(root)
        else:
            configuration.apply(parse(show.show(root)), Mode.UPDATE)

    change(shell, action)
    _loaded(shell, len(show.objects(root)), source)


def _loaded(shell: Shell, number: int, source: str) -> None:
    shell.say(f"{'loaded' if shell.collecting else 'committed'} {_count(number, 'object')} from {source}")


def change_group(configuration: Configuration, group: str, words: Sequence[str]) -> None:
    """`add R [before|after S]` or `remove R`."""
    item = configuration.find(group)
    if item is None or item.keyword != "group":
        raise ConfigurationError([f"there is no group {group!r}"])
    members = [str(child.get("id")) for child in item.element.iterchildren("primitive")]
    match list(words):
        case ["add", new]:
            members.append(new)
        case ["add", new, ("before" | "after") as where, other] if other in members:
            members.insert(members.index(other) + (where == "after"), new)
        case ["remove", gone] if gone in members and len(members) > 1:
            members.remove(gone)
        case ["remove", gone] if gone in members:
            raise ConfigurationError([f"{gone} is all that is in group {group}; delete the group"])
        case [("add" | "remove"), *names] if names:
            raise ConfigurationError([f"group {group} has the members {', '.join(members)}; {names[-1]!r} is not one"])
        case _:
            raise ConfigurationError(["expected add MEMBER [before|after OTHER] or remove MEMBER"])
    statement = parse(show.show_object(item, show.naming_of(configuration.root)))[0]
    configuration.apply(
        [Parsed(statement.keyword, statement.element, tuple(members), statement.section, 1)], Mode.UPDATE
    )


# Editing as text


def edit_text(shell: Shell, objects: list[str]) -> None:
    """The objects go through the editor until they can be parsed, or the user gives up."""
    configuration = current(shell)
    try:
        before = configuration.text(objects)
        shown = [item.identity for item in configuration.select(objects)]
    except ConfigurationError as error:
        raise shell_error(error) from None
    text = before
    while True:
        text = _run_editor(text)
        if text == before:
            shell.say("nothing was changed")
            return
        try:
            apply_edit(shell, text, objects, shown)
        except ShellError as error:
            shell.warn(f"crm: {error}")
            if not sys.stdin.isatty() or input("Edit again? [Y/n] ").strip().lower() in ("n", "no"):
                raise ShellError("the edit was dropped; nothing was changed") from None
        else:
            shell.say("edited" if shell.collecting else "committed the edit")
            return


def apply_edit(shell: Shell, text: str, objects: list[str], shown: list[str]) -> None:
    """The text takes the place of the objects shown: those that are gone from it are deleted."""
    try:
        identities = {item.identity for item in parse(text)}
    except LanguageError as error:
        raise language_error(error.problems) from None

    def action(configuration: Configuration) -> None:
        if not objects:
            configuration.apply(parse(text), Mode.REPLACE)
            return
        gone = [name for name in shown if name not in identities]
        if gone:
            configuration.delete(gone, force=True)
        configuration.apply(parse(text), Mode.UPDATE)

    change(shell, action)


def _run_editor(text: str) -> str:
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(prefix="crm-") as folder:
        path = Path(folder) / "configuration.crm"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*words, str(path)], check=False)
        except OSError as error:
            raise ShellError(f"cannot run the editor {words[0]!r}: {error.strerror} (set EDITOR)") from None
        if ended.returncode != 0:
            raise ShellError(f"the editor {words[0]!r} ended with code {ended.returncode}; nothing was changed")
        return path.read_text(encoding="utf-8")


# Commit


def commit(shell: Shell, *, force: bool = False) -> None:
    if shell.pending is None or not shell.pending.changed:
        shell.say("nothing to commit")
        return
    changed = sorted(shell.pending.changed_ids())
    _judge(shell, shell.pending, force=force)
    shell.pending = committing.commit(shell.session, shell.pending, force=force)
    shell.say(f"committed{': ' + ', '.join(changed[:8]) if changed else ''}{' ...' if len(changed) > 8 else ''}")
    shell.settle()


def print_report(shell: Shell, configuration: Configuration) -> int:
    """All problems, and a verdict; returns the number of errors."""
    from crm.shell import checks

    items = checks.check(configuration, catalogue())
    for item in items[:MAX_SHOWN]:
        shell.say(f"{item.severity}: {item.element}: {item.message}")
    if len(items) > MAX_SHOWN:
        shell.say(f"... and {len(items) - MAX_SHOWN} more")
    wrong = errors(items)
    warnings = [item for item in items if item.severity is Severity.WARNING]
    verdict = f"{_count(len(wrong), 'error')}, {_count(len(warnings), 'warning')}" if items else "good"
    shell.say(f"{_count(len(configuration.objects()), 'object')}: {verdict}")
    return len(wrong)


def print_configuration(text: str, *, plain: bool) -> None:
    """To a terminal with colours, elsewhere as it is."""
    if plain or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        print(text, end="")
        return
    for line in text.splitlines():
        print(_paint(line))


def _paint(line: str) -> str:
    if line.startswith(("#", "xml", " ", "<")):
        return line
    indent = "\t" if line.startswith("\t") else ""
    head, _, rest = line.removeprefix("\t").partition(" ")
    if indent:
        return f"{indent}\x1b[36m{head}\x1b[0m {rest}" if "=" not in head else line
    identity, _, rest = rest.partition(" ")
    return f"\x1b[1m{head}\x1b[0m \x1b[32m{identity}\x1b[0m{' ' + rest if rest else ''}"
