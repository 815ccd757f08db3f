"""Tickets: permission, granted from outside the cluster, to run something here; and what constraints on them demand.

Theory of operation. `read_tickets` takes the tickets' state from the status section. `apply_ticket_constraint` takes one `rsc_ticket` and changes the
state at once, for every primitive below the resource: bans where the permission is missing, and for what is active the reaction that
`loss-policy` asks for. It runs among the other constraints, after all history is read and before anything is assigned.

Sources: scheduler specification, part 1, section 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import ClusterState, Ticket
from crm.policy.values import truthy

if TYPE_CHECKING:
    from lxml.etree import _Element


def read_tickets(state: ClusterState, element: _Element) -> None:
    """`tickets`, or a single `ticket_state`."""
    for each in element.iter("ticket_state"):
        name = each.get("id")
        if name:
            state.tickets[name] = Ticket(
                name,
                granted=truthy(each.get("granted")),
                standby=truthy(each.get("standby")),
                last_granted=each.get("last-granted"),
            )
