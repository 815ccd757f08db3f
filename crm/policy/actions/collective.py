"""Actions of groups, clones and bundles (4, 8): those of their leaves, then their own pseudo-actions."""

from __future__ import annotations

from crm.policy.actions import notify
from crm.policy.actions.leaf import create_leaf_actions
from crm.policy.actions.model import ELEMENTARY, MIGRATABLE, OPTIONAL, PSEUDO, RUNNABLE
from crm.policy.actions.plan import Plan
from crm.policy.model import INFINITY, Bundle, Clone, Group, Primitive, Resource
from crm.policy.values import truthy


def create_actions(plan: Plan, rsc: Resource) -> None:
    if isinstance(rsc, Primitive):
        create_leaf_actions(plan, rsc)
    elif isinstance(rsc, Group):
        _group(plan, rsc)
    elif isinstance(rsc, Clone):
        _clone(plan, rsc)
    elif isinstance(rsc, Bundle):
        _bundle(plan, rsc)


def _group(plan: Plan, rsc: Group) -> None:
    for member in plan.children[rsc.index]:
        create_actions(plan, member)
    tasks = ["start", "running", "stop", "stopped"]
    if truthy(rsc.meta.get("promotable")):
        tasks += ["demote", "demoted", "promote", "promoted"]
    for task in tasks:
        plan.pseudo(rsc, task, optional=True)


def _clone(plan: Plan, rsc: Clone) -> None:
    instances = plan.children[rsc.index]
    for instance in instances:
        create_actions(plan, instance)
    _start_and_stop(plan, rsc, instances)
    if rsc.promotable:
        for instance in instances:
            create_actions(plan, instance)
        _promote_and_demote(plan, rsc, instances)
        for instance in instances:
            plan.priority[instance.index] = plan.priority[rsc.index]


def _bundle(plan: Plan, rsc: Bundle) -> None:
    for replica in rsc.replicas:
        for part in (replica.ip, replica.container, replica.connection):
            if part is not None:
                create_actions(plan, part)
    containers: list[Resource] = [replica.container for replica in rsc.replicas]
    for container in containers:
        create_actions(plan, container)
    _start_and_stop(plan, rsc, containers)
    if rsc.inner_clone is not None:
        create_actions(plan, rsc.inner_clone)
        if rsc.inner_clone.promotable:
            for task in ("promote", "promoted", "demote", "demoted"):
                action = plan.pseudo(rsc, task, optional=True)
                if task in ELEMENTARY:
                    action.priority = INFINITY


def _start_and_stop(plan: Plan, rsc: Resource, instances: list[Resource]) -> None:
    """8.1."""
    active = starting = stopping = restarting = False
    for instance in instances:
        for leaf in instance.leaves():
            if leaf.active_nodes:
                active = True
            starts = stops = False
            for action in plan.by_rsc[leaf.index]:
                if action.flags & OPTIONAL:
                    continue
                if action.task == "stop" and action.flags & (RUNNABLE | PSEUDO):
                    stops = True
                elif action.task == "start" and action.flags & RUNNABLE:
                    starts = True
            starting, stopping = starting or starts, stopping or stops
            restarting = restarting or (starts and stops)
    start = plan.pseudo(rsc, "start", optional=not starting)
    running = plan.pseudo(rsc, "running", optional=not starting, runnable=active or starting)
    running.priority = INFINITY
    stop = plan.pseudo(rsc, "stop", optional=not stopping)
    stopped = plan.pseudo(rsc, "stopped", optional=not stopping)
    stopped.priority = INFINITY
    if not restarting:
        stop.flags |= MIGRATABLE
    if rsc.notify and isinstance(rsc, Clone):
        notify.create_around(plan, rsc, start, running)
        notify.create_around(plan, rsc, stop, stopped)
        notify.order_tasks(plan, rsc)


def _promote_and_demote(plan: Plan, rsc: Clone, instances: list[Resource]) -> None:
    """8.2."""
    promoting = demoting = False
    for instance in instances:
        for leaf in instance.leaves():
            for action in plan.by_rsc[leaf.index]:
                if not action.flags & OPTIONAL:
                    promoting = promoting or action.task == "promote"
                    demoting = demoting or action.task == "demote"
    for task, done, needed in (("promote", "promoted", promoting), ("demote", "demoted", demoting)):
        action = plan.pseudo(rsc, task, optional=not needed)
        completion = plan.pseudo(rsc, done, optional=not needed)
        completion.priority = INFINITY
        if rsc.notify:
            notify.create_around(plan, rsc, action, completion)
    if rsc.notify:
        notify.order_promotion(plan, rsc)
