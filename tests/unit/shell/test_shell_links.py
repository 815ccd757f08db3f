"""What `crm cluster links` and `crm cluster doctor` say of findings; the findings themselves are tested in real networks."""

from __future__ import annotations

from typing import Any

import pytest

from crm.shell import doctor, links

ALL = ["broadcast", "dscp-48", "multicast", "size-1280", "size-1500", "size-576", "unicast"]


def peer(name: str = "n2", **changes: Any) -> dict[str, Any]:
    return {"name": name, "here": ALL, "there": ALL, "tcp": "connects", **changes}


def link(*peers: dict[str, Any], mode: str = "unicast", **changes: Any) -> dict[str, Any]:
    return {
        "number": 0,
        "mode": mode,
        "address": "10.0.0.1",
        "port": 5410,
        "group": "" if mode == "unicast" else "239.192.7.1",
        "fallback": mode != "unicast",
        "dscp": 48,
        "interface_refuses": 9000,
        "peers": list(peers),
        **changes,
    }


def advice(*trials: dict[str, Any]) -> list[str]:
    lines, good = doctor.describe({"links": list(trials)})
    found = [line for line in lines if line.startswith("! ")]
    assert good == (not found)
    return found


def test_where_all_gets_through_there_is_nothing_to_do() -> None:
    lines, good = doctor.describe({"links": [link(peer(), peer("n3"))]})
    assert good
    assert lines == [
        "link 0: unicast, 10.0.0.1 port 5410",
        "                  n2                    n3",
        "  UDP unicast     both ways             both ways",
        "  UDP multicast   both ways             both ways",
        "  UDP broadcast   both ways             both ways",
        "  TCP             connects              connects",
        "  largest packet  1500 bytes (own MTU)  1500 bytes (own MTU)",
        "  DSCP 48         kept                  kept",
        "",
        "all that the cluster uses gets through",
    ]


def without(word: str) -> list[str]:
    return [each for each in ALL if each != word]


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        (link(peer(here=without("unicast"))), "UDP unicast does not pass both ways to n2: open UDP port 5410"),
        (link(peer(there=without("multicast")), mode="multicast"), "IGMP snooping need a querier"),
        (link(peer(there=without("multicast")), mode="multicast"), "until then the cluster goes on by unicast"),
        (link(peer(there=without("multicast")), mode="multicast", fallback=False), 'set fallback = "unicast"'),
        (link(peer(tcp="connection refused")), "no TCP connection to n2 (connection refused): open TCP port 5410"),
        (link(peer(there=without("size-1500"))), "packets of 1500 bytes do not reach n2 in one piece"),
        (link(peer(there=[*without("dscp-48"), "dscp-0"])), "changes the DSCP on the way to n2"),
        (link(peer(here=[], there=None, tcp="no answer")), "nothing comes from n2: is the node up"),
    ],
)
def test_each_finding_has_its_remedy(trial: dict[str, Any], says: str) -> None:
    assert any(says in line for line in advice(trial)), advice(trial)


def test_what_the_cluster_does_not_use_is_shown_and_no_fault() -> None:
    assert (
        advice(
            link(peer(here=["unicast", "dscp-48"], there=["unicast", "dscp-48", "size-576", "size-1280", "size-1500"]))
        )
        == []
    )
    assert advice(link(peer(there=without("size-1500")), interface_refuses=1500)) == []


def line(*peers: dict[str, Any], error: str = "") -> dict[str, Any]:
    return {"number": 1, "mode": "serial", "address": "/dev/ttyS0", "baud": 9600, "error": error, "peers": list(peers)}


def test_a_serial_line_that_works_is_a_row_of_its_own() -> None:
    ends = peer(here=["serial"], there=["serial"], tcp=None)
    lines, good = doctor.describe({"links": [line(ends)], "others": {"n3": [line()]}})
    assert good
    assert lines[:3] == ["link 1: serial, /dev/ttyS0 at 9600 baud", "               n2", "  serial line  both ways"]
    assert doctor.describe({"links": [line()]}) == (
        ["link 1: serial, not at this node", "", "all that the cluster uses gets through"],
        True,
    )


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        (line(peer(here=[], there=None)), "nothing comes from n2 over /dev/ttyS0: is a null-modem cable"),
        (line(peer(here=["serial"], there=[])), "only from there to here"),
        (line(peer(here=[], there=None), error="Permission denied"), "/dev/ttyS0 cannot be used: Permission denied"),
    ],
)
def test_a_serial_line_that_does_not_work_has_its_remedy(trial: dict[str, Any], says: str) -> None:
    assert [says in text for text in advice(trial)] == [True]


def test_links_are_a_table_with_what_is_unusual_named() -> None:
    answer = {
        "links": [
            {
                "number": 0,
                "mode": "multicast",
                "address": "10.0.0.1",
                "group": "239.192.7.1",
                "sent": 10,
                "received": 9,
                "send_errors": 2,
                "last_error": "Network is unreachable",
                "peers": [
                    {
                        "name": "n2",
                        "state": "up",
                        "silent_ms": 120,
                        "loss_in": 0.7,
                        "loss_out": 0.0,
                        "rtt_ms": 0.34,
                        "stream": True,
                        "by_unicast": True,
                    },
                    {"name": "n3", "state": "never heard", "silent_ms": None, "stream": False},
                ],
            }
        ],
        "peers": [{"name": "n2", "state": "alive", "stream": True}, {"name": "n3", "state": "dead", "silent_ms": None}],
        "keys": {"sending": 2, "accepted": [1, 2]},
        "encryption": "aes-256-gcm",
        "rejected": {"own": 5, "bad-mac": 3},
    }
    assert links.silent_links(answer) == ["link 0 to n2 is not reached by the group"]
    assert list(links.describe(answer)) == [
        "link 0 multicast 10.0.0.1 to 239.192.7.1: sent 10, received 9, errors 2 (last: Network is unreachable)",
        "  NODE  STATE        HEARD       LOST HERE  LOST THERE  ROUND TRIP",
        "  n2    up           120 ms ago  0.7%       0.0%        0.3 ms      carries the messages, by unicast: the group does not get through",
        "  n3    never heard  -           -          -           -",
        "node n3 is dead: not heard since messaging started",
        "packets: encrypted (aes-256-gcm); sending with key 2, accepting 1 2",
        "packets dropped: 3 bad-mac",
    ]


def test_a_node_that_died_was_heard_so_long_ago_as_a_person_would_say() -> None:
    def said(ms: int) -> tuple[str, str]:
        peer = {"name": "n3", "state": "down", "silent_ms": ms, "stream": False}
        link = {"number": 0, "mode": "unicast", "address": "10.0.0.1", "sent": 1, "received": 1, "peers": [peer]}
        lines = list(links.describe({"links": [link], "peers": [{"name": "n3", "state": "dead", "silent_ms": None}]}))
        return " ".join(lines[2].split()[2:5]), lines[3]

    assert said(2500) == ("2500 ms ago", "node n3 is dead: silent for 2500 ms")
    assert said(99_000)[0] == "99 s ago" and said(322_061)[1] == "node n3 is dead: silent for 5 min"
    assert said(20_000_000)[0] == "5 h ago"
