"""Score lines as `crm_simulate -s` prints them (part 2, section 18)."""

from __future__ import annotations

from crm.policy.model import Node, Resource, Scores
from crm.policy.tableorder import slot_order
from crm.policy.values import show_score


def table_lines(
    rsc: Resource, label: str, nodes: list[Node], tables: list[Scores], children: list[list[Resource]]
) -> list[str]:
    """One line for each entry of a resource's table, nodes in name order, then the same for its children."""
    if rsc.removed:
        return []
    table = tables[rsc.index]
    head = f"{label}: {rsc.id} allocation score on "
    lines = [f"{head}{node.name}: {show_score(table[node])}" for node in nodes if node in table]
    for child in children[rsc.index]:
        lines += table_lines(child, label, nodes, tables, children)
    return lines


def promotion_line(rsc: Resource, node: Node | None, score: int) -> str:
    where = f"on {node.name}" if node is not None else "(inactive)"
    return f"{rsc.id} promotion score {where}: {show_score(score)}"


def capacity_lines(label: str, nodes: list[Node], capacity: list[dict[str, int]]) -> list[str]:
    """`Original: n1 capacity: cpu=2 memory=1024`, a line for each node (18.4)."""
    return [f"{label}: {node.name} capacity:{_amounts(capacity[node.index])}" for node in nodes]


def utilization_line(rsc: Resource, node: Node, needs: dict[str, int]) -> str:
    """What a leaf takes from the node to which it was just assigned."""
    return f"pcmk__assign_resource: {rsc.id} utilization on {node.name}:{_amounts(needs)}"


def _amounts(values: dict[str, int]) -> str:
    return "".join(f" {name}={values[name]}" for name in slot_order(tuple(values)))
