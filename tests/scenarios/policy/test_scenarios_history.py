"""What operations leave behind, and what it means: one small history for each rule (part 1, sections 14 to 18)."""

from __future__ import annotations

import pytest
from history_cib import (
    DEVICE,
    FENCING,
    OFFLINE,
    Cluster,
    dummy,
    entry,
    history,
    pending,
    read,
    state,
)

from crm.policy.model import ClearFailCount, ForceStop, KnownRecurring

START = entry("start", call=1)


def one(*entries: str, rsc: str | None = None, options: dict[str, str] | None = None) -> Cluster:
    """Two nodes, one resource r, and its history on n1."""
    return read([rsc or dummy("r", "monitor 10s")], [state(history("r", *entries)), state()], options=options)


# --- the matrix of result codes (16.4) --------------------------------------------------------------------------------

FAILED, FAILED_PROMOTED = "FAILED n1", "FAILED Promoted n1"


@pytest.mark.parametrize(
    ("rc", "shown", "banned"),
    [
        (0, "Started n1", []),
        (190, "Started n1", []),
        (1, FAILED, []),
        (42, FAILED, []),
        (193, FAILED, []),
        (2, "Stopped (Invalid parameter)", ["n1"]),
        (3, FAILED, ["n1"]),
        (4, FAILED, ["n1"]),
        (5, "Stopped (Not installed)", ["n1"]),
        (6, FAILED, ["n1", "n2"]),
        (7, "Stopped", []),
        (8, "Promoted n1", []),
        (9, FAILED_PROMOTED, []),
    ],
)
def test_what_a_probe_finds(rc: int, shown: str, banned: list[str]) -> None:
    found = one(entry("monitor", rc))
    assert found.shown("r") == shown
    assert found.banned("r") == banned


@pytest.mark.parametrize(
    ("rc", "shown", "banned"),
    [
        (0, "Started n1", []),
        (1, FAILED, []),
        (2, FAILED, ["n1"]),
        (3, FAILED, ["n1"]),
        (5, FAILED, ["n1"]),
        (6, FAILED, ["n1", "n2"]),
        (7, FAILED, []),
        (8, FAILED_PROMOTED, []),
        (9, FAILED_PROMOTED, []),
    ],
)
def test_how_a_start_can_end(rc: int, shown: str, banned: list[str]) -> None:
    found = one(entry("start", rc))
    assert found.shown("r") == shown
    assert found.banned("r") == banned


@pytest.mark.parametrize(
    ("rc", "shown", "banned"),
    [
        (0, "Started n1", []),
        (190, "Started n1", []),
        (1, FAILED, []),
        (3, FAILED, []),
        (5, FAILED, ["n1"]),
        (7, FAILED, []),
        (8, FAILED_PROMOTED, []),
    ],
)
def test_what_a_recurring_monitor_finds(rc: int, shown: str, banned: list[str]) -> None:
    found = one(START, entry("monitor", rc, every=10, call=2))
    assert found.shown("r") == shown
    assert found.banned("r") == banned


@pytest.mark.parametrize("rc", [1, 2, 3, 4, 5, 6])
def test_a_failed_stop_blocks_when_the_node_cannot_be_fenced(rc: int) -> None:
    found = one(START, entry("stop", rc, call=2))
    assert found.shown("r") == "FAILED n1 (blocked)"
    assert found.header == ["0 of 1 resource instances DISABLED and 1 BLOCKED from further action due to failure"]


def test_a_failed_stop_fences_the_node_when_that_is_possible() -> None:
    rsc = dummy("r") + DEVICE
    found = one(START, entry("stop", 1, call=2), rsc=rsc, options=FENCING)
    assert found.fenced == {"n1": "r failed there"}
    assert found.shown("r") == "FAILED n1"


@pytest.mark.parametrize(
    ("status", "shown", "banned"),
    [
        (2, FAILED, []),
        (4, FAILED, []),
        (5, FAILED, ["n1"]),
        (6, FAILED, ["n1", "n2"]),
        (7, FAILED, ["n1"]),
        (8, FAILED, []),
        (10, FAILED, ["n1"]),
        (11, FAILED, ["n1"]),
        (1, "Started n1", []),
        (12, "Started n1", []),
    ],
)
def test_execution_statuses_other_than_done(status: int, shown: str, banned: list[str]) -> None:
    found = one(START, entry("monitor", 1, every=10, status=status, call=2))
    assert found.shown("r") == shown
    assert found.banned("r") == banned


def test_an_error_that_was_expected_is_a_success() -> None:
    assert one(START, entry("monitor", 0, every=10, status=4, call=2)).shown("r") == "Started n1"


def test_an_entry_that_expects_nothing_is_a_failure() -> None:
    assert one(entry("start", transition_key="")).shown("r") == FAILED


def test_a_promoted_monitor_that_finds_it_only_started_has_failed() -> None:
    found = one(START, entry("promote", call=2), entry("monitor", 0, every=10, expected=8, call=3))
    assert found.shown("r") == FAILED_PROMOTED


def test_a_probe_that_finds_what_should_not_be_there_is_no_failure() -> None:
    found = one(entry("monitor", 0))
    assert not found.state.failed_ops
    assert found.state.by_id["r"].known_on == {found.state.nodes[0]}


# --- on-fail ----------------------------------------------------------------------------------------------------------


def monitored(reaction: str, *, rc: int = 1, options: dict[str, str] | None = None) -> Cluster:
    rsc = dummy("r", f"monitor 10s on-fail={reaction}")
    return one(START, entry("monitor", rc, every=10, call=2), rsc=rsc, options=options)


def test_on_fail_ignore_shows_the_failure_and_does_nothing() -> None:
    assert monitored("ignore").shown("r") == "Started n1 (failure ignored)"


def test_on_fail_block_leaves_it_as_it_is() -> None:
    assert monitored("block").shown("r") == "FAILED n1 (blocked)"


def test_on_fail_stop_keeps_it_stopped_everywhere() -> None:
    found = monitored("stop")
    assert found.banned("r") == ["n1", "n2"]
    assert found.state.by_id["r"].next_role.name == "STOPPED"


def test_on_fail_standby_empties_the_node() -> None:
    assert "Node n1: standby (on-fail)" in monitored("standby").lines


def test_on_fail_migrate_bans_the_node() -> None:
    assert monitored("migrate").banned("r") == ["n1"]


def test_on_fail_fence_means_stop_without_fencing() -> None:
    assert monitored("fence").banned("r") == ["n1", "n2"]


def test_on_fail_demote_needs_a_promoted_recurring_monitor() -> None:
    found = monitored("demote")
    assert found.shown("r") == FAILED
    assert found.requests(ForceStop) == ["r n1"], "the default: restart"


def test_a_failed_demotion_reacts_as_the_promoted_monitor_does() -> None:
    rsc = dummy("r", "monitor 10s role=Promoted on-fail=restart", "monitor 11s role=Promoted on-fail=block")
    found = one(START, entry("promote", call=2), entry("demote", 1, call=3), rsc=rsc)
    assert found.shown("r") == "FAILED Promoted n1 (blocked)", "the last such monitor decides"


def test_an_ignored_probe_failure_pretends_what_was_expected() -> None:
    found = one(entry("monitor", 1), rsc=dummy("r", "monitor 0 on-fail=ignore"))
    assert found.shown("r") == "Stopped (failure ignored)"


def test_an_ignored_stop_failure_pretends_that_it_stopped() -> None:
    assert one(START, entry("stop", 1, call=2), rsc=dummy("r", "stop 0 on-fail=ignore")).shown("r") == (
        "Stopped (failure ignored)"
    )


def test_a_stop_that_failed_with_on_fail_restart_is_recovered_elsewhere() -> None:
    found = one(START, entry("stop", 1, call=2), rsc=dummy("r", "stop 0 on-fail=restart"))
    assert found.shown("r") == FAILED
    assert found.banned("r") == ["n1"]


def test_a_success_after_the_failure_clears_it() -> None:
    found = one(START, entry("monitor", 1, every=10, call=2), entry("stop", call=3), entry("start", call=4))
    assert found.shown("r") == "Started n1"


def test_an_unmanaged_resource_that_stopped_by_itself_is_just_stopped() -> None:
    rsc = dummy("r", "monitor 10s", meta={"is-managed": "false"})
    assert one(START, entry("monitor", 7, every=10, call=2), rsc=rsc).shown("r") == "Stopped (unmanaged)"
    assert one(START, entry("monitor", 1, every=10, call=2), rsc=rsc).shown("r") == "FAILED n1 (unmanaged)"


# --- order ------------------------------------------------------------------------------------------------------------


def test_call_ids_order_entries_whatever_the_document_does() -> None:
    assert one(entry("stop", call=7), entry("start", call=5)).shown("r") == "Stopped"


def test_a_pending_operation_is_the_newest() -> None:
    assert one(pending("stop"), entry("start", call=5)).shown("r") == "Stopping n1"


def test_pending_operations_show_what_is_going_on() -> None:
    assert one(pending("start")).shown("r") == "Starting n1"
    assert one(START, pending("promote")).shown("r") == "Promoting n1"
    assert one(START, pending("monitor", every=10)).shown("r") == "Started n1 (Monitoring)"
    assert one(pending("monitor")).shown("r") == "Stopped", "a probe shows nothing"


# --- expiry -----------------------------------------------------------------------------------------------------------

EXPIRING = {"failure-timeout": "60s"}


def failed(age: int, *, since: int | None = None) -> Cluster:
    """A start that failed `age` seconds ago, with its fail count; the resource was stopped since."""
    rsc = dummy("r", meta=EXPIRING)
    last = str(1_700_000_000 - (age if since is None else since))
    attributes = {"fail-count-r#start_0": "1", "last-failure-r#start_0": last}
    entries = (entry("start", 1, age=age, name="last_failure_0", call=1), entry("stop", call=2, age=age))
    return read([rsc], [state(history("r", *entries), transient=attributes), state()])


def test_a_failure_past_its_time_is_forgotten() -> None:
    found = failed(61)
    assert not found.state.failed_ops
    assert found.requests(ClearFailCount) == ["r n1"]
    assert found.state.by_id["r"].fail_counts == {}  # type: ignore[attr-defined]


def test_a_failure_counts_to_the_last_second_and_says_when_that_ends() -> None:
    found = failed(60)
    assert len(found.state.failed_ops) == 1
    assert found.requests(ClearFailCount) == []
    assert min(found.state.recheck_candidates) == 1_700_000_000 + 1


def test_a_count_whose_failure_is_in_no_history_any_more_is_looked_at_again_when_the_last_entry_is_as_old() -> None:
    attributes = {"fail-count-r#start_0": "1", "last-failure-r#start_0": str(1_700_000_000 - 61)}
    young = history("r", entry("start", call=3, age=20))
    found = read([dummy("r", meta=EXPIRING)], [state(young, transient=attributes), state()])
    assert found.requests(ClearFailCount) == [], "nothing that is recorded is as old as that"
    assert min(found.state.recheck_candidates) == 1_700_000_000 - 20 + 60
    old = history("r", entry("start", call=3, age=60))
    found = read([dummy("r", meta=EXPIRING)], [state(old, transient=attributes), state()])
    assert found.requests(ClearFailCount) == ["r n1"]


def test_an_older_failure_stays_while_a_newer_one_counts() -> None:
    found = failed(600, since=10)
    assert len(found.state.failed_ops) == 1
    assert found.state.by_id["r"].fail_counts == {found.state.nodes[0]: 1}  # type: ignore[attr-defined]


def test_a_failure_that_blocks_never_expires() -> None:
    rsc = dummy("r", "start 0 on-fail=block", meta=EXPIRING)
    attributes = {"fail-count-r#start_0": "1", "last-failure-r#start_0": "1600000000"}
    found = read(
        [rsc], [state(history("r", entry("start", 1, age=9999, name="last_failure_0")), transient=attributes), state()]
    )
    assert found.requests(ClearFailCount) == []
    assert found.state.by_id["r"].failure_timeout_s == 0


def test_changed_parameters_clear_a_failure() -> None:
    rsc = dummy("r", parameters="x=1")
    found = read([rsc], [state(history("r", entry("start", 1, name="last_failure_0"))), state()])
    assert found.requests(ClearFailCount) == ["r n1"]


# --- recurring operations ---------------------------------------------------------------------------------------------


def test_only_monitors_since_the_last_start_are_known_to_run() -> None:
    before = one(entry("start", call=1), entry("monitor", every=10, call=2), entry("stop", call=3))
    assert before.requests(KnownRecurring) == []
    after = one(entry("stop", call=1), entry("start", call=2), entry("monitor", every=10, call=3))
    assert after.requests(KnownRecurring) == ["r n1"]


# --- lost nodes -------------------------------------------------------------------------------------------------------


def test_what_a_lost_node_ran_is_thought_to_run_there_still_and_the_node_is_fenced() -> None:
    states = [state(history("r", START), like=OFFLINE), state()]
    found = read([dummy("r") + DEVICE], states, options=FENCING)
    assert found.fenced == {"n1": "r is thought to be active there"}
    assert found.shown("r") == "Started n1 (UNCLEAN)"


def test_without_fencing_the_history_of_an_offline_node_is_ignored() -> None:
    found = read([dummy("r")], [state(history("r", START), like=OFFLINE), state()])
    assert found.shown("r") == "Stopped"


def test_shutdown_locks_make_the_history_of_offline_nodes_count() -> None:
    states = [state(history("r", START), like=OFFLINE), state()]
    assert read([dummy("r")], states, options={"shutdown-lock": "true"}).shown("r") == "Started n1"


def test_active_in_two_places() -> None:
    states = [state(history("r", START)), state(history("r", START))]
    assert read([dummy("r")], states).shown("r") == "Started [ n1 n2 ]"
    blocked = read([dummy("r", meta={"multiple-active": "block"})], states)
    assert blocked.shown("r") == "Started (blocked) [ n1 n2 ]"
    stopped = read([dummy("r", meta={"multiple-active": "stop_only"})], states)
    assert stopped.banned("r") == ["n1", "n2"]


# --- removed resources ------------------------------------------------------------------------------------------------


def test_a_resource_that_only_history_knows_is_removed() -> None:
    found = read([], [state(history("gone", START)), state(history("gone", entry("monitor", 7)))])
    assert found.shown("gone") == "ORPHANED Started n1"
    assert found.banned("gone") == ["n1", "n2"]


def test_removed_resources_may_be_left_alone() -> None:
    found = read([], [state(history("gone", START))], options={"stop-removed-resources": "false"})
    assert found.shown("gone") == "ORPHANED Started n1 (unmanaged)"
    assert found.banned("gone") == []


def test_a_removed_resource_that_runs_nowhere_is_not_listed() -> None:
    assert "No resources" in read([], [state(history("gone", entry("stop")))]).lines
