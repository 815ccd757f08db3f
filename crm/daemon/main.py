"""`python -m crm.daemon --config RUN_DIR/resolved.json`: the crm daemon of one node.

The order of this file matters: the policy worker is forked as soon as what both share is loaded (the interpreter, lxml), and before
anything that only crm needs. Exit status: 0 after leaving the cluster, 1 after a broken rule, 78 (EX_CONFIG) when the surroundings are not right.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree

from crm.daemon import worker

# Neither this daemon nor the policy worker speaks TLS; without this, asyncio loads OpenSSL for nothing (3 MiB).
if "ssl" not in sys.modules:
    sys.modules["ssl"] = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from crm.daemon.node import Node
    from crm.daemon.settings import DaemonSettings

EX_CONFIG = 78
_GC_THRESHOLD = 50_000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m crm.daemon", description="crm daemon of one Vigil node")
    parser.add_argument("--config", type=Path, required=True, help="the resolved configuration (RUN_DIR/resolved.json)")
    arguments = parser.parse_args(argv)
    etree.fromstring(b"<cib/>")  # libxml2's tables are made on first use; both processes share them
    pid, channel = worker.fork()

    from crm.daemon.settings import SettingsError, load

    try:
        settings = load(arguments.config)
        _start_log(settings)
        _prepare(settings)
    except SettingsError as error:
        sys.stderr.write(f"vigil crm: {error}\n")
        return EX_CONFIG

    import asyncio
    import gc
    import signal

    from crm.daemon.methods import register
    from crm.daemon.node import Node
    from crm.daemon.observing import Observers
    from crm.daemon.policy_client import PolicyClient

    async def serve() -> int:
        loop = asyncio.get_running_loop()
        policy = PolicyClient(lambda number, graph, error: node.on_decided(number, graph, error), pid, channel)
        node = Node(settings, policy)
        loop.set_exception_handler(lambda _, context: _on_loop_error(node, context))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.on_stop_signal)
        register(node)
        observers = Observers(node)
        await observers.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 20)
        try:
            return await node.run()
        finally:
            await observers.close()

    return asyncio.run(serve())


def _on_loop_error(node: Node, context: dict[str, object]) -> None:
    """What escapes a callback of ours is a broken rule; what the loop merely reports (a broken pipe) is not."""
    error = context.get("exception")
    if isinstance(error, Exception) and not isinstance(error, OSError):
        node.broken(error)
    logging.getLogger("vigil").warning("%s: %r", context.get("message"), error)


def _start_log(settings: DaemonSettings) -> None:
    from crm.daemon.settings import SettingsError
    from messaging import logs

    try:
        logs.start("crm", settings.log_file, settings.log_level)
    except OSError as error:
        raise SettingsError(f"cannot write the log file {settings.log_file}: {error.strerror}") from None


def _prepare(settings: DaemonSettings) -> None:
    """The folders this daemon writes to, and its name for people."""
    from crm.daemon.settings import SettingsError

    for folder in (settings.run_dir, settings.state_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot use the folder {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError(f"cannot use the folder {folder}: no permission to write")
    with contextlib.suppress(OSError):
        import ctypes

        ctypes.CDLL(None).prctl(15, b"vigil-crm", 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
