"""Nodes as machines: namespaces for the node, virtual cables to the keeper's bridges.

The keeper sits in a network namespace of its own that holds the bridges. `lan0` carries the cluster's traffic and its
clients'; `power0` reaches the power switch. Each node has a cable to both. A partition plugs the node's `lan` cable into another
bridge, with its own address for the keeper, so that both sides can be watched; the power network is not cut, as in a machine room.

Cutting the power kills the node's process 1; the kernel then kills every process of its PID namespace before process 1 counts as ended,
so its end (seen on a pidfd) is the proof. The process that made the namespaces only waits for process 1 and is no
evidence: a paused node stops it too. The cables are pulled first: a namespace can outlive its processes for a moment, and the
kernel would go on answering for its addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from crm.lab.layout import POWER_ADDRESS, POWER_SUBNET, PREFIX, SUBNET, SWITCH_ADDRESS, Lab

LAN_BRIDGES = 4  # the whole, and up to three parts cut from it
_PR_SET_PDEATHSIG = 1


def bridge_address(part: int) -> str:
    """The keeper's own address on a part of the network: .254 on the whole, .253 and down on parts cut off."""
    return SWITCH_ADDRESS if part == 0 else f"{SUBNET}.{254 - part}"


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


async def command(*words: str) -> None:
    """Run a command to its end; RuntimeError with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {errors.decode(errors='replace').strip()}")


def _let_devices_share_a_subnet() -> None:
    """Sockets bound to one bridge answer and are answered there, whatever the routing table prefers."""
    for name in ("all", "default", *(f"lan{part}" for part in range(LAN_BRIDGES))):
        Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0", encoding="ascii")
        Path(f"/proc/sys/net/ipv4/conf/{name}/arp_ignore").write_text("1", encoding="ascii")


async def build_network() -> None:
    await command("ip", "link", "set", "lo", "up")
    # Fixed addresses: a bridge without one takes the lowest of its ports', which changes when a node is unplugged.
    for part in range(LAN_BRIDGES):
        address = f"02:77:00:00:00:{254 - part:02x}"
        await command("ip", "link", "add", f"lan{part}", "address", address, "type", "bridge", "forward_delay", "0")
        await command("ip", "address", "add", f"{bridge_address(part)}/{PREFIX}", "dev", f"lan{part}")
        await command("ip", "link", "set", f"lan{part}", "up")
    await command("ip", "link", "add", "power0", "address", "02:78:00:00:00:fe", "type", "bridge", "forward_delay", "0")
    await command("ip", "address", "add", f"{POWER_ADDRESS}/{PREFIX}", "dev", "power0")
    await command("ip", "link", "set", "power0", "up")
    _let_devices_share_a_subnet()


def _end_of(pid: int) -> asyncio.Future[None]:
    """Done when the process has ended."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    handle = os.pidfd_open(pid)

    def readable() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(handle, readable)
    return ended


class MachineNode:
    """One node: its namespaces, its cables, its power."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.part = 0  # which part of the network its cable is plugged into
        self.init_pid: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Future[None] | None = None  # process 1 has, and so has everything else there

    @property
    def powered(self) -> bool:
        if self._ended is not None:
            return not self._ended.done()
        return self._process is not None and self._process.returncode is None

    async def power_on(self) -> None:
        lab, folder = self.lab, self.lab.node_folder(self.name)
        namespaces = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
        arguments = ("--keeper", str(lab.keeper_socket), "--node", self.name, "--config", str(lab.config(self.name)))
        files = ("--log", str(lab.log(self.name)), "--hosts", str(lab.folder / "hosts"))
        with (folder / "console.log").open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                "unshare",
                *namespaces,
                sys.executable,
                "-m",
                "crm.lab.node_init",
                *arguments,
                *files,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=die_with_parent,
                env=os.environ | {"VIGIL_RUN_DIR": str(lab.run_dir(self.name))},
            )

    async def plug_in(self, init_pid: int) -> list[dict[str, str]]:
        """Process 1 has come up: give it its cables. Returns what they are called inside and which address each gets."""
        self.init_pid = init_pid
        self._ended = _end_of(init_pid)
        number = self.lab.number(self.name)
        for kind, bridge in (("lan", f"lan{self.part}"), ("pwr", "power0")):
            outside = f"{kind}-{self.name}"[:15]
            inside = "eth0" if kind == "lan" else "eth1"
            await command("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", str(init_pid))
            await command("ip", "link", "set", outside, "master", bridge, "up")
        return [
            {"interface": "eth0", "address": f"{SUBNET}.{number}/{PREFIX}"},
            {"interface": "eth1", "address": f"{POWER_SUBNET}.{number}/{PREFIX}"},
        ]

    async def replug(self, part: int) -> None:
        self.part = part
        if self.powered and self.init_pid is not None:
            await command("ip", "link", "set", f"lan-{self.name}"[:15], "master", f"lan{part}")

    async def power_off(self) -> None:
        """Returns when every process of the node is gone."""
        if self._process is None:
            return
        if self.init_pid is not None:
            for kind in ("lan", "pwr"):
                with contextlib.suppress(RuntimeError):  # it may have gone with its namespace
                    await command("ip", "link", "delete", f"{kind}-{self.name}"[:15])
        if self.init_pid is not None and self._ended is not None and not self._ended.done():
            os.kill(self.init_pid, signal.SIGKILL)
        await self.wait_ended()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._process = self._ended = self.init_pid = None

    async def wait_ended(self) -> None:
        if self._ended is not None:
            await asyncio.shield(self._ended)

    def pids(self) -> list[int]:
        """Every process of the node, process 1 included."""
        if self.init_pid is None:
            return []
        try:
            own = Path(f"/proc/{self.init_pid}/ns/pid").stat().st_ino
        except OSError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "ns" / "pid").stat().st_ino == own:
                        found.append(int(entry.name))
                except OSError:
                    continue  # it ended meanwhile
        return found
