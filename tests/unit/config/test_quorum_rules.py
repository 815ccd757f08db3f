"""Which rules of quorum go together, what follows from what, and how timers follow from one wanted failover time."""

from __future__ import annotations

import itertools

import pytest

from crm import config
from crm.config.model import Config

HEAD = '[cluster]\nname = "web"\n[node]\nname = "n1"\n'


def cluster(count: int, quorum: str = "", rest: str = "") -> str:
    nodes = "".join(f'[[nodes]]\nname = "n{n}"\nid = {n}\naddresses = ["10.0.0.{n}"]\n' for n in range(1, count + 1))
    return f"{HEAD}{nodes}[quorum]\n{quorum}\n{rest}"


def problems(text: str) -> dict[str, str]:
    with pytest.raises(config.ConfigError) as caught:
        config.loads(text)
    return {problem.key: problem.message for problem in caught.value.problems}


def load(count: int, quorum: str = "", rest: str = "") -> Config:
    return config.loads(cluster(count, quorum, rest))


def test_votes_and_two_node_and_wait_for_all_follow_from_the_nodes() -> None:
    pair, trio = load(2).quorum, load(3).quorum
    assert (pair.expected_votes, pair.two_node, pair.wait_for_all) == (2, True, True)
    assert (trio.expected_votes, trio.two_node, trio.wait_for_all) == (3, False, False)
    decided = load(2, "auto_tie_breaker = true").quorum
    assert (decided.two_node, decided.wait_for_all, decided.auto_tie_breaker) == (False, True, "lowest")


def test_last_man_standing_waits_for_all_unless_told() -> None:
    rules = load(5, "last_man_standing = true").quorum
    assert rules.wait_for_all
    assert rules.last_man_standing_window_ms == 10_000


def test_with_allow_downscale_expected_votes_are_the_least() -> None:
    rules = load(5, "allow_downscale = true\nexpected_votes = 2").quorum
    assert (rules.expected_votes, rules.least_votes) == (5, 2)


@pytest.mark.parametrize(
    ("quorum", "key", "says"),
    [
        ("last_man_standing = true\nwait_for_all = false", "quorum.wait_for_all", "last_man_standing needs"),
        ("two_node = true\nauto_tie_breaker = true", "quorum.two_node", "auto_tie_breaker would decide nothing"),
        ("two_node = true\nlast_man_standing = true", "quorum.two_node", "last_man_standing would decide nothing"),
        ("two_node = true\nallow_downscale = true", "quorum.two_node", "allow_downscale would decide nothing"),
        ("two_node = true\nwait_for_all = false", "quorum.wait_for_all", "two_node needs wait_for_all"),
        ('auto_tie_breaker_node = "highest"', "quorum.auto_tie_breaker_node", "without auto_tie_breaker"),
        ('auto_tie_breaker = true\nauto_tie_breaker_node = "middle"', "quorum.auto_tie_breaker_node", 'got "middle"'),
        ("auto_tie_breaker = true\nauto_tie_breaker_node = [7]", "quorum.auto_tie_breaker_node", "7 is not the id"),
        ("auto_tie_breaker = true\nauto_tie_breaker_node = []", "quorum.auto_tie_breaker_node", "got []"),
        (
            "auto_tie_breaker = true\nauto_tie_breaker_node = [1, 1]",
            "quorum.auto_tie_breaker_node",
            "more than once",
        ),
        ("last_man_standing_window_ms = 5000", "quorum.last_man_standing_window_ms", "without last_man_standing"),
        (
            "last_man_standing = true\nlast_man_standing_window_ms = 1500",
            "quorum.last_man_standing_window_ms",
            "at least deadtime_ms (2000)",
        ),
        ("expected_votes = 1", "quorum.expected_votes", "at least the sum of the nodes' votes (2)"),
        ('policy = "ignore"\nlast_man_standing = true', "quorum.last_man_standing", "decides nothing"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(quorum: str, key: str, says: str) -> None:
    assert says in problems(cluster(2, quorum))[key]


PING = '[quorum.tie_breaker]\ntype = "ping"\ntargets = ["10.0.0.254"]'


@pytest.mark.parametrize("rule", ["auto_tie_breaker", "last_man_standing", "allow_downscale"])
def test_rules_that_change_or_decide_by_themselves_do_not_go_with_a_tie_breaker(rule: str) -> None:
    assert 'of type "ping"' in problems(cluster(2, f"{rule} = true", PING))[f"quorum.{rule}"]


def test_whatever_the_rules_the_rendered_file_loads_to_the_same() -> None:
    lines = (
        ("", "auto_tie_breaker = true", "auto_tie_breaker = true\nauto_tie_breaker_node = [2, 1]"),
        ("", "last_man_standing = true\nlast_man_standing_window_ms = 20000"),
        ("", "allow_downscale = true", "allow_downscale = true\nexpected_votes = 2"),
        ("", "wait_for_all = true"),
    )
    for count, chosen in itertools.product((2, 3, 4), itertools.product(*lines)):
        made = load(count, "\n".join(chosen))
        assert config.loads(config.render(made)).quorum == made.quorum, chosen


@pytest.mark.parametrize("failover_ms", [200, 300, 1000, 3000, 10_000, 600_000])
@pytest.mark.parametrize("tie_breaker", ["", PING, '[quorum.tie_breaker]\ntype = "qdisk"\ndevice = "/dev/sdx"'])
def test_everything_follows_from_one_wanted_failover_time_and_fits(failover_ms: int, tie_breaker: str) -> None:
    if failover_ms < 1000 and "qdisk" in tie_breaker:
        with pytest.raises(config.ConfigError):
            load(2, "", f"{tie_breaker}\n[timers]\nfailover_ms = {failover_ms}")
        return
    made = load(2, "", f"{tie_breaker}\n[timers]\nfailover_ms = {failover_ms}")
    timers = made.timers
    assert timers.deadtime_ms < failover_ms
    assert 3 * timers.keepalive_ms <= timers.deadtime_ms
    assert timers.keepalive_ms < timers.warntime_ms < timers.deadtime_ms <= timers.initdead_ms
    disk = made.quorum.tie_breaker
    if disk.type == "qdisk":
        assert (disk.tko + 2) * disk.interval_ms <= timers.deadtime_ms - timers.keepalive_ms
    if disk.type == "ping":
        assert disk.timeout_ms <= timers.deadtime_ms - timers.warntime_ms


def test_a_deadtime_that_does_not_fit_the_failover_time_is_told_together_with_the_rest() -> None:
    text = cluster(2, "", "[timers]\nfailover_ms = 1000\ndeadtime_ms = 900\nkeepalive_ms = 500\nwarntime_ms = 950")
    found = problems(text)
    assert "at most 800" in found["timers.deadtime_ms"] or "three keepalive_ms" in found["timers.deadtime_ms"]
    assert "less than deadtime_ms (900)" in found["timers.warntime_ms"]
