"""`vigild`: starts messaging and crm on this node, starts them again when they die, and sees them out.

Theory of operation. vigild is small enough never to fail: standard library, no threads, no event loop beyond one `poll`; it sleeps
until a child ends or a signal comes. It has the configuration validated by a short-lived child (`python -m crm.config`), which writes
`RUN_DIR/resolved.json`, so that neither vigild nor messaging needs the libraries that validation does.

*A child that dies* is started again, at once; with growing pauses when it dies as soon as it is started. More than `RESTART_LIMIT` times within
`RESTART_WINDOW_S` is a fault that restarting does not mend: vigild kills the rest and ends with an error, so that the
peers fence this node and a service manager may begin anew.

*When vigild itself is killed*, messaging and crm go on: they are not its hostages. The next vigild (a service manager starts it) finds them through
`RUN_DIR/messaging.pid` and `crm.pid` (process id and start time, so that a reused id is not mistaken) and watches them
through pidfds, as if it had started them. Without a next vigild they go on unwatched; if crm dies then, the peers see a node without crm and fence it.

*SIGTERM* or SIGINT: crm asks the cluster to move everything off this node and ends with 0; then messaging says goodbye and ends; then
vigild. How long that may take is crm's matter (`shutdown-escalation`). When crm ends with 0 unasked, the node was told to leave: the same happens.
A child that ends with 78 (EX_CONFIG) cannot work as things are: it is not started again and vigild ends with 78.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import re
import select
import signal
import sys
import time
from typing import Final

from messaging.journalstream import is_journal

RESTART_LIMIT: Final = 30
RESTART_WINDOW_S: Final = 60.0
PAUSES_S: Final = (0.0, 0.0, 0.1, 0.2, 0.5, 1.0)
"""Before the n-th restart in a row of a child that did not live for `QUICK_S`; the last one from then on."""
QUICK_S: Final = 0.5
GOODBYE_S: Final = 5.0
"""How long messaging may take to say goodbye before it is killed, beside three deadtimes: it may have to wait until the other
half has the vote of the tie-breaker."""
LOCK_WAIT_S: Final = 10.0
"""How long another vigild of this node may take to end."""
EX_CONFIG: Final = 78
PREDECESSOR: Final = "VIGIL_PREDECESSOR"
"""Environment of a child that is started again: how the one before it ended. For its event log."""
DEFAULT_CONFIG: Final = "/etc/vigil/vigil.toml"
DEFAULT_STATE_DIR: Final = "/var/lib/vigil"
_PR_SET_NAME: Final = 15
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Fatal(Exception):
    """vigild cannot go on; the text says why, the code is its exit status."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Child:
    """One supervised process, started by this vigild or taken over from an earlier one."""

    def __init__(self, name: str, command: list[str], run_dir: str, log_file: str | None) -> None:
        self.name = name
        self.command = command
        self.pid_file = os.path.join(run_dir, f"{name}.pid")  # noqa: PTH118 (pathlib costs memory here)
        self.log_file = log_file
        self.pid = 0
        self.pidfd = -1
        self.own = False
        self.restarts: list[float] = []
        self.quick_deaths = 0
        self.started_at = 0.0
        self.start_at: float | None = 0.0
        self.status: int | None = None
        self.fate = ""
        """How the one before this one ended, when it is started again."""

    @property
    def running(self) -> bool:
        return self.pidfd >= 0

    def adopt(self) -> bool:
        """Take over a process that an earlier vigild started. False when there is none."""
        try:
            with open(self.pid_file, encoding="ascii") as file:  # noqa: PTH123
                pid_text, started = file.read().split()
            pid = int(pid_text)
            if pid <= 1 or start_time(pid) != started:
                return False
            self.pidfd = os.pidfd_open(pid)
        except (OSError, ValueError):
            return False
        if start_time(pid) != started:  # it ended meanwhile and the id is another's
            self._forget()
            return False
        self.pid, self.own, self.start_at = pid, False, None
        return True

    def start(self) -> None:
        streams = []
        if self.log_file is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            streams = [(os.POSIX_SPAWN_OPEN, number, self.log_file, flags, 0o640) for number in (1, 2)]
        self.pid = os.posix_spawn(
            self.command[0],
            self.command,
            {**os.environ, PREDECESSOR: self.fate} if self.fate else os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), *streams],
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE],
        )
        self.pidfd = os.pidfd_open(self.pid)
        self.own, self.start_at, self.status = True, None, None
        self.started_at = time.monotonic()
        write_file(self.pid_file, f"{self.pid} {start_time(self.pid)}\n")

    def ended(self) -> int:
        """Take note of the end. The exit status; -1 when unknown (taken over), minus the signal when killed by one."""
        status = -1
        if self.own:
            with contextlib.suppress(ChildProcessError):
                _, raw = os.waitpid(self.pid, 0)
                status = os.waitstatus_to_exitcode(raw)
        self._forget()
        self.status = status
        return status

    def _forget(self) -> None:
        os.close(self.pidfd)
        self.pidfd = -1
        self.pid = 0
        with contextlib.suppress(OSError):
            os.unlink(self.pid_file)  # noqa: PTH108

    def kill(self, number: int) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)


class Supervisor:
    """See the module's text. `run` returns the exit status."""

    def __init__(self, messaging: Child, crm: Child, deadtime_ms: int) -> None:
        self._messaging_stop_s = GOODBYE_S + 3 * deadtime_ms / 1000
        self.messaging = messaging
        self.crm = crm
        self.children = (messaging, crm)
        self.stopping = False
        self.failed: Fatal | None = None
        self._messaging_until: float | None = None
        self._wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def run(self) -> int:
        for child in self.children:
            if child.adopt():
                say(f"{child.name} (process {child.pid}) is running already; watching it")
        while True:
            now = time.monotonic()
            self._start_what_is_due(now)
            self._hurry(now)
            if not any(child.running for child in self.children) and (self.stopping or self.failed):
                break
            self._wait(now)
        if self.failed is not None:
            raise self.failed
        say("everything has ended")
        return 0

    def _start_what_is_due(self, now: float) -> None:
        if self.stopping or self.failed is not None:
            return
        for child in self.children:
            if not child.running and child.start_at is not None and child.start_at <= now:
                child.start()
                say(f"started {child.name} (process {child.pid})")

    def _wait(self, now: float) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        watched = {child.pidfd: child for child in self.children if child.running}
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        times = [child.start_at for child in self.children if child.start_at is not None and not child.running]
        if self.stopping or self.failed is not None:
            times = []
        if self._messaging_until is not None:
            times.append(self._messaging_until)
        timeout = None if not times else max(0.0, min(times) - now) * 1000 + 1
        for descriptor, _ in poll.poll(timeout):
            if descriptor == self._wake_read:
                for number in os.read(self._wake_read, 64):
                    if number in _SIGNALS:
                        self._stop(f"signal {signal.Signals(number).name}")
            else:
                self._ended(watched[descriptor])

    def _stop(self, reason: str) -> None:
        if not self.stopping:
            say(f"stopping: {reason}")
        self.stopping = True
        self.crm.kill(signal.SIGTERM)
        if not self.crm.running:
            self._end_messaging()

    def _ended(self, child: Child) -> None:
        pid = child.pid
        status = child.ended()
        what = f"{child.name} (process {pid}) " + (
            "ended"
            if status == -1
            else f"was killed by signal {-status}"
            if status < 0
            else f"ended with status {status}"
        )
        if status == EX_CONFIG:
            self._fail(Fatal(f"{what}: it cannot work with this configuration or surroundings", EX_CONFIG))
        elif child is self.crm and (status == 0 or self.stopping):
            say(what)
            self._stop("crm has left the cluster")
        elif self.stopping or self.failed is not None:
            say(what)
            if child is self.messaging:
                self._messaging_until = None
                if self.crm.running and self.failed is None:
                    say("messaging ended before crm; crm cannot ask the cluster any more")
        else:
            self._restart(child, what)

    def _restart(self, child: Child, what: str) -> None:
        now = time.monotonic()
        child.restarts = [moment for moment in child.restarts if moment > now - RESTART_WINDOW_S] + [now]
        count = len(child.restarts)
        if count > RESTART_LIMIT:
            self._fail(Fatal(f"{what}, for the {count}th time in {RESTART_WINDOW_S:.0f} s; giving this node up"))
            return
        child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < QUICK_S else 0
        pause = PAUSES_S[min(child.quick_deaths, len(PAUSES_S) - 1)]
        child.start_at = now + pause
        child.fate = what
        say(f"{what}; starting it again" + (f" in {pause:.1f} s" if pause else ""))

    def _fail(self, failure: Fatal) -> None:
        """Give up: the rest must not go on half-alive. Peers notice and fence this node if it ran anything."""
        if self.failed is None:
            self.failed = failure
        for child in self.children:
            child.kill(signal.SIGKILL)

    def _end_messaging(self) -> None:
        if self.messaging.running and self._messaging_until is None:
            self.messaging.kill(signal.SIGTERM)
            self._messaging_until = time.monotonic() + self._messaging_stop_s

    def _hurry(self, now: float) -> None:
        if self._messaging_until is not None and self._messaging_until <= now:
            self._messaging_until = None
            self.messaging.kill(signal.SIGKILL)


def start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def say(text: str, level: str = "INFO") -> None:
    """One line for people, on standard error (the journal, or a log file)."""
    now = time.time()
    if is_journal(2, os.environ):
        with contextlib.suppress(OSError):
            os.write(2, f"<{3 if level == 'ERROR' else 6}>vigild: {text}\n".encode())
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp}.{int(now * 1000) % 1000:03d} vigild {level} {text}\n".encode())


def write_file(path: str, text: str) -> None:
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    os.replace(temporary, path)  # noqa: PTH105


def resolve(config: str) -> str:
    """Have the configuration validated; the path of `RUN_DIR/resolved.json`. Fatal when it is not acceptable.

    Validation loads libraries that take longer than everything else here, so its result is kept beside the CIB and used again for
    the same text, the same host and the same code.
    """
    try:
        with open(config, encoding="utf-8") as file:  # noqa: PTH123
            source = file.read()
    except (OSError, UnicodeDecodeError):
        source = ""  # the child says what is wrong with it
    checker = importlib.util.find_spec("crm.config")
    code = os.stat(checker.origin).st_mtime_ns if checker is not None and checker.origin else 0  # noqa: PTH116
    key: list[str | int] = [source, os.path.abspath(config), os.uname().nodename, code]  # noqa: PTH100
    kept = _state_dir(source)
    cache = os.path.join(kept, "resolved.cache") if kept else ""  # noqa: PTH118
    text = _cached(cache, key) if cache else ""
    if not text:
        text = _validate(config)
        if cache:
            with contextlib.suppress(OSError):
                os.makedirs(kept, mode=0o700, exist_ok=True)  # noqa: PTH103
                write_file(cache, json.dumps({"key": key, "resolved": text}))
    run_dir: str = json.loads(text)["paths"]["run_dir"]
    try:
        os.makedirs(run_dir, mode=0o755, exist_ok=True)  # noqa: PTH103
        target = os.path.join(run_dir, "resolved.json")  # noqa: PTH118
        write_file(target, text)
    except OSError as error:
        raise Fatal(f"{run_dir} cannot be written: {error.strerror}", EX_CONFIG) from None
    return target


def _state_dir(source: str) -> str:
    """Where the node keeps its state; empty when the text does not say so in a way that can be read at a glance."""
    found = re.search(r'^\s*state_dir\s*=\s*"([^"\\]+)"\s*(?:#.*)?$', source, re.MULTILINE)
    return found.group(1) if found else DEFAULT_STATE_DIR if source else ""


def _cached(path: str, key: list[str | int]) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            kept = json.load(file)
        return str(kept["resolved"]) if kept["key"] == key else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _validate(config: str) -> str:
    """The resolved form, as a child of ours makes it."""
    folder = os.path.join("/tmp", f"vigild-{os.getpid()}-{time.monotonic_ns()}")  # noqa: PTH118 (only the file knows RUN_DIR)
    os.mkdir(folder, 0o700)  # noqa: PTH102
    written = os.path.join(folder, "resolved.json")  # noqa: PTH118
    try:
        command = [sys.executable, "-m", "crm.config", "resolve", config, "--output", written]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
        _, raw = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(raw) != 0:
            raise Fatal(f"{config} is not usable, see above", EX_CONFIG)
        with open(written, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(written)  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106


def lock(run_dir: str) -> int:
    """There is one vigild on a node. Waits a little for an ending one; Fatal when it stays."""
    descriptor = os.open(os.path.join(run_dir, "vigild.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)  # noqa: PTH118
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Fatal(f"another vigild is at work in {run_dir}") from None
            time.sleep(0.1)
        else:
            return descriptor


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vigild", description="Supervisor of one Vigil node")
    parser.add_argument("--config", default=DEFAULT_CONFIG, help=f"the configuration file (default {DEFAULT_CONFIG})")
    arguments = parser.parse_args(argv)
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"vigild", 0, 0, 0)
    # Who stops the node while it starts means all of it: also what an earlier vigild has left running.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        resolved = resolve(arguments.config)
        with open(resolved, encoding="utf-8") as file:  # noqa: PTH123
            settings = json.load(file)
        paths = settings["paths"]
        run_dir: str = paths["run_dir"]
        log_file: str | None = paths.get("log_file") or None
        held = lock(run_dir)
        write_file(os.path.join(run_dir, "vigild.pid"), f"{os.getpid()} {start_time(os.getpid())}\n")  # noqa: PTH118
        modules = {"messaging": "messaging", "crm": "crm.daemon"}
        messaging, crm = (
            Child(name, [sys.executable, "-m", module, "--config", resolved], run_dir, log_file)
            for name, module in modules.items()
        )
        try:
            return Supervisor(messaging, crm, settings["timers"]["deadtime_ms"]).run()
        finally:
            os.close(held)
    except Fatal as failure:
        say(str(failure), "ERROR")
        return failure.code


if __name__ == "__main__":
    sys.exit(main())
