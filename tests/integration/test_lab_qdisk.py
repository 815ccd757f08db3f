"""Two machines that share a quorum disk: whatever happens to one, exactly one side goes on and serves.

All nodes see the disk throughout, also when the network between them is cut. What a cycle leaves behind is where the next
fault begins, so each lab goes through several.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

import pytest
from conftest import LabCluster, web_service

from crm.lab import cluster
from crm.lab.layout import TieBreaker

pytestmark = [pytest.mark.usefixtures("machines"), pytest.mark.undisturbed]
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
        found[:] = [node for node in made.lab.nodes if quorum_of(made, node).get("evidence")]
        assert len(found) < 2, "both nodes have evidence"
        return len(found) == 1

    made.wait(said, "nobody is master on the quorum disk")
    return found[0]


def quorum_of(made: LabCluster, node: str) -> dict[str, object]:
    try:
        with cluster.api(made.lab, node, timeout_s=5.0) as client:
            answer: dict[str, object] = client.call("messaging.query", name="quorum")
            return answer
    except cluster.ApiError:
        return {}


def other(made: LabCluster, node: str) -> str:
    return next(each for each in made.lab.nodes if each != node)


def wait_fenced(made: LabCluster, victim: str, since: float) -> None:
    made.wait(lambda: bool(made.fenced_since(since)), f"{victim} was not fenced")
    made.wait_idle(other(made, victim))
    assert set(made.fenced_since(since)) == {victim}


def come_back(made: LabCluster, node: str) -> None:
    made.ask("heal")
    made.ask("power-on", node=node)
    made.wait(lambda: made.online() == set(made.lab.nodes), f"{node} has not rejoined")
    made.wait_idle(other(made, node))


def views_of(made: LabCluster, node: str) -> list[str]:
    text = made.lab.log(node).read_text(errors="replace")
    return re.findall(r"messaging INFO view [\d.]+: (.*)", text)


def test_when_either_node_dies_the_other_is_quorate_within_deadtime_and_serves(web: LabCluster) -> None:
    for victim in (master(web), other(web, master(web)), master(web)):
        survivor = other(web, victim)
        at = web.ask("crash", node=victim)["at"]
        took_s = web.wait(lambda s=survivor: len(views_of(web, s)[-1].split(";")[0].split()) == 1, "no view alone")  # type: ignore[misc]
        assert "; quorate:" in views_of(web, survivor)[-1], "the disk had decided when the view was formed"
        assert took_s < 1.1 * web.lab.timers.deadtime_ms / 1000 + 0.2
        wait_fenced(web, victim, at)
        web.first_answer(time.time(), by=survivor)
        assert master(web) == survivor
        come_back(web, victim)


def test_when_the_network_is_cut_only_the_half_with_the_master_goes_on(web: LabCluster) -> None:
    for cut_the_master in (False, True):
        winner = master(web)
        loser = other(web, winner)
        cut = web.ask("partition", nodes=[winner if cut_the_master else loser])["at"]
        wait_fenced(web, loser, cut)
        web.ask("heal")
        web.first_answer(time.time(), by=winner)
        alone = [view for view in views_of(web, loser) if len(view.split(";")[0].split()) == 1]
        assert not [view for view in alone[-1:] if "; quorate:" in view], f"{loser} claimed quorum: {alone}"
        come_back(web, loser)


def test_a_node_that_is_paused_is_replaced_and_claims_nothing_when_it_goes_on(web: LabCluster) -> None:
    for victim in (master(web), other(web, master(web))):
        survivor = other(web, victim)
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
    second = other(made, first)
    before = len(views_of(made, second))
    made.ask("power-off", node=first)
    made.wait(lambda: len(views_of(made, second)[-1].split(";")[0].split()) == 1, "no view alone")
    assert not [view for view in views_of(made, second)[before:] if "; quorate:" not in view]
    assert master(made) == second
    come_back(made, first)
    os.kill(made.pids_of(second)["messaging"][0], signal.SIGKILL)
    made.wait(lambda: views_of(made, first)[-1].startswith("n1 n2;") and master(made) == first, "not taken over")
    made.wait(lambda: made.online() == {"n1", "n2"}, "they do not find together")
    assert not [view for view in views_of(made, first)[-4:] if "; quorate:" not in view]


def test_without_fencing_the_node_that_lost_is_evicted_and_stands_alone_until_it_is_heard_again(
    make_lab: MakeLab,
) -> None:
    made = make_lab(tie_breaker=TieBreaker.QDISK)
    made.configure("property stonith-enabled=false\n")
    winner = master(made)
    loser = other(made, winner)
    made.ask("partition", nodes=[loser])
    made.wait(lambda: quorum_of(made, loser).get("quorate") is False, f"{loser} still claims quorum")
    assert quorum_of(made, winner)["quorate"] is True
    made.wait(
        lambda: f"node {winner} has evicted this node" in made.lab.log(loser).read_text(errors="replace"),
        f"{loser} has not found the mark against it",
    )
    made.ask("heal")
    made.wait(lambda: made.online() == {"n1", "n2"}, "they do not find together")
    made.wait(lambda: all(quorum_of(made, node).get("quorate") for node in made.lab.nodes), "no quorum")
    detail = quorum_of(made, loser)["evidence_detail"]
    assert isinstance(detail, dict)
    made.wait(lambda: quorum_of(made, loser)["evidence_detail"]["evicted_by"] == "", "the mark stays")  # type: ignore[index]
