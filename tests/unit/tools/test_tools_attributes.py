"""crm_attribute and its relatives on a CIB file: where a value lives, what is printed, which code is returned."""

from __future__ import annotations

import pytest
from tools_cib import Bench, on_a_file

from crm.tools import exits

bench = on_a_file


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("-N n1 -n loc -G", "scope=nodes  name=loc value=office"),
        ("--node n1 --name loc --query --quiet", "office"),
        ("-N 1 -n loc", "scope=nodes  name=loc value=office"),
        ("-U n1 --attr-name loc --get-value -Q", "office"),
        ("-N n1 -l forever -n loc -Gq", "office"),
        ("-N n1 -l reboot -n t", "scope=status  name=t value=5"),
        ("-t status -N n1 -n t -q", "5"),
        ("-n stonith-enabled -Gq", "false"),
        ("-t crm_config -n stonith-enabled -G", "scope=crm_config  name=stonith-enabled value=false"),
        ("-t rsc_defaults -n resource-stickiness -Gq", "1"),
        ("-N n1 -n nope -d there -Gq", "there"),
        ("-N n1 -P ^l -G", "scope=nodes  name=loc value=office"),
        ("-N n1 -i nodes-1-loc -G", "scope=nodes id=nodes-1-loc name=loc value=office"),
        ("-N n1 -G", "scope=nodes  name=loc value=office\nscope=nodes  name=standby value=off"),
    ],
)
def test_a_value_is_found_where_the_options_say(bench: Bench, words: str, answer: str) -> None:
    ran = bench.run("crm_attribute", *words.split())
    assert (ran.code, ran.out, ran.err) == (exits.OK, answer + "\n", "")


@pytest.mark.parametrize(
    "words", ["-N n1 -n nope", "-N n1 -l reboot -n loc", "-n nope -G", "-t op_defaults -n timeout", "-N n1 -n x -z"]
)
def test_what_is_not_set_is_no_such_object(bench: Bench, words: str) -> None:
    ran = bench.run("crm_attribute", *words.split())
    assert (ran.code, ran.out) == (exits.NOSUCH, "")
    assert "No such device or address" in ran.err


def test_a_node_that_is_not_there_is_named(bench: Bench) -> None:
    for words in (("-n", "x", "-v", "1"), ("-n", "x", "-G")):
        ran = bench.run("crm_attribute", "-N", "nx", *words)
        assert (ran.code, ran.err) == (exits.NOSUCH, "crm_attribute: Could not map name=nx to a UUID\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("-l never -n x -v 1", "Invalid value 'never' for lifetime"),
        ("-t nowhere -n x -v 1", "Invalid value 'nowhere' for type"),
        ("-v 1", "-n/--name is missing"),
        ("--promotion -v 5", "must be called from an OCF resource agent"),
        ("-n x -v 1 word", "unexpected word 'word'"),
        ("-N n1 -P [ -G", r"invalid pattern '['"),
    ],
)
def test_options_that_mean_nothing_are_a_usage_error(bench: Bench, words: str, complaint: str) -> None:
    ran = bench.run("crm_attribute", *words.split())
    assert ran.code == exits.USAGE
    assert complaint in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("words", "pair", "place"),
    [
        ("-N n1 -n a -v 1", {"id": "nodes-1-a", "name": "a", "value": "1"}, "node/instance_attributes[@id='nodes-1']"),
        ("-N n2 -n a -v 1", {"id": "nodes-2-a", "name": "a", "value": "1"}, "node/instance_attributes[@id='nodes-2']"),
        (
            "-t nodes -N n2 -n a -z -v 8",
            {"id": "nodes-2-utilization-a", "name": "a", "value": "8"},
            "node/utilization[@id='nodes-2-utilization']",
        ),
        (
            "-n a -v -INFINITY",
            {"id": "cib-bootstrap-options-a", "name": "a", "value": "-INFINITY"},
            "cluster_property_set[@id='cib-bootstrap-options']",
        ),
        (
            "-t op_defaults -n a -v 30s",
            {"id": "op_defaults-options-a", "name": "a", "value": "30s"},
            "op_defaults/meta_attributes[@id='op_defaults-options']",
        ),
        (
            "-n R -s replication -v file|1",
            {"id": "replication-R", "name": "R", "value": "file|1"},
            "cluster_property_set[@id='replication']",
        ),
        (
            "-N n2 -l reboot -n #health-x -v red",
            {"id": "status-2-.health-x", "name": "#health-x", "value": "red"},
            "node_state[@id='2']/transient_attributes[@id='2']/instance_attributes[@id='status-2']",
        ),
    ],
)
def test_a_new_value_gets_the_place_and_id_that_others_expect(
    bench: Bench, words: str, pair: dict[str, str], place: str
) -> None:
    ran = bench.run("crm_attribute", *words.split())
    assert (ran.code, ran.out, ran.err) == (exits.OK, "", "")
    assert bench.find(f"//{place}/nvpair[@name='{pair['name']}']") == [pair]


def test_a_value_that_is_there_is_changed_where_it_stands(bench: Bench) -> None:
    assert bench.run("crm_attribute", "-N", "n1", "-n", "loc", "-v", 'a<b & "c"').code == exits.OK
    assert bench.find("//nvpair[@name='loc']") == [{"id": "nodes-1-loc", "name": "loc", "value": 'a<b & "c"'}]
    assert bench.run("crm_attribute", "-N", "n1", "-n", "loc", "-Gq").out == 'a<b & "c"\n'


@pytest.mark.parametrize("scope", [("-l", "forever"), ("-l", "reboot")])
def test_values_count(bench: Bench, scope: tuple[str, str]) -> None:
    for step, after in (("value++", "1"), ("value+=5", "6"), ("value--", "5"), ("value-=2", "3")):
        assert bench.run("crm_attribute", "-N", "n1", *scope, "-n", "count", "-v", step).code == exits.OK
        assert bench.run("crm_attribute", "-N", "n1", *scope, "-n", "count", "-Gq").out == f"{after}\n"


def test_deleting_says_what_went_and_deleting_nothing_is_no_error(bench: Bench) -> None:
    ran = bench.run("crm_attribute", "-N", "n1", "-n", "loc", "-D")
    assert (ran.code, ran.out) == (exits.OK, "Deleted nodes attribute: id=nodes-1-loc name=loc\n")
    assert bench.values("loc") == []
    assert bench.run("crm_attribute", "-N", "n1", "-n", "loc", "-D").code == exits.OK
    assert bench.run("crm_attribute", "-N", "n1", "-l", "reboot", "-n", "t", "-D").code == exits.OK
    assert bench.values("t") == []


def test_a_value_set_in_several_sets_must_be_chosen(bench: Bench) -> None:
    bench.run("crm_attribute", "-n", "x", "-s", "first", "-v", "1")
    bench.run("crm_attribute", "-n", "x", "-s", "second", "-v", "2")
    ran = bench.run("crm_attribute", "-n", "x", "-v", "3")
    assert ran.code == exits.MULTIPLE
    assert "first-x, second-x" in ran.err
    assert bench.run("crm_attribute", "-n", "x", "-s", "second", "-v", "3").code == exits.OK
    assert bench.values("x") == ["1", "3"]


def test_an_agent_sets_and_reads_its_promotion_score(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCF_RESOURCE_INSTANCE", "st")
    monkeypatch.setenv("OCF_RESKEY_CRM_meta_on_node", "n2")
    assert bench.run("crm_attribute", "--promotion", "-v", "10").code == exits.OK
    assert bench.find("//node_state[@uname='n2']//nvpair[@name='master-st']")[0]["value"] == "10"
    assert bench.run("crm_attribute", "-p", "-G", "-q").out == "10\n"
    assert bench.run("crm_master", "-Q", "-l", "reboot", "-v", "-INFINITY").code == exits.OK
    assert bench.run("crm_master", "-l", "reboot", "-G", "-q").out == "-INFINITY\n"
    assert bench.run("crm_attribute", "--promotion=st", "-N", "n2", "-Gq").out == "-INFINITY\n"
    assert bench.run("crm_master", "-l", "reboot", "-D").code == exits.OK
    assert bench.run("crm_master", "-l", "reboot", "-G").code == exits.NOSUCH
    assert bench.run("crm_master", "-v", "7").code == exits.OK
    assert bench.find("//node[@id='2']//nvpair[@name='master-st']")[0]["value"] == "7", "permanent, unless told"


def test_standby_is_asked_set_and_cleared(bench: Bench) -> None:
    assert bench.run("crm_standby", "-N", "n1", "-G").out == "scope=nodes  name=standby value=off\n"
    assert bench.run("crm_standby", "-N", "n2", "-G").out == "scope=status  name=standby value=off\n"
    assert bench.run("crm_standby", "-N", "n2", "-v", "on", "-l", "reboot").code == exits.OK
    assert bench.run("crm_standby", "-N", "n2", "-Gq").out == "on\n"
    assert bench.run("crm_standby", "-N", "n1", "-v", "on").code == exits.OK
    assert bench.find("//nvpair[@id='nodes-1-standby']")[0]["value"] == "on"
    for node in ("n1", "n2"):
        assert bench.run("crm_standby", "-N", node, "-D").code == exits.OK
    assert bench.values("standby") == []
    assert bench.run("crm_standby", "-N", "n1", "-l", "never", "-G").code == exits.USAGE
    assert bench.run("crm_standby", "-N", "nx", "-G").code == exits.NOSUCH


def test_fail_counts_are_summed_over_the_operations_or_told_of_one(bench: Bench) -> None:
    for name, value in (
        ("d1#monitor_10000", "3"),
        ("d1#start_0", "2"),
        ("d10#start_0", "7"),
        ("g1#stop_0", "INFINITY"),
    ):
        bench.run("crm_attribute", "-N", "n1", "-l", "reboot", "-n", f"fail-count-{name}", "-v", value)
    for words, said in (
        ("-r d1", "name=fail-count-d1 value=5"),
        ("-r d1 -n monitor -I 10s", "name=fail-count-d1#monitor_10000 value=3"),
        ("-r d1 -n stop", "name=fail-count-d1#stop_0 value=0"),
        ("-r g1", "name=fail-count-g1 value=INFINITY"),
        ("-r nothing", "name=fail-count-nothing value=0"),
    ):
        assert bench.run("crm_failcount", "-N", "n1", "-G", *words.split()).out == f"scope=status  {said}\n"
    assert bench.run("crm_failcount", "-N", "n1", "-r", "d1", "-Gq").out == "5\n"
    assert bench.run("crm_failcount", "-N", "nx", "-r", "d1", "-G").code == exits.NOSUCH
    for words in ("-G", "-r d1 -N n1", "-r d1 -G -N n1 word", "-r d1 -N n1 -G -n monitor -I soon"):
        assert bench.run("crm_failcount", *words.split()).code == exits.USAGE


def test_attrd_updater_sets_queries_and_deletes(bench: Bench) -> None:
    assert bench.run("attrd_updater", "-N", "n2", "-n", "x", "-U", "7").code == exits.OK
    assert bench.run("attrd_updater", "-n", "x", "-N", "n2", "-Q").out == 'name="x" host="n2" value="7"\n'
    assert bench.run("attrd_updater", "-n", "x", "-N", "n1", "-v", "8", "-S", "status", "-d", "5s").code == exits.OK
    assert bench.run("attrd_updater", "-n", "x", "-QA").out == (
        'name="x" host="n1" value="8"\nname="x" host="n2" value="7"\n'
    )
    assert bench.run("attrd_updater", "-n", "x", "-N", "n2", "-D").code == exits.OK
    ran = bench.run("attrd_updater", "-n", "x", "-N", "n2", "-Q")
    assert (ran.code, ran.err) == (
        exits.NOSUCH,
        "attrd_updater: Could not query value of x: attribute does not exist\n",
    )
    assert bench.run("attrd_updater", "-R").code == exits.OK


@pytest.mark.parametrize("words", ["-U 5", "-n x", "-n x -B 5", "-n x -Y", "-n x -N n1 -U 5 -d soon"])
def test_attrd_updater_names_what_is_missing(bench: Bench, words: str) -> None:
    assert bench.run("attrd_updater", *words.split()).code == exits.USAGE


def test_without_a_daemon_the_code_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIB_file")
    monkeypatch.setenv("VIGIL_RUN_DIR", str(bench.path.parent))
    for command, words in (
        ("crm_attribute", "-n x -G"),
        ("crm_node", "-q"),
        ("attrd_updater", "-n x -Q"),
        ("cibadmin", "-Q"),
    ):
        ran = bench.run(command, *words.split())
        assert ran.code == exits.DISCONNECT
        assert "no Vigil daemon answers" in ran.err


def test_an_agent_learns_its_nodes_name_without_a_daemon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCF_RESKEY_CRM_meta_on_node", "n7")
    assert bench.run("crm_node", "-n").out == "n7\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("-n t -U 6 -N n1 -d 5s", exits.OK),
        ("-n t -B 7 -N n1 -d 5s", exits.OK),
        ("-n t -Y -N n1 -d 5s", exits.OK),
        ("-n secret -p -U 1 -N n1", 102),
        ("-P ^t -U 1 -N n1", 102),
        ("-P ^t -n t -U 1", exits.USAGE),
        ("-P ^t -Q", exits.USAGE),
        ("-U 1", exits.USAGE),
        ("-n t -B 1", exits.USAGE),
    ],
)
def test_a_delay_means_nothing_in_a_file_and_what_only_a_cluster_has_is_refused(
    bench: Bench, words: str, code: int
) -> None:
    ran = bench.run("attrd_updater", *words.split())
    assert ran.code == code and "Traceback" not in ran.err
