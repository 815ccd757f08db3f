"""The Pacemaker-compatible commands against real daemons: one cluster of two nodes for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Cluster, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("tools-live")]

BIN = Path(sys.executable).parent
POWER = """\
<primitive id="power" class="stonith" type="fence_test"><instance_attributes id="power-params">
<nvpair id="power-hosts" name="pcmk_host_list" value="n1 n2"/></instance_attributes></primitive>"""
WEB = """\
<primitive id="web" class="ocf" provider="vigil" type="Dummy"><meta_attributes id="web-meta">
<nvpair id="web-stickiness" name="resource-stickiness" value="100"/></meta_attributes><operations>
<op id="web-monitor" name="monitor" interval="1s"/></operations></primitive>"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("tools") / "cluster") as made:
        made.start()
        made.wait_online()
        made.apply("n1", POWER, scope="resources")
        made.apply("n1", WEB, scope="resources")
        wait_for(lambda: len(made.running("web")) == 1, "web to be started")
        made.wait_idle("n1")
        yield made


def run(cluster: Cluster, node: str, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command, *words = line.split()
    surroundings = {"PATH": os.environ["PATH"], "VIGIL_RUN_DIR": str(cluster.nodes[node].run_dir), **environment}
    return subprocess.run(
        [str(BIN / command), *words], env=surroundings, capture_output=True, text=True, check=False, timeout=240
    )


def say(cluster: Cluster, node: str, line: str, **environment: str) -> str:
    ran = run(cluster, node, line, **environment)
    assert ran.returncode == 0, f"{line}: {ran.returncode} {ran.stdout}{ran.stderr}"
    return ran.stdout


def wait_says(cluster: Cluster, node: str, line: str, expected: str) -> None:
    """Until a command says this on a node that the news may reach a moment after the one where it was made."""
    wait_for(lambda: run(cluster, node, line).stdout == expected, f"{line} on {node}: {expected}")


def test_nodes_know_themselves_and_each_other(cluster: Cluster) -> None:
    for number, name in ((1, "n1"), (2, "n2")):
        assert say(cluster, name, "crm_node -n") == f"{name}\n"
        assert say(cluster, name, "crm_node -i") == f"{number}\n"
        assert say(cluster, name, "crm_node -p") == "n1 n2\n"
        assert say(cluster, name, "crm_node -q") == "1\n"
        assert say(cluster, name, "crm_node -l") == "1 n1 member\n2 n2 member\n"
        assert say(cluster, name, "crm_node -N 2") == "n2\n"
    assert run(cluster, "n1", "crm_node -N 9").returncode == 105
    assert run(cluster, "n1", "crm_node -f -R n2").returncode == 107
    dc = say(cluster, "n1", "crmadmin -qD").strip()
    assert say(cluster, "n2", "crmadmin -D") == f"Designated Controller is: {dc}\n"
    assert say(cluster, "n1", "crmadmin -qN") == "n1\nn2\n"
    assert "online" in say(cluster, "n1", "crmadmin -S n2")


def test_a_transient_attribute_set_on_one_node_is_seen_on_the_other(cluster: Cluster) -> None:
    say(cluster, "n1", "attrd_updater -n speed -U 100")
    told = say(cluster, "n2", "attrd_updater -n speed -N n1 -Q")
    assert told == 'name="speed" host="n1" value="100"\n', "every member has it when the command ends"
    assert say(cluster, "n1", "crm_attribute -l reboot -n speed -Gq") == "100\n", "this node is meant"
    assert run(cluster, "n2", "crm_attribute -l reboot -n speed -G").returncode == 105
    say(cluster, "n2", "crm_attribute -N n1 -l reboot -n speed -v value+=5")
    assert say(cluster, "n1", "crm_attribute -N n1 -l reboot -n speed -Gq") == "105\n"
    for number in range(50):
        cluster.call("n1", "attribute.update", node="n2", name="speed", value=str(number))
        found = cluster.call("n2", "attribute.query", node="n2", name="speed")
        assert found["values"] == {"n2": {"speed": str(number)}}
    say(cluster, "n2", "attrd_updater -n speed -D")
    say(cluster, "n1", "attrd_updater -n speed -D")
    assert run(cluster, "n1", "attrd_updater -n speed -Q").returncode == 105


def test_a_dampened_attribute_is_known_at_once_and_written_later(cluster: Cluster) -> None:
    say(cluster, "n1", "attrd_updater -n ping -U 300 -d 60")
    assert say(cluster, "n1", "attrd_updater -n ping -Q") == 'name="ping" host="n1" value="300"\n'
    assert run(cluster, "n1", "crm_attribute -N n1 -l reboot -n ping -G").returncode == 105
    say(cluster, "n1", "attrd_updater -n ping -U 200")
    assert run(cluster, "n1", "crm_attribute -N n1 -l reboot -n ping -G").returncode == 105, (
        "the delay is the attribute's"
    )
    say(cluster, "n1", "attrd_updater -n ping -B 250 -d 0")
    wait_says(cluster, "n2", "crm_attribute -N n1 -l reboot -n ping -Gq", "250\n")


def test_permanent_attributes_options_and_utilization_reach_every_node(cluster: Cluster) -> None:
    say(cluster, "n1", "crm_attribute -N n2 -n site -v munich")
    assert say(cluster, "n2", "crm_attribute -n site -l forever -Gq") == "munich\n"
    say(cluster, "n1", "crm_attribute -n migration-limit -v 3")
    assert say(cluster, "n2", "crm_attribute -n migration-limit -Gq") == "3\n"
    say(cluster, "n2", "crm_attribute -t nodes --node n1 -z -n cpu -v 8")
    assert say(cluster, "n1", "crm_attribute -t nodes --node n1 -z -n cpu -q") == "8\n"


def test_an_agent_needs_no_option_to_say_who_and_where_it_is(cluster: Cluster) -> None:
    agent = {"OCF_RESOURCE_INSTANCE": "db", "OCF_RESKEY_CRM_meta_on_node": "n2"}
    say(cluster, "n2", "crm_attribute --promotion -v 50", **agent)
    assert say(cluster, "n2", "crm_master -l reboot -G -q", **agent) == "50\n"
    wait_says(cluster, "n1", "crm_attribute -N n2 -l reboot -n master-db -Gq", "50\n")
    say(cluster, "n2", "crm_attribute --promotion -D", **agent)
    wait_for(
        lambda: run(cluster, "n1", "crm_attribute -N n2 -l reboot -n master-db -G").returncode == 105,
        "it to be deleted",
    )


def test_standby_moves_what_runs_there(cluster: Cluster) -> None:
    (node,) = cluster.running("web")
    other = "n2" if node == "n1" else "n1"
    say(cluster, other, f"crm_standby -N {node} -v on")
    say(cluster, other, "crm_resource --wait -T 90")
    assert say(cluster, other, "crm_resource -r web -W -Q") == f"{other}\n"
    say(cluster, node, "crm_standby -D")
    say(cluster, node, "crm_resource --wait -T 90")


def test_moving_restarting_and_cleaning_up(cluster: Cluster) -> None:
    (node,) = cluster.running("web")
    other = "n2" if node == "n1" else "n1"
    say(cluster, node, f"crm_resource -r web -M -N {other}")
    say(cluster, node, "crm_resource --wait")
    assert cluster.running("web") == [other]
    say(cluster, node, "crm_resource -r web -U")
    say(cluster, node, "crm_resource --wait")
    since = time.time()
    say(cluster, node, "crm_resource -r web --restart")
    done = cluster.call(other, "events.recent", since_ms=int(since * 1000))["events"]
    tasks = [event["operation"] for event in done if event["event"] == "action_result" and event["resource"] == "web"]
    assert [task for task in tasks if task != "monitor"] == ["stop", "start"]
    assert cluster.running("web") == [other]
    assert run(cluster, node, "crm_resource -r web -m -g target-role").returncode == 105, "as it was before"
    assert "Cleaned up web on all nodes" in say(cluster, node, "crm_resource -C -r web")
    assert "Refreshed web on n1" in say(cluster, node, "crm_resource -R -r web -N n1")
    say(cluster, node, "crm_resource --wait")
    assert cluster.running("web") == [other]


def test_the_cib_is_read_changed_and_checked(cluster: Cluster) -> None:
    assert '<node id="2" uname="n2"' in say(cluster, "n1", "cibadmin -Q -o nodes")
    before = cluster.cib("n1").get("epoch")
    say(cluster, "n2", "cibadmin --bump")
    assert int(cluster.cib("n1").get("epoch") or 0) == int(before or 0) + 1
    assert say(cluster, "n1", "crm_verify -L") == ""
    assert run(cluster, "n1", "cibadmin -E").returncode == 107
    shown = say(cluster, "n1", "crm_mon -1r")
    assert "  * Online: [ n1 n2 ]\n" in shown and "(ocf:vigil:Dummy):" in shown


def test_what_the_running_cluster_would_do_can_be_simulated(cluster: Cluster) -> None:
    (node,) = cluster.running("web")
    status = say(cluster, "n1", "crm_simulate -L")
    assert "    * Online: [ n1 n2 ]" in status and f"Started {node}" in status
    other = "n2" if node == "n1" else "n1"
    simulated = say(cluster, "n1", f"crm_simulate -LS -d {node}")
    assert f"  * Taking node {node} offline" in simulated and f"Started {other}" in simulated
    assert cluster.running("web") == [node], "nothing of it has happened"


def test_a_node_is_fenced_and_the_history_tells(cluster: Cluster) -> None:
    """Last: it takes a node away."""
    assert say(cluster, "n1", "stonith_admin -L") == " * power\n1 fence device found\n"
    assert run(cluster, "n1", "stonith_admin -F nx").returncode == 105
    assert run(cluster, "n1", "stonith_admin -C n2").returncode == 103, "it is there"
    say(cluster, "n1", "stonith_admin --fence n2")
    assert "n2" in cluster.fenced()
    assert "off of n2" in say(cluster, "n1", "stonith_admin -H n2")
    assert "never" not in say(cluster, "n1", "stonith_admin -h n2")
    wait_for(lambda: say(cluster, "n1", "crm_node -p") == "n1\n", "n2 to be gone")
    assert say(cluster, "n1", "crm_node -l") == "1 n1 member\n2 n2 lost\n"
