"""The network arbiter as tie-breaker, at the edge of a node: one TLS connection, kept up for as long as the node lives.

The rules are `arbiter_core`'s, and the arbiter's own (`messaging.arbiter.core`). An arbiter that cannot be reached is absence: nothing was
granted, a grant that there is runs out, and whoever has a majority goes on without noticing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from messaging.arbiter.protocol import DEFAULT_PORT, Decoder, Refused, Verdict, encode
from messaging.config import MessagingConfig
from messaging.errors import Malformed, SetupError
from messaging.tiebreak import Surroundings, Tell
from messaging.tiebreak.arbiter_core import ArbiterClient, Effect, Granted, Reconnect, Send
from messaging.tiebreak.ping import split_target
from messaging.types import Member

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 2.0
CHUNK = 16_384
SETTLE_INTERVALS = 8
"""How long a node that takes its place again waits until the others have the vote that they need without its earlier life."""
_END = "-----END CERTIFICATE-----\n"

log = logging.getLogger("messaging.arbiter")


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def client_context(path: str) -> ssl.SSLContext:
    """From the file that `vigil-arbiter add` made. SetupError when it cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # its authority makes one kind of server only: the arbiter
    try:
        text = Path(path).read_text(encoding="ascii")
        authority = text[text.rstrip().rindex("-----BEGIN CERTIFICATE-----") :]
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=authority)
    except OSError as error:
        if isinstance(error, ssl.SSLError):
            raise SetupError(f"{path} is not a file that vigil-arbiter add made: {error.reason}") from None
        raise SetupError(f"the arbiter's certificate {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SetupError(f"{path} is not a file that vigil-arbiter add made") from None
    return context


class NetworkArbiter:
    """The tie-breaker. `surroundings` takes the nodes that are to be thought away."""

    def __init__(
        self, config: MessagingConfig, me: Member, surroundings: Callable[[frozenset[int]], Surroundings]
    ) -> None:
        self._config = config
        self._rules = config.quorum.tie_breaker
        self._surroundings = surroundings
        self._core = ArbiterClient(config, me)
        self._context = client_context(self._rules.certificate)
        self._on_change: Tell | None = None
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = asyncio.Event()
        self._trouble = ""

    # --- what the daemon uses

    def start(self, on_change: Tell) -> None:
        """Begin to connect, unless `settle` has."""
        self._on_change = on_change
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(lambda task: None if task.cancelled() else task.result())

    async def settle(self, on_change: Tell) -> None:
        """To be awaited before any peer can hear of this life: the others get the vote first, if they will need it."""
        self._core.leaving = True
        self.start(on_change)
        await self._until_followed(SETTLE_INTERVALS * self._rules.interval_ms)
        self._core.leaving = False

    async def hand_over(self) -> None:
        """To be awaited before the goodbye. It takes until every earlier vote has run out, at the worst: an arbiter that has just
        been set up gives none before.
        """
        self._core.leaving = True
        self.ask()
        await self._until_followed(self._core.hand_over_ms)

    async def _until_followed(self, limit_ms: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_ms / 1000):
                while not self._core.followed and not self._trouble:
                    self._answered.clear()
                    await self._answered.wait()

    def ask(self) -> None:
        """Report at once."""
        self._core.ask(now_ms())
        self._tick()

    def relist(self, config: MessagingConfig) -> None:
        """The arbiter learns the votes with the greeting: greet it anew."""
        self._config = config
        self._core.relist(config)
        if self._writer is not None:
            self._writer.transport.abort()

    def status(self) -> dict[str, Any]:
        core = self._core
        left_ms = core.until_ms - now_ms()
        return {
            "address": self._rules.address,
            "connected": core.connected,
            "holds": left_ms > 0,
            "granted_to": sorted(core.members) if left_ms > 0 else [],
            "reason": self._trouble or core.reason,
            **({"weights": core.weights} if core.weights else {}),
        }

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.transport.abort()

    # --- the connection

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began_ms = now_ms()
            try:
                await self._converse()
                why = "the arbiter closed the connection"
            except Malformed as error:
                why = f"it sends nonsense ({error})"
            except ssl.SSLError as error:
                why = f"TLS: {error.reason or error}"
            except (OSError, TimeoutError) as error:
                why = getattr(error, "strerror", "") or str(error) or "it does not answer"
            self._lost(why)
            pause_s = FIRST_PAUSE_S if now_ms() - began_ms > MAX_PAUSE_S * 1000 else min(MAX_PAUSE_S, 2 * pause_s)
            await asyncio.sleep(pause_s)

    async def _converse(self) -> None:
        host, port = split_target(self._rules.address)
        limit_s = max(1.0, self._core.lease_ms / 1000)
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(host, port or DEFAULT_PORT, ssl=self._context)
        made: socket.socket = writer.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writer = writer
        try:
            writer.write(encode(self._core.hello))
            self._core.on_connected(now_ms())
            self._tick()
            decoder = Decoder()
            while data := await reader.read(CHUNK):
                for message in decoder.feed(data):
                    match message:
                        case Verdict():
                            self._heard(message)
                        case Refused(reason):
                            raise OSError(None, f"refused: {reason}")
                        case _:
                            raise Malformed("a word that only nodes say")
        finally:
            self._writer = None
            writer.transport.abort()

    def _heard(self, verdict: Verdict) -> None:
        if self._trouble:
            log.info("arbiter %s: connected", self._rules.address)
            self._trouble = ""
        self._perform(self._core.on_verdict(verdict, now_ms()))
        self._answered.set()
        self._set_timer()

    def _lost(self, why: str) -> None:
        self._core.on_disconnected(why)
        if why != self._trouble:
            log.warning("arbiter %s: %s", self._rules.address, why)
        self._trouble = why
        self._answered.set()  # who waits for the others need not wait for an arbiter that is not there

    # --- reports

    def _tick(self) -> None:
        around = self._surroundings(self._core.others_leaving)
        self._perform(self._core.tick(around, now_ms()))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._core.due_ms is not None:
            delay_s = max(0, self._core.due_ms - now_ms()) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(report):
                    if self._writer is not None:
                        self._writer.write(encode(report))
                case Granted(until_ms, members):
                    if self._on_change is not None:
                        self._on_change(True, until_ms, members)
                case Reconnect(why):
                    self._core.on_disconnected(why)
                    if self._writer is not None:
                        self._writer.transport.abort()
