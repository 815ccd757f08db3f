"""`crm lab`: clusters on this machine, to learn on, to rehearse on, to break."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, ParamSpec

import typer

from crm.lab import cluster, layout
from crm.lab.client import ask
from crm.lab.layout import Lab, LabError, TieBreaker, Timers

app = typer.Typer(help="Clusters on this machine: real nodes, faults on demand.", no_args_is_help=True)
P = ParamSpec("P")
FORM_LIMIT_S = 60.0


class IsolationChoice(StrEnum):
    AUTO = "auto"
    MACHINE = "machine"
    PROCESS = "process"


Name = Annotated[str, typer.Option("--name", "-n", help="Which lab.")]
NodeArgument = Annotated[str, typer.Argument(help="Which node, such as n1.")]
IsolationOption = Annotated[
    IsolationChoice, typer.Option(help="What a node is: a machine of namespaces, or a tree of processes.")
]


def _refusals(command: Callable[P, None]) -> Callable[P, None]:
    """Problems that the user can mend are one line on stderr and exit code 1."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except LabError as error:
            typer.echo(f"crm lab: {error}", err=True)
            raise typer.Exit(1) from None

    return guarded


def _power(lab: Lab) -> dict[str, dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = ask(lab, "status")["nodes"]
    return nodes


@app.command()
@_refusals
def up(
    nodes: Annotated[int, typer.Option(help=f"How many nodes, 1 to {layout.MAX_NODES}.")] = 2,
    name: Name = "lab",
    tie_breaker: Annotated[TieBreaker, typer.Option(help="What decides an even split.")] = TieBreaker.PING,
    isolation: IsolationOption = IsolationChoice.AUTO,
    deadtime_ms: Annotated[int, typer.Option(help="Silence after which a node is dead.")] = Timers().deadtime_ms,
    watchdog_ms: Annotated[int, typer.Option(help="Give the nodes watchdogs with this timeout; 0: none.")] = 0,
) -> None:
    """Make a lab and power its nodes on."""
    timers = Timers(max(20, deadtime_ms // 5), deadtime_ms * 3 // 5, deadtime_ms, deadtime_ms * 3)
    lab, reason = cluster.plan(
        name,
        nodes=nodes,
        tie_breaker=tie_breaker,
        isolation_wanted=isolation,
        timers=timers,
        watchdog_ms=watchdog_ms,
    )
    typer.echo(f"{lab.isolation}: {reason}; powering {', '.join(lab.nodes)} on ...", err=True)
    cluster.up(lab)
    took = cluster.wait_for(lambda: cluster.online(lab) == set(lab.nodes), FORM_LIMIT_S, "the cluster has not formed")
    typer.echo(f"lab {name!r} is up: {', '.join(lab.nodes)} have found each other after {took:.1f} s")
    typer.echo(f"  crm lab run {_option(name)}{lab.nodes[0]} -- crm status")


def _option(name: str) -> str:
    return "" if name == "lab" else f"--name {name} "


@app.command("list")
@_refusals
def list_labs() -> None:
    """The labs there are, and their nodes."""
    names = layout.names()
    if not names:
        typer.echo("no labs (crm lab up makes one)")
    for name in names:
        try:
            lab = layout.load(name)
            nodes = ", ".join(f"{node} {state['power']}" for node, state in _power(lab).items())
            typer.echo(f"{name}: {nodes} ({lab.isolation}, tie-breaker {lab.tie_breaker}, {lab.folder})")
        except LabError as error:
            typer.echo(f"{name}: {error}")


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_refusals
def run(
    node: NodeArgument,
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    name: Name = "lab",
) -> None:
    """Run a command on a node; crm and the other tools there talk to that node's daemon."""
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise LabError("which command? crm lab run NODE -- COMMAND ...")
    prefix, environment = cluster.enter(layout.load(name), node)
    try:
        result = subprocess.run([*prefix, *words], env=environment, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{error.filename}: no such command") from None
    raise typer.Exit(result.returncode if result.returncode >= 0 else 128 - result.returncode)


@app.command()
@_refusals
def shell(node: NodeArgument, name: Name = "lab") -> None:
    """A shell on a node."""
    prefix, environment = cluster.enter(layout.load(name), node)
    environment["PS1"] = f"[{node}] \\w# "
    words = [*prefix, "/bin/sh"]
    sys.stdout.flush()
    os.execvpe(words[0], words, environment)


@app.command()
@_refusals
def crash(node: NodeArgument, name: Name = "lab") -> None:
    """Cut a node's power: every process of it is gone at once."""
    lab = layout.load(name)
    cluster.check_node(lab, node)
    ask(lab, "crash", node=node)
    typer.echo(f"{node}: power cut")


@app.command("power-on")
@_refusals
def power_on(node: NodeArgument, name: Name = "lab") -> None:
    """Power a node on; its daemons start as they would at boot."""
    lab = layout.load(name)
    cluster.check_node(lab, node)
    ask(lab, "power-on", node=node)
    typer.echo(f"{node}: on")


@app.command("power-off")
@_refusals
def power_off(node: NodeArgument, name: Name = "lab") -> None:
    """Press a node's power button: it leaves the cluster cleanly, then it is off."""
    lab = layout.load(name)
    cluster.check_node(lab, node)
    ask(lab, "power-off", node=node)
    typer.echo(f"{node}: off")


@app.command()
@_refusals
def partition(nodes: Annotated[list[str], typer.Argument(help="The nodes to cut off.")], name: Name = "lab") -> None:
    """Cut nodes, together, from the rest; a ping node stays with the rest."""
    lab = layout.load(name)
    ask(lab, "partition", nodes=nodes)
    rest = [node for node, state in _power(lab).items() if state["part"] == 0]
    typer.echo(f"{', '.join(nodes)} cut off from {', '.join(rest) or 'the ping node'}")


@app.command()
@_refusals
def heal(name: Name = "lab") -> None:
    """Join all parts of the network again, and end packet loss."""
    ask(layout.load(name), "heal")
    typer.echo("the network is whole")


@app.command()
@_refusals
def loss(percent: Annotated[int, typer.Argument(help="0 ends it.")], name: Name = "lab") -> None:
    """Lose packets at random between the nodes."""
    ask(layout.load(name), "loss", percent=percent)
    typer.echo(f"{percent}% of the packets are lost")


@app.command()
@_refusals
def pause(node: NodeArgument, name: Name = "lab") -> None:
    """Stop every process of a node in its tracks: the false death."""
    lab = layout.load(name)
    cluster.check_node(lab, node)
    typer.echo(f"{node}: {ask(lab, 'pause', node=node)['stopped']} processes stopped")


@app.command()
@_refusals
def resume(node: NodeArgument, name: Name = "lab") -> None:
    """Let a paused node go on."""
    lab = layout.load(name)
    cluster.check_node(lab, node)
    typer.echo(f"{node}: {ask(lab, 'resume', node=node)['resumed']} processes go on")


class ArbiterState(StrEnum):
    STOP = "stop"
    START = "start"


@app.command()
@_refusals
def arbiter(state: ArbiterState, name: Name = "lab") -> None:
    """Cut the power of the lab's network arbiter, or give it back."""
    ask(layout.load(name), f"arbiter-{state}")
    typer.echo(f"the arbiter is {'off' if state is ArbiterState.STOP else 'on'}")


@app.command()
@_refusals
def logs(
    node: NodeArgument,
    name: Name = "lab",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
) -> None:
    """What a node's daemons have printed."""
    lab = layout.load(name)
    cluster.check_node(lab, node)
    path = lab.log(node)
    if not path.exists():
        raise LabError(f"{node} has not printed anything yet")
    sys.stdout.flush()
    words = ["tail", "-n", "+1", *(["-f"] if follow else []), str(path)]
    os.execvp(words[0], words)


@app.command()
@_refusals
def demo(
    isolation: IsolationOption = IsolationChoice.AUTO,
    keep: Annotated[bool, typer.Option(help="Leave the lab up at the end.")] = False,
) -> None:
    """The tour: a service survives the death of its node."""
    from crm.lab.demo import tour

    raise typer.Exit(tour(isolation, keep=keep))


@app.command()
@_refusals
def down(name: Name = "lab", everything: Annotated[bool, typer.Option("--all", help="All labs.")] = False) -> None:
    """Power everything off and remove the lab."""
    for each in layout.names() if everything else [name]:
        cluster.down(each)
        typer.echo(f"lab {each!r} is gone")
