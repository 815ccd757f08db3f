"""What administrators do to a running cluster, and see before they do it: one cluster of three nodes for all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Cluster, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("operators-live")]

BIN = Path(sys.executable).parent
NOBODY = 65534
TEXT = """\
primitive power stonith:fence_test params pcmk_host_list="n1 n2 n3"
primitive web ocf:vigil:Dummy params fake=hidden meta target-role=Started op monitor interval=1s
primitive db ocf:vigil:Dummy
rsc_defaults resource-stickiness=100
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("operators") / "cluster", count=3) as made:
        for node in made.nodes.values():
            file = node.folder / "vigil.toml"
            file.write_text(file.read_text() + f'\n[api]\ngroup = "{NOBODY}"\n')
        made.start()
        made.wait_online()
        crm(made, "n1", "configure load update -", text=TEXT)
        wait_for(lambda: len(made.running("web")) == 1 and len(made.running("db")) == 1, "resources to run")
        made.wait_idle("n1")
        yield made


def run(
    cluster: Cluster, node: str, line: str, text: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command, *words = line.split()
    surroundings = {
        "PATH": os.environ["PATH"],
        "VIGIL_RUN_DIR": str(cluster.nodes[node].run_dir),
        "VIGIL_FENCE_PATH": str(cluster.folder / "fence"),
        "CRM_SHADOW_DIR": str(cluster.folder / "shadows"),
        **environment,
    }
    return subprocess.run(
        [str(BIN / command), *words],
        env=surroundings,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def say(cluster: Cluster, node: str, line: str, **environment: str) -> str:
    ran = run(cluster, node, line, **environment)
    assert ran.returncode == 0, f"{line}: {ran.returncode} {ran.stdout}{ran.stderr}"
    return ran.stdout


def wait_says(cluster: Cluster, node: str, line: str, expected: str) -> None:
    """Until a command says this on a node that the news may reach a moment after the one where it was made."""
    wait_for(lambda: run(cluster, node, line).stdout == expected, f"{line} on {node}: {expected}")


def crm(cluster: Cluster, node: str, line: str, text: str | None = None, **environment: str) -> str:
    ran = run(cluster, node, f"crm {line}", text, **environment)
    assert ran.returncode == 0, f"crm {line}: {ran.returncode} {ran.stdout}{ran.stderr}"
    return ran.stdout


def where(cluster: Cluster, resource: str) -> str:
    (node,) = cluster.running(resource)
    return node


def test_the_way_back_to_an_earlier_configuration_is_shown_before_it_is_taken(cluster: Cluster) -> None:
    version = cluster.call("n1", "cib.history")["versions"][0]["serial"]
    crm(cluster, "n2", "--wait resource stop web")
    crm(cluster, "n2", "configure primitive late ocf:vigil:Dummy")
    history = crm(cluster, "n1", "cib history -n 3").splitlines()
    assert history[1].endswith(": +late") and history[2].endswith(": web") and " on n2:" in history[2]
    assert "+primitive late ocf:vigil:Dummy" in crm(cluster, "n1", "cib diff")
    cluster.wait_idle("n1")
    preview = crm(cluster, "n1", f"cib rollback {version} --preview")
    assert "-primitive late" in preview and "* Start      web" in preview and "* Stop       late" in preview
    assert cluster.running("web") == [] and len(cluster.running("late")) == 1, "nothing has happened"
    assert run(cluster, "n1", f"crm cib rollback {version}").returncode == 1, "nobody was there to say yes"
    crm(cluster, "n1", f"--wait cib rollback {version} --force")
    wait_for(lambda: len(cluster.running("web")) == 1 and not cluster.running("late"), "the way back to be taken")
    assert "is that of version" in crm(cluster, "n1", f"cib rollback {version} --force")
    assert "no usable version" in run(cluster, "n1", "crm cib rollback 99999").stderr


def test_what_the_end_of_maintenance_leads_to_is_shown_before(cluster: Cluster) -> None:
    crm(cluster, "n1", "maintenance on")
    crm(cluster, "n1", "--wait resource stop web")
    assert len(cluster.running("web")) == 1, "it is left alone"
    shown = crm(cluster, "n1", "maintenance off --preview")
    assert "* Stop       web" in shown and "maintenance-mode=true" in crm(cluster, "n1", "configure show")
    assert "* Stop       web" in crm(cluster, "n1", "--wait maintenance off")
    assert cluster.running("web") == []
    crm(cluster, "n1", "--wait resource start web")
    assert "is not in maintenance" in run(cluster, "n1", "crm maintenance off").stderr
    node = where(cluster, "web")
    crm(cluster, "n1", f"node maintenance {node} reboot")
    crm(cluster, "n1", "--wait resource stop web")
    assert cluster.running("web") == [node]
    assert "* Stop       web" in crm(cluster, "n1", f"maintenance off {node} --preview")
    assert "* Stop       web" in crm(cluster, "n1", f"maintenance off {node}")
    wait_for(lambda: cluster.running("web") == [], "web to be stopped when the maintenance of its node has ended")
    assert "is not in maintenance" in run(cluster, "n1", f"crm maintenance off {node}").stderr
    crm(cluster, "n1", "--wait resource start web")
    assert "nothing was done" in run(cluster, "n1", "crm --preview --force node fence n2").stderr
    assert cluster.fenced() == []


def test_a_shadow_is_tried_and_committed(cluster: Cluster) -> None:
    crm(cluster, "n1", "cib new trial")
    crm(cluster, "n1", "configure primitive tried ocf:vigil:Dummy", CIB_shadow="trial")
    assert "tried" in say(cluster, "n1", "crm_resource -l", CIB_shadow="trial")
    assert "tried" not in say(cluster, "n1", "crm_resource -l")
    assert "+primitive tried" in crm(cluster, "n1", "cib diff trial")
    crm(cluster, "n1", "--wait cib commit trial")
    assert len(cluster.running("tried")) == 1
    crm(cluster, "n1", "--force --wait configure delete tried")
    crm(cluster, "n1", "cib reset trial")
    assert crm(cluster, "n1", "cib diff trial") == "no difference\n"
    crm(cluster, "n1", "cib delete trial")
    assert "there is no shadow" in run(cluster, "n1", "crm status", CIB_shadow="trial").stderr


def test_a_resource_declared_failed_is_recovered_and_forgiven(cluster: Cluster) -> None:
    node = where(cluster, "web")
    crm(cluster, "n1", f"--wait resource fail web {node}")
    assert f"web on {node}: 1" in crm(cluster, "n2", "resource failcount web")
    assert len(cluster.running("web")) == 1
    assert "0 histories" in say(cluster, "n1", "crm_resource -C -r web -n monitor -I 1s")
    assert "1 histories" in say(cluster, "n1", "crm_resource -C -r web -n asyncmon")
    assert f"web on {node}: 0" in crm(cluster, "n2", "resource failcount web")


def test_a_monitor_is_traced_without_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    since_ms = int(time.time() * 1000)
    crm(cluster, "n1", f"--wait resource trace web monitor --dir {tmp_path}")
    wait_for(lambda: list(tmp_path.glob("Dummy/web.monitor.*")), "a trace")
    crm(cluster, "n1", "--wait resource untrace web")
    cluster.wait_idle("n1")
    done = [
        event["operation"]
        for name in cluster.nodes
        for event in cluster.call(name, "events.recent", since_ms=since_ms)["events"]
        if event["event"] in ("action", "action_result") and event.get("resource") == "web"
    ]
    assert "monitor" in done and "stop" not in done


def test_a_node_that_was_shut_down_gets_its_resources_back(cluster: Cluster) -> None:
    dc = cluster.call("n1", "membership")["dc"]
    node = next(name for name in ("n2", "n3") if name != dc)
    crm(cluster, "n1", "configure property shutdown-lock=true")
    crm(cluster, "n1", f"--wait resource move web {node}")
    crm(cluster, "n1", "--wait resource clear web")
    assert cluster.running("web") == [node]
    cluster.stop(node)
    cluster.wait_idle("n1")
    assert cluster.running("web") == []
    assert f"locked to {node}" in crm(cluster, "n1", "why web")
    cluster.start(node)
    wait_for(lambda: cluster.running("web") == [node], "it to come back")
    crm(cluster, "n1", "configure property shutdown-lock=false")


def test_another_user_sees_and_does_what_the_lists_say(cluster: Cluster) -> None:
    """As nobody, who is let in by his group. Who is not root cannot become somebody else; then the lists are only looked at."""
    crm(
        cluster,
        "n1",
        "configure load update -",
        text="role op read xpath:/cib deny params:web write meta:web:target-role\nacl_target nobody op\n"
        "property enable-acl=true\n",
    )
    if os.geteuid() == 0:
        for parent in (cluster.nodes["n1"].run_dir, *cluster.nodes["n1"].run_dir.parents):
            if "pytest" in str(parent):
                parent.chmod(0o755)
        program = (
            "import json, os, sys; from crm.api.client import Client; from crm.api.errors import ApiError\n"
            f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
            "client, answers = Client(sys.argv[1]), []\n"
            "for method, params in json.loads(sys.argv[2]):\n"
            "    try: answers.append(client.call(method, **params))\n"
            "    except ApiError as error: answers.append(error.code)\n"
            "print(json.dumps(answers))"
        )
        path = "/cib/configuration/resources/primitive[@id='web']/meta_attributes/nvpair[@name='target-role']"
        pair = cluster.cib("n1", path).get("id")
        change = {"operation": "modify", "xml": f'<nvpair id="{pair}" value="Stopped"/>'}
        calls = [
            ["cib.query", {}],
            ["cib.apply", change],
            ["cib.apply", {"operation": "bump"}],
            ["attribute.update", {"name": "x", "value": "1"}],
            ["node.fence", {"node": "n2"}],
            ["resource.refresh", {}],
        ]
        ran = subprocess.run(
            [sys.executable, "-c", program, str(cluster.nodes["n1"].run_dir), json.dumps(calls)],
            capture_output=True,
            text=True,
            check=True,
        )
        seen, changed, *refused = json.loads(ran.stdout)
        assert "target-role" in seen["xml"] and "hidden" not in seen["xml"]
        assert "version" in changed
        assert refused == ["permission-denied"] * 4
        wait_for(lambda: cluster.running("web") == [], "web to be stopped on his word")
        assert " nobody on n1: web" in crm(cluster, "n1", "cib history -n 1")
    crm(cluster, "n1", "configure property enable-acl=false")
    crm(cluster, "n1", "--wait resource start web")


def test_private_and_dampened_attributes_and_the_death_of_the_dc(cluster: Cluster) -> None:
    """Last: it takes a node away."""
    say(cluster, "n1", "attrd_updater -n own -p -U 7")
    wait_says(cluster, "n2", "attrd_updater -n own -A -Q", 'name="own" host="n1" value="7"\n')
    say(cluster, "n2", "attrd_updater -n own -N n1 -U value++")
    wait_says(cluster, "n3", "attrd_updater -n own -A -Q", 'name="own" host="n1" value="8"\n')
    assert 'name="own"' not in say(cluster, "n1", "cibadmin -Q")
    dc = cluster.call("n1", "membership")["dc"]
    left = [name for name in cluster.nodes if name != dc]
    say(cluster, left[0], "attrd_updater -n ping -U 1 -d 60")
    say(cluster, left[1], "attrd_updater -n ping -U 2")
    shown = [f'name="ping" host="{name}" value="{number}"\n' for number, name in enumerate(left, 1)]
    wait_says(cluster, dc, "attrd_updater -n ping -A -Q", "".join(shown))
    assert 'name="ping"' not in say(cluster, dc, "cibadmin -Q -o status"), "both are held back"
    say(cluster, left[0], "attrd_updater -n ping -Y -d 2")
    cluster.crash(dc)
    for number, name in enumerate(left, 1):
        wait_says(cluster, name, f"crm_attribute -N {name} -l reboot -n ping -Gq", f"{number}\n")
