"""The policy worker remembers what it has parsed: over the life of a random cluster that changes no answer, byte for byte."""

from __future__ import annotations

import pytest
from random_clusters import RandomCluster

from crm.cib import xml
from crm.daemon.documents import Documents
from crm.daemon.worker import OK, decide
from crm.policy.schedule import schedule
from crm.policy.simulate import execute


@pytest.mark.parametrize("seed", range(6))
def test_a_worker_that_remembers_answers_as_one_that_does_not(seed: int) -> None:
    cluster, documents, now = RandomCluster(seed), Documents(), 1_700_000_000
    for number in range(5):
        event = cluster.perturb(now) if number else "the cluster starts"
        for _ in range(4):
            now += 10
            text = xml.to_bytes(cluster.cib)
            answer = decide(text, now, documents)
            assert answer == decide(text, now, Documents()), f"seed {seed}, {event}"
            assert answer[0] == OK, f"seed {seed}, {event}: {answer[1].decode()}"
            execute(cluster.cib, schedule(cluster.cib, now, masked=False), now, realistic=True)
