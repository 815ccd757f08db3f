"""`crm cib`: shadows (copies of the CIB to try things on), earlier versions of the configuration, and the way back to one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from lxml import etree

from crm.api import shadows
from crm.api.shadows import LIVE
from crm.cib import xml
from crm.shell import commit as committing
from crm.shell import preview, versions
from crm.shell.configuration import Configuration
from crm.shell.level import make_level
from crm.shell.session import FileSession, LiveSession, ShellError, shadow_path, shadow_session
from crm.shell.shell import Shell, shell_of

app = make_level("cib", "Copies of the CIB to try things on; earlier versions of it.")

SHOWN: Final = 20
"""Versions that `history` prints."""
MAX_NAMES: Final = 6

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a shadow.")]


@app.command()
def new(
    context: typer.Context,
    name: Name,
    empty: Annotated[bool, typer.Option("--empty", help="Begin with an empty configuration.")] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Although there is one of that name.")] = False,
) -> None:
    """Copy the CIB to a shadow, and use it."""
    shell = shell_of(context)
    path = shadow_path(name)
    if path.exists() and not (force or shell.force):
        raise ShellError(f"there is a shadow {name!r} already (--force overwrites it)")
    if empty:
        _write(path, xml.empty())
        _base(name).unlink(missing_ok=True)
    else:
        _begin(name, shell.session.query_cib())
    _use(shell, name)


def _begin(name: str, cib: etree._Element) -> None:
    _write(shadow_path(name), cib)
    _write(_base(name), cib)


def _base(name: str) -> Path:
    """What the shadow was made of; there is none when it was begun empty."""
    return Path(shadows.base_of(name))


def _write(path: Path, cib: etree._Element) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(xml.to_text(cib), encoding="utf-8")
    except OSError as error:
        raise ShellError(f"cannot write {path}: {error.strerror}") from None


@app.command()
def reset(context: typer.Context, name: Name) -> None:
    """Make a shadow a copy of the live CIB again."""
    shell = shell_of(context)
    shadow_session(name)
    with closing(LiveSession(shell.run_dir)) as live:
        _begin(name, live.query_cib())
    shell.say(f"the shadow {name} is what is live")


@app.command()
def use(context: typer.Context, name: Annotated[str, typer.Argument(help="A shadow, or live.")] = LIVE) -> None:
    """Work on a shadow from now on, or on the live CIB again (interactive)."""
    _use(shell_of(context), name)


def _use(shell: Shell, name: str) -> None:
    if name == LIVE:
        shell.use(LiveSession(shell.run_dir))
        shell.say("commands now work on the live CIB")
        return
    session = shadow_session(name)
    shell.use(session)
    if shell.interactive:
        shell.say(
            f"commands now work on the shadow {name}; 'cib use live' ends it, 'cib commit {name}' writes it to the cluster"
        )
    else:
        shell.say(f"the shadow {name} is {session.path}; work on it with: {shadows.ENV_SHADOW}={name} crm ...")


@app.command("list")
def list_shadows(context: typer.Context) -> None:
    """Print the shadows."""
    for name in shadows.names():
        shell_of(context).say(name)


@app.command()
def delete(context: typer.Context, name: Name) -> None:
    """Remove a shadow."""
    path = shadow_session(name).path
    shell = shell_of(context)
    if isinstance(shell.session, FileSession) and shell.session.path == path:
        raise ShellError(f"the shadow {name} is in use; 'cib use live' first")
    path.unlink()
    _base(name).unlink(missing_ok=True)
    shell.say(f"removed the shadow {name}")


@app.command()
def diff(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A] [B]",
            help="live, the number of a version, or a shadow. B is live, unless named. Neither: the last change.",
        ),
    ] = None,
) -> None:
    """Show what has changed from one configuration to another."""
    shell = shell_of(context)
    given = list(names or ())
    if len(given) > 2:
        raise ShellError(f"{' '.join(given)!r} is too much; expected [A] [B]")
    with closing(LiveSession(shell.run_dir)) as live:
        if not given:
            given = _last_change(shell, live)
        one, two = given if len(given) == 2 else _in_order(given[0])
        lines = versions.difference(versions.named(live, one), versions.named(live, two), (one, two))
    shell.say("\n".join(lines) if lines else "no difference")


def _in_order(name: str) -> tuple[str, str]:
    """An earlier version comes before the live one, a shadow after it."""
    return (name, LIVE) if name.isdigit() else (LIVE, name)


def _last_change(shell: Shell, live: LiveSession) -> list[str]:
    """The shadow in use and the live configuration; else the last two versions."""
    if isinstance(shell.session, FileSession):
        return [LIVE, shell.session.name]
    found = live.call("cib.history")["versions"]
    if len(found) < 2:
        raise ShellError("there is no earlier version of the configuration on this node")
    return [str(found[1]["serial"]), str(found[0]["serial"])]


@app.command()
def history(
    context: typer.Context,
    number: Annotated[int, typer.Option("-n", min=1, help="How many to print.")] = SHOWN,
) -> None:
    """Print the versions of the configuration that this node has on its disk: when, by whom, what changed."""
    shell = shell_of(context)
    with closing(LiveSession(shell.run_dir)) as live:
        answer = live.call("cib.history")
        found: list[dict[str, Any]] = answer["versions"]
        documents = [versions.named(live, str(each["serial"])) for each in found[: number + 1]]
    shell.say(f"on {answer['node']}, {len(found)} versions, the newest is the one in use:")
    for place, each in enumerate(found[:number]):
        document = documents[place]
        changed = versions.changed_objects(documents[place + 1], document) if place + 1 < len(documents) else ["..."]
        what = ", ".join(changed[:MAX_NAMES]) + (
            f" and {len(changed) - MAX_NAMES} more" if len(changed) > MAX_NAMES else ""
        )
        who = document.get("update-user") or document.get("update-client") or "the cluster"
        where = f" on {origin}" if (origin := document.get("update-origin")) else ""
        shell.say(
            f"  {each['serial']:>5}  {versions.when(each['written'])}  {each['version']:<10} {who}{where}: {what or 'no object'}"
        )


@app.command()
def rollback(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", help="The number of a version; crm cib history prints them.")],
    show_only: Annotated[
        bool,
        typer.Option("--preview", help="Change nothing: show what would be different, and what the cluster would do."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Do not ask.")] = False,
) -> None:
    """Go back to an earlier version of the configuration. Nodes that have come since stay."""
    shell = shell_of(context)
    with closing(LiveSession(shell.run_dir)) as live:
        current, earlier = live.query_cib(), versions.named(live, str(number))
        wanted = _rolled_back(current, earlier)
        lines = versions.difference(current, wanted, (LIVE, str(number)))
        if not lines:
            shell.say(f"the configuration is that of version {number}")
            return
        shell.say("\n".join(lines))
        for line in preview.report(wanted):
            shell.say(line)
        if show_only or shell.preview:
            return
        if not shell.sure(f"Go back to version {number}?", force):
            return
        committing.replace(live, current, wanted)
    shell.say(f"the configuration of version {number} is live")
    shell.settle()


def _rolled_back(current: etree._Element, earlier: etree._Element) -> etree._Element:
    """The earlier configuration with the nodes of today: nobody joins or leaves by it."""
    wanted = preview.with_configuration(current, earlier)
    old = {node.get("id"): node for node in xml.elements(xml.section(wanted, "nodes"), "node")}
    nodes = xml.ensure_section(wanted, "nodes")
    for node in list(nodes):
        nodes.remove(node)
    for node in xml.elements(xml.section(xml.parse(xml.to_bytes(current)), "nodes"), "node"):
        nodes.append(old.get(node.get("id"), node))
    return wanted


@app.command()
def commit(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A shadow; the one in use, unless named.")] = None,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Also over objects that were changed in the cluster meanwhile.")
    ] = False,
) -> None:
    """Make what was changed in a shadow live; what others have changed meanwhile stays."""
    shell = shell_of(context)
    if name is None:
        if not isinstance(shell.session, FileSession):
            raise ShellError("no shadow is in use; expected cib commit NAME")
        name = shell.session.name
    shadow = shadow_session(name).query_cib()
    with closing(LiveSession(shell.run_dir)) as live:
        current = live.query_cib()
        configuration = Configuration(FileSession(_base(name)).query_cib() if _base(name).is_file() else current)
        configuration.replace_with(shadow)
        try:
            if xml.configuration_digest(configuration.base) != xml.configuration_digest(current):
                configuration = committing.rebase(configuration, current, force=force or shell.force)
            if shell.preview:
                shell.show_preview(configuration.root)
            committing.commit(live, configuration, force=force or shell.force)
        except committing.ConflictError as conflict:
            raise ShellError(
                f"the cluster's configuration was changed since the shadow was made, the same objects as in it; crm cib commit --force {name} "
                f"overwrites them, crm cib reset {name} begins anew",
                conflict.items,
            ) from None
        if _base(name).is_file():
            _write(_base(name), shadow)
    shell.say(f"the configuration of the shadow {name} is live")
    shell.settle()


@app.command()
def version(context: typer.Context) -> None:
    """Print the version of the CIB: admin_epoch.epoch.num_updates."""
    shell = shell_of(context)
    shell.say(str(xml.version(shell.session.query_cib())))
