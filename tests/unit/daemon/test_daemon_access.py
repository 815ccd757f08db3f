"""The access control lists and the local API: every method, whoever calls."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree

from crm.api.errors import ApiError
from crm.api.server import Call, Peer
from crm.cib import xml
from crm.controller.messages import Changes
from crm.daemon import access
from crm.daemon.access import Visitor
from crm.daemon.methods.attributes import AttributeMethods
from crm.daemon.methods.resources import ResourceMethods

OTHER = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, os.geteuid()))
CIB = f"""<cib validate-with="pacemaker-3.9" epoch="5" num_updates="0" admin_epoch="0"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="enable-acl" value="ENABLED"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes>
<resources><primitive id="web" class="lsb" type="x"/><primitive id="db" class="lsb" type="x"/></resources><constraints/>
<acls><acl_role id="r">PERMISSIONS</acl_role><acl_target id="{OTHER.pw_name}"><role id="r"/></acl_target></acls></configuration>
<status><node_state id="1" uname="n1" crmd="online"><lrm id="1"><lrm_resources>
<lrm_resource id="web" type="x" class="lsb"><lrm_rsc_op id="web_last_failure_0" operation="monitor" rc-code="7" call-id="5"/></lrm_resource>
<lrm_resource id="db" type="x" class="lsb"><lrm_rsc_op id="db_last_failure_0" operation="monitor" rc-code="1" call-id="5"/></lrm_resource>
</lrm_resources></lrm><transient_attributes id="1"><instance_attributes id="status-1"><nvpair id="a" name="speed" value="1"/>
<nvpair id="f" name="fail-count-web#monitor_0" value="1"/></instance_attributes></transient_attributes></node_state></status></cib>"""
ALL = 'xpath="/cib"'
WEB = "xpath=\"//lrm_resource[@id='web'] | //nvpair[contains(@name,'-web#')]\""


def _document(*permissions: tuple[str, str], enabled: bool = True) -> etree._Element:
    lists = "".join(f'<acl_permission id="p{n}" kind="{kind}" {what}/>' for n, (kind, what) in enumerate(permissions))
    return xml.parse(CIB.replace("PERMISSIONS", lists).replace("ENABLED", str(enabled).lower()))


def _call(method: str, uid: int = OTHER.pw_uid, **params: Any) -> Call:
    return Call(method, params, Peer(1, uid, OTHER.pw_gid))


class _Node:
    """What methods need of a node: a document, names, and a place to publish to."""

    def __init__(self, document: etree._Element) -> None:
        from crm.attributes.table import AttributeTable

        self.cib = SimpleNamespace(document=document, version=xml.version(document))
        self.settings = SimpleNamespace(node_name="n1", nodes=((1, "n1"),))
        self.published: list[Changes] = []
        self.crm_id = "x"
        self.controller = SimpleNamespace(synced=True, view=None, attributes=AttributeTable("1"))

    async def promised(self, changes: Changes) -> None:
        self.published.append(changes)


def _resources(node: _Node) -> ResourceMethods:
    return ResourceMethods(node)  # type: ignore[arg-type]


def _attributes(node: _Node) -> AttributeMethods:
    return AttributeMethods(node)  # type: ignore[arg-type]


def test_without_lists_and_for_the_daemons_own_user_everything_is_open() -> None:
    for document, uid in ((_document(enabled=False), OTHER.pw_uid), (_document(), os.geteuid()), (_document(), 0)):
        access.guard(_call("node.fence", uid), document)
        visitor = Visitor(_call("cib.query", uid), document)
        visitor.need_write(document)
        assert visitor.reads_everything and visitor.readable() is document


@pytest.mark.parametrize("method", ["node.fence", "shutdown", "node.confirm_fenced", "a.method.of.tomorrow"])
def test_what_knows_nothing_of_lists_is_closed(method: str) -> None:
    with pytest.raises(ApiError, match="permission denied") as refused:
        access.guard(_call(method), _document(("read", ALL)))
    assert refused.value.code == "permission-denied"
    access.guard(_call(method), _document(("write", ALL)))


@pytest.mark.parametrize("method", sorted(access.READING))
def test_what_tells_of_everything_needs_to_read_everything(method: str) -> None:
    with pytest.raises(ApiError, match="permission denied"):
        access.guard(_call(method), _document(("read", 'xpath="//resources"')))
    access.guard(_call(method), _document(("read", ALL)))


def test_earlier_versions_are_read_by_the_lists_of_today() -> None:
    today = _document(("read", ALL), ("deny", 'reference="db"'))
    earlier = _document(enabled=False)
    text = xml.to_text(Visitor(_call("cib.version"), today).readable(earlier))
    assert 'primitive id="web"' in text and 'primitive id="db"' not in text


def test_who_may_read_nothing_is_told_so() -> None:
    with pytest.raises(ApiError, match="let you read nothing"):
        Visitor(_call("cib.query"), _document()).readable()


def test_a_group_counts_as_a_user_does() -> None:
    name = grp.getgrgid(OTHER.pw_gid).gr_name
    document = _document(("write", ALL))
    target = document.find(".//acl_target")
    assert target is not None
    target.tag = "acl_group"
    target.set("id", name)
    assert Visitor(_call("cib.query"), document).reads_everything


def test_cleaning_up_needs_the_history_and_the_fail_counts() -> None:
    node = _Node(_document(("read", ALL), ("write", WEB)))
    answer = asyncio.run(_resources(node).cleanup(_call("resource.cleanup", resource="web")))
    assert answer["cleared"] == 1 and len(node.published) == 1
    with pytest.raises(ApiError, match=r"lrm_resource\[@id='db'\]"):
        asyncio.run(_resources(node).refresh(_call("resource.refresh")))
    with pytest.raises(ApiError, match="permission denied"):
        asyncio.run(_resources(node).fail(_call("resource.fail", resource="db")))
    assert len(node.published) == 1, "nothing is half done"
    node = _Node(_document(("read", ALL), ("write", "xpath=\"//lrm_resource[@id='web']\"")))
    with pytest.raises(ApiError, match="nvpair"):
        asyncio.run(_resources(node).cleanup(_call("resource.cleanup", resource="web")))


def test_a_transient_attribute_is_judged_where_it_is_or_would_be() -> None:
    node = _Node(_document(("read", ALL), ("write", "xpath=\"//nvpair[@name='speed']\"")))
    asyncio.run(_attributes(node).update(_call("attribute.update", name="speed", value="2")))
    with pytest.raises(ApiError, match="instance_attributes"):
        asyncio.run(_attributes(node).update(_call("attribute.update", name="weight", value="2")))
    with pytest.raises(ApiError, match="permission denied"):
        asyncio.run(_attributes(node).update(_call("attribute.update", pattern=".", value="2")))


def test_what_is_held_back_is_told_to_those_who_may_read_everything() -> None:
    for permissions, shown in (([("read", ALL)], True), ([("read", 'xpath="//status"')], False)):
        node = _Node(_document(*permissions))
        table = node.controller.attributes
        table.apply([table.wish("1", "n1", "own", "7", private=True)], lambda *_: None, 0)
        answer = asyncio.run(_attributes(node).query(_call("attribute.query", node="n1", held=True)))
        assert ("own" in answer["values"]["n1"]) is shown and answer["values"]["n1"]["speed"] == "1"


def test_a_resource_that_is_declared_failed_has_a_failure_newer_than_all_it_did() -> None:
    node = _Node(_document(enabled=False))
    asyncio.run(_resources(node).fail(_call("resource.fail", resource="db", node="n1")))
    operation, counts = node.published[0].updates
    assert operation.entry["operation"] == "asyncmon" and operation.entry["call-id"] == "5"  # type: ignore[union-attr]
    assert counts.values["fail-count-db#asyncmon_0"] == "1"  # type: ignore[union-attr]
    for resource, where in (("nothing", "n1"), ("web", "n9")):
        with pytest.raises(ApiError, match="nothing is known"):
            asyncio.run(_resources(node).fail(_call("resource.fail", resource=resource, node=where)))


def test_a_group_is_known_by_name_or_number() -> None:
    assert access.group_id("") is None and access.group_id("no such group at all") is None
    assert access.group_id("1234") == 1234
    assert access.group_id(grp.getgrgid(0).gr_name) == 0


def test_only_root_may_ask_in_the_name_of_another_user() -> None:
    document = _document(("read", ALL), ("deny", 'reference="db"'))
    asked = Visitor(_call("cib.query", 0, user=OTHER.pw_name), document)
    assert asked.restricted and (asked.user, asked.groups) == access.user_of(_call("cib.query"))
    assert 'primitive id="db"' not in xml.to_text(asked.readable())
    assert Visitor(_call("cib.query", 0, user="hacluster"), document).readable() is document
    with pytest.raises(ApiError, match="only root and hacluster"):
        Visitor(_call("cib.query", user="root"), document)
    assert not Visitor(_call("status", 0, user=OTHER.pw_name), document).restricted
