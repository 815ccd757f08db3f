"""Nodes are added, removed and renamed while the cluster runs: every member's vigil.toml, its messaging, its crm, and whose votes count.

Theory of operation. Whoever is asked leads, in two phases, each put to every member as a question:

    prepare   each writes the changed file beside its own (`vigil.toml.next`, on the disk) and tells which nodes come of it
    commit    once all have told the same: each puts the file in place, resolves it, and has messaging and crm take the new nodes

Then the votes follow, agreed by the members in two steps of their own (`messaging.quorum`). Before the commit nothing has changed; when a member
fails in the middle of it, the same command once more completes it, since a change that is made already is left as it is.

A node that is to be removed gives up its vote first, while it is still a member, then leaves as for a shutdown, and only then do the others forget it: so the
rest has quorum at every moment, and a removed node that starts again has none. A node that is to be renamed leaves, too; its own file has the
new name by then. Every node must be there, because one that is not would come back with the old nodes in its file; `force` says that this is seen to.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.controller import status
from crm.daemon.methods.quorum import QuorumMethods
from crm.daemon.node import Node
from crm.daemon.settings import SettingsError, load

PHASE_S: Final = 60.0
LEAVE_S: Final = 600.0
EX_USAGE: Final = 2


class NodesMethods(QuorumMethods):
    """The API's `nodes.change`, and what members ask of each other for it."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._busy = asyncio.Lock()
        for name, handler in (
            ("nodes.prepare", self.prepare),
            ("nodes.place", self.place),
            ("nodes.commit", self.commit),
            ("nodes.leave", self.leave),
        ):
            node.peers.handler(name, handler)

    async def change(self, call: Call) -> dict[str, Any]:
        """`operation` add (`name`, `addresses`, `id?`, `votes?`), remove (`name`) or rename (`name`, `new_name`)."""
        call.only("operation", "name", "addresses", "id", "votes", "new_name", "force")
        operation = call.text("operation", choices=("add", "remove", "rename")) or ""
        name, force = call.need_text("name"), bool(call.params.get("force", False))
        match operation:
            case "add":
                addresses = call.params.get("addresses")
                if not isinstance(addresses, list) or not all(isinstance(each, str) and each for each in addresses):
                    raise ApiError(errors.BAD_REQUEST, "addresses: expected a list of addresses, one for each link")
                words = ["add", name, str(call.integer("id", 0) or 0), str(call.integer("votes", 1)), *addresses]
            case "remove":
                words = ["remove", name]
            case _:
                words = ["rename", name, call.need_text("new_name")]
        if self._busy.locked():
            raise ApiError(errors.CONFLICT, "the nodes are being changed already")
        async with self._busy:
            answer = await self._change(operation, name, words, force=force)
        self.node.journal.record("nodes_changed", {"by": f"uid-{call.peer.uid}", "change": words})
        return answer

    async def _change(self, operation: str, name: str, words: list[str], *, force: bool) -> dict[str, Any]:
        going = None if operation == "add" else self._check_going(operation, name)
        self._check_all_there(going, force=force)
        there = going is not None and self._is_member(going)
        members = self._group() - ({going} if going is not None else set())
        asked = members | {going} if operation == "rename" and there and going is not None else members
        told = await self._all("nodes.prepare", asked, {"words": words})
        self._check_alike(told)
        if there and going is not None:
            if operation == "remove":
                await self.ask_messaging("quorum.change", {"action": "retire", "node_id": going})
                await self.settled()
            else:
                await self._one("nodes.place", going, {})
            await self._one("nodes.leave", going, {})
            await self._until_gone(going)
        await self._all("nodes.commit", members, {})
        await self.ask_messaging("quorum.change", {"action": "nodes"})
        answer = await self.settled()
        return {"nodes": next(iter(told.values()))["nodes"], "quorum": answer, "left": there}

    # --- what must hold before anything is changed

    def _check_all_there(self, going: int | None, *, force: bool) -> None:
        view = self.node.controller.view
        if view is None or not view.quorate or not self.node.controller.synced:
            raise ApiError(errors.NO_QUORUM, "this part of the cluster has no quorum, or is not synchronised just now")
        listed = {number for number, _ in self.node.settings.nodes}
        absent = sorted(self.node.name_of(number) for number in listed - view.group - {going})
        if absent and not force:
            text = (
                f"not here: {', '.join(absent)}; the nodes in their files would be the old ones. Start them first, or remove them; with "
                "--force, copy vigil.toml to them before they start"
            )
            raise ApiError(errors.CONFLICT, text)

    def _check_going(self, operation: str, name: str) -> int | None:
        """The id of the node that is removed or renamed; None when that was done before, in part.

        One that may still run something is not forgotten, by no force: saying that it is off is a command of its own.
        """
        number = next((number for number, known in self.node.settings.nodes if known == name), None)
        if number is None:
            return None
        if number == self.node.settings.node_id:
            raise ApiError(errors.CONFLICT, f"{name} is this node: ask another one to {operation} it")
        if self._is_member(number):
            return number
        state = status.node_state_by_name(self.node.cib.document, name)
        if state is not None and state.get("expected") == "member":
            text = (
                f"{name} was lost and is not known to be off: have it fenced, or say so with crm node clearstate {name}"
            )
            raise ApiError(errors.CONFLICT, text)
        return number

    def _is_member(self, number: int) -> bool:
        view = self.node.controller.view
        return view is not None and number in view.member_ids

    def _group(self) -> set[int]:
        view = self.node.controller.view
        return set() if view is None else set(view.group)

    def _check_alike(self, told: dict[int, Any]) -> None:
        first = next(iter(told.values()))
        others = [self.node.name_of(number) for number, answer in sorted(told.items()) if answer != first]
        if others:
            text = f"the nodes in vigil.toml would differ: {self.node.settings.node_name} and {', '.join(others)} do not have the same"
            raise ApiError(errors.CONFLICT, text)

    # --- asking the members

    async def _all(self, question: str, members: Iterable[int], params: dict[str, Any]) -> dict[int, Any]:
        """What each of them answers. ApiError with everything that they object to."""
        asked = sorted(members)
        answers = await asyncio.gather(*(self._one(question, each, params) for each in asked), return_exceptions=True)
        refusals = [
            f"{self.node.name_of(each)}: {answer}"
            for each, answer in zip(asked, answers, strict=True)
            if isinstance(answer, ApiError)
        ]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ApiError):
                raise answer
        if refusals:
            again = (
                "" if question == "nodes.prepare" else "; some members have made the change: give the command once more"
            )
            raise ApiError(errors.CONFLICT, "; ".join(refusals) + again)
        return dict(zip(asked, answers, strict=True))

    async def _one(self, question: str, member: int, params: dict[str, Any]) -> Any:
        handlers = {"nodes.prepare": self.prepare, "nodes.place": self.place, "nodes.commit": self.commit}
        try:
            async with asyncio.timeout(PHASE_S):
                if member == self.node.settings.node_id:
                    return await handlers[question](params)
                return await self.node.peers.call(member, question, params)
        except TimeoutError:
            raise ApiError(errors.TIMEOUT, f"no answer within {PHASE_S:.0f} s") from None

    async def _until_gone(self, number: int) -> None:
        name = self.node.name_of(number)
        try:
            async with asyncio.timeout(LEAVE_S):
                async with self.node.changed:
                    await self.node.changed.wait_for(lambda: not self._is_member(number))
        except TimeoutError:
            text = f"{name} has not left within {LEAVE_S:.0f} s; crm status says what it waits for"
            raise ApiError(errors.TIMEOUT, text) from None
        async with asyncio.timeout(PHASE_S), self.node.changed:
            await self.node.changed.wait_for(lambda: self.node.controller.synced)

    # --- what a member does

    async def prepare(self, params: dict[str, Any]) -> dict[str, Any]:
        """The changed file, beside the present one. What the nodes are in it."""
        words = [str(word) for word in params.get("words", [])]
        source = self._source()
        text = await _config("edit", str(source), "--output", str(_next(source)), *words)
        try:
            document: dict[str, Any] = json.loads(text)
        except ValueError:
            raise ApiError(errors.FAILED, f"python -m crm.config says {text!r}") from None
        return document

    async def place(self, params: dict[str, Any]) -> dict[str, Any]:
        """Put the changed file in place; this node goes on with what it has."""
        await asyncio.to_thread(_replace, self._source())
        return {}

    async def commit(self, params: dict[str, Any]) -> dict[str, Any]:
        """Put the changed file in place and take the nodes that are in it."""
        source, resolved = self._source(), self.node.settings.run_dir / "resolved.json"
        await asyncio.to_thread(_replace, source)
        await _config("resolve", str(source), "--output", str(resolved))
        await self.ask_messaging("nodes.reload", {})
        try:
            self.node.relist(load(resolved))
        except SettingsError as error:
            raise ApiError(errors.FAILED, str(error)) from None
        return {}

    async def leave(self, params: dict[str, Any]) -> dict[str, Any]:
        self.node.on_stop_signal()
        return {}

    def _source(self) -> Path:
        source = self.node.settings.source
        if not source:
            raise ApiError(errors.FAILED, "the daemons of this node were not started from a vigil.toml")
        return Path(source)


def _next(source: Path) -> Path:
    return source.with_name(f"{source.name}.next")


def _replace(source: Path) -> None:
    """The prepared file takes the place of the old one, for good when this returns. No prepared file: it was done before."""
    fresh = _next(source)
    if not fresh.exists():
        return
    try:
        fresh.replace(source)
        folder = os.open(source.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ApiError(errors.FAILED, f"{source} cannot be replaced: {error.strerror}") from None


async def _config(*words: str) -> str:
    """What the command about configurations says; pydantic is loaded there and not here."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crm.config", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, trouble = await process.communicate()
    if process.returncode:
        code = errors.BAD_REQUEST if process.returncode == EX_USAGE else errors.CONFLICT
        raise ApiError(code, trouble.decode(errors="replace").strip().replace("\n", "; "))
    return output.decode()
