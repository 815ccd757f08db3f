"""A failover as those see it who were not there: one id through the records of all nodes, alerts by an agent, metrics over HTTP.

One lab for all of it: three machines, a web service, a power switch; the machine that serves loses its power. The file of the alert agent is in /run, which
is each machine's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LabCluster, make_labs, web_service

from crm.lab import cluster
from crm.lab.layout import TieBreaker

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "metrics"))
from exposition_check import Samples, read, value

pytestmark = pytest.mark.usefixtures("machines")
ALERT_FILE = "/run/alerts"
ALERTS = """
alert log file select nodes fencing resources attributes {{ site }} to {file}
alert slow {slow} meta timeout=300ms
"""
SINCE = "1h"
"""Everything since the lab was made."""
FETCH = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9664/metrics', timeout=20).read().decode(), end='')"
)


class Failover:
    """The lab after it, who died, who serves now, and the id of its cause."""

    def __init__(self, made: LabCluster) -> None:
        self.made = made
        self.victim = made.server()
        self.survivors = [node for node in made.lab.nodes if node != self.victim]
        with cluster.api(made.lab, self.survivors[0]) as client:
            client.call("attribute.update", node=self.survivors[1], name="site", value="north")
        self.at = float(made.ask("crash", node=self.victim)["gone_at"])
        self.heir = made.first_answer(self.at)[1]
        made.wait_idle(self.heir)
        fenced = [each for each in self.events("--since", SINCE) if each["event"] == "fenced"]
        self.cause = str(fenced[-1]["cause"])

    def events(self, *options: str, node: str = "") -> list[dict[str, Any]]:
        said = self.made.crm(node or self.survivors[0], "events", "--json", *options).stdout
        return [json.loads(line) for line in said.splitlines()]

    def alerts(self, node: str) -> str:
        return str(cluster.run(self.made.lab, node, ["cat", ALERT_FILE], capture_output=True, text=True).stdout)

    def scrape(self, node: str) -> Samples:
        command = [sys.executable, "-c", FETCH]
        fetched = cluster.run(self.made.lab, node, command, capture_output=True, text=True)
        assert fetched.returncode == 0, fetched.stderr
        return read(fetched.stdout)


@pytest.fixture(scope="module")
def failover(request: pytest.FixtureRequest) -> Iterator[Failover]:
    with make_labs() as make:
        made = make(nodes=3, tie_breaker=TieBreaker.NONE)
        slow = made.lab.folder / "slow"
        slow.write_text("#!/bin/sh\nexec sleep 30\n")
        slow.chmod(0o755)
        made.configure(web_service(made.lab) + ALERTS.format(file=ALERT_FILE, slow=slow))
        made.watch()
        made.first_answer(0.0)
        made.wait_idle("n1")
        yield Failover(made)


def test_one_id_leads_from_the_missed_heartbeat_to_the_service_on_another_node(failover: Failover) -> None:
    story = failover.events("--cause", failover.cause)
    told = [(each["event"], each["node"]) for each in story]
    names = [name for name, _ in told]
    for earlier, later in (
        ("peer_late", "peer_lost"),
        ("peer_lost", "transition"),
        ("transition", "fence_requested"),
        ("fence_requested", "fenced"),
        ("fenced", "transition_end"),
    ):
        assert names.index(earlier) < names.index(later), names
    assert {node for name, node in told if name == "peer_lost"} == set(failover.survivors)
    starts = [each for each in story if each["event"] == "action_result" and each["operation"] == "start"]
    by = {each["resource"]: each for each in starts}
    assert by["web"]["node"] == failover.heir and by["web"]["ok"]
    assert story.index(by["web"]) > names.index("fenced"), "nothing starts before fencing is confirmed"
    assert {each["cause"] for each in story} == {failover.cause, story[0]["cause"]}
    assert story[0]["event"] == "peer_late"


def test_every_node_tells_the_same_story_in_ten_lines_or_so(failover: Failover) -> None:
    def story(node: str) -> list[dict[str, Any]]:
        """Without the alerts, which may come in between."""
        told = failover.events("--cause", failover.cause, node=node)
        return [each for each in told if each["event"] not in ("alert_failed", "alerts_dropped")]

    first, second = failover.survivors
    failover.made.wait(lambda: story(first) == story(second), "they tell different stories")
    text = failover.made.crm(first, "events", "--cause", failover.cause).stdout
    lines = [line for line in text.splitlines()[1:] if "alert" not in line]
    assert 8 <= len(lines) <= 14, text
    for part in (f"heartbeat of {failover.victim} missed", f"{failover.victim} was fenced", "start of web ok"):
        assert any(part in line for line in lines), text


def test_who_cannot_be_asked_is_named_and_ids_that_are_none_are_refused(failover: Failover) -> None:
    said = failover.made.crm(failover.survivors[0], "events", "--since", SINCE)
    assert f"no records of {failover.victim}" in said.stderr
    unknown = failover.made.crm(failover.survivors[0], "events", "--cause", "view-999.1", check=False)
    assert unknown.returncode == 1 and "nothing is known of 'view-999.1'" in unknown.stderr
    wrong = failover.made.crm(failover.survivors[0], "events", "--since", "soon", check=False)
    assert wrong.returncode == 1 and "expected 10m" in wrong.stderr


def test_who_follows_sees_what_happens_on_other_nodes(failover: Failover) -> None:
    here, there = failover.survivors
    prefix, environment = cluster.enter(failover.made.lab, here)
    command = [*prefix, sys.executable, "-m", "crm.shell.main", "events", "--follow", "--json", "--node", there]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            following.stdout.readline()  # it has told what was known
            with cluster.api(failover.made.lab, there) as client:
                client.call("attribute.update", node=there, name="followed", value="1")
            seen = iter(following.stdout.readline, "")
            change = next(each for each in map(json.loads, seen) if "followed" in str(each.get("reason")))
            assert (change["event"], change["node"]) == ("change", there)
        finally:
            following.kill()


def test_alerts_are_run_on_the_nodes_where_pacemaker_runs_them(failover: Failover) -> None:
    made, victim = failover.made, failover.victim
    for node in failover.survivors:
        made.wait(lambda node=node: "fencing: Operation" in failover.alerts(node), f"{node} did not alert the fencing")
        text = failover.alerts(node)
        assert f"node {victim} is now lost [{failover.cause}]" in text, text
        assert f"Operation off of {victim} by" in text and ": OK" in text
    started = f"start of web on {failover.heir}: ok"
    made.wait(lambda: started in failover.alerts(failover.heir), "the start was not alerted")
    other = next(node for node in failover.survivors if node != failover.heir)
    assert started not in failover.alerts(other)
    site = f"attribute site of {failover.survivors[1]} is now 'north'"
    texts = [failover.alerts(node) for node in failover.survivors]
    assert sum(site in text for text in texts) <= 1, "it is alerted by the DC alone, which may have been the victim"


def test_an_agent_that_hangs_is_ended_and_told_and_delays_nothing(failover: Failover) -> None:
    def failed() -> list[dict[str, Any]]:
        return [each for each in failover.events("--since", SINCE) if each["event"] == "alert_failed"]

    failover.made.wait(lambda: bool(failed()), "no alert is told to have failed")
    assert {each["alert"] for each in failed()} == {"slow"}
    assert all("did not end within 300 ms" in each["text"] for each in failed())


def alerted(failover: Failover, node: str, result: str) -> bool:
    found = failover.scrape(node)
    return any(
        count > 0
        for (name, labels), count in found.items()
        if name == "vigil_alerts_total" and ("result", result) in labels
    )


def test_metrics_tell_the_same(failover: Failover) -> None:
    for node in failover.survivors:
        for result in ("ok", "failed"):
            failover.made.wait(
                lambda node=node, result=result: alerted(failover, node, result), f"no alert of {node} has {result}"
            )
        found = failover.scrape(node)
        assert value(found, "ha_cluster_corosync_quorate") == 1
        assert value(found, "ha_cluster_corosync_quorum_votes", type="total_votes") == 2
        assert value(found, "ha_cluster_pacemaker_nodes", node=node, status="online", type="member") == 1
        place = {"resource": "web", "node": failover.heir, "role": "started", "group": "web-service"}
        assert value(found, "ha_cluster_pacemaker_resources", status="active", **place) == 1
        assert value(found, "ha_cluster_pacemaker_stonith_enabled") == 1
        assert value(found, "vigil_peer_lost_total", peer=failover.victim) == 1
        assert value(found, "vigil_peer_alive", peer=failover.victim) == 0
    fenced = [
        count
        for node in failover.survivors
        for (name, labels), count in failover.scrape(node).items()
        if name == "vigil_fencing_total" and ("target", failover.victim) in labels
    ]
    assert sum(fenced) == 1, "it is counted where it was asked for"
    printed = read(failover.made.crm(failover.survivors[0], "cluster", "metrics").stdout)
    assert value(printed, "vigil_members") == 2


def test_a_crm_that_was_killed_says_so_when_it_is_back(failover: Failover) -> None:
    made, node = failover.made, failover.survivors[0]
    pid = (made.lab.run_dir(node) / "crm.pid").read_text().split()[0]
    cluster.run(made.lab, node, ["kill", "-9", pid])

    def said() -> list[str]:
        records = failover.events("--since", SINCE, node=failover.survivors[1])
        return [each["predecessor"] for each in records if each["event"] == "crm_started" and each["node"] == node]

    made.wait(lambda: said()[-1:] == [f"crm (process {pid}) was killed by signal 9"], "the crm is not back")
