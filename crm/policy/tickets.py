"""Tickets: permission, granted from outside the cluster, to run something here; and what constraints on them demand.

Theory of operation. `read_tickets` takes the tickets' state from the status section. `apply_tickets` takes the `rsc_ticket`s and changes the
state at once, for every primitive below the resource: bans where the permission is missing, and for what is active the reaction that
`loss-policy` asks for. It runs among the other constraints, after all history is read and before anything is assigned.

Sources: scheduler specification, part 1, section 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.constraints.sets import read_role, read_sets
from crm.policy.history.bans import ban_everywhere
from crm.policy.history.fencing import request_fencing
from crm.policy.lookup import Lookup
from crm.policy.model import Cause, Clone, ClusterState, Primitive, Resource, Role, Ticket
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


# --- constraints ------------------------------------------------------------------------------------------------------


def apply_tickets(state: ClusterState) -> bool:
    """All ticket constraints of the configuration; True when a node or a resource is not as history left it."""
    section = state.config.section("constraints")
    elements = [] if section is None else list(section.iterchildren("rsc_ticket"))
    if not elements:
        return False
    lookup = Lookup(state)
    changed = False
    for element in elements:
        changed |= _apply(state, lookup, element)
    return changed


def _apply(state: ClusterState, lookup: Lookup, element: _Element) -> bool:
    """One constraint, on all primitives that it concerns."""
    name = element.get("ticket")
    if not name:
        message = "a ticket constraint needs a ticket"
        state.config.report("error", "ticket-missing", element, message, attribute="ticket")
        return False
    ticket = state.tickets.setdefault(name, Ticket(name))
    cause = Cause("ticket", element.get("id", ""), f"{_what(ticket)} (ticket constraint {element.get('id', '')})")
    changed = False
    for rsc, role in _targets(state, lookup, element):
        policy = _loss_policy(state, element, role)
        if role is Role.PROMOTED and (not ticket.granted or ticket.standby) and isinstance(rsc, Clone):
            state.missing_promotion_tickets.setdefault(rsc, []).append(name)
        for leaf in rsc.leaves():
            changed |= _demand(state, leaf, ticket, role, policy, cause)
    return changed


def _targets(state: ClusterState, lookup: Lookup, element: _Element) -> list[tuple[Resource, Role]]:
    """The resources that a constraint names, each with the role that it concerns."""
    if element.find("resource_set") is not None:
        sets = read_sets(element, lookup, state.config.problems)
        return [(rsc, listed.role) for listed in sets for rsc in listed.resources]
    report = state.config.report
    role = read_role(element.get("rsc-role"))
    if role is None:
        message = f"'{element.get('rsc-role')}' is not a role; the constraint is ignored"
        report("error", "invalid-role", element, message, attribute="rsc-role")
        return []
    wanted = element.get("rsc", "")
    found = lookup.resource(wanted)
    resources = [found] if found is not None else list(map(lookup.resource, lookup.members(wanted) or ()))
    if not resources:
        message = f"there is no resource, template or tag '{wanted}'"
        report("error", "unknown-resource", element, message, attribute="rsc")
    return [(rsc, role) for rsc in resources if rsc is not None]


def _what(ticket: Ticket) -> str:
    return f"ticket {ticket.id} is {'in standby' if ticket.granted else 'not granted'}"


def _loss_policy(state: ClusterState, element: _Element, role: Role) -> str:
    text = element.get("loss-policy")
    policy = text.lower() if text is not None else ""
    if policy == "fence" and not state.options.fencing_enabled:
        return "stop"
    if policy in ("stop", "demote", "fence", "freeze"):
        return policy
    if text is not None:
        message = f"loss-policy '{text}' is not one of stop, demote, fence, freeze; the default is used"
        state.config.report("warning", "loss-policy", element, message, attribute="loss-policy")
    return "demote" if role is Role.PROMOTED else "stop"


def _demand(state: ClusterState, leaf: Primitive, ticket: Ticket, role: Role, policy: str, cause: Cause) -> bool:
    """What one constraint means for one primitive (9). True when that is more than a ban."""
    if ticket.granted and not ticket.standby:
        return False
    if ticket.granted or not leaf.active_nodes:
        if role is not Role.PROMOTED or policy == "stop":
            ban_everywhere(state, leaf, cause)
        return False
    role_matches = role is Role.UNKNOWN or role is leaf.role
    if policy == "stop" or (policy == "demote" and role is not Role.PROMOTED):
        ban_everywhere(state, leaf, cause)
    elif policy == "fence" and role_matches:
        ban_everywhere(state, leaf, cause)
        for node in leaf.active_nodes:
            request_fencing(state, node, "deadman ticket was lost")
        return True
    elif policy == "freeze" and role_matches:
        leaf.managed = False
        leaf.blocked = True
        return True
    return False
