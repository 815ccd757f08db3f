"""`crm cluster`: make a cluster, join one, start and stop this node's part of it, and see how it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from crm.api.client import socket_path
from crm.api.errors import ApiError
from crm.shell.level import make_level
from crm.shell.session import LiveSession, ShellError
from crm.shell.shell import Shell, shell_of, wait_idle

if TYPE_CHECKING:
    from crm.config import Config
    from messaging.forecast import Standing

app = make_level("cluster", "Make a cluster, join one, start and stop this node, see how it is.")

CONFIG: Final = "/etc/vigil/vigil.toml"
START_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 600.0
POLL_S: Final = 0.05
MARKS: Final = {
    "good|quorate|up|yes": "green",
    "BAD|NOT quorate|dead|not here|down": "bold red",
    "late|never heard|by unicast": "yellow",
    "NODE|STATE|HEARD|LOST HERE|LOST THERE|ROUND TRIP": "bold",
}
"""Words that have a colour on a terminal."""

ConfigPath = Annotated[str, typer.Option("--config", help="This node's configuration file.")]
KeyPath = Annotated[str | None, typer.Option("--key-file", help="The key file; beside the configuration unless given.")]
Force = Annotated[bool, typer.Option("--force", "-F", help="Replace what is there.")]


# --- making -----------------------------------------------------------------------------------------------------------


@app.command()
def keygen(
    context: typer.Context,
    key_file: KeyPath = None,
    config: ConfigPath = CONFIG,
    add: Annotated[
        bool, typer.Option("--add", help="Add a key below the others, to rotate without an outage.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a key file, mode 0600. All nodes need the same."""
    from crm.shell import setup

    shell = shell_of(context)
    path = setup.key_file(key_file, config)
    if add:
        setup.write_all([setup.File(path, setup.with_new_key(path), 0o600)], force=True)
        shell.say(
            f"added a key to {path}; copy the file to all nodes, then move the new key to the top, on all nodes again"
        )
        return
    setup.write_all([setup.File(path, setup.new_keys(), 0o600)], force=force or shell.force)
    shell.say(f"wrote {path}; copy it to the other nodes")


@app.command()
def mkqdisk(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="The device or file that all nodes share.")],
    label: Annotated[str, typer.Option("--label", help="A name for it, of your choice.")] = "",
    cluster: Annotated[
        str, typer.Option("--cluster", help="The cluster that it is for; that of the configuration unless given.")
    ] = "",
    config: ConfigPath = CONFIG,
    force: Force = False,
) -> None:
    """Make a shared device a quorum disk: once, on one node, before the cluster uses it."""
    from crm.shell import setup

    shell = shell_of(context)
    made = setup.make_quorum_disk(device, label, cluster, config, force=force or shell.force)
    shell.say(f"{device} is the quorum disk {made.label!r} of cluster {made.cluster} ({made.uuid})")


@app.command()
def init(
    context: typer.Context,
    node: Annotated[list[str], typer.Option("--node", help="NAME=ADDRESS[,ADDRESS], for each node.")],
    name: Annotated[str, typer.Option("--name", help="The cluster's name.")] = "vigil",
    this: Annotated[str, typer.Option("--as", help="Which node this machine is; by its host name unless given.")] = "",
    config: ConfigPath = CONFIG,
    key_file: KeyPath = None,
    tie_breaker: Annotated[str, typer.Option("--tie-breaker", help="none, ping, qdisk or arbiter.")] = "none",
    ping: Annotated[list[str] | None, typer.Option("--ping", help="Who is asked in a tie: HOST or HOST:PORT.")] = None,
    qdisk: Annotated[str, typer.Option("--qdisk", help="The shared device that is the quorum disk.")] = "",
    arbiter: Annotated[str, typer.Option("--arbiter", help="Where vigil-arbiter runs: HOST or HOST:PORT.")] = "",
    arbiter_certificate: Annotated[
        str, typer.Option("--arbiter-certificate", help="The file that vigil-arbiter add made.")
    ] = "/etc/vigil/arbiter.pem",
    watchdog: Annotated[str, typer.Option("--watchdog", help="The device that resets this node.")] = "",
    mode: Annotated[str, typer.Option("--mode", help="unicast, multicast or broadcast.")] = "unicast",
    group: Annotated[str, typer.Option("--group", help="The multicast group, or the broadcast address.")] = "",
    port: Annotated[int | None, typer.Option("--port", help="UDP and TCP.")] = None,
    deadtime_ms: Annotated[
        int | None, typer.Option("--deadtime-ms", help="Silence after which a node is dead.")
    ] = None,
    failover_ms: Annotated[
        int | None,
        typer.Option("--failover-ms", help="How soon after a death recovery begins; the timers follow from it."),
    ] = None,
    state_dir: Annotated[str, typer.Option("--state-dir", help="What survives a reboot.")] = "",
    run_dir: Annotated[str, typer.Option("--run-dir", help="Sockets.")] = "",
    force: Force = False,
) -> None:
    """Write this node's configuration and keys for a new cluster."""
    from crm.shell import setup

    shell = shell_of(context)
    place = Path(config).absolute()
    wanted = setup.Wanted(
        name=name,
        nodes=tuple(node),
        this_node=this,
        config=place,
        keys=setup.key_file(key_file, config) if key_file is not None else place.with_name("keys"),
        tie_breaker=tie_breaker,
        ping=tuple(ping or ()),
        qdisk=qdisk,
        arbiter=arbiter,
        arbiter_certificate=arbiter_certificate,
        watchdog=watchdog,
        mode=mode,
        group=group,
        state_dir=state_dir,
        run_dir=run_dir,
        failover_ms=failover_ms or 0,
        **{key: value for key, value in (("port", port), ("deadtime_ms", deadtime_ms)) if value is not None},
    )
    made = setup.init(wanted, force=force or shell.force)
    shell.say(f"cluster {made.cluster_name}: wrote {place} for {made.node.name}, keys in {made.key_file}")
    others = [entry.name for entry in made.nodes if entry.name != made.node.name]
    if others:
        shell.say(
            f"copy both files to {', '.join(others)} and there:  crm cluster join --config FILE --key FILE --node NAME"
        )
    shell.say("then on every node:  crm cluster start")


@app.command()
def join(
    context: typer.Context,
    config: Annotated[str, typer.Option("--config", help="The vigil.toml of a node of the cluster.")],
    key: Annotated[str, typer.Option("--key", help="The key file of a node of the cluster.")],
    node: Annotated[
        str, typer.Option("--node", help="Which node this machine is; by its host name unless given.")
    ] = "",
    to: Annotated[str, typer.Option("--to", help="Where to write the configuration.")] = CONFIG,
    key_file: KeyPath = None,
    force: Force = False,
) -> None:
    """Write this node's configuration and keys from those of another node. All of it, or nothing."""
    from crm.shell import setup

    shell = shell_of(context)
    place = Path(to).absolute()
    keys = Path(key_file).absolute() if key_file else None
    made = setup.join(config, key, node, place, keys, force=force or shell.force)
    shell.say(f"{made.node.name} is part of cluster {made.cluster_name}: wrote {place}; start it:  crm cluster start")


@app.command()
def check(context: typer.Context, config: ConfigPath = CONFIG) -> None:
    """Say what is wrong with this node's configuration file and keys."""
    from crm import config as configuration
    from messaging import keyring
    from messaging.errors import SetupError

    problems: list[str] = []
    try:
        loaded = configuration.load(config)
    except configuration.ConfigError as error:
        problems.extend(str(error).splitlines())
    else:
        try:
            keyring.load(Path(loaded.key_file))
        except SetupError as error:
            problems.extend(str(error).splitlines())
        problems.extend(_without_fencing(loaded))
        problems.extend(_at_the_arbiter(loaded))
        problems.extend(_of_alerts(loaded))
    if problems:
        raise ShellError(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}", tuple(problems))
    shell_of(context).say(f"{config}: good")


def _of_alerts(config: Config) -> list[str]:
    """A user that was chosen for alert agents must be there; hacluster may be missing."""
    import pwd

    user = config.alerts.user
    try:
        if user not in ("", type(config.alerts)().user):
            pwd.getpwnam(user)
    except KeyError:
        return [f"alerts.user: there is no user {user!r} on this node; alert agents would fail"]
    return []


def _at_the_arbiter(config: Config) -> list[str]:
    """Whether the arbiter's file can be used, and is for this cluster."""
    from messaging.arbiter import certificates
    from messaging.errors import SetupError
    from messaging.tiebreak.arbiter import client_context

    path = config.quorum.tie_breaker.certificate
    if not path:
        return []
    try:
        client_context(path)
        cluster = certificates.cluster_of(Path(path))
    except SetupError as error:
        return [str(error)]
    if cluster != config.cluster_name:
        return [f"{path} is for cluster {cluster}, and the configuration says {config.cluster_name}"]
    return []


def _without_fencing(config: Config) -> list[str]:
    """Whether fencing is disabled in the CIB on this node's disk, although the tie-breaker needs it."""
    from lxml import etree

    from crm.cib import without_fencing

    tie_breaker = config.quorum.tie_breaker
    path = config.state_dir / "cib" / "cib.xml"
    if not tie_breaker.shared or tie_breaker.accept_without_fencing or not path.exists():
        return []
    try:
        disabled = without_fencing.is_disabled(etree.parse(str(path)).getroot())
    except (OSError, etree.XMLSyntaxError) as error:
        return [f"{path} cannot be read: {error}"]
    return [without_fencing.danger(tie_breaker.type)] if disabled else []


# --- running ----------------------------------------------------------------------------------------------------------


@app.command()
def start(context: typer.Context, config: ConfigPath = CONFIG) -> None:
    """Start this node's daemons, and wait until they answer."""
    shell = shell_of(context)
    session = LiveSession(_run_dir(shell, config))
    if _answers(session):
        shell.say("the daemons of this node are running already")
        return
    how, process = _start_daemons(config)
    deadline = time.monotonic() + START_LIMIT_S
    while not _answers(session):
        if process is not None and process.poll() is not None:
            raise ShellError(f"vigild ended with code {process.returncode}; see {how}", _last_words(how))
        if time.monotonic() > deadline:
            raise ShellError(f"the daemons do not answer within {START_LIMIT_S:.0f} s; see {how}")
        time.sleep(POLL_S)
    shell.say("the daemons of this node are running")


def _run_dir(shell: Shell, config: str) -> str | None:
    """The run folder: as told, else as the configuration has it."""
    if shell.run_dir or os.environ.get("VIGIL_RUN_DIR"):
        return shell.run_dir
    from crm import config as configuration

    try:
        return configuration.load(config).paths.run_dir
    except configuration.ConfigError as error:
        raise ShellError(f"{config} cannot be used", tuple(str(error).splitlines())) from None


def _answers(session: LiveSession) -> bool:
    try:
        session.call("status")
    except ApiError:
        return False
    finally:
        session.close()
    return True


def _last_words(log: str) -> tuple[str, ...]:
    try:
        return tuple(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
    except OSError:
        return ()


def _start_daemons(config: str) -> tuple[str, subprocess.Popen[bytes] | None]:
    """By systemd where it runs and knows the unit, else as a process of its own. Returns where its words go, and the process."""
    systemctl = shutil.which("systemctl")
    if config == CONFIG and systemctl and Path("/run/systemd/system").is_dir() and _has_unit(systemctl):
        ended = subprocess.run([systemctl, "start", "vigild"], capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise ShellError(f"systemctl start vigild failed: {ended.stderr.strip()}")
        return "journalctl -u vigild", None
    from crm import config as configuration

    loaded = configuration.load(config)
    loaded.run_dir.mkdir(parents=True, exist_ok=True)
    log = Path(loaded.paths.log_file or loaded.run_dir / "vigild.log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "crm.daemon.supervisor", "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return str(log), process


def _has_unit(systemctl: str) -> bool:
    ended = subprocess.run([systemctl, "cat", "vigild"], capture_output=True, check=False)
    return ended.returncode == 0


@app.command()
def stop(context: typer.Context) -> None:
    """Let this node leave the cluster: its resources move, then its daemons end."""
    shell = shell_of(context)
    session = shell.live
    session.call("shutdown")
    shell.warn("leaving: waiting for the resources of this node to move...")
    deadline = time.monotonic() + STOP_LIMIT_S
    while _answers(session):
        if time.monotonic() > deadline:
            raise ShellError(f"this node has not left within {STOP_LIMIT_S:.0f} s; crm status says what it waits for")
        time.sleep(POLL_S * 4)
    shell.say("this node has left the cluster")


@app.command()
def wait(
    context: typer.Context,
    timeout_s: Annotated[int, typer.Option("--timeout", help="Seconds.")] = 300,
) -> None:
    """Return when the cluster has nothing left to do."""
    shell = shell_of(context)
    wait_idle(shell.live, timeout_s * 1000)
    shell.say("idle")


# --- nodes that come and go -------------------------------------------------------------------------------------------


@app.command()
def add(
    context: typer.Context,
    node: Annotated[str, typer.Argument(help="The new node's name.")],
    address: Annotated[list[str], typer.Option("--address", help="One for each link, in their order.")],
    node_id: Annotated[int, typer.Option("--id", help="1 to 255; the lowest that is free unless given.")] = 0,
    votes: Annotated[int, typer.Option("--votes", help="Its votes.")] = 1,
    force: Annotated[bool, typer.Option("--force", "-F", help="Although not all nodes are here.")] = False,
) -> None:
    """Add a node to the running cluster: every member's vigil.toml and whose votes count. Then join and start it there."""
    shell = shell_of(context)
    if node in _configured(shell):
        raise ShellError(f"there is a node {node} already")
    answer = _change_nodes(
        shell, operation="add", name=node, addresses=address, id=node_id, votes=votes, force=force or shell.force
    )
    shell.say(
        f"the nodes are now {_named(answer)}; expected votes {(answer.get('quorum') or {}).get('expected_votes')}"
    )
    shell.say(
        f"copy vigil.toml and the keys to {node} and there:  crm cluster join --config FILE --key FILE --node {node}"
    )
    shell.say("then:  crm cluster start")


@app.command()
def remove(
    context: typer.Context,
    node: Annotated[str, typer.Argument(help="The node that is to go.")],
    force: Annotated[bool, typer.Option("--force", "-F", help="Although not all nodes are here.")] = False,
) -> None:
    """Remove a node from the running cluster: its resources move, it leaves, and the others forget it."""
    from crm.shell.commands import node as nodes

    shell = shell_of(context)
    _check_known(shell, node)
    if not shell.sure(f"Remove {node} from the cluster? What runs there moves to other nodes.", force):
        return
    answer = _change_nodes(shell, operation="remove", name=node, force=force or shell.force)
    shell.say(
        f"the nodes are now {_named(answer)}; expected votes {(answer.get('quorum') or {}).get('expected_votes')}"
    )
    shell.force = True
    try:
        nodes.delete(context, node)
    except ShellError as error:  # it never was a member
        shell.warn(str(error))


@app.command()
def rename(
    context: typer.Context,
    node: Annotated[str, typer.Argument(help="The name it has.")],
    name: Annotated[str, typer.Argument(help="The name it is to have.")],
    force: Annotated[bool, typer.Option("--force", "-F", help="Although not all nodes are here.")] = False,
) -> None:
    """Rename a node: its resources move, it leaves, and is started again under its new name."""
    from crm.shell import editing, verbs

    shell = shell_of(context)
    _check_known(shell, node)
    if {node, name} <= _configured(shell):
        raise ShellError(f"there is a node {name} already")
    if not shell.sure(f"Rename {node}? It leaves the cluster for that; what runs there moves to other nodes.", force):
        return
    answer = _change_nodes(shell, operation="rename", name=node, new_name=name, force=force or shell.force)
    if any(each.get("uname") == node for each in shell.session.query_cib().iterfind("configuration/nodes/node")):
        editing.change(shell, lambda configuration: verbs.rename_node(configuration, node, name))
        for state in shell.session.query_cib().iterfind("status/node_state"):
            if state.get("uname") == node:
                renamed = f'<node_state id="{state.get("id")}" uname="{name}"/>'
                shell.session.apply("modify", xml=renamed, scope="status")
    shell.say(f"the nodes are now {_named(answer)}")
    if answer.get("left"):
        shell.say("it has left; its own vigil.toml has the new name. Start it again, there:  crm cluster start")
    else:
        shell.say("change the name in its own vigil.toml, too, before it is started")


def _configured(shell: Shell) -> set[str]:
    """The nodes that the CIB lists. It follows last, so a change that was broken off can be made again."""
    return {each.get("uname", "") for each in shell.session.query_cib().iterfind("configuration/nodes/node")}


def _check_known(shell: Shell, node: str) -> None:
    known = _configured(shell) | {str(each["name"]) for each in shell.live.call("membership")["nodes"]}
    if node not in known:
        raise ShellError(f"there is no node {node}; there are {', '.join(sorted(known))}")


def _change_nodes(shell: Shell, **parameters: Any) -> dict[str, Any]:
    answer: dict[str, Any] = shell.live.call_patiently("nodes.change", **parameters)
    return answer


def _named(answer: dict[str, Any]) -> str:
    return ", ".join(str(each.get("name")) for each in answer.get("nodes", []))


# --- looking ----------------------------------------------------------------------------------------------------------


@app.command()
def status(context: typer.Context) -> None:
    """Whether this node's daemons run, what they are called to be, and where they listen."""
    shell = shell_of(context)
    about = shell.live.call("status")
    shell.say(f"node {about.get('node')} of cluster {about.get('cluster')}, on {socket_path(shell.run_dir)}")
    view = about.get("view") or {}
    members = ", ".join(str(member.get("name")) for member in view.get("members", []))
    shell.say(f"view {view.get('id', 'none')}: {members or 'nobody'}")
    quorum = about.get("quorum") or {}
    shell.say(f"quorum: {'yes' if quorum.get('quorate') else 'no'} ({quorum.get('reason', '')})")
    shell.say(f"DC: {about.get('dc') or 'none'}; controller: {(about.get('controller') or {}).get('state', '?')}")
    shell.say(f"CIB: {about.get('version')}")
    watchdog = watchdog_line(shell.live.call("messaging.query", name="watchdog"))
    if watchdog:
        shell.say(watchdog)


def _watchdog_points(shell: Shell) -> list[tuple[str, bool, str]]:
    """Whether this node's watchdog is fed, and whether fencing by it works where it is asked for."""
    try:
        answer: dict[str, Any] = shell.live.call("messaging.query", name="watchdog")
    except (ApiError, ShellError):
        return []
    hungry, problem = (answer.get("own") or {}).get("not_fed", ""), answer.get("problem", "")
    if not answer.get("own") and not problem:
        return []
    text = "; ".join(each for each in (f"not fed: {hungry}" if hungry else "", problem) if each)
    return [("watchdog", not text, text)]


def watchdog_line(answer: dict[str, Any]) -> str:
    """The watchdog of this node, and which of the others reset themselves when they are lost; empty without one."""
    own = answer.get("own") or {}
    if not own:
        return ""
    state = f"NOT fed: {own['not_fed']}" if own.get("not_fed") else "fed"
    peers = answer.get("peers") or {}
    rely = ", ".join(f"{name} within {ms} ms" for name, ms in peers.items() if ms)
    lost = f"; a lost node has reset itself: {rely}" if rely else ""
    return f"watchdog: {own.get('device')}, {own.get('timeout_ms')} ms, {state}{lost}"


@app.command()
def health(context: typer.Context) -> None:
    """Go through everything that must be right; exit code 1 when something is not."""
    from crm.shell.links import silent_links
    from crm.shell.status import show
    from crm.shell.status.model import Level

    shell = shell_of(context)
    current = show.get(shell.session)
    offline = [node.name for node in current.nodes if node.state in ("offline", "UNCLEAN", "pending")]
    failed = sorted({failure.resource for failure in current.failures if not failure.ignored})
    errors = [notice.text for notice in current.notices if notice.level is not Level.NOTICE]
    down = [daemon.name for daemon in current.daemons if not daemon.running]
    silent = silent_links(shell.live.call("messaging.query", name="links")) if not down else []
    points: list[tuple[str, bool, str]] = [
        ("daemons of this node", not down, f"not running: {', '.join(down)}"),
        ("links", not silent, "; ".join(silent)),
        ("quorum", current.quorate, current.quorum_reason or "none"),
        ("DC", bool(current.dc), "none is elected"),
        ("nodes", not offline, f"not online: {', '.join(offline)}"),
        ("resources", not failed, f"failed: {', '.join(failed)}"),
        ("nothing in the way", not errors, " ".join(errors)),
        *_watchdog_points(shell),
    ]
    for title, good, text in points:
        shell.say(f"{'good' if good else 'BAD '}  {title}{'' if good else ': ' + text}", MARKS)
    if not all(good for _, good, _ in points):
        raise typer.Exit(1)


@app.command()
def metrics(context: typer.Context) -> None:
    """Print what Prometheus gets from this node, also where no address for it is configured."""
    shell = shell_of(context)
    print(shell.live.call("metrics")["text"], end="")


@app.command()
def links(context: typer.Context) -> None:
    """Show how each link is towards each node: state, loss and round trip, measured from the heartbeats."""
    from crm.shell import links as words

    shell = shell_of(context)
    for line in words.describe(shell.live.call("messaging.query", name="links")):
        shell.say(line, MARKS)


@app.command()
def doctor(
    context: typer.Context,
    config: ConfigPath = CONFIG,
    seconds: Annotated[
        int,
        typer.Option(
            "--seconds", help="How long to try where the daemons do not run; start it on all nodes meanwhile."
        ),
    ] = 30,
) -> None:
    """Try every way on every link to every node, and say what gets through and what to do; exit code 1 when something does not."""
    from crm.shell import doctor as trial

    shell = shell_of(context)
    shell.say("trying the network; this takes some seconds...")
    if _answers(shell.live):
        findings = trial.by_daemon(shell.live)
    else:
        shell.say(
            f"the daemons of this node do not run: run crm cluster doctor on the other nodes too, within {seconds} s"
        )
        findings = trial.alone(config, seconds, shell.say)
    lines, good = trial.describe(findings)
    for line in lines:
        shell.say(line)
    if not good:
        raise typer.Exit(1)


@app.command("rotate-key")
def rotate_key(context: typer.Context) -> None:
    """Replace the cluster's key on all nodes, without an outage; run again, it goes on where it was interrupted."""
    from crm.shell import links as words

    shell = shell_of(context)
    for line in words.follow_rotation(shell.live):
        shell.say(line)


@app.command()
def quorum(
    context: typer.Context,
    action: Annotated[str, typer.Argument(help="Nothing: how it stands. what-if: see --down, --split. unblock.")] = "",
    down: Annotated[str, typer.Option("--down", help="what-if: nodes that are off, NODE,NODE.")] = "",
    split: Annotated[str, typer.Option("--split", help="what-if: who hears whom, NODE,NODE/NODE,NODE.")] = "",
    seeing: Annotated[
        str | None, typer.Option("--seeing", help="what-if: the nodes that see the ping target, NODE,NODE.")
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="what-if: all nodes have just been booted.")] = False,
    config: Annotated[
        str | None, typer.Option("--config", help="what-if: from this vigil.toml alone, no cluster needed.")
    ] = None,
) -> None:
    """Show votes, and why there is a quorum or none; say what would happen if (what-if); end wait_for_all (unblock)."""
    from crm.shell import quorum as words

    shell = shell_of(context)
    question = words.Question(down, split, seeing, cold)
    match action:
        case "":
            if question != words.Question() or config is not None:
                raise ShellError("these options belong to: crm cluster quorum what-if")
            lines = words.report(shell.live.call("messaging.query", name="quorum"))
        case "what-if":
            if config is None:
                answer = shell.live.call("messaging.query", name="quorum")
                standing, names = words.read(answer)
                then = words.consequences(shell.live.query_cib())
                lines = words.what_if(standing, names, question, then, words.absent(answer, names))
            else:
                standing, names = _standing_of(config)
                lines = words.what_if(standing, names, question, words.Consequences())
        case "unblock":
            lines = _unblock(shell)
        case _:
            raise ShellError(f"{action}: expected what-if, unblock or nothing")
    for line in lines:
        shell.say(line, MARKS)


def _standing_of(config: str) -> tuple[Standing, dict[int, str]]:
    """A cluster of this configuration in which all is well."""
    from crm import config as configuration
    from messaging import forecast
    from messaging.config import from_document

    try:
        loaded = from_document(configuration.load(config).to_document())
    except configuration.ConfigError as error:
        raise ShellError(f"{config} cannot be used", tuple(str(error).splitlines())) from None
    names = {node.node_id: node.name for node in loaded.nodes}
    return forecast.whole(loaded.votes, loaded.quorum.expected_votes, loaded.quorum.rules()), names


def _unblock(shell: Shell) -> list[str]:
    answer: dict[str, Any] = shell.live.call("messaging.query", name="quorum")
    here = set(answer.get("members", ()))
    absent = [name for node_id, name in (answer.get("names") or {}).items() if int(node_id) not in here]
    if not answer.get("wait_for_all") or answer.get("seen_all") or not absent:
        raise ShellError("wait_for_all is not what this part of the cluster waits for; see crm cluster quorum")
    shell.warn(
        f"DANGER: not seen since the start are {', '.join(absent)}. If any of them runs, both parts may start the same resources, "
        "and shared data is lost. Make sure that they are switched off."
    )
    if not shell.confirm(f"Are {', '.join(absent)} off, and shall this part go on without them?"):
        raise ShellError("nothing was changed")
    after = shell.live.call("quorum.change", action="unblock")
    return [f"{'quorate' if after.get('quorate') else 'NOT quorate'}: {after.get('reason')}"]


@app.command("expected-votes")
def expected_votes(
    context: typer.Context,
    votes: Annotated[int, typer.Argument(help="How many votes there are to be; more than half of them is a quorum.")],
) -> None:
    """Set the expected votes of the running cluster, until nodes that are not here come back. With --force without quorum."""
    shell = shell_of(context)
    answer: dict[str, Any] = shell.live.call("messaging.query", name="quorum")
    here = set(answer.get("members", ()))
    absent = [name for node_id, name in (answer.get("names") or {}).items() if int(node_id) not in here]
    if absent:
        shell.warn(
            f"DANGER: not here are {', '.join(absent)}. With fewer expected votes this part may go on without them; if they run, "
            "and are together, so do they, and shared data is lost. Make sure that they are switched off."
        )
        if not shell.confirm(f"Are {', '.join(absent)} off?"):
            raise ShellError("nothing was changed")
    forced = shell.force or not answer.get("quorate")
    after = shell.live.call("quorum.change", action="expected-votes", votes=votes, force=forced)
    shell.say(f"{'quorate' if after.get('quorate') else 'NOT quorate'}: {after.get('reason')}")
