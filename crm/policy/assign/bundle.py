"""Assigning a bundle: containers first, then what belongs to each, then the clone inside (section 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign import instances
from crm.policy.constraints.model import Colocation
from crm.policy.model import INFINITY, Bundle, Cause, Clone, Node, Primitive, Replica, Resource

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def assign_bundle(run: Run, rsc: Resource, prefer: Node | None, final: bool) -> Node | None:
    """Run through again when it was assigned before: its parts are settled then, but its scores are shown once more."""
    assert isinstance(rsc, Bundle)
    run.busy[rsc.index] = True
    run.show(rsc, "pcmk__bundle_assign")
    containers: list[Resource] = [replica.container for replica in rsc.replicas]
    ranked = instances.sort_instances(run, rsc, containers)
    instances.distribute(run, rsc, ranked, rsc.replicas_configured, rsc.replicas_per_host)
    inner = rsc.inner_clone
    for replica in rsc.replicas:
        _assign_replica(run, inner, replica, prefer, final)
    if inner is not None:
        run.changing(inner)
        table = run.tables[inner.index]
        own = {replica.node for replica in rsc.replicas}
        for node in table:
            table[node] = 0 if node in own else -INFINITY
        run.assign(inner, prefer, final)
    run.settled[rsc.index] = True
    run.busy[rsc.index] = False
    return None


def _assign_replica(run: Run, inner: Clone | None, replica: Replica, prefer: Node | None, final: bool) -> None:
    if replica.ip is not None:
        run.assign(replica.ip, prefer, final)
    if replica.connection is not None:
        host = run.node[replica.container.index]
        if host is not None and host.is_remote and isinstance(host.connection, Primitive):
            _follow_nested(run, replica.connection, host.connection)
        run.assign(replica.connection, prefer, final)
    if inner is not None and replica.inner is not None and replica.node is not None:
        _confine(run, replica.inner, replica.node)
        run.busy[inner.index] = True
        run.assign(replica.inner, replica.node, final)
        run.busy[inner.index] = False


def _follow_nested(run: Run, connection: Primitive, outer: Primitive) -> None:
    """The container is on a Remote node: the connection must be where that node's connection is (14.3)."""
    run.effective.add(
        Colocation(f"#{connection.id}-with-{outer.id}", connection, outer, INFINITY, influence=True, explicit=False)
    )
    run.effective.forget(connection.outermost)
    run.effective.forget(outer.outermost)


def _confine(run: Run, instance: Primitive, home: Node) -> None:
    """An instance inside runs on its own bundle node, or nowhere."""
    before = run.before(instance)
    run.changing(instance)
    table = run.tables[instance.index]
    for node in table:
        if node is not home:
            table[node] = -INFINITY
        elif home not in run.over_threshold.get(instance, ()):
            table[node] = INFINITY
    run.explain(instance, before, Cause("bundle", instance.outermost.id), replaces=True)
