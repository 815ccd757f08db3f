"""Primitives: one agent, running on at most one node.

Theory of operation. `build` makes a primitive, or one instance of a cloned one, from its template-expanded element. Instances share that
element. What depends on other resources (the container of a connection, the node it provides) is linked when all
resources exist.

Sources: scheduler specification, part 1, sections 7, 7.2, 7.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.dates import interval_ms, seconds
from crm.policy.model import Primitive, Resource
from crm.policy.nvpairs import apply_sets, read_sets, within
from crm.policy.resources.meta import check_target_role, interpret
from crm.policy.resources.remote import is_connection_agent
from crm.policy.values import parse_integer, truthy

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.resources.unpack import Builder


def build(builder: Builder, element: _Element, parent: Resource | None, number: int | None) -> Primitive | None:
    xml = builder.expanded(element)
    if xml is None:
        return None
    state = builder.state
    config_id = xml.get("id", "")
    rsc = Primitive(
        id=config_id if number is None else f"{config_id}:{number}",
        xml=xml,
        parent=parent,
        standard=xml.get("class", ""),
        provider=xml.get("provider"),
        type=xml.get("type", ""),
        config_id=config_id,
        instance=number,
        is_connection=is_connection_agent(xml),
        ops=state.operations.ops_of(xml),
    )
    if not rsc.standard or not rsc.type:
        state.config.report(
            "error", "no-agent", xml, f"{config_id}: class and type are needed; the resource is ignored"
        )
        return None
    rsc.meta = builder.metas.effective(rsc)
    if number is not None:
        rsc.meta["clone"] = str(number)
    rsc.unique = parent is None or parent.unique or number is None
    interpret(state, rsc)
    if not number:
        check_target_role(state, rsc)
    rsc.is_internal = truthy(rsc.meta.get("internal_rsc"))
    in_guest = rsc.is_connection and "container" in rsc.meta
    migrate = rsc.meta.get("allow-migrate")
    rsc.allow_migrate = truthy(migrate) if migrate is not None else rsc.is_connection and not in_guest
    if rsc.is_connection and not in_guest:
        _read_reconnect_interval(builder, rsc)
    _read_utilization(builder, rsc)
    builder.register(rsc)
    return rsc


def _read_reconnect_interval(builder: Builder, rsc: Primitive) -> None:
    text = builder.state.operations.parameters(rsc, None).get("reconnect_interval")
    if text is not None:
        rsc.reconnect_interval_ms = interval_ms(text)
        rsc.failure_timeout_s = seconds(rsc.reconnect_interval_ms)


def _read_utilization(builder: Builder, rsc: Primitive) -> None:
    if rsc.xml.find("utilization") is None:
        return
    config = builder.state.config
    table: dict[str, str] = {}
    apply_sets(read_sets(rsc.xml, "utilization", within(rsc.xml), config.resolve), config.context(), table)
    rsc.utilization = {name: parse_integer(value) or 0 for name, value in table.items()}
