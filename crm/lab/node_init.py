"""Process 1 of a lab node: mounts what is the node's own, brings its network up, and keeps vigild running.

It does what an init system would: it starts vigild, starts it again when it dies (as `Restart=on-failure` does), reaps whatever is orphaned,
and on SIGTERM (the power button) ends vigild politely. It is connected to the keeper all its life; when that connection closes, the machine
room is gone and the node goes with it. Standard library only: it starts in a few milliseconds.

With process isolation there are no namespaces: the same program is only the root of the node's process tree (a child
subreaper), and every process of the node carries VIGIL_LAB_NODE in its environment, by which the keeper finds them all.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MARKER = "VIGIL_LAB_NODE"
RESTART_DELAY_S = 0.2  # before a dead vigild is started again
STOP_LIMIT_S = 60.0  # for a polite end of vigild
_PR_SET_CHILD_SUBREAPER = 36
# Folders that services write to and that must not be shared with the host or between nodes.
_OWN_FOLDERS = ("/run", "/dev/shm", "/var/log", "/var/tmp", "/var/lib/nginx", "/var/lib/heartbeat")


def _sh(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_own_mounts(hosts: Path) -> None:
    for folder in _OWN_FOLDERS:
        if Path(folder).is_dir():
            _sh("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder)
    for folder in ("/run/lock", "/run/resource-agents", "/var/log/nginx"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    if hosts.exists() and Path("/etc/hosts").exists():
        _sh("mount", "--bind", str(hosts), "/etc/hosts")


def bring_network_up(cables: list[dict[str, str]]) -> None:
    """`cables`: interface and address (with prefix) of each link that the keeper has plugged in."""
    _sh("ip", "link", "set", "lo", "up")
    for cable in cables:
        _sh("ip", "address", "add", cable["address"], "dev", cable["interface"])
        _sh("ip", "link", "set", cable["interface"], "up")
    for name, value in (("ping_group_range", "0 2147483647"), ("ip_nonlocal_bind", "0")):
        try:
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value, encoding="ascii")
        except OSError:
            try:  # in a user namespace only the mapped group can be named
                Path(f"/proc/sys/net/ipv4/{name}").write_text("0 0", encoding="ascii")
            except OSError as error:
                print(f"node: {name} not set: {error}", file=sys.stderr)


class Init:
    """The life of the node, one event at a time."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.keeper = socket.socket(socket.AF_UNIX)
        self.vigild: subprocess.Popen[bytes] | None = None
        self.wanted = True  # vigild should be running
        self.start_at: float | None = None
        self.ending = False
        self.buffer = b""
        # From the first moment on: process 1 loses a signal for which it has no handler.
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, lambda *_: None)

    def greet(self) -> None:
        """Tell the keeper who we are (it learns our pid from the socket) and wait until the cables are plugged in."""
        self.keeper.connect(self.arguments.keeper)
        self.keeper.sendall(json.dumps({"do": "hello", "node": self.arguments.node}).encode() + b"\n")
        reply = self._line()
        if not self.arguments.process:
            bring_network_up(reply["cables"])

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self.buffer:
            data = self.keeper.recv(65536)
            if not data:
                raise SystemExit("node: the keeper closed the connection")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start_vigild(self) -> None:
        self.start_at = None
        command = [sys.executable, "-m", "crm.daemon.supervisor", "--config", self.arguments.config]
        log = os.open(self.arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.vigild = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        os.close(log)

    def reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.vigild is not None and pid == self.vigild.pid:
                self.vigild = None
                if self.ending:
                    raise SystemExit(0)
                if self.wanted:
                    self.start_at = time.monotonic() + RESTART_DELAY_S

    def obey(self) -> None:
        order = self._line()["do"]
        if order == "stop-vigild":
            self.wanted = False
            self.start_at = None
            self._terminate()
        elif order == "start-vigild":
            self.wanted = True
            if self.vigild is None:
                self.start_vigild()

    def _terminate(self) -> None:
        if self.vigild is not None:
            self.vigild.terminate()

    def power_button(self) -> None:
        self.ending = True
        self.wanted = False
        if self.vigild is None:
            raise SystemExit(0)
        self._terminate()
        signal.setitimer(signal.ITIMER_REAL, STOP_LIMIT_S)

    def run(self) -> None:
        self.start_vigild()
        while True:
            limit = None if self.start_at is None else max(0.0, self.start_at - time.monotonic())
            ready, _, _ = select.select([self.keeper.fileno(), self.wake_read], [], [], limit)
            if self.wake_read in ready:
                for signaled in os.read(self.wake_read, 512):
                    if signaled == signal.SIGTERM:
                        self.power_button()
                    elif signaled == signal.SIGALRM:
                        raise SystemExit("node: vigild did not end in time")
            self.reap()
            if self.keeper.fileno() in ready:
                self.obey()
            if self.start_at is not None and time.monotonic() >= self.start_at:
                self.start_vigild()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("keeper", "node", "config", "log", "hosts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--process", action="store_true")
    arguments = parser.parse_args()
    init = Init(arguments)
    if arguments.process:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    else:
        socket.sethostname(arguments.node)
        make_own_mounts(Path(arguments.hosts))
    init.greet()
    init.run()


if __name__ == "__main__":
    main()
