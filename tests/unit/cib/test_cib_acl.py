"""Access control lists. What is expected was found by trying Pacemaker's cibadmin with the same documents."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.cib import acl, xml
from crm.cib.operations import Applied, Code, Kind, Operation, Refusal, apply
from crm.cib.verify import check_changes, verify

CIB = """
<cib validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config>
<cluster_property_set id="o"><nvpair id="o1" name="enable-acl" value="{enabled}"/></cluster_property_set></crm_config><nodes/>
<resources><!-- c --><primitive id="a" class="lsb" type="x"><meta_attributes id="am">
<nvpair id="am1" name="target-role" value="Started"/><nvpair id="am2" name="secret" value="s"/></meta_attributes></primitive>
<primitive id="b" class="lsb" type="x"/></resources><constraints/>
<acls><acl_role id="r">{permissions}</acl_role><acl_target id="tony"><role id="r"/></acl_target>
<acl_group id="ops"><role id="r"/></acl_group></acls></configuration><status/></cib>
"""

_READ_ALL = ("read", 'xpath="/cib"')


def _cib(*permissions: tuple[str, str], enabled: str = "true") -> etree._Element:
    text = "".join(f'<acl_permission id="p{n}" kind="{kind}" {what}/>' for n, (kind, what) in enumerate(permissions))
    document = xml.parse(CIB.format(permissions=text, enabled=enabled))
    assert [item for item in verify(document) if item.attribute != "xpath"] == []
    return document


def _shape(document: etree._Element) -> dict[str, str]:
    """Effective access by id, for the resources."""
    permissions = acl.Permissions(document, "tony")
    return {e.get("id", ""): str(permissions.of(e)) for e in document.iterfind("configuration/resources//*[@id]")}


@pytest.mark.parametrize(
    ("permissions", "a", "am1", "am2", "b"),
    [
        ([], "deny", "deny", "deny", "deny"),
        ([_READ_ALL], "read", "read", "read", "read"),
        ([_READ_ALL, ("write", 'reference="a"'), ("deny", 'reference="a"')], "deny", "deny", "deny", "read"),
        ([_READ_ALL, ("deny", 'reference="a"'), ("write", 'reference="a"')], "deny", "deny", "deny", "read"),
        ([_READ_ALL, ("read", 'reference="a"'), ("write", 'reference="a"')], "write", "write", "write", "read"),
        ([("deny", 'xpath="/cib"'), ("write", 'reference="am1"')], "deny", "write", "deny", "deny"),
        (
            [("write", 'xpath="/cib"'), ("deny", 'reference="a"'), ("read", 'reference="am1"')],
            "deny",
            "read",
            "deny",
            "write",
        ),
        ([_READ_ALL, ("write", 'object-type="nvpair" attribute="value"')], "read", "write", "write", "read"),
        ([_READ_ALL, ("deny", 'object-type="primitive" attribute="provider"')], "read", "read", "read", "read"),
        ([_READ_ALL, ("write", "xpath=\"//nvpair[@name='secret']/@value\"")], "read", "read", "write", "read"),
        ([_READ_ALL, ("write", 'xpath="//["')], "read", "read", "read", "read"),
    ],
)
def test_the_nearest_permission_counts_and_deny_wins_over_write_over_read(
    permissions: list[tuple[str, str]], a: str, am1: str, am2: str, b: str
) -> None:
    assert _shape(_cib(*permissions)) == {"a": a, "am": a, "am1": am1, "am2": am2, "b": b}


def _seen(document: etree._Element, user: str = "tony", groups: tuple[str, ...] = ()) -> str | None:
    found = acl.readable(document, user, groups)
    return None if found is None else xml.to_text(found, pretty=False)


def test_what_may_not_be_read_is_left_out_and_what_leads_to_the_rest_keeps_its_id_only() -> None:
    assert _seen(_cib(("write", 'reference="am1"'))) == (
        '<cib><configuration><resources><primitive id="a"><meta_attributes id="am"><nvpair id="am1" name="target-role" '
        'value="Started"/></meta_attributes></primitive></resources></configuration></cib>'
    )
    text = _seen(_cib(_READ_ALL, ("deny", "xpath=\"//nvpair[@name='secret']\"")))
    assert text is not None
    assert ("secret" in text.split("<acls>")[0], "<!-- c -->" in text, 'id="b"' in text) == (False, True, True)
    assert _seen(_cib()) is None


@pytest.mark.parametrize(
    ("user", "enabled"), [("root", "true"), ("hacluster", "true"), ("", "true"), ("tony", "false")]
)
def test_lists_do_not_concern_root_and_the_cluster_nor_anybody_when_they_are_off(user: str, enabled: str) -> None:
    document = _cib(enabled=enabled)
    assert acl.readable(document, user) is document
    assert isinstance(apply(document, Operation(Kind.BUMP, user=user)), Applied)


def test_a_group_gives_its_members_the_permissions() -> None:
    document = _cib(_READ_ALL)
    assert _seen(document, "eve") is None
    assert _seen(document, "eve", ("users", "ops")) is not None


def test_reading_changes_nothing() -> None:
    document = _cib(_READ_ALL)
    before = xml.to_bytes(document)
    acl.readable(document, "tony")
    assert xml.to_bytes(document) == before


_MOSTLY = [_READ_ALL, ("write", 'reference="am"'), ("deny", 'reference="am2"')]


@pytest.mark.parametrize(
    ("permissions", "operation", "allowed"),
    [
        (_MOSTLY, Operation(Kind.MODIFY, xml='<nvpair id="am1" value="Stopped"/>'), True),
        (_MOSTLY, Operation(Kind.MODIFY, xml='<nvpair id="am2" value="zz"/>'), False),
        (_MOSTLY, Operation(Kind.DELETE, xml='<nvpair id="am1"/>'), True),
        (_MOSTLY, Operation(Kind.DELETE, xml='<nvpair id="am2"/>'), False),
        (_MOSTLY, Operation(Kind.DELETE, xml='<meta_attributes id="am"/>'), False),
        (_MOSTLY, Operation(Kind.DELETE, xml='<primitive id="b"/>'), False),
        (_MOSTLY, Operation(Kind.CREATE, xml='<nvpair id="am3" name="n" value="v"/>', xpath="//meta_attributes"), True),
        (_MOSTLY, Operation(Kind.MODIFY, xml='<primitive id="b" description="v"/>'), False),
        (_MOSTLY, Operation(Kind.CREATE, xml='<primitive id="c" class="lsb" type="y"/>'), False),
        (_MOSTLY, Operation(Kind.BUMP), False),
        (_MOSTLY, Operation(Kind.ERASE), False),
        (_MOSTLY, Operation(Kind.REPLACE, xml="<acls/>"), False),
        (_MOSTLY, Operation(Kind.MODIFY, xml='<nvpair id="o1" value="false"/>'), False),
        (
            [("write", 'xpath="//resources"')],
            Operation(Kind.CREATE, xml='<primitive id="c" class="lsb" type="y"/>'),
            True,
        ),
        ([("write", 'xpath="//resources"')], Operation(Kind.DELETE, xml='<primitive id="b"/>'), True),
        ([("write", 'xpath="//resources"')], Operation(Kind.BUMP), False),
        ([("write", 'xpath="/cib"')], Operation(Kind.BUMP), True),
        ([("write", 'xpath="/cib"')], Operation(Kind.ERASE), True),
    ],
)
def test_a_change_needs_permission_to_write_everything_that_it_changes(
    permissions: list[tuple[str, str]], operation: Operation, allowed: bool
) -> None:
    document = _cib(*permissions)
    before = xml.to_bytes(document)
    given = Operation(operation.kind, xml=operation.xml, xpath=operation.xpath, user="tony")
    result = apply(document, given, check=check_changes)
    if allowed:
        assert isinstance(result, Applied), result
    else:
        assert isinstance(result, Refusal), result
        assert (result.code, result.items[0].code) == (Code.DENIED, "permission-denied")
        assert "user tony has no permission" in result.message
        assert xml.to_bytes(document) == before


def test_an_operation_that_changes_the_lists_is_judged_by_the_old_ones() -> None:
    document = _cib(_READ_ALL, ("write", 'xpath="//acls"'))
    steps = (
        Operation(Kind.MODIFY, xml='<acl_permission id="p0" kind="write"/>'),
        Operation(Kind.CREATE, xml='<primitive id="c" class="lsb" type="y"/>'),
    )
    assert isinstance(apply(document, Operation(Kind.TRANSACTION, steps=steps, user="tony")), Refusal)
    assert isinstance(apply(document, Operation(Kind.TRANSACTION, steps=steps[:1], user="tony")), Applied)
    assert isinstance(apply(document, Operation(Kind.TRANSACTION, steps=steps[1:], user="tony")), Applied)


def test_nobody_gains_permissions_by_moving_things_within_one_operation() -> None:
    document = _cib(_READ_ALL, ("write", 'reference="a"'))
    steps = (
        Operation(Kind.DELETE, xml='<primitive id="b"/>'),
        Operation(Kind.CREATE, xml='<primitive id="b" class="lsb" type="evil"/>'),
    )
    assert isinstance(apply(document, Operation(Kind.TRANSACTION, steps=steps, user="tony")), Refusal)


def test_the_lists_of_the_first_schemas_are_understood() -> None:
    old = '<acl_user id="tony"><read id="p" xpath="/cib"/><write id="q" ref="am1"/></acl_user>'
    document = xml.parse(
        CIB.format(permissions="", enabled="true").replace('<acl_target id="tony"><role id="r"/></acl_target>', old)
    )
    assert _shape(document)["am1"] == "write"
    assert _shape(document)["b"] == "read"


@pytest.mark.parametrize("kind", [Kind.CREATE, Kind.MODIFY, Kind.REPLACE, Kind.DELETE])
@pytest.mark.parametrize("inside_a_transaction", [False, True])
def test_an_xpath_of_a_change_cannot_be_used_to_guess_what_may_not_be_read(
    kind: Kind, inside_a_transaction: bool
) -> None:
    document = _cib(_READ_ALL, ("write", 'reference="b"'), ("deny", 'reference="am1"'))
    before = xml.to_bytes(document)
    secret = document.find(".//nvpair[@id='am1']")
    assert secret is not None
    answers = set()
    for guess in (secret.get("value", ""), "wrong"):
        step = Operation(kind, xml='<nvpair id="am1"/>', xpath=f"//nvpair[@value='{guess}']", user="tony")
        asked = Operation(Kind.TRANSACTION, steps=(step,), user="tony") if inside_a_transaction else step
        answer = apply(document, asked)
        assert isinstance(answer, Refusal)
        answers.add((answer.code, answer.message.replace(guess, "GUESS")))
    assert len(answers) == 1 and Code.NOT_FOUND in next(iter(answers))
    assert xml.to_bytes(document) == before


def test_an_xpath_changes_what_may_be_read_and_written() -> None:
    document = _cib(_READ_ALL, ("write", 'reference="a"'), ("deny", 'reference="am2"'))
    changed = apply(
        document, Operation(Kind.DELETE, xpath="//primitive[@id='a']/meta_attributes/nvpair[@id='am1']", user="tony")
    )
    assert isinstance(changed, Applied), changed
    assert document.find(".//nvpair[@id='am1']") is None and document.find(".//nvpair[@id='am2']") is not None


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("//primitive[@id='a']", True),
        ("/cib/configuration/resources/*", True),
        ("//nvpair[@name='x'][@value='//..*::']/../..", True),
        ("//a | //b", True),
        ("//resources//*[self::clone or self::master][primitive[@id='x']]", True),
        ("//status/node_state[@id='1']/transient_attributes//nvpair[@name='x']", True),
        ("/cib/status//nvpair", True),
        ("//*//nvpair", False),
        ("//*[count(//*) > 1]", False),
        ("//primitive[meta_attributes[nvpair/../..]]", False),
        ("//a//b//c", False),
        ("//a/following::b", False),
        ("//*[*/*]", False),
        (" | ".join(["//a"] * 9), False),
    ],
)
def test_who_is_under_lists_asks_only_xpaths_whose_cost_is_bounded(expression: str, allowed: bool) -> None:
    assert (acl.too_costly(expression) == "") == allowed
    if not allowed:
        answer = apply(_cib(_READ_ALL), Operation(Kind.DELETE, xpath=expression, user="tony"))
        assert isinstance(answer, Refusal) and answer.code is Code.DENIED
