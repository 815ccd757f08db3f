"""Remote nodes, guests and bundles: what must be up before anything happens inside, and how they are recovered."""

from __future__ import annotations

import itertools

import pytest
from lxml import etree
from planned import planned
from policy_cib import cib, clone, colocation, location, primitive
from policy_parts import DEVICE, FENCING, GONE, NO_PROBES, OFF, ban, guest_host, op, order, remote, with_ops

from crm.policy.digests import attribute_digest

ON_R = location("A", "r", "INFINITY")
ON_G = location("A", "g", "INFINITY")


def active(text: str, node: str, names: tuple[str, ...], agent: str = "Dummy") -> str:
    """The CIB's text with a node_state of a Remote node, on which these resources are active."""
    entries = "".join(
        f'<lrm_resource id="{name}" class="ocf" provider="pacemaker" type="{agent}"><lrm_rsc_op id="{name}_last_0" '
        f'operation_key="{name}_start_0" operation="start" call-id="{number}" rc-code="0" op-status="0" interval="0" '
        'op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8" crm_feature_set="3.19.0" transition-key="1:1:0:x" '
        f'transition-magic="0:0;1:1:0:x" on_node="{node}"/></lrm_resource>'
        for number, name in enumerate(names, 5)
    )
    state = (
        f'<node_state id="{node}" uname="{node}" remote_node="true" node_fenced="0"><lrm id="{node}"><lrm_resources>'
    )
    return text.replace("</status>", f"{state}{entries}</lrm_resources></lrm></node_state></status>", 1)


def connected(text: str) -> str:
    """What `cib(active=...)` wrote about the connection r, with the agent and the parameters that it has."""
    begin = text.index('<lrm_resource id="r"')
    end = text.index("</lrm_resource>", begin)
    history = text[begin:end].replace('type="Dummy"', 'type="remote"')
    digest = attribute_digest({"server": "r.example"})
    history = history.replace('op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"', f'op-digest="{digest}"')
    return text[:begin] + history + text[end:]


# --- remote nodes -----------------------------------------------------------------------------------------------------


def test_nothing_starts_on_a_remote_node_before_its_connection_and_it_is_done_from_the_host_of_that() -> None:
    plan = planned(cib(remote("r"), primitive("A"), constraints=(ON_R, location("r", "n2", 100)), options=NO_PROBES))
    assert plan.real == ["start A on r", "start r on n2"]
    assert plan.before("start r on n2", "start A on r")
    assert plan.transition.attributes(plan.action("start A"))["CRM_meta_on_node"] == "r"
    assert 'router_node="n2"' in plan.transition.to_xml()


def test_a_connection_stops_only_when_everything_on_its_node_has_stopped() -> None:
    stopped = {"target-role": "Stopped"}
    text = cib(remote("r", stopped), primitive("A"), constraints=(ON_R,), options=NO_PROBES, active={"n1": ("r",)})
    plan = planned(active(connected(text), "r", ("A",)))
    assert plan.before("stop A on r", "stop r on n1")


def test_a_remote_node_never_runs_a_connection_a_guest_or_a_fence_device() -> None:
    everything = (remote("r"), remote("q"), guest_host("vm", "g"), DEVICE)
    constraints = tuple(ban(name, node) for name in ("q", "vm", "F") for node in ("n1", "n2", "n3"))
    plan = planned(cib(*everything, constraints=constraints, options=FENCING))
    assert [name for name in plan.real if name.endswith(" on r")] == []


def test_a_connection_that_moves_leaves_what_runs_behind_it_alone() -> None:
    text = cib(
        remote("r"), primitive("A"), constraints=(ON_R, ban("r", "n1")), options=NO_PROBES, active={"n1": ("r",)}
    )
    plan = planned(active(connected(text), "r", ("A",)))
    assert plan.changes == ["Migrate r ( n1 -> n2 )"]
    assert plan.real == ["migrate_from r on n2", "migrate_to r on n1", "stop r on n1"]


def test_a_connection_that_was_lost_with_its_host_is_taken_up_elsewhere_without_fencing_what_is_behind_it() -> None:
    text = cib(
        remote("r"),
        primitive("A"),
        DEVICE,
        constraints=(ON_R,),
        options=FENCING,
        active={"n1": ("r",)},
        state={"n1": GONE},
    )
    plan = planned(active(connected(text), "r", ("A",)))
    assert "stonith on n1" in plan.real and "stonith on r" not in plan.real
    assert "start r on n2" in plan.real, "a connection needs quorum only: it waits for nobody's fencing"
    assert not [name for name in plan.real if " A " in name]


@pytest.mark.parametrize("allowed", [True, False])
def test_without_quorum_a_remote_node_is_fenced_only_where_nobody_else_could_have_it_or_that_is_allowed(
    allowed: bool,
) -> None:
    """Its connection failed on n2; n1, which could have taken it up, is in another part of the cluster for all we know."""
    options = {**FENCING, "no-quorum-policy": "freeze", "fence-remote-without-quorum": str(allowed).lower()}
    state = {"n1": OFF}
    text = cib(
        remote("r"), primitive("A"), DEVICE, nodes=2, quorate=False, options=options, active={"n2": ("r",)}, state=state
    )
    for old, new in (
        ('rc-code="0"', 'rc-code="1"'),
        ('operation="start"', 'operation="monitor"'),
        ('interval="0"', 'interval="10000"'),
        ("r_start_0", "r_monitor_10000"),
        ("0:0;", "0:1;"),
    ):
        text = text.replace(old, new, 1)
    assert ("stonith on r" in planned(active(connected(text), "r", ("A",))).real) == allowed


# --- guests -----------------------------------------------------------------------------------------------------------


def test_a_guest_comes_up_from_the_outside_in() -> None:
    plan = planned(cib(guest_host("vm", "g"), primitive("A"), constraints=(ON_G,), options=NO_PROBES))
    assert {"start A on g", "start g on n1", "start vm on n1"} <= set(plan.real)
    assert plan.before("start vm", "start g") and plan.before("start g", "start A")


def test_a_guest_goes_down_from_the_inside_out() -> None:
    vm = primitive("vm", {"remote-node": "g", "target-role": "Stopped"})
    text = cib(vm, primitive("A"), constraints=(ON_G,), options=NO_PROBES, active={"n1": ("vm", "g")})
    text = text.replace(
        '<lrm_resource id="g" class="ocf" provider="pacemaker" type="Dummy"',
        '<lrm_resource id="g" class="ocf" provider="pacemaker" type="remote"',
    )
    plan = planned(active(text, "g", ("A",)))
    assert plan.before("stop A", "stop g") and plan.before("stop g", "stop vm")


def test_a_guest_whose_host_is_lost_counts_as_gone_once_the_host_is_fenced() -> None:
    text = cib(
        guest_host("vm", "g"),
        primitive("A"),
        DEVICE,
        constraints=(ON_G,),
        options=FENCING,
        active={"n1": ("vm", "g")},
        state={"n1": GONE},
    )
    text = text.replace(
        '<lrm_resource id="g" class="ocf" provider="pacemaker" type="Dummy"',
        '<lrm_resource id="g" class="ocf" provider="pacemaker" type="remote"',
    )
    plan = planned(active(text, "g", ("A",)))
    assert plan.before("stonith on n1", "start vm on n2")
    assert plan.before("start vm on n2", "start A on g")
    assert "stonith on g" not in plan.real, "there is nothing to switch off: it lives in the host"


# --- bundles ----------------------------------------------------------------------------------------------------------


def bundle(replicas: int = 2, inside: str = primitive("x"), **engine: str) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in engine.items())
    network = '<network ip-range-start="192.168.122.131" control-port="3121"/>'
    return f'<bundle id="B"><docker image="web" replicas="{replicas}"{more}/>{network}{inside}</bundle>'


def test_a_bundle_starts_address_container_connection_and_then_what_is_inside() -> None:
    plan = planned(cib(bundle(1), nodes=1, options=NO_PROBES))
    chain = ["start B-ip-192.168.122.131", "start B-docker-0", "start B-0", "start x:0"]
    for first, then in itertools.pairwise(chain):
        assert plan.before(first, then)


def test_replicas_run_on_hosts_of_their_own() -> None:
    plan = planned(cib(bundle(3), nodes=2, options=NO_PROBES))
    assert [name for name in plan.real if name.startswith("start B-docker")] == [
        "start B-docker-0 on n1",
        "start B-docker-1 on n2",
    ]


def test_more_replicas_may_share_a_host() -> None:
    plan = planned(cib(bundle(3, replicas_per_host="2"), nodes=2, options=NO_PROBES))
    assert len([name for name in plan.real if name.startswith("start B-docker")]) == 3


def test_what_is_ordered_after_a_bundle_waits_for_what_is_inside() -> None:
    plan = planned(cib(bundle(2), primitive("Z"), constraints=(order("B", "Z"),), nodes=2, options=NO_PROBES))
    assert plan.before("start x:0", "start Z") and plan.before("start x:1", "start Z")


def test_a_resource_may_be_placed_with_a_bundle() -> None:
    constraints = (colocation("Z", "B", "INFINITY"), ban("B", "n1"))
    plan = planned(cib(bundle(1), primitive("Z"), constraints=constraints, nodes=2, options=NO_PROBES))
    assert "start Z on n2" in plan.real


def test_a_bundle_with_a_promoted_number_promotes_inside_by_promotion_score() -> None:
    inside = with_ops(primitive("x", stateful=True), op("monitor", "10s", of="x", role="Promoted"))
    text = cib(bundle(2, inside, promoted_max="1"), nodes=2, options=NO_PROBES)
    names = planned(text).real
    assert not [name for name in names if name.startswith("promote")], "nobody has a promotion score yet"


def test_nothing_else_runs_inside_a_container_unless_a_location_names_it() -> None:
    text = cib(bundle(1), primitive("Z"), constraints=(ban("Z", "n1"),), nodes=1, options=NO_PROBES)
    assert not [name for name in planned(text).real if name.startswith("start Z")]
    named = (location("Z", "B-0", "INFINITY"), ban("Z", "n1"))
    plan = planned(cib(bundle(1), primitive("Z"), constraints=named, nodes=1, options=NO_PROBES))
    assert plan.before("start B-0", "start Z on B-0")


def test_a_container_that_failed_is_restarted_with_everything_in_it() -> None:
    text = cib(bundle(1), nodes=1, options=NO_PROBES)
    started = planned(text).next()
    assert started.transition.idle or all(a.task == "monitor" for a in started.transition.synapses)
    for entry in started.cib.iterfind(".//lrm_resource[@id='B-docker-0']/lrm_rsc_op[@operation='monitor']"):
        entry.set("rc-code", "7")
        entry.set("call-id", "999")
        entry.set("transition-magic", entry.get("transition-magic", "").replace("0:0;", "0:7;"))
    plan = planned(etree.tostring(started.cib).decode())
    assert {"start B-docker-0 on n1", "start B-0 on n1", "start x:0 on B-0"} <= set(plan.real)


def test_a_clone_runs_on_remote_nodes_and_guests_too_and_not_inside_bundles() -> None:
    text = cib(clone("c", primitive("y")), remote("r"), guest_host("vm", "g"), bundle(1), nodes=1, options=NO_PROBES)
    assert sorted(name.split(" on ")[1] for name in planned(text).real if name.startswith("start y")) == [
        "g",
        "n1",
        "r",
    ]
