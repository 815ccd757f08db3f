"""Moves and bans: the constraints that `--move` and `--ban` make, and `--clear` removes.

They are named as Pacemaker names them (`cli-prefer-RSC`, `cli-ban-RSC-on-NODE`), so that its tools and ours can undo each other's. Each command is one
transaction: there is no moment at which an old constraint is gone and the new one not there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from crm.cib import xml
from crm.policy.dates import parse_date, parse_iso_duration, show_utc
from crm.policy.model import Bundle, Clone, ClusterState, Group, Primitive, Resource
from crm.tools import exits
from crm.tools.command import Failure, usage
from crm.tools.resources.listing import find, places, state_of
from crm.tools.resources.values import CLIENT, base_name
from crm.tools.xmltext import element, quoted

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.tools.cluster import Cluster
    from crm.tools.command import Given

PREFER: Final = "cli-prefer-"
BAN: Final = "cli-ban-"


def move(cluster: Cluster, given: Given) -> int:
    state, rsc = _target(cluster, given)
    node = given.get("node")
    if node is None:
        return _ban(cluster, state, rsc, _where_it_is(rsc, given), given)
    _known(state, node)
    active = _active(rsc, given)
    if node in active and not given.has("force"):
        raise Failure("Error performing operation: Requested item already exists", exits.EXISTS)
    gone = [f"{PREFER}{rsc.id}", f"{BAN}{rsc.id}-on-{node}"]
    made = [_constraint(f"{PREFER}{rsc.id}", rsc.id, node, "INFINITY", given)]
    elsewhere = [name for name in active if name != node]
    if given.has("force") and len(elsewhere) == 1:
        gone.append(f"{BAN}{rsc.id}-on-{elsewhere[0]}")
        made.append(_constraint(gone[-1], rsc.id, elsewhere[0], "-INFINITY", given))
    _apply(cluster, state, gone, made)
    return exits.OK


def ban(cluster: Cluster, given: Given) -> int:
    state, rsc = _target(cluster, given)
    node = given.get("node")
    if node is None:
        node = _where_it_is(rsc, given)
    else:
        _known(state, node)
    return _ban(cluster, state, rsc, node, given)


def _ban(cluster: Cluster, state: ClusterState, rsc: Resource, node: str, given: Given) -> int:
    identity = f"{BAN}{rsc.id}-on-{node}"
    if not given.has("quiet"):
        what = "being promoted" if given.has("promoted") else "running"
        print(
            f"WARNING: Creating rsc_location constraint '{identity}' with a score of -INFINITY for resource {rsc.id} on {node}.\n"
            f"\tThis will prevent {rsc.id} from {what} on {node} until the constraint is removed using the clear option "
            "or by editing the CIB with an appropriate tool\n"
            f"\tThis will be the case even if {node} is the last node in the cluster"
        )
    gone = [identity]
    preferred = _by_id(state, f"{PREFER}{rsc.id}")
    if preferred is not None and _names(preferred, node):
        gone.append(f"{PREFER}{rsc.id}")
    _apply(cluster, state, gone, [_constraint(identity, rsc.id, node, "-INFINITY", given)])
    return exits.OK


def clear(cluster: Cluster, given: Given) -> int:
    """All of them, or those of a node, a role, or whose time is over."""
    if not given.has("resource"):
        usage("Must supply a resource id with -r")
    state = state_of(cluster)
    wanted, node = find(state, given.text("resource")).id, given.get("node")
    gone = []
    for each in xml.elements(xml.section(state.cib, "constraints"), "rsc_location"):
        identity = each.get("id", "")
        ours = identity == f"{PREFER}{wanted}" or identity.startswith(f"{BAN}{wanted}-on-")
        if not ours or each.get("rsc") != wanted:
            continue
        forced = given.has("force") and identity.startswith(PREFER)
        if node is not None and not _names(each, node) and not forced:
            continue
        if given.has("promoted") and each.get("role") not in ("Promoted", "Master"):
            continue
        if given.has("expired") and not _expired(each, state.now):
            continue
        gone.append(identity)
    for identity in gone:
        if not given.has("quiet"):
            print(f"Removing constraint: {identity}")
    _apply(cluster, state, gone, [])
    return exits.OK


# --- what is meant ----------------------------------------------------------------------------------------------------


def _target(cluster: Cluster, given: Given) -> tuple[ClusterState, Resource]:
    wanted = given.text("resource")
    if not wanted:
        usage("Must supply a resource id with -r")
    state = state_of(cluster)
    rsc = find(state, wanted)
    if base_name(wanted) != wanted and isinstance(rsc.parent, Clone):
        text = f"Cannot operate on clone resource instance '{wanted}'\nError performing operation: Invalid parameter"
        raise Failure(text, exits.INVALID_PARAM)
    if given.has("promoted") and not (isinstance(rsc, Clone) and rsc.promotable) and not isinstance(rsc, Bundle):
        raise Failure(f"{rsc.id} is no promotable clone", exits.INVALID_PARAM)
    return state, rsc


def _active(rsc: Resource, given: Given) -> list[str]:
    """Where it is active; in the promoted role when that is meant."""
    found = places(rsc)
    return list(dict.fromkeys(node for node, promoted in found if promoted or not given.has("promoted")))


def _where_it_is(rsc: Resource, given: Given) -> str:
    """The one place that can be meant: of a primitive or group, or of the one promoted instance of a clone."""
    active = _active(rsc, given)
    if isinstance(rsc, Primitive | Group) and len(active) == 1:
        return active[0]
    promoted = [node for node, is_promoted in places(rsc) if is_promoted]
    if isinstance(rsc, Clone) and rsc.promotable and len(promoted) == 1:
        return promoted[0]
    count = f"{len(promoted)} promoted" if promoted else f"{len(active)}"
    raise Failure(
        f"Resource '{rsc.id}' not moved: active in {count} locations.\n"
        f"To prevent '{rsc.id}' from running on a specific location, specify a node.",
        exits.USAGE,
    )


def _known(state: ClusterState, node: str) -> None:
    if not any(each.name == node for each in state.nodes):
        raise Failure(f"Node '{node}' not found\nError performing operation: No such object", exits.NOSUCH)


def _constraint(identity: str, rsc: str, node: str, score: str, given: Given) -> str:
    role = "Promoted" if given.has("promoted") else "Started"
    head = {"id": identity, "rsc": rsc, "role": role}
    if not given.has("lifetime"):
        return element("rsc_location", {**head, "node": node, "score": score})
    end = show_utc(_end(given.text("lifetime")))
    if not given.has("quiet"):
        print(f"Migration will take effect until: {end}")
    place = {"id": f"{identity}-expr", "attribute": "#uname", "operation": "eq", "value": node, "type": "string"}
    rule = element(
        "rule",
        {"id": f"{identity}-rule", "score": score, "boolean-op": "and"},
        element("expression", place),
        element("date_expression", {"id": f"{identity}-lifetime", "operation": "lt", "end": end}),
    )
    return element("rsc_location", head, rule)


def _end(lifetime: str) -> int:
    duration = parse_iso_duration(lifetime) if lifetime.startswith("P") else None
    if duration is None or duration <= 0:
        usage(f"Invalid duration specified: {lifetime} (an ISO 8601 duration is expected, such as PT30M or P1D)")
    return int(time.time()) + duration


def _names(constraint: _Element, node: str) -> bool:
    return constraint.get("node") == node or any(each.get("value") == node for each in constraint.iter("expression"))


def _expired(constraint: _Element, now: int) -> bool:
    ends = [parse_date(each.get("end"), now) for each in constraint.iter("date_expression")]
    return any(end is not None and end <= now for end in ends)


def _by_id(state: ClusterState, identity: str) -> _Element | None:
    constraints = xml.elements(xml.section(state.cib, "constraints"), "rsc_location")
    return next((each for each in constraints if each.get("id") == identity), None)


def _apply(cluster: Cluster, state: ClusterState, gone: list[str], made: list[str]) -> None:
    steps: list[dict[str, Any]] = [
        {"operation": "delete", "xpath": f"/cib/configuration/constraints/rsc_location[@id={quoted(identity)}]"}
        for identity in gone
        if _by_id(state, identity) is not None
    ]
    steps += [{"operation": "create", "xml": text, "scope": "constraints"} for text in made]
    if steps:
        cluster.call("cib.apply", operation="transaction", steps=steps, client=CLIENT)
