"""Which instance a history belongs to, and what stands behind bundles, tickets and locks (part 1, sections 7.10, 9, 12, 26, 27.1)."""

from __future__ import annotations

from history_cib import DEVICE, FENCING, OFFLINE, Cluster, dummy, entry, history, read, state
from policy_cib import NOW, clone, group

from crm.policy.model import Bundle, DeleteHistory, Discovery, NodeKind, Primitive

START = entry("start", call=1)
PROBED = entry("monitor", 7, call=1)


def active(*names: str) -> str:
    return state(*(history(name, START) for name in names))


def where(found: Cluster, name: str) -> list[str]:
    return [node.name for node in found.state.by_id[name].active_nodes]


# --- clones -----------------------------------------------------------------------------------------------------------


def test_numbers_in_the_history_of_an_anonymous_clone_mean_nothing() -> None:
    """Node states come in the order n2, n1: the first active record is instance 0."""
    second, first = active("r:1").replace("NUMBER", "2"), active("r:0").replace("NUMBER", "1")
    found = read([clone("c", dummy("r"))], [second, first])
    assert (where(found, "r:0"), where(found, "r:1")) == (["n2"], ["n1"])


def test_a_second_record_of_a_clone_on_a_node_is_one_too_many() -> None:
    found = read([clone("c", dummy("r"))], [active("r:0", "r:1"), state(), state()])
    assert where(found, "r:0") == ["n1"]
    extra = found.state.by_id["r:3"]
    assert (extra.removed, where(found, "r:3")) == (True, ["n1"])
    assert found.clone("c") == [
        "r (ocf:pacemaker:Dummy): ORPHANED Started n1",
        "Started: [ n1 ]",
        "Stopped: [ n2 n3 ]",
    ]


def test_more_active_instances_than_allowed() -> None:
    found = read([clone("c", dummy("r"), {"clone-max": "2"})], [active("r"), active("r"), active("r")])
    assert [where(found, f"r:{i}") for i in range(3)] == [["n1"], ["n2"], ["n3"]]
    assert found.state.by_id["r:2"].removed


def test_instances_of_a_unique_clone_are_known_by_their_number() -> None:
    unique = clone("c", dummy("r"), {"globally-unique": "true", "clone-max": "2"})
    found = read([unique], [active("r:1"), active("r:5")])
    assert (where(found, "r:0"), where(found, "r:1")) == ([], ["n1"])
    stray = found.state.by_id["r:5"]
    assert (stray.parent, stray.removed) == (None, True)


def test_a_probe_that_found_nothing_takes_no_instance() -> None:
    probed = state(history("r", PROBED))
    found = read([clone("c", dummy("r"))], [probed, probed, active("r")])
    assert [node.name for node in found.state.nodes if node in found.state.by_id["r:0"].known_on] == ["n1", "n2", "n3"]
    assert where(found, "r:0") == ["n3"]


def test_members_of_a_cloned_group_follow_the_first_that_is_found() -> None:
    members = clone("c", group("g", dummy("a"), dummy("b")))
    first = active("a:1", "b:1").replace("NUMBER", "2")
    second = state(history("a:0", START), history("b:0", entry("stop"))).replace("NUMBER", "1")
    found = read([members], [first, second])
    assert (where(found, "a:0"), where(found, "b:0")) == (["n2"], ["n2"])
    assert (where(found, "a:1"), where(found, "b:1")) == (["n1"], [])


def test_a_lost_node_keeps_no_number_from_the_living_unless_it_must_be_fenced() -> None:
    few = {"clone-max": "2", "requires": "quorum"}
    lost = state(history("r", START), in_ccm="false", crmd="offline")
    found = read([DEVICE, clone("c", dummy("r"), few)], [lost, active("r"), state()], options=FENCING)
    assert found.state.by_id["r:2"].removed
    assert where(found, "r:2") == ["n1"]
    fencing = read([DEVICE, clone("c", dummy("r"), {"clone-max": "2"})], [lost, active("r"), state()], options=FENCING)
    assert where(fencing, "r:0") == ["n1"]


def test_an_unremarkable_instance_is_gathered_and_the_others_are_listed() -> None:
    failed = state(history("r", START, entry("monitor", 1, every=10, call=2)))
    unable = state(history("r", entry("monitor", 5)))
    found = read([clone("c", dummy("r", "monitor 10s"))], [active("r"), failed, state(), unable])
    assert found.clone("c") == [
        "r (ocf:pacemaker:Dummy): FAILED n2",
        "Started: [ n1 ]",
        "Stopped: [ n3 ]",
        "Stopped (Not installed): [ n4 ]",
    ]


def test_a_promotable_clone_lists_by_role() -> None:
    promoted = state(history("s", START, entry("promote", call=2), agent="Stateful"))
    found = read(
        [clone("c", dummy("s", agent="Stateful"), {"promotable": "true"})],
        [promoted, state(history("s", START, agent="Stateful")), state()],
    )
    assert "Clone Set: c [s] (promotable):" in found.lines
    assert found.clone("c") == ["Promoted: [ n1 ]", "Unpromoted: [ n2 ]", "Stopped: [ n3 ]"]


def test_a_clone_of_nothing_still_has_one_instance_that_must_go() -> None:
    found = read([clone("c", dummy("r"), {"clone-max": "0"})], [active("r"), state()])
    assert found.state.by_id["r:0"].removed


def test_clones_have_an_instance_a_node_and_more_only_within_reason() -> None:
    found = read([clone("c", dummy("r")), clone("d", dummy("s"), {"clone-max": "9" * 30})], [state(), state()])
    assert len(found.state.by_id["c"].children) == 2
    assert len(found.state.by_id["d"].children) == 256
    assert [item.code for item in found.state.problems] == ["clone-max"]
    roomy = read([clone("c", dummy("r"), {"clone-max": "300", "clone-node-max": "150"})], [state(), state()])
    assert len(roomy.state.by_id["c"].children) == 300


# --- bundles ----------------------------------------------------------------------------------------------------------


def bundle(
    primitive: str = "", network: str = 'ip-range-start="192.168.122.131"', container: str = 'replicas="2"'
) -> str:
    inside = f"<network {network}/>" if network else ""
    return f'<bundle id="B"><docker image="web" {container}/>{inside}{primitive}</bundle>'


def test_a_bundle_stands_for_containers_addresses_connections_and_a_clone() -> None:
    found = read([bundle(dummy("in"))], [state(), state()])
    b = found.state.by_id["B"]
    assert [child.id for child in b.children] == [
        "B-docker-0",
        "B-ip-192.168.122.131",
        "B-0",
        "B-docker-1",
        "B-ip-192.168.122.132",
        "B-1",
        "B-clone",
    ]
    assert isinstance(b, Bundle)
    inner, node = b.replicas[1].inner, b.replicas[1].node
    assert inner is not None
    assert node is not None
    assert (node.kind, node.base_discovery, inner.table) == (NodeKind.BUNDLE, Discovery.NEVER, {node: 500})
    assert "Container bundle set: B [web]:" in found.lines
    assert found.clone("B") == [
        "B-0 (192.168.122.131) (ocf:pacemaker:Dummy): Stopped",
        "B-1 (192.168.122.132) (ocf:pacemaker:Dummy): Stopped",
    ]


def test_a_container_runs_with_everything_that_the_bundle_describes() -> None:
    whole = (
        '<bundle id="B"><docker image="web" options="--log=x" network="bridge"/>'
        '<network ip-range-start="10.0.0.254" control-port="9999"><port-mapping id="p" port="80"/></network>'
        '<storage><storage-mapping id="s" source-dir="/srv" target-dir="/www" options="ro"/>'
        '<storage-mapping id="t" source-dir-root="/logs" target-dir="/var/log"/></storage>'
        f"{dummy('in')}</bundle>"
    )
    found = read([whole], [state()])
    parameters = found.state.operations.parameters(found.state.by_id["B-docker-0"], None)
    assert parameters["run_opts"] == (
        " --restart=no -h B-0 -e PCMK_stderr=1 --net=bridge -e PCMK_remote_port=9999 -v /srv:/www:ro -v /logs/B-0:/var/log"
        " -v /etc/pacemaker/authkey:/etc/pacemaker/authkey -p 10.0.0.254:80:80 -p 10.0.0.254:9999:9999 --log=x"
        "  --add-host=B-0:10.0.0.254"
    )
    assert parameters["mount_points"] == "/logs/B-0"
    assert parameters["run_cmd"] == "/usr/sbin/pacemaker-remoted"


def test_addresses_count_on_in_the_next_net() -> None:
    found = read([bundle(dummy("in"), 'ip-range-start="10.0.0.253"', 'replicas="3"')], [state()])
    b = found.state.by_id["B"]
    assert isinstance(b, Bundle)
    assert [replica.ip_address for replica in b.replicas] == ["10.0.0.253", "10.0.0.254", "10.0.1.1"]


def test_a_bundle_that_cannot_be_reached_is_left_out() -> None:
    found = read([bundle(dummy("in"), network=""), bundle(dummy("x")).replace('"B"', '"C"')], [state()])
    assert "B" not in found.state.by_id
    assert "B-docker-0" not in found.state.by_id
    assert "C" in found.state.by_id
    assert [item.code for item in found.state.problems] == ["bundle-network"]


def test_a_bundle_without_a_primitive_is_only_containers() -> None:
    found = read([bundle(network="", container='replicas="1" run-command="x"')], [state()])
    assert [child.id for child in found.state.by_id["B"].children] == ["B-docker-0"]
    assert found.clone("B") == ["B-docker-0 (ocf:heartbeat:docker): Stopped"]


def test_history_inside_a_bundle_belongs_to_the_replica_of_its_node() -> None:
    running = state(
        history("B-docker-1", START, agent="docker"),
        history("B-1", START, agent="remote"),
        history("B-docker-0", PROBED),
    )
    found = read([bundle(dummy("in"), 'control-port="1"')], [running, state(history("in", START), remote="B-1")])
    assert where(found, "in:1") == ["B-1"]
    assert "GuestOnline: [ B-1 ]" in found.lines
    assert found.clone("B") == ["B-0 (ocf:pacemaker:Dummy): Stopped", "B-1 (ocf:pacemaker:Dummy): Started n1"]


# --- tickets ----------------------------------------------------------------------------------------------------------


def ticket(policy: str, granted: str | None = None, role: str = "", options: dict[str, str] | None = None) -> Cluster:
    extra = f' rsc-role="{role}"' if role else ""
    constraint = f'<rsc_ticket id="t" rsc="r" ticket="T"{extra} loss-policy="{policy}"/>'
    states = [active("r"), state()]
    if granted is not None:
        states.append(f'<tickets><ticket_state id="T" granted="{granted}"/></tickets>')
    return read([DEVICE, dummy("r")], states, constraints=constraint, options=options)


def test_a_granted_ticket_changes_nothing() -> None:
    assert ticket("stop", "true").banned("r") == []


def test_a_lost_ticket_bans_what_needs_it() -> None:
    found = ticket("stop", "false")
    assert found.banned("r") == ["n1", "n2"]
    assert found.shown("r") == "Started n1", "it still runs: that is for the transition to change"
    assert ticket("stop").banned("r") == ["n1", "n2"], "a ticket that nobody knows is not granted"


def test_a_lost_ticket_may_cost_the_node() -> None:
    found = ticket("fence", "false", options=FENCING)
    assert found.fenced == {"n1": "deadman ticket was lost"}
    assert "Online: [ n1 n2 ]" in found.lines, "the listing shows what is, not what will be"


def test_a_lost_ticket_may_freeze() -> None:
    rsc = ticket("freeze", "false").state.by_id["r"]
    assert (rsc.managed, rsc.blocked) == (False, True)


# --- shutdown locks ---------------------------------------------------------------------------------------------------

LOCKS = {"shutdown-lock": "true"}


def locked(since: int, **options: str) -> Cluster:
    gone = state(history("r", entry("stop"), shutdown_lock=str(since)), like=OFFLINE)
    return read([dummy("r")], [gone, state()], options={**LOCKS, **options})


def test_a_lock_that_history_remembers() -> None:
    found = locked(NOW - 100)
    rsc = found.state.by_id["r"]
    assert isinstance(rsc, Primitive)
    assert (rsc.lock_node, rsc.lock_time) == (found.state.nodes[0], NOW - 100)
    assert found.shown("r") == "Stopped n1 (LOCKED)"


def test_a_lock_ends_when_its_time_is_over() -> None:
    limit = {"shutdown-lock-limit": "60s"}
    assert locked(NOW - 60, **limit).requests(DeleteHistory) == []
    over = locked(NOW - 61, **limit)
    assert over.requests(DeleteHistory) == ["r n1"]
    assert over.shown("r") == "Stopped"
