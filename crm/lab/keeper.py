"""The keeper: the lab's machine room, one process that owns its network, its power and its clocks.

It speaks JSON lines on LAB/keeper.sock (one request, one answer), and the power switch's protocol on TCP, which is what
fencing uses (`fencing/plugins/fence_vigil_lab`): `{"action": "off", "plug": "n2"}` is answered by `{"ok": true, "state": "off"}` only when every
process of the node is verified gone.

The keeper runs inside the network namespace that `crm lab up` made for it; when it ends, for whatever reason, the kernel takes the
network away and every node notices that the machine room is gone. `crash` is a power cut; `power-off` presses the button and waits
for a clean end first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from crm.lab import layout, machine
from crm.lab.layout import Isolation, Lab, LabError, TieBreaker
from crm.lab.machine import MachineNode
from crm.lab.node_init import STOP_LIMIT_S
from crm.lab.probe import Probe
from crm.lab.process import ProcessNode, Relay
from crm.lab.watchdog import Watchdog

LINE_LIMIT = 1 << 20
HELLO_LIMIT_S = 60.0
"""For a node's process 1 to come up; on a busy machine it takes its time."""
CLEAN_STOP_LIMIT_S = STOP_LIMIT_S + 10.0
"""Process 1 of the node gives up first."""
REBOOT_PAUSE_S = 0.2  # between off and on of a power cycle

Reply = dict[str, Any]


def _peer_pid(writer: asyncio.StreamWriter) -> int:
    """Pid of the other end in the keeper's own PID namespace: the kernel translates it."""
    sock: socket.socket = writer.get_extra_info("socket")
    pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


class Keeper:
    """All nodes of one lab and what lies between them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        kind: type[MachineNode] | type[ProcessNode]
        kind = MachineNode if lab.isolation is Isolation.MACHINE else ProcessNode
        self.nodes: dict[str, MachineNode | ProcessNode] = {name: kind(lab, name) for name in lab.nodes}
        self.locks = {name: asyncio.Lock() for name in lab.nodes}
        self.hellos: dict[str, asyncio.Future[None]] = {}
        self.consoles: dict[str, asyncio.StreamWriter] = {}
        self.relays: list[tuple[str, str, Relay]] = []
        self.probes: dict[str, Probe] = {}
        self.ended = asyncio.Event()
        self.power_log: list[dict[str, Any]] = []
        self.loss_percent = 0
        self.watchdogs: dict[str, Watchdog] = {}
        self._resets: set[asyncio.Task[None]] = set()
        self.arbiter: asyncio.subprocess.Process | None = None
        self._commands: dict[str, Callable[[Reply], Awaitable[Reply]]] = {
            "status": self._status,
            "power-on": self._power_on,
            "power-off": self._power_off,
            "crash": self._crash,
            "pause": self._pause,
            "resume": self._resume,
            "stop-vigild": self._tell_init,
            "start-vigild": self._tell_init,
            "partition": self._partition,
            "heal": self._heal,
            "loss": self._loss,
            "cable": self._cable,
            "pids": self._pids,
            "arbiter-stop": self._arbiter_stop,
            "arbiter-start": self._arbiter_start,
            "probe-start": self._probe_start,
            "probe-report": self._probe_report,
            "fetch": self._fetch,
            "shutdown": self._shutdown,
        }

    # --- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if self.lab.isolation is Isolation.MACHINE:
            await machine.build_network()
        else:
            await self._open_relays()
        if self.lab.tie_breaker is TieBreaker.ARBITER:
            await self._arbiter_start({})
        if self.lab.watchdog_ms:
            for name in self.nodes:
                self.watchdogs[name] = Watchdog(self.lab.watchdog(name), lambda name=name: self._bark(name))  # type: ignore[misc]
        await asyncio.start_server(self._serve_power, self.lab.power_address, self.lab.power_port())
        await asyncio.start_unix_server(self._serve, str(self.lab.keeper_socket), limit=LINE_LIMIT)

    async def _open_relays(self) -> None:
        for sender in self.lab.nodes:
            for receiver in self.lab.nodes:
                if sender != receiver:
                    port, target = self.lab.relay_port(sender, receiver), self.lab.listen_port(receiver)
                    relay = Relay(port, target, lambda a=sender, b=receiver: self._linked(a, b))  # type: ignore[misc]
                    await relay.open()
                    self.relays.append((sender, receiver, relay))
            await asyncio.start_server(
                lambda _, writer, node=sender: self._answer_ping(node, writer),  # type: ignore[misc]
                "127.0.0.1",
                self.lab.ping_port(sender),
            )

    def _linked(self, a: str, b: str) -> bool:
        return self.nodes[a].part == self.nodes[b].part

    def _answer_ping(self, node: str, writer: asyncio.StreamWriter) -> None:
        """With process isolation the tie-breaker is this port; a node that is cut off finds it closed."""
        if self.nodes[node].part != 0:
            writer.transport.abort()
        else:
            writer.close()

    async def close(self) -> None:
        for probe in self.probes.values():
            await probe.stop()
        for watchdog in self.watchdogs.values():
            watchdog.off()
        await asyncio.gather(*(node.power_off() for node in self.nodes.values()))
        await self._arbiter_stop({})

    # --- commands ---------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = False
        try:
            while line := await reader.readline():
                request = json.loads(line)
                if request.get("do") == "hello":
                    await self._hello(request["node"], reader, writer)
                    keep = True
                    return
                writer.write(json.dumps(await self._answer(request)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            print(f"keeper: a client's connection ended: {error}", flush=True)
        finally:
            if not keep:
                writer.close()

    async def _answer(self, request: Reply) -> Reply:
        command = self._commands.get(str(request.get("do")))
        if command is None:
            return {"ok": False, "error": f"unknown command {request.get('do')!r}"}
        node = request.get("node")
        if node is not None and node not in self.nodes:
            return {"ok": False, "error": f"there is no node {node!r}; there are {', '.join(self.nodes)}"}
        try:
            return {"ok": True} | await command(request)
        except (LabError, RuntimeError, OSError, TimeoutError) as error:
            return {"ok": False, "error": str(error) or type(error).__name__}

    async def _hello(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A node's process 1 has come up. The connection stays open: its end tells the node that the keeper is gone."""
        cables = await self.nodes[name].plug_in(_peer_pid(writer))
        writer.write(json.dumps({"cables": cables}).encode() + b"\n")
        await writer.drain()
        self.consoles[name] = writer
        waiting = self.hellos.pop(name, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        await reader.read()
        writer.close()

    async def _status(self, _: Reply) -> Reply:
        nodes = {
            name: {"power": "on" if node.powered else "off", "part": node.part, "pid": node.init_pid}
            for name, node in self.nodes.items()
        }
        return {"nodes": nodes, "power_log": self.power_log, "loss_percent": self.loss_percent}

    async def _switch_on(self, name: str) -> None:
        """With the node's lock held."""
        node = self.nodes[name]
        if node.powered:
            return
        await self._cut_power(name)  # what a node that ended by itself left: cables, stray processes
        run_dir = self.lab.run_dir(name)
        shutil.rmtree(run_dir, ignore_errors=True)
        run_dir.mkdir(mode=0o755, parents=True)
        up = self.hellos[name] = asyncio.get_running_loop().create_future()
        await node.power_on()
        try:
            async with asyncio.timeout(HELLO_LIMIT_S):
                await up
        except TimeoutError:
            said = self._last_line(name)
            raise LabError(f"{name} did not come up within {HELLO_LIMIT_S:.0f} s{said}") from None

    def _last_line(self, name: str) -> str:
        """The last that a node's process 1 said, for the person who waits for it."""
        try:
            lines = (self.lab.node_folder(name) / "console.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"; the last it said: {lines[-1]}" if lines else ""

    async def _power_on(self, request: Reply) -> Reply:
        async with self.locks[request["node"]]:
            await self._switch_on(request["node"])
        return {}

    async def _crash(self, request: Reply) -> Reply:
        at = time.time()
        async with self.locks[request["node"]]:
            await self._cut_power(request["node"])
        return {"at": at, "gone_at": time.time()}

    async def _power_off(self, request: Reply) -> Reply:
        node = self.nodes[request["node"]]
        async with self.locks[request["node"]]:
            if node.powered and node.init_pid is not None:
                os.kill(node.init_pid, signal.SIGTERM)
                try:
                    async with asyncio.timeout(CLEAN_STOP_LIMIT_S):
                        await node.wait_ended()
                except TimeoutError:
                    raise LabError(
                        f"{request['node']} has not stopped within {CLEAN_STOP_LIMIT_S:.0f} s; its power is still on "
                        f"(crm lab crash {request['node']} cuts it)"
                    ) from None
            await self._cut_power(request["node"])
        return {}

    async def _pause(self, request: Reply) -> Reply:
        pids = self.nodes[request["node"]].pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return {"stopped": len(pids), "at": time.time()}

    async def _resume(self, request: Reply) -> Reply:
        pids = self.nodes[request["node"]].pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return {"resumed": len(pids), "at": time.time()}

    async def _tell_init(self, request: Reply) -> Reply:
        console = self.consoles.get(request["node"])
        if console is None or not self.nodes[request["node"]].powered:
            raise LabError(f"{request['node']} is off")
        console.write(json.dumps({"do": request["do"]}).encode() + b"\n")
        await console.drain()
        return {}

    async def _partition(self, request: Reply) -> Reply:
        """Cut the named nodes, as one part, from the rest; the ping node stays with the rest."""
        cut = list(request["nodes"])
        unknown = [name for name in cut if name not in self.nodes]
        if unknown:
            raise LabError(f"there is no node {', '.join(unknown)}; there are {', '.join(self.nodes)}")
        taken = {node.part for node in self.nodes.values()}
        part = next((number for number in range(1, machine.LAN_BRIDGES) if number not in taken), None)
        if part is None:
            raise LabError(f"the network is already in {machine.LAN_BRIDGES} parts; heal it first")
        at = time.time()
        await self._replug(dict.fromkeys(cut, part))
        return {"part": part, "at": at}

    async def _heal(self, _: Reply) -> Reply:
        at = time.time()
        await self._replug(dict.fromkeys(self.nodes, 0))
        if self.loss_percent:
            await self._set_loss(0)
        return {"at": at}

    async def _replug(self, parts: dict[str, int]) -> None:
        await asyncio.gather(*(self.nodes[name].replug(part) for name, part in parts.items()))
        for sender, receiver, relay in self.relays:
            if not self._linked(sender, receiver):
                relay.cut()

    async def _loss(self, request: Reply) -> Reply:
        await self._set_loss(int(request["percent"]))
        return {}

    async def _set_loss(self, percent: int) -> None:
        """Random loss of what crosses the network, both directions of each cable."""
        if self.lab.isolation is not Isolation.MACHINE:
            raise LabError("packet loss needs machine isolation")
        if not 0 <= percent <= 100:
            raise LabError(f"loss is 0 to 100 percent, got {percent}")
        with contextlib.suppress(RuntimeError):
            await machine.command("nft", "delete", "table", "bridge", "loss")
        if percent:
            await machine.command(
                "nft",
                "add table bridge loss; "
                "add chain bridge loss c { type filter hook prerouting priority 0 ; } ; "
                f"add rule bridge loss c numgen random mod 100 < {percent} drop",
            )
        self.loss_percent = percent

    async def _cable(self, request: Reply) -> Reply:
        """Pull or plug the node's cluster cable at the switch: `up` true or false."""
        state = "up" if request["up"] else "down"
        await machine.command("ip", "link", "set", f"lan-{request['node']}"[:15], state)
        return {}

    async def _pids(self, request: Reply) -> Reply:
        return {"pids": self.nodes[request["node"]].pids()}

    # --- the network arbiter ------------------------------------------------------------------------------------------

    async def _arbiter_start(self, _: Reply) -> Reply:
        """Another machine of the room: `vigil-arbiter`, on the network of the power switch."""
        lab = self.lab
        if lab.tie_breaker is not TieBreaker.ARBITER:
            raise LabError("this lab has no arbiter (crm lab up --tie-breaker arbiter)")
        if self.arbiter is not None and self.arbiter.returncode is None:
            return {}
        words = ["run", "--dir", str(lab.arbiter_folder), "--log-file", str(lab.arbiter_folder / "log")]
        place = ["--listen", lab.power_address, "--port", str(lab.arbiter_port())]
        self.arbiter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "messaging.arbiter", *words, *place),
            stdin=subprocess.DEVNULL,
            preexec_fn=machine.die_with_parent,
        )
        return {}

    async def _arbiter_stop(self, _: Reply) -> Reply:
        """Its power is cut."""
        if self.arbiter is not None and self.arbiter.returncode is None:
            self.arbiter.kill()
            await self.arbiter.wait()
        return {}

    # --- a client of the service --------------------------------------------------------------------------------------

    async def _probe_start(self, request: Reply) -> Reply:
        name = str(request.get("name", "probe"))
        if name in self.probes:
            await self.probes[name].stop()
        probe = Probe(request["address"], int(request["port"]), request.get("device"))
        self.probes[name] = probe
        probe.start()
        return {}

    async def _probe_report(self, request: Reply) -> Reply:
        """Answers since `since` (wall clock), with who gave them; the probe goes on unless `stop`."""
        probe = self.probes.get(str(request.get("name", "probe")))
        if probe is None:
            raise LabError("no such probe is running")
        if request.get("stop"):
            await probe.stop()
        since = float(request.get("since", 0.0))
        answers = [(answer.at, answer.node) for answer in probe.answers if answer.at >= since]
        return {"answers": answers, "failures": probe.failures}

    async def _fetch(self, request: Reply) -> Reply:
        probe = Probe(request["address"], int(request["port"]), request.get("device"))
        return {"node": await probe.fetch(), "at": time.time()}

    async def _shutdown(self, _: Reply) -> Reply:
        await self.close()
        asyncio.get_running_loop().call_later(0.01, self.ended.set)
        return {}

    # --- the power switch ---------------------------------------------------------------------------------------------

    async def _serve_power(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                reply = await self._power(json.loads(line))
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            print(f"keeper: power switch: {error}", flush=True)
        finally:
            writer.close()

    async def _power(self, request: Reply) -> Reply:
        action, plug = request.get("action"), request.get("plug")
        if action in ("monitor", "list"):
            return {"ok": True, "plugs": list(self.nodes)}
        if plug not in self.nodes:
            return {"ok": False, "error": f"there is no plug {plug!r}"}
        name, node = str(plug), self.nodes[str(plug)]
        if action == "status":
            return {"ok": True, "state": "on" if node.powered else "off"}
        if action not in ("on", "off", "reboot"):
            return {"ok": False, "error": f"unknown action {action!r}"}
        async with self.locks[name]:
            if action in ("off", "reboot"):
                await self._cut_power(name)
            self.power_log.append({"at": time.time(), "action": action, "plug": name})
        if action == "on":
            await self._power_on({"node": name})
        elif action == "reboot":
            task = asyncio.create_task(self._start_again(name))
            task.add_done_callback(lambda done: done.exception())
        return {"ok": True, "state": "off" if action == "off" else "on"}

    def _bark(self, name: str) -> None:
        """A node's watchdog was not fed: the node is reset."""
        task = asyncio.create_task(self._reset(name))
        self._resets.add(task)
        task.add_done_callback(self._resets.discard)

    async def _reset(self, name: str) -> None:
        async with self.locks[name]:
            if not self.nodes[name].powered:
                return
            await self._cut_power(name)
            self.power_log.append({"at": time.time(), "action": "watchdog", "plug": name})
        await self._start_again(name)

    async def _cut_power(self, name: str) -> None:
        """With the node's lock held. A node without power feeds no watchdog, and none resets it."""
        if name in self.watchdogs:
            self.watchdogs[name].off()
        await self.nodes[name].power_off()
        if name in self.watchdogs:
            self.watchdogs[name].drain()

    async def _start_again(self, name: str) -> None:
        await asyncio.sleep(REBOOT_PAUSE_S)
        await self._power_on({"node": name})


async def _run(lab: Lab, ready: int) -> None:
    keeper = Keeper(lab)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeper.ended.set)
    try:
        await keeper.open()
        os.write(ready, b"ready")
        os.close(ready)
        await keeper.ended.wait()
    finally:
        await keeper.close()


def _detach() -> int:
    """Go on in a child. The parent ends when the child is ready (exit code 0) or has failed (1).

    Returns, in the child, the descriptor to say so on.
    """
    read, write = os.pipe()
    if os.fork() > 0:
        os.close(write)
        os._exit(0 if os.read(read, 16) == b"ready" else 1)
    os.close(read)
    os.setsid()
    return write


def main() -> None:
    parser = argparse.ArgumentParser(description="the machine room of one lab; started by crm lab up")
    parser.add_argument("--lab", required=True)
    lab = layout.load(Path(parser.parse_args().lab).name)
    ready = _detach()
    lab.keeper_pid.write_text(f"{os.getpid()}\n", encoding="ascii")
    asyncio.run(_run(lab, ready))


if __name__ == "__main__":
    main()
