"""The frame codec of a simulated node, and the keys of a rotation: add the new one, send with it, drop the old one."""

from __future__ import annotations

from messaging import keyring
from messaging.config import MessagingConfig
from messaging.frame import FrameCodec


def _ring(*key_ids: int) -> keyring.Keyring:
    return keyring.parse("\n".join(f"{key_id} {key_id:02x}" + "5a" * 31 for key_id in key_ids), "keys")


STAGES = (_ring(1), _ring(1, 2), _ring(2, 1), _ring(2), _ring(2, 1), _ring(1, 2))
"""From key 1 to key 2 and back; each differs from the next by one step that keeps all nodes together."""


def frames(config: MessagingConfig, incarnation: int, stage: int) -> FrameCodec:
    """A codec with fresh windows, as each start of the daemon makes one."""
    listed = [node.node_id for node in config.nodes]
    return FrameCodec(STAGES[stage % len(STAGES)], config.cluster, config.node_id, incarnation, listed)
