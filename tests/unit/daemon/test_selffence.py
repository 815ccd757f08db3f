"""When a node may rely on it that another has reset itself by its watchdog."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lxml import etree

from crm.api.errors import ApiError
from crm.daemon.node import Node
from crm.daemon.selffence import SelfFencing
from messaging.types import Member, View, ViewId

NEEDED_MS = 3700


def cib(timeout: str) -> etree._Element:
    pair = f'<nvpair id="p" name="fencing-watchdog-timeout" value="{timeout}"/>'
    return etree.fromstring(
        "<cib><configuration><crm_config><cluster_property_set "
        f'id="s">{pair}</cluster_property_set></crm_config></configuration></cib>'
    )


def view(*names: str, group: tuple[str, ...] | None = None) -> View:
    members = tuple(Member(int(name[1:]), name, 1) for name in names)
    inside = frozenset(int(name[1:]) for name in (names if group is None else group))
    return View(ViewId(1, 1), members, inside, True, "")


class World:
    """A node n1 with what it would ask; `told` are the peers that were ordered not to feed their watchdogs."""

    def __init__(self, timeout: str = "-1", *, watched: bool = True, refuses: bool = False) -> None:
        self.told: list[Any] = []
        self.refuses = refuses
        self.answer = {"own": {"presumed_ms": NEEDED_MS}, "peers": {"n2": NEEDED_MS if watched else 0}}
        node = SimpleNamespace(
            peers=SimpleNamespace(handler=lambda *_: None, call=self.call),
            settings=SimpleNamespace(node_name="n1"),
            cib=SimpleNamespace(document=cib(timeout)),
            client=SimpleNamespace(query=self.query),
            controller=SimpleNamespace(view=view("n1")),
        )
        self.node = node
        self.fencing = SelfFencing(cast(Node, node))

    async def query(self, name: str, **parameters: Any) -> dict[str, Any]:
        if name == "watchdog.starve":
            self.told.append("n1")
        return self.answer

    async def call(self, node: int, name: str, _: dict[str, Any]) -> dict[str, Any]:
        if self.refuses:
            raise ApiError("failed", "this node has no watchdog")
        self.told.append((node, name))
        return {}

    def ask(self, target: str = "n2") -> tuple[int, str]:
        return asyncio.run(self.fencing.ask(target, "test"))


@pytest.mark.parametrize(
    ("timeout", "wait_ms", "why"),
    [
        ("-1", NEEDED_MS, ""),
        ("10s", 10_000, ""),
        ("0", 0, ""),
        ("3s", 0, "fencing-watchdog-timeout is 3000 ms, and 3700 ms may be needed"),
    ],
)
def test_the_time_is_the_derived_one_or_the_administrators_longer_one(timeout: str, wait_ms: int, why: str) -> None:
    assert World(timeout).ask() == (wait_ms, why)


def test_nothing_is_presumed_of_a_node_that_was_not_watched() -> None:
    assert World(watched=False).ask() == (0, "n2 did not say that a watchdog resets it")


def test_a_target_that_can_be_spoken_to_must_agree_first() -> None:
    world = World()
    world.node.controller.view = view("n1", "n2")
    assert world.ask() == (NEEDED_MS, "")
    assert world.told == [(2, "fence_starve")]
    world.refuses = True
    assert world.ask() == (0, "this node has no watchdog")
    assert World().ask("n1")[0] == NEEDED_MS


def test_a_lost_target_that_is_heard_again_voids_it_and_one_that_was_told_does_not() -> None:
    lost = World()
    lost.ask()
    assert lost.fencing.on_view(view("n1")) == []
    assert lost.fencing.on_view(view("n1", "n2", group=("n1",))) == ["n2"]
    assert lost.fencing.on_view(view("n1", "n2")) == [], "once"
    told = World()
    told.node.controller.view = view("n1", "n2")
    told.ask()
    assert told.fencing.on_view(view("n1", "n2")) == []


def test_a_member_without_crm_may_stay_a_member_but_its_crm_may_not_come_back_nor_it_itself() -> None:
    for returns in (view("n1", "n2"), view("n1")):
        world = World()
        world.node.controller.view = view("n1", "n2", group=("n1",))
        world.ask()
        assert world.told == []
        assert world.fencing.on_view(view("n1", "n2", group=("n1",))) == []
        void = world.fencing.on_view(returns) + world.fencing.on_view(view("n1", "n2", group=("n1",)))
        assert void == ["n2"]


@pytest.mark.parametrize(
    ("timeout", "own", "said"),
    [
        ("0", {}, ""),
        ("-1", {"presumed_ms": NEEDED_MS}, ""),
        ("-1", {}, "has no watchdog"),
        ("-1", {"presumed_ms": 0}, "nothing may be presumed"),
        ("3s", {"presumed_ms": NEEDED_MS}, "3000 ms, and 3700 ms may be needed"),
    ],
)
def test_what_stands_against_it_is_said_beforehand(timeout: str, own: dict[str, int], said: str) -> None:
    problem = World(timeout).fencing.problem({"own": own})
    assert said in problem and bool(said) == bool(problem)
