"""Where a resource is when a live migration was begun, finished, or has failed (part 1, section 17.4)."""

from __future__ import annotations

import pytest
from history_cib import OFFLINE, Cluster, dummy, entry, history, pending, read, state

SIDES = {"migrate_source": "n1", "migrate_target": "n2"}


def to(rc: int = 0, *, age: int = 30, **more: int) -> str:
    return entry("migrate_to", rc, call=5, age=age, like=SIDES, **more)  # type: ignore[arg-type]


def came(rc: int = 0, *, age: int = 20, call: int = 5) -> str:
    return entry("migrate_from", rc, call=call, age=age, like=SIDES)


START = entry("start", call=1, age=500)
PROBED = entry("monitor", 7, call=1, age=500)


def moved(source: tuple[str, ...], target: tuple[str, ...], **target_state: str) -> Cluster:
    """r, started on n1 at first, and what both nodes say since."""
    histories = [history("r", *target)] if target else []
    return read(
        [dummy("r", meta={"allow-migrate": "true"})],
        [state(history("r", START, *source)), state(*histories, like=target_state)],
    )


@pytest.mark.parametrize(
    ("source", "target", "shown"),
    [
        pytest.param((to(),), (PROBED,), "Started [ n2 n1 ]", id="sent, target seen empty before"),
        pytest.param((to(),), (), "Started n1", id="sent, nothing known of the target"),
        pytest.param((to(),), (came(),), "Started n2", id="sent and arrived, not yet stopped at the source"),
        pytest.param((to(),), (came(1),), "FAILED [ n2 n1 ]", id="sent, failed to arrive"),
        pytest.param(
            (to(),), (came(1), entry("stop", call=6, age=10)), "FAILED n1", id="failed to arrive, stopped there since"
        ),
        pytest.param((to(1),), (PROBED,), "FAILED [ n2 n1 ]", id="failed to be sent, target seen empty before"),
        pytest.param((to(1),), (), "FAILED n1", id="failed to be sent, nothing known of the target"),
        pytest.param(
            (to(), entry("stop", call=6, age=10)), (PROBED,), "Started n2", id="sent and stopped at the source"
        ),
        pytest.param((entry("migrate_to", 193, status=-1, call=-1, like=SIDES),), (), "Migrating n1", id="being sent"),
    ],
)
def test_where_it_is(source: tuple[str, ...], target: tuple[str, ...], shown: str) -> None:
    assert moved(source, target).shown("r") == shown


def test_a_migration_under_way_is_remembered_with_both_ends() -> None:
    found = moved((to(),), (PROBED,))
    rsc = found.state.by_id["r"]
    assert (rsc.partial_migration_source.name, rsc.partial_migration_target.name) == ("n1", "n2")  # type: ignore[attr-defined]


def test_a_source_that_was_never_stopped_is_to_be_stopped_without_touching_the_target() -> None:
    found = moved((to(),), (came(),))
    assert [node.name for node in found.state.by_id["r"].dangling_sources] == ["n1"]  # type: ignore[attr-defined]


def test_a_target_that_is_still_starting_shows_the_migration_on_both_nodes() -> None:
    arriving = entry("migrate_from", 193, status=-1, call=-1, like=SIDES)
    assert moved((to(),), (PROBED, arriving)).shown("r") == "Migrating [ n2 n1 ]"


def test_a_target_that_went_away_leaves_it_failed_on_the_source() -> None:
    assert moved((to(),), (), **OFFLINE).shown("r") == "FAILED n1"


def test_an_entry_that_does_not_name_its_own_node_says_nothing() -> None:
    elsewhere = entry("migrate_to", call=5, migrate_source="n2", migrate_target="n1")
    assert moved((elsewhere,), ()).shown("r") == "Started n1"


def test_a_second_monitor_on_the_target_makes_its_answer_ambiguous() -> None:
    probe = entry("monitor", 7, call=9, age=5)
    both = (probe, entry("monitor", 7, every=10, expected=7, call=3, age=400))
    alone = moved((to(),), (probe,)).shown("r")
    assert alone == "FAILED n1", "seen not running after the migration"
    assert moved((to(),), both).shown("r") == "Started [ n2 n1 ]"


def test_pending_arrival_counts_once_the_source_has_stopped() -> None:
    arriving = entry("migrate_from", 193, status=-1, call=-1, like=SIDES)
    found = moved((to(), entry("stop", call=6, age=10)), (PROBED, arriving))
    assert "n2" in found.shown("r")


def test_stopping_a_resource_forgets_its_migrations() -> None:
    later = (to(), entry("stop", call=6, age=10), entry("start", call=7, age=5), pending("monitor", every=10))
    assert moved(later, (came(), entry("stop", call=6, age=6))).shown("r") == "Started n1 (Monitoring)"
