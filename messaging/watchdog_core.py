"""The watchdog, without I/O: whether this node deserves to go on, asked before each feeding of the device.

A watchdog resets the node when it was not fed for `timeout_ms`. So a node that hangs, or that must not go on, ends without
anybody else's help, and the others may rely on that where they have no other way to fence it.

A node is fed until it has something to lose: until it has been quorate with its crm in the group. From then on (it is *committed*, and a
restarted daemon finds that in RUN_DIR) it is fed only while all is well:

- `on_quorum_loss = "reset"`: its view is quorate, and so are the nodes that it hears *now*. The second is what makes the time derivable:
  the failure detector notices within deadtime, however long an agreement takes.
- `on_crm_loss = "reset"`: its crm vouches for itself; for half of the timeout it may be away, since it is started again at once.
- `on_disk_loss = "reset"`: the quorum disk is read and written.
- nobody has ordered otherwise: an eviction on the quorum disk, or a member that fences this node, ends the feeding for good, also
  for a daemon that is restarted.

A crm that leaves politely has moved its resources: nothing is to be lost any more. A clean stop closes the device.

**When a lost node may be presumed to have reset itself** (`presumed_ms`, counted from when it was declared dead): it notices that it is cut off
within a deadtime and two keepalives after the last that it heard (a crm that is missing, within the grace). It may have been stopped before it
read that, but for less than a timeout, or it was reset; likewise between looking and feeding; and it is reset a timeout after it was
fed: `3 * timeout + deadtime + 2 * keepalive`. That holds only where two sides are never both quorate (majority, quorum disk, arbiter; not
with `two_node` or ping), where loss of quorum and of the crm reset the node, and for a node that said with its last heartbeat that
it is watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from messaging.config import MessagingConfig, TieBreakerType, WatchdogConfig

FEEDINGS = 5
"""Feedings in one timeout, while all is well."""

GRACE_PARTS = 2
"""A crm that is not there is waited for during this part of the timeout."""


class Loss(StrEnum):
    """What `on_..._loss` says."""

    IGNORE = "ignore"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Health:
    """What is so when the device is to be fed.

    `quorate`: the installed view, and whom this node hears now. `in_group`: its crm is attached, vouches and is in the view's group.
    `attached`: it is attached at all. `departed`: the last crm left politely.
    """

    quorate: bool
    in_group: bool
    attached: bool
    departed: bool = False
    disk: bool = True


@dataclass(frozen=True, slots=True)
class Feed:
    pass


@dataclass(frozen=True, slots=True)
class Commit:
    """To be written to RUN_DIR before anything that follows. `ordered`: never feed it again, nor does a later life."""

    committed: bool
    ordered: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    trouble: bool = False


Effect = Feed | Commit | Say


def presumed_ms(config: MessagingConfig) -> int:
    """See the module's text; 0 where nothing may be presumed."""
    watchdog, quorum = config.watchdog, config.quorum
    shared = quorum.ignore or quorum.two_node or quorum.tie_breaker.kind is TieBreakerType.PING
    shared = shared or not quorum.tie_breaker.master_wins
    resets = watchdog.on_quorum_loss == Loss.RESET and watchdog.on_crm_loss == Loss.RESET
    if not watchdog.device or shared or not resets:
        return 0
    return 3 * watchdog.timeout_ms + config.timers.deadtime_ms + 2 * config.timers.keepalive_ms


class WatchdogCore:
    """See the module's text. `look` is called `interval_ms` apart; `watched` is what the heartbeats say."""

    def __init__(self, rules: WatchdogConfig, committed: bool, ordered: str = "") -> None:
        self.interval_ms = max(1, rules.timeout_ms // FEEDINGS)
        self.committed = committed
        self.ordered = ordered
        self.hungry = ""
        self._rules = rules
        self._grace_ms = rules.timeout_ms // GRACE_PARTS
        self._crm_missing_ms: int | None = None

    @property
    def watched(self) -> bool:
        """Whether the others may rely on it."""
        return self.committed

    def order(self, why: str) -> list[Effect]:
        """Never feed it again."""
        if self.ordered:
            return []
        self.ordered = why
        return [Commit(True, why), Say(f"this node is not fed any more and will be reset: {why}", True)]

    def look(self, health: Health, now_ms: int) -> list[Effect]:
        """Feed it, or not."""
        effects: list[Effect] = []
        if health.departed and self.committed and not self.ordered:
            self.committed = False
            effects.append(Commit(False))
        elif health.quorate and health.in_group and not self.committed:
            self.committed = True
            effects.append(Commit(True))
        why = self._why_not(health, now_ms)
        if why != self.hungry:
            self.hungry = why
            text = f"the watchdog is not fed: {why}" if why else "the watchdog is fed again"
            effects.append(Say(text, bool(why)))
        return effects if why else [*effects, Feed()]

    def _why_not(self, health: Health, now_ms: int) -> str:
        """Empty when all is well."""
        if health.attached and health.in_group:
            self._crm_missing_ms = None
        elif self._crm_missing_ms is None:
            self._crm_missing_ms = now_ms
        if self.ordered:
            return self.ordered
        if not self.committed:
            return ""
        if self._rules.on_quorum_loss == Loss.RESET and not health.quorate:
            return "this node has no quorum"
        if self._rules.on_disk_loss == Loss.RESET and not health.disk:
            return "the quorum disk is lost"
        missing_ms = 0 if self._crm_missing_ms is None else now_ms - self._crm_missing_ms
        if self._rules.on_crm_loss == Loss.RESET and missing_ms > self._grace_ms:
            return "the crm of this node is not there"
        return ""
