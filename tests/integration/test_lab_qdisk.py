"""Two machines that share a quorum disk: whatever happens to one, exactly one side goes on and serves.

All nodes see the disk throughout, also when the network between them is cut. What a cycle leaves behind is where the next
fault begins, so each lab goes through several.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from conftest import LabCluster, web_service

from crm.lab import cluster
from crm.lab.layout import TieBreaker

pytestmark = pytest.mark.usefixtures("machines")
MakeLab = Callable[..., LabCluster]


@pytest.fixture
def web(make_lab: MakeLab) -> LabCluster:
    """Two nodes with a quorum disk and a power switch; the service answers."""
    made = make_lab(tie_breaker=TieBreaker.QDISK)
    made.configure(web_service(made.lab, action="off"))
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    return made


def master(made: LabCluster) -> str:
    """Who says of itself that it has evidence."""
    found: list[str] = []

    def said() -> bool:
        # One is asked after the other, and it may change hands in between: who still has it when the other has answered did not give it away.
        first, second = ([node for node in made.lab.nodes if quorum_of(made, node).get("evidence")] for _ in range(2))
        found[:] = [node for node in first if node in second]
        assert len(found) < 2, "both nodes have evidence"
        return len(found) == 1 and len(second) == 1

    made.wait(said, "nobody is master on the quorum disk")
    return found[0]


def quorum_of(made: LabCluster, node: str) -> dict[str, object]:
    try:
        with cluster.api(made.lab, node, timeout_s=5.0) as client:
            answer: dict[str, object] = client.call("messaging.query", name="quorum")
            return answer
    except cluster.ApiError:
        return {}


def wait_fenced(made: LabCluster, victim: str, since: float) -> None:
    made.wait(lambda: bool(made.fenced_since(since)), f"{victim} was not fenced")
    made.wait_idle(made.other(victim))
    assert set(made.fenced_since(since)) == {victim}


def come_back(made: LabCluster, node: str) -> None:
    made.ask("heal")
    made.ask("power-on", node=node)
    made.wait(lambda: made.online() == set(made.lab.nodes), f"{node} has not rejoined")
    made.wait_idle(made.other(node))


def views_of(made: LabCluster, node: str) -> list[str]:
    text = made.lab.log(node).read_text(errors="replace")
    return re.findall(r"messaging INFO view [\d.]+: (.*)", text)


def quorate_alone(made: LabCluster, node: str) -> bool:
    members, _, rest = views_of(made, node)[-1].partition(";")
    return members.split() == [node] and rest.startswith(" quorate:")


def test_when_either_node_dies_the_other_is_quorate_and_serves(web: LabCluster) -> None:
    for victim in (master(web), web.other(master(web)), master(web)):
        survivor = web.other(victim)
        at = web.ask("crash", node=victim)["at"]
        web.wait(lambda s=survivor: quorate_alone(web, s), "it does not go on alone")  # type: ignore[misc]
        wait_fenced(web, victim, at)
        web.first_answer(time.time(), by=survivor)
        assert master(web) == survivor
        come_back(web, victim)


def test_when_the_network_is_cut_only_the_half_with_the_master_goes_on(web: LabCluster) -> None:
    for cut_the_master in (False, True):
        winner = master(web)
        loser = web.other(winner)
        cut = web.ask("partition", nodes=[winner if cut_the_master else loser])["at"]
        wait_fenced(web, loser, cut)
        web.ask("heal")
        web.first_answer(time.time(), by=winner)
        alone = [view for view in views_of(web, loser) if len(view.split(";")[0].split()) == 1]
        assert not [view for view in alone[-1:] if "; quorate:" in view], f"{loser} claimed quorum: {alone}"
        come_back(web, loser)


def test_a_node_that_is_paused_is_replaced_and_claims_nothing_when_it_goes_on(web: LabCluster) -> None:
    for victim in (master(web), web.other(master(web))):
        survivor = web.other(victim)
        at = web.ask("pause", node=victim)["at"]
        wait_fenced(web, victim, at)
        web.first_answer(time.time(), by=survivor)
        web.ask("resume", node=victim)
        assert master(web) == survivor
        come_back(web, victim)


def test_a_master_that_is_stopped_or_whose_messaging_is_killed_costs_the_other_no_quorum(make_lab: MakeLab) -> None:
    made = make_lab(tie_breaker=TieBreaker.QDISK)
    made.configure("property stonith-enabled=false\n")
    first = master(made)
    second = made.other(first)
    before = len(views_of(made, second))
    made.ask("power-off", node=first)
    made.wait(lambda: len(views_of(made, second)[-1].split(";")[0].split()) == 1, "no view alone")
    assert not [view for view in views_of(made, second)[before:] if "; quorate:" not in view]
    assert master(made) == second
    come_back(made, first)
    made.kill(second, "messaging")
    made.wait(lambda: master(made) in made.lab.nodes, "nobody takes over")
    # It may be back before its old life is counted as dead; then the other is alone, without evidence, for some milliseconds.
    made.wait(lambda: views_of(made, first)[-1].startswith("n1 n2; quorate:"), "they do not find together")


def test_without_fencing_the_node_that_lost_is_evicted_and_stands_alone_until_it_is_heard_again(
    make_lab: MakeLab,
) -> None:
    made = make_lab(tie_breaker=TieBreaker.QDISK)
    made.configure("property stonith-enabled=false\n")
    winner = master(made)
    loser = made.other(winner)
    made.ask("partition", nodes=[loser])
    made.wait(lambda: quorum_of(made, loser).get("quorate") is False, f"{loser} still claims quorum")
    made.wait(lambda: quorum_of(made, winner).get("quorate") is True, f"{winner} does not go on")
    made.wait(
        lambda: f"node {winner} has evicted this node" in made.lab.log(loser).read_text(errors="replace"),
        f"{loser} has not found the mark against it",
    )
    made.ask("heal")
    made.wait(lambda: made.online() == {"n1", "n2"}, "they do not find together")
    made.wait(lambda: all(quorum_of(made, node).get("quorate") for node in made.lab.nodes), "no quorum")

    def mark() -> object:
        detail = quorum_of(made, loser).get("evidence_detail")
        return detail.get("evicted_by") if isinstance(detail, dict) else None

    made.wait(lambda: mark() == "", "the mark stays")
