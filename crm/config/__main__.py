"""`python -m crm.config check FILE`, `resolve FILE --output OUT` and `edit FILE --output OUT CHANGE...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from crm.config import ConfigError, load, loads
from crm.config.edit import edit, parse_change


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 78 (EX_CONFIG) and all problems when the file is wrong. `edit` tells the nodes that come of it, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m crm.config", description="Check or resolve a vigil.toml")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say what is wrong with a file")
    resolve = commands.add_parser("resolve", help="write the resolved form that the daemons read")
    change = commands.add_parser("edit", help="add, remove or rename a node, keeping everything else as it is written")
    for command in (check, resolve, change):
        command.add_argument("file", type=Path)
    for command in (resolve, change):
        command.add_argument("--output", type=Path, required=True)
    change.add_argument("change", nargs="+", help="add NAME ID VOTES ADDRESS..., remove NAME, or rename OLD NEW")
    given = parser.parse_args(arguments)
    try:
        if given.command == "edit":
            return _edit(given.file, given.output, given.change)
        config = load(given.file)
        if given.command == "resolve":
            given.output.parent.mkdir(parents=True, exist_ok=True)
            fresh = given.output.with_name(f".{given.output.name}.new")
            fresh.write_text(config.to_resolved_json(given.file.absolute()), encoding="utf-8")
            fresh.replace(given.output)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    except OSError as error:
        sys.stderr.write(f"{given.output}: cannot be written: {error.strerror}\n")
        return 78
    sys.stdout.write(f"{given.file}: cluster {config.cluster_name}, node {config.node.name}: good\n")
    return 0


def _edit(file: Path, output: Path, words: Sequence[str]) -> int:
    """The changed text is on the disk when this returns; with the permissions of the file."""
    try:
        change = parse_change(words)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    load(file)
    text = edit(file.read_text(encoding="utf-8"), change, str(file))
    config = loads(text, str(file))
    with output.open("w", encoding="utf-8") as fresh:
        os.fchmod(fresh.fileno(), file.stat().st_mode & 0o777)
        fresh.write(text)
        fresh.flush()
        os.fsync(fresh.fileno())
    document = config.to_document()
    sys.stdout.write(json.dumps({"nodes": document["nodes"], "expected_votes": config.quorum.expected_votes}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
