"""`crm node`: put nodes on standby, into maintenance, off; look after their attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError
from crm.cib import xml
from crm.shell import editing, verbs
from crm.shell.attributes import run_attribute
from crm.shell.configuration import Configuration, ConfigurationError
from crm.shell.level import make_level
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of, wait_idle

app = make_level("node", "Nodes: standby, maintenance, fencing, attributes.")

SomeNode = Annotated[str | None, typer.Argument(metavar="[NODE]", help="The name of a node; this one, unless named.")]
Node = Annotated[str, typer.Argument(help="The name of a node.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when the cluster has carried it out.")]
Force = Annotated[bool, typer.Option("--force", "-F", help="Do not ask.")]
Lifetime = Annotated[str, typer.Argument(metavar="[forever|reboot]", help="Whether a restart of the node ends it.")]
FENCE_TIMEOUT_S: Final = 310.0


def _name(shell: Shell, node: str | None) -> str:
    """The node meant; this one unless named. ShellError when there is none of that name."""
    if node is None:
        return str(shell.live.call("status")["node"])
    try:
        return verbs.node_of(Configuration(shell.session.query_cib()), node).get("uname", node)
    except ConfigurationError as error:
        raise editing.shell_error(error) from None


def _set(shell: Shell, node: str, name: str, value: str | None, lifetime: str = "forever") -> None:
    """A node attribute: permanent ones in the configuration, the others in the running cluster."""
    if lifetime not in ("forever", "reboot"):
        raise ShellError(f"{lifetime!r} is no lifetime of an attribute; expected forever or reboot")
    if shell.preview:
        shell.show_preview(as_if_set(shell, node, name, value))
    if lifetime == "reboot":
        shell.live.call("attribute.update", node=node, name=name, value=value, lifetime="reboot")
        return

    def action(configuration: Configuration) -> None:
        element = verbs.node_of(configuration, node)
        if value is None:
            verbs.unset_attribute(element, "param", name)
        else:
            verbs.set_attribute(configuration, element, "param", name, value)

    editing.change(shell, action)


def unset_everywhere(shell: Shell, node: str, name: str) -> None:
    """Whatever its lifetime is."""
    _set(shell, node, name, None)
    if shell.session.live:
        _set(shell, node, name, None, "reboot")


def as_if_set(shell: Shell, node: str, name: str, value: str | None) -> etree._Element:
    """The CIB with this value only, wherever there was one."""
    configuration = Configuration(shell.session.query_cib())
    element = verbs.node_of(configuration, node)
    verbs.unset_attribute(element, "param", name)
    for state in configuration.root.iterfind("status/node_state/transient_attributes"):
        owner = state.getparent()
        if owner is not None and owner.get("uname") == node:
            verbs.unset_attribute(state, "param", name)
    if value is not None:
        verbs.set_attribute(configuration, element, "param", name, value)
    return configuration.root


def _settle(shell: Shell, wait: bool) -> None:
    if wait and shell.session.live:
        wait_idle(shell.session)


@app.command()
def standby(context: typer.Context, node: SomeNode = None, lifetime: Lifetime = "forever", wait: Wait = False) -> None:
    """Move everything off a node, and let nothing run there."""
    shell = shell_of(context)
    if node in ("forever", "reboot"):
        node, lifetime = None, node or lifetime
    name = _name(shell, node)
    _set(shell, name, "standby", "on", lifetime)
    _settle(shell, wait)
    shell.say(f"{name} is on standby{' until it restarts' if lifetime == 'reboot' else ''}")


@app.command()
def online(context: typer.Context, node: SomeNode = None, wait: Wait = False) -> None:
    """End a node's standby."""
    shell = shell_of(context)
    name = _name(shell, node)
    unset_everywhere(shell, name, "standby")
    _settle(shell, wait)
    shell.say(f"{name} may run resources")


@app.command()
def maintenance(context: typer.Context, node: SomeNode = None, lifetime: Lifetime = "forever") -> None:
    """Leave everything on a node as it is: no start, stop or monitor."""
    shell = shell_of(context)
    name = _name(shell, node)
    _set(shell, name, "maintenance", "true", lifetime)
    shell.say(f"{name} is in maintenance")


@app.command()
def ready(context: typer.Context, node: SomeNode = None, wait: Wait = False) -> None:
    """End a node's maintenance."""
    shell = shell_of(context)
    name = _name(shell, node)
    unset_everywhere(shell, name, "maintenance")
    _settle(shell, wait)
    shell.say(f"{name} is managed by the cluster again")


@app.command()
def fence(
    context: typer.Context,
    node: Node,
    action: Annotated[str, typer.Argument(metavar="[reboot|off|on]")] = "reboot",
    force: Force = False,
) -> None:
    """Switch a node off (or reboot it) by its fencing device, and wait for the confirmation."""
    shell = shell_of(context)
    if action not in ("reboot", "off", "on"):
        raise ShellError(f"{action!r} is no fencing action; expected reboot, off or on")
    name = _name(shell, node)
    session = shell.live
    if not shell.sure(f"Fence {name} ({action})? What runs there dies.", force):
        return
    session.call_patiently("node.fence", node=name, action=action)
    shell.say(f"{name}: {action} confirmed")


@app.command()
def clearstate(
    context: typer.Context,
    node: Node,
    force: Force = False,
) -> None:
    """Say that a lost node is off: you have seen to it yourself. What it ran is started elsewhere."""
    shell = shell_of(context)
    name = _name(shell, node)
    session = shell.live
    if not shell.sure(f"Is {name} certainly off? If it is not, data will be damaged.", force):
        return
    session.call("node.confirm_fenced", node=name)
    shell.say(f"{name} is taken to be off")


app.command("confirm-fenced", hidden=True)(clearstate)


@app.command("list")
def list_nodes(context: typer.Context) -> None:
    """Print the nodes and how they are."""
    from crm.shell.status import show

    shell = shell_of(context)
    for node in show.get(shell.session).nodes:
        words = [node.state, *(["DC"] if node.dc else []), *node.notes]
        shell.say(f"{node.name}: {', '.join(words)}")


@app.command()
def show(context: typer.Context, node: Annotated[str | None, typer.Argument(metavar="[NODE]")] = None) -> None:
    """Show nodes with their attributes."""
    from crm.shell.status import show as status

    shell = shell_of(context)
    current = status.get(shell.session)
    cib = shell.session.query_cib()
    names = [each.name for each in current.nodes]
    if node is not None and node not in names:
        raise ShellError(f"there is no node {node!r}; there are {', '.join(names) or 'none'}")
    for each in current.nodes:
        if node not in (None, each.name):
            continue
        shell.say(f"{each.name} (id {each.id}): {', '.join([each.state, *(['DC'] if each.dc else []), *each.notes])}")
        for title, path in (
            ("", f"nodes/node[@uname='{each.name}']/instance_attributes/nvpair"),
            (
                " (until it restarts)",
                f"../status/node_state[@uname='{each.name}']/transient_attributes/instance_attributes/nvpair",
            ),
            (" (capacity)", f"nodes/node[@uname='{each.name}']/utilization/nvpair"),
        ):
            configuration = xml.section(cib, xml.CONFIGURATION)
            root = configuration if not path.startswith("../") else cib
            for pair in () if root is None else root.iterfind(path.removeprefix("../")):
                shell.say(f"  {pair.get('name')}={pair.get('value')}{title}")


def _attribute_command(kind: str, what: str) -> Callable[..., None]:
    def command(
        context: typer.Context,
        node: Node,
        action: Annotated[str, typer.Argument(metavar="set|show|delete")],
        name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
        value: Annotated[str | None, typer.Argument(metavar="[VALUE]")] = None,
    ) -> None:
        run_attribute(
            shell_of(context), lambda configuration: verbs.node_of(configuration, node), node, kind, action, name, value
        )

    command.__doc__ = f"Set, show or delete {what} of a node."
    return command


app.command("attribute")(_attribute_command("param", "permanent attributes"))
app.command("utilization")(_attribute_command("utilization", "the capacity"))


@app.command("status-attr")
def status_attribute(
    context: typer.Context,
    node: Node,
    action: Annotated[str, typer.Argument(metavar="set|show|delete")],
    name: Annotated[str, typer.Argument(metavar="NAME")],
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]")] = None,
) -> None:
    """Set, show or delete an attribute that a restart of the node ends."""
    shell = shell_of(context)
    session = shell.live
    if action == "show":
        found = session.call("attribute.query", node=node, name=name, lifetime="reboot")["values"].get(node, {})
        if name not in found:
            raise ShellError(f"{node} has no {name!r}")
        shell.say(str(found[name]))
    elif action == "set" and value is not None:
        _set(shell, _name(shell, node), name, value, "reboot")
        shell.say(f"{node}: {name}={value}")
    elif action == "delete":
        _set(shell, _name(shell, node), name, None, "reboot")
        shell.say(f"{node}: {name} deleted")
    else:
        raise ShellError("expected set NAME VALUE, show NAME or delete NAME")


@app.command()
def delete(
    context: typer.Context,
    node: Node,
    force: Force = False,
) -> None:
    """Remove a node that is gone for good: its attributes, its history, and the constraints that name it."""
    shell = shell_of(context)
    name = _name(shell, node)
    _refuse_if_there(shell, name)
    if not shell.sure(f"Remove the node {name} from the configuration?", force):
        return

    def action(configuration: Configuration) -> list[str]:
        element = verbs.node_of(configuration, name)
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)
        gone = [
            constraint.get("id", "")
            for constraint in xml.elements(xml.section(configuration.root, "constraints"), "rsc_location")
            if constraint.get("node") == name
        ]
        for identity in gone:
            verbs.remove_constraint(configuration, identity)
        return gone

    gone = editing.change(shell, action)
    try:
        shell.session.apply("delete", xpath=f"//status/node_state[@uname='{name}']")
    except ApiError as error:
        # A node that never came has no history.
        if error.code != errors.NOT_FOUND:
            raise
    shell.say(f"removed the node {name}{'; with it went ' + ', '.join(gone) if gone else ''}")


def _refuse_if_there(shell: Shell, name: str) -> None:
    if not shell.session.live:
        return
    nodes: list[dict[str, Any]] = shell.session.call("status").get("nodes", [])
    if any(each.get("name") == name and each.get("member") for each in nodes):
        raise ShellError(f"{name} is in the cluster; stop it first: crm cluster stop, on {name}")
    if any(each.get("name") == name and each.get("state") == "unclean" for each in nodes):
        # Without its state nothing would stop what it may still be running from being started elsewhere.
        raise ShellError(
            f"{name} is lost and not known to be off; fence it (crm node fence {name} off), or, when you have switched it off yourself: "
            f"crm node clearstate {name}"
        )
