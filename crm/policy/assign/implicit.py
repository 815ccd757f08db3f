"""Constraints that the structure of resources implies (section 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crm.policy.assign.instances import instance_number
from crm.policy.constraints.model import Colocation
from crm.policy.model import INFINITY, Bundle, Cause, Clone, Group, Node, NodeKind, Primitive, Resource

if TYPE_CHECKING:
    from crm.policy.assign.run import Run

BUNDLE_CONNECTION_SCORE = 10_000  # the connection may be elsewhere when its container sits on a Remote node


def add_implicit_constraints(run: Run) -> None:
    """Add colocations, and set scores, for every top-level resource and what is below it."""
    homes = [node for node in run.nodes if node.connection is not None]
    for rsc in run.state.resources:
        _walk(run, rsc, homes)


def _walk(run: Run, rsc: Resource, homes: list[Node]) -> None:
    if isinstance(rsc, Primitive):
        _leaf(run, rsc, homes)
    elif isinstance(rsc, Group):
        _group(run, rsc, homes)
    elif isinstance(rsc, Clone):
        if rsc.ordered:
            run.children[rsc.index] = sorted(run.children[rsc.index], key=instance_number)
        for instance in run.children[rsc.index]:
            _walk(run, instance, homes)
    elif isinstance(rsc, Bundle):
        _bundle(run, rsc, homes)


def _group(run: Run, group: Group, homes: list[Node]) -> None:
    previous: Resource | None = None
    for member in group.children:
        _walk(run, member, homes)
        if previous is not None and group.colocated:
            _tie(run, f"#{group.id}-members", member, previous, INFINITY, member.critical)
        previous = member


def _bundle(run: Run, bundle: Bundle, homes: list[Node]) -> None:
    for replica in bundle.replicas:
        _leaf(run, replica.container, homes)
        if replica.ip is not None:
            _leaf(run, replica.ip, homes)
            _tie(run, "#ip-with-container", replica.ip, replica.container, INFINITY, True)
        if replica.connection is not None:
            _leaf(run, replica.connection, homes)
    if bundle.inner_clone is not None:
        _walk(run, bundle.inner_clone, homes)


def _tie(run: Run, name: str, dependent: Resource, primary: Resource, score: int, influence: bool) -> None:
    run.effective.add(Colocation(name, dependent, primary, score, influence=influence, explicit=False))


def _leaf(run: Run, rsc: Primitive, homes: list[Node]) -> None:
    if not run.managed[rsc.index]:
        return
    launcher = rsc.launcher
    if launcher is not None:
        _with_launcher(run, rsc, launcher, homes)
    if homes and (rsc.is_connection or rsc.standard.lower() == "stonith"):
        _bar(run, rsc, homes, Cause("remote", rsc.id, "cannot run on a Pacemaker Remote node"))


def _with_launcher(run: Run, rsc: Primitive, launcher: Resource, homes: list[Node]) -> None:
    node = rsc.remote_node
    if node is not None and node.kind is NodeKind.GUEST:
        _bar(run, launcher, homes, Cause("remote", launcher.id, "a guest cannot run on a Pacemaker Remote node"))
    pinned = None if rsc.is_connection else _connection_of(launcher)
    if pinned is not None:
        others = [other for other in run.tables[rsc.index] if other is not pinned.remote_node]
        _bar(run, rsc, others, Cause("container", launcher.id, f"runs only inside {pinned.id}"))
        return
    inside_bundle = node is not None and node.kind is NodeKind.BUNDLE
    score = BUNDLE_CONNECTION_SCORE if inside_bundle else INFINITY
    _tie(run, "#with-container", rsc, launcher, score, True)


def _connection_of(launcher: Resource) -> Primitive | None:
    """The Remote connection that a launcher is, or that it launches."""
    if not isinstance(launcher, Primitive):
        return None
    if launcher.is_connection:
        return launcher
    return next((r for r in launcher.launched if isinstance(r, Primitive) and r.is_connection), None)


def _bar(run: Run, rsc: Resource, nodes: Iterable[Node], cause: Cause) -> None:
    """Set existing entries to minus infinity."""
    before = run.before(rsc)
    table = run.tables[rsc.index]
    for node in nodes:
        if node in table:
            table[node] = -INFINITY
    run.explain(rsc, before, cause, replaces=True)
