"""What of its machine a node's crm touches, in one place: messaging's socket, agents, the API's socket, chance, its own end.

Theory of operation. `Node` and its parts are the same everywhere; a world that gives them other surroundings (the simulator) runs the very
classes that the daemon runs. The files below STATE_DIR and RUN_DIR are not here: they are real in both.
"""

from __future__ import annotations

import logging
import os
import random
import uuid
from collections.abc import Callable
from typing import NoReturn

from agents.ledger import Ledger
from agents.paths import AgentPaths
from agents.runner import Runner
from crm.api.server import ApiServer
from crm.daemon import commands
from crm.daemon.settings import DaemonSettings
from crm.executor.statefiles import boot_identity
from messaging.client import MessagingClient


class Surroundings:
    """The machine that this process runs on."""

    def __init__(self, settings: DaemonSettings) -> None:
        self.settings = settings
        self.last_words: Callable[[], None] = lambda: None
        """What is still to be written before the process ends at once."""

    async def connect(self) -> MessagingClient:
        """To messaging, as its crm. OSError, TimeoutError or AttachRefused when that is not possible now."""
        return await MessagingClient.connect(self.settings.messaging_socket)

    def runner(self) -> Runner:
        """Runs this node's agents, and knows what a predecessor left at work."""
        values = {**os.environ, "VIGIL_RUN_DIR": str(self.settings.run_dir), "OCF_ROOT": str(self.settings.ocf_root)}
        tools = commands.provide(self.settings.run_dir)
        if tools is not None:
            values.setdefault("HA_SBIN_DIR", str(tools))
        return Runner(AgentPaths.from_environment(values), Ledger(self.settings.run_dir / "operations"))

    def boot(self) -> str:
        """The same until the machine is started again."""
        return boot_identity()

    def cores(self) -> int:
        return os.cpu_count() or 1

    def load_percent(self) -> int:
        """How busy the cores are: processes that run or wait for the disk, of one for each core, over the last minute."""
        return round(100 * os.getloadavg()[0] / self.cores())

    async def serve(self, api: ApiServer) -> None:
        await api.start()

    def new_id(self) -> str:
        """A UUID that nobody else has."""
        return str(uuid.uuid4())

    def predecessor(self) -> str:
        """How the crm before this one ended, as far as vigild knows; empty when there was none."""
        return os.environ.get("VIGIL_PREDECESSOR", "")

    def chance(self) -> float:
        """From 0 up to 1, drawn anew each time."""
        return random.random()

    def end(self) -> NoReturn:
        """A rule of our own is broken: end at once. Resources go on; the next crm finds them."""
        self.last_words()
        logging.shutdown()
        os._exit(1)
