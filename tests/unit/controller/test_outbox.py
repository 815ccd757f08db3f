"""What waits in the outbox: what goes together, and what is sent again when its view ended."""

from __future__ import annotations

from crm.attributes.messages import Release, Told, Wish
from crm.controller.effects import Multicast
from crm.controller.messages import Changes, decode, encode
from crm.controller.outbox import Outbox
from crm.controller.status import Attributes, ForgetResource, NodeState


def _wish(name: str) -> Changes:
    return Changes(reason=f"{name} was set", words=(Wish("2", "n2", name, "1"),), promises=(1,))


def _sent(outbox: Outbox) -> list[Changes]:
    found = []
    for effect in outbox.flush():
        assert isinstance(effect, Multicast) and isinstance(effect.message, Changes)
        found.append(effect.message)
        outbox.landed(effect.tag)
    return found


def test_a_burst_of_attributes_is_few_messages() -> None:
    outbox = Outbox("1")
    for number in range(400):
        outbox.add(_wish(f"a{number}"))
    (message,) = _sent(outbox)
    assert len(message.words) == 400 and message.reason == "a0 was set, and others"


def test_what_clients_wait_for_gathers_while_a_message_of_theirs_is_in_the_air() -> None:
    outbox = Outbox("1")
    outbox.add(_wish("a"))
    (first,) = outbox.flush()
    assert isinstance(first, Multicast)
    outbox.add(_wish("b"))
    outbox.add(_wish("c"))
    assert outbox.flush() == []
    outbox.landed(first.tag)
    (message,) = _sent(outbox)
    assert len(message.words) == 2


def test_what_a_client_was_promised_is_sent_again_whatever_node_it_is_about() -> None:
    outbox = Outbox("1")
    outbox.again(_wish("x"))
    outbox.again(Changes((ForgetResource("2", "web"), Attributes("2", "n2", {"f": None})), promises=(1,), reason="r"))
    (first,) = _sent(outbox)
    (second,) = _sent(outbox)
    assert len(first.words) == 1 and len(second.updates) == 2


def test_what_the_next_dc_will_say_for_itself_is_not() -> None:
    outbox = Outbox("1")
    outbox.again(Changes(words=(Release("x", ()), Told("1", "n1", {}, {}, {}))))
    outbox.again(Changes((NodeState("2", "n2", True), Attributes("2", "n2", {"f": "1"}))))
    assert outbox.empty


def test_words_survive_the_wire_with_their_changes() -> None:
    changes = Changes((), (), "x was set", words=(Wish("2", "n2", "x", "value++"), Release("x", (("2", "n2", None),))))
    assert decode(encode(changes)) == changes
