"""The work behind `ocf:vigil:WebServer`: a web server of one page, and the actions of an agent around it.

Theory of operation. Run as a program with nothing but the standard library (`python3 -I -S webserver.py ACTION`). `start` binds and
listens first, then forks: when it returns, the server answers; there is no time in between to wait for. The child lives
in a session of its own. The pid file names the process together with the time at which it started, so that a recycled
pid is never taken for the server, let alone killed.

What it imports is part of its cost, paid at every monitor: the C half of `socket` alone starts 10 ms
faster than the whole, and plain paths need no `pathlib`.

`monitor` fetches the page and looks for the resource's name in a header: a process that hangs, or another server on
the same port, is not success. `stop` is over when the process is gone.
"""

# ruff: noqa: PTH105, PTH108, PTH110, PTH123
from __future__ import annotations

import _socket
import _thread
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

OK: Final = 0  # `Final` is never evaluated: annotations stay text
ERROR: Final = 1
UNIMPLEMENTED: Final = 3
NOT_CONFIGURED: Final = 6
NOT_RUNNING: Final = 7

SIGKILL: Final = 9
SIGTERM: Final = 15
BACKLOG: Final = 128
CLIENT_TIMEOUT_S: Final = 5.0
"""How long a client may take to send its request and to take the answer."""
MAX_REQUEST: Final = 8192
MONITOR_TIMEOUT_S: Final = 2.0
"""How long the page may take for a monitor."""
TERM_PATIENCE_S: Final = 0.5
KILL_PATIENCE_S: Final = 5.0
RESOURCE_HEADER: Final = "X-Vigil-Resource"
NODE_HEADER: Final = "X-Vigil-Node"


class Settings:
    """The parameters, from the environment. Ends the program with a reason when one of them is wrong."""

    def __init__(self) -> None:
        self.resource = os.environ.get("OCF_RESOURCE_INSTANCE") or "default"
        self.node = _parameter("CRM_meta_on_node", "") or os.uname().nodename
        self.address = _parameter("address", "0.0.0.0")
        self.message = _parameter("message", "")
        self.document = _parameter("document", "")
        folder = os.environ.get("HA_RSCTMP") or "/run/resource-agents"
        name = self.resource.replace("/", "_")
        self.pidfile = _parameter("pidfile", f"{folder}/vigil-WebServer-{name}.pid")
        port = _parameter("port", "8080")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            fail(NOT_CONFIGURED, f"port is {port!r}, expected a number from 1 to 65535")
        self.port = int(port)
        self.family = _socket.AF_INET6 if ":" in self.address else _socket.AF_INET
        try:
            _socket.inet_pton(self.family, self.address)
        except OSError:
            fail(NOT_CONFIGURED, f"address is {self.address!r}, expected an IPv4 or IPv6 address")

    @property
    def reachable(self) -> str:
        """An address under which the server answers from this node."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address, self.address)


def _parameter(name: str, default: str) -> str:
    return os.environ.get("OCF_RESKEY_" + name) or default


def fail(code: int, reason: str) -> NoReturn:
    """End with an OCF code and say why, in the form that the cluster reads."""
    sys.stderr.write(os.environ.get("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:") + reason + "\n")
    sys.exit(code)


# --- the process ---------------------------------------------------------------------------------------------------------


def started_at(pid: int) -> str | None:
    """When the process started, in the kernel's own count; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def running_pid(settings: Settings) -> int | None:
    """The server's pid, when the process that the pid file names is still the same."""
    try:
        with open(settings.pidfile) as file:
            pid, started = file.read().split()
        return int(pid) if started_at(int(pid)) == started else None
    except (OSError, ValueError):
        return None


def write_pidfile(settings: Settings, pid: int) -> None:
    temporary = f"{settings.pidfile}.{os.getpid()}"
    with open(temporary, "w") as file:
        file.write(f"{pid}\n{started_at(pid)}\n")
    os.replace(temporary, settings.pidfile)


# --- the server ----------------------------------------------------------------------------------------------------------


def page(settings: Settings) -> bytes:
    if settings.document:
        with open(settings.document, "rb") as file:
            return file.read()
    now = time.time()
    clock = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
    text = f"{settings.resource} on {settings.node} at {clock}\n"
    return (text + (settings.message + "\n" if settings.message else "")).encode()


def answer(settings: Settings, request: bytes) -> bytes:
    """The whole response to a request's first bytes."""
    words = request.split(b"\r\n", 1)[0].split()
    method = words[0] if words else b""
    status, body = "200 OK", b""
    if method not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", b"only GET and HEAD\n"
    else:
        try:
            body = page(settings)
        except OSError as error:
            status, body = "500 Internal Server Error", f"{error.strerror}\n".encode()
    kind = "text/html" if settings.document.endswith((".html", ".htm")) else "text/plain"
    head = (
        f"HTTP/1.1 {status}\r\nServer: vigil\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{NODE_HEADER}: {settings.node}\r\n"
        f"{RESOURCE_HEADER}: {settings.resource}\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else body)


def handle(settings: Settings, client: _socket.socket) -> None:
    try:
        client.settimeout(CLIENT_TIMEOUT_S)
        request = b""
        while b"\r\n\r\n" not in request and len(request) < MAX_REQUEST:
            chunk = client.recv(MAX_REQUEST)
            if not chunk:
                break
            request += chunk
        if request:
            client.sendall(answer(settings, request))
    except OSError:
        return  # the client went away, which is its right
    finally:
        client.close()


def serve(settings: Settings, listener: _socket.socket) -> NoReturn:
    while True:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
            client = _socket.socket(fileno=fd)
        except OSError:
            time.sleep(0.05)  # out of descriptors: the next moment may be better
            continue
        _thread.start_new_thread(handle, (settings, client))


def listen(settings: Settings) -> _socket.socket:
    listener = _socket.socket(settings.family, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.address, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        fail(ERROR, f"cannot listen on {settings.address} port {settings.port}: {error.strerror}")
    return listener


def detach() -> None:
    """Become a daemon: own session, nothing of the agent's streams kept."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


# --- the actions ---------------------------------------------------------------------------------------------------------


def start(settings: Settings) -> int:
    if running_pid(settings) is not None:
        return monitor(settings)
    validate(settings)
    listener = listen(settings)
    confirmed, confirm = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(confirm)
        detach()
        # A server that no pid file names could never be stopped: it serves only when it has been written down.
        if os.read(confirmed, 1):
            serve(settings, listener)
        os._exit(ERROR)
    try:
        write_pidfile(settings, pid)
    except OSError as error:
        fail(ERROR, f"cannot write {settings.pidfile}: {error.strerror}")
    os.write(confirm, b"1")
    return OK


def stop(settings: Settings) -> int:
    pid = running_pid(settings)
    if pid is not None and not (_end(pid, SIGTERM, TERM_PATIENCE_S) or _end(pid, SIGKILL, KILL_PATIENCE_S)):
        fail(ERROR, f"process {pid} does not end")
    if os.path.exists(settings.pidfile):
        os.unlink(settings.pidfile)
    return OK


def _end(pid: int, number: int, patience_s: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return True
    os.kill(pid, number)  # it exists, perhaps as a zombie: the handle proves it
    gone, _, _ = select.select([handle], [], [], patience_s)
    os.close(handle)
    return bool(gone)


def fetch(settings: Settings) -> bytes:
    """What the server answers to a request for its page."""
    connection = _socket.socket(settings.family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(MONITOR_TIMEOUT_S)
        connection.connect((settings.reachable, settings.port))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
        return reply
    finally:
        connection.close()


def monitor(settings: Settings) -> int:
    if running_pid(settings) is None:
        return NOT_RUNNING
    try:
        reply = fetch(settings)
    except OSError as error:
        fail(ERROR, f"{settings.reachable} port {settings.port} does not answer: {error.strerror or error}")
    status, _, rest = reply.partition(b"\r\n")
    if status.split()[1:2] != [b"200"]:
        fail(ERROR, f"the page is answered with {status.decode('ascii', 'replace')!r}")
    if f"{RESOURCE_HEADER}: {settings.resource}\r\n".encode() not in rest:
        fail(ERROR, f"port {settings.port} is served by somebody else")
    return OK


def validate(settings: Settings) -> int:
    if settings.document and not os.access(settings.document, os.R_OK):
        fail(NOT_CONFIGURED, f"document {settings.document} cannot be read")
    return OK


ACTIONS: Final = {"start": start, "stop": stop, "monitor": monitor, "status": monitor, "validate-all": validate}


def main(arguments: list[str]) -> int:
    action = ACTIONS.get(arguments[0]) if len(arguments) == 1 else None
    if action is None:
        sys.stderr.write(f"usage: webserver.py {'|'.join(ACTIONS)}\n")
        return UNIMPLEMENTED
    return action(Settings())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
