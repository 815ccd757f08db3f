"""Groups: primitives that start in order on one node.

Sources: scheduler specification, part 1, section 7.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import Group, Resource
from crm.policy.resources import primitive
from crm.policy.resources.meta import boolean_meta, check_target_role, interpret

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.resources.unpack import Builder


def build(builder: Builder, element: _Element, parent: Resource | None, number: int | None) -> Group | None:
    """A group or one instance of a cloned one; without any valid member there is none."""
    name = element.get("id", "")
    group = Group(
        id=name if number is None else f"{name}:{number}",
        xml=element,
        parent=parent,
        instance=number,
        unique=parent is None or parent.unique,
    )
    group.meta = builder.metas.effective(group)
    if number is not None:
        group.meta["clone"] = str(number)
    interpret(builder.state, group)
    if not number:
        check_target_role(builder.state, group)
    group.ordered = boolean_meta(group, "ordered", True)
    group.colocated = boolean_meta(group, "collocated", True)
    for child in element.iterchildren("primitive"):
        member = primitive.build(builder, child, group, number)
        if member is not None:
            group.children.append(member)
    if not group.children:
        builder.state.config.report("error", "group-empty", element, f"group {name} has no valid member; it is ignored")
        return None
    builder.register(group)
    return group
