"""From a CIB to the state of the cluster: the first stage, one call a step.

Theory of operation. `unpack` reads the options, the nodes, the resources, and then the status section, which says where everything is and what has failed.
The result is complete and is not changed by later stages. Nothing here raises on bad input: what cannot be used is left out
and reported in `ClusterState.problems`. The CIB itself is only read.

Sources: scheduler specification, part 1, section 0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.configuration import Configuration
from crm.policy.dates import EARLIEST, LATEST, parse_date
from crm.policy.digests import DigestStore
from crm.policy.history.reader import Reader
from crm.policy.history.unpack import read_status
from crm.policy.model import ClusterState, Primitive, Resource
from crm.policy.nodes import read_nodes
from crm.policy.opconfig import Operations
from crm.policy.options import is_quorate, read_options
from crm.policy.resources.unpack import Builder
from crm.policy.tags import read_tags
from crm.policy.tickets import apply_tickets
from crm.policy.values import parse_integer

if TYPE_CHECKING:
    from lxml.etree import _Element


def effective_now(cib: _Element, argument: str | None, wall_clock: int) -> tuple[int, str]:
    """The time to schedule for, in seconds since 1970, and where it comes from: `argument`, `execution-date` or `clock`."""
    if argument is not None:
        given = parse_date(argument, wall_clock)
        if given is not None:
            return given, "argument"
    recorded = parse_integer(cib.get("execution-date"))
    if recorded is not None:
        return recorded, "execution-date"
    return wall_clock, "clock"


def unpack(cib: _Element, now: int, masked: bool = True) -> ClusterState:
    """Everything that the CIB says, as of `now` (seconds since 1970). `masked`: private parameters may be hidden in it, as in a file for others' eyes."""
    now = max(EARLIEST, min(LATEST, now))
    state = _unpack(cib, now, masked)
    if apply_tickets(state):
        state.before_tickets = _unpack(cib, now, masked)
    return state


def _unpack(cib: _Element, now: int, masked: bool) -> ClusterState:
    config = Configuration(cib, now)
    quorate = is_quorate(config)
    state = ClusterState(
        cib=cib,
        now=now,
        options=read_options(config, quorate),
        quorate=quorate,
        nodes=[],
        resources=[],
        all_resources=[],
        tags=read_tags(config),
        templates={},
        tickets={},
        requests=[],
        failed_ops=[],
        lrm=[],
        problems=config.problems,
        config=config,
        operations=Operations(config),
        recheck_candidates=config.changes,
    )
    config.check_dates()
    state.digests = DigestStore(state, masked)
    state.has_fence_device = state.options.have_watchdog or _has_fence_device(state)
    state.unfencing_in_use = _unfencing_in_use(state)
    read_nodes(state)
    builder = Builder(state)
    builder.unpack()
    status = config.status()
    reader = read_status(state, builder, status) if status is not None else None
    _number(state)
    if reader is not None:
        _finish(state, reader)
    return state


def _has_fence_device(state: ClusterState) -> bool:
    section = state.config.section("resources")
    if section is None:
        return False
    return any(element.get("class", "").lower() == "stonith" for element in section.iter("primitive", "template"))


def _unfencing_in_use(state: ClusterState) -> bool:
    """Any literal `provides` or `requires` with the value `unfencing` (5)."""
    for name in ("resources", "rsc_defaults"):
        section = state.config.section(name)
        if section is None:
            continue
        for sets in section.iter("meta_attributes"):
            for pair in sets.iter("nvpair"):
                if pair.get("value") == "unfencing" and pair.get("name") in ("provides", "requires"):
                    return True
    return False


def _number(state: ClusterState) -> None:
    """Give nodes and resources the index that later stages keep their lists by."""
    for index, node in enumerate(state.nodes):
        node.index = index
    found: list[Resource] = []

    def add(rsc: Resource) -> None:
        rsc.index = len(found)
        found.append(rsc)
        for child in rsc.children:
            add(child)

    for rsc in state.resources:
        add(rsc)
    state.all_resources = found


def _finish(state: ClusterState, reader: Reader) -> None:
    """Histories in the order in which later stages take them, and the fail counts that still matter."""
    for node in state.nodes:
        state.lrm += reader.lrm.get(node, ())
    counts = reader.fail_counts
    named = [node for node in state.nodes if any(name.startswith("fail-count-") for name in node.attributes)]
    for rsc in state.all_resources:
        if isinstance(rsc, Primitive):
            for node in named:
                count = counts.effective(rsc, node)
                if count > 0:
                    rsc.fail_counts[node] = count
