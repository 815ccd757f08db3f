"""What a transition is about, for people: `fence n2`, `move web from n2 to n1`, `restart db on n3`, `4 probes`."""

from __future__ import annotations

from typing import Final

from crm.controller.graph import ActionKind, Graph

MAX_PARTS: Final = 8
"""Parts of a plan that are named; what is more is counted."""
MAX_NODES: Final = 4
"""Nodes that are named of one part."""
_MIGRATIONS: Final = ("migrate_to", "migrate_from")


def plan(graph: Graph) -> list[str]:
    """Fencing first, then resource by resource in the order of the graph, then how many probes."""
    fencing: list[str] = []
    tasks: dict[str, dict[str, list[str]]] = {}
    probes = 0
    for synapse in graph.synapses:
        action = synapse.action
        if action.task == "stonith":
            fencing.append(f"fence {action.node}")
        elif action.kind is not ActionKind.RESOURCE or action.resource is None or action.interval_ms:
            continue
        elif action.task == "monitor":
            probes += 1
        elif action.node is not None:
            tasks.setdefault(action.resource.id, {}).setdefault(action.task, []).append(action.node)
    found = fencing + [part for resource, each in tasks.items() for part in _of_resource(resource, each)]
    if len(found) > MAX_PARTS:
        found = [*found[:MAX_PARTS], f"{len(found) - MAX_PARTS} more"]
    if probes:
        found.append(f"{probes} probe{'s' if probes > 1 else ''}")
    return found


def _of_resource(resource: str, tasks: dict[str, list[str]]) -> list[str]:
    """`tasks`: nodes by task."""
    source, target = (tasks.pop(task, []) for task in _MIGRATIONS)
    stops, starts = tasks.pop("stop", []), tasks.pop("start", [])
    if len(source) == len(target) == 1:
        # What follows a migration stops the source and is not worth a word.
        return [f"migrate {resource} from {source[0]} to {target[0]}", *_others(resource, tasks)]
    again = [node for node in stops if node in starts]
    found = [f"restart {resource} on {_where(again)}"] if again else []
    stops, starts = ([node for node in nodes if node not in again] for nodes in (stops, starts))
    if len(stops) == len(starts) == 1:
        found.append(f"move {resource} from {stops[0]} to {starts[0]}")
    else:
        found += [f"stop {resource} on {_where(stops)}"] if stops else []
        found += [f"start {resource} on {_where(starts)}"] if starts else []
    return found + _others(resource, tasks)


def _others(resource: str, tasks: dict[str, list[str]]) -> list[str]:
    """Promotions, reloads and the like; what only prepares or follows is left out."""
    silent = ("notify", "cancel", "delete", "lrm_delete", "clear_failcount")
    return [f"{task} {resource} on {_where(nodes)}" for task, nodes in tasks.items() if task not in silent]


def _where(nodes: list[str]) -> str:
    return ", ".join(nodes) if len(nodes) <= MAX_NODES else f"{len(nodes)} nodes"
