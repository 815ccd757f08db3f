"""Assigning a group: its members in order (section 11).

The first member carries what the group wants, the implicit colocations tie each later member to the one before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import Group, Node, Resource

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def assign_group(run: Run, rsc: Resource, prefer: Node | None, final: bool) -> Node | None:
    assert isinstance(rsc, Group)
    if run.settled[rsc.index] or run.busy[rsc.index]:
        return None
    run.busy[rsc.index] = True
    first = rsc.children[0]
    run.role[rsc.index] = run.role[first.index]
    run.show(rsc, "pcmk__group_assign")
    found: Node | None = None
    for member in rsc.children:
        node = run.assign(member, prefer, final)
        found = found or node
    run.next_role[rsc.index] = run.next_role[first.index]
    run.settled[rsc.index] = True
    run.busy[rsc.index] = False
    return found if rsc.colocated else None
