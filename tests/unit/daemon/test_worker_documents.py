"""Reading one version of the CIB after another gives the trees that parsing each of them gives."""

from __future__ import annotations

import random

import pytest

from crm.cib import xml
from crm.daemon.documents import Documents


def node_state(number: int, change: int) -> bytes:
    return (
        f'<node_state id="{number}" uname="n{number}"><lrm id="{number}"><lrm_resources>'
        f'<lrm_resource id="a &lt;node_state &gt;"><lrm_rsc_op id="a_last_0" call-id="{change}"/></lrm_resource>'
        "</lrm_resources></lrm></node_state>"
    ).encode()


def document(states: list[bytes], rest: bytes = b'<tickets><ticket_state id="t"/></tickets>') -> bytes:
    return b"<cib><configuration/><status>" + b"".join(states) + rest + b"</status></cib>"


def assert_same(documents: Documents, text: bytes) -> None:
    assert xml.to_bytes(documents.read(text)) == xml.to_bytes(xml.parse(text, comments=False))


def test_after_any_change_the_tree_is_the_one_of_the_text() -> None:
    """Nodes change, come, go, and change their order."""
    for seed in range(20):
        dice, documents, changes = random.Random(seed), Documents(), dict.fromkeys(range(5), 0)
        for _ in range(30):
            number = dice.randrange(5)
            if dice.random() < 0.3 and number in changes:
                del changes[number]
            else:
                changes[number] = dice.randrange(3)
            order = list(changes)
            dice.shuffle(order)
            assert_same(documents, document([node_state(each, changes[each]) for each in order]))


def test_what_did_not_change_is_the_element_of_before() -> None:
    documents = Documents()
    before = documents.read(document([node_state(1, 0), node_state(2, 0)])).findall("status/node_state")
    after = documents.read(document([node_state(1, 1), node_state(2, 0)])).findall("status/node_state")
    assert after[1] is before[1]
    assert after[0] is not before[0]


@pytest.mark.parametrize(
    "text",
    [
        document([node_state(1, 0), node_state(1, 0)]),
        document([b'<node_state id="1" uname="n1"/>', node_state(2, 0)]),
        document([node_state(2, 0), b'<node_state id="1" uname="n1"/>']),
        document([b"<!-- <node_state id='9'></node_state> -->", node_state(2, 0)]),
        document([b"<lrm>" + node_state(1, 0) + b"</lrm>", node_state(2, 0)]),
        document([b"<node_state/>", node_state(1, 0)]),
        document([]),
        b"<cib/>",
    ],
)
def test_unusual_texts_are_read_as_a_whole(text: bytes) -> None:
    documents = Documents()
    assert_same(documents, text)
    assert_same(documents, document([node_state(1, 0), node_state(2, 0)]))
    assert_same(documents, text)


def test_a_broken_text_is_refused_and_forgotten() -> None:
    documents = Documents()
    good = document([node_state(1, 0)])
    documents.read(good)
    for broken in (good[:-5], good.replace(b"<lrm_resources>", b""), b"", document([b"<node_state id=></node_state>"])):
        with pytest.raises(xml.CibSyntaxError):
            documents.read(broken)
    assert_same(documents, good)
