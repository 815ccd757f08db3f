"""Makes and joins clusters: writes a node's vigil.toml and keys, all or nothing.

Everything is checked before anything is written; what was written is taken back when a later step fails, so that a node has either a complete
configuration or the one it had before.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crm import config as configuration
from crm.shell.session import ShellError
from messaging import keyring
from messaging.errors import SetupError
from messaging.tiebreak import qdisk
from messaging.tiebreak.qdisk_blocks import Label

CONFIG: Final = "/etc/vigil/vigil.toml"


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written with this mode."""

    path: Path
    text: str
    mode: int


def write_all(files: Sequence[File], *, force: bool = False) -> None:
    """Writes all of the files, or none. Existing ones are a refusal unless forced."""
    there = [str(file.path) for file in files if file.path.exists()]
    if there and not force:
        raise ShellError(f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''} already (--force replaces)")
    before: list[tuple[Path, bytes | None, int]] = []
    made: list[Path] = []
    try:
        for file in files:
            made.extend(_make_folder(file.path.parent))
            old = file.path.read_bytes() if file.path.exists() else None
            mode = file.path.stat().st_mode & 0o777 if old is not None else file.mode
            _write(file.path, file.text.encode(), file.mode)
            before.append((file.path, old, mode))
    except OSError as error:
        for path, old, mode in reversed(before):
            _restore(path, old, mode)
        for folder in reversed(made):
            folder.rmdir()
        raise ShellError(
            f"cannot write {error.filename or files[0].path}: {error.strerror}; nothing was changed"
        ) from None


def _make_folder(folder: Path) -> list[Path]:
    missing = [folder, *folder.parents]
    missing = [path for path in missing if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o755)
    return list(reversed(missing))


def _write(path: Path, data: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        # The mode from the first moment on: a key must never be readable for others, not even briefly.
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def _restore(path: Path, old: bytes | None, mode: int) -> None:
    if old is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, old, mode)


# --- keys -------------------------------------------------------------------------------------------------------------


def key_file(path: str | None, config_path: str) -> Path:
    """Where the keys are: as given, as the configuration says, else beside it."""
    if path is not None:
        return Path(path).absolute()
    if Path(config_path).exists():
        try:
            return Path(configuration.load(config_path).key_file)
        except configuration.ConfigError:
            # The file will be complained about where it matters; the keys lie beside it by convention.
            pass
    return Path(config_path).absolute().with_name("keys")


def new_keys() -> str:
    return keyring.generate()


def with_new_key(path: Path) -> str:
    """The text of a key file with one more key below the others: accepted everywhere before anybody sends with it."""
    try:
        known = keyring.load(path)
    except SetupError as error:
        raise ShellError(str(error)) from None
    free = next((number for number in range(1, keyring.MAX_KEY_ID) if known.find(number) is None), None)
    if free is None or len(known.keys) >= keyring.MAX_KEYS:
        raise ShellError(
            f"{path} has {len(known.keys)} keys, at most {keyring.MAX_KEYS} are of use; remove old ones first"
        )
    return path.read_text(encoding="ascii").rstrip("\n") + "\n" + keyring.generate(free)


def read_keys(path: str) -> str:
    """The text of somebody's key file, checked."""
    try:
        text = Path(path).read_text(encoding="ascii")
    except OSError as error:
        raise ShellError(f"cannot read the key file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ShellError(f"{path} is not a key file: expected lines of 'ID HEX'") from None
    try:
        keyring.parse(text, path)
    except SetupError as error:
        raise ShellError(str(error)) from None
    return text


# --- configurations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `crm cluster init` was told. `nodes` are NAME=ADDRESS[,ADDRESS]."""

    name: str
    nodes: tuple[str, ...]
    this_node: str
    config: Path
    keys: Path
    tie_breaker: str = "none"
    ping: tuple[str, ...] = ()
    qdisk: str = ""
    arbiter: str = ""
    arbiter_certificate: str = ""
    watchdog: str = ""
    mode: str = "unicast"
    group: str = ""
    port: int = configuration.DEFAULT_PORT
    deadtime_ms: int = configuration.DEFAULT_DEADTIME_MS
    failover_ms: int = 0
    state_dir: str = ""
    run_dir: str = ""


def build(wanted: Wanted) -> configuration.Config:
    """A checked configuration; ShellError with all that is wrong."""
    nodes: list[tuple[str, list[str]]] = []
    problems: list[str] = []
    for text in wanted.nodes:
        name, equals, addresses = text.partition("=")
        if not equals or not name or not addresses:
            problems.append(f"--node {text!r}: expected NAME=ADDRESS, or NAME=ADDRESS,ADDRESS for several links")
            continue
        nodes.append((name, addresses.split(",")))
    if not wanted.nodes:
        problems.append("no nodes: expected --node NAME=ADDRESS for each node")
    if problems:
        raise ShellError(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}", tuple(problems))
    this_node = wanted.this_node or own_name([name for name, _ in nodes])
    links = [
        configuration.Link(wanted.mode, wanted.port + 2 * number, wanted.group if number == 0 else "", "", 1)
        for number in range(max(len(addresses) for _, addresses in nodes))
    ]
    given = [kind for kind in ("ping", "qdisk", "arbiter") if getattr(wanted, kind)]
    if len(given) > 1:
        raise ShellError(f"--{' and --'.join(given)}: a cluster has one tie-breaker")
    tie_breaker = configuration.TieBreaker(
        type=given[0] if given else wanted.tie_breaker,
        targets=wanted.ping,
        device=wanted.qdisk,
        address=wanted.arbiter,
        certificate=wanted.arbiter_certificate if wanted.arbiter else "",
    )
    default = configuration.Paths("/var/lib/vigil", "/run/vigil", "", "info")
    paths = configuration.Paths(wanted.state_dir or default.state_dir, wanted.run_dir or default.run_dir, "", "info")
    try:
        return configuration.example(
            wanted.name,
            nodes,
            this_node=this_node,
            links=links,
            deadtime_ms=wanted.deadtime_ms,
            failover_ms=wanted.failover_ms,
            tie_breaker=tie_breaker,
            watchdog=configuration.Watchdog(wanted.watchdog),
            key_file=str(wanted.keys),
            paths=paths,
        )
    except configuration.ConfigError as error:
        raise ShellError("the cluster cannot be made so", tuple(str(error).splitlines())) from None


def make_quorum_disk(device: str, label: str, cluster: str, config: str, *, force: bool = False) -> Label:
    """Writes the label of a quorum disk. ShellError when something else is there, or it is not known for which cluster."""
    if not cluster:
        try:
            cluster = configuration.load(config).cluster_name
        except configuration.ConfigError as error:
            raise ShellError(
                "for which cluster? give --cluster NAME, or --config FILE", tuple(str(error).splitlines())
            ) from None
    try:
        return qdisk.make(device, cluster, label or cluster, force=force)
    except SetupError as error:
        raise ShellError(str(error)) from None


def own_name(names: Sequence[str]) -> str:
    """Which of the nodes this machine is: by its host name, else by an address. ShellError when neither tells."""
    host = socket.gethostname()
    for candidate in (host, host.partition(".")[0]):
        if candidate in names:
            return candidate
    raise ShellError(
        f"this machine is called {host}, none of the nodes ({', '.join(names)}) is; say which it is with --as NAME"
    )


def init(wanted: Wanted, *, force: bool = False) -> configuration.Config:
    """Writes this node's configuration, and keys unless there are some."""
    config = build(wanted)
    files = [File(wanted.config, configuration.render(config), 0o644)]
    if wanted.keys.exists():
        read_keys(str(wanted.keys))
    else:
        files.append(File(wanted.keys, new_keys(), 0o600))
    write_all(files, force=force)
    return config


def join(
    source: str, keys: str, node: str, to: Path, key_path: Path | None, *, force: bool = False
) -> configuration.Config:
    """Writes this node's configuration and keys from those of another node."""
    try:
        text = Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise ShellError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ShellError(f"{source} is not UTF-8 text") from None
    try:
        given = configuration.loads(text, source)
        names = [entry.name for entry in given.nodes]
        name = node or own_name(names)
        config = configuration.for_node(given, name)
    except configuration.ConfigError as error:
        raise ShellError(f"{source} cannot be used", tuple(str(error).splitlines())) from None
    except KeyError:
        raise ShellError(f"{source} has no node {node!r}; it has {', '.join(names)}") from None
    key_text = read_keys(keys)
    place = key_path or Path(config.key_file)
    rendered = configuration.render(_with_keys(config, place))
    _check_address(config)
    write_all([File(to, rendered, 0o644), File(place, key_text, 0o600)], force=force)
    return config


def _with_keys(config: configuration.Config, place: Path) -> configuration.Config:
    from dataclasses import replace

    return replace(config, key_file=str(place))


def _check_address(config: configuration.Config) -> None:
    """One of the node's addresses must be this machine's, or it is the wrong machine or the wrong name."""
    for endpoint in config.node.endpoints:
        if _is_local(endpoint.host):
            return
    addresses = ", ".join(endpoint.host for endpoint in config.node.endpoints)
    raise ShellError(f"this machine has no address of {config.node.name} ({addresses}); is it the right machine?")


def _is_local(host: str) -> bool:
    """Whether an address (or what a name resolves to) is one of this machine's: only those can be bound to."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe, contextlib.suppress(OSError):
            probe.bind(address)
            return True
    return False
