"""What a link is worth: two monitors exchange heartbeats over a line with a delay, a loss, and a group that may be blocked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.errors import Malformed
from messaging.links.monitor import MAX_REPORTS_BYTES, LinkMonitor, LinkState

WARN_MS, DEAD_MS, BEAT_US = 500, 1000, 200_000
NAMES = {1: "n1", 2: "n2"}


class Line:
    """Two nodes and one link. `group` and `own`: which packets pass, in each direction."""

    def __init__(self, links: int = 1) -> None:
        self.now_us = 10_000_000
        self.ends = {
            node: LinkMonitor(node, NAMES, [[3 - node]] * links, groups=[0], warntime_ms=WARN_MS, deadtime_ms=DEAD_MS)
            for node in NAMES
        }
        self.sequence = {(node, link): 0 for node in NAMES for link in range(links)}
        self.delay_us = 1000
        self.group = {1: True, 2: True}
        self.own = True
        self.losses: dict[int, int] = {1: 0, 2: 0}
        self.told: list[str] = []

    def beat(self, *links: int) -> None:
        """Each node sends on these links, and both look at how the links are."""
        for node, end in self.ends.items():
            peer = 3 - node
            for link in links:
                self.sequence[node, link] += 1
                number = self.sequence[node, link]
                data = end.reports(link, number, {peer: self.losses[node]}, self.now_us) + b"beat"
                later = self.now_us + self.delay_us
                if self.group[node]:
                    assert self.ends[peer].arrived(link, node, number, data, True, later) == b"beat"
                elif self.own and peer in end.needs_unicast(link, self.now_us):
                    assert self.ends[peer].arrived(link, node, number, data, False, later) == b"beat"
            self.now_us += self.delay_us
        self.now_us += BEAT_US
        for node, end in self.ends.items():
            self.told += [f"{node}: {report.text}" for report in end.review(self.now_us, [0])]

    def state(self, node: int, link: int = 0) -> dict[str, object]:
        (answer,) = self.ends[node].status(link, {3 - node: self.losses[node]}, self.now_us)
        return answer


def test_the_round_trip_is_what_the_line_takes_there_and_back_and_not_what_the_peer_waited() -> None:
    line = Line()
    line.delay_us = 7000
    for _ in range(10):
        line.beat(0)
    assert line.state(1)["rtt_ms"] == 14.0
    assert line.state(2)["rtt_ms"] == 14.0


def test_each_end_knows_what_is_lost_in_both_directions() -> None:
    line = Line()
    line.losses = {1: 100, 2: 25}
    for _ in range(3):
        line.beat(0)
    assert (line.state(1)["loss_in"], line.state(1)["loss_out"]) == (10.0, 2.5)
    assert (line.state(2)["loss_in"], line.state(2)["loss_out"]) == (2.5, 10.0)


def test_a_link_that_fails_while_another_lives_is_told_once_and_again_when_it_is_back() -> None:
    line = Line(links=2)
    for _ in range(3):
        line.beat(0, 1)
    line.told.clear()
    for _ in range(12):
        line.beat(1)
    (told,) = [text for text in line.told if text.startswith("1:")]
    assert told.startswith("1: link 0 to node n2 is down: silent for 1")
    assert line.state(1)["state"] == LinkState.DOWN
    assert line.ends[1].fresh_links(2, line.now_us) == [1]
    line.told.clear()
    line.beat(0, 1)
    assert "1: link 0 to node n2 is up" in line.told


def test_a_node_that_is_silent_on_all_links_is_no_news_of_the_links() -> None:
    line = Line(links=2)
    for _ in range(3):
        line.beat(0, 1)
    line.told.clear()
    for _ in range(12):
        line.beat()
    assert line.told == []


@pytest.mark.parametrize("blocked", [(1,), (2,), (1, 2)])
def test_whom_the_group_does_not_reach_gets_packets_of_its_own_until_it_does(blocked: tuple[int, ...]) -> None:
    line = Line()
    for _ in range(5):
        line.beat(0)
    assert line.ends[1].needs_unicast(0, line.now_us) == []
    line.told.clear()
    for node in blocked:
        line.group[node] = False
    for _ in range(15):
        line.beat(0)
        silent = max(int(str(line.state(node)["silent_ms"])) for node in NAMES)
        assert silent < DEAD_MS
    assert all(line.state(node)["by_unicast"] for node in NAMES)
    assert sum("does not reach" in text for text in line.told) == 2
    line.group = {1: True, 2: True}
    for _ in range(10):
        line.beat(0)
    assert not any(line.state(node)["by_unicast"] for node in NAMES)
    assert sum("reaches node" in text and "again" in text for text in line.told) == 2


def test_a_peer_that_began_a_new_life_is_measured_anew() -> None:
    line = Line()
    for _ in range(50):
        line.beat(0)
    line.sequence[2, 0] = 0
    line.ends[1].restarted(2)
    for _ in range(3):
        line.beat(0)
    assert line.state(2)["rtt_ms"] == 2.0


def test_in_a_cluster_of_thirty_two_everybody_is_reported_on_in_turn_and_the_reports_stay_small() -> None:
    names = {node: f"n{node}" for node in range(1, 33)}
    monitor = LinkMonitor(1, names, [range(2, 33)], [], WARN_MS, DEAD_MS)
    seen = []
    for number in range(1, 9):
        seen += monitor.due(0)
        assert len(monitor.reports(0, number, {}, 1000)) <= MAX_REPORTS_BYTES
    assert sorted(set(seen)) == list(range(2, 33))


@given(st.binary(max_size=200))
def test_reports_that_do_not_decode_are_refused_and_nothing_else_raises(data: bytes) -> None:
    monitor = LinkMonitor(1, NAMES, [[2]], [0], WARN_MS, DEAD_MS)
    try:
        rest = monitor.arrived(0, 2, 1, data, True, 1_000_000)
    except Malformed:
        return
    assert data.endswith(rest)
