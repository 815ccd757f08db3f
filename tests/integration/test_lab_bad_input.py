"""What people and disks can do to a running cluster: broken files, wrong statements, damaged copies of the CIB.

Every test ends in the same way: nothing that was accepted before is gone, and no node has printed a traceback.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import LabCluster, web_service

from crm.api import errors
from crm.api.errors import ApiError
from crm.lab import cluster

pytestmark = pytest.mark.usefixtures("machines")
MakeLab = Callable[..., LabCluster]


@pytest.fixture
def web(make_lab: MakeLab) -> Iterator[LabCluster]:
    """Two nodes and a service that answers; no node may have printed a traceback at the end."""
    made = make_lab()
    made.configure(web_service(made.lab))
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    yield made
    for node in made.lab.nodes:
        assert "Traceback" not in made.lab.log(node).read_text(errors="replace"), f"{node} printed a traceback"


def log_since(made: LabCluster, node: str, position: int) -> str:
    return made.lab.log(node).read_text(errors="replace")[position:]


def status(made: LabCluster, node: str) -> str:
    """The text without its line breaks."""
    return " ".join(made.crm(node, "status").stdout.split())


# --- vigil.toml -------------------------------------------------------------------------------------------------------


def spoil(text: str) -> tuple[str, dict[str, int]]:
    """A vigil.toml with three faults, and the line of each by its key."""
    lines = text.splitlines()
    deadtime = next(number for number, line in enumerate(lines) if line.startswith("deadtime_ms"))
    lines[deadtime] = 'deadtime_ms = "soon"'
    lines.insert(deadtime + 1, "patience = 3")
    rule = next(number for number, line in enumerate(lines) if line.startswith("policy"))
    lines[rule] = "expected_votes = -1"
    faults = {"timers.deadtime_ms": deadtime + 1, "timers.patience": deadtime + 2, "quorum.expected_votes": rule + 1}
    return "\n".join(lines) + "\n", faults


def test_a_broken_vigil_toml_is_refused_with_every_fault_and_the_node_comes_back_when_it_is_mended(
    web: LabCluster,
) -> None:
    victim = web.server()
    survivor = web.other(victim)
    config = web.lab.config(victim)
    good = config.read_text()
    broken, faults = spoil(good)
    config.write_text(broken)
    position = web.lab.log(victim).stat().st_size
    resolved = (web.lab.run_dir(victim) / "resolved.json").read_bytes()

    # vigild alone dies: the next one refuses the file, and what runs goes on without it.
    children = web.pids_of(victim)
    os.kill(children["vigild"][0], signal.SIGKILL)
    web.wait(lambda: all(key in log_since(web, victim, position) for key in faults), "the faults are not all named")
    said = log_since(web, victim, position)
    for key, line in faults.items():
        assert f"{config}:{line}: {key}" in said
    assert web.server() == victim
    assert web.pids_of(victim)["crm"] == children["crm"]
    assert (web.lab.run_dir(victim) / "resolved.json").read_bytes() == resolved, "half of it was taken over"

    config.write_text(good)
    web.wait(lambda: "watching it" in log_since(web, victim, position), "vigild is not back")
    assert web.pids_of(victim)["crm"] == children["crm"], "vigild takes over what runs"

    # The whole node is restarted with it: it leaves cleanly, and does not come half-way up.
    config.write_text(broken)
    position = web.lab.log(victim).stat().st_size
    web.ask("stop-vigild", node=victim)
    web.first_answer(time.time(), by=survivor)
    web.wait(lambda: not web.pids_of(victim).get("crm"), "crm goes on")
    web.ask("start-vigild", node=victim)
    web.wait(lambda: all(key in log_since(web, victim, position) for key in faults), "the faults are not all named")
    running = web.pids_of(victim)
    assert not running.get("crm") and not running.get("messaging")
    assert web.server() == survivor
    config.write_text(good)
    web.wait(lambda: web.online() == {"n1", "n2"}, f"{victim} has not come back")
    assert web.fenced_since(0.0) == []


# --- statements -------------------------------------------------------------------------------------------------------

REFUSED = [
    ("primitive x ocf:vigil:Nothing", ("x", "ocf:vigil:Nothing")),
    ("primitive y ocf:vigil:WebServer params prot=80", ("y", "prot")),
    ("primitive z ocf:vigil:IPaddr", ("z", "ip")),
    ("location l nothing 100: n1", ("l", "nothing")),
    ("group g web-ip nothing", ("g", "nothing")),
    ("colocation c inf: web-service nothing", ("c", "nothing")),
    ("order o web-service nothing", ("o", "nothing")),
]

SYNTAX = """primitive x ocf:vigil:Dummy
primitive y
location l web-service much: n1
colocation c inf: "web-service x
"""


def test_wrong_statements_are_refused_with_the_place_and_nothing_changes(web: LabCluster) -> None:
    before = web.crm("n1", "configure", "show").stdout
    server, began = web.server(), time.time()
    for text, expected in REFUSED:
        refused = web.crm("n1", "configure", *text.split(), check=False)
        said = refused.stdout + refused.stderr
        assert refused.returncode != 0, f"{text!r} was accepted: {said}"
        assert all(word in said for word in expected), f"{text!r}: {said}"
        assert "Traceback" not in said

    together = web.crm(
        "n1", "configure", "load", "update", "-", text="\n".join(text for text, _ in REFUSED[:3]), check=False
    )
    said = together.stdout + together.stderr
    assert together.returncode != 0
    for word in ("ocf:vigil:Nothing", "prot", "ip"):
        assert word in said, f"not all problems are named at once: {said}"

    syntax = web.crm("n1", "configure", "load", "update", "-", text=SYNTAX, check=False)
    said = syntax.stdout + syntax.stderr
    assert syntax.returncode != 0 and "Traceback" not in said
    for place in ("line 2, column 12", "line 3, column 24", "line 4, column 19"):
        assert place in said, f"{place} is not in {said}"

    with cluster.api(web.lab, "n1") as client:
        for xml in (
            "<resources><primitive",
            '<resources><group id="g"><primitive id="a" class="ocf"/></group></resources>',
            '<resources><primitive id="a" class="ocf" provider="vigil" type="Dummy"/>'
            '<primitive id="a" class="ocf" provider="vigil" type="Dummy"/></resources>',
        ):
            with pytest.raises(ApiError) as refusal:
                client.call("cib.apply", operation="replace", scope="resources", xml=xml)
            assert refusal.value.code in (errors.INVALID, errors.BAD_REQUEST), refusal.value

    assert web.crm("n1", "configure", "show").stdout == before
    assert web.crm("n2", "configure", "show").stdout == before
    assert {node for _, node in web.answers(began)} == {server}


def test_what_runs_is_not_deleted_unless_forced_and_then_it_is_stopped_and_nobody_is_fenced(web: LabCluster) -> None:
    node = web.server()
    refused = web.crm("n1", "configure", "delete", "web-service", "web", check=False)
    assert refused.returncode == 1 and f"web runs on {node}" in refused.stderr
    assert "crm resource stop" in refused.stderr

    other_address = web.lab.service_address.rpartition(".")[0] + ".101"
    web.crm("n1", "resource", "param", "web-ip", "set", "ip", other_address)
    web.wait(lambda: other_address in addresses(web, node), "the new address does not come")
    assert web.lab.service_address not in addresses(web, node), "the old one was left"

    web.crm("n1", "--wait", "configure", "delete", "--force", "web-service", "web", "web-ip")
    web.wait(lambda: other_address not in addresses(web, node), "a deleted address is left")
    web.wait_idle("n1")
    assert web.fenced_since(0.0) == []


def addresses(made: LabCluster, node: str) -> str:
    command = ["ip", "-4", "-o", "address", "show"]
    return str(cluster.run(made.lab, node, command, capture_output=True, text=True).stdout)


# --- the CIB on disk --------------------------------------------------------------------------------------------------


def cib_folder(made: LabCluster, node: str) -> Path:
    return made.lab.state_dir(node) / "cib"


def truncate(made: LabCluster, node: str) -> None:
    path = cib_folder(made, node) / "cib.xml"
    path.write_bytes(path.read_bytes()[:200])


def tamper(made: LabCluster, node: str) -> None:
    """It is still well-formed; only the digest can tell."""
    path = cib_folder(made, node) / "cib.xml"
    path.write_bytes(path.read_bytes().replace(b"third", b"thief"))


def damage_all(made: LabCluster, node: str) -> None:
    for path in cib_folder(made, node).glob("cib*.xml"):
        path.write_bytes(path.read_bytes()[:100])


def off(made: LabCluster) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: made.ask("crash", node=node), made.lab.nodes))


def on(made: LabCluster) -> float:
    """All at one time: whoever is up long before the others would fence them."""
    at = time.time()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: made.ask("power-on", node=node), made.lab.nodes))
    return at


def name_the_cluster(made: LabCluster, name: str) -> None:
    made.crm("n1", "configure", "property", f"cluster-name={name}")


def configured(made: LabCluster, node: str) -> str:
    return made.crm(node, "configure", "show").stdout


def test_damaged_copies_of_the_cib_are_kept_and_the_last_good_one_is_used(web: LabCluster) -> None:
    for name in ("first", "second", "third"):
        name_the_cluster(web, name)

    off(web)
    truncate(web, "n1")
    at = on(web)
    web.first_answer(at)
    web.wait_formed()
    for node in web.lab.nodes:
        assert "cluster-name=third" in configured(web, node), "the other node had the newest copy"
    assert [path.stat().st_size for path in (cib_folder(web, "n1") / "damaged").glob("*.xml")] == [200]
    assert "is damaged" in web.lab.log("n1").read_text()
    assert "damaged" in status(web, "n1")

    name_the_cluster(web, "second")
    name_the_cluster(web, "third")
    off(web)
    truncate(web, "n1")
    tamper(web, "n2")
    at = on(web)
    web.first_answer(at)
    web.wait_formed()
    for node in web.lab.nodes:
        assert "cluster-name=second" in configured(web, node), "the last good copy"
        assert "going on from version" in status(web, node)
    assert b"thief" in b"".join(path.read_bytes() for path in (cib_folder(web, "n2") / "damaged").glob("*.xml"))


def test_a_node_that_has_lost_every_copy_takes_the_others_and_never_empties_the_cluster(make_lab: MakeLab) -> None:
    made = make_lab()
    made.configure(web_service(made.lab))
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    name_the_cluster(made, "third")
    good = made.crm("n1", "configure", "save", "xml", "-").stdout

    off(made)
    damage_all(made, "n1")
    at = on(made)
    made.first_answer(at)
    made.wait_formed()
    for node in made.lab.nodes:
        assert "cluster-name=third" in configured(made, node)

    off(made)
    for node in made.lab.nodes:
        damage_all(made, node)
    at = on(made)
    made.wait(lambda: "every copy of the configuration on n1, n2 is damaged" in said(made), "status does not say it")
    refused = made.crm("n1", "configure", "property", "cluster-name=fourth", check=False)
    assert refused.returncode != 0 and "Traceback" not in refused.stdout + refused.stderr
    assert not made.answers(at), "something runs"
    assert made.fenced_since(at) == []

    made.ask("crash", node="n1")
    (cib_folder(made, "n1") / "cib.xml").write_text(good)
    made.ask("power-on", node="n1")
    made.first_answer(at)
    made.wait_formed()
    for node in made.lab.nodes:
        assert "cluster-name=third" in configured(made, node)
        assert "Traceback" not in made.lab.log(node).read_text(errors="replace")


def said(made: LabCluster) -> str:
    asked = made.crm("n1", "status", check=False)
    return " ".join((asked.stdout + asked.stderr).split())
