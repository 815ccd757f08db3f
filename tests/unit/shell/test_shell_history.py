"""`crm history`: the records of the cluster by transition, resource and node."""

from __future__ import annotations

from typing import Any

import pytest

from crm.events import follow, select
from crm.shell.shell import Shell
from crm.shell.tree import run

AT_MS = 1_795_275_674_000


def record(order: int, event: str, cause: str, node: str = "n1", **fields: Any) -> dict[str, Any]:
    return {
        "event": event,
        "node": node,
        "time_ms": AT_MS + order,
        "order": order,
        "seq": order,
        "cause": cause,
        **fields,
    }


RECORDS = [
    record(1, "cib_changed", "cib-0.5.0", version="0.5.0", sections=["resources"], by="crm", on="n1"),
    record(2, "decide", "cib-0.5.0", number=3, reason="resources changed"),
    record(3, "transition", "cib-0.5.0", number=3, actions=1, plan=["start web on n2"], input="pe-input-2.bz2"),
    record(4, "action_result", "cib-0.5.0", "n2", operation="start", resource="web", rc=0, ok=True, exec_ms=5),
    record(5, "transition_end", "cib-0.5.0", number=3, outcome="complete", reason=""),
    record(6, "peer_lost", "view-7.1", peer="n2"),
    record(7, "transition", "view-7.1", number=4, actions=2, plan=["fence n2", "start web on n1"]),
    record(8, "fenced", "view-7.1", target="n2", action="off", text="n2 was fenced by power"),
    record(9, "action_result", "view-7.1", operation="start", resource="web", rc=0, ok=True, exec_ms=6),
]


class Cluster:
    """Answers `events.query` from RECORDS, as the daemon does."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self._records = records

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        assert method == "events.query"
        names, selection = params["nodes"], select.from_params(params, 0)
        found = [each for each in self._records if not names or each["node"] in names]
        if params["cause"]:
            search = follow.Search(params["cause"])
            while search.wanted:
                wanted = search.wanted
                search.on_found(each for each in found if follow.matches(each, wanted))
            found = search.result()
        return {"events": [each for each in found if selection.takes(each)][-params["limit"] :], "missing": []}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def say(*words: str, records: list[dict[str, Any]] = RECORDS, code: int = 0) -> list[str]:
        monkeypatch.setattr(Shell, "session", property(lambda shell: Cluster(records)))
        assert run(["history", *words]) == code
        captured = capsys.readouterr()
        return [line.split("  ", 1)[-1].strip() for line in (captured.err if code else captured.out).splitlines()]

    return say


def test_the_transitions_are_listed_with_what_they_were_to_do_and_why(said: Any) -> None:
    lines = said("transitions")[1:]
    assert len(lines) == 2 and "transition 3" in lines[0] and "[cib-0.5.0]" in lines[0]
    assert "transition 4: fence n2, start web on n1" in lines[1] and "[view-7.1]" in lines[1]
    assert len(said("transitions", "-n", "1")) == 2


def test_the_latest_and_any_other_transition_are_told_from_cause_to_end(said: Any) -> None:
    assert [line.split()[1:3] for line in said("latest")[1:]] == [
        ["n2", "is"],
        ["transition", "4:"],
        ["n2", "was"],
        ["start", "of"],
    ]
    assert "start of web ok in 5 ms" in " ".join(said("transition", "3"))
    assert "deciding" in " ".join(said("transition", "3", "--all"))
    assert "nothing is known of transition 9" in " ".join(said("transition", "9", code=1))
    assert "no transition is known" in " ".join(said("latest", records=RECORDS[:2], code=1))


def test_a_resource_and_a_node_have_a_history_of_their_own(said: Any) -> None:
    assert len(said("resource", "web")) == 5 and len(said("node", "n2")) == 3
    assert "nothing of that kind happened" in " ".join(said("resource", "db", code=1))
    assert "deciding" in " ".join(said("log", "n1")) and len(said("log", "n2")) == 2
