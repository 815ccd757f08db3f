"""Alerts at work: real programs run, ended, failed and missing; the cluster's loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import pwd
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lxml import etree

from agents.environment import base_environment
from agents.paths import AgentPaths
from crm.daemon import alertuser
from crm.daemon.alerting import Alerting
from crm.daemon.journal import Journal
from crm.daemon.node import Node
from crm.daemon.peers import Peers

DOCUMENT = (
    "<cib><configuration><crm_config/><nodes><node id='1' uname='n1'/></nodes><resources/><constraints/>"
    "<alerts>{}</alerts></configuration></cib>"
)
START = {
    "operation": "start",
    "resource": "web",
    "interval_ms": 0,
    "rc": 0,
    "target_rc": 0,
    "status": 0,
    "ok": True,
    "exec_ms": 5,
}


class Place:
    """What alerts see of a node: its records, its CIB, its agents' paths, its peers."""

    def __init__(self, alerts: str, user: str = "") -> None:
        self.journal = Journal("n1")
        self.sent: list[tuple[int, bytes]] = []
        view = SimpleNamespace(group=frozenset((1, 2)))
        self.node = SimpleNamespace(
            journal=self.journal,
            cib=SimpleNamespace(document=etree.fromstring(DOCUMENT.format(alerts))),
            settings=SimpleNamespace(node_id=1, node_name="n1", nodes=((1, "n1"), (2, "n2")), alerts_user=user),
            peers=Peers(lambda number, payload: self.sent.append((number, payload))),
            executing=SimpleNamespace(runner=SimpleNamespace(paths=AgentPaths.from_environment({}))),
            controller=SimpleNamespace(view=view),
        )
        self.alerting = Alerting(cast(Node, self.node), "0.1.0")
        self.journal.listeners.append(self.alerting.on_record)

    def told(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.journal.recent() if each["event"] == name]

    async def idle(self) -> None:
        while True:
            if self.alerting.core.idle:
                return
            await asyncio.sleep(0.01)


def course(alerts: str, what: Callable[[Place], Awaitable[None]], user: str = "") -> Place:
    async def run() -> Place:
        place = Place(alerts, user)
        place.journal.record("dc", {"dc": "n1"})  # it has joined
        async with asyncio.timeout(30):
            await what(place)
        await place.alerting.close()
        return place

    return asyncio.run(run())


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_agent_gets_its_environment_and_none_of_ours(tmp_path: Path) -> None:
    agent = script(tmp_path / "agent", f"env > {tmp_path}/seen")
    pair = '<instance_attributes id="i"><nvpair id="p" name="smtp" value="host"/></instance_attributes>'

    async def what(place: Place) -> None:
        place.journal.record("action_result", START, "view-7.1")
        await place.idle()

    place = course(f'<alert id="a" path="{agent}">{pair}<recipient id="r" value="ops"/></alert>', what)
    seen = (tmp_path / "seen").read_text().splitlines()
    assert {"CRM_alert_rsc=web", "CRM_alert_recipient=ops", "smtp=host", "CRM_alert_cause=view-7.1"} <= set(seen)
    assert not [line for line in seen if line.startswith("PYTHON")]
    assert place.alerting.core.sent == {True: 1, False: 0}


def test_why_an_agent_failed_is_its_last_word_or_how_it_ended(tmp_path: Path) -> None:
    talker = script(tmp_path / "talker", "echo first >&2; echo 'no such user' >&2; exit 3")
    silent = script(tmp_path / "silent", "exit 4")
    killed = script(tmp_path / "killed", "kill -9 $$")
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    paths = {"talker": talker, "silent": silent, "killed": killed, "plain": str(plain), "missing": "/nowhere/agent"}

    async def what(place: Place) -> None:
        place.journal.record("action_result", START)
        await place.idle()

    place = course("".join(f'<alert id="{name}" path="{path}"/>' for name, path in paths.items()), what)
    reasons = {each["alert"]: each["text"] for each in place.told("alert_failed")}
    assert reasons == {
        "talker": "no such user",
        "silent": "exit code 4",
        "killed": "signal 9",
        "plain": "Permission denied",
        "missing": "/nowhere/agent is not installed",
    }


def test_an_agent_that_hangs_is_ended_with_its_children_and_holds_up_nothing(tmp_path: Path) -> None:
    agent = script(tmp_path / "agent", f"sleep 1000 & echo $! > {tmp_path}/child; sleep 1000")
    meta = '<meta_attributes id="m"><nvpair id="t" name="timeout" value="2000ms"/></meta_attributes>'
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def what(place: Place) -> None:
        watching = asyncio.create_task(watch())
        place.journal.record("action_result", START)
        await place.idle()
        watching.cancel()

    place = course(f'<alert id="a" path="{agent}">{meta}</alert>', what)
    assert place.told("alert_failed")[0]["text"] == "it did not end within 2000 ms"
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]
    assert turns > 5, "the loop went on"


def test_the_end_of_a_fencing_is_told_to_the_other_members_and_what_they_tell_is_alerted(tmp_path: Path) -> None:
    agent = script(tmp_path / "agent", f'echo "$CRM_alert_desc" >> {tmp_path}/seen')

    async def what(place: Place) -> None:
        place.journal.record("fenced", {"target": "n3", "action": "off", "text": ""}, "view-7.1")
        await place.idle()
        news = {"target": "n4", "action": "off", "ok": False, "text": "no device", "by": "n2", "cause": "view-8.1"}
        handler = cast(Any, place.node.peers)._handlers["fencing_known"]
        assert await handler(news) == {} and await handler({"target": "n4"}) == {}, "nonsense is ignored"
        await place.idle()

    place = course(f'<alert id="a" path="{agent}"/>', what)
    assert [number for number, _ in place.sent] == [2] and b'"fencing_known"' in place.sent[0][1]
    assert (tmp_path / "seen").read_text().splitlines() == [
        "Operation off of n3 by n1 for crm@n1: OK",
        "Operation off of n4 by n2 for crm@n2: failed: no device",
    ]
    assert place.told("fencing_known")[0]["cause"] == "view-8.1"


def test_a_node_that_leaves_gives_its_last_alerts_a_moment_and_no_more(tmp_path: Path) -> None:
    quick = script(tmp_path / "quick", f"sleep 0.2; echo done > {tmp_path}/quick.done")

    async def what(place: Place) -> None:
        place.journal.record("action_result", START)

    course(f'<alert id="a" path="{quick}"/>', what)
    assert (tmp_path / "quick.done").exists()


def test_a_changed_configuration_counts_from_then_on(tmp_path: Path) -> None:
    agent = script(tmp_path / "agent", f"echo again >> {tmp_path}/seen")

    async def what(place: Place) -> None:
        place.journal.record("action_result", START)
        await place.idle()
        place.node.cib.document = etree.fromstring(DOCUMENT.format(""))
        place.journal.record("cib_changed", {"version": "0.2.0"})
        place.journal.record("action_result", START)
        await place.idle()

    course(f'<alert id="a" path="{agent}"/>', what)
    assert (tmp_path / "seen").read_text() == "again\n"


async def one_start(place: Place) -> None:
    place.journal.record("action_result", START)
    await place.idle()


def somebody() -> str:
    """Who is not root, or who we are when nobody else can be."""
    return "nobody" if os.geteuid() == 0 and _known_here("nobody") else pwd.getpwuid(os.geteuid()).pw_name


def _known_here(name: str) -> bool:
    return alertuser.find(name).name == name


def test_agents_run_as_the_user_that_is_chosen_with_its_groups_and_home() -> None:
    user = somebody()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        agent = script(Path(folder) / "agent", f'echo "$(id -un) $(id -G) $USER $HOME" > {folder}/seen')
        place = course(f'<alert id="a" path="{agent}"/>', one_start, user)
        assert place.alerting.core.sent == {True: 1, False: 0}, place.told("alert_failed")
        name, *groups, told, home = (Path(folder) / "seen").read_text().split()
    entry = pwd.getpwnam(user)
    assert name == user and {int(group) for group in groups} == set(os.getgrouplist(user, entry.pw_gid))
    if os.geteuid() == 0:
        assert (told, home) == (user, entry.pw_dir)


def test_what_cannot_be_run_as_the_chosen_user_is_told_and_not_run_as_another(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    place = course(f'<alert id="a" path="{plain}"/><alert id="b" path="{tmp_path}/none"/>', one_start, somebody())
    reasons = {each["alert"]: each["text"] for each in place.told("alert_failed")}
    assert "Permission denied" in reasons["a"] and reasons["b"] == f"{tmp_path}/none is not installed"


def test_a_user_that_was_chosen_and_does_not_exist_is_an_error_and_the_usual_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    agent = script(tmp_path / "agent", f"echo run > {tmp_path}/seen")
    place = course(f'<alert id="a" path="{agent}"/>', one_start, "nosuchuser")
    assert "no user 'nosuchuser'" in place.told("alert_failed")[0]["text"] and not (tmp_path / "seen").exists()
    monkeypatch.setattr(alertuser, "DEFAULT_USER", "nosuchuser")
    assert alertuser.find("nosuchuser") == alertuser.AlertUser()


def test_a_user_namespace_that_does_not_know_the_user_keeps_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(alertuser, "_mapped", lambda number, table: False)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 102, 105, "", "/", "/bin/sh")))
    assert alertuser.find("hacluster") == alertuser.AlertUser()


def test_a_fault_of_our_own_costs_one_alert_and_not_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = script(tmp_path / "agent", f"echo run >> {tmp_path}/seen")
    calls: list[int] = []

    def broken_once(*args: Any) -> dict[str, str]:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("ours")
        return base_environment(*args)

    monkeypatch.setattr("crm.daemon.alerting.base_environment", broken_once)

    async def what(place: Place) -> None:
        place.journal.record("action_result", START)
        place.journal.record("action_result", START)
        await place.idle()

    place = course(f'<alert id="a" path="{agent}"/>', what)
    assert place.alerting.core.sent == {True: 1, False: 1} and (tmp_path / "seen").read_text() == "run\n"
    assert "internal error" in place.told("alert_failed")[0]["text"] and "internal error" in caplog.text
