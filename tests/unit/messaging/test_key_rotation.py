"""A key is replaced step by step; wherever that is interrupted, all accept what all send with, and the next run ends it."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import keyring
from messaging.keyring import Key, Keyring
from messaging.rotation import FRESH_BYTES, STEP_MS, Adopt, Effect, KeyRotation, Step, Tell, summary
from messaging.sealing import SECRET_BYTES, Sealer

NAMES = {1: "n1", 2: "n2", 3: "n3"}
FRESH = bytes(range(FRESH_BYTES))
SECRET = bytes(range(100, 132))


def ring(*ids: int) -> Keyring:
    keys = [Key(key_id, bytes([key_id]) * 32) for key_id in ids]
    return Keyring(keys[0], {key.key_id: key for key in keys})


class Cluster:
    """Key files and daemons; words are delivered one by one, and each write can be the last before a crash."""

    def __init__(self, *ids: int) -> None:
        self.files = dict.fromkeys(NAMES, ring(*ids))
        self.unwritable: set[int] = set()
        self.down: set[int] = set()
        self.wire: list[tuple[int, int, bytes]] = []
        self.now_ms = 0
        self.rng = random.Random(1)
        self.boot()

    def boot(self) -> None:
        """All daemons start again, and read their files."""
        self.wire.clear()
        self.down.clear()
        self.nodes = {node: KeyRotation(node, NAMES, self.files[node]) for node in NAMES}

    def perform(self, node: int, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                self.wire.append((node, effect.peer, json.dumps(effect.document).encode()))
                continue
            assert isinstance(effect, Adopt)
            refused = node in self.unwritable
            if not refused:
                text = keyring.render(effect.keys)
                self.files[node] = self.nodes[node].ring = keyring.parse(text, "keys")
                self.check()
            for tell in effect.otherwise if refused else effect.then:
                self.wire.append((node, tell.peer, json.dumps(tell.document).encode()))
            if refused and not effect.otherwise:
                self.perform(node, self.nodes[node].own_file_failed("read-only file system"))
                return

    def check(self) -> None:
        for sender in self.files.values():
            for receiver in self.files.values():
                assert receiver.find(sender.sending.key_id) is not None, "somebody cannot be understood"

    def start(self, node: int = 1, fresh: bytes = FRESH) -> None:
        self.perform(node, self.nodes[node].start(f"run{node}{self.now_ms}", fresh, frozenset(NAMES), self.now_ms))

    def deliver(self, count: int = 1000) -> int:
        """Up to so many words; how many there were."""
        done = 0
        while self.wire and done < count:
            sender, target, data = self.wire.pop(0)
            done += 1
            if target not in self.down and sender not in self.down:
                self.perform(
                    target, self.nodes[target].on_document(sender, json.loads(data), self.secret(), self.now_ms)
                )
        return done

    def secret(self) -> bytes:
        """Random bytes for a node that is asked."""
        return self.rng.randbytes(SECRET_BYTES)

    def ids(self) -> list[list[int]]:
        return [list(ring.keys) for ring in self.files.values()]


def test_all_nodes_end_with_the_new_key_alone() -> None:
    cluster = Cluster(1)
    cluster.start()
    cluster.deliver()
    assert cluster.ids() == [[2], [2], [2]]
    assert len({ring.sending.line for ring in cluster.files.values()}) == 1
    assert cluster.nodes[1].status()["step"] == Step.DONE


def test_the_new_key_is_never_on_the_wire_in_the_clear() -> None:
    cluster = Cluster(1)
    cluster.start()
    said = b""
    while cluster.wire:
        said += cluster.wire[0][2]
        cluster.deliver(1)
    secret = cluster.files[1].sending.line.split()[1]
    assert secret.encode() not in said
    assert bytes.fromhex(secret) not in said


def words_until_sealed(cluster: Cluster) -> tuple[list[dict[str, object]], dict[str, object]]:
    """What was said before the first word that carries the new key, and that word."""
    said: list[dict[str, object]] = []
    while True:
        word = json.loads(cluster.wire[0][2])
        if "sealed" in word:
            return said, word
        said.append(word)
        cluster.deliver(1)


def test_who_does_not_have_the_present_key_cannot_read_the_new_one() -> None:
    cluster = Cluster(1)
    cluster.start()
    said, sealed = words_until_sealed(cluster)
    other = KeyRotation(2, NAMES, Keyring(Key(1, b"x" * 32), {1: Key(1, b"x" * 32)}))
    other.on_document(1, said[0], SECRET, 0)
    (effect,) = other.on_document(1, sealed, SECRET, 0)
    assert isinstance(effect, Tell)
    assert "cannot open" in effect.document["failed"]


def test_who_has_the_present_key_and_listened_cannot_read_the_new_one() -> None:
    cluster = Cluster(1)
    cluster.start()
    said, sealed = words_until_sealed(cluster)
    listener = KeyRotation(2, NAMES, ring(1))
    listener.on_document(1, said[0], SECRET, 0)  # he lacks what node 2 drew
    (effect,) = listener.on_document(1, sealed, SECRET, 0)
    assert isinstance(effect, Tell)
    assert "cannot open" in effect.document["failed"]
    nonce, hidden = bytes.fromhex(str(sealed["nonce"])), bytes.fromhex(str(sealed["sealed"]))
    publics = [bytes.fromhex(str(word["public"])) for word in said]
    for guess in (b"", *publics):
        sealer = Sealer(ring(1).sending.derive(b"key wrap", guess))
        assert sealer.open(int.from_bytes(nonce, "big"), hidden, b"vigil key") is None


def test_a_key_that_comes_without_a_question_before_is_refused() -> None:
    cluster = Cluster(1)
    cluster.start()
    _, sealed = words_until_sealed(cluster)
    late = KeyRotation(2, NAMES, ring(1))
    (effect,) = late.on_document(1, sealed, SECRET, 0)
    assert isinstance(effect, Tell)
    assert "without having been asked" in effect.document["failed"]


def total() -> int:
    cluster = Cluster(1)
    cluster.start()
    return cluster.deliver()


@pytest.mark.parametrize("dies", [1, 2, 3])
@pytest.mark.parametrize("after", range(total()))
def test_wherever_it_is_interrupted_all_understand_each_other_and_the_next_run_ends_it(after: int, dies: int) -> None:
    cluster = Cluster(1)
    cluster.start()
    cluster.deliver(after)
    cluster.down.add(dies)
    cluster.deliver()
    cluster.now_ms += STEP_MS
    if dies != 1:
        cluster.perform(1, cluster.nodes[1].tick(cluster.now_ms))
        ended = cluster.nodes[1].status()
        assert ended["step"] == Step.DONE or (ended["step"] == Step.FAILED and NAMES[dies] in ended["text"])
    cluster.check()
    cluster.boot()
    for _ in range(2):  # the first may have nothing to do but to finish
        cluster.start(fresh=bytes(FRESH_BYTES))
        cluster.deliver()
        assert cluster.nodes[1].status()["step"] == Step.DONE
    assert len({tuple(each) for each in cluster.ids()}) == 1
    assert len(cluster.ids()[0]) == 1
    assert cluster.ids()[0] > [1]


def test_a_node_that_is_away_is_named_and_nothing_is_changed() -> None:
    cluster = Cluster(1)
    with pytest.raises(ValueError, match="n3 is not connected"):
        cluster.nodes[1].start("run", FRESH, frozenset({1, 2}), 0)
    assert cluster.ids() == [[1], [1], [1]]


@pytest.mark.parametrize("broken", [1, 2])
def test_a_key_file_that_cannot_be_written_ends_the_run_by_name(broken: int) -> None:
    cluster = Cluster(1)
    cluster.unwritable.add(broken)
    cluster.start()
    cluster.deliver()
    text = cluster.nodes[1].status()["text"]
    assert cluster.nodes[1].status()["step"] == Step.FAILED
    assert "cannot write" in text
    assert "go on sending with the old key" in text
    cluster.unwritable.clear()
    cluster.start()
    cluster.deliver()
    assert cluster.ids() == [[2], [2], [2]]


def test_another_node_than_the_one_that_has_the_new_key_says_where_to_go_on() -> None:
    cluster = Cluster(1)
    cluster.start()
    cluster.deliver(4)  # n1 has written it, nobody else
    cluster.boot()
    cluster.start(2)
    cluster.deliver()
    assert "an interrupted rotation left key 2 on n1: go on from there" in cluster.nodes[2].status()["text"]


def test_key_files_that_contradict_each_other_are_not_touched() -> None:
    cluster = Cluster(1)
    cluster.files[3] = Keyring(Key(1, b"other" * 8), {1: Key(1, b"other" * 8)})
    cluster.nodes[3].ring = cluster.files[3]
    cluster.start()
    cluster.deliver()
    assert "key 1 of n3 is not key 1 of n1" in cluster.nodes[1].status()["text"]


@pytest.mark.parametrize("after", range(17))
def test_a_node_that_is_removed_meanwhile_is_not_waited_for(after: int) -> None:
    cluster = Cluster(1)
    cluster.start()
    cluster.deliver(after)
    cluster.down.add(3)
    del cluster.files[3]
    for node in (1, 2):
        cluster.perform(node, cluster.nodes[node].relist({1: "n1", 2: "n2"}, cluster.now_ms))
    cluster.deliver()
    assert cluster.ids() == [[2], [2]]
    assert cluster.nodes[1].status()["step"] == Step.DONE


@pytest.mark.parametrize("after", range(17))
def test_a_node_that_is_added_meanwhile_ends_the_run_and_has_its_part_in_the_next(after: int) -> None:
    cluster = Cluster(1)
    cluster.start()
    cluster.deliver(after)
    names = {**NAMES, 4: "n4"}
    cluster.files[4] = cluster.files[1]  # as a node gets them that joins now
    cluster.nodes[4] = KeyRotation(4, names, cluster.files[4])
    for node in NAMES:
        cluster.perform(node, cluster.nodes[node].relist(names, cluster.now_ms))
    cluster.deliver()
    cluster.check()
    status = cluster.nodes[1].status()
    assert status["step"] == Step.DONE or (
        status["step"] == Step.FAILED and "n4 came to the cluster meanwhile; " in status["text"]
    )
    cluster.perform(1, cluster.nodes[1].start("next", FRESH[::-1], frozenset(names), 0))
    cluster.deliver()
    assert len({tuple(ids) for ids in cluster.ids()}) == 1
    assert len(cluster.ids()[3]) == 1, "all four with one key"


def test_a_second_run_is_refused_while_one_is_under_way() -> None:
    cluster = Cluster(1)
    cluster.start()
    with pytest.raises(ValueError, match="a rotation is running"):
        cluster.start()


def test_a_summary_holds_no_secret() -> None:
    told = json.dumps(summary(ring(1, 2)))
    assert (bytes([1]) * 32).hex() not in told


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@given(st.dictionaries(st.sampled_from(["keys", "run", "step", "id", "under", "nonce", "sealed", "failed"]), JUNK))
def test_words_that_make_no_sense_change_nothing(document: dict[str, object]) -> None:
    cluster = Cluster(1)
    document["keys"] = random.Random(str(document)).choice(["ask", "add", "switch", "retire", "answer", "what"])
    try:
        effects = cluster.nodes[2].on_document(1, document, SECRET, 0)
    except (ValueError, KeyError, TypeError):
        return
    assert not any(isinstance(effect, Adopt) and len(effect.keys) != 1 for effect in effects)
