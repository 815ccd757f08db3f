"""Two machines, a web service, and everything that can go wrong with one of them.

What is watched in every test: the service answers or comes back, and it is never up on both nodes. The web server
listens on all addresses of its node, so a client that asks each node's own address sees where it runs, whatever the virtual address does.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import UNHURRIED, LabCluster, web_service

from crm.lab import cluster
from crm.lab.layout import TieBreaker, Timers

KILLS = 10
PATIENT = Timers(keepalive_ms=2000, warntime_ms=6000, deadtime_ms=15_000, initdead_ms=20_000)
RESTART_GRACE = "60s"
"""A daemon that was killed should be back before its node counts as dead or lost, also on a busy machine."""
OVERLAP_WINDOW_S = 0.1
pytestmark = pytest.mark.usefixtures("machines")
MakeLab = Callable[..., LabCluster]


@pytest.fixture
def web(request: pytest.FixtureRequest, make_lab: MakeLab) -> LabCluster:
    """Two nodes with ping tie-breaker and power switch, patient ones where the test says so; the service answers."""
    made = make_lab(timers=PATIENT if request.node.get_closest_marker("patient") else UNHURRIED)
    made.configure(web_service(made.lab))
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    return made


@contextmanager
def never_on_two(made: LabCluster) -> Iterator[None]:
    """Asks both nodes' own addresses all the while, and demands that answers never interleave closely."""
    for node in made.lab.nodes:
        made.ask("probe-start", name=node, address=made.lab.address(node), port=made.lab.service_port())
    yield
    first, second = (
        [at for at, _ in made.ask("probe-report", name=node, stop=True)["answers"]] for node in made.lab.nodes
    )
    assert not interleaved(first, second), "the service was up on both nodes at one time"


def interleaved(first: list[float], second: list[float]) -> bool:
    """Whether an answer of one lies between two answers of the other that are close together."""
    for mine, others in ((first, second), (second, first)):
        position = 0
        for before, after in itertools.pairwise(mine):
            if after - before > OVERLAP_WINDOW_S:
                continue
            while position < len(others) and others[position] <= before:
                position += 1
            if position < len(others) and others[position] < after:
                return True
    return False


def test_interleaving_is_seen_and_a_handover_is_not() -> None:
    assert interleaved([1.0, 1.01, 1.02], [1.005])
    assert interleaved([5.0], [4.99, 5.01])
    assert not interleaved([1.0, 1.01], [2.0, 2.01])
    assert not interleaved([1.0, 1.01, 3.0], [2.0])


@pytest.mark.patient
@pytest.mark.parametrize("role", ["vigild", "messaging", "crm", "web"])
def test_killing_one_kind_of_process_ten_times_loses_nothing(web: LabCluster, role: str) -> None:
    web.crm("n1", "configure", "property", f"crm-restart-grace={RESTART_GRACE}")
    with never_on_two(web):
        for round_number in range(KILLS):
            node = web.server() if round_number % 2 == 0 or role == "web" else web.other(web.server())
            web.crm(web.other(node), "configure", "property", f"cluster-name=round-{round_number}")
            web.kill(node, role)
            web.first_answer(time.time())
            for each in web.lab.nodes:
                with cluster.api(web.lab, each) as client:
                    shown = client.call("cib.query", scope="crm_config")["xml"]
                assert f'value="round-{round_number}"' in shown, f"{each} lost an acknowledged change"
            web.wait_idle("n1")


def test_a_power_cut_moves_the_service_once_and_a_return_moves_nothing(web: LabCluster) -> None:
    victim = web.server()
    survivor = web.other(victim)
    with never_on_two(web):
        at = web.ask("crash", node=victim)["at"]
        web.first_answer(at, by=survivor)
        assert victim in web.fenced_since(at), "nothing may start before the power switch has confirmed"
        web.ask("power-on", node=victim)
        back = time.time()
        web.wait(lambda: web.online() == {"n1", "n2"}, f"{victim} has not rejoined")
        web.wait_idle(survivor)
    assert {node for _, node in web.answers(back)} == {survivor}


def test_a_partition_leaves_the_service_with_the_side_that_sees_the_ping_node(web: LabCluster) -> None:
    victim = web.server()
    survivor = web.other(victim)
    web.ask("probe-start", name="cut", device="lan1", address=web.lab.service_address, port=web.lab.service_port())
    cut = web.ask("partition", nodes=[victim])["at"]
    first, _ = web.first_answer(cut, by=survivor)
    assert victim in web.fenced_since(cut)
    last = max((at for at, _ in web.answers(cut, name="cut")), default=cut)
    assert last < first, "both sides answered on the virtual address"
    web.ask("heal")
    web.ask("power-on", node=victim)
    web.wait(lambda: web.online() == {"n1", "n2"}, f"{victim} has not rejoined after the partition healed")
    web.wait_idle(survivor)
    assert web.server() == survivor


def test_a_node_cut_off_without_the_service_is_fenced_and_the_service_stays(web: LabCluster) -> None:
    server = web.server()
    victim = web.other(server)
    cut = web.ask("partition", nodes=[victim])["at"]
    web.wait(lambda: victim in web.fenced_since(cut), f"{victim} was not fenced")
    web.wait_idle(server)
    assert {node for _, node in web.answers(cut)} == {server}


def test_a_paused_node_is_fenced_and_comes_back_clean(make_lab: MakeLab) -> None:
    made = make_lab()
    made.configure(web_service(made.lab, action="reboot"))
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    victim = made.server()
    survivor = made.other(victim)
    with never_on_two(made):
        at = made.ask("pause", node=victim)["at"]
        made.first_answer(at, by=survivor)
        assert victim in made.fenced_since(at)
        made.ask("resume", node=victim)
        made.wait(lambda: made.online() == {"n1", "n2"}, f"{victim} has not come back")
        made.wait_idle(survivor)
    assert made.server() == survivor


def test_a_split_without_tie_breaker_ends_with_one_owner(make_lab: MakeLab) -> None:
    made = make_lab(tie_breaker=TieBreaker.NONE)
    made.configure(web_service(made.lab))
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    with never_on_two(made):
        cut = made.ask("partition", nodes=["n2"])["at"]
        made.wait(lambda: bool(made.fenced_since(cut)), "neither side was fenced")
        left = [node for node in made.lab.nodes if node not in made.fenced_since(cut)]
        assert len(left) == 1, "both nodes were fenced"
        made.wait_idle(left[0])
        device = "lan1" if left == ["n2"] else None
        made.ask(
            "probe-start", name="left", device=device, address=made.lab.service_address, port=made.lab.service_port()
        )
        made.wait(lambda: bool(made.answers(cut, name="left")), "the survivor does not serve")


def test_fencing_wanted_but_no_device_means_that_nothing_starts_and_status_says_why(make_lab: MakeLab) -> None:
    made = make_lab()
    text = web_service(made.lab, fencing=False).replace("stonith-enabled=false", "stonith-enabled=true")
    made.crm("n1", "configure", "load", "update", "-", text=text)
    made.wait_idle("n1")
    assert not any(made.pids_of(node).get("web") for node in made.lab.nodes), "something was started"
    said = made.crm("n1", "status").stdout
    assert "stonith" in said.lower() or "fencing" in said.lower(), said
    assert "Stopped" in said and "Started" not in said, said


def test_standby_moves_the_service_and_online_takes_the_node_back(web: LabCluster) -> None:
    first = web.server()
    second = web.other(first)
    began = time.time()
    with never_on_two(web):
        web.crm(first, "node", "standby", first)
        web.first_answer(began, by=second)
        web.crm(first, "node", "online", first)
        web.wait_idle(second)
    assert web.server() == second, "stickiness keeps it where it is"


def test_a_clean_shutdown_moves_the_service_without_fencing(web: LabCluster) -> None:
    first = web.server()
    second = web.other(first)
    began = time.time()
    with never_on_two(web):
        web.ask("power-off", node=first)
        web.first_answer(began, by=second)
    assert not web.fenced_since(began)


def test_a_failed_service_is_restarted_in_place(web: LabCluster) -> None:
    node = web.server()
    web.kill(node, "web")
    web.wait_idle(node)
    assert web.server() == node
    assert "web" in web.crm(node, "status").stdout
    counted = web.crm(node, "resource", "failcount", "web", "show", node)
    assert f"web on {node}: 1" in counted.stdout


def test_ten_percent_loss_kills_nobody(web: LabCluster) -> None:
    if subprocess.run(["nft", "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("nft is not installed")
    at = time.time()
    web.ask("loss", percent=10)
    server = web.server()
    watched_until = at + 5.0
    web.first_answer(watched_until)
    assert not web.fenced_since(at)
    web.ask("heal")
    assert web.server() == server
