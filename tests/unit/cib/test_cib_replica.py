"""Replication: who is told what and when, and what a world of partitions, crashes and slow disks does to it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from crm.cib import wire, xml
from crm.cib.lineage import Lineage
from crm.cib.operations import Kind, Operation
from crm.cib.replica import (
    MAX_ATTEMPTS,
    Changed,
    CibReplica,
    Effect,
    GroupView,
    KeepAside,
    Multicast,
    Notice,
    Persist,
    Reply,
    Send,
    Withdraw,
    configuration_bytes,
    durable_bytes,
)
from crm.cib.wire import Change, CibMessageError, Differs, Durable, Mark
from crm.cib.xml import Version


def _create(name: str) -> Operation:
    return Operation(Kind.CREATE, xml=f'<primitive id="{name}" class="lsb" type="x"/>')


_STATUS = Operation(Kind.MODIFY, xml="<cib have-quorum='1'/>")


def _replica(me: int = 1, *group: int, quorate: bool = True) -> CibReplica:
    replica = CibReplica(me, f"session-{me}", xml.empty())
    replica.on_view(GroupView(1, 1, frozenset(group or (me,)), quorate))
    replica.synchronised()
    return replica


def _payload(effects: Sequence[Effect]) -> bytes:
    (multicast,) = [effect for effect in effects if isinstance(effect, Multicast)]
    return multicast.payload


def _only(effects: Sequence[Effect], kind: type[Any]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


# One member


def test_a_change_is_persisted_before_the_client_hears_of_it() -> None:
    replica = _replica()
    effects = replica.on_delivered(1, 1, _payload(replica.request(7, _create("a"))))
    assert effects == [Changed(Version(0, 1, 0), frozenset({"resources"}), 1)]
    (persist,) = replica.flush()
    assert isinstance(persist, Persist)
    assert (persist.document, persist.digest) == (durable_bytes(replica.document), xml.digest(persist.document))
    assert replica.on_persisted(persist.ticket) == [Reply(7, Version(0, 1, 0))]
    assert replica.flush() == []


def test_a_status_change_is_answered_at_once_and_not_written() -> None:
    replica = _replica()
    effects = replica.on_delivered(1, 1, _payload(replica.request(7, _STATUS)))
    assert _only(effects, Reply) == [Reply(7, Version(0, 0, 1))]
    assert replica.flush() == []


def test_a_refused_change_is_answered_with_what_is_wrong() -> None:
    replica = _replica()
    (reply,) = replica.on_delivered(
        1, 1, _payload(replica.request(7, Operation(Kind.DELETE, xml='<primitive id="z"/>')))
    )
    assert isinstance(reply, Reply)
    assert (reply.error, reply.message) == ("not-found", "there is no primitive z")
    assert replica.pending == 0


def test_warnings_of_a_change_reach_the_client_with_the_good_news() -> None:
    replica = _replica()
    typo = '<rsc_defaults><meta_attributes id="m"><nvpair id="n" name="prioritty" value="1"/></meta_attributes></rsc_defaults>'
    replica.on_delivered(1, 1, _payload(replica.request(7, Operation(Kind.CREATE, xml=typo))))
    (reply,) = _persist(replica)
    assert isinstance(reply, Reply)
    assert (reply.error, [item.code for item in reply.items]) == ("", ["unknown-option"])


def test_many_changes_delivered_together_are_written_once() -> None:
    replica = _replica()
    for number in range(50):
        replica.on_delivered(number + 1, 1, _payload(replica.request(number, _create(f"r{number}"))))
    (persist,) = replica.flush()
    assert isinstance(persist, Persist)
    later = replica.on_delivered(99, 1, _payload(replica.request(99, _create("late"))))
    assert _only(later, Reply) == []
    assert replica.flush() == []
    effects = replica.on_persisted(persist.ticket)
    assert [reply.request for reply in _only(effects, Reply)] == list(range(50))
    (second,) = _only(effects, Persist)
    assert [reply.request for reply in _only(replica.on_persisted(second.ticket), Reply)] == [99]


def test_without_a_view_a_change_is_refused() -> None:
    replica = CibReplica(1, "s", xml.empty())
    (reply,) = replica.request(1, _STATUS)
    assert isinstance(reply, Reply)
    assert reply.error == "unavailable"


def test_a_disk_that_fails_makes_the_member_withdraw_and_the_change_stays_unanswered() -> None:
    replica = _replica()
    replica.on_delivered(1, 1, _payload(replica.request(7, _create("a"))))
    (persist,) = replica.flush()
    assert isinstance(persist, Persist)
    assert replica.on_persist_failed(persist.ticket, "no space left") == [
        Withdraw("the CIB cannot be written: no space left")
    ]
    assert replica.flush() == []  # not again and again: whoever owns the disk says when
    (again,) = replica.disk_again()
    assert isinstance(again, Persist)
    assert _only(replica.on_persisted(again.ticket), Reply) == [Reply(7, Version(0, 1, 0))]


# Several members


def _persist(replica: CibReplica) -> list[Effect]:
    (persist,) = replica.flush()
    assert isinstance(persist, Persist)
    return replica.on_persisted(persist.ticket)


def test_a_member_that_is_done_before_the_asker_has_applied_its_own_change_is_not_waited_for() -> None:
    """Seed 43 of the cluster simulator: the multicast was on its way to the asker when another's disk had it; its client waited for ever."""
    asker, quick = _replica(1, 1, 2), _replica(2, 1, 2)
    payload = _payload(asker.request(7, _create("a")))
    quick.on_delivered(1, 1, payload)
    (told,) = _only(_persist(quick), Send)
    assert asker.on_direct(2, told.payload) == []
    asker.on_delivered(1, 1, payload)
    assert _only(_persist(asker), Reply) == [Reply(7, Version(0, 1, 0))]


def test_what_a_member_had_on_its_disk_in_an_earlier_view_says_nothing_about_this_one() -> None:
    asker, other = _replica(1, 1, 2), _replica(2, 1, 2)
    first = _payload(asker.request(7, _create("a")))
    other.on_delivered(5, 1, first)
    (told,) = _only(_persist(other), Send)
    asker.on_direct(2, told.payload)
    for replica in (asker, other):
        replica.on_view(GroupView(2, 1, frozenset((1, 2)), True))
        replica.synchronised()
    asker.on_delivered(1, 1, _payload(asker.request(8, _create("b"))))
    assert _only(_persist(asker), Reply) == []


def test_the_client_hears_ok_when_every_member_of_the_view_has_the_change_on_disk() -> None:
    one, two, three = (_replica(me, 1, 2, 3) for me in (1, 2, 3))
    payload = _payload(one.request(7, _create("a")))
    for replica in (one, two, three):
        replica.on_delivered(1, 1, payload)
    assert _persist(one) == []
    (ack,) = _persist(two)
    assert isinstance(ack, Send)
    assert ack.node == 1
    assert one.on_direct(2, ack.payload) == []
    (ack,) = _persist(three)
    assert isinstance(ack, Send)
    assert one.on_direct(3, ack.payload) == [Reply(7, Version(0, 1, 0))]


def test_a_member_that_left_is_waited_for_no_longer() -> None:
    one = _replica(1, 1, 2)
    one.on_delivered(1, 1, _payload(one.request(7, _create("a"))))
    assert _persist(one) == []
    assert one.on_view(GroupView(2, 1, frozenset({1}), True, frozenset({2}))) == []
    assert one.synchronised() == [Reply(7, Version(0, 1, 0))]


def test_a_member_that_joins_must_have_written_the_agreed_document_first() -> None:
    one = _replica(1, 1, 2)
    one.on_delivered(1, 1, _payload(one.request(7, _create("a"))))
    assert _persist(one) == []
    view = GroupView(2, 1, frozenset({1, 3}), True, frozenset({2}))
    three = CibReplica(3, "new", xml.empty())
    three.on_view(view)
    three.adopt(xml.to_bytes(one.document))
    assert three.synchronised() == []
    assert _only(one.on_view(view) + one.synchronised(), Reply) == []
    sent = [effect for effect in _persist(three) if isinstance(effect, Send)]
    assert [send.node for send in sent] == [1]
    assert one.on_direct(3, sent[0].payload) == [Reply(7, Version(0, 1, 0))]


def test_a_change_that_the_agreed_document_lacks_is_not_called_done() -> None:
    one = _replica(1, 1, 2)
    one.on_delivered(1, 1, _payload(one.request(7, _create("a"))))
    one.on_view(GroupView(2, 3, frozenset({1, 2, 3}), True, frozenset({3})))
    agreed = xml.empty("other")
    xml.set_version(agreed, Version(0, 9, 0))
    (reply,) = _only(one.adopt(xml.to_bytes(agreed)), Reply)
    assert (reply.error, reply.request) == ("not-applied", 7)


def test_changes_that_come_while_a_view_is_joined_wait_for_the_agreed_document() -> None:
    one = _replica(1, 1)
    one.on_view(GroupView(2, 1, frozenset({1, 2}), True))
    assert one.on_delivered(1, 1, _payload(one.request(7, _create("a")))) == []
    agreed = xml.empty("other")
    xml.set_version(agreed, Version(0, 9, 0))
    one.adopt(xml.to_bytes(agreed))
    effects = one.synchronised()
    assert [effect.version for effect in _only(effects, Changed)] == [Version(0, 10, 0)]
    assert len(xml.xpath(one.document, "//primitive")) == 1


def test_a_change_whose_view_ends_before_it_was_applied_is_multicast_again_a_few_times() -> None:
    one = _replica(1, 1)
    effects: list[Effect] = one.request(7, _create("a"))
    for attempt in range(2, MAX_ATTEMPTS + 1):
        one.on_view(GroupView(attempt, 1, frozenset({1, attempt}), True))
        one.on_delivered(1, 1, _payload(effects))
        effects = one.on_view(GroupView(10 * attempt, 1, frozenset({1}), True))
        assert len(_only(effects, Multicast)) == 1
    (reply,) = one.on_undelivered(7)
    assert isinstance(reply, Reply)
    assert reply.error == "not-applied"
    assert one.on_undelivered(7) == []


def test_what_peers_send_by_mistake_is_noticed_and_does_nothing() -> None:
    one = _replica(1, 1, 2)
    before = xml.to_bytes(one.document)
    durable = wire.encode(Durable(Mark(1, 1, 1), Version(), "x"))
    for effects in (
        one.on_delivered(1, 2, b"nonsense"),
        one.on_delivered(2, 2, durable),
        one.on_direct(2, b""),
        one.on_direct(2, wire.encode(Change("s", 1, _STATUS))),
        one.on_direct(2, wire.encode(Differs(Version(0, 3, 0), "x"))),
    ):
        assert [type(effect) for effect in effects] == [Notice]
    assert xml.to_bytes(one.document) == before


def test_a_copy_that_differs_at_the_same_version_makes_that_member_withdraw() -> None:
    one, two = _replica(1, 1, 2), _replica(2, 1, 2)
    two.document.set("silently", "damaged")
    payload = _payload(one.request(7, _create("a")))
    for replica in (one, two):
        replica.on_delivered(1, 1, payload)
    _persist(one)
    (ack,) = _persist(two)
    assert isinstance(ack, Send)
    notice, told, reply = one.on_direct(2, ack.payload)
    assert isinstance(notice, Notice)
    assert isinstance(told, Send)
    assert isinstance(reply, Reply)
    (withdraw,) = two.on_direct(1, told.payload)
    assert isinstance(withdraw, Withdraw)


# After a partition


def test_what_was_accepted_without_quorum_is_kept_aside_when_the_cluster_takes_another() -> None:
    one = _replica(1, 1, quorate=False)
    one.on_delivered(1, 1, _payload(one.request(7, _create("mine"))))
    (persist,) = one.flush()
    assert isinstance(persist, Persist)
    assert persist.lineage == "1.1m:1"
    one.on_persisted(persist.ticket)
    taken = xml.empty()
    xml.set_version(taken, Version(0, 9, 0))
    one.on_view(GroupView(2, 2, frozenset({1, 2}), True))
    aside, changed = one.adopt(xml.to_bytes(taken))
    assert isinstance(aside, KeepAside)
    assert b'id="mine"' in aside.document
    assert "without quorum" in aside.why
    assert isinstance(changed, Changed)
    assert changed.everything
    one.synchronised()
    (persist,) = one.flush()
    assert isinstance(persist, Persist)
    assert (persist.version, persist.lineage) == (Version(0, 9, 0), "")


def test_an_older_copy_is_replaced_without_ceremony_and_an_equal_one_is_not_kept() -> None:
    one = _replica(1, 1)
    same = xml.parse(xml.to_bytes(one.document))
    xml.set_version(same, Version(0, 0, 9))
    assert _only(one.adopt(xml.to_bytes(same)), KeepAside) == []
    newer = xml.empty("demo")
    xml.set_version(newer, Version(0, 1, 0))
    assert _only(one.adopt(xml.to_bytes(newer)), KeepAside) == []


def test_a_copy_that_is_not_older_than_the_one_taken_is_kept_aside() -> None:
    one = _replica(1, 1)
    one.on_delivered(1, 1, _payload(one.request(7, _create("mine"))))
    other = xml.empty("demo")
    xml.set_version(other, Version(0, 1, 0))
    (aside,) = _only(one.adopt(xml.to_bytes(other)), KeepAside)
    assert "changes made on this side that are not in version 0.1.0" in aside.why


def test_a_copy_whose_changes_are_all_in_the_one_taken_is_not_kept_whatever_its_version() -> None:
    one, two = _replica(1, 1, 2), _replica(2, 1, 2)
    payload = _payload(one.request(1, _create("a")))
    for replica in (one, two):
        replica.on_delivered(1, 1, payload)
    two.on_delivered(2, 1, _payload(one.request(2, _create("b"))))
    assert two.standing > one.standing
    assert _only(one.adopt(two.copy()), KeepAside) == []
    assert (one.lineage, one.digest()) == (two.lineage, two.digest())


def test_changes_of_a_minority_that_a_quorate_view_takes_over_are_confirmed_on_disk() -> None:
    one = CibReplica(1, "s", xml.empty(), lineage=Lineage.parse("3.1q:2 4.1m:5"))
    assert one.standing == (3, 1, 2, 5)
    one.on_view(GroupView(9, 2, frozenset({1, 2}), True))
    one.synchronised()
    (persist,) = one.flush()
    assert isinstance(persist, Persist)
    assert persist.lineage == "3.1q:2 4.1m:5 9.2q:5"


def test_what_the_cluster_changes_itself_gives_a_copy_no_standing() -> None:
    one = _replica()
    effects = one.on_delivered(1, 1, _payload(one.request(1, _create("node"), automatic=True)))
    assert _only(effects, Changed)[0].automatic
    assert one.standing == (0, 0, 0, 0)


def test_a_document_that_is_none_is_not_adopted() -> None:
    one = _replica(1, 1)
    before = xml.to_bytes(one.document)
    with pytest.raises(xml.CibSyntaxError):
        one.adopt(b"<cib")
    assert xml.to_bytes(one.document) == before


# The wire


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
_VERSIONS = st.builds(Version, *[st.integers(0, 2**40)] * 3)
_OPERATIONS = st.recursive(
    st.builds(
        Operation,
        st.sampled_from(list(Kind)),
        xml=_TEXTS,
        scope=_TEXTS,
        xpath=_TEXTS,
        if_version=st.none() | _VERSIONS,
        allow_create=st.booleans(),
        all_matches=st.booleans(),
        stamp=st.lists(st.tuples(_TEXTS, _TEXTS), max_size=2).map(tuple),
        user=_TEXTS,
        groups=st.lists(_TEXTS, max_size=2).map(tuple),
    ),
    lambda inner: st.builds(Operation, st.just(Kind.TRANSACTION), steps=st.lists(inner, max_size=3).map(tuple)),
    max_leaves=5,
)
_MESSAGES = (
    st.builds(Change, _TEXTS, st.integers(0, 2**40), _OPERATIONS, st.booleans())
    | st.builds(Durable, st.builds(Mark, *[st.integers(0, 2**40)] * 3), _VERSIONS, _TEXTS)
    | st.builds(Differs, _VERSIONS, _TEXTS)
)


@given(_MESSAGES)
def test_messages_survive_the_wire(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@given(_MESSAGES, st.data())
def test_damaged_messages_are_refused_or_are_other_messages(message: wire.Message, data: st.DataObject) -> None:
    payload = bytearray(wire.encode(message))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        wire.decode(bytes(payload))
    except CibMessageError as error:
        assert str(error)


# A world of members: total order within views, partitions, crashes with loss of memory, slow disks


class _Node:
    def __init__(self, me: int) -> None:
        self.me = me
        self.disk: tuple[bytes, str] | None = None
        self.life = 0
        self.up = False
        self.replica = CibReplica(me, "", xml.empty())
        self.writing: Persist | None = None
        self.aside: list[bytes] = []

    def start(self) -> None:
        self.life += 1
        self.up = True
        document = xml.parse(self.disk[0]) if self.disk else xml.empty()
        lineage = Lineage.parse(self.disk[1]) if self.disk else None
        self.replica = CibReplica(
            self.me, f"{self.me}.{self.life}", document, lineage=lineage, apply_updates=_set_quorum
        )
        self.writing = None


def _set_quorum(document: etree._Element, updates: Iterable[Any]) -> list[Any]:
    changed = [update for update in updates if document.get("have-quorum") != update]
    for update in changed:
        document.set("have-quorum", update)
    return changed


class _World:
    """Partitions are sets of nodes that share a view and a log of multicasts, delivered to each at its own pace."""

    def __init__(self, seed: int, size: int) -> None:
        self.random = random.Random(seed)
        self.nodes = {me: _Node(me) for me in range(1, size + 1)}
        self.views = 0
        self.sides: list[set[int]] = []
        self.logs: list[list[tuple[int, bytes, int]]] = []
        self.place: dict[int, tuple[int, int]] = {}
        self.directs: dict[int, list[tuple[int, bytes]]] = {}
        self.requests = 0
        self.acknowledged: dict[str, frozenset[int]] = {}
        self.asked: dict[int, tuple[str, int]] = {}

    def partition(self, sides: list[set[int]]) -> None:
        """Every member of an old side delivers all of its log first: views are virtually synchronous."""
        for me in list(self.place):
            while self.step(me):
                pass
        before = {me: side for side in self.sides for me in side}
        self.sides = [side for side in sides if side]
        self.logs = [[] for _ in self.sides]
        self.place = {me: (index, 0) for index, side in enumerate(self.sides) for me in side}
        self.directs = {me: [] for me in self.place}
        for side in self.sides:
            self.views += 1
            quorate = len(side) * 2 > len(self.nodes)
            for me in side:
                mates = before.get(me, set())
                view = GroupView(
                    self.views, min(side), frozenset(side), quorate, frozenset(mates - side | side - mates)
                )
                self.perform(me, self.nodes[me].replica.on_view(view))
            self._agree(side)

    def _agree(self, side: set[int]) -> None:
        members = [self.nodes[me] for me in side]
        source = max(members, key=lambda node: (node.replica.standing, node.replica.version, -node.me)).replica
        copy, digest = source.copy(), source.digest()
        for node in members:
            if node.replica.digest() != digest:
                self.perform(node.me, node.replica.adopt(copy))
            self.perform(node.me, node.replica.synchronised())

    def crash(self, me: int) -> None:
        self.nodes[me].up = False
        self.asked = {request: asked for request, asked in self.asked.items() if asked[1] != me}
        del self.place[me]
        self.partition([side - {me} for side in self.sides])

    def ask(self, me: int) -> None:
        self.requests += 1
        name = f"r{self.requests}"
        self.asked[self.requests] = (name, me)
        self.perform(me, self.nodes[me].replica.request(self.requests, _create(name)))

    def step(self, me: int) -> bool:
        """Delivers one message to a member. False when there is none."""
        node = self.nodes[me]
        if self.directs[me]:
            self.perform(me, node.replica.on_direct(*self.directs[me].pop(0)))
            return True
        side, position = self.place[me]
        if position >= len(self.logs[side]):
            return False
        sender, payload, _ = self.logs[side][position]
        self.place[me] = (side, position + 1)
        self.perform(me, node.replica.on_delivered(position + 1, sender, payload))
        return True

    def write(self, me: int) -> None:
        """The member's disk finishes what it has, and the daemon flushes."""
        node = self.nodes[me]
        if node.writing is not None:
            persist, node.writing = node.writing, None
            node.disk = (persist.document, persist.lineage)
            self.perform(me, node.replica.on_persisted(persist.ticket))
        if node.writing is None:
            self.perform(me, node.replica.flush())

    def perform(self, me: int, effects: Sequence[Effect]) -> None:
        node = self.nodes[me]
        for effect in effects:
            match effect:
                case Multicast(payload, request):
                    self.logs[self.place[me][0]].append((me, payload, request))
                case Send(to, payload):
                    if to in self.sides[self.place[me][0]]:
                        self.directs[to].append((me, payload))
                case Persist():
                    assert node.writing is None
                    node.writing = effect
                case Reply(request, _, error):
                    name, _ = self.asked.pop(request)
                    if not error:
                        self._check_durable(name, me)
                case KeepAside(_, document, _):
                    node.aside.append(document)
                case Changed() | Notice():
                    assert not isinstance(effect, Notice), effect
                case Withdraw(reason):
                    raise AssertionError(reason)

    def _check_durable(self, name: str, me: int) -> None:
        """The promise: at this moment every member of the view has it on disk."""
        side = self.sides[self.place[me][0]]
        for member in side:
            disk = self.nodes[member].disk
            assert disk is not None, (name, member)
            assert f'id="{name}"'.encode() in disk[0], (name, member)
        self.acknowledged[name] = frozenset(side)

    def settle(self) -> None:
        busy = True
        while busy:
            busy = sum(self.step(me) for me in self.place) > 0
            for me in self.place:
                if self.nodes[me].writing is not None or self.nodes[me].replica._dirty:
                    self.write(me)
                    busy = True


@pytest.mark.parametrize("seed", range(60))
def test_in_any_history_an_acknowledged_change_is_on_every_disk_and_copies_end_up_equal(seed: int) -> None:
    size = 2 + seed % 4
    world = _World(seed, size)
    everybody = set(world.nodes)
    for node in world.nodes.values():
        node.start()
    world.partition([everybody])
    for _ in range(120):
        up = list(world.place)
        choice = world.random.random()
        if not up or choice < 0.03:
            down = [me for me in everybody if not world.nodes[me].up]
            if down:
                world.nodes[down[0]].start()
                world.partition([*(world.sides or [set()])[:-1], (world.sides or [set()])[-1] | {down[0]}])
        elif choice < 0.05 and len(up) > 1:
            world.crash(world.random.choice(up))
        elif choice < 0.09:
            cut = {me for me in up if world.random.random() < 0.5}
            world.partition([cut, set(up) - cut])
        elif choice < 0.35:
            world.ask(world.random.choice(up))
        elif choice < 0.75:
            world.step(world.random.choice(up))
        else:
            world.write(world.random.choice(up))
    world.settle()
    for me in everybody:
        if not world.nodes[me].up:
            world.nodes[me].start()
    world.partition([everybody])
    world.settle()
    documents = {xml.to_bytes(node.replica.document) for node in world.nodes.values()}
    assert len(documents) == 1
    assert len({configuration_bytes(xml.parse(node.disk[0])) for node in world.nodes.values() if node.disk}) <= 1
    assert not any(node.replica.pending for node in world.nodes.values())
    (final,) = documents
    kept = b"".join(document for node in world.nodes.values() for document in node.aside)
    for name, side in world.acknowledged.items():
        quorate = len(side) * 2 > size
        assert f'id="{name}"'.encode() in (final if quorate else final + kept), f"{name} was acknowledged by {side}"
