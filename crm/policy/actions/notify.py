"""Notifications of clones with `notify=true` (17).

Theory of operation. Around each task (start, stop, promote, demote) a clone has four pseudo-actions: pre, confirmed-pre, post and
confirmed-post. They are created with the clone's own actions, so that orderings can be attached to them. Just before the clone is
written to the graph it is known which instances do what: that becomes the `notify_*` values, and each live instance gets its
notify actions between the clone's pseudo-actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crm.policy.actions.model import COMPLETED, OPTIONAL, ORD, PSEUDO, RUNNABLE, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import INFINITY, Clone, Node, Primitive, Resource, Role


@dataclass(slots=True, eq=False)
class NotifySet:
    """The pseudo-actions around one task, of a clone (or, after fencing, of one instance)."""

    task: str
    pre: Action | None
    confirmed_pre: Action | None
    post: Action
    confirmed_post: Action
    values: dict[str, str] = field(default_factory=dict)
    busy: bool = False  # some instance does the task


def _pseudo(plan: Plan, rsc: Resource, kind: str, task: str, key_task: str, like: Action, runnable: bool) -> Action:
    key = f"{rsc.id}_{kind}_notify_{key_task}_0"
    action_task = "notified" if kind.startswith("confirmed") else "notify"
    action = plan.pseudo(rsc, action_task, optional=bool(like.flags & OPTIONAL), runnable=runnable, key=key)
    action.set_meta("notify_key_type", kind)
    action.set_meta("notify_key_operation", key_task)
    action.set_meta("notify_type", "pre" if kind.endswith("pre") else "post")
    action.set_meta("notify_operation", task)
    return action


def _post_pair(plan: Plan, rsc: Resource, task: str, done: Action) -> tuple[Action, Action]:
    runnable = bool(done.flags & RUNNABLE)
    post = _pseudo(plan, rsc, "post", task, done.task, done, runnable)
    confirmed = _pseudo(plan, rsc, "confirmed-post", task, done.task, done, runnable)
    post.priority = confirmed.priority = INFINITY
    plan.relate(done, post, THENREQ)
    plan.relate(post, confirmed, THENREQ)
    return post, confirmed


def create_around(plan: Plan, rsc: Clone, action: Action, done: Action) -> None:
    """17.1: the four pseudo-actions around a clone's action and its completion."""
    if (rsc, action.task) in plan.notify_sets:
        return
    task = action.task
    pre = _pseudo(plan, rsc, "pre", task, task, action, True)
    confirmed_pre = _pseudo(plan, rsc, "confirmed-pre", task, task, action, True)
    plan.relate(pre, confirmed_pre, ORD)
    plan.relate(confirmed_pre, action, ORD)
    post, confirmed_post = _post_pair(plan, rsc, task, done)
    plan.relate(confirmed_pre, post, ORD)
    plan.notify_sets[rsc, task] = NotifySet(task, pre, confirmed_pre, post, confirmed_post)


def order_tasks(plan: Plan, rsc: Clone) -> None:
    _between(plan, rsc, "stop", "start")


def order_promotion(plan: Plan, rsc: Clone) -> None:
    for before in ("stop", "start", "demote"):
        _between(plan, rsc, before, "promote")
    _between(plan, rsc, "demote", "start")
    _between(plan, rsc, "demote", "stop")


def _between(plan: Plan, rsc: Clone, before: str, after: str) -> None:
    first, then = plan.notify_sets[rsc, before], plan.notify_sets[rsc, after]
    assert then.pre is not None
    plan.relate(first.confirmed_post, then.pre, ORD)


# --- after fencing (17.4) ---------------------------------------------------------------------------------------------


def order_after_fencing(plan: Plan, leaf: Primitive, stop: Action, fence: Action) -> None:
    """An instance stopped by fencing: the others hear of it."""
    assert stop.node is not None
    post, confirmed = _post_pair(plan, leaf, "stop", fence)
    values = {"notify_stop_resource": leaf.id, "notify_stop_uname": stop.node.name}
    own = NotifySet("stop", None, None, post, confirmed, values)
    for other in leaf.top.leaves():
        _create_for_leaf(plan, other, own)


# --- data and notify actions (17.2, 17.3) -----------------------------------------------------------------------------

Entries = list[tuple[str, Node | None]]


def create_notifications(plan: Plan, rsc: Clone) -> None:
    """Stage 15: everything that depends on what the instances turned out to do."""
    if not rsc.notify:
        return
    for task in ("start", "stop", "promote", "demote"):
        group = plan.notify_sets.get((rsc, task))
        if group is None:
            continue
        values, acting = _collect(plan, rsc)
        group.values = values
        group.busy = bool(acting[task])
        if group.busy:
            for action in (group.pre, group.confirmed_pre, group.post, group.confirmed_post):
                if action is not None:
                    action.flags &= ~OPTIONAL
        for leaf in _leaves(plan, rsc):
            _create_for_leaf(plan, leaf, group)


def _leaves(plan: Plan, rsc: Resource) -> list[Primitive]:
    if isinstance(rsc, Primitive):
        return [rsc]
    return [leaf for child in plan.children[rsc.index] for leaf in _leaves(plan, child)]


def _collect(plan: Plan, rsc: Clone) -> tuple[dict[str, str], dict[str, Entries]]:
    states: dict[str, Entries] = {name: [] for name in ("inactive", "active", "unpromoted", "promoted")}
    acting: dict[str, Entries] = {name: [] for name in ("start", "stop", "promote", "demote")}
    for leaf in _leaves(plan, rsc):
        entry = (leaf.id, leaf.active_nodes[0] if leaf.active_nodes else None)
        role = plan.role[leaf.index]
        if role is Role.STOPPED:
            states["inactive"].append(entry)
        elif role >= Role.STARTED:
            states["active"].append(entry)
            if role is Role.UNPROMOTED:
                states["unpromoted"].append(entry)
            elif role is Role.PROMOTED:
                states["promoted"].append(entry)
        for action in plan.by_rsc[leaf.index]:
            if action.task not in acting or action.flags & OPTIONAL or action.node is None:
                continue
            if action.flags & RUNNABLE or (action.task == "stop" and plan.unclean[action.node.index]):
                acting[action.task].append((leaf.id, action.node))
    values: dict[str, str] = {}
    for name in ("stop", "start", "demote", "promote"):
        values[f"notify_{name}_resource"], values[f"notify_{name}_uname"] = _texts(acting[name])
    for name, source in (
        ("active", "active"),
        ("unpromoted", "unpromoted"),
        ("slave", "unpromoted"),
        ("promoted", "promoted"),
        ("master", "promoted"),
    ):
        values[f"notify_{name}_resource"], values[f"notify_{name}_uname"] = _texts(states[source])
    values["notify_inactive_resource"] = _texts(states["inactive"])[0]
    allowed = [node.name for node in plan.state.nodes if node in plan.tables[rsc.index]]
    values["notify_available_uname"] = " ".join(allowed) or " "
    values["notify_all_uname"] = " ".join(node.name for node in plan.state.nodes) or " "
    if (rsc.meta.get("container-attribute-target") or "").lower() == "host":
        hosts = [(plan.host_of(node) or node) if node.is_guest else node for node in plan.state.nodes]
        values["notify_all_hosts"] = " ".join(host.name for host in hosts) or " "
    return values, acting


def _texts(entries: Entries) -> tuple[str, str]:
    """Resource ids and node names of a list, by id, then node id; repeated ids are dropped."""
    ids: list[str] = []
    names: list[str] = []
    for rsc_id, node in sorted(entries, key=lambda entry: (entry[0], entry[1].id if entry[1] is not None else "")):
        if ids and ids[-1] == rsc_id:
            continue
        ids.append(rsc_id)
        if node is not None:
            names.append(node.name)
    return " ".join(ids) or " ", " ".join(names) or " "


def _create_for_leaf(plan: Plan, leaf: Primitive, group: NotifySet) -> None:
    """17.3 for one instance and one task."""
    for action in plan.by_rsc[leaf.index]:
        if (
            action.task in COMPLETED
            and action.task != "notify"
            and not action.flags & OPTIONAL
            and action.node is not None
        ):
            action.add_meta(group.values)
    task = group.task
    if task != "stop" and not group.busy:
        return
    if task in ("stop", "demote"):
        if plan.role[leaf.index] is not Role.STOPPED:
            _notify_where_active(plan, leaf, group)
    elif plan.next_role[leaf.index] is not Role.STOPPED:
        _notify_where_assigned(plan, leaf, group)


def _notify_where_active(plan: Plan, leaf: Primitive, group: NotifySet) -> None:
    stop = plan.newest(leaf, "stop")
    for node in leaf.active_nodes:
        if stop is not None and stop.flags & PSEUDO and (plan.unclean[node.index] or plan.reset[node.index]):
            continue
        _notify(plan, leaf, node, group, before=True)
        if group.task == "demote" or stop is None or stop.flags & OPTIONAL:
            _notify(plan, leaf, node, group, before=False)


def _notify_where_assigned(plan: Plan, leaf: Primitive, group: NotifySet) -> None:
    start = plan.newest(leaf, "start")
    node = plan.node[leaf.index]
    if start is not None and start.node is not None and start.node.is_remote and start.node.connection is not None:
        connection_start = plan.newest(start.node.connection, "start")
        if connection_start is not None and not connection_start.flags & RUNNABLE:
            return
    if node is None:
        return
    if group.task == "promote" or start is None or start.flags & OPTIONAL:
        _notify(plan, leaf, node, group, before=True)
    _notify(plan, leaf, node, group, before=False)


def _notify(plan: Plan, leaf: Primitive, node: Node, group: NotifySet, before: bool) -> None:
    around, done = (group.pre, group.confirmed_pre) if before else (group.post, group.confirmed_post)
    if around is not None and done is not None and around.flags & RUNNABLE and plan.online[node.index]:
        key = f"{leaf.id}_{'pre' if before else 'post'}_notify_{group.task}_0"
        action = plan.request(leaf, "notify", node, bool(around.flags & OPTIONAL), key=key)
        known = action.all_meta()
        new = {name: value for name, value in around.all_meta().items() if name not in known}
        action.add_meta({**new, **group.values})
        plan.relate(around, action, ORD)
        plan.relate(action, done, ORD)
        if not before:
            action.priority = INFINITY
    if not before and done is not None:
        for action in plan.by_rsc[leaf.index]:
            if action.task != "cancel" and action.get_meta("interval") not in (None, "0"):
                plan.relate(done, action, ORD)
