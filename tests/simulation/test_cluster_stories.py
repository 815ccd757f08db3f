"""The event logs of whole simulated clusters, faults and all: nothing is without a cause, and causes come before what came of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from crm.alerts.configuration import Configuration
from crm.alerts.core import Alerts, Effect, Run
from crm.cib import xml
from crm.events import follow, words
from crm.simulator.cluster.box import Box
from crm.simulator.cluster.course import run
from crm.simulator.cluster.world import ClusterWorld

Record = dict[str, Any]
SEEDS = range(1, 6)
STORIES = 4
MOST_SEEDS = 41
CAUSED = ("decide", "transition", "transition_end", "action", "action_result", "fence_requested", "fenced", "change")
ALERTS = """<cib><configuration><crm_config/><nodes/><resources/><constraints/><alerts>
<alert id="a" path="x"><select><select_nodes/><select_fencing/><select_resources/><select_attributes/></select></alert>
</alerts></configuration></cib>"""


@cache
def records_of(seed: int) -> list[Record]:
    """Of all nodes and all their lives, as they happened."""
    found: list[Record] = []
    heard = ClusterWorld.on_event

    def on_event(world: ClusterWorld, box: Box, record: Record) -> None:
        found.append(record)
        heard(world, box, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterWorld, "on_event", on_event)
        outcome = run(seed)
    assert not outcome.failure, f"seed {seed}: {outcome.failure}"
    assert found
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_every_decision_order_and_result_has_a_cause_that_is_told_before(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = records_of(seed)
    for record in records:
        assert record["cause"] or record["event"] not in CAUSED, f"seed {seed}: {record}"
        assert words.sentence(record), record
    known: set[str] = set()
    for record in follow.ordered(records):
        if record["event"] == "action":
            assert record["cause"] in known, f"seed {seed}: an order before its transition: {record}"
        if record["event"] == "transition":
            known.add(record["cause"])
    last: dict[str, tuple[int, int]] = {}
    for record in records:
        seq, order = last.get(record["node"], (0, 0))
        # The next of the same life; the last word of a life that has ended may come later.
        assert record["seq"] != seq + 1 or record["order"] > order, f"seed {seed}: {record['node']} goes back"
        last[record["node"]] = (record["seq"], record["order"])


def test_the_story_of_a_fencing_has_its_beginning_and_its_end() -> None:
    stories = 0
    for seed in range(SEEDS.start, MOST_SEEDS):
        if stories >= STORIES:
            break
        records = records_of(seed)
        for cause in {record["cause"] for record in records if record["event"] == "fenced"}:
            search = follow.Search(cause)
            while search.wanted:
                wanted = search.wanted
                search.on_found(record for record in records if follow.matches(record, wanted))
            names = [record["event"] for record in search.result()]
            assert "fence_requested" in names, f"seed {seed}, {cause}: {names}"
            assert names.index("fence_requested") < names.index("fenced")
            stories += 1
    assert stories >= STORIES, "the seeds have fenced too little to say anything"


def test_alerts_of_a_whole_clusters_life_come_in_order_and_all_of_them() -> None:
    counts = []
    for seed in SEEDS:
        records = records_of(seed)
        for node in sorted({record["node"] for record in records}):
            told = alerted([record for record in records if record["node"] == node])
            assert told == list(range(1, len(told) + 1)), f"seed {seed}, {node}"
            counts.append(len(told))
    assert max(counts) > 20, "the seeds have too little to tell of to say anything"


def alerted(records: list[Record]) -> list[int]:
    """The numbers of the alerts that a slow agent was given, in its order."""
    alerts = Alerts("0")
    alerts.configure(Configuration(xml.parse(ALERTS)))
    alerts.joined(0)
    told: list[int] = []
    running: list[Run] = []

    def perform(effects: list[Effect]) -> None:
        running.extend(effect for effect in effects if isinstance(effect, Run))

    def end_one() -> None:
        done = running.pop(0)
        told.append(int(done.environment["CRM_alert_node_sequence"]))
        perform(alerts.on_ended(done.token, True, ""))

    for number, record in enumerate(records):
        perform(alerts.on_record(record, {}, number))
        if number % 3 == 0 and running:
            end_one()
    while running:
        end_one()
    assert alerts.idle
    return told
