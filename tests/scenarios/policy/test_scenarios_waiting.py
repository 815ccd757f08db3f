"""What `crm why` says about what has to wait, or cannot be done: fencing, a node nobody can fence, a partner that cannot start."""

from __future__ import annotations

from policy_cib import NOW, cib, clone, colocation, location, parsed, primitive
from policy_parts import DEVICE, FENCING, LOST, NO_PROBES, order

from crm.policy.explain import explain_text


def why(text: str, resource: str = "web", node: str | None = None) -> list[str]:
    return explain_text(parsed(text), resource, node, NOW).splitlines()


def test_what_ran_on_a_lost_node_waits_for_its_fencing_and_says_why_that_is_needed() -> None:
    text = cib(primitive("web"), DEVICE, nodes=2, options=FENCING, state=LOST, active={"n1": ("web",)})
    lost = "peer is no longer part of the cluster"
    assert why(text)[-1] == f"web moves from n1 to n2 as soon as n1 has been fenced ({lost})."


def test_what_is_not_to_run_again_counts_as_stopped_once_its_node_is_fenced() -> None:
    web = primitive("web", {"target-role": "Stopped"})
    text = cib(web, DEVICE, nodes=2, options=FENCING, state=LOST, active={"n1": ("web",)})
    assert why(text)[-1].startswith("web counts as stopped on n1 as soon as n1 has been fenced (")


def test_what_runs_on_a_node_that_cannot_be_fenced_is_not_said_to_stop_there() -> None:
    """Without quorum nobody may fence n1, so nobody knows whether web still runs."""
    text = cib(primitive("web"), DEVICE, options=FENCING, state=LOST, active={"n1": ("web",)}, quorate=False)
    assert why(text)[-2:] == [
        "web is to stop on n1, which is not possible now: n1 is not online, and not known to be off.",
        "web cannot start on n2 before that.",
    ]


def test_a_stop_because_of_an_ordering_says_that_the_first_stops_not_that_it_starts() -> None:
    db = primitive("db", {"target-role": "Stopped"})
    text = cib(
        primitive("web"),
        db,
        nodes=2,
        options=NO_PROBES,
        constraints=(order("db", "web"),),
        active={"n1": ("web",), "n2": ("db",)},
    )
    assert why(text)[0] == "web is to stop: db stops (ordering constraint db-then-web); see `crm why db`."


def test_who_must_be_with_something_that_cannot_start_says_with_what() -> None:
    constraints = (colocation("web", "db", "INFINITY"), order("other", "db"))
    text = cib(
        primitive("web"),
        primitive("db"),
        primitive("other", {"target-role": "Stopped"}),
        nodes=1,
        options=NO_PROBES,
        constraints=constraints,
    )
    assert why(text)[0] == (
        "web is not started: it must be with db, which cannot start now, because it must wait until other starts "
        "(ordering constraint other-then-db), which is not possible now (see `crm why other`)."
    )


def test_what_moves_to_a_node_that_is_no_better_says_that_nothing_keeps_it() -> None:
    text = cib(primitive("a"), primitive("web"), nodes=2, options=NO_PROBES, active={"n1": ("a", "web")})
    moved = next(name for name in ("a", "web") if any("moves" in line for line in why(text, name)))
    assert "  it leaves n1: n2 is as good, and no resource-stickiness keeps it where it is" in why(text, moved)


def test_a_bundle_counts_its_replicas_not_what_they_are_made_of() -> None:
    bundle = '<bundle id="b"><podman image="i" replicas="2"/><network ip-range-start="10.0.0.1"/></bundle>'
    text = cib(bundle, primitive("x"), nodes=3, options=NO_PROBES)
    assert why(text, "b", "n3") == ["All instances that b may have (2) are placed: on n1 and n2."]


def test_a_clone_counts_its_instances() -> None:
    text = cib(clone("c", primitive("y"), {"clone-max": "1"}), nodes=2, options=NO_PROBES)
    assert any("only 1 instance" in line or "(1)" in line for line in why(text, "c", "n2"))


def test_a_move_that_cannot_be_a_live_migration_says_what_is_in_its_way() -> None:
    web = primitive("web", {"allow-migrate": "true"})
    constraints = (order("db", "web"), location("web", "n2", "INFINITY"), location("db", "n2", "INFINITY"))
    text = cib(web, primitive("db"), nodes=2, options=NO_PROBES, constraints=constraints, active={"n1": ("web", "db")})
    said = why(text)[-1]
    assert (
        said
        == "web moves from n1 to n2: it cannot migrate live, because db restarts (ordering constraint db-then-web)."
    )


def test_orderings_that_contradict_each_other_are_named_in_their_own_direction() -> None:
    text = cib(
        primitive("web"),
        primitive("db"),
        nodes=1,
        options=NO_PROBES,
        constraints=(order("web", "db"), order("db", "web")),
    )
    assert "web is not started: it would have to wait for db (ordering constraint db-then-web)" in why(text)[0]


def test_a_restart_because_of_unfencing_names_the_node() -> None:
    device = '<primitive id="F" class="stonith" type="fence_x"><meta_attributes id="fm"><nvpair id="fp" name="provides" value="unfencing"/></meta_attributes></primitive>'
    web = primitive("web", {"requires": "unfencing"})
    text = cib(web, device, nodes=1, options=FENCING, active={"n1": ("web",)})
    assert why(text)[-1] == "web restarts on n1: n1 must be unfenced first."


def test_what_is_active_twice_restarts_for_that_reason() -> None:
    text = cib(primitive("web"), nodes=2, options=NO_PROBES, active={"n1": ("web",), "n2": ("web",)})
    assert why(text)[-1] == "web restarts on n1: it is active on n1 and n2 at once."


def test_a_start_that_waits_for_a_node_still_joining_says_so() -> None:
    joining = {"join": "down"}
    text = cib(primitive("web"), DEVICE, nodes=2, options={"stonith-enabled": "true"}, state={"n1": joining})
    assert why(text)[0] == ("web is not started: whether it is active on n1 is not known, and cannot be found out now.")
    assert why(text, node="n1") == ["web cannot run on n1: n1 is joining the cluster."]


def test_an_interleaved_instance_without_a_partner_on_its_node_says_so() -> None:
    first = clone("first", primitive("a"), {"clone-max": "1", "interleave": "true"})
    text = cib(
        first,
        clone("then", primitive("web"), {"interleave": "true"}),
        nodes=2,
        options=NO_PROBES,
        constraints=(order("first", "then"),),
    )
    partnerless = next(line for line in why(text, "then") if "is not started" in line)
    assert partnerless == (
        "web:0 is not started: no instance that it would have to follow is to run on the same node (interleave)."
    )
