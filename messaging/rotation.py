"""Replacing the cluster's key while the cluster runs: distribute, accept both, switch, retire.

    coordinator                                every other listed node
    ask      what keys do you have?   <---->   sending, accepted, fingerprints
    add      the new key, sealed      <---->   written below the old one, accepted from now on
    switch   send with it             <---->   moved to the top
    retire   drop the others          <---->   the others are removed

A step begins only when *every* listed node has written the one before to its key file. So at any moment, wherever this
stops, all nodes accept what all nodes send with: a node that dies, a coordinator that is killed or a network that is
cut leaves a cluster that works. The next run reads off the key files how far it came and goes on from there. That is
why all nodes must be there to begin with, and why a step that somebody does not answer ends the run with his name.

Ids only grow, so the highest id anywhere is the new key. A new key travels sealed under a secret that the coordinator
and each node agree on anew in every run (the publics go with `ask` and its answer), mixed with the present key, over
streams that are authenticated by the present key. So somebody who has the present key and records the network cannot
read the new one; he would have to stand in the middle of every connection while it is rotated.

`KeyRotation` does no I/O. Its methods return what is to be done: `Adopt` (write the key file and use it; then tell
`then`, or when it cannot be written `otherwise`) and `Tell`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from messaging.keyring import KEY_BYTES, MAX_KEY_ID, MAX_KEYS, Key, Keyring
from messaging.sealing import NONCE_BYTES, SECRET_BYTES, Sealer, agree, public_of

FRESH_BYTES = KEY_BYTES + NONCE_BYTES + SECRET_BYTES
"""Random bytes that a run needs."""

STEP_MS = 10_000
"""How long everybody may take for one step."""


class Step(StrEnum):
    IDLE = "idle"
    ASK = "ask"
    ADD = "add"
    SWITCH = "switch"
    RETIRE = "retire"
    DONE = "done"
    FAILED = "failed"


NEXT = {Step.ADD: Step.SWITCH, Step.SWITCH: Step.RETIRE, Step.RETIRE: Step.DONE}

SAFE = {
    Step.ASK: "nothing was changed",
    Step.ADD: "all nodes go on sending with the old key",
    Step.SWITCH: "all nodes accept the old and the new key",
    Step.RETIRE: "all nodes send with the new key",
}


@dataclass(frozen=True, slots=True)
class Tell:
    peer: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Adopt:
    keys: tuple[Key, ...]
    then: tuple[Tell, ...]
    otherwise: tuple[Tell, ...]


Effect = Tell | Adopt


class KeyRotation:
    """Both parts of one node: answering, and leading when it was asked to `start`."""

    def __init__(self, node_id: int, names: Mapping[int, str], ring: Keyring) -> None:
        self.ring = ring
        self.due_ms: int | None = None
        self._me = node_id
        self._names = dict(names)
        self._others = frozenset(names) - {node_id}
        self._step = Step.IDLE
        self._run = ""
        self._target: Key | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self._text = "no rotation was asked for since this daemon started"
        self._fresh = b""
        self._secret: tuple[str, bytes] = ("", b"")  # of the run in which this node was last asked

    # --- leading

    def start(self, run: str, fresh: bytes, connected: frozenset[int], now_ms: int) -> list[Effect]:
        """Begin, or go on with one that was interrupted. `fresh` is random. ValueError: why not."""
        if self._step not in (Step.IDLE, Step.DONE, Step.FAILED):
            raise ValueError(f"a rotation is running: {self._text}")
        missing = [self._names[node] for node in sorted(self._others - connected)]
        if missing:
            raise ValueError(
                f"{' '.join(missing)} {'is' if len(missing) == 1 else 'are'} not connected: a node that is away would be "
                "locked out by the new key; start it first, or remove it from the configuration of all nodes"
            )
        self._run, self._fresh = run, fresh
        return self._begin(Step.ASK, now_ms)

    def _begin(self, step: Step, now_ms: int) -> list[Effect]:
        asked, self._answers = self._answers, {}
        self._step = step
        self.due_ms = now_ms + STEP_MS
        document: dict[str, Any] = {"keys": step.value, "run": self._run}
        effects: list[Effect] = []
        if self._target is not None and step is not Step.ASK:
            document["id"] = self._target.key_id
            # This node goes first: nobody has a key that the coordinator could lose.
            effects.append(Adopt(_after(step, self.ring, self._target), (), ()))
        what = "asking all nodes for their keys" if step is Step.ASK else f"{step.value} of key {document['id']}"
        self._text = f"{what}: waiting for {self._missing()}"
        document["public"] = public_of(self._own_secret()).hex()
        for peer in sorted(self._others):
            sealed = {}
            if step is Step.ADD and self._target is not None:
                sealed = self._sealed(self._target, bytes.fromhex(str(asked[peer]["public"])))
            effects.append(Tell(peer, {**document, **sealed}))
        return effects if self._others else [*effects, *self._advance(now_ms)]

    def _missing(self) -> str:
        return " ".join(self._names[node] for node in sorted(self._others - self._answers.keys()))

    def _own_secret(self) -> bytes:
        return self._fresh[KEY_BYTES + NONCE_BYTES :]

    def _sealed(self, key: Key, public: bytes) -> dict[str, Any]:
        under = self.ring.sending
        nonce = self._fresh[KEY_BYTES : KEY_BYTES + NONCE_BYTES]
        sealer = Sealer(under.derive(b"key wrap", agree(self._own_secret(), public)))
        sealed = sealer.seal(int.from_bytes(nonce, "big"), key.line.encode("ascii"), b"vigil key")
        return {"under": under.key_id, "nonce": nonce.hex(), "sealed": sealed.hex()}

    def _advance(self, now_ms: int) -> list[Effect]:
        """Everybody has answered."""
        if self._step is not Step.ASK:
            return self._enter(NEXT[self._step], now_ms)
        rings = {self._me: summary(self.ring), **self._answers}
        try:
            self._target, step = _plan(rings, self.ring, self._names)
        except ValueError as error:
            return self._fail(str(error))
        if self._target is None:
            secret = self._fresh[:KEY_BYTES]
            self._target = Key(max(self.ring.keys) + 1, secret)
        return self._enter(step, now_ms)

    def _enter(self, step: Step, now_ms: int) -> list[Effect]:
        if step is not Step.DONE:
            return self._begin(step, now_ms)
        self._step, self.due_ms = step, None
        assert self._target is not None
        self._text = f"all nodes use key {self._target.key_id}, and it alone"
        self._target, self._fresh = None, b""
        return []

    def _fail(self, why: str) -> list[Effect]:
        safe = SAFE.get(self._step, "")
        self._text = f"{why}; {safe}: run crm cluster rotate-key again when that is mended"
        self._step, self.due_ms, self._target, self._fresh = Step.FAILED, None, None, b""
        return []

    def relist(self, names: Mapping[int, str], now_ms: int) -> list[Effect]:
        """Other nodes belong to the cluster. A run goes on without one that was removed, and ends for one that was added:

        it has the keys that the others had when somebody copied them to it, and must be asked for them first.
        """
        added = [name for node_id, name in sorted(names.items()) if node_id not in self._names]
        self._names = dict(names)
        self._others = frozenset(names) - {self._me}
        self._answers = {node_id: answer for node_id, answer in self._answers.items() if node_id in self._others}
        if self.due_ms is None:
            return []
        if added:
            return self._fail(f"{' '.join(added)} came to the cluster meanwhile")
        self._text = f"{self._step.value}: waiting for {self._missing()}"
        return self._advance(now_ms) if self._answers.keys() == self._others else []

    def own_file_failed(self, why: str) -> list[Effect]:
        """An `Adopt` of the coordinator itself could not be carried out."""
        return self._fail(f"this node cannot write its key file: {why}") if self.due_ms is not None else []

    def tick(self, now_ms: int) -> list[Effect]:
        """Time passes: a step that is not answered ends the run."""
        if self.due_ms is None or now_ms < self.due_ms:
            return []
        return self._fail(f"{self._missing()} did not answer to '{self._step.value}' within {STEP_MS // 1000} s")

    def status(self) -> dict[str, Any]:
        """For `query("keys")`."""
        return {"step": self._step.value, "text": self._text, "run": self._run, **summary(self.ring)}

    # --- both

    def on_document(self, peer: int, document: Mapping[str, Any], fresh: bytes, now_ms: int) -> list[Effect]:
        """A word of a peer; `fresh` are `SECRET_BYTES` of random. ValueError, KeyError or TypeError when it is none."""
        word = str(document["keys"])
        if word == "answer":
            return self._on_answer(peer, document, now_ms)
        reply = {"keys": "answer", "run": str(document["run"]), "step": word}
        failed = Tell(peer, {**reply, "failed": f"{self._names[self._me]} cannot write its key file"})
        if word == Step.ASK:
            self._secret = (str(document["run"]), fresh)
            return [Tell(peer, {**reply, **summary(self.ring), "public": public_of(fresh).hex()})]
        try:
            keys = self._asked(Step(word), document)
        except ValueError as error:
            return [Tell(peer, {**reply, "failed": f"{self._names[self._me]}: {error}"})]
        return [Adopt(keys, (Tell(peer, reply),), (failed,))]

    def _on_answer(self, peer: int, document: Mapping[str, Any], now_ms: int) -> list[Effect]:
        if document["run"] != self._run or document["step"] != self._step or peer not in self._others:
            return []
        if "failed" in document:
            return self._fail(str(document["failed"])[:500])
        self._answers[peer] = dict(document)
        self._text = f"{self._step.value}: waiting for {self._missing()}"
        return self._advance(now_ms) if self._answers.keys() == self._others else []

    def _asked(self, step: Step, document: Mapping[str, Any]) -> tuple[Key, ...]:
        """The keys after a step. ValueError when it does not fit what is there."""
        key_id = int(document["id"])
        key = self.ring.find(key_id)
        if step is Step.ADD:
            fresh = self._unsealed(document, key_id)
            if key is not None and key.line != fresh.line:
                raise ValueError(f"has another key {key_id} already")
            if key is None and len(self.ring.keys) >= MAX_KEYS:
                raise ValueError(f"has {MAX_KEYS} keys already; remove those that are not used")
            return _after(step, self.ring, fresh)
        if key is None:
            raise ValueError(f"does not have key {key_id}")
        if step is Step.RETIRE and self.ring.sending.key_id != key_id:
            raise ValueError(f"does not send with key {key_id}")
        return _after(step, self.ring, key)

    def _unsealed(self, document: Mapping[str, Any], key_id: int) -> Key:
        under = self.ring.find(int(document["under"]))
        if under is None:
            raise ValueError("does not have the key that the new one is sealed with")
        run, secret = self._secret
        if run != document["run"] or not run:
            raise ValueError("was sent a key without having been asked before")
        nonce, sealed = bytes.fromhex(document["nonce"]), bytes.fromhex(document["sealed"])
        self._secret = ("", b"")  # for one key only
        agreed = agree(secret, bytes.fromhex(document["public"]))
        opened = Sealer(under.derive(b"key wrap", agreed)).open(
            int.from_bytes(nonce[:NONCE_BYTES], "big"), sealed, b"vigil key"
        )
        if opened is None:
            raise ValueError("cannot open the new key")
        number, _, digits = opened.decode("ascii").partition(" ")
        if number != str(key_id) or not 1 <= key_id <= MAX_KEY_ID or len(bytes.fromhex(digits)) != KEY_BYTES:
            raise ValueError("was sent a key that is none")
        return Key(key_id, bytes.fromhex(digits))


def summary(ring: Keyring) -> dict[str, Any]:
    """What may be told of a ring: never a secret."""
    return {
        "sending": ring.sending.key_id,
        "accepted": sorted(ring.keys),
        "prints": {str(key.key_id): _print_of(key) for key in ring.keys.values()},
    }


def _print_of(key: Key) -> str:
    return hashlib.sha256(key.derive(b"fingerprint")).hexdigest()[:16]


def _after(step: Step, ring: Keyring, key: Key) -> tuple[Key, ...]:
    """The keys of a file after a step, the one to send with first."""
    others = [each for each in ring.keys.values() if each.key_id != key.key_id]
    match step:
        case Step.ADD if ring.sending.key_id != key.key_id:
            return (*others, key)
        case Step.RETIRE:
            return (key,)
    return (key, *others)


def _plan(rings: Mapping[int, Mapping[str, Any]], own: Keyring, names: Mapping[int, str]) -> tuple[Key | None, Step]:
    """The key to finish with (None: a new one) and the step to begin with. ValueError when people must look first."""
    prints: dict[str, tuple[int, str]] = {}
    for node, ring in rings.items():
        for key_id, told in ring["prints"].items():
            first = prints.setdefault(key_id, (node, told))
            if first[1] != told:
                raise ValueError(f"key {key_id} of {names[node]} is not key {key_id} of {names[first[0]]}")
    highest = max(int(key_id) for ring in rings.values() for key_id in ring["prints"])
    sending = {int(ring["sending"]) for ring in rings.values()}
    everywhere: Sequence[bool] = [str(highest) in ring["prints"] for ring in rings.values()]
    if sending == {highest} and all(len(ring["prints"]) == 1 for ring in rings.values()):
        if highest >= MAX_KEY_ID:
            raise ValueError(
                f"key {MAX_KEY_ID} is in use and there is no higher id; make a key file with lower ids by hand"
            )
        return None, Step.ADD
    target = own.find(highest)
    if target is None:
        holders = " ".join(names[node] for node, ring in rings.items() if str(highest) in ring["prints"])
        raise ValueError(f"an interrupted rotation left key {highest} on {holders}: go on from there")
    if not all(everywhere):
        return target, Step.ADD
    return target, Step.SWITCH if sending != {highest} else Step.RETIRE
