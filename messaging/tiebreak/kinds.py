"""Which tie-breaker a configuration asks for. Each kind is loaded only where it is used: TLS alone takes 3 MiB."""

from __future__ import annotations

from collections.abc import Callable

from messaging.config import MessagingConfig, TieBreakerType
from messaging.tiebreak import Surroundings, TieBreaker
from messaging.types import Member


def make(
    config: MessagingConfig,
    me: Member,
    surroundings: Callable[[frozenset[int]], Surroundings],
    on_evicted: Callable[[str], None],
) -> TieBreaker | None:
    """The tie-breaker, None without one. SetupError when it cannot be used at all."""
    match config.quorum.tie_breaker.kind:
        case TieBreakerType.PING:
            from messaging.tiebreak.ping import PingTieBreaker

            return PingTieBreaker(config.quorum.tie_breaker)
        case TieBreakerType.QDISK:
            from messaging.tiebreak.qdisk import QuorumDisk

            return QuorumDisk(config, me, lambda: surroundings(frozenset()), on_evicted)
        case TieBreakerType.ARBITER:
            from messaging.tiebreak.arbiter import NetworkArbiter

            return NetworkArbiter(config, me, surroundings)
    return None
