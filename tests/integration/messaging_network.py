"""Messaging daemons in network namespaces of their own, joined by bridges: the part of the link tests that runs inside.

Started by test_messaging_links.py in fresh user, network and mount namespaces: `messaging_network.py SCENARIO FOLDER`.
Everything made here vanishes with the process. Prints what failed and exits with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "unit" / "messaging")]

from messaging_nodes import KEY, Cable, Crm, RealNode  # noqa: E402

from crm import config as vigil_toml  # noqa: E402
from crm.shell import doctor  # noqa: E402
from messaging.types import Delivered  # noqa: E402

COUNT = 3
IPV6 = Path("/proc/net/if_inet6").exists()
LOG_LINES = 150
LIMIT_S = 60.0
"""For what never comes: on a busy machine everything may take its time."""


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def sh(command: str) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stderr.strip()}")
    return done.stdout


def busy_loops(count: int) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]


def on(node: int, command: str) -> None:
    sh(f"ip netns exec n{node} {command}")


class NetworkNode(RealNode):
    """A daemon inside the namespace of its node."""

    def __init__(self, number: int, folder: Path, config: vigil_toml.Config) -> None:
        super().__init__(folder, config)
        self.number = number

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                f"ip netns exec n{self.number} {sys.executable} -m messaging --config {self.resolved}".split(),
                stderr=log,
                stdout=log,
                cwd=Path(__file__).parents[2],
            )


class Network:
    """Some nodes, each with one interface (eth0, eth1 ...) on each bridge; 10.77.LINK.NODE are their addresses.

    With `v6` they are fd77:LINK::NODE.
    """

    def __init__(
        self,
        folder: Path,
        modes: list[str],
        *,
        deadtime_ms: int = 2000,
        line: Cable | None = None,
        v6: bool = False,
        ttl: int = 1,
        encryption: str = "none",
    ) -> None:
        key = folder / "keys"
        key.write_text(KEY, encoding="ascii")
        key.chmod(0o600)
        links = [
            vigil_toml.Link(
                mode,
                5410 + number,
                {
                    "multicast": f"ff15::77:{number + 1}" if v6 else f"239.192.7.{number + 1}",
                    "broadcast": f"10.77.{number}.255",
                    "unicast": "",
                }[mode],
                "" if mode == "unicast" else f"eth{number}",
                ttl,
                fallback="none" if mode == "unicast" else "unicast",
            )
            for number, mode in enumerate(modes)
        ]
        names: list[tuple[str, list[str]]] = [
            (f"n{n}", [f"fd77:{link}::{n}" if v6 else f"10.77.{link}.{n}" for link in range(len(modes))])
            for n in range(1, COUNT + 1)
        ]
        if line is not None:
            links.append(vigil_toml.Link("serial", 5410, "", "", 1, baud=115200))
            for (_, addresses), end in zip(names, [*line.ends, "-"], strict=True):
                addresses.append(end)
        self.line = line
        self.links = len(modes)
        self.nodes: dict[int, NetworkNode] = {}
        self.crms: dict[int, Crm] = {}
        for n in range(1, COUNT + 1):
            config = vigil_toml.example(
                "net",
                names,
                this_node=f"n{n}",
                links=links,
                deadtime_ms=deadtime_ms,
                key_file=str(key),
                encryption=encryption,
                paths=vigil_toml.Paths(str(folder / f"n{n}/state"), str(folder / f"n{n}/run"), "", "info"),
            )
            config = dataclasses.replace(config, timers=dataclasses.replace(config.timers, vouch_ms=20_000))
            self.nodes[n] = NetworkNode(n, folder / f"n{n}", config)
        self._wire()

    def _wire(self) -> None:
        sh("mount -t tmpfs none /run")
        sh("ip link set lo up")
        for n in self.nodes:
            sh(f"ip netns add n{n}")
            on(n, "ip link set lo up")
        for link in range(self.links):
            sh(f"ip link add br{link} type bridge mcast_snooping 0")
            sh(f"ip link set br{link} up")
            for n in self.nodes:
                sh(f"ip link add v{n}x{link} type veth peer name eth{link} netns n{n}")
                sh(f"ip link set v{n}x{link} master br{link} up")
                self.address(n, link)

    def address(self, node: int, link: int = 0) -> None:
        on(node, f"ip address add 10.77.{link}.{node}/24 broadcast 10.77.{link}.255 dev eth{link}")
        if IPV6:
            on(node, f"ip address add fd77:{link}::{node}/64 dev eth{link} nodad")
        on(node, f"ip link set eth{link} up")

    async def __aenter__(self) -> Network:
        if self.line is not None:
            self.line.start()
        for node in self.nodes.values():
            node.start()
        for n, node in self.nodes.items():
            self.crms[n] = await Crm.on(node)
        await self.together()
        return self

    async def __aexit__(self, *_: object) -> None:
        for crm in self.crms.values():
            with contextlib.suppress(OSError):
                await crm.close()
        for node in self.nodes.values():
            node.stop()

    async def together(self, timeout_s: float = LIMIT_S) -> None:
        for n, crm in self.crms.items():
            if self.nodes[n].process is not None and self.nodes[n].process.poll() is None:  # type: ignore[union-attr]
                await crm.until_together(COUNT, timeout_s)

    async def link(self, node: int, link: int, peer: int) -> dict[str, Any]:
        """How a node sees one link to a peer."""
        answer = await self.crms[node].client.query("links")
        found: dict[str, Any] = next(each for each in answer["links"][link]["peers"] if each["id"] == peer)
        return found

    async def until_link(self, node: int, link: int, peer: int, timeout_s: float = LIMIT_S, **wanted: Any) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            now = await self.link(node, link, peer)
            if all(now[key] == value for key, value in wanted.items()):
                return
            assert time.monotonic() < deadline, f"n{node} sees link {link} to n{peer} as {now}, not {wanted}"
            await asyncio.sleep(0.05)

    async def until_members(self, node: int, members: set[int]) -> None:
        crm = self.crms[node]
        await crm.until(lambda: crm.view.member_ids == members, f"a view of {members} on n{node}", LIMIT_S)

    def views(self) -> list[int]:
        return [len(crm.views) for crm in self.crms.values()]

    async def deliver(self, timeout_s: float = LIMIT_S) -> None:
        """A multicast of each, sent once, arrives at all."""
        mark = b"%d" % time.monotonic_ns()
        for crm in self.crms.values():
            crm.client.multicast(mark)
        for crm in self.crms.values():
            await crm.until(
                lambda crm=crm: sum(isinstance(e, Delivered) and e.payload == mark for e in crm.seen) == COUNT,
                "a multicast of each",
                timeout_s,
            )

    async def silent_links(self, node: int, peer: int) -> set[int]:
        """The links on which this node has not heard that peer for more than two heartbeats."""
        answer = await self.crms[node].client.query("links")
        heard: dict[str, int] = next(each for each in answer["peers"] if each["id"] == peer)["links"]
        limit_ms = 2.5 * self.nodes[node].config.timers.keepalive_ms
        return {link for link in range(self.links) if heard.get(str(link), 10**9) > limit_ms}


async def death(folder: Path, mode: str) -> None:
    """In each mode, at the default timers: a view, messages, and a death that is noticed."""
    async with Network(folder, [mode]) as network:
        await network.deliver()
        died = time.monotonic()
        network.nodes[3].stop()
        await network.until_members(1, {1, 2})
        tell(f"{mode}: a new view is known here {time.monotonic() - died:.2f} s after the death, deadtime 2 s")


async def loss(folder: Path) -> None:
    """A tenth of all packets lost in each direction, at the default timers: no false death, messages arrive."""
    async with Network(folder, ["unicast"]) as network:
        for n in network.nodes:
            on(n, "nft add table inet t")
            on(n, "nft add chain inet t in { type filter hook input priority 0 ; }")
            on(n, "nft add rule inet t in numgen random mod 100 < 10 drop")
        views = network.views()
        end = time.monotonic() + 12
        while time.monotonic() < end:
            await network.deliver()
            await asyncio.sleep(0.2)
        assert network.views() == views, network.crms[1].views


async def one_way(folder: Path) -> None:
    """Node 2 does not hear node 3: all agree on who goes, nobody flaps, and it heals by itself."""
    async with Network(folder, ["unicast"]) as network:
        on(2, "nft add table inet t")
        on(2, "nft add chain inet t in { type filter hook input priority 0 ; }")
        on(2, "nft add rule inet t in ip saddr 10.77.0.3 drop")
        for n, members in ((1, {1, 2}), (2, {1, 2}), (3, {3})):
            await network.until_members(n, members)
        views = network.views()
        await asyncio.sleep(3)
        assert network.views() == views
        on(2, "nft flush ruleset")
        await network.together()
        await network.deliver()


async def one_way_link(folder: Path) -> None:
    """One of two links works in one direction only: messages go over the other, nothing else happens."""
    async with Network(folder, ["unicast", "unicast"]) as network:
        views = network.views()
        for receiver, sender in ((2, 1), (1, 2)):
            on(receiver, "nft add table inet t")
            on(receiver, "nft add chain inet t in { type filter hook input priority 0 ; }")
            on(receiver, f"nft add rule inet t in ip saddr 10.77.0.{sender} drop")
            await network.deliver()
            await network.until_link(receiver, 0, sender, state="down")
            await network.until_link(sender, 0, receiver, state="up", loss_out=100.0)
            await network.deliver()
            on(receiver, "nft flush ruleset")
            await network.until_link(receiver, 0, sender, state="up")
        assert network.views() == views, [view.reason for view in network.crms[1].views]


async def two_links(folder: Path, first: str, second: str) -> None:
    """One of two links goes down: shown, and nothing else; messages go on over the other; and it comes back."""
    async with Network(folder, [first, second]) as network:
        for link in (0, 1):
            views = network.views()
            on(2, f"ip link set eth{link} down")
            await network.deliver()  # a stream over the dead link is given up first
            deadline = time.monotonic() + LIMIT_S
            while await network.silent_links(1, 2) != {link} or await network.silent_links(2, 1) != {link}:
                assert time.monotonic() < deadline, "the link is not shown as silent"
                await asyncio.sleep(0.1)
            await network.deliver()
            on(2, f"ip link set eth{link} up")
            deadline = time.monotonic() + LIMIT_S
            while await network.silent_links(1, 2) or await network.silent_links(2, 1):
                assert time.monotonic() < deadline, "the link did not come back"
                await asyncio.sleep(0.1)
            await network.deliver()
            assert network.views() == views, [view.reason for view in network.crms[1].views]


async def address(folder: Path, mode: str) -> None:
    """An address that is removed and added again: for a moment nothing happens, for longer the node is out and back."""
    async with Network(folder, [mode], deadtime_ms=4000) as network:
        views = network.views()
        on(2, "ip address flush dev eth0")
        await asyncio.sleep(0.5)
        network.address(2)
        await network.deliver()
        assert network.views() == views
        on(2, "ip address flush dev eth0")
        await network.until_members(1, {1, 3})
        on(2, "ip link set eth0 down")
        network.address(2)
        await network.together()
        await network.deliver()


async def interface_gone(folder: Path) -> None:
    """A network card is pulled and put in again: its link goes down and comes back, and nothing else happens."""
    async with Network(folder, ["unicast", "multicast"]) as network:
        views = network.views()
        for link in (1, 0):
            sh(f"ip link del v2x{link}")
            await network.until_link(1, link, 2, state="down")
            await network.deliver()
            sh(f"ip link add v2x{link} type veth peer name eth{link} netns n2")
            sh(f"ip link set v2x{link} master br{link} up")
            network.address(2, link)
            for node, peer in ((1, 2), (2, 1), (2, 3)):
                await network.until_link(node, link, peer, state="up")
        await network.deliver()
        assert network.views() == views, [view.reason for view in network.crms[1].views]


async def serial_only(folder: Path) -> None:
    """Of a network and a cable only the cable is left: its two ends stay together and pass messages."""
    line = Cable()
    async with Network(folder, ["unicast"], line=line) as network:
        told = await tried(network, 1)
        assert "serial line  both ways" in told, told
        assert "all that the cluster uses gets through" in told, told
        for node in (1, 2):
            on(node, "ip link set eth0 down")
        for node in (1, 2):
            await network.until_members(node, {1, 2})
            assert all({1, 2} <= view.member_ids for view in network.crms[node].views)
            assert network.crms[node].view.quorate
        await network.until_link(1, 1, 2, state="up", stream=True)
        mark = bytes(5000)
        for node in (1, 2):
            network.crms[node].client.multicast(mark)
        for node in (1, 2):
            took = await network.crms[node].until(
                lambda node=node: (
                    sum(isinstance(e, Delivered) and e.payload == mark for e in network.crms[node].seen) == 2
                ),
                "messages over the cable",
                LIMIT_S,
            )
        tell(f"serial-only: two messages of 5000 bytes at 115200 baud took {took * 1000:.0f} ms")
        views = network.views()
        await asyncio.sleep(4)
        assert network.views() == views
        for node in (1, 2):
            on(node, "ip link set eth0 up")
        await network.together()
        await network.until_link(1, 0, 2, state="up", stream=True)
        assert all({1, 2} <= view.member_ids for view in network.crms[1].views)
        await network.deliver()
    line.close()


async def blocked_group(folder: Path, mode: str) -> None:
    """Switches that drop the group's packets: the cluster goes on by unicast, which is shown, and back."""
    async with Network(folder, [mode]) as network:
        views = network.views()
        group = {"multicast": "239.192.7.1", "broadcast": "10.77.0.255"}[mode]
        for node in network.nodes:
            on(node, "nft add table inet t")
            on(node, "nft add chain inet t out { type filter hook output priority 0 ; }")
            on(node, f"nft add rule inet t out ip daddr {group} drop")
        for node, peer in ((1, 2), (2, 3), (3, 1)):
            await network.until_link(node, 0, peer, state="up", by_unicast=True)
        await network.deliver()
        for node in network.nodes:
            on(node, "nft flush ruleset")
        for node, peer in ((1, 2), (2, 3), (3, 1)):
            await network.until_link(node, 0, peer, state="up", by_unicast=False)
        assert network.views() == views


async def narrow(folder: Path) -> None:
    """A path of 576 bytes and one of 1280: heartbeats pass, and large messages in pieces."""
    async with Network(folder, ["unicast", "multicast"]) as network:
        views = network.views()
        for mtu in (1280, 576):
            for node in network.nodes:
                for link in (0, 1):
                    on(node, f"ip link set eth{link} mtu {mtu}")
            mark = b"%d" % mtu * 200_000
            network.crms[2].client.multicast(mark)
            for crm in network.crms.values():
                await crm.until(
                    lambda crm=crm, mark=mark: any(isinstance(e, Delivered) and e.payload == mark for e in crm.seen),
                    f"a large message over a path of {mtu}",
                    LIMIT_S,
                )
            await asyncio.sleep(1.2)
            for link in (0, 1):
                await network.until_link(1, link, 2, state="up")
        assert network.views() == views


async def ipv6(folder: Path) -> None:
    """The same over IPv6, encrypted: views, messages, what doctor finds, a link that goes down, a death."""
    async with Network(folder, ["unicast", "multicast"], v6=True, encryption="aes-256-gcm") as network:
        views = network.views()
        for link in (0, 1):
            await network.until_link(1, link, 2, state="up", loss_in=0.0)
        told = await tried(network, 1)
        assert "all that the cluster uses gets through" in told, told
        assert told.count("both ways") == 8, told  # unicast and multicast on two links to two nodes
        assert told.count("kept") == told.count("1500 bytes (own MTU)") == told.count("connects") == 4, told
        on(2, "nft add table inet t")
        on(2, "nft add chain inet t in { type filter hook input priority 0 ; }")
        on(2, "nft add rule inet t in iif eth1 ip6 daddr ff15::77:2 drop")
        told = await tried(network, 1)
        assert "! link 1: multicast to ff15::77:2 does not pass both ways to n2" in told, told
        on(2, "nft flush ruleset")
        on(2, "ip link set eth0 down")
        await network.until_link(1, 0, 2, state="down")
        await network.deliver()
        assert network.views() == views
        network.nodes[3].stop()
        await network.until_members(1, {1, 2})


async def priority(folder: Path) -> None:
    """Packets ask for the configured priority and carry the configured hops; a receiver's kernel counts what it sees."""
    modes = ["unicast", "multicast", "broadcast"]
    async with Network(folder, modes, ttl=7) as network:
        on(2, "nft add table inet t")
        on(2, "nft add chain inet t in { type filter hook input priority 0 ; }")
        for link in range(len(modes)):
            for protocol in ("udp", "tcp") if link == 0 else ("udp",):
                match = f"iif eth{link} meta l4proto {protocol} ip dscp cs6" + (
                    " ip ttl 7" if protocol == "udp" else ""
                )
                on(2, f"nft add rule inet t in {match} counter")
        await network.deliver()
        await asyncio.sleep(1)
        await network.deliver()
        told = sh("ip netns exec n2 nft -j list chain inet t in")
        counters = [
            part["counter"]["packets"]
            for entry in json.loads(told)["nftables"]
            if "rule" in entry
            for part in entry["rule"]["expr"]
            if "counter" in part
        ]
        assert len(counters) == 4
        assert all(counters), counters


async def stopped(folder: Path) -> None:
    """A daemon that is stopped is dead for the others, knows it afterwards, and comes back."""
    async with Network(folder, ["unicast"]) as network:
        await network.deliver()
        network.nodes[3].kill(signal.SIGSTOP)
        await network.until_members(1, {1, 2})
        network.nodes[3].kill(signal.SIGCONT)
        await network.together()
        await network.deliver()


async def load(folder: Path) -> None:
    """Two busy loops on each core for a minute, at the default timers: nobody is taken for dead, messages go on."""
    async with Network(folder, ["unicast", "multicast"]) as network:
        views = network.views()
        busy = busy_loops(2 * (os.cpu_count() or 1))
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                await network.deliver()
                await asyncio.sleep(0.5)
        finally:
            for each in busy:
                each.kill()
                each.wait()
        assert network.views() == views, network.crms[1].views


def doctor_on(network: Network, node: int, *words: str) -> subprocess.Popen[str]:
    """`crm cluster doctor` in the namespace of a node."""
    folder = network.nodes[node].folder
    (folder / "vigil.toml").write_text(vigil_toml.render(network.nodes[node].config), encoding="utf-8")
    run_dir = network.nodes[node].config.run_dir
    command = f"ip netns exec n{node} env VIGIL_RUN_DIR={run_dir} {sys.executable} -m crm.shell.main cluster doctor"
    return subprocess.Popen(
        [*command.split(), "--config", str(folder / "vigil.toml"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def findings(answer: dict[str, Any]) -> str:
    lines, _ = doctor.describe(answer)
    return "\n".join(lines)


async def tried(network: Network, node: int) -> str:
    """What the doctor says who is asked beside the running cluster."""
    client = network.crms[node].client
    await client.query("doctor.start", seconds=6)
    answer: dict[str, Any] = {"busy": True}
    while answer["busy"]:
        await asyncio.sleep(0.5)
        answer = await client.query("doctor")
    return findings(answer)


async def doctor_before(folder: Path) -> None:
    """The daemons do not run yet: the command itself, on all nodes at once, finds what the network lets through."""
    network = Network(folder, ["multicast"])
    on(2, "nft add table inet t")
    on(2, "nft add chain inet t in { type filter hook input priority 0 ; }")
    on(2, "nft add rule inet t in ip daddr 239.192.7.1 drop")
    on(3, "nft add table inet t")
    on(3, "nft add chain inet t in { type filter hook input priority 0 ; }")
    on(3, "nft add rule inet t in tcp dport 5410 drop")
    runs = [doctor_on(network, node, "--seconds", "12") for node in network.nodes]
    told = [(await asyncio.to_thread(run.communicate))[0] for run in runs]
    tell(told[0])
    assert "! link 0: multicast to 239.192.7.1 does not pass both ways to n2: switches with IGMP" in told[0], told[0]
    assert "! link 0: no TCP connection to n3 (no answer): open TCP port 5410" in told[0], told[0]
    assert "TCP             connects" in told[0], told[0]
    assert [run.returncode for run in runs] == [1, 1, 1]


async def doctor_beside(folder: Path) -> None:
    """The cluster runs: it tries everything beside its own work, which goes on."""
    async with Network(folder, ["unicast", "multicast"]) as network:
        views = network.views()
        told = await tried(network, 1)
        assert "all that the cluster uses gets through" in told, told
        assert told.count("both ways") == 12, told  # three ways on two links to two nodes
        assert told.count("1500 bytes (own MTU)") == 4, told
        assert told.count("kept") == 4, told
        on(2, "nft add table inet t")
        on(2, "nft add chain inet t in { type filter hook prerouting priority -150 ; }")
        on(2, "nft add rule inet t in iif eth0 udp dport 5410 ip dscp set cs0")
        on(2, "nft add rule inet t in iif eth0 ip length 1281-1500 udp dport 5410 drop")
        told = await tried(network, 1)
        assert told.count("kept") == 3, told
        assert "! link 0: packets of 1500 bytes do not reach n2 in one piece" in told, told
        assert "! link 0: the network changes the DSCP on the way to n2" in told, told
        on(2, "nft flush ruleset")
        on(3, "nft add table inet t")
        on(3, "nft add chain inet t in { type filter hook input priority 0 ; }")
        on(3, "nft add rule inet t in ip saddr 10.77.0.2 udp dport 5410 drop")
        told = await tried(network, 1)
        assert "! seen from n2: link 0: UDP unicast does not pass both ways to n3: open UDP port 5410" in told, told
        assert network.views() == views
        tell(told)


SCENARIOS: dict[str, Any] = {
    "death-unicast": lambda folder: death(folder, "unicast"),
    "death-multicast": lambda folder: death(folder, "multicast"),
    "death-broadcast": lambda folder: death(folder, "broadcast"),
    "loss": loss,
    "one-way": one_way,
    "one-way-link": one_way_link,
    "interface-gone": interface_gone,
    "doctor-before": doctor_before,
    "doctor-beside": doctor_beside,
    "serial-only": serial_only,
    "blocked-multicast": lambda folder: blocked_group(folder, "multicast"),
    "blocked-broadcast": lambda folder: blocked_group(folder, "broadcast"),
    "narrow": narrow,
    "ipv6": ipv6,
    "priority": priority,
    "stopped": stopped,
    "load": load,
    "two-links": lambda folder: two_links(folder, "unicast", "multicast"),
    "address-unicast": lambda folder: address(folder, "unicast"),
    "address-multicast": lambda folder: address(folder, "multicast"),
}


def main() -> int:
    name, folder = sys.argv[1], Path(sys.argv[2])
    try:
        asyncio.run(SCENARIOS[name](folder))
    except Exception as error:
        tell(f"{name}: {''.join(traceback.format_exception(error))}")
        for log in sorted(folder.glob("n*/log")):
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            tell("\n".join([f"--- {log.parent.name}", *lines]))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
