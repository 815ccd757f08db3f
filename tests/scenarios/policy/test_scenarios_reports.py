"""What the policy engine treats leniently without anybody noticing, and so reports: element, id, attribute."""

from __future__ import annotations

import pytest
from policy_cib import NOW, cib, colocation, parsed, primitive

from crm.policy.schedule import schedule

AFTER_NEVER = (
    '<rsc_location id="l" rsc="web"><rule id="r" score="INFINITY">'
    '<date_expression id="d" operation="gt" start="tomorrow"/></rule></rsc_location>'
)
ORDER = '<rsc_order id="o" first="web" then="web"/>'
BUNDLE = '<bundle id="b"><podman image="i" replicas="2"/><network ip-range-start="10.0.0"/></bundle>'


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (cib(primitive("web"), constraints=(AFTER_NEVER,)), ("error", "date_expression", "d", "start")),
        (cib(primitive("web"), constraints=(ORDER,)), ("warning", "rsc_order", "o", "then")),
        (
            cib(primitive("web"), constraints=(colocation("web", "web", "-INFINITY"),)),
            ("warning", "rsc_colocation", "web-with-web", "with-rsc"),
        ),
        (cib(BUNDLE), ("error", "network", "b", "ip-range-start")),
    ],
    ids=["a date that is none", "an ordering after itself", "a place relative to itself", "an address that is none"],
)
def test_what_can_have_no_effect_is_reported_once(text: str, reported: tuple[str, str, str, str]) -> None:
    transition = schedule(parsed(text), NOW)
    found = [(problem.severity, problem.element, problem.id, problem.attribute) for problem in transition.problems]
    assert found == [reported]
    assert not transition.plan.dropped and not transition.plan.unreachable


def test_the_addresses_of_replicas_go_on_in_the_next_net() -> None:
    """`.254` is the last of a net; of what is no address nothing can be counted up."""
    bundle = '<bundle id="b"><podman image="i" replicas="4"/><network ip-range-start="10.0.0.253"/></bundle>'
    state = schedule(parsed(cib(bundle, nodes=4)), NOW).state
    names = [rsc.id for rsc in state.all_resources if rsc.id.startswith("b-ip-")]
    assert names == ["b-ip-10.0.0.253", "b-ip-10.0.0.254", "b-ip-10.0.1.1", "b-ip-10.0.1.2"]


def test_replicas_beyond_what_a_cluster_could_hold_are_taken_for_a_mistake() -> None:
    bundle = '<bundle id="b"><podman image="i" replicas="100000"/><network/></bundle>'
    transition = schedule(parsed(cib(bundle)), NOW)
    assert [problem.message for problem in transition.problems] == ["bundle b: replicas 100000 is reduced to 64"]
