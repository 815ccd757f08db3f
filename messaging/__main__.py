"""`python -m messaging --config RUN_DIR/resolved.json`: the messaging daemon of one node.

Exit codes: 0 after a goodbye, 1 after a broken rule or a disk that refuses, 78 (EX_CONFIG) when something around it is
not as it needs it; the reason is the last line on standard error (or in the log file).
"""

from __future__ import annotations

import sys

# The streams have an authentication of their own; without this, asyncio loads OpenSSL for nothing (3 MiB).
if "ssl" not in sys.modules:
    sys.modules["ssl"] = None  # type: ignore[assignment]

import argparse
import asyncio
import logging
from pathlib import Path

from messaging.config import MessagingConfig, load_resolved
from messaging.daemon import Daemon
from messaging.errors import SetupError

EX_CONFIG = 78


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m messaging", description="Messaging daemon of one Vigil node")
    parser.add_argument("--config", type=Path, required=True, help="the resolved configuration (RUN_DIR/resolved.json)")
    arguments = parser.parse_args()
    try:
        config = load_resolved(arguments.config)
        _start_log(config)
        daemon = Daemon(config)
        return asyncio.run(daemon.run())
    except SetupError as error:
        print(f"vigil messaging: {error}", file=sys.stderr)  # noqa: T201 (the supervisor shows it)
        return EX_CONFIG


def _start_log(config: MessagingConfig) -> None:
    try:
        logging.basicConfig(
            filename=config.log_file,
            level=config.log_level.upper(),
            format="%(asctime)s.%(msecs)03d messaging %(levelname)s %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )
    except OSError as error:
        raise SetupError(f"cannot write the log file {config.log_file}: {error.strerror}") from None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


if __name__ == "__main__":
    sys.exit(main())
