"""What the status section says about nodes (part 1, sections 6, 10, 11; part 3, section 22.1)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from history_cib import DEVICE, FENCING, OFFLINE, Cluster, dummy, entry, history, read, state
from policy_cib import NOW

START = entry("start", call=1)


def fenced_cluster(first: str, options: Mapping[str, str] | None = None) -> Cluster:
    """n1 as given, n2 online, fencing with a device."""
    return read([DEVICE, dummy("r")], [first, state()], options={**FENCING, **(options or {})})


# --- cluster nodes ----------------------------------------------------------------------------------------------------

SEEN, GONE = {"in_ccm": "true"}, {"in_ccm": "false"}
RUNNING, SILENT = {"crmd": "online"}, {"crmd": "offline"}


@pytest.mark.parametrize(
    ("attributes", "line", "reason"),
    [
        pytest.param({}, "Online: [ n1 n2 ]", None, id="a member in every respect"),
        pytest.param(
            {**GONE, **SILENT},
            "Node n1: UNCLEAN (offline)",
            "peer is no longer part of the cluster",
            id="expected, but gone",
        ),
        pytest.param(
            {**SEEN, **SILENT},
            "Node n1: UNCLEAN (online)",
            "peer process is no longer available",
            id="a member without a controller",
        ),
        pytest.param(
            {"in_ccm": ""}, "Node n1: UNCLEAN (offline)", "peer has not been seen by the cluster", id="never a member"
        ),
        pytest.param(
            {"join": "banned"},
            "Node n1: UNCLEAN (online)",
            "peer failed Pacemaker membership criteria",
            id="refused by the join",
        ),
        pytest.param({"join": "pending"}, "Node n1: pending", None, id="still joining"),
        pytest.param({"expected": "down"}, "Node n1: pending", None, id="not expected yet"),
        pytest.param({"expected": ""}, "Node n1: pending", None, id="nothing expected"),
        pytest.param(OFFLINE, "OFFLINE: [ n1 ]", None, id="down, as expected"),
        pytest.param(
            {"join": "later"}, "Node n1: UNCLEAN (online)", "peer was in an unknown state", id="an unknown join state"
        ),
        pytest.param({"in_ccm": "1699990000", "crmd": "1699990000"}, "Online: [ n1 n2 ]", None, id="since when"),
    ],
)
def test_a_node_with_fencing(attributes: dict[str, str], line: str, reason: str | None) -> None:
    found = fenced_cluster(state(like=attributes))
    assert line in found.lines
    assert found.fenced == ({} if reason is None else {"n1": reason})


@pytest.mark.parametrize(
    ("attributes", "line", "unclean"),
    [
        ({}, "Online: [ n1 n2 ]", False),
        ({**GONE, **SILENT}, "OFFLINE: [ n1 ]", False),
        ({**SEEN, **SILENT}, "Node n1: UNCLEAN (offline)", True),
        ({"join": "pending"}, "OFFLINE: [ n1 ]", False),
    ],
)
def test_a_node_without_fencing(attributes: dict[str, str], line: str, unclean: bool) -> None:
    found = read([dummy("r")], [state(like=attributes), state()])
    assert line in found.lines
    assert found.state.nodes[0].unclean is unclean


def test_a_node_that_shuts_down_is_clean_as_long_as_it_takes() -> None:
    asked = {"shutdown": "1699999999"}
    found = fenced_cluster(state(transient=asked))
    assert (found.state.nodes[0].shutdown, found.state.nodes[0].online, found.fenced) == (True, True, {})
    gone = fenced_cluster(state(transient=asked, like=OFFLINE))
    assert (gone.state.nodes[0].online, gone.fenced) == (False, {})


@pytest.mark.parametrize("value", ["", "00", "false", "1"])
def test_any_shutdown_value_but_zero_asks_for_it(value: str) -> None:
    assert fenced_cluster(state(transient={"shutdown": value})).state.nodes[0].shutdown
    assert not fenced_cluster(state(transient={"shutdown": "0"})).state.nodes[0].shutdown


def test_terminate_asks_for_fencing_until_the_node_is_down() -> None:
    assert fenced_cluster(state(transient={"terminate": "true"})).fenced == {"n1": "fencing was requested"}
    assert fenced_cluster(state(transient={"terminate": "1699999999"})).fenced == {"n1": "fencing was requested"}
    assert fenced_cluster(state(transient={"terminate": "0"})).fenced == {}
    down = {"in_ccm": "false", "crmd": "offline", "join": "down"}
    assert fenced_cluster(state(transient={"terminate": "true"}, like=down)).fenced == {}


def test_a_node_may_be_pending_only_so_long() -> None:
    waiting = {"in_ccm": str(NOW - 60), "crmd": "0", "expected": "down", "join": "down"}
    patient = fenced_cluster(state(like=waiting), options={"node-pending-timeout": "90s"})
    assert patient.fenced == {}
    assert min(patient.state.recheck_candidates) == NOW + 30
    strict = fenced_cluster(state(like=waiting), options={"node-pending-timeout": "60s"})
    assert strict.fenced == {"n1": "peer pending timed out on joining the process group"}


def test_a_node_that_was_never_heard_of_is_unclean_unless_startup_fencing_is_off() -> None:
    found = read([DEVICE, dummy("r")], [state()], nodes=2, options=FENCING)
    assert "Node n2: UNCLEAN (offline)" in found.lines
    assert found.fenced == {}, "fenced later, as `node is unclean`"
    trusting = read([DEVICE, dummy("r")], [state()], nodes=2, options={**FENCING, "startup-fencing": "false"})
    assert "OFFLINE: [ n2 ]" in trusting.lines


def test_without_quorum_the_fence_policy_shoots_everyone_if_there_was_quorum_before() -> None:
    options = {**FENCING, "no-quorum-policy": "fence"}
    states = [state(), state()]
    reason = "cluster does not have quorum"
    panic = read([DEVICE, dummy("r")], states, options=options, root='no-quorum-panic="1"', quorate=False)
    assert panic.fenced == {"n1": reason, "n2": reason}
    never = read([DEVICE, dummy("r")], states, options=options, quorate=False)
    assert (never.fenced, never.state.options.no_quorum_policy) == ({}, "stop")
    assert read([DEVICE, dummy("r")], states, options=options).fenced == {}


def test_standby_and_maintenance_show_and_transient_attributes_win() -> None:
    states = [state(history("r", START), transient={"standby": "on"}), state(transient={"maintenance": "true"})]
    found = read([dummy("r")], states)
    assert "Node n1: standby (with active resources)" in found.lines
    assert "Node n2: maintenance" in found.lines
    assert found.header == []
    kept = read([dummy("r")], [state(transient={"standby": "off"})], node_attributes={"standby": "on"})
    assert "Online: [ n1 ]" in kept.lines


def test_what_runs_on_a_node_in_maintenance_is_left_alone() -> None:
    found = read([dummy("r")], [state(history("r", START), transient={"maintenance": "true"}), state()])
    assert found.shown("r") == "Started n1 (maintenance)"


def test_health_shows_by_the_colour_of_its_attributes() -> None:
    options = {"node-health-strategy": "only-green"}
    states = [state(transient={"#health-disk": "red"}), state(transient={"#health-fan": "yellow"}), state()]
    found = read([dummy("r")], states, options=options)
    assert "Node n1: online (health is RED)" in found.lines
    assert "Node n2: online (health is YELLOW)" in found.lines
    assert "Online: [ n3 ]" in found.lines


def test_names_sort_as_people_count() -> None:
    found = read([dummy("r")], [state() for _ in range(11)])
    assert "Online: [ n1 n2 n3 n4 n5 n6 n7 n8 n9 n10 n11 ]" in found.lines


# --- Remote nodes -----------------------------------------------------------------------------------------------------

CONNECTION = dummy("rem", "monitor 30s", agent="remote")
GUEST_META = {"remote-node": "guest"}


def test_a_remote_node_is_as_alive_as_its_connection() -> None:
    up = read([CONNECTION, dummy("r")], [state(history("rem", START, agent="remote")), state()])
    assert "RemoteOnline: [ rem ]" in up.lines
    assert "RemoteOFFLINE: [ rem ]" in read([CONNECTION, dummy("r")], [state(), state()]).lines


def test_history_of_a_remote_node_counts_while_its_connection_runs() -> None:
    remote = state(history("r", START), remote="rem")
    up = read([CONNECTION, dummy("r")], [state(history("rem", START, agent="remote")), remote])
    assert up.shown("r") == "Started rem"
    assert read([CONNECTION, dummy("r")], [state(), remote]).shown("r") == "Stopped"


def test_a_lost_connection_costs_the_remote_node_its_life() -> None:
    lost = history("rem", START, entry("monitor", 1, every=30, call=2), agent="remote")
    found = read([DEVICE, CONNECTION, dummy("r")], [state(lost), state(remote="rem")], options=FENCING)
    assert found.fenced == {"rem": "remote connection is unrecoverable"}
    assert found.shown("rem") == "FAILED n1"


def test_with_a_reconnect_interval_the_connection_waits_for_fencing() -> None:
    connection = dummy("rem", "monitor 30s", agent="remote", parameters="reconnect_interval=60s")
    lost = history("rem", START, entry("monitor", 1, every=30, call=2, age=97), agent="remote")
    found = read([DEVICE, connection], [state(lost), state()], options=FENCING)
    assert found.fenced == {"rem": "remote connection is unrecoverable"}
    assert found.state.by_id["rem"].next_role.name == "STOPPED"
    without = read([connection], [state(lost), state()])
    assert without.shown("rem") == "Started n1", "without fencing the failure just expires"


def test_a_guest_lives_in_its_container() -> None:
    vm = dummy("vm", meta=GUEST_META)
    running = (history("vm", START), history("guest", START, agent="remote"))
    found = read([vm, dummy("r")], [state(*running), state(history("r", START), remote="guest")])
    assert "GuestOnline: [ guest ]" in found.lines
    assert found.shown("r") == "Started guest"
    assert not [line for line in found.lines if line.startswith("guest\t")], "the connection is not listed"


def test_a_guest_is_recovered_through_its_container_not_fenced() -> None:
    vm = dummy("vm", meta=GUEST_META)
    running = (history("vm", START), history("guest", START, agent="remote"))
    inside = state(history("r", START, entry("stop", 1, call=2)), remote="guest")
    found = read([DEVICE, vm, dummy("r")], [state(*running), inside], options=FENCING)
    assert found.fenced == {}
    container, guest = found.state.by_id["vm"], found.state.nodes_by_name["guest"]
    assert (container.failed, container.stop_required, guest.remote_reset, guest.unclean) == (True, True, True, False)


def test_a_failed_connection_restarts_the_guest() -> None:
    vm = dummy("vm", meta=GUEST_META)
    lost = history("guest", START, entry("monitor", 1, every=30, call=2), agent="remote")
    found = read([vm], [state(history("vm", START), lost), state()])
    assert found.state.by_id["guest"].failed
    assert [
        type(r).__name__ for r in found.state.requests if getattr(r, "resource", None) is found.state.by_id["vm"]
    ] == ["ForceStop"]


def test_a_connection_that_is_no_longer_configured_brings_its_node_to_shut_down() -> None:
    gone = history("old", START, agent="remote")
    found = read([dummy("r")], [state(gone), state(history("r", START), remote="old")])
    assert "RemoteOnline: [ old ]" in found.lines
    assert found.shown("r") == "Started old"
    assert found.state.nodes_by_name["old"].shutdown
