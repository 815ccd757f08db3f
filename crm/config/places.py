"""Where each key of a TOML document stands: tomllib tells values, not places."""

from __future__ import annotations

import re
import tomllib

from crm.config.problems import Problem


def syntax_problem(error: tomllib.TOMLDecodeError) -> Problem:
    match = re.search(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error), re.DOTALL)
    if match is None:
        return Problem(0, "", f"is not TOML: {error}")
    place = f" (column {match[3]})" if match[3] else " (at the end of the file)"
    return Problem(int(match[2] or 0), "", f"is not TOML: {match[1][:1].lower()}{match[1][1:]}{place}")


_TABLE = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=(.*)$"
)


def key_lines(text: str) -> dict[str, int]:
    """The line of every key of a document that is known to be TOML; tables of an array are numbered from 1.

    tomllib tells values, not places. This reads just enough of the syntax to find keys: table headers, `key =`, and
    where a value that spans lines ends.
    """
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix, depth, quote = "", 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        rest = line
        if not depth and not quote:
            table = _TABLE.match(line)
            key = _KEY.match(line)
            if table:
                name = _dotted(table[2])
                if table[1] == "[[":
                    counts[name] = counts.get(name, 0) + 1
                    lines.setdefault(name, number)
                    name = f"{name}.{counts[name]}"
                lines.setdefault(name, number)
                prefix = name + "."
                continue
            if not key:
                continue
            lines.setdefault(prefix + _dotted(key[1]), number)
            rest = key[2]
        depth, quote = _scan_value(rest, depth, quote)
    return lines


def _dotted(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _scan_value(text: str, depth: int, quote: str) -> tuple[int, str]:
    """Follow brackets and multi-line strings over one line: the depth and the open multi-line quote at its end."""
    at = 0
    while at < len(text):
        if quote:
            end = text.find(quote, at)
            if end < 0:
                return depth, quote if len(quote) == 3 else ""
            at, quote = end + len(quote), ""
            continue
        char = text[at]
        if char == "#":
            break
        if char in "\"'":
            quote = char * 3 if text.startswith(char * 3, at) else char
            at += len(quote)
            continue
        depth += (char in "[{") - (char in "]}")
        at += 1
    return depth, quote if len(quote) == 3 else ""
