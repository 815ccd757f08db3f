"""The transition engine walks graphs: order, limits, failures, aborts."""

from __future__ import annotations

import pytest

from crm.controller.graph import INFINITY, ActionKind, Graph, GraphError, parse
from crm.controller.transition import Limits, Outcome, Run, State, Transition

UUID = "3b1a2c5e-0000-4000-8000-000000000001"


def action(
    number: int, task: str, resource: str, node: str = "n1", extra: str = "", priority: int = 0, **meta: str
) -> str:
    metas = "".join(f' CRM_meta_{name}="{value}"' for name, value in meta.items())
    return (
        f'<rsc_op id="{number}" operation="{task}" operation_key="{resource}_{task}_{meta.get("interval", "0")}" '
        f'on_node="{node}" on_node_uuid="{node}" {extra}><primitive id="{resource}" class="ocf" provider="vigil" type="Dummy"/>'
        f"<attributes{metas}/></rsc_op>"
    )


def pseudo(number: int, key: str) -> str:
    return f'<pseudo_event id="{number}" operation="running" operation_key="{key}"><attributes/></pseudo_event>'


def synapse(number: int, body: str, inputs: tuple[int, ...] = (), priority: int = 0) -> str:
    triggers = "".join(f'<trigger><rsc_op id="{i}"/></trigger>' for i in inputs)
    return f'<synapse id="{number}" priority="{priority}"><action_set>{body}</action_set><inputs>{triggers}</inputs></synapse>'


def graph(*synapses: str, attributes: str = "") -> Graph:
    return parse(f'<transition_graph cluster-delay="60s" {attributes}>{"".join(synapses)}</transition_graph>')


def walk(text: Graph, limits: Limits | None = None) -> Transition:
    return Transition(text, 7, UUID, limits)


def ids(runs: list[Run]) -> list[int]:
    return [run.action.id for run in runs]


def test_an_action_waits_until_each_of_its_inputs_is_confirmed() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "start", "a")),
            synapse(1, action(2, "start", "b")),
            synapse(2, action(3, "start", "c"), (1, 2)),
        )
    )
    assert ids(engine.step(0)) == [1, 2]
    engine.confirm(1)
    assert ids(engine.step(0)) == []
    engine.confirm(2)
    assert ids(engine.step(0)) == [3]
    engine.confirm(3)
    assert engine.step(0) == []
    assert engine.done and engine.outcome is Outcome.COMPLETE


def test_the_transition_key_names_action_transition_expected_result_and_controller() -> None:
    engine = walk(graph(synapse(0, action(4, "monitor", "a", op_target_rc="7"))))
    assert engine.step(0)[0].transition_key == f"4:7:7:{UUID}"


def test_pseudo_actions_are_confirmed_at_once_and_carry_the_walk_further() -> None:
    engine = walk(graph(synapse(0, pseudo(1, "g_start_0")), synapse(1, action(2, "start", "a"), (1,))))
    assert ids(engine.step(0)) == [2]


def test_an_input_named_twice_counts_once() -> None:
    engine = walk(graph(synapse(0, action(1, "start", "a")), synapse(1, action(2, "start", "b"), (1, 1))))
    engine.step(0)
    engine.confirm(1)
    assert ids(engine.step(0)) == [2]


def test_a_failed_action_stops_what_depends_on_it_and_what_has_not_begun() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "start", "a")),
            synapse(1, action(2, "start", "b"), (1,)),
            synapse(2, action(3, "start", "c"), (4,)),
            synapse(3, action(4, "start", "d")),
        )
    )
    assert ids(engine.step(0)) == [1, 4]
    assert engine.fail(1, "start of a failed")
    assert engine.step(0) == []
    assert not engine.done, "d is still in flight and must be waited for"
    engine.confirm(4)
    assert engine.step(0) == []
    assert engine.done and engine.outcome is Outcome.ABORTED
    assert engine.aborted is not None and engine.aborted.reason == "start of a failed"


def test_work_of_infinite_priority_is_finished_in_spite_of_an_abort() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "stop", "a")),
            synapse(1, action(2, "notify", "a"), (1,), priority=INFINITY),
            synapse(2, action(3, "start", "b"), (1,)),
        )
    )
    engine.step(0)
    engine.abort(INFINITY, "the configuration changed")
    engine.confirm(1)
    assert ids(engine.step(0)) == [2]
    engine.confirm(2)
    engine.step(0)
    assert engine.done and engine.counts[State.SKIPPED] == 1


def test_the_stronger_abort_wins_and_the_first_reason_stays() -> None:
    engine = walk(graph(synapse(0, action(1, "start", "a"))))
    engine.step(0)
    engine.abort(1, "first")
    engine.abort(1, "second")
    assert engine.aborted is not None and engine.aborted.reason == "first"
    engine.abort(INFINITY, "third")
    assert engine.aborted.reason == "third"


def test_ready_actions_fire_by_priority_then_in_the_order_of_the_graph() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "start", "a")),
            synapse(1, action(2, "start", "b"), priority=10),
            synapse(2, action(3, "start", "c"), priority=10),
        )
    )
    assert ids(engine.step(0)) == [2, 3, 1]


def test_no_more_than_batch_limit_actions_are_in_flight_and_pseudo_actions_do_not_count() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "start", "a")),
            synapse(1, action(2, "start", "b")),
            synapse(2, pseudo(3, "g_start_0")),
            synapse(3, action(4, "start", "c"), (3,)),
            attributes='batch-limit="1"',
        )
    )
    seen = []
    runs = engine.step(0)
    while runs:
        assert len(engine.in_flight) == 1
        seen += ids(runs)
        engine.confirm(runs[0].action.id)
        runs = engine.step(0)
    assert sorted(seen) == [1, 2, 4]
    assert engine.done and engine.outcome is Outcome.COMPLETE


def test_the_limit_of_a_node_holds_back_only_that_node() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "start", "a", "n1")),
            synapse(1, action(2, "start", "b", "n1")),
            synapse(2, action(3, "start", "c", "n2")),
        ),
        Limits(node_actions=1),
    )
    assert ids(engine.step(0)) == [1, 3]
    engine.confirm(3)
    assert ids(engine.step(0)) == []
    engine.confirm(1)
    assert ids(engine.step(0)) == [2]


def test_a_node_may_have_a_limit_of_its_own_which_changes_under_way() -> None:
    engine = Transition(
        graph(*(synapse(number, action(number + 1, "start", f"r{number}", "n1")) for number in range(4))),
        7,
        "uuid",
        Limits(node_actions=1),
        node_limits={"n1": 2},
    )
    assert len(engine.step(0)) == 2
    engine.node_limits = {"n1": 1}
    engine.confirm(1)
    assert engine.step(0) == []
    engine.confirm(2)
    assert len(engine.step(0)) == 1


def test_migrations_of_a_node_have_a_limit_of_their_own() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "migrate_to", "a", "n1")),
            synapse(1, action(2, "migrate_to", "b", "n1")),
            synapse(2, action(3, "start", "c", "n1")),
            attributes='migration-limit="1"',
        )
    )
    assert ids(engine.step(0)) == [1, 3]
    engine.confirm(1)
    assert ids(engine.step(0)) == [2]


def test_a_migration_that_waits_for_a_hand_of_the_node_gets_the_next_free_one() -> None:
    engine = walk(
        graph(synapse(0, action(1, "start", "a", "n1")), synapse(1, action(2, "migrate_to", "b", "n1"))),
        Limits(migration=1, node_actions=1),
    )
    assert ids(engine.step(0)) == [1]
    engine.confirm(1)
    assert ids(engine.step(0)) == [2]


def test_a_result_that_does_not_come_fails_the_action_after_its_timeout_and_the_cluster_delay() -> None:
    engine = walk(
        graph(synapse(0, action(1, "start", "a", timeout="30000")), synapse(1, action(2, "start", "b"), (1,)))
    )
    engine.step(1000)
    assert engine.next_deadline_ms() == 1000 + 30_000 + 60_000
    assert engine.expired(90_999) == []
    assert [late.id for late in engine.expired(91_000)] == [1]
    assert engine.step(91_000) == [] and engine.done and engine.outcome is Outcome.ABORTED


def test_a_late_or_repeated_result_changes_nothing() -> None:
    engine = walk(graph(synapse(0, action(1, "start", "a"))))
    engine.step(0)
    assert engine.confirm(1)
    assert not engine.confirm(1)
    assert not engine.fail(1, "late")
    assert engine.aborted is None
    assert not engine.confirm(99)


def test_an_action_that_is_not_waited_for_confirms_its_dependents_at_once() -> None:
    engine = walk(
        graph(
            synapse(0, action(1, "clear_failcount", "a", op_no_wait="true")), synapse(1, action(2, "start", "a"), (1,))
        )
    )
    assert ids(engine.step(0)) == [1, 2]


def test_the_loss_of_a_node_ends_what_was_in_flight_there_but_not_its_fencing() -> None:
    fence = (
        '<crm_event id="9" operation="stonith" operation_key="stonith-n2-reboot" on_node="n2" on_node_uuid="2">'
        '<attributes CRM_meta_stonith_action="reboot"/></crm_event>'
    )
    engine = walk(
        graph(synapse(0, action(1, "start", "a", "n2")), synapse(1, action(2, "start", "b", "n1")), synapse(2, fence))
    )
    assert sorted(ids(engine.step(0))) == [1, 2, 9]
    assert [lost.id for lost in engine.node_lost("n2")] == [1]
    assert sorted(flying.id for flying in engine.in_flight) == [2, 9]


def test_an_order_that_was_never_sent_aborts_and_is_not_waited_for() -> None:
    engine = walk(graph(synapse(0, action(1, "start", "a"))))
    engine.step(0)
    assert engine.not_sent(1, "the view changed")
    assert engine.done and engine.outcome is Outcome.ABORTED


def test_an_input_that_no_synapse_has_leaves_the_transition_incomplete() -> None:
    engine = walk(graph(synapse(0, action(1, "start", "a")), synapse(1, action(2, "start", "b"), (77,))))
    engine.step(0)
    engine.confirm(1)
    engine.step(0)
    assert engine.done and engine.outcome is Outcome.INCOMPLETE
    assert [left.id for left in engine.unreachable()] == [2]


def test_an_aborted_transition_releases_what_waited_for_a_limit() -> None:
    engine = walk(
        graph(synapse(0, action(1, "start", "a")), synapse(1, action(2, "start", "b"))), Limits(node_actions=1)
    )
    engine.step(0)
    engine.abort(INFINITY, "n2 left")
    engine.confirm(1)
    assert engine.step(0) == []
    assert engine.done and engine.counts[State.SKIPPED] == 1


def test_downed_nodes_and_the_parts_of_an_action_are_read() -> None:
    text = graph(
        synapse(
            0,
            '<crm_event id="3" operation="do_shutdown" operation_key="do_shutdown-n1" on_node="n1" on_node_uuid="1">'
            '<attributes CRM_meta_op_no_wait="true"/><downed><node id="1"/></downed></crm_event>',
        ),
        attributes='failed-start-offset="1" recheck-by="1700000000"',
    )
    shutdown = text.synapses[0].action
    assert shutdown.kind is ActionKind.CLUSTER and shutdown.downed == ("1",) and shutdown.no_wait
    assert text.failed_start_offset == "1" and text.recheck_by == 1_700_000_000


@pytest.mark.parametrize(
    "text",
    [
        "<cib/>",
        "<transition_graph>",
        '<transition_graph><synapse id="0"><action_set/></synapse></transition_graph>',
        '<transition_graph><synapse id="0"><action_set><other id="1"/></action_set></synapse></transition_graph>',
    ],
)
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(GraphError):
        parse(text)


def test_a_large_chain_costs_the_same_per_action_as_a_small_one() -> None:
    size = 20_000
    engine = walk(graph(*(synapse(i, action(i + 1, "start", f"r{i}"), (i,) if i else ()) for i in range(size))))
    steps = 0
    runs = engine.step(0)
    while runs:
        steps += 1
        engine.confirm(runs[0].action.id)
        runs = engine.step(0)
    assert steps == size and engine.outcome is Outcome.COMPLETE


def test_a_node_is_let_go_when_its_own_probes_have_told_and_not_when_one_found_something() -> None:
    down = (
        '<crm_event id="9" operation="do_shutdown" operation_key="do_shutdown-n1" on_node="n1" on_node_uuid="n1">'
        '<attributes CRM_meta_op_no_wait="true"/></crm_event>'
    )
    probes = (synapse(0, action(1, "monitor", "a")), synapse(1, action(2, "monitor", "a", "n2")))
    engine = walk(graph(*probes, synapse(2, down)))
    assert ids(engine.step(0)) == [1, 2]
    engine.confirm(1)
    assert ids(engine.step(0)) == [9], "the probe of another node is not waited for"

    engine = walk(graph(*probes, synapse(2, down)))
    assert ids(engine.step(0)) == [1, 2]
    engine.fail(1, "it runs")
    engine.confirm(2)
    assert ids(engine.step(0)) == []
