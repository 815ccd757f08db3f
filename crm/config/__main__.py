"""`python -m crm.config check FILE` and `python -m crm.config resolve FILE --output OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from crm.config import ConfigError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """`check FILE` and `resolve FILE --output OUT`; exit code 78 (EX_CONFIG) and all problems when the file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m crm.config", description="Check or resolve a vigil.toml")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say what is wrong with a file")
    resolve = commands.add_parser("resolve", help="write the resolved form that the daemons read")
    for command in (check, resolve):
        command.add_argument("file", type=Path)
    resolve.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        config = load(given.file)
        if given.command == "resolve":
            given.output.parent.mkdir(parents=True, exist_ok=True)
            fresh = given.output.with_name(f".{given.output.name}.new")
            fresh.write_text(config.to_resolved_json(), encoding="utf-8")
            fresh.replace(given.output)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    except OSError as error:
        sys.stderr.write(f"{given.output}: cannot be written: {error.strerror}\n")
        return 78
    sys.stdout.write(f"{given.file}: cluster {config.cluster_name}, node {config.node.name}: good\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
