"""`vigil-arbiter`: make an arbiter, tell it which clusters it serves, run it, look at it.

vigil-arbiter init                    once, on the third machine
vigil-arbiter add CLUSTER             for each cluster; says what to do on its nodes
vigil-arbiter run                     what the service manager starts
vigil-arbiter status | list | remove CLUSTER
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from messaging.arbiter import certificates
from messaging.arbiter.protocol import DEFAULT_PORT
from messaging.arbiter.server import Server
from messaging.errors import SetupError

DEFAULT_FOLDER = "/var/lib/vigil-arbiter"
STATUS_LIMIT_S = 5.0
EX_CONFIG = 78


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0; 1 when something could not be done; 78 when it cannot run as things are."""
    arguments = _parser().parse_args(argv)
    folder = Path(arguments.dir).absolute()
    try:
        match arguments.command:
            case "init":
                certificates.make_authority(folder, force=arguments.force)
                _say(f"made an arbiter in {folder}; next: vigil-arbiter add CLUSTER, and vigil-arbiter run")
            case "add":
                path = certificates.add_cluster(folder, arguments.cluster, force=arguments.force)
                _tell_running(folder)
                _say(_recipe(path, arguments.cluster, arguments.address or socket.gethostname()))
            case "remove":
                certificates.remove_cluster(folder, arguments.cluster)
                _tell_running(folder)
                _say(f"cluster {arguments.cluster} is refused from now on")
            case "list":
                if not (folder / "authority.pem").exists():
                    raise SetupError(f"there is no arbiter in {folder}; make one: vigil-arbiter init --dir {folder}")
                for name in sorted(certificates.clusters(folder).values()):
                    _say(name)
            case "status":
                _show_status(folder)
            case "run":
                return _run(folder, arguments)
    except SetupError as error:
        sys.stderr.write(f"vigil-arbiter: {error}\n")
        return EX_CONFIG if arguments.command == "run" else 1
    except OSError as error:
        sys.stderr.write(f"vigil-arbiter: {error.filename or folder}: {error.strerror or error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vigil-arbiter", description="Decides even splits, for any number of clusters"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "init": "make an arbiter on this machine",
        "add": "let a cluster use it, and say what to do on its nodes",
        "remove": "refuse a cluster from now on",
        "list": "the clusters that may use it",
        "status": "who is connected, and who has the vote",
        "run": "serve, until SIGTERM",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--dir", default=DEFAULT_FOLDER, help=f"everything it keeps (default {DEFAULT_FOLDER})")
        if name in ("add", "remove"):
            command.add_argument("cluster", help="the cluster's name, as in its vigil.toml")
        if name in ("init", "add"):
            command.add_argument("--force", action="store_true", help="replace what is there")
        if name == "add":
            command.add_argument("--address", default="", help="this machine as the nodes reach it: HOST or HOST:PORT")
        if name == "run":
            command.add_argument("--listen", default="", help="the address to listen on (default: all)")
            command.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}")
            command.add_argument("--log-file", default="", help="default: standard error")
    return parser


def _recipe(path: Path, cluster: str, address: str) -> str:
    return f"""\
cluster {cluster} may use this arbiter. On each of its nodes:

  1. copy {path} to /etc/vigil/arbiter.pem, mode 0600 (it is a secret);
  2. in /etc/vigil/vigil.toml:

         [quorum.tie_breaker]
         type = "arbiter"
         address = "{address}"
         certificate = "/etc/vigil/arbiter.pem"

  3. restart the node's part of the cluster, one node after the other: crm cluster stop, crm cluster start."""


def _run(folder: Path, arguments: argparse.Namespace) -> int:
    logging.basicConfig(
        filename=arguments.log_file or None,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(name)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    server = Server(folder, arguments.listen, arguments.port)
    pid_file = folder / "pid"
    pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        return asyncio.run(server.run())
    finally:
        pid_file.unlink(missing_ok=True)


def _tell_running(folder: Path) -> None:
    """A running arbiter reads its clusters again."""
    with suppress(OSError, ValueError):
        pid = int((folder / "pid").read_text(encoding="ascii"))
        if b"arbiter" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGHUP)


def _show_status(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(STATUS_LIMIT_S)
        try:
            sock.connect(str(folder / "status.sock"))
        except OSError:
            raise SetupError(f"no arbiter is running in {folder}") from None
        with sock.makefile("rb") as stream:
            status = json.loads(stream.readline())
    if not status:
        _say("no cluster has connected yet")
    for name, cluster in status.items():
        _say(f"{name} (prefers {cluster['prefer']}):")
        for node, state in cluster["nodes"].items():
            how = f"heard {state['heard_ms_ago']} ms ago" if state["live"] else "silent"
            asks = ", asks for the vote" if state["needs"] else ""
            _say(f"  {node}: {how}, in a part with node ids {' '.join(map(str, state['part']))}{asks}")
        for vote in cluster["votes_given"]:
            ids = " ".join(map(str, vote["part"]))
            _say(f"  the vote is with node ids {ids}, for {vote['counts_for_ms']} ms unless renewed")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
