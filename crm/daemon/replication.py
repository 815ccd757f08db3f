"""Where the CIB replica meets the disk, and those who wait for their changes.

Theory of operation. The replica's effects are performed in their order; a document is written in a thread, because a disk may take its time
and heartbeats of other matters must not wait, and the replica hears when it is on the disk. Requests of clients are futures, resolved
by the replica's `Reply`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError, ErrorItem
from crm.cib import xml
from crm.cib.lineage import Standing
from crm.cib.operations import Operation
from crm.cib.replica import (
    Changed,
    CibReplica,
    Effect,
    GroupView,
    KeepAside,
    Multicast,
    Notice,
    Persist,
    Reply,
    Send,
    Withdraw,
)
from crm.cib.store import CibStore
from crm.cib.xml import Version
from crm.controller import status
from crm.controller.status import Update

DISK_RETRY_S: Final = 1.0
"""After a disk refused a write, until it is tried again."""

_log = logging.getLogger("vigil.cib")
_CODES = {
    "bad-request": errors.BAD_REQUEST,
    "not-found": errors.NOT_FOUND,
    "exists": errors.EXISTS,
    "invalid": errors.INVALID,
    "conflict": errors.CONFLICT,
    "old-data": errors.CONFLICT,
    "unavailable": errors.UNAVAILABLE,
    "not-applied": errors.NOT_APPLIED,
    "permission-denied": errors.PERMISSION_DENIED,
}


@dataclass(frozen=True, slots=True)
class Done:
    """A change was made: the version it led to, and warnings for whoever asked."""

    version: Version
    warnings: tuple[ErrorItem, ...] = ()


class Replication:
    """The CIB of this node. Also the controller's `CibPort`.

    `multicast(payload, request)`, `send(node, payload)`: onto the wire. `changed`: the document changed other than by the controllers.
    `withdraw`: leave the group and join anew.
    """

    def __init__(
        self, me: int, session: str, state_dir: Path, cluster: str, feature_set: str = xml.FEATURE_SET
    ) -> None:
        self.store = CibStore(state_dir / "cib")
        loaded = self.store.load()
        self.reports = loaded.reports
        for item in loaded.reports:
            _log.warning("%s", item)
        self.lost = loaded.document is None and not loaded.fresh
        document = loaded.document
        if document is None:
            document = xml.empty(cluster)
            document.set(xml.FEATURES, feature_set)
        if self.lost:
            _log.error(
                "every copy of the CIB in %s is damaged: this node waits for another member's, and decides nothing alone. When no member has "
                "one: put a good copy there as cib.xml (crm configure save xml), or remove the folder to begin with an empty configuration",
                self.store.folder,
            )
        forget_status(document)
        self.replica = CibReplica(me, session, document, lineage=loaded.lineage, apply_updates=status.Applier())
        self.multicast: Callable[[bytes, int], None] = lambda payload, request: None
        self.send: Callable[[int, bytes], None] = lambda node, payload: None
        self.changed: Callable[[Changed], None] = lambda changed: None
        self.withdraw: Callable[[str], None] = lambda reason: None
        self.broken: Callable[[BaseException], None] = lambda error: None
        self.kept_aside: Callable[[str, str], object] = lambda file, why: None
        self._requests: dict[int, asyncio.Future[Done]] = {}
        self._last_request = 0
        self._flush_due = False
        self._writes: set[asyncio.Task[Any]] = set()
        self._asides: set[asyncio.Task[bool]] = set()
        self._closing = False
        self.writable = asyncio.Event()
        """The last write succeeded. A node whose disk refuses stays out of the group."""
        self.writable.set()

    # --- the controller's port ---------------------------------------------------------------------------------------

    @property
    def document(self) -> etree._Element:
        return self.replica.document

    @property
    def version(self) -> Version:
        return self.replica.version

    @property
    def standing(self) -> Standing:
        return self.replica.standing

    def digest(self) -> str:
        return self.replica.digest()

    def apply_status(self, updates: Iterable[Update]) -> Sequence[Update]:
        return self.replica.apply_status(updates)

    def copy(self) -> bytes:
        return self.replica.copy()

    def adopt(self, copy: bytes) -> None:
        self._perform(self.replica.adopt(copy))

    # --- what happens ------------------------------------------------------------------------------------------------

    def on_view(self, view: GroupView) -> None:
        self._perform(self.replica.on_view(view))

    def synchronised(self) -> None:
        self._perform(self.replica.synchronised())

    def on_delivered(self, sequence: int, sender: int, payload: bytes) -> None:
        self._perform(self.replica.on_delivered(sequence, sender, payload))

    def on_direct(self, sender: int, payload: bytes) -> None:
        self._perform(self.replica.on_direct(sender, payload))

    def on_undelivered(self, request: int) -> None:
        self._perform(self.replica.on_undelivered(request))

    async def request(self, operation: Operation, *, automatic: bool = False) -> Done:
        """Make a change; returns when it is on every member's disk. ApiError with the reason otherwise."""
        self._last_request += 1
        number = self._last_request
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._requests[number] = future
        self._perform(self.replica.request(number, operation, automatic=automatic))
        try:
            return await future
        finally:
            self._requests.pop(number, None)

    async def close(self) -> None:
        """Wait for what is being written."""
        self._closing = True
        self._perform(self.replica.flush())
        while self._writes:
            await asyncio.gather(*self._writes)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Multicast(payload, request):
                    self.multicast(payload, request)
                case Send(node, payload):
                    self.send(node, payload)
                case Persist():
                    self._spawn(self._persist(effect, tuple(self._asides)))
                case Reply():
                    self._reply(effect)
                case Changed():
                    self.changed(effect)
                case KeepAside(name, document, why):
                    task = self._spawn(self._keep_aside(name, document, why))
                    self._asides.add(task)
                    task.add_done_callback(self._asides.discard)
                case Withdraw(reason):
                    self.withdraw(reason)
                case Notice(code, message):
                    _log.warning("%s: %s", code, message)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Once a round of the loop: however many changes came in it, they are one write."""
        self._flush_due = False
        effects = self.replica.flush()
        if effects:
            self._perform(effects)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._written)
        return task

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken(error)

    async def _persist(self, effect: Persist, first: tuple[asyncio.Task[bool], ...]) -> None:
        """`first`: what is kept aside must be on the disk before the document that displaces it."""
        if first and not all([await task for task in first]):
            return  # the end of this process came first; the document that is still on the disk has all of it
        try:
            await asyncio.to_thread(self.store.save, effect.document, effect.version, effect.digest, effect.lineage)
        except OSError as error:
            self.writable.clear()
            self._perform(self.replica.on_persist_failed(effect.ticket, str(error)))
            asyncio.get_running_loop().call_later(DISK_RETRY_S, self._try_disk)
        else:
            self.writable.set()
            self._perform(self.replica.on_persisted(effect.ticket))

    def _try_disk(self) -> None:
        self._perform(self.replica.disk_again())

    async def _keep_aside(self, name: str, document: bytes, why: str) -> bool:
        """Until it is kept, this node stays out of the group. False when the process ends before."""
        while True:
            try:
                path = await asyncio.to_thread(self.store.keep_aside, name, document, why)
            except OSError as error:
                _log.error("a configuration that the cluster did not take cannot be kept yet: %s (%s)", error, why)
                if self._closing:
                    return False
                if self.writable.is_set():
                    self.writable.clear()
                    self.withdraw(f"a configuration that was not taken cannot be kept: {error}")
                await asyncio.sleep(DISK_RETRY_S)
            else:
                _log.warning("a configuration that the cluster did not take is kept in %s: %s", path, why)
                self.kept_aside(str(path), why)
                return True

    def _reply(self, reply: Reply) -> None:
        future = self._requests.get(reply.request)
        if future is None or future.done():
            return
        items = [
            ErrorItem(str(item.severity), item.code, item.element, item.message, item.attribute) for item in reply.items
        ]
        if not reply.error:
            future.set_result(Done(reply.version, tuple(items)))
            return
        future.set_exception(ApiError(_CODES.get(reply.error, errors.FAILED), reply.message, items))


def forget_status(document: etree._Element) -> None:
    """What an earlier life knew of the cluster's state: nothing of it is true any more."""
    section = xml.section(document, xml.STATUS)
    if section is not None:
        for child in list(section):
            section.remove(child)
    for name in ("have-quorum", "dc-uuid", "no-quorum-panic"):
        if name in document.attrib:
            del document.attrib[name]
