"""Random clusters live through random events; after each one the policy engine is asked until nothing is left to do.

Every life follows from its seed, which is part of the test's name and of every message. More lives than the built-in ones:
`VIGIL_POLICY_SEEDS=1000-2000 pytest tests/properties/test_policy_random_clusters.py`.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_life import World, final_faults
from lxml import etree
from random_clusters import RandomCluster

from crm.policy.actions.model import PSEUDO
from crm.policy.schedule import Transition, schedule
from crm.policy.simulate import execute

EVENTS = 6
RESTLESS = frozenset((18,))  # of the built-in lives; 2 of the first 400
STEPS = 12  # transitions until nothing is left to do, at the most


def seeds() -> list[int]:
    text = os.environ.get("VIGIL_POLICY_SEEDS")
    if not text:
        return list(range(40))
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def is_idle(transition: Transition) -> bool:
    return all(action.flags & PSEUDO for action in transition.synapses)


@pytest.mark.parametrize("seed", seeds())
def test_a_cluster_comes_to_rest_after_every_event_and_nothing_forbidden_happens(seed: int) -> None:
    cluster = RandomCluster(seed)
    world = World(cluster.fencing, cluster.nodes)
    now = 1_700_000_000
    for number in range(EVENTS):
        event = cluster.perturb(now) if number else "the cluster starts"
        where = f"seed {seed}, event {number} ({event})"
        placements: list[tuple[str | None, ...]] = []
        for _ in range(STEPS):
            now += 10
            world.observe_nodes(cluster.cib)
            transition = schedule(cluster.cib, now)
            unexplained = _unexplained(transition)
            assert not unexplained, f"{where}: no reason for {unexplained}"
            execution = execute(cluster.cib, transition, now, realistic=True)
            assert execution.complete, f"{where}: the transition could not be executed to its end"
            world.execute(transition, execution.executed)
            assert not world.faults, f"{where}: {world.faults}"
            placements.append(tuple(None if node is None else node.name for node in transition.assignment.node))
            if is_idle(transition):
                break
        else:
            # The field's placement rules can be restless (load balanced anew after each move; clones that must be apart but
            # cover all nodes): then it is the placement that goes back and forth, in a round, as Pacemaker's does on the same CIBs.
            assert placements[-1] != placements[-2], f"{where}: the same is done again and again"
            assert placements[-1] in placements[:-1], f"{where}: still not at rest after {STEPS} transitions"
            assert seed in RESTLESS or "VIGIL_POLICY_SEEDS" in os.environ, (
                f"{where}: not at rest, and not known to be so"
            )
            return
        faults = final_faults(transition)
        assert not faults, f"{where}: at rest, but {faults}"


def test_the_same_cluster_gives_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    for seed in (3, 5, 8):
        (tmp_path / f"{seed}.xml").write_bytes(etree.tostring(RandomCluster(seed).cib))
    program = (
        "import sys, hashlib\n"
        "from pathlib import Path\n"
        "from lxml import etree\n"
        "from crm.policy.schedule import schedule\n"
        "from crm.policy.render.dot import dot_text\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.xml')):\n"
        "    t = schedule(etree.fromstring(path.read_bytes()), 1700000000, show_scores=True)\n"
        "    text = t.to_xml() + dot_text(t, True) + chr(10).join(t.assignment.score_lines + t.summary.lines())\n"
        "    print(path.name, hashlib.sha256(text.encode()).hexdigest())\n"
    )
    results = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert len(results) == 1


def test_what_most_histories_say_is_read_by_a_short_way_that_comes_to_the_same_as_the_long_one() -> None:
    """A lone probe that found nothing is recognised by its text; written with a leading zero, it is read entry by entry."""
    for seed in range(12):
        cluster = RandomCluster(seed)
        now = 1_700_000_000
        for _ in range(EVENTS):
            cluster.perturb(now)
            execute(cluster.cib, schedule(cluster.cib, now), now, realistic=True)
            now += 10
            short = _everything(schedule(cluster.cib, now, show_scores=True))
            other = copy.deepcopy(cluster.cib)
            for probe in other.iterfind(".//lrm_rsc_op[@rc-code='7']"):
                probe.set("rc-code", "07")
            assert _everything(schedule(other, now, show_scores=True)) == short, f"seed {seed}"


def _unexplained(transition: Transition) -> list[str]:
    """Actions that will be carried out and do not say why."""
    explained = {reason.action for reason in transition.reasons() if reason.text}
    return [action.key for action in transition.synapses if not action.flags & PSEUDO and action.key not in explained]


def _everything(transition: Transition) -> tuple[str, list[str], list[str]]:
    return transition.to_xml(), transition.assignment.score_lines, transition.summary.lines()


def test_scheduling_changes_nothing_of_what_it_is_given() -> None:
    for seed in range(6):
        cib = RandomCluster(seed).cib
        before = etree.tostring(cib)
        first = schedule(cib, 1_700_000_000).to_xml()
        assert etree.tostring(cib) == before, f"seed {seed}"
        assert schedule(cib, 1_700_000_000).to_xml() == first, f"seed {seed}"
