"""`crm resource`: start, stop, move and look after resources."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from crm.shell import editing, tracing, verbs
from crm.shell.attributes import change, run_attribute
from crm.shell.configuration import Configuration, ConfigurationError
from crm.shell.level import make_level
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of, wait_idle
from crm.shell.status.model import ResourceStatus, State

if TYPE_CHECKING:
    from crm.policy.model import ClusterState

app = make_level("resource", "Start, stop, move and look after resources.")

Resource = Annotated[str, typer.Argument(help="The id of a resource.")]
Resources = Annotated[list[str], typer.Argument(metavar="RESOURCE...", help="Ids of resources.")]
Node = Annotated[str, typer.Argument(help="The name of a node.")]
SomeNode = Annotated[str | None, typer.Argument(metavar="[NODE]", help="The name of a node.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when the cluster has carried it out.")]
Alone = Annotated[
    str | None, typer.Argument(metavar="[force]", help="This member only, not all of its group or clone.")
]
TracedOperation = Annotated[
    str | None,
    typer.Argument(metavar="[OP]", help="start, monitor, probe...; all that the resource has, unless named."),
]
TracedInterval = Annotated[str | None, typer.Argument(metavar="[INTERVAL]", help="Of a monitor: all, unless named.")]
STOP_LIMIT_S: Final = 300.0
"""How long `restart` waits for the resource to stop."""


# --- running ----------------------------------------------------------------------------------------------------------


def _set_roles(context: typer.Context, resources: list[str], role: str, verb: str, wait: bool) -> None:
    shell = shell_of(context)

    def action(configuration: Configuration) -> list[str]:
        return [f"{verb} {name}: {verbs.set_target_role(configuration, name, role)}" for name in resources]

    for line in change(shell, action, wait=wait):
        shell.say(line)


@app.command()
def start(context: typer.Context, resources: Resources, wait: Wait = False) -> None:
    """Let resources run."""
    _set_roles(context, resources, "Started", "start", wait)


@app.command()
def stop(context: typer.Context, resources: Resources, wait: Wait = False) -> None:
    """Stop resources, and keep them stopped."""
    _set_roles(context, resources, "Stopped", "stop", wait)


@app.command()
def promote(context: typer.Context, resource: Resource, wait: Wait = False) -> None:
    """Let a promotable clone be promoted."""
    _set_roles(context, [resource], "Promoted", "promote", wait)


@app.command()
def demote(context: typer.Context, resource: Resource, wait: Wait = False) -> None:
    """Demote a promotable clone, and keep it demoted."""
    _set_roles(context, [resource], "Unpromoted", "demote", wait)


@app.command()
def restart(context: typer.Context, resources: Resources) -> None:
    """Stop resources, wait until they are stopped, and start them again."""
    from crm.tools.resources.work import ended_as_interrupted

    shell = shell_of(context)
    session = shell.live
    for name in resources:
        if not _running(_find(shell, name)):
            raise ShellError(f"{name} is not running; crm resource start {name} starts it")
        with ended_as_interrupted(), _stopped(shell, name):
            deadline = time.monotonic() + STOP_LIMIT_S
            wait_idle(session)
            while _running(_find(shell, name)):
                if time.monotonic() > deadline:
                    raise ShellError(f"{name} has not stopped within {STOP_LIMIT_S:.0f} s; crm status says why")
                time.sleep(0.1)
                wait_idle(session)
        wait_idle(session)
        shell.say(f"restarted {name} on {', '.join(_places(_find(shell, name))) or 'no node: crm why ' + name}")


@contextmanager
def _stopped(shell: Shell, name: str) -> Iterator[None]:
    """The resource is to be stopped inside; its target role is as before afterwards, also when that is interrupted."""
    from crm.tools.resources.work import uninterrupted

    before: list[str | None] = []

    def stop_it(configuration: Configuration) -> None:
        element = verbs.resource_of(configuration, name)
        before[:] = [verbs.get_attribute(element, "meta", "target-role")]
        verbs.set_attribute(configuration, element, "meta", "target-role", "Stopped")

    def restore(configuration: Configuration) -> None:
        element = verbs.resource_of(configuration, name)
        if before and before[0] is not None:
            verbs.set_attribute(configuration, element, "meta", "target-role", before[0])
        else:
            verbs.unset_attribute(element, "meta", "target-role")

    held = False
    try:
        with uninterrupted():
            change(shell, stop_it)
            held = True
        yield
    finally:
        with uninterrupted():
            if held:
                change(shell, restore)


@app.command()
def manage(context: typer.Context, resources: Resources) -> None:
    """Let the cluster start, stop and recover resources again."""
    _set_meta(context, resources, "is-managed", "true", "managed")


@app.command()
def unmanage(context: typer.Context, resources: Resources) -> None:
    """Leave resources as they are: the cluster only watches them."""
    _set_meta(context, resources, "is-managed", "false", "unmanaged")


@app.command()
def maintenance(
    context: typer.Context,
    resource: Resource,
    switch: Annotated[str, typer.Argument(metavar="[on|off]", help="on, unless said otherwise.")] = "on",
) -> None:
    """Leave a resource alone altogether: no start, stop or monitor."""
    if switch not in ("on", "off"):
        raise ShellError(f"{switch!r} is not known; expected on or off")
    _set_meta(context, [resource], "maintenance", "true" if switch == "on" else "false", f"maintenance {switch}:")


def _set_meta(context: typer.Context, resources: list[str], name: str, value: str, words: str) -> None:
    shell = shell_of(context)

    def action(configuration: Configuration) -> None:
        for identity in resources:
            element = verbs.resource_of(configuration, identity)
            verbs.clear_below(element, "meta", name)
            verbs.set_attribute(configuration, element, "meta", name, value)

    change(shell, action)
    shell.say(f"{words} {', '.join(resources)}")


# --- places -----------------------------------------------------------------------------------------------------------


@app.command()
def move(
    context: typer.Context,
    resource: Resource,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE] [LIFETIME]", help="Where to, and for how long (5min, PT1H...)."),
    ] = None,
    promoted: Annotated[bool, typer.Option("--promoted", help="Move the promoted instance.")] = False,
    wait: Wait = False,
) -> None:
    """Move a resource to a node, or away from where it is; for a time, or until it is cleared."""
    shell = shell_of(context)
    node, until = _node_and_end(shell, words or [])
    role = "Promoted" if promoted else "Started"
    if node:
        change(
            shell, lambda configuration: verbs.prefer(configuration, resource, node, until=until, role=role), wait=wait
        )
        shell.say(f"{resource} is to run on {node} {_until(until, resource)}")
        return
    _ban_here(shell, resource, until, role, wait=wait)


@app.command()
def ban(
    context: typer.Context,
    resource: Resource,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE] [LIFETIME]", help="From where, and for how long (5min, PT1H...)."),
    ] = None,
    promoted: Annotated[bool, typer.Option("--promoted", help="Only the promoted role.")] = False,
    wait: Wait = False,
) -> None:
    """Keep a resource off a node (where it is now, unless named); for a time, or until it is cleared."""
    shell = shell_of(context)
    node, until = _node_and_end(shell, words or [])
    role = "Promoted" if promoted else "Started"
    if not node:
        _ban_here(shell, resource, until, role, wait=wait)
        return
    change(shell, lambda configuration: verbs.ban(configuration, resource, node, until=until, role=role), wait=wait)
    shell.say(f"{resource} must not run on {node} {_until(until, resource)}")


def _node_and_end(shell: Shell, words: list[str]) -> tuple[str, str]:
    """A node and the end of a lifetime from words of which the first may be either."""
    configuration = Configuration(shell.session.query_cib())
    names = [item.element.get("uname", "") for item in configuration.objects() if item.keyword == "node"]
    node = words[0] if words and words[0] in names else ""
    rest = " ".join(words[1:] if node else words)
    if not rest:
        return node, ""
    try:
        return node, verbs.end_of(rest, datetime.now(UTC))
    except ConfigurationError as error:
        if node:
            raise editing.shell_error(error) from None
        raise ShellError(
            f"{words[0]!r} is neither a node ({', '.join(names) or 'there are none'}) nor a lifetime such as 5min"
        ) from None


def _until(until: str, resource: str) -> str:
    return f"until {until}" if until else f"until: crm resource clear {resource}"


def _ban_here(shell: Shell, resource: str, until: str, role: str, *, wait: bool) -> None:
    places = _places(_find(shell, resource))
    if len(places) != 1:
        where = f"runs on {', '.join(places)}" if places else "does not run"
        raise ShellError(f"{resource} {where}; name the node that it must leave")
    change(
        shell, lambda configuration: verbs.ban(configuration, resource, places[0], until=until, role=role), wait=wait
    )
    shell.say(f"{resource} must not run on {places[0]}, where it was, {_until(until, resource)}")


@app.command()
def clear(
    context: typer.Context,
    resource: Resource,
    node: SomeNode = None,
    wait: Wait = False,
) -> None:
    """Forget the moves and bans of a resource."""
    shell = shell_of(context)

    def action(configuration: Configuration) -> list[str]:
        return verbs.clear(configuration, resource, node or "")

    gone = change(shell, action, wait=wait)
    if not gone:
        shell.say(f"there are no moves or bans of {resource}{' for ' + node if node else ''}")
        return
    shell.say(f"cleared {', '.join(gone)}")


for _old in ("unmove", "unmigrate", "unban"):
    app.command(_old, hidden=True)(clear)
app.command("migrate", hidden=True)(move)


@app.command()
def locate(context: typer.Context, resource: Resource) -> None:
    """Print where a resource runs; exit code 1 when it does not."""
    shell = shell_of(context)
    found = _find(shell, resource)
    if not _running(found):
        shell.say(f"{resource} does not run")
        raise typer.Exit(1)
    for read in _leaves(found):
        for node in read.nodes:
            suffix = f" ({read.state.value})" if read.state in (State.PROMOTED, State.FAILED) else ""
            shell.say(f"{read.id if read.kind == 'primitive' else resource}: {node}{suffix}")


# --- looking ----------------------------------------------------------------------------------------------------------


@app.command()
def status(
    context: typer.Context, resources: Annotated[list[str] | None, typer.Argument(metavar="[RESOURCE]...")] = None
) -> None:
    """Show all resources, or some, as crm status does."""
    from dataclasses import replace

    from crm.shell.status import show
    from crm.shell.status.render import render_resources

    shell = shell_of(context)
    current = show.get(shell.session)
    if resources:
        current = replace(current, resources=tuple(_in(current.resources, name) for name in resources))
    console = show.make_console()
    for line in render_resources(current, show.style_for(console)):
        console.print(line)


@app.command("list")
def list_resources(context: typer.Context) -> None:
    """Print the ids of all resources."""
    shell = shell_of(context)
    for item in Configuration(shell.session.query_cib()).objects():
        if item.keyword in ("primitive", "group", "clone", "ms", "bundle"):
            shell.say(f"{item.keyword:10} {item.identity}")


@app.command()
def scores(context: typer.Context) -> None:
    """Print every score of every resource on every node."""
    from crm.policy.schedule import schedule

    shell = shell_of(context)
    transition = schedule(shell.session.query_cib(), int(time.time()), show_scores=True)
    for line in transition.assignment.score_lines:
        shell.say(line)


@app.command()
def operations(
    context: typer.Context,
    resource: Annotated[str | None, typer.Argument(metavar="[RESOURCE]", help="All, unless named.")] = None,
    node: SomeNode = None,
) -> None:
    """Print every operation that is known of resources, on each node."""
    from crm.tools.resources.listing import operation_lines

    shell = shell_of(context)
    state = _state(shell)
    if resource is not None:
        _known(state, resource)
    if node is not None and not any(node in (each.name, each.id) for each in state.nodes):
        raise ShellError(f"there is no node {node!r}; there are {', '.join(each.name for each in state.nodes)}")
    lines = list(operation_lines(state, resource or "", node or ""))
    shell.say("\n".join(lines) or "no operation is known")


@app.command()
def constraints(
    context: typer.Context,
    resource: Resource,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also those of the resources that it is colocated with.")
    ] = False,
) -> None:
    """Show the constraints that decide where a resource runs: locations, and colocations in both directions."""
    from crm.tools.resources import relations

    shell = shell_of(context)
    state = _state(shell)
    _known(state, resource)
    shell.say("\n".join(relations.lines(state, resource, deep=deep)) or f"there are no constraints of {resource}")


def _state(shell: Shell) -> ClusterState:
    from crm.policy.state import effective_now, unpack

    document = shell.session.query_cib()
    return unpack(document, effective_now(document, None, int(time.time()))[0])


def _known(state: ClusterState, resource: str) -> None:
    from crm.tools.command import Failure
    from crm.tools.resources.listing import find

    try:
        find(state, resource)
    except Failure:
        known = sorted(rsc.id for rsc in state.all_resources)
        raise ShellError(f"there is no resource {resource!r}; there are {', '.join(known[:20]) or 'none'}") from None


def _find(shell: Shell, resource: str) -> ResourceStatus:
    from crm.shell.status import show

    return _in(show.get(shell.session).resources, resource)


def _in(resources: tuple[ResourceStatus, ...], name: str) -> ResourceStatus:
    found = next((item for item in _all(resources) if item.id == name), None)
    if found is None:
        known = sorted({item.id for item in _all(resources)})
        raise ShellError(f"there is no resource {name!r}; there are {', '.join(known[:20]) or 'none'}")
    return found


def _all(resources: tuple[ResourceStatus, ...]) -> Iterator[ResourceStatus]:
    for item in resources:
        yield item
        yield from _all(item.children)


def _leaves(found: ResourceStatus) -> list[ResourceStatus]:
    return [found] if not found.children else [leaf for child in found.children for leaf in _leaves(child)]


def _running(found: ResourceStatus) -> bool:
    return any(leaf.nodes and leaf.state is not State.STOPPED for leaf in _leaves(found))


def still_running(shell: Shell, names: list[str]) -> dict[str, list[str]]:
    """Those of these ids that are resources and run somewhere, with the nodes."""
    from crm.shell.status import show

    found: dict[str, list[str]] = {}
    for item in _all(show.get(shell.session).resources):
        if item.id in names and _running(item):
            found[item.id] = _places(item)
    return found


def _places(found: ResourceStatus) -> list[str]:
    return sorted({node for leaf in _leaves(found) if leaf.state is not State.STOPPED for node in leaf.nodes})


# --- failures ---------------------------------------------------------------------------------------------------------


@app.command()
def cleanup(
    context: typer.Context,
    resource: Annotated[str | None, typer.Argument(metavar="[RESOURCE]", help="All, unless named.")] = None,
    node: SomeNode = None,
    force: Alone = None,
    wait: Wait = False,
) -> None:
    """Forget failures, so that what failed is tried again."""
    _clear_history(context, "resource.cleanup", "failures", resource, node, wait, alone=_is_forced(force))


@app.command()
def refresh(
    context: typer.Context,
    resource: Annotated[str | None, typer.Argument(metavar="[RESOURCE]", help="All, unless named.")] = None,
    node: SomeNode = None,
    force: Alone = None,
    wait: Wait = False,
) -> None:
    """Forget everything that is known of resources, and look at what runs again."""
    _clear_history(context, "resource.refresh", "history", resource, node, wait, alone=_is_forced(force))


def _is_forced(word: str | None) -> bool:
    if word not in (None, "force"):
        raise ShellError(f"{word!r} is not known; expected [RESOURCE] [NODE] [force]")
    return word is not None


def _clear_history(
    context: typer.Context,
    method: str,
    what: str,
    resource: str | None,
    node: str | None,
    wait: bool,
    *,
    alone: bool = False,
) -> None:
    shell = shell_of(context)
    configuration = Configuration(shell.live.query_cib())
    try:
        if node is not None:
            verbs.node_of(configuration, node)
        known = resource is None or any(
            item.get("id", "").split(":")[0] == resource for item in configuration.root.iter("lrm_resource")
        )
        if resource is not None and not known:
            verbs.resource_of(configuration, resource)
    except ConfigurationError as error:
        raise editing.shell_error(error) from None
    answer = shell.live.call(method, resource=resource, node=node, alone=alone or None)
    number = int(answer.get("cleared", 0))
    where = f" on {node}" if node else ""
    shell.say(
        f"cleared the {what} of {resource or 'all resources'}{where}: {number} record{'' if number == 1 else 's'}"
    )
    if wait or shell.wait:
        wait_idle(shell.session)


@app.command()
def failcount(
    context: typer.Context,
    resource: Resource,
    action: Annotated[str, typer.Argument(metavar="[show|delete]")] = "show",
    node: SomeNode = None,
) -> None:
    """Show how often a resource has failed on each node, or forget it."""
    shell = shell_of(context)
    if action == "delete":
        _clear_history(context, "resource.cleanup", "failures", resource, node, wait=False)
        return
    if action != "show":
        raise ShellError(f"{action!r} is not known; expected show or delete")
    from crm.shell.status import show

    current = show.get(shell.session)
    _in(current.resources, resource)
    counts = {count.node: count.count for count in current.fail_counts if count.resource == resource}
    for each in current.nodes:
        if node in (None, each.name):
            shell.say(f"{resource} on {each.name}: {counts.get(each.name, '0')}")


@app.command()
def fail(context: typer.Context, resource: Resource, node: SomeNode = None) -> None:
    """Declare a resource failed: the cluster recovers it as if a monitor had found that."""
    shell = shell_of(context)
    answer = shell.live.call("resource.fail", resource=resource, node=node)
    shell.say(f"{resource} on {answer['node']} counts as failed; the cluster recovers it")
    shell.settle()


@app.command()
def trace(
    context: typer.Context,
    resource: Resource,
    operation: TracedOperation = None,
    interval: TracedInterval = None,
    log_dir: Annotated[str, typer.Option("--dir", help="Where the traces go; RUN_DIR/trace_ra, unless given.")] = "",
) -> None:
    """Have the agent write what it does, line by line, to a file for each run. Nothing is restarted."""
    shell = shell_of(context)
    done = change(shell, lambda configuration: tracing.trace(configuration, resource, operation, interval, log_dir))
    shell.say(f"{resource} is traced: {', '.join(done)}; the files are in {log_dir or 'RUN_DIR/trace_ra'} of each node")


@app.command()
def untrace(
    context: typer.Context, resource: Resource, operation: TracedOperation = None, interval: TracedInterval = None
) -> None:
    """End the tracing of a resource."""
    shell = shell_of(context)
    done = change(shell, lambda configuration: tracing.untrace(configuration, resource, operation, interval))
    shell.say(f"{resource} is not traced any more: {', '.join(done)}" if done else f"{resource} is not traced")


# --- attributes -------------------------------------------------------------------------------------------------------


def _attribute_command(kind: str, what: str) -> Callable[..., None]:
    def command(
        context: typer.Context,
        resource: Resource,
        action: Annotated[str, typer.Argument(metavar="set|show|delete")],
        name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
        value: Annotated[str | None, typer.Argument(metavar="[VALUE]")] = None,
    ) -> None:
        shell = shell_of(context)
        run_attribute(
            shell, lambda configuration: verbs.resource_of(configuration, resource), resource, kind, action, name, value
        )

    command.__doc__ = f"Set, show or delete {what} of a resource."
    return command


app.command("param")(_attribute_command("param", "parameters"))
app.command("meta")(_attribute_command("meta", "meta-attributes"))
app.command("utilization")(_attribute_command("utilization", "what is needed"))
