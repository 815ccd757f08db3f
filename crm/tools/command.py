"""What all commands have in common: options, help, and how an error becomes a line and an exit code.

Theory of operation. A command is a table of options and a function. Options are read as the field's commands read them: short ones may be joined
(`-QrID`), long ones shortened as long as that is unambiguous, a value may begin with a minus sign (`-v -INFINITY`), and an option with an
optional value takes the next word unless that is an option. The table is a plain tuple, since these commands start
in every monitor of an agent: neither argparse nor re nor typing is loaded on their way.

A table row is a heading (a string) or `(short, long, value, help)`: `value` is "" for a switch, "NAME" for a value that must follow, "[NAME]" for one that may.
`short` may have several letters: all mean the same, the first is shown. Rows with an empty help are accepted, and not shown.
"""

from __future__ import annotations

import os
import sys

from crm.api.errors import ApiError
from crm.tools import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, NoReturn

    Row = tuple[str, str, str, str]
    Table = tuple[str | Row, ...]

COMMON: Final[Table] = (
    "Application Options:",
    ("h?", "help", "", "Show this help"),
    ("", "help-all", "", ""),
    ("$", "version", "", "Display software version and exit"),
    ("V", "verbose", "", "Increase debug output (may be given several times)"),
)
_COLUMN: Final = 34


class Failure(Exception):
    """The command ends with this message and exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Given:
    """The options of one call: by long name, the values in the order in which they were given."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.order: list[str] = []
        """Long names in the order given."""
        self.rest: list[str] = []

    def add(self, name: str, value: str) -> None:
        self.values.setdefault(name, []).append(value)
        self.order.append(name)

    def has(self, *names: str) -> bool:
        """Whether any of them was given."""
        return any(name in self.values for name in names)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The last value, as everywhere."""
        found = self.values.get(name)
        return found[-1] if found else default

    def text(self, name: str) -> str:
        return self.get(name) or ""

    def chosen(self, names: tuple[str, ...]) -> str | None:
        """Which of these commands was given last; None for none."""
        return next((name for name in reversed(self.order) if name in names), None)


def parse(table: Table, arguments: list[str]) -> Given:
    """Failure (usage) names the option that is unknown, ambiguous or incomplete."""
    rows = [row for row in table if not isinstance(row, str)]
    given = Given()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            given.rest += words
            break
        if word.startswith("--"):
            _long(rows, word, words, given)
        elif word.startswith("-") and len(word) > 1:
            _short(rows, word[1:], words, given)
        else:
            given.rest.append(word)
    return given


def _long(rows: list[Row], word: str, words: list[str], given: Given) -> None:
    name, equals, value = word[2:].partition("=")
    row = next((row for row in rows if row[1] == name), None)
    if row is None:
        likely = [row for row in rows if row[1].startswith(name) and row[3]]
        if len(likely) != 1:
            meant = ", ".join("--" + row[1] for row in likely)
            usage(f"Unknown option --{name}" if not likely else f"--{name} could mean {meant}")
        row = likely[0]
    if not row[2]:
        if equals:
            usage(f"--{row[1]} takes no value")
        given.add(row[1], "")
    elif equals:
        given.add(row[1], value)
    else:
        given.add(row[1], _following(row, "--" + row[1], words))


def _short(rows: list[Row], letters: str, words: list[str], given: Given) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        row = next((row for row in rows if letter in row[0]), None)
        if row is None:
            usage(f"Unknown option -{letter}")
        if not row[2]:
            given.add(row[1], "")
            continue
        if letters:
            given.add(row[1], letters.removeprefix("="))
        else:
            given.add(row[1], _following(row, "-" + letter, words))
        return


def _following(row: Row, shown: str, words: list[str]) -> str:
    if row[2].startswith("["):
        return words.pop(0) if words and not words[0].startswith("-") else ""
    if not words:
        usage(f"Missing argument for {shown}")
    return words.pop(0)


def usage(message: str) -> NoReturn:
    raise Failure(message, exits.USAGE)


def only_command(given: Given, names: tuple[str, ...], default: str | None = None) -> str:
    """The one of these that was given. Failure (usage) for none without default."""
    found = given.chosen(names)
    if found is None:
        if default is None:
            usage("nothing to do; --help shows the commands")
        return default
    return found


def show_help(name: str, purpose: str, table: Table) -> None:
    lines = [f"Usage: {name} [OPTION...]", "", f"{name} - {purpose}"]
    for row in (*table, *COMMON):
        if isinstance(row, str):
            lines += ["", row]
        elif row[3]:
            short = f"-{row[0][0]}, " if row[0] else ""
            value = f"[={row[2][1:]}" if row[2].startswith("[") else f"={row[2]}" if row[2] else ""
            left = f"  {short}--{row[1]}{value}"
            lines.append(f"{left:{_COLUMN}} {row[3]}")
    print("\n".join(lines))


def run(name: str, purpose: str, table: Table, work: Callable[[Given], int], argv: list[str] | None = None) -> int:
    """Read the options and do the work; the exit code."""
    try:
        given = parse((*table, *COMMON), sys.argv[1:] if argv is None else argv)
        if given.has("help", "help-all"):
            show_help(name, purpose, table)
            return exits.OK
        if given.has("version"):
            from importlib.metadata import version

            print(f"{name} (Vigil {version('vigil')})")
            return exits.OK
        code = work(given)
        sys.stdout.flush()
    except Failure as failure:
        if str(failure):
            print(f"{name}: {failure}", file=sys.stderr)
        return failure.code
    except ApiError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return exits.of_error(error.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except KeyboardInterrupt:
        return 130
    return code
