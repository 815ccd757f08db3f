"""What a view means for the nodes that are not in it."""

from __future__ import annotations

import pytest

from crm.cib import xml
from crm.controller import membership, status
from crm.controller.graph import parse
from crm.controller.status import Attributes, NodeState
from crm.policy.schedule import schedule
from messaging.types import Member, View, ViewId

CIB = b"""<cib epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config/>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
<resources>
<primitive id="fence" class="stonith" type="fence_sim"/>
<primitive id="web" class="ocf" provider="sim" type="Dummy"/>
</resources><constraints/></configuration><status/></cib>"""


def test_a_node_that_nobody_has_seen_is_fenced_although_somebody_has_set_an_attribute_of_it() -> None:
    """Seed 145 of the cluster simulator: it ran resources in another partition."""
    document = xml.parse(CIB)
    alone = View(ViewId(3, 2), (Member(2, "n2", 1),), frozenset((2,)), True, "two_node")
    status.apply(document, [Attributes("1", "n1", {"mark": "1"})])
    status.apply(document, membership.updates_for(document, alone, {}, 2, ()))
    state = status.node_state(document, "1")
    assert state is not None
    assert state.get("in_ccm") is None, "it has never been a member"
    graph = parse(schedule(document, 1_700_000_000).to_xml().encode())
    assert "n1" in [each.action.node for each in graph.synapses if each.action.task == "stonith"]


@pytest.mark.parametrize("killed", ["machine", "crm"])
@pytest.mark.parametrize("said_goodbye", [False, True])
def test_a_node_that_is_lost_while_it_is_about_to_leave_is_fenced_also_when_its_history_was_just_forgotten(
    killed: str, said_goodbye: bool
) -> None:
    """Seed 7000439 of the cluster simulator: a refresh, a shutdown, and the node was gone."""
    document = xml.parse(CIB)
    both = (Member(1, "n1", 1), Member(2, "n2", 1))
    together = View(ViewId(2, 1), both, frozenset((1, 2)), True, "two_node")
    status.apply(document, membership.updates_for(document, together, {}, 2, ()))
    status.apply(document, [Attributes("1", "n1", {"shutdown": "1700000000", "mark": "1"})])
    if said_goodbye:
        status.apply(document, [NodeState("1", "n1", expected="down")])
    members = both[1:] if killed == "machine" else both
    without = View(ViewId(3, 2), members, frozenset((2,)), True, "two_node")
    status.apply(document, membership.updates_for(document, without, {}, 2, ()))
    graph = parse(schedule(document, 1_700_000_000).to_xml().encode())
    fenced = [each.action.node for each in graph.synapses if each.action.task == "stonith"]
    assert fenced == ([] if said_goodbye else ["n1"])
    assert status.transient_attributes(document, "1")["mark"] == "1"


def test_a_group_takes_changes_at_once_when_it_has_most_of_the_votes_not_most_of_the_nodes() -> None:
    document = xml.parse(CIB)
    members = tuple(Member(number, f"n{number}", 1) for number in (1, 2, 3))
    nodes, votes = frozenset(("n1", "n2", "n3")), {"n1": 3, "n2": 1, "n3": 1}
    without_the_first = View(ViewId(3, 1), members, frozenset((2, 3)), True, "")
    the_first_alone = View(ViewId(4, 1), members, frozenset((1,)), True, "")
    assert not membership.may_change(document, without_the_first, nodes, votes)
    assert membership.may_change(document, the_first_alone, nodes, votes)
    assert membership.may_change(document, without_the_first, nodes, {}), "one vote each"
