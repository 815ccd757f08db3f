"""`python -m messaging --config RUN_DIR/resolved.json`: the messaging daemon of one node.

Exit codes: 0 after a goodbye, 1 after a broken rule or a disk that refuses, 78 (EX_CONFIG) when something around it is
not as it needs it; the reason is the last line on standard error (or in the log file).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from messaging import logs
from messaging.config import MessagingConfig, TieBreakerType, load_resolved
from messaging.errors import SetupError

EX_CONFIG = 78


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m messaging", description="Messaging daemon of one Vigil node")
    parser.add_argument("--config", type=Path, required=True, help="the resolved configuration (RUN_DIR/resolved.json)")
    arguments = parser.parse_args()
    try:
        return _run(load_resolved(arguments.config))
    except SetupError as error:
        print(f"vigil messaging: {error}", file=sys.stderr)  # noqa: T201 (the supervisor shows it)
        return EX_CONFIG


def _run(config: MessagingConfig) -> int:
    # The streams have an authentication of their own; without this, asyncio loads OpenSSL for nothing (3 MiB).
    if "ssl" not in sys.modules and config.quorum.tie_breaker.kind is not TieBreakerType.ARBITER:
        sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio

    from messaging.daemon import Daemon

    _start_log(config)
    return asyncio.run(Daemon(config).run())


def _start_log(config: MessagingConfig) -> None:

    try:
        logs.start("messaging", config.log_file, config.log_level)
    except OSError as error:
        raise SetupError(f"cannot write the log file {config.log_file}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
