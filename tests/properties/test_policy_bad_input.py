"""Whatever is in a CIB: the policy engine treats it leniently, never raises, changes nothing of it, and what it plans can be carried out.

`VIGIL_POLICY_DAMAGE=0-20000` runs other seeds than the built-in ones.
"""

from __future__ import annotations

import os
import random

import pytest
from lxml import etree
from mutations import mutate
from random_clusters import RandomCluster

from crm.cib.verify import verify
from crm.policy import inject
from crm.policy.explain import Explanation
from crm.policy.render import simulation
from crm.policy.render.dot import dot_text
from crm.policy.schedule import schedule
from crm.policy.simulate import execute

NOW = 1_700_000_000
BLOCK = 25


def blocks() -> list[int]:
    text = os.environ.get("VIGIL_POLICY_DAMAGE", "0-149")
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1, BLOCK))


@pytest.mark.parametrize("first", blocks())
def test_a_damaged_cib_is_scheduled_explained_and_carried_out_all_the_same(first: int) -> None:
    for seed in range(first, first + BLOCK):
        source = random.Random(seed)
        cluster = RandomCluster(source.randrange(400))
        cib, now = cluster.cib, NOW
        for _ in range(source.randrange(3)):
            execute(cib, schedule(cib, now), now, realistic=True)
            cluster.perturb(now)
            now += 10
        damage = [mutate(cib, source) for _ in range(source.choice((1, 1, 1, 2, 3, 6, 20)))]
        try:
            _use(cib, now, source)
        except Exception as error:
            error.add_note(f"seed {seed}: {damage}")
            raise


def _use(cib: etree._Element, now: int, source: random.Random) -> None:
    before = etree.tostring(cib)
    transition = schedule(cib, now, show_scores=True, show_utilization=True)
    assert transition.to_xml().startswith("<transition_graph")
    assert transition.reasons() is not None and dot_text(transition, True, True)
    assert simulation.current_status(cib, now)
    verify(cib)
    for problem in transition.problems:
        assert problem.message and (problem.element or problem.id), problem
    if source.random() < 0.2:
        explanation = Explanation.of(cib, now)
        for rsc in source.sample(transition.state.all_resources, min(3, len(transition.state.all_resources))):
            for answer in (explanation.why_here(rsc), explanation.why_stopped(rsc), explanation.why_restarts(rsc)):
                assert answer.sentences
    assert etree.tostring(cib) == before
    assert execute(cib, transition, now, realistic=True).complete
    assert simulation.revised_status(cib, now)


@pytest.mark.parametrize("count", ["", "²", "9" * 5000, "-1", "x"])
def test_a_result_is_recorded_beside_any_call_id_and_fail_count(count: str) -> None:
    cib = etree.fromstring(
        '<cib><configuration><resources><primitive id="p" class="ocf" provider="pacemaker" type="Dummy"/></resources>'
        '</configuration><status><node_state id="1" uname="n1"><transient_attributes id="1"><instance_attributes id="s">'
        f'<nvpair id="f" name="fail-count-p#monitor_10000" value="{count}"/></instance_attributes></transient_attributes>'
        f'<lrm id="1"><lrm_resources><lrm_resource id="p"><lrm_rsc_op id="p_last_0" call-id="{count}"/></lrm_resource>'
        "</lrm_resources></lrm></node_state></status></cib>"
    )
    text = "p_monitor_10000@n1=1"
    assert inject.operation(cib, text, inject.parse_spec(text), NOW)


@pytest.mark.parametrize("text", ["p_monitor_²@n1=1", f"p_monitor_{'9' * 5000}@n1=1", "p_monitor_0@n1=²", "p@n1=1", ""])
def test_an_operation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(inject.InjectionError):
        inject.parse_spec(text)
