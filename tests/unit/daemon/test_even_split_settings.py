"""Which clusters let both halves of an even split go on, so that one of them has to hold back its fencing."""

from __future__ import annotations

from typing import Any

import pytest

from crm.daemon.settings import from_document


def document(two_node: bool, tie_breaker: str) -> dict[str, Any]:
    return {
        "paths": {"state_dir": "/s", "run_dir": "/r"},
        "cluster": {"name": "c"},
        "node": {"id": 1, "name": "n1"},
        "nodes": [{"id": 1, "name": "n1", "votes": 1}, {"id": 2, "name": "n2", "votes": 1}],
        "quorum": {"expected_votes": 2, "two_node": two_node, "tie_breaker": {"type": tie_breaker}},
        "timers": {"deadtime_ms": 1000},
    }


@pytest.mark.parametrize(
    ("two_node", "tie_breaker", "both"),
    [(True, "none", True), (False, "ping", True), (False, "qdisk", False), (False, "none", False)],
)
def test_the_votes_matter_for_fencing_only_where_both_halves_may_be_quorate(
    two_node: bool, tie_breaker: str, both: bool
) -> None:
    assert bool(from_document(document(two_node, tie_breaker)).votes) is both
