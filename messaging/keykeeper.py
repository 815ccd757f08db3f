"""The key file of a running node: read again on SIGHUP, and replaced step by step by a rotation (`messaging.rotation`)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from messaging import keyring
from messaging.config import MessagingConfig
from messaging.errors import SetupError
from messaging.keyring import Key
from messaging.links.network import Network
from messaging.rotation import FRESH_BYTES, STEP_MS, Adopt, Effect, KeyRotation
from messaging.sealing import SECRET_BYTES

log = logging.getLogger("messaging")


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class KeyKeeper:
    """See the module's text."""

    def __init__(self, config: MessagingConfig, network: Network) -> None:
        self._path: Path = config.key_file
        self._network = network
        names = {node.node_id: node.name for node in config.nodes}
        self._rotation = KeyRotation(config.node_id, names, network.frames.keyring)
        self._peers = frozenset(names) - {config.node_id}

    def reload(self) -> None:
        """The key file has changed. A ring that does not read leaves the present one in use."""
        try:
            ring = keyring.load(self._path)
        except SetupError as error:
            log.error("the keys stay as they are: %s", error)
            return
        self._use(ring)

    def _use(self, ring: keyring.Keyring) -> None:
        self._network.frames.keyring = self._rotation.ring = ring
        self._network.streams.use(ring)
        log.info("keys %s; sending with %d", " ".join(map(str, sorted(ring.keys))), ring.sending.key_id)

    def relist(self, config: MessagingConfig) -> None:
        """Other nodes belong to the cluster: a rotation takes them into account."""
        names = {node.node_id: node.name for node in config.nodes}
        self._peers = frozenset(names) - {config.node_id}
        self._perform(self._rotation.relist(names, _now_ms()))

    def rotate(self) -> dict[str, Any]:
        """Begin a rotation, or finish one that was interrupted. ValueError says why not."""
        run, fresh = os.urandom(8).hex(), os.urandom(FRESH_BYTES)
        connected = frozenset(peer for peer in self._peers if self._network.streams.link_of(peer) is not None)
        self._perform(self._rotation.start(run, fresh, connected, _now_ms()))
        asyncio.get_running_loop().call_later(STEP_MS / 1000, self._tick)
        return self.status()

    def status(self) -> dict[str, Any]:
        return self._rotation.status()

    def on_document(self, peer: int, document: dict[str, Any]) -> None:
        """A word of a peer about keys. ValueError, KeyError or TypeError when it is none."""
        self._perform(self._rotation.on_document(peer, document, os.urandom(SECRET_BYTES), _now_ms()))

    def _tick(self) -> None:
        self._perform(self._rotation.tick(_now_ms()))
        if self._rotation.due_ms is not None:
            left_ms = max(1, self._rotation.due_ms - _now_ms())
            asyncio.get_running_loop().call_later(left_ms / 1000, self._tick)

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, Adopt):
                self._tell(effect.peer, effect.document)
                continue
            why = self._adopt(effect.keys)
            for tell in effect.otherwise if why else effect.then:
                self._tell(tell.peer, tell.document)
            if why and not effect.otherwise:
                self._perform(self._rotation.own_file_failed(why))
                return

    def _adopt(self, keys: tuple[Key, ...]) -> str:
        """Write the file, then use what is in it. Returns what went wrong."""
        try:
            keyring.write(self._path, keys)
        except OSError as error:
            log.error("cannot write the key file %s: %s", self._path, error.strerror)
            return str(error.strerror)
        self._use(keyring.Keyring(keys[0], {key.key_id: key for key in keys}))
        return ""

    def _tell(self, peer: int, document: dict[str, Any]) -> None:
        self._network.streams.control(peer, json.dumps(document).encode())
