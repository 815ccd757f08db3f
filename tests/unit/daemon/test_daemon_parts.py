"""Parts of the daemon by themselves: the journal, the inputs of decisions, the policy worker."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from crm.cib import xml
from crm.controller.graph import parse
from crm.daemon import inputs, worker
from crm.daemon.documents import Documents
from crm.daemon.inputs import InputSeries
from crm.daemon.journal import Journal
from crm.daemon.policy_client import PolicyClient
from crm.events import words

CIB = b"""<cib validate-with="pacemaker-4.0" have-quorum="1"><configuration><crm_config><cluster_property_set id="o">
<nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes><resources><primitive id="web" class="ocf" provider="vigil" type="Dummy"/></resources>
<constraints/></configuration><status>
<node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"""


def test_events_are_flat_numbered_and_handed_to_everybody_who_listens() -> None:
    journal = Journal("n1")
    heard: list[str] = []
    journal.listeners.append(lambda event: heard.append(event["event"]))
    journal.record("view", {"id": "7.1", "node": "clash"}, "view-7.1")
    second = journal.record("dc", {"dc": "n1"})
    assert heard == ["view", "dc"]
    first = journal.recent()[0]
    assert (first["seq"], first["node"], first["node_"], first["cause"]) == (1, "n1", "clash", "view-7.1")
    assert journal.recent(since_seq=1) == [second]
    assert journal.recent(since_ms=second["time_ms"] + 1) == []
    assert journal.recent(limit=1) == [second]


def test_an_event_reads_as_one_line_of_words() -> None:
    event = Journal("n1").record("fence_requested", {"target": "n2", "reason": "peer is gone", "empty": ""}, "view-7.1")
    assert words.fields(event) == "fence requested target=n2 reason='peer is gone'"
    assert words.line({**event, "action": "reboot"}) == "fencing n2 (reboot): peer is gone [view-7.1]"


async def written(series: InputSeries) -> None:
    assert series._task is not None
    await series._task


def test_inputs_are_kept_with_the_time_of_their_decision_and_numbered_on_after_a_restart(tmp_path: Path) -> None:
    async def write(series: InputSeries, count: int) -> list[str | None]:
        named = [series.offer(CIB, 1_700_000_000 + number) for number in range(count)]
        await written(series)
        return named

    assert asyncio.run(write(InputSeries(tmp_path), 2)) == ["pe-input-0.bz2", "pe-input-1.bz2"]
    assert asyncio.run(write(InputSeries(tmp_path), 1)) == ["pe-input-2.bz2"]
    names = sorted(path.name for path in tmp_path.glob("*.bz2"))
    assert names == ["pe-input-0.bz2", "pe-input-1.bz2", "pe-input-2.bz2"]
    root = xml.parse(bz2.decompress((tmp_path / "pe-input-1.bz2").read_bytes()))
    assert root.get("execution-date") == "1700000001"


def test_each_series_of_inputs_begins_again_after_its_last_number(tmp_path: Path) -> None:
    series = InputSeries(tmp_path)

    async def write() -> None:
        for _ in range(5):
            for name, limit in (("input", 2), ("warn", 3), ("error", -1)):
                assert series.offer(CIB, 1, name, limit) is not None
        assert series.offer(CIB, 1, "warn", 0) is None
        await written(series)

    asyncio.run(write())
    counts = {name: len(list(tmp_path.glob(f"pe-{name}-*.bz2"))) for name in ("input", "warn", "error")}
    assert counts == {"input": 2, "warn": 3, "error": 5}


def test_no_input_of_a_burst_of_decisions_is_left_out_until_too_much_waits_and_then_an_ordinary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "WAITING_LIMIT", 3 * len(CIB))
    series = InputSeries(tmp_path)

    async def write() -> list[str | None]:
        named = [series.offer(CIB, 1) for _ in range(4)]
        named += [series.offer(CIB, 1, "error") for _ in range(4)]
        await written(series)
        return [*named, series.offer(CIB, 1)]

    kept = [f"pe-input-{number}.bz2" for number in range(3)]
    errors = [f"pe-error-{number}.bz2" for number in range(3)]
    assert asyncio.run(write()) == [*kept, None, *errors, None, "pe-input-3.bz2"]
    assert sorted(path.name for path in tmp_path.glob("*.bz2"))[:6] == sorted(kept + errors)


@pytest.mark.parametrize(
    ("options", "series"),
    [("", "input"), ('<nvpair id="o" name="stonith-enabled" value="perhaps"/>', "warn")],
)
def test_the_engine_says_in_which_series_its_input_belongs(options: str, series: str) -> None:
    crm_config = f'<crm_config><cluster_property_set id="s">{options}</cluster_property_set></crm_config>'
    rest = "<nodes/><resources/><constraints/></configuration><status/></cib>"
    document = f"<cib><configuration>{crm_config}{rest}".encode()
    verdict, text = worker.decide(document, 1, Documents())
    assert verdict == worker.OK
    assert parse(text).attributes["series"] == series


class Answers:
    """Collects what a worker answered; `next` waits for one."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[int, bytes | None, str]] = asyncio.Queue()

    def __call__(self, number: int, graph: bytes | None, error: str) -> None:
        self.queue.put_nowait((number, graph, error))

    async def next(self) -> tuple[int, bytes | None, str]:
        async with asyncio.timeout(60):
            return await self.queue.get()


def with_worker(scenario: Callable[[PolicyClient, Answers], object]) -> None:
    pid, channel = worker.fork()

    async def run() -> None:
        answers = Answers()
        client = PolicyClient(answers, pid, channel)
        try:
            await scenario(client, answers)  # type: ignore[misc]
        finally:
            await client.close()

    asyncio.run(run())


def test_the_worker_answers_a_cib_with_a_graph() -> None:
    async def scenario(client: PolicyClient, answers: Answers) -> None:
        client.ask(7, CIB, 1_700_000_000)
        number, graph, error = await answers.next()
        assert (number, error) == (7, "") and graph is not None
        assert {"web_start_0"} <= {synapse.action.key for synapse in parse(graph).synapses}

    with_worker(scenario)


def test_an_answer_that_cannot_be_taken_is_not_passed_over_in_silence() -> None:
    async def run() -> None:
        told: asyncio.Queue[object] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.put_nowait(context.get("exception")))

        def fails(number: int, graph: bytes | None, error: str) -> None:
            raise ValueError("a fault of our own")

        client = PolicyClient(fails, *worker.fork())
        try:
            client.ask(1, CIB, 1)
            async with asyncio.timeout(60):
                assert str(await told.get()) == "a fault of our own"
        finally:
            with contextlib.suppress(ValueError):
                await client.close()

    asyncio.run(run())


def test_the_answer_tells_why_a_node_is_to_be_fenced() -> None:
    lost = CIB.replace(b'"n1"/></nodes>', b'"n1"/><node id="2" uname="n2"/></nodes>')
    lost = lost.replace(b'value="false"', b'value="true"')
    lost = lost.replace(b"<resources>", b'<resources><primitive id="power" class="stonith" type="fence_vigil_lab"/>')
    state = b'<node_state id="2" uname="n2" in_ccm="false" crmd="offline" join="down" expected="member"/></status>'

    async def scenario(client: PolicyClient, answers: Answers) -> None:
        client.ask(7, lost.replace(b"</status>", state), 1_700_000_000)
        _, answer, error = await answers.next()
        assert answer is not None, error
        reasons = [each.action.reason for each in parse(answer).synapses if each.action.task == "stonith"]
        assert reasons == ["peer is no longer part of the cluster"]

    with_worker(scenario)


def test_the_worker_describes_the_cluster_for_metrics_and_goes_on_deciding() -> None:
    async def scenario(client: PolicyClient, answers: Answers) -> None:
        text = await client.describe(CIB, 1_700_000_000)
        assert text is not None and 'ha_cluster_pacemaker_nodes{node="n1",type="member",status="online"} 1' in text
        client.ask(1, CIB, 1_700_000_000)
        assert await client.describe(CIB, 1_700_000_000) is None, "a decision goes first"
        assert (await answers.next())[1] is not None
        assert client.decisions == 1 and client.last_decision_s > 0
        assert await client.describe(b"<cib", 1) is None

    with_worker(scenario)


def test_a_document_that_the_engine_cannot_read_is_an_answer_too() -> None:
    async def scenario(client: PolicyClient, answers: Answers) -> None:
        client.ask(1, b"<cib", 1)
        number, graph, error = await answers.next()
        assert number == 1 and graph is None and "CibSyntaxError" in error
        client.ask(2, CIB, 1)
        assert (await answers.next())[1] is not None, "the worker goes on"

    with_worker(scenario)


def test_a_killed_worker_fails_its_question_and_the_next_one_gets_a_new_worker() -> None:
    async def scenario(client: PolicyClient, answers: Answers) -> None:
        before = client.pid
        os.kill(before, signal.SIGKILL)
        client.ask(1, CIB, 1)
        number, graph, error = await answers.next()
        assert number == 1 and graph is None and "policy worker" in error
        client.ask(2, CIB, 1)
        number, graph, error = await answers.next()
        assert number == 2 and graph is not None, error
        assert client.pid not in (0, before)

    with_worker(scenario)
