"""What the documentation says of records and metrics is what the code has, and nothing less."""

from __future__ import annotations

import re
from pathlib import Path

from crm.events import select, words

ROOT = Path(__file__).resolve().parents[3]
RECORDED = re.compile(r"(?:\bRecord|\bTell|\brecord)\(\s*\"([a-z_]+)\"(?:,| if| ok)")
METRIC = re.compile(r"\"((?:vigil|ha_cluster)_[a-z_]+)\"")
NAME = re.compile(r"`([a-z_]+)`")


def code(*folders: str) -> str:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def recorded() -> set[str]:
    text = code("crm/controller", "crm/daemon", "crm/alerts")
    assert 'Record("fenced" if ok else "fence_failed"' in text
    return set(RECORDED.findall(text)) | {"fenced", "fence_failed"}


def first_column(page: str, heading: str) -> set[str]:
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in NAME.findall(cell)}


def test_the_reference_names_every_record_and_no_other() -> None:
    assert first_column("docs/reference/daemon.md", "## Events") == recorded()


def test_every_record_has_a_sentence() -> None:
    assert recorded() - words._SENTENCES.keys() <= {"quorum_changed"}, (
        "its fields say it: which they are depends on the change"
    )


def test_every_record_is_of_a_kind_that_can_be_asked_for() -> None:
    assert frozenset[str]().union(*select.GROUPS.values()) == recorded()


def test_the_guide_names_every_metric_and_no_other() -> None:
    text = code("crm/metrics") + (ROOT / "crm/daemon/metrics.py").read_text(encoding="utf-8")
    assert first_column("docs/guide/events-and-metrics.md", "## Metrics") == set(METRIC.findall(text))


def test_the_guide_to_alerts_names_every_variable() -> None:
    text = (ROOT / "docs/guide/alerts.md").read_text(encoding="utf-8")
    source = (ROOT / "crm/alerts/happenings.py").read_text(encoding="utf-8")
    given = set(re.findall(r"\b([a-z_]+)=record|\b(?:node|task|rc|desc|rsc|status|nodeid)(?==)", source))
    wanted = {"kind", "node", "recipient", "desc", "nodeid", "task", "rc", "rsc", "target_rc", "status", "interval"}
    wanted |= {"exec_time", "attribute_name", "attribute_value", "timestamp", "timestamp_epoch", "timestamp_usec"}
    wanted |= {"node_sequence", "version", "cause"}
    assert given - {""} <= wanted
    assert set(re.findall(r"`CRM_alert_([a-z_]+)`", text)) >= wanted
