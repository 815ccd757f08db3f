"""Words, times and readings of a state that the text and the XML of `crm_mon` have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agents.types import OcfCode
from crm.policy.constraints.read import read_constraints
from crm.policy.model import ClusterState, Node, Primitive, Role

_NOT_SHOWN: Final = ("#", "fail-count-", "last-failure-", "shutdown", "terminate", "standby")
_DAY_MS: Final = 86_400_000
_SECOND_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Ban:
    """A location constraint that keeps a resource away from a node."""

    id: str
    resource: str
    node: Node
    score: int
    promoted: bool


def rc_text(rc: int) -> str:
    """The words for an exit code of an agent."""
    return OcfCode(rc).text if rc in set(OcfCode) else "unknown"


def moment(epoch_s: int) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(epoch_s))


def duration(milliseconds: int) -> str:
    """As `1d1h1m1.001s`. A unit is used for more than one of the next smaller one's: a minute is `60s`."""
    text, rest = "", milliseconds
    for unit_ms, unit in ((_DAY_MS, "d"), (3_600_000, "h"), (60_000, "m")):
        if rest > unit_ms:
            text += f"{rest // unit_ms}{unit}"
            rest %= unit_ms
    if rest > _SECOND_MS:
        seconds, thousandths = divmod(rest, _SECOND_MS)
        return text + (f"{seconds}.{thousandths:03d}s" if thousandths else f"{seconds}s")
    return text + (f"{rest}ms" if rest or not text else "")


def shown_attributes(node: Node) -> dict[str, str]:
    """Those that are not the cluster's own."""
    return {name: value for name, value in node.attributes.items() if not name.startswith(_NOT_SHOWN)}


def last_failure_s(resource: str, node: Node) -> int:
    """When an operation of it failed last there, by the node's attributes. 0: never."""
    known = f"last-failure-{resource}#"
    found = node.attributes.items()
    return max((int(value) for name, value in found if name.startswith(known) and value.isdigit()), default=0)


def bans(state: ClusterState) -> Iterator[Ban]:
    """In the order of the document; a rule keeps away from the nodes to which it applies now."""
    for each in read_constraints(state).locations.records:
        if each.cause.kind == "location":
            for node, score in each.scores.items():
                if score < 0:
                    yield Ban(each.cause.id, each.resource.id, node, score, each.role is Role.PROMOTED)


def connectivity(rsc: Primitive) -> tuple[str, int]:
    """The attribute that a ping resource writes, and its value while all hosts answer. Empty for other resources."""
    if rsc.xml.get("type") not in ("ping", "pingd"):
        return "", 0
    given = {pair.get("name", ""): pair.get("value", "") for pair in rsc.xml.iterfind("instance_attributes/nvpair")}
    multiplier = given.get("multiplier", "1")
    each = int(multiplier) if multiplier.isdigit() else 1
    return given.get("name", "pingd"), each * len(given.get("host_list", "").split())
