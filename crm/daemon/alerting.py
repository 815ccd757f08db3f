"""Where alerts meet agents: the records of this node in, programs run.

Theory of operation. What is to be run, for whom and in which order is the core's matter (`crm.alerts`); this runs each agent as a process of its own with its
time limit, and tells the core how it ended. The configuration is read again when the CIB says that it changed. Fencing is told to the other members, since
only the one that asked for it knows how it ended, and all of them alert it.

Agents run as a user of their own (`crm.daemon.alertuser`) and get a clean environment (no PYTHON* of ours) with the cluster's tools in their PATH. What they print is
kept for the record of their failure only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agents.environment import base_environment
from agents.paths import SHIPPED_ALERTS
from agents.process import Ended, run_process
from crm.alerts.configuration import Configuration
from crm.alerts.core import Alerts, Effect, Run, Tell
from crm.api.errors import ApiError
from crm.cib import xml
from crm.daemon import alertuser, clock
from crm.daemon.alertuser import AlertUser, NoSuchUser
from crm.daemon.node import Node

LEAVE_LIMIT_S: Final = 3.0
"""How long a node that leaves waits for its last alerts."""
TELL_LIMIT_S: Final = 10.0
"""How long the others may take to acknowledge that they have heard of a fencing."""
TEXT_LIMIT: Final = 200
_CONFIGURED_BY: Final = frozenset(("dc", "cib_changed", "cib_taken"))

_log = logging.getLogger("vigil.alerts")


class Alerting:
    """See the module's text. `on_record` is a listener of the journal."""

    def __init__(self, node: Node, version: str) -> None:
        self.core = Alerts(version)
        self._node = node
        self._tasks: set[asyncio.Task[None]] = set()
        self._environment: dict[str, str] | None = None
        self._user: AlertUser | None = None
        node.peers.handler("fencing_known", self._on_fencing_known)

    def on_record(self, record: Mapping[str, Any]) -> None:
        name = record["event"]
        effects: list[Effect] = []
        if name in _CONFIGURED_BY:
            self.core.configure(Configuration(self._node.cib.document))
        if name == "dc":
            effects += self.core.joined(_now_us())
        elif name in ("fenced", "fence_failed"):
            self._spawn(self._tell_others(dict(record)))
        effects += self.core.on_record(record, self._node_ids() if name == "view" else {}, _now_us())
        self._perform(effects)

    async def close(self) -> None:
        """The last alerts may end; what takes longer is ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_LIMIT_S):
                while not self.core.idle:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Run():
                    self._spawn(self._run(effect))
                case Tell(name, fields, cause):
                    self._node.journal.record(name, fields, cause)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("internal error in alerts: %r", error, exc_info=error)

    async def _run(self, run: Run) -> None:
        try:
            ok, text = await self._outcome(run)
        except Exception as error:  # whatever it was, the recipient's next alert is not to wait for ever
            _log.exception("internal error in the alert %s", run.call.alert)
            ok, text = False, f"internal error: {error!r}"
        self._perform(self.core.on_ended(run.token, ok, text))

    async def _outcome(self, run: Run) -> tuple[bool, str]:
        """Whether the agent succeeded, and why when it did not."""
        call = run.call
        path = call.path if "/" in call.path else str(SHIPPED_ALERTS / call.path)
        command: tuple[str, ...] = (path,)
        try:
            if self._user is None:
                self._user = alertuser.find(self._node.settings.alerts_user)
            if self._environment is None:
                self._environment = base_environment(self._node.executing.runner.paths) | self._user.environment()
            command = self._user.command(path)
            if call.path == "file" and not call.recipient:
                self._user.make_log_folder()
            ended = await run_process(command, {**self._environment, **run.environment}, call.timeout_ms)
        except NoSuchUser as wrong:
            return False, str(wrong)
        except FileNotFoundError:
            return False, _missing(path, command[0])
        except (OSError, ValueError) as error:  # ValueError: a zero byte in a value
            return False, str(getattr(error, "strerror", None) or error)
        text = _how(ended, call.timeout_ms)
        if ended.code and len(command) > 1 and text.startswith(f"{command[0]}: "):
            # Not the agent's words: it was never begun.
            return False, _missing(path, path) if not _there(path) else f"as {self._user.name}: {text}"
        return ended.code == 0, text

    async def _tell_others(self, record: dict[str, Any]) -> None:
        """All members alert a fencing; those who did not ask for it hear of its end here."""
        view = self._node.controller.view
        news = {
            "target": record["target"],
            "action": record["action"],
            "ok": record["event"] == "fenced",
            "text": record.get("text", ""),
            "by": self._node.settings.node_name,
            "cause": record["cause"],
        }
        others = [] if view is None else sorted(view.group - {self._node.settings.node_id})
        calls = (self._node.peers.call(number, "fencing_known", news) for number in others)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_LIMIT_S):
                for answer in await asyncio.gather(*calls, return_exceptions=True):
                    if isinstance(answer, BaseException) and not isinstance(answer, ApiError):
                        raise answer

    async def _on_fencing_known(self, params: dict[str, Any]) -> dict[str, Any]:
        names = ("target", "action", "ok", "text", "by")
        fields: dict[str, Any] = {name: params[name] for name in names if name in params}
        if fields.keys() >= {"target", "action", "ok", "by"}:
            self._node.journal.record("fencing_known", fields, str(params.get("cause", "")))
        return {}

    def _node_ids(self) -> dict[str, str]:
        found = {name: str(number) for number, name in self._node.settings.nodes}
        for element in xml.elements(xml.section(self._node.cib.document, "nodes"), "node"):
            found[element.get("uname", "")] = element.get("id", "")
        return found


def _how(ended: Ended, timeout_ms: int) -> str:
    """Why an agent that has not ended with 0 has failed: its last word, or how it ended."""
    if ended.timed_out:
        return f"it did not end within {timeout_ms} ms"
    said = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:TEXT_LIMIT]
    return said or (f"exit code {ended.code}" if ended.code is not None else f"signal {ended.signal}")


def _missing(path: str, command: str) -> str:
    if not _there(path):
        return f"{path} is not installed"
    if command != path:
        return f"{command} (of util-linux) is not installed; it is needed to run agents as another user"
    return f"{path} names an interpreter that is not installed"


def _there(path: str) -> bool:
    return Path(path).exists()


def _now_us() -> int:
    return int(clock.wall() * 1_000_000)
