"""The simulated network: links that carry datagrams, which get lost, doubled, delayed and overtaken, and streams as TCP's.

Each link has faults of its own beside those of the whole network: it can be cut, lossy, or clogged (what it carries
queues up, and beyond a bound is dropped). A stream goes over one link. It is first in, first out in each direction;
where its link is cut in either direction it only stalls, until the cut heals or the ends give up, and the next stream
may take another link. The handshake is one exchange: the dialer knows first that it stands, the listener a moment
later. Everything that arrives does so from the clock's queue, never inside somebody else's step.

With `wires` (a frame codec a node) what goes over the links are real frames, and `tape` is what an attacker recorded.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crm.simulator.clock import PPM, Clock
from crm.simulator.machine import Machine
from messaging.effects import DatagramReceived, Event, StreamClosed, StreamOpened, StreamReceived
from messaging.frame import FrameCodec, Packet

REDIAL_MS = 50
MAX_CLOGGED_MS = 2000
"""What a clogged link holds back at most before it drops."""

TAPE_FRAMES = 400


@dataclass(slots=True)
class Link:
    """The faults of one link. `clog_ms` is how long one datagram takes while it is clogged."""

    number: int
    cut: set[tuple[int, int]] = field(default_factory=set)
    loss: float = 0.0
    clog_ms: int = 0
    free_at: dict[tuple[int, int], int] = field(default_factory=dict)

    def heal(self) -> None:
        self.cut.clear()
        self.free_at.clear()
        self.loss = 0.0
        self.clog_ms = 0


@dataclass(slots=True, eq=False)
class Stream:
    """A connection between two lives. `stalled` holds what waits behind a cut."""

    ends: tuple[int, int]
    lives: dict[int, int]
    link: Link
    open: bool = True
    ready_at: dict[int, int] = field(default_factory=dict)
    stalled: list[tuple[int, int, Event]] = field(default_factory=list)


class Network:
    """See the module's text. `give` hands an event to a node; `admitted` is told of each frame that a node took."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        machines: Mapping[int, Machine],
        give: Callable[[int, Event], None],
        patience_ms: int,
        links: int = 1,
    ) -> None:
        self.cut: set[tuple[int, int]] = set()
        self.links = [Link(number) for number in range(links)]
        self.loss = 0.0
        self.duplication = 0.0
        self.max_delay_ms = 1
        self.segment = False
        """Each link is one wire: what goes over it comes to all at one moment."""
        self.datagrams = 0
        self.records = 0
        self.wires: dict[int, FrameCodec] = {}
        self.tape: deque[tuple[int, bytes]] = deque(maxlen=TAPE_FRAMES)
        self.sent: dict[tuple[int, int, int], list[bytes]] = {}
        """What each life sent over each link in frames, in the order of their sequence numbers, from 1."""
        self.admitted: Callable[[int, int, Packet], None] = lambda target, link, packet: None
        self._clock = clock
        self._rng = rng
        self._machines = machines
        self._give = give
        self._patience_ms = patience_ms
        self._others = {a: [b for b in machines if b != a] for a in machines}
        self._last: dict[tuple[int, int], DatagramReceived] = {}
        self._streams: dict[tuple[int, int], Stream] = {}
        self._dialing: dict[tuple[int, int], int] = {}

    def reachable(self, a: int, b: int) -> bool:
        return any(self._passes(a, b, link) for link in self.links)

    def _passes(self, a: int, b: int, link: Link) -> bool:
        """Whether a stream over this link can go on."""
        forth, back = (a, b), (b, a)
        return not (forth in self.cut or back in self.cut or forth in link.cut or back in link.cut)

    def heal(self) -> None:
        """No cuts any more, no clogs, and the loss of single links ends."""
        self.cut.clear()
        for link in self.links:
            link.heal()

    # --- datagrams

    def datagram(self, sender: int, payload: bytes) -> None:
        """To everybody else on every link, each copy with a fate of its own."""
        incarnation = self._machines[sender].incarnation
        for link in self.links:
            frame: bytes | None = None
            if self.wires:
                frame = self.wires[sender].pack(link.number, payload)
                self.sent.setdefault((sender, incarnation, link.number), []).append(payload)
                self.tape.append((link.number, frame))
            event = self._last.get((sender, link.number))
            if event is None or event.payload is not payload or event.incarnation != incarnation:
                event = DatagramReceived(link.number, sender, incarnation, payload)
                self._last[sender, link.number] = event
            if self.loss or self.duplication or self.cut or link.cut or link.loss or link.clog_ms:
                self._with_faults(sender, link, event, frame)
            else:
                self._in_fair_weather(sender, event, frame)

    def _in_fair_weather(self, sender: int, event: DatagramReceived, frame: bytes | None) -> None:
        """The same as with faults, with one entry in the queue for all whom it reaches at one moment."""
        chance, spread = self._rng.random, self.max_delay_ms + 1
        if self.segment:
            self._send_out({int(chance() * spread): self._others[sender]}, event, frame)
            return
        moments: dict[int, list[int]] = {}
        for target in self._others[sender]:
            delay = int(chance() * spread)
            if delay in moments:
                moments[delay].append(target)
            else:
                moments[delay] = [target]
        self._send_out(moments, event, frame)

    def _send_out(self, moments: dict[int, list[int]], event: DatagramReceived, frame: bytes | None) -> None:
        """To whom it comes, by delay."""
        now = self._clock.now
        for delay, targets in moments.items():
            self.datagrams += len(targets)
            self._clock.at(now + delay, self._arrive, targets, event, frame)

    def _with_faults(self, sender: int, link: Link, event: DatagramReceived, frame: bytes | None) -> None:
        rng, loss = self._rng, max(self.loss, link.loss)
        now, moments = self._clock.now, dict[int, list[int]]()
        at_once = int(rng.random() * (self.max_delay_ms + 1)) if self.segment else None
        for target in self._others[sender]:
            way = (sender, target)
            if way in self.cut or way in link.cut:
                continue
            copies = 2 if self.duplication and rng.random() < self.duplication else 1
            for _ in range(copies):
                if loss and rng.random() < loss:
                    continue
                delay = int(rng.random() * (self.max_delay_ms + 1)) if at_once is None else at_once
                if link.clog_ms:
                    when = max(now + delay, link.free_at.get(way, 0)) + link.clog_ms
                    if when > now + MAX_CLOGGED_MS:
                        continue
                    link.free_at[way] = when
                    delay = when - now
                moments.setdefault(delay, []).append(target)
        self._send_out(moments, event, frame)

    def replay(self, number: int, frame: bytes, target: int) -> None:
        """The attacker sends something to a node."""
        self._clock.after(self._rng.randint(0, 5), self._unpack, target, number, frame)

    def _arrive(self, targets: list[int], event: DatagramReceived, frame: bytes | None) -> None:
        now, machines = self._clock.now, self._machines
        if frame is not None:
            for target in targets:
                self._unpack(target, event.link, frame)
            return
        for target in targets:
            machine = machines[target]
            core = machine.core
            if core is None:
                continue
            if not machine.writing and now >= machine.paused_until:
                local_ms = machine.offset_ms + now * (PPM + machine.drift_ppm) // PPM
                if core.heard_again(event, local_ms):
                    continue  # by far the most, and what `give` would come to
            newest = machine.newest.get(event.sender, 0)
            if event.incarnation >= newest:
                if event.incarnation != newest:
                    machine.newest[event.sender] = event.incarnation
                self._give(target, event)

    def _unpack(self, target: int, number: int, frame: bytes) -> None:
        if self._machines[target].core is None:
            return
        packet = self.wires[target].unpack(number, frame)
        if packet is not None:
            self.admitted(target, number, packet)
            self._give(target, DatagramReceived(number, packet.sender, packet.incarnation, packet.payload))

    # --- streams

    def dial(self, a: int, b: int) -> None:
        """Try the links in turn, beginning with the one that was heard last, until the stream stands."""
        machine = self._machines[a]
        self._dialing[(a, b)] = machine.life
        alive = machine.core.detector.alive.get(b) if machine.core is not None else None
        first = max(alive.links, key=lambda link: alive.links[link]) if alive and alive.links else 0
        self._clock.after(self._rng.randint(1, 5), self._try, a, b, machine.life, first)

    def _try(self, a: int, b: int, life: int, number: int) -> None:
        if self._dialing.get((a, b)) != life or self._machines[a].life != life or self._machines[a].core is None:
            return
        peer, link = self._machines[b], self.links[number]
        if peer.core is None or not self._passes(a, b, link) or self._clock.now < peer.paused_until:
            self._clock.after(REDIAL_MS, self._try, a, b, life, (number + 1) % len(self.links))
            return
        del self._dialing[(a, b)]
        key = (min(a, b), max(a, b))
        self._break(key)
        stream = self._streams[key] = Stream(key, {a: life, b: peer.life}, link)
        self._to_end(stream, a, b, StreamOpened(a, self._machines[a].incarnation))
        self._give(a, StreamOpened(b, peer.incarnation))

    def link_of(self, a: int, b: int) -> int | None:
        """The link that the stream of two nodes uses."""
        stream = self._streams.get((min(a, b), max(a, b)))
        return stream.link.number if stream else None

    def move(self, a: int, b: int) -> None:
        """An end gives the stream up, if one stands, so that another link is tried."""
        if self._end(a, b):
            self._give(a, StreamClosed(b))

    def send(self, sender: int, peer: int, payload: bytes) -> None:
        stream = self._streams.get((sender, peer) if sender < peer else (peer, sender))
        if stream is not None and stream.lives[sender] == self._machines[sender].life:
            self.records += 1
            self._to_end(stream, sender, peer, StreamReceived(sender, payload))

    def _to_end(self, stream: Stream, sender: int, peer: int, event: Event) -> None:
        when = self._clock.now + int(self._rng.random() * (self.max_delay_ms + 1))
        ready = stream.ready_at[peer] = max(stream.ready_at.get(peer, 0), when)
        self._clock.at(ready, self._on_stream, stream, sender, peer, event)

    def _on_stream(self, stream: Stream, sender: int, peer: int, event: Event) -> None:
        if not stream.open:
            return
        if stream.stalled or not self._passes(sender, peer, stream.link):
            if not stream.stalled:
                self._clock.after(self._patience_ms, self._unstall, stream)
            stream.stalled.append((sender, peer, event))
        elif self._machines[peer].life == stream.lives[peer]:
            self._give(peer, event)

    def _unstall(self, stream: Stream) -> None:
        if not stream.open:
            return
        if not self._passes(*stream.ends, stream.link):
            self._break(stream.ends)
            return
        waiting, stream.stalled = stream.stalled, []
        for _, peer, event in waiting:
            if stream.open and self._machines[peer].life == stream.lives[peer]:
                self._give(peer, event)

    def close(self, a: int, b: int) -> None:
        """One end closes; the other hears of it when the network lets it."""
        self._dialing.pop((a, b), None)
        self._end(a, b)

    def _end(self, a: int, b: int) -> bool:
        """Whether there was a stream to end."""
        key = (min(a, b), max(a, b))
        stream = self._streams.get(key)
        if stream is None or stream.lives[a] != self._machines[a].life:
            return False
        del self._streams[key]
        stream.open = False
        delay = 1 if self._passes(a, b, stream.link) else self._patience_ms
        self._clock.after(delay, self._other_end, stream, a, b)
        return True

    def _other_end(self, stream: Stream, gone: int, end: int) -> None:
        if self._machines[end].life == stream.lives[end] and stream.ends not in self._streams:
            self._give(end, StreamClosed(gone))

    def end_at_one(self, a: int, b: int) -> None:
        """The stream ends at `a`, and `b` does not hear of it."""
        stream = self._streams.pop((min(a, b), max(a, b)))
        stream.open = False
        self._give(a, StreamClosed(b))

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
                self._clock.after(1 if at_once else self._patience_ms, self._give_up, stream)

    def _give_up(self, stream: Stream) -> None:
        if self._streams.get(stream.ends) is stream:
            self._break(stream.ends)
