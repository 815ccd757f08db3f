"""The simulated network: datagrams that get lost, doubled and overtaken, and streams that behave as TCP does.

A stream is first in, first out in each direction. Where the network is cut in either direction it only stalls, until it
heals or the ends give up. The handshake is one exchange: the dialer knows first that it stands, the listener a moment
later. Everything that arrives does so from the clock's queue, never inside somebody else's step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crm.simulator.clock import Clock
from crm.simulator.machine import Machine
from messaging.effects import DatagramReceived, Event, StreamClosed, StreamOpened, StreamReceived

REDIAL_MS = 50


@dataclass(slots=True, eq=False)
class Stream:
    """A connection between two lives. `stalled` holds what waits behind a cut."""

    ends: tuple[int, int]
    lives: dict[int, int]
    open: bool = True
    ready_at: dict[int, int] = field(default_factory=dict)
    stalled: list[tuple[int, int, Event]] = field(default_factory=list)


class Network:
    """See the module's text. `give` hands an event to a node."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        machines: Mapping[int, Machine],
        give: Callable[[int, Event], None],
        patience_ms: int,
    ) -> None:
        self.cut: set[tuple[int, int]] = set()
        self.loss = 0.0
        self.duplication = 0.0
        self.max_delay_ms = 1
        self.datagrams = 0
        self.records = 0
        self._clock = clock
        self._rng = rng
        self._machines = machines
        self._give = give
        self._patience_ms = patience_ms
        self._streams: dict[tuple[int, int], Stream] = {}
        self._dialing: dict[tuple[int, int], int] = {}

    def reachable(self, a: int, b: int) -> bool:
        return (a, b) not in self.cut and (b, a) not in self.cut

    # --- datagrams

    def datagram(self, sender: int, payload: bytes) -> None:
        """To everybody else, each copy with a fate of its own."""
        rng = self._rng
        event = DatagramReceived(0, sender, self._machines[sender].incarnation, payload)
        for target in self._machines:
            if target == sender or (sender, target) in self.cut:
                continue
            copies = 2 if self.duplication and rng.random() < self.duplication else 1
            for _ in range(copies):
                if self.loss and rng.random() < self.loss:
                    continue
                self.datagrams += 1
                delay = int(rng.random() * (self.max_delay_ms + 1))
                self._clock.at(self._clock.now + delay, lambda t=target: self._arrive(t, event))  # type: ignore[misc]

    def _arrive(self, target: int, event: DatagramReceived) -> None:
        machine = self._machines[target]
        if machine.core is None or event.incarnation < machine.newest.get(event.sender, 0):
            return
        machine.newest[event.sender] = event.incarnation
        self._give(target, event)

    # --- streams

    def dial(self, a: int, b: int) -> None:
        life = self._machines[a].life
        self._dialing[(a, b)] = life
        self._clock.after(self._rng.randint(1, 5), lambda: self._try(a, b, life))

    def _try(self, a: int, b: int, life: int) -> None:
        if self._dialing.get((a, b)) != life or self._machines[a].life != life or self._machines[a].core is None:
            return
        peer = self._machines[b]
        if peer.core is None or not self.reachable(a, b) or self._clock.now < peer.paused_until:
            self._clock.after(REDIAL_MS, lambda: self._try(a, b, life))
            return
        del self._dialing[(a, b)]
        key = (min(a, b), max(a, b))
        self._break(key)
        stream = self._streams[key] = Stream(key, {a: life, b: peer.life})
        self._to_end(stream, a, b, StreamOpened(a, self._machines[a].incarnation))
        self._give(a, StreamOpened(b, peer.incarnation))

    def send(self, sender: int, peer: int, payload: bytes) -> None:
        stream = self._streams.get((min(sender, peer), max(sender, peer)))
        if stream is not None and stream.lives[sender] == self._machines[sender].life:
            self.records += 1
            self._to_end(stream, sender, peer, StreamReceived(sender, payload))

    def _to_end(self, stream: Stream, sender: int, peer: int, event: Event) -> None:
        delay = self._rng.randint(0, self.max_delay_ms)
        ready = stream.ready_at[peer] = max(stream.ready_at.get(peer, 0), self._clock.now + delay)
        self._clock.at(ready, lambda: self._on_stream(stream, sender, peer, event))

    def _on_stream(self, stream: Stream, sender: int, peer: int, event: Event) -> None:
        if not stream.open:
            return
        if stream.stalled or not self.reachable(sender, peer):
            if not stream.stalled:
                self._clock.after(self._patience_ms, lambda: self._unstall(stream))
            stream.stalled.append((sender, peer, event))
        elif self._machines[peer].life == stream.lives[peer]:
            self._give(peer, event)

    def _unstall(self, stream: Stream) -> None:
        if not stream.open:
            return
        if not self.reachable(*stream.ends):
            self._break(stream.ends)
            return
        waiting, stream.stalled = stream.stalled, []
        for _, peer, event in waiting:
            if stream.open and self._machines[peer].life == stream.lives[peer]:
                self._give(peer, event)

    def close(self, a: int, b: int) -> None:
        """One end closes; the other hears of it when the network lets it."""
        self._dialing.pop((a, b), None)
        key = (min(a, b), max(a, b))
        stream = self._streams.get(key)
        if stream is None or stream.lives[a] != self._machines[a].life:
            return
        del self._streams[key]
        stream.open = False
        delay = 1 if self.reachable(a, b) else self._patience_ms
        self._clock.after(delay, lambda: self._other_end(stream, a, b))

    def _other_end(self, stream: Stream, gone: int, end: int) -> None:
        if self._machines[end].life == stream.lives[end] and stream.ends not in self._streams:
            self._give(end, StreamClosed(gone))

    def break_between(self, a: int, b: int) -> None:
        """A connection ends for both, for no reason of theirs."""
        self._break((min(a, b), max(a, b)))

    def _break(self, key: tuple[int, int]) -> None:
        stream = self._streams.pop(key, None)
        if stream is None:
            return
        stream.open = False
        for end, other in (key, key[::-1]):
            if self._machines[end].life == stream.lives[end]:
                self._give(end, StreamClosed(other))

    def lost(self, node_id: int, at_once: bool) -> None:
        """A daemon is gone. Its kernel says so at once, or is gone as well."""
        for pair in [pair for pair in self._dialing if pair[0] == node_id]:
            del self._dialing[pair]
        for key, stream in list(self._streams.items()):
            if node_id in key:
                delay = 1 if at_once else self._patience_ms
                self._clock.after(delay, lambda s=stream: self._give_up(s))  # type: ignore[misc]

    def _give_up(self, stream: Stream) -> None:
        if self._streams.get(stream.ends) is stream:
            self._break(stream.ends)
