"""Real messaging daemons on loopback, and a small crm for each: what the tests with real sockets share."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crm import config as vigil_toml
from messaging.client import MessagingClient
from messaging.types import MessagingEvent, View

FIRST_PORT = 15405
KEY = "1 " + "ab" * 32 + "\n"
LIMIT_S = 60.0
"""For what never comes: on a busy machine everything may take its time."""


def free_ports(count: int) -> list[int]:
    """Ports that are free for UDP and TCP on loopback, below the range the kernel hands out."""
    found: list[int] = []
    start = 21000 + os.getpid() % 400 * 20
    for port in range(start, start + 4000):
        if len(found) == count:
            return found
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    raise RuntimeError("no free ports")


def own_network() -> str:
    """The first three numbers of loopback addresses that nobody else uses."""
    return f"127.{1 + secrets.randbelow(250)}.{1 + secrets.randbelow(250)}"


class RealNode:
    """One daemon process and its files."""

    def __init__(self, folder: Path, config: vigil_toml.Config) -> None:
        self.config = config
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        config.run_dir.mkdir(parents=True, exist_ok=True)
        self.resolved = config.run_dir / "resolved.json"
        self.resolved.write_text(config.to_resolved_json(), encoding="utf-8")
        self.log = folder / "log"

    @property
    def socket(self) -> Path:
        return self.config.run_dir / "messaging.sock"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "messaging", "--config", str(self.resolved)],
                stderr=log,
                stdout=log,
                cwd=Path(__file__).parents[3],
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self.process.wait(LIMIT_S)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT_S)


class Crm:
    """A crm that vouches for itself and remembers what it is told."""

    def __init__(self, client: MessagingClient) -> None:
        self.client = client
        self.seen: list[MessagingEvent] = []
        self.vouching = True
        self.ended = False
        self._changed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._vouch())]

    @classmethod
    async def on(cls, node: RealNode) -> Crm:
        """Attach, as soon as the daemon listens."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                return cls(await MessagingClient.connect(node.socket))
            except OSError:
                if time.monotonic() > deadline or (node.process is not None and node.process.poll() is not None):
                    raise AssertionError(f"no daemon: {node.log.read_text()}") from None
                await asyncio.sleep(0.02)

    async def _listen(self) -> None:
        async for event in self.client.events():
            self.seen.append(event)
            self._changed.set()
        self.ended = True
        self._changed.set()

    async def _vouch(self) -> None:
        while not self.ended:
            if self.vouching:
                self.client.vouch()
            await asyncio.sleep(self.client.vouch_interval_ms / 4000)

    @property
    def views(self) -> list[View]:
        return [event for event in self.seen if isinstance(event, View)]

    @property
    def view(self) -> View:
        return self.views[-1]

    async def until(
        self, condition: Callable[[], Any], what: str, timeout_s: float = LIMIT_S, *, look_s: float = LIMIT_S
    ) -> float:
        """Wait for a condition on what was seen, looked at when something is and every `look_s`; how many seconds it took."""
        start = time.monotonic()
        while True:
            with contextlib.suppress(IndexError):  # no view yet
                if condition():
                    return time.monotonic() - start
            left = start + timeout_s - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {timeout_s} s: {what}; last seen: {self.seen[-3:]}")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, look_s)):
                    await self._changed.wait()

    async def until_together(self, count: int, timeout_s: float = LIMIT_S) -> float:
        """Wait for a view of so many members with all their crms."""
        return await self.until(
            lambda: len(self.view.members) == count and len(self.view.group) == count, f"a view of {count}", timeout_s
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.client.close()


class RealCluster:
    """Some nodes on loopback. Use as an async context manager; leaves nothing behind."""

    def __init__(self, folder: Path, count: int, *, links: int = 1, **options: Any) -> None:
        self.key = folder / "keys"
        self.key.write_text(KEY, encoding="ascii")
        self.key.chmod(0o600)
        network = own_network()
        nodes = [
            (f"n{n}", [f"{network}.{1 + link}:{FIRST_PORT + n}" for link in range(links)]) for n in range(1, count + 1)
        ]
        link = vigil_toml.Link("unicast", 5410, "", "", 1)
        line: list[str] = options.get("line", [])  # the two ends of a serial line
        for (_, addresses), end in zip(nodes, line, strict=False):
            addresses.append(end)
        cable = [vigil_toml.Link("serial", 5410, "", "", 1, baud=115200)] if line else []
        self.nodes: dict[int, RealNode] = {}
        for n in range(1, count + 1):
            key = self.key
            if options.get("own_keys"):
                key = folder / f"keys{n}"
                key.write_text(KEY, encoding="ascii")
                key.chmod(0o600)
            config = vigil_toml.example(
                "real",
                nodes,
                this_node=f"n{n}",
                links=[*[link] * links, *cable],
                deadtime_ms=options.get("deadtime_ms", 2000),
                key_file=str(key),
                encryption=options.get("encryption", "none"),
                paths=vigil_toml.Paths(str(folder / f"n{n}/state"), str(folder / f"n{n}/run"), "", "info"),
                tie_breaker=options.get("tie_breaker"),
            )
            timers = dataclasses.replace(
                config.timers,
                vouch_ms=options.get("vouch_ms", 15_000),
                initdead_ms=options.get("initdead_ms", config.timers.initdead_ms),
            )
            config = dataclasses.replace(config, timers=timers)
            self.nodes[n] = RealNode(folder / f"n{n}", config)
        self.crms: dict[int, Crm] = {}

    async def start(self, *numbers: int) -> None:
        """Start nodes (all without numbers) with a crm each, and wait until those that run are together."""
        for n in numbers or self.nodes:
            self.nodes[n].start()
        for n in numbers or self.nodes:
            self.crms[n] = await Crm.on(self.nodes[n])
        running = [n for n, node in self.nodes.items() if node.process is not None and node.process.poll() is None]
        for n in running:
            await self.crms[n].until_together(len(running))

    async def __aenter__(self) -> RealCluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        for crm in self.crms.values():
            with contextlib.suppress(OSError):
                await crm.close()
        for node in self.nodes.values():
            node.stop()


class Cable:
    """A pair of pseudo-terminals joined by a relay; `ends` are the devices. `plugged` can be pulled."""

    def __init__(self) -> None:
        self.plugged = True
        self._masters: list[int] = []
        self._slaves: list[int] = []
        self.ends: list[str] = []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)
            self.ends.append(os.ttyname(slave))
            self._masters.append(master)
            self._slaves.append(slave)
            os.set_blocking(master, False)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for place, master in enumerate(self._masters):
            loop.add_reader(master, self._relay, master, self._masters[1 - place])

    def noise(self, data: bytes) -> None:
        """What a bad cable makes, at both ends."""
        for master in self._masters:
            with contextlib.suppress(BlockingIOError):
                os.write(master, data)

    def _relay(self, source: int, target: int) -> None:
        data = os.read(source, 65536)
        if self.plugged:
            os.write(target, data)

    def close(self) -> None:
        for each in (*self._masters, *self._slaves):
            os.close(each)
