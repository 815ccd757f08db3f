"""Nodes as plain processes on loopback, for hosts where no namespaces can be made.

Every process of a node carries VIGIL_LAB_NODE=FOLDER:NAME in its environment, whoever its parent is; that is how the
keeper finds all of them when it cuts the power, and how it verifies that none is left. The nodes reach each other and their ping node
through relays in the keeper (`Relay`), which carry nothing between parts of a partitioned network.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from crm.lab.layout import Lab
from crm.lab.node_init import MARKER

POLL_S = 0.005
RELAY_CHUNK = 65536


class ProcessNode:
    """One node: a tree of processes."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.part = 0
        self.init_pid: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._mark = f"{MARKER}={lab.folder}:{name}".encode()

    @property
    def powered(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def environment(self) -> dict[str, str]:
        return {MARKER: f"{self.lab.folder}:{self.name}", "VIGIL_RUN_DIR": str(self.lab.run_dir(self.name))}

    async def power_on(self) -> None:
        lab = self.lab
        arguments = ("--keeper", str(lab.keeper_socket), "--node", self.name, "--config", str(lab.config(self.name)))
        files = ("--log", str(lab.log(self.name)), "--hosts", str(lab.folder / "hosts"), "--process")
        with (lab.node_folder(self.name) / "console.log").open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "crm.lab.node_init",
                *arguments,
                *files,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env=os.environ | self.environment(),
            )

    async def plug_in(self, init_pid: int) -> list[dict[str, str]]:
        self.init_pid = init_pid
        return []

    async def replug(self, part: int) -> None:
        self.part = part

    async def power_off(self) -> None:
        """Returns when every process of the node is gone: two scans in a row must find none (one may be just forking)."""
        clean = 0
        while clean < 2:
            pids = self.pids()
            clean = 0 if pids else clean + 1
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if pids:
                await asyncio.sleep(POLL_S)
        if self._process is not None:
            await self._process.wait()
        self._process = None
        self.init_pid = None

    async def wait_ended(self) -> None:
        if self._process is not None:
            await self._process.wait()

    def pids(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if self._mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue  # it ended meanwhile, or is not ours
        return found


class Relay(asyncio.DatagramProtocol):
    """Carries UDP and TCP from a loopback port to another, as long as `connected()` says so."""

    def __init__(self, port: int, target: int, connected: Callable[[], bool]) -> None:
        self.port = port
        self.target = target
        self.connected = connected
        self._transport: asyncio.DatagramTransport | None = None
        self._streams: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Streams that are open end: a cut cable does not keep them."""
        for writer in self._streams:
            writer.transport.abort()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.connected() and self._transport is not None:
            self._transport.sendto(data, ("127.0.0.1", self.target))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.connected():
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._streams |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._streams -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(RELAY_CHUNK):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # cut or ended: both directions end
        writer.close()
