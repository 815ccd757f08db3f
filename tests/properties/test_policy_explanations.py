"""`crm why` never says what the policy engine does not do, and never keeps quiet about what it does.

Random clusters and what befalls them (`random_clusters`); the sentences about some of the resources are held against the transition.
"""

from __future__ import annotations

import random
import re

import pytest
from random_clusters import RandomCluster

from crm.policy.actions.model import OPTIONAL
from crm.policy.explain import explain_text
from crm.policy.model import Primitive
from crm.policy.schedule import Transition, schedule
from crm.policy.simulate import execute

NOW = 1_700_000_000
EVENTS = 3
ASKED = 4
_CLAIMS = (
    ("is started", r" starts on ", {"start"}),
    ("is stopped", r" (stops|counts as stopped) on ", {"stop"}),
    ("is stopped and started", r" (restarts on|moves from) .*(?<!live migration)\.$", {"start", "stop"}),
    ("migrates", r"by live migration\.$", {"migrate_from"}),
)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_said_about_a_resource_is_what_happens_to_it(seed: int) -> None:
    source = random.Random(seed)
    cluster = RandomCluster(seed)
    now = NOW
    for number in range(EVENTS):
        event = cluster.perturb(now) if number else "the cluster starts"
        transition = schedule(cluster.cib, now)
        leaves = [rsc for rsc in transition.state.all_resources if isinstance(rsc, Primitive)]
        for leaf in source.sample(leaves, min(ASKED, len(leaves))):
            text = explain_text(cluster.cib, leaf.id, None, now)
            wrong = _contradictions(transition, leaf, text)
            assert not wrong, f"seed {seed}, event {number} ({event}), {leaf.id}: {wrong}\n{text}"
        execute(cluster.cib, transition, now, realistic=True)
        now += 10


def _contradictions(transition: Transition, leaf: Primitive, text: str) -> list[str]:
    required = [action for action in transition.plan.by_rsc[leaf.index] if not action.flags & OPTIONAL]
    done = {action.task for action in required if action.synapse >= 0}
    said = [line for line in text.splitlines() if line.startswith(f"{leaf.id} ")]
    wrong = [
        f"is said to be what {claim}"
        for claim, pattern, tasks in _CLAIMS
        if any(re.search(pattern, line) for line in said) and not tasks <= done
    ]
    if "start" in done and not any(re.search(r" starts on| restarts| moves| will run", line) for line in said):
        wrong.append("nothing is said of its start")
    if "stop" in done and not any(re.search(r" stops on| counts as| restarts| moves", line) for line in said):
        wrong.append("nothing is said of its stop")
    if any(re.search(r" is (to stop|not started)\.$", line) for line in said):
        wrong.append("no reason is given")
    return wrong
