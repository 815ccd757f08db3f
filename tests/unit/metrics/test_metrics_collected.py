"""When the policy worker is asked for a description of the cluster, and what is given meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from lxml import etree

from crm.daemon import metrics
from crm.daemon.alerting import Alerting
from crm.daemon.eventlog import EventLog
from crm.daemon.metrics import Collector
from crm.daemon.node import Node
from crm.metrics import exposition


class Worker:
    """Describes a cluster by the number of the description; `answers` False: it is busy deciding."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.asked = 0
        self.answers = True
        self._takes_s = takes_s

    async def describe(self, cib: bytes, epoch_s: int) -> str | None:
        self.asked += 1
        await asyncio.sleep(self._takes_s)
        return f"description {self.asked}" if self.answers else None


def collector(worker: Worker) -> tuple[Collector, SimpleNamespace]:
    cib = SimpleNamespace(version="0.1.0", document=etree.Element("cib"))
    node = SimpleNamespace(cib=cib, policy=worker)
    return Collector(cast(Node, node), cast(EventLog, None), cast(Alerting, None)), cib


def test_a_description_holds_until_the_cib_changes_and_for_a_minute() -> None:
    worker = Worker()
    made, cib = collector(worker)

    async def course() -> list[tuple[str, bool]]:
        found = [await made._describe(), await made._describe()]
        cib.version = "0.2.0"
        made._rest_until_s = 0.0
        found.append(await made._describe())
        made._described = (made._described[0], made._described[1] - metrics.FRESH_S, made._described[2])
        made._rest_until_s = 0.0
        found.append(await made._describe())
        return [(text, fresh) for text, fresh, _ in found]

    assert asyncio.run(course()) == [
        ("description 1", True),
        ("description 1", True),
        ("description 2", True),
        ("description 3", True),
    ]


def test_while_the_worker_decides_the_last_description_is_given_and_marked_as_old() -> None:
    worker = Worker()
    made, cib = collector(worker)

    async def course() -> tuple[str, bool, float]:
        await made._describe()
        cib.version, worker.answers, made._rest_until_s = "0.2.0", False, 0.0
        return await made._describe()

    assert asyncio.run(course())[:2] == ("description 1", False)


def test_whoever_scrapes_as_fast_as_he_can_while_the_cib_changes_leaves_the_worker_to_the_cluster() -> None:
    worker = Worker(takes_s=0.02)
    made, cib = collector(worker)

    async def course() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(100):
            cib.version = f"0.2.{number}"
            await made._describe()
            await asyncio.sleep(0.005)
        return loop.time() - began

    spent_s = asyncio.run(course())
    assert worker.asked <= spent_s / (0.02 * (1 + metrics.REST)) + 2


def test_scrapes_say_whether_they_are_of_now() -> None:
    text = exposition.render(metrics._scrapes({"pacemaker": (False, 0.25), "corosync": (True, 0.0)}))
    assert 'ha_cluster_scrape_success{collector="pacemaker"} 0\n' in text
    assert 'ha_cluster_scrape_success{collector="corosync"} 1\n' in text
    assert 'ha_cluster_scrape_duration_seconds{collector="pacemaker"} 0.25\n' in text


@pytest.mark.parametrize("busy", [True, False])
def test_without_any_description_the_rest_of_the_page_is_given(busy: bool) -> None:
    worker = Worker()
    worker.answers = not busy
    made, _ = collector(worker)
    text, fresh, _ = asyncio.run(made._describe())
    assert (text == "") is busy and fresh is not busy
