"""Where the controller's fencing requests meet the fencer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lxml import etree

from agents.runner import Runner
from crm.controller.effects import Fence
from crm.daemon.journal import Journal
from crm.daemon.settings import DaemonSettings


class Fencing:
    """`done(token, ok, text)` is called once for each request."""

    def __init__(
        self, settings: DaemonSettings, runner: Runner, done: Callable[[int, bool, str], None], journal: Journal
    ) -> None:
        self._done = done

    def listen(self, target: str, done: Callable[[bool, str], None]) -> None:
        """Tell `done` about the next end of a fencing of `target`."""

    def history(self) -> list[dict[str, object]]:
        return []

    def on_configuration(self, document: etree._Element) -> None:
        """The devices may have changed."""

    def request(self, fence: Fence) -> None:
        asyncio.get_running_loop().call_soon(self._done, fence.token, False, "no fencing device")
