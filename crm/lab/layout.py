"""What a lab is, on disk: one folder with everything in it, so that removing the folder leaves nothing behind.

    LAB/lab.json          this description
    LAB/keeper.sock       where commands reach the keeper
    LAB/keeper.log
    LAB/keeper.pid
    LAB/keys              the cluster's key ring
    LAB/qdisk             the quorum disk, where it is the tie-breaker: the nodes' shared disk
    LAB/arbiter/          what the network arbiter keeps, where it is the tie-breaker
    LAB/NODE/vigil.toml   the node's configuration
    LAB/NODE/state/       survives a power cut (STATE_DIR)
    LAB/NODE/run/         does not (RUN_DIR): emptied at power-on
    LAB/NODE/watchdog     the node's watchdog, where it has one: a named pipe that the keeper reads
    LAB/NODE/node.log     what the node's daemons print

Unix sockets have paths of at most 107 bytes; a lab's folder is refused when its sockets would not fit.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SOCKET_PATH_LIMIT = 107
SUBNET = "10.77.0"
PREFIX = 24
SWITCH_ADDRESS = f"{SUBNET}.254"  # the keeper: ping node, and where clients sit
POWER_SUBNET = "10.78.0"  # a network of its own for the power switch, as in a machine room: partitions do not cut it
POWER_ADDRESS = f"{POWER_SUBNET}.254"
VIRTUAL_IP = f"{SUBNET}.100"
POWER_PORT = 6230
MESSAGING_PORT = 5405
ARBITER_PORT = 5413
MAX_NODES = 32
_NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")


class Isolation(StrEnum):
    MACHINE = "machine"
    PROCESS = "process"


class TieBreaker(StrEnum):
    NONE = "none"
    PING = "ping"
    QDISK = "qdisk"
    ARBITER = "arbiter"


def ports_needed(nodes: int) -> int:
    """How many ports a lab of so many nodes takes from its base port upwards (process isolation)."""
    return 2 + 2 * MAX_NODES + 1 + nodes * nodes


class LabError(Exception):
    """Something about a lab that its user can mend; the text says what."""


@dataclass(frozen=True, slots=True)
class Timers:
    """Failure detection of the lab's nodes, in milliseconds."""

    keepalive_ms: int = 200
    warntime_ms: int = 600
    deadtime_ms: int = 1000
    initdead_ms: int = 3000


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab. `base_port` is used with process isolation only: everything there lives on loopback ports from it upwards."""

    name: str
    folder: Path
    nodes: tuple[str, ...]
    isolation: Isolation
    rootless: bool
    tie_breaker: TieBreaker
    timers: Timers = Timers()
    base_port: int = 0
    no_fencing: bool = False
    watchdog_ms: int = 0
    """The timeout of the nodes' watchdogs; 0: they have none."""

    @property
    def keeper_socket(self) -> Path:
        return self.folder / "keeper.sock"

    @property
    def keeper_pid(self) -> Path:
        return self.folder / "keeper.pid"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def quorum_disk(self) -> Path:
        return self.folder / "qdisk"

    @property
    def arbiter_folder(self) -> Path:
        return self.folder / "arbiter"

    def node_folder(self, node: str) -> Path:
        return self.folder / node

    def run_dir(self, node: str) -> Path:
        return self.folder / node / "run"

    def state_dir(self, node: str) -> Path:
        return self.folder / node / "state"

    def config(self, node: str) -> Path:
        return self.folder / node / "vigil.toml"

    def watchdog(self, node: str) -> Path:
        return self.folder / node / "watchdog"

    def log(self, node: str) -> Path:
        return self.folder / node / "node.log"

    def number(self, node: str) -> int:
        """1 for the first node."""
        return self.nodes.index(node) + 1

    def address(self, node: str) -> str:
        return f"{SUBNET}.{self.number(node)}" if self.isolation is Isolation.MACHINE else "127.0.0.1"

    @property
    def power_address(self) -> str:
        return POWER_ADDRESS if self.isolation is Isolation.MACHINE else "127.0.0.1"

    # With process isolation: ports, in blocks from base_port.

    def power_port(self) -> int:
        return POWER_PORT if self.isolation is Isolation.MACHINE else self.base_port

    def service_port(self) -> int:
        """Where the demo's web server answers."""
        return 80 if self.isolation is Isolation.MACHINE else self.base_port + 1

    def ping_port(self, node: str) -> int:
        """The tie-breaker as this node sees it: cut when the node is partitioned away."""
        return self.base_port + 2 + self.number(node)

    def arbiter_port(self) -> int:
        """Beside the power switch: partitions do not cut it, so both sides reach the arbiter and it must choose."""
        return ARBITER_PORT if self.isolation is Isolation.MACHINE else self.base_port + 2

    def listen_port(self, node: str) -> int:
        return self.base_port + 2 + MAX_NODES + self.number(node)

    def relay_port(self, sender: str, receiver: str) -> int:
        """Where `sender` reaches `receiver`, through the keeper."""
        first = self.base_port + 2 + 2 * MAX_NODES + 1
        return first + (self.number(sender) - 1) * len(self.nodes) + self.number(receiver) - 1

    @property
    def service_address(self) -> str:
        return VIRTUAL_IP if self.isolation is Isolation.MACHINE else "127.0.0.1"

    def save(self) -> None:
        data = dataclasses.asdict(self) | {"folder": str(self.folder)}
        path = self.folder / "lab.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)


def home() -> Path:
    """The folder of all labs of this user: VIGIL_LAB_HOME, else vigil/lab in the XDG state folder."""
    chosen = os.environ.get("VIGIL_LAB_HOME")
    if chosen:
        return Path(chosen)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "vigil" / "lab"


def check_name(name: str) -> None:
    """Raises LabError unless `name` can be a lab's and a host's name."""
    if not _NAME.fullmatch(name):
        raise LabError(f"a lab's name is 1 to 16 of a-z, 0-9 and '-', beginning with a letter; got {name!r}")


def check_paths(lab: Lab) -> None:
    """Raises LabError when a socket of the lab would have too long a path."""
    longest = max(len(str(lab.run_dir(node) / "messaging.sock")) for node in lab.nodes)
    if longest > SOCKET_PATH_LIMIT:
        raise LabError(
            f"{lab.folder} is too long a path for Unix sockets (they would have {longest} bytes, {SOCKET_PATH_LIMIT} are "
            "possible): set VIGIL_LAB_HOME to a shorter folder"
        )


def load(name: str) -> Lab:
    """The lab of that name; LabError when there is none or its description is damaged."""
    check_name(name)
    path = home() / name / "lab.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"there is no lab named {name!r} (crm lab list shows those there are)") from None
    except ValueError as error:
        raise LabError(f"{path} is damaged ({error}); crm lab down --name {name} removes the lab") from None
    try:
        return Lab(
            name=data["name"],
            folder=Path(data["folder"]),
            nodes=tuple(data["nodes"]),
            isolation=Isolation(data["isolation"]),
            rootless=bool(data["rootless"]),
            tie_breaker=TieBreaker(data["tie_breaker"]),
            timers=Timers(**data["timers"]),
            base_port=int(data["base_port"]),
            no_fencing=bool(data["no_fencing"]),
            watchdog_ms=int(data.get("watchdog_ms", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{path} is damaged ({error!r}); crm lab down --name {name} removes the lab") from None


def names() -> list[str]:
    """Names of the labs that exist, sorted."""
    folder = home()
    return sorted(entry.name for entry in folder.iterdir() if (entry / "lab.json").exists()) if folder.is_dir() else []
