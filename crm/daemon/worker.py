"""The policy worker: a warm process that runs the policy engine for the DC, so that deciding never holds up the daemon's loop.

Theory of operation. The worker reads questions from a socket pair and answers them one at a time: a header (number, seconds since the epoch,
length), then the CIB; back come a header (number, verdict, length) and the transition graph (or metrics, which need the same reading of the CIB), or the error's text. Between questions it
keeps only what it has parsed (`Documents`), which changes no answer. When crm goes away, the socket ends and so does the worker.
Garbage is collected between questions, not while one is answered.

It is forked from crm before crm's own modules are loaded, so that both share the pages of the interpreter and lxml; the engine
is imported in the worker only. A worker that was killed, hangs for longer than `DECISION_LIMIT_S`, or grew beyond reason is replaced
by a fresh process (`python -m crm.daemon.worker`).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, NoReturn
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from crm.daemon.documents import Documents
    from crm.policy.schedule import Transition

QUESTION: Final = struct.Struct("!QqI")
ANSWER: Final = struct.Struct("!QBI")
METRICS: Final = 1 << 63
"""Set in the number of a question that asks for metrics rather than for a decision."""
OK: Final = 0
FAILED: Final = 1
DECISION_LIMIT_S: Final = 120.0
"""A decision that takes longer is given up; the largest supported cluster takes a small part of it."""
_PR_SET_NAME: Final = 15
_PR_SET_PDEATHSIG: Final = 1


def fork() -> tuple[int, socket.socket]:
    """Fork the worker off this (still small, single-threaded) process. Its process id and our end of the socket."""
    ours, theirs = socket.socketpair()
    gc.freeze()  # collections must not touch, and so copy, what both share
    pid = os.fork()
    if pid == 0:
        ours.close()
        run(theirs)
    theirs.close()
    return pid, ours


def run(channel: socket.socket) -> NoReturn:
    """Answer questions until the other end is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):  # who stops the node stops crm; the worker follows
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, b"vigil-policy", 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        from crm.daemon.documents import Documents

        warm_up()
        documents = Documents()
        gc.disable()
        while True:
            head = _read(channel, QUESTION.size)
            if head is None:
                break
            number, epoch_s, length = QUESTION.unpack(head)
            document = _read(channel, length)
            if document is None:
                break
            answer = describe if number & METRICS else decide
            verdict, text = answer(document, epoch_s, documents)
            del document
            channel.sendall(ANSWER.pack(number, verdict, len(text)) + text)
            gc.collect()
    except (BrokenPipeError, ConnectionResetError):
        pass
    os._exit(0)


def warm_up() -> None:
    """Import the engine and let it run once, so that the first real decision is as fast as the others."""
    from crm.daemon.documents import Documents

    empty = b"<cib><configuration><crm_config/><nodes/><resources/><constraints/></configuration><status/></cib>"
    decide(empty, 1, Documents())


def decide(document: bytes, epoch_s: int, documents: Documents) -> tuple[int, bytes]:
    """The graph's XML, or what went wrong. The edge of the engine: whatever it raises becomes an answer."""
    try:
        from crm.policy.schedule import schedule

        transition = schedule(documents.read(document), epoch_s, masked=False)
        reasons = fencing_reasons(transition)
        return OK, with_series(
            with_reasons(transition.to_xml(), reasons), series_of(transition, bool(reasons))
        ).encode()
    except Exception as error:
        return _failed(error)


def describe(document: bytes, epoch_s: int, documents: Documents) -> tuple[int, bytes]:
    """The metrics of the cluster in this state, as text. An edge like `decide`."""
    try:
        from crm.metrics import exposition, pacemaker

        return OK, exposition.render(pacemaker.families(documents.read(document), epoch_s)).encode()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> tuple[int, bytes]:
    import traceback

    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
    return FAILED, f"{type(error).__name__}: {error}{place}".encode()


def fencing_reasons(transition: Transition) -> dict[str, str]:
    """Why each node is to be fenced, by the number of the action; the first cause rather than what followed from it."""
    from crm.policy.model import FenceNode

    causes: dict[str, str] = {}
    for request in transition.state.requests:
        if isinstance(request, FenceNode):
            causes.setdefault(request.node.id, request.reason)
    return {
        str(action.id): causes.get(action.node.id) or action.reason or ""
        for action in transition.synapses
        if action.task == "stonith" and action.node is not None
    }


def series_of(transition: Transition, fences: bool) -> str:
    """In which series the input of this decision is kept: `error`, `warn` (something is wrong in it, or a node is fenced) or `input`."""
    severities = {str(problem.severity) for problem in transition.problems}
    if "error" in severities:
        return "error"
    return "warn" if "warning" in severities or fences else "input"


def with_series(graph: str, series: str) -> str:
    """The graph with the series of its input at its root; ours, as the reasons are."""
    return graph.replace("<transition_graph", f'<transition_graph series="{series}"', 1)


def with_reasons(graph: str, reasons: dict[str, str]) -> str:
    """The graph with an attribute `reasons` at its root. It is ours: a graph says what is to be done, and not why."""
    if not reasons:
        return graph
    return graph.replace("<transition_graph", f"<transition_graph reasons={quoteattr(json.dumps(reasons))}", 1)


def _read(channel: socket.socket, length: int) -> bytes | None:
    parts: list[bytes] = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    run(socket.socket(fileno=int(sys.argv[1])))
