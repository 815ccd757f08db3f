"""Reading the constraints section (stage 2): every kind by its own module, in document order.

Ordering constraints are only collected here; they are declared when the plan begins (`crm.policy.constraints.order`), because what they
create are actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crm.policy.constraints.colocation import unpack_colocations
from crm.policy.constraints.location import LocationReader
from crm.policy.constraints.model import Colocation, Locations
from crm.policy.constraints.sets import References
from crm.policy.health import health_locations
from crm.policy.lookup import Lookup
from crm.policy.model import ClusterState

if TYPE_CHECKING:
    from lxml.etree import _Element


@dataclass(slots=True, frozen=True)
class Constraints:
    """All constraints; `elements` in document order, for those that are read later."""

    elements: list[_Element]
    references: References
    locations: Locations
    colocations: list[Colocation]


def read_constraints(state: ClusterState) -> Constraints:
    references = Lookup(state)
    section = state.config.section("constraints")
    elements = [] if section is None else [element for element in section if isinstance(element.tag, str)]
    reader = LocationReader(state, references, state.operations.parameters, state.problems)
    reader.result.records.extend(health_locations(state))
    for element in elements:
        if element.tag == "rsc_location":
            reader.read(element)
    reader.read_ping_nodes()
    state.recheck_candidates += reader.result.recheck
    colocations = unpack_colocations(state, elements, references, state.problems)
    return Constraints(elements, references, reader.result, colocations)
