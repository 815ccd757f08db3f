"""A member that has the key and talks nonsense: whatever it says, no node of the others ends for it, and none spins."""

from __future__ import annotations

import random

import pytest
from messaging_world import World

from messaging.effects import DatagramReceived, Effect, SendDatagram, SendStream, StreamReceived
from messaging.errors import InvariantBroken
from messaging.messages import MAX_NUMBER, Heartbeat, Row, encode
from messaging.types import ViewId


def spoilt(rng: random.Random, honest: bytes) -> bytes:
    """Something that was said, with bytes changed, missing, or at their limits."""
    data = bytearray(honest)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at : at + 1]
            case 2:
                width = rng.choice([2, 4, 8])
                data[at : at + width] = bytes([rng.choice([0, 255])]) * width
            case _:
                data[at : at + 1] = bytes([rng.choice([0, 1, 127, 255])])
    return bytes(data)


class Taped(World):
    """With what its nodes said."""

    def _perform(self, machine: object, effect: Effect) -> None:
        if isinstance(effect, SendDatagram | SendStream):
            self.tape.append(effect)
        super()._perform(machine, effect)  # type: ignore[arg-type]

    def __init__(self, seed: int, count: int) -> None:
        self.tape: list[SendDatagram | SendStream] = []
        super().__init__(seed, count)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_a_member_says_ends_another_node(seed: int) -> None:
    rng, world = random.Random(seed), Taped(seed, 3)
    for node_id in world.machines:
        world.boot(node_id)
        world.attach(node_id)
    world.run_for(3000)
    for _ in range(20):
        world.multicast(rng.choice(list(world.machines)))
        if rng.random() < 0.1:
            world.network.break_between(1, rng.choice([2, 3]))
        world.run_for(rng.randint(1, 100))
    core = world.machines[1].core
    assert core is not None
    said = world.tape[-100:]
    for now_ms in range(world.now, world.now + 600):
        sender, honest = rng.choice([2, 3]), rng.choice(said)
        payload = spoilt(rng, honest.payload)
        incarnation = world.machines[sender].incarnation
        if isinstance(honest, SendDatagram):
            core.handle(DatagramReceived(0, sender, incarnation, payload), now_ms)
        else:
            core.handle(StreamReceived(sender, payload), now_ms)


def test_a_view_id_beyond_all_bounds_is_nonsense_and_no_ballot_follows_it() -> None:
    world = World(1, 2)
    for node_id in world.machines:
        world.boot(node_id)
    world.run_for(3000)
    core, other = world.machines[1].core, world.machines[2]
    assert core is not None
    malformed = core.malformed
    hears = {1: world.machines[1].incarnation, 2: other.incarnation}
    row = Row(2, other.incarnation, 1 << 20, 0, ViewId(MAX_NUMBER + 1, 2), hears)
    try:
        for now_ms in range(world.now, world.now + 2000, 50):
            core.handle(DatagramReceived(0, 2, other.incarnation, encode(Heartbeat(row, 0))), now_ms)
    except InvariantBroken:
        pytest.fail("the node has ended")
    assert core.malformed == malformed + 40
