"""What a view means for the status section: the `node_state` of every node that is known.

Theory of operation. Pure functions of the document, the view and the time that absent controllers are still given. A member of the group is in
(`in_ccm`, `crmd=online`, `join=member`, `expected=member`); a member whose crm is absent is reported as such once its grace is over; a node
outside the view is out. `expected` of a node that is not in is left alone: it tells the policy engine whether the node said goodbye
(`down`) or was lost (`member`) and must be fenced.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lxml import etree

from crm.cib import xml
from crm.controller.election import Facts
from crm.controller.status import (
    Attributes,
    NodeState,
    Quorum,
    Update,
    node_state,
    node_state_by_name,
    transient_attributes,
)
from messaging.types import View


def updates_for(
    document: etree._Element, view: View, facts: Mapping[int, Facts], dc: int, patience: Collection[int]
) -> list[Update]:
    """Everything that the status section must say about this view. Nodes in `patience` keep what is written of them."""
    updates: list[Update] = [Quorum(view.quorate, str(dc))]
    present = {str(member.node_id) for member in view.members}
    for member in view.members:
        identity = str(member.node_id)
        if member.node_id in view.group:
            leaving = member.node_id in facts and facts[member.node_id].leaving
            updates.append(NodeState(identity, member.name, True, "online", "member", "down" if leaving else "member"))
        elif member.node_id not in patience:
            updates.append(NodeState(identity, member.name, True, "offline", "down"))
            updates += _no_longer_leaving(document, identity)
    for state in xml.elements(xml.section(document, xml.STATUS), "node_state"):
        identity = state.get("id", "")
        waited_for = identity.isdigit() and int(identity) in patience
        # One that was never a member (somebody has set an attribute of it) stays unseen: nobody knows what it runs.
        never_seen = state.get("in_ccm") is None
        if identity not in present and not waited_for and not never_seen and not _is_remote(state):
            updates.append(NodeState(identity, state.get("uname", ""), False, "offline", "down"))
            updates += _no_longer_leaving(document, identity)
    return updates


def _no_longer_leaving(document: etree._Element, node_id: str) -> list[Update]:
    """Who was lost while it was about to leave has not left.

    The policy engine takes a node that asks to shut down and is offline for one that has; only what history says of it speaks against that, and
    history may just have been forgotten by a refresh. Whether it is really off, fencing has to say.
    """
    state = node_state(document, node_id)
    if state is None or state.get("expected") != "member" or "shutdown" not in transient_attributes(document, node_id):
        return []
    return [Attributes(node_id, state.get("uname", ""), {"shutdown": None})]


def may_change(
    document: etree._Element, view: View, expected: Collection[str], votes: Mapping[str, int] | None = None
) -> bool:
    """Whether the configuration may be changed in this view as soon as it is synchronised. `votes` by name, 1 for who is not in it.

    What one group has accepted, the next must know. More than half of all votes always share a node with the next such group. A smaller group
    (half of two nodes, or a view in which some members have no crm just now) must first know that the others are off or have left: they cannot
    come back without it then. Without quorum a change is accepted too, but only until a quorate view knows better (`crm.cib.lineage`).
    """
    missing = awaited(document, view, expected)
    if not missing or (not view.quorate and view.group == view.member_ids):
        return True
    present = sum(_votes(votes, name) for name in _group(view))
    if view.quorate and present > sum(_votes(votes, name) for name in missing):
        return True
    return all(_is_off(document, name) for name in missing)


def speaks_for_all(view: View, votes: Mapping[str, int]) -> bool:
    """Whether what the group of this view accepts counts as accepted with quorum. `votes` of all nodes of the cluster, by name.

    Quorum is a matter of the members whose messaging is up; the configuration is known to those only whose crm is there too. A small part of a quorate
    view must not come to stand above what a majority of crms has accepted before; and a majority is one of votes, as for quorum.
    """
    present = sum(_votes(votes, name) for name in _group(view))
    return view.quorate and (view.group == view.member_ids or 2 * present > sum(votes.values()))


def _group(view: View) -> list[str]:
    return [member.name for member in view.members if member.node_id in view.group]


def _votes(votes: Mapping[str, int] | None, name: str) -> int:
    return 1 if votes is None else votes.get(name, 1)


def missed(document: etree._Element, view: View, died: Collection[int]) -> frozenset[int]:
    """Nodes that were at work and may be back at once, with their resources running.

    That is a member whose crm is absent, and a node that is gone although it had not been silent for deadtime (`died`): its messaging
    was killed and is being restarted.
    """
    absent = {member.node_id for member in view.members if member.node_id not in view.group}
    vanished = {member.node_id for member in view.left} - view.member_ids - view.graceful - set(died)
    return frozenset(node_id for node_id in absent | vanished if _was_at_work(document, str(node_id)))


def still_missed(
    document: etree._Element, view: View, died: Collection[int], before: Collection[int]
) -> frozenset[int]:
    """Of those who were missed in an earlier view: who has still not been seen, and not been written off."""
    unseen = set(before) - view.member_ids - set(died)
    return frozenset(node_id for node_id in unseen if _was_at_work(document, str(node_id)))


def unknown_to_configuration(document: etree._Element, view: View) -> tuple[tuple[str, str], ...]:
    """Members of the group that have no `<node>` yet: (id, name)."""
    known = list(xml.elements(xml.section(document, "nodes"), "node"))
    ids = {node.get("id") for node in known}
    names = {node.get("uname") for node in known}
    return tuple(
        (str(member.node_id), member.name)
        for member in view.members
        if member.node_id in view.group and str(member.node_id) not in ids and member.name not in names
    )


def configured_nodes(document: etree._Element) -> frozenset[str]:
    """Names of the cluster nodes (not remote ones) that the configuration lists."""
    return frozenset(
        node.get("uname", "")
        for node in xml.elements(xml.section(document, "nodes"), "node")
        if node.get("type", "member") in ("member", "normal")
    )


def awaited(document: etree._Element, view: View, expected: Collection[str]) -> list[str]:
    """Names of the nodes that belong to the cluster and are not in the group."""
    there = {member.name for member in view.members if member.node_id in view.group}
    return sorted((set(expected) | configured_nodes(document)) - there)


def id_of(document: etree._Element, view: View | None, name: str) -> str:
    """The id of a node that the configuration, the status or the view knows; empty when none does."""
    for node in xml.elements(xml.section(document, "nodes"), "node"):
        if node.get("uname") == name:
            return node.get("id", "")
    state = node_state_by_name(document, name)
    if state is not None:
        return state.get("id", "")
    return next((str(member.node_id) for member in view.members if member.name == name), "") if view else ""


def _is_off(document: etree._Element, name: str) -> bool:
    """The node was fenced, or left on purpose."""
    state = node_state_by_name(document, name)
    return state is not None and state.get("crmd") == "offline" and state.get("expected") == "down"


def _was_at_work(document: etree._Element, node_id: str) -> bool:
    state = node_state(document, node_id)
    return state is not None and state.get("expected") == "member" and state.get("crmd") == "online"


def _is_remote(state: etree._Element) -> bool:
    return state.get("remote_node") == "true"
