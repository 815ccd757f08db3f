"""What is well, in few lines: for clusters whose resources do not fit on a screen.

Theory of operation. Whoever looks at the status of two hundred resources looks for the few that are not as they should be. So where there would be more than
`FOLD_FROM` lines of resources, primitives and groups that simply run on one node become words of a line of that node, and only the rest keeps lines of
its own. Nothing is left out, and `--full` folds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crm.policy.values import name_key
from crm.shell.status.model import ResourceStatus, State

FOLD_FROM: Final = 40
"""Lines of resources."""


@dataclass(frozen=True, slots=True)
class Folded:
    """`rest` keeps its lines; `by_node` has what is well, by the node where it runs."""

    rest: tuple[ResourceStatus, ...]
    by_node: dict[str, list[str]] = field(default_factory=dict)


def fold(resources: Sequence[ResourceStatus]) -> Folded:
    if _lines(resources) <= FOLD_FROM:
        return Folded(tuple(resources))
    by_node: dict[str, list[str]] = {}
    rest: list[ResourceStatus] = []
    for read in resources:
        node = _well_on(read)
        if node is None:
            rest.append(read)
        else:
            by_node.setdefault(node, []).append(f"{read.id} ({len(read.children)})" if read.children else read.id)
    return Folded(tuple(rest), {node: by_node[node] for node in sorted(by_node, key=name_key)})


def _lines(resources: Sequence[ResourceStatus]) -> int:
    return sum(1 + _lines(read.children) for read in resources)


def _well_on(read: ResourceStatus) -> str | None:
    """The node on which it, and all that is in it, simply runs."""
    if read.flags or read.reason:
        return None
    if read.kind == "group" and read.children:
        nodes = {_well_on(child) for child in read.children}
        return nodes.pop() if len(nodes) == 1 else None
    return read.nodes[0] if read.kind == "primitive" and read.state is State.STARTED and len(read.nodes) == 1 else None
