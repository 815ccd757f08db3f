"""Templates: a primitive's XML with that of the template it is made from.

Theory of operation. The expansion is a new element: the template's children, then the primitive's own, under the primitive's name and id. With
equal scores the later set wins, so the primitive's sets go before the template's. Operations merge by name and role, whatever
their interval. The CIB itself is not touched.

Sources: scheduler specification, part 1, section 7.1.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from lxml import etree

from crm.policy.model import Role
from crm.policy.values import parse_role

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.configuration import Configuration


def expand(config: Configuration, templates: dict[str, _Element], element: _Element) -> _Element | None:
    """The element itself, or its expansion; None (and a report) when its template cannot be used."""
    name = element.get("template")
    if name is None:
        return element
    template = templates.get(name)
    if template is None or name == element.get("id"):
        message = f"template {name} does not exist; the resource is ignored"
        config.report("error", "template-missing", element, message, attribute="template")
        return None
    result = etree.Element(element.tag)
    for key, value in template.attrib.items():
        result.set(key, value)
    result.set("id", element.get("id", ""))
    own_operations = element.find("operations")
    for child in template.iterchildren("*"):
        if child.tag != "operations" or own_operations is None:
            result.append(deepcopy(child))
    for child in element.iterchildren("*"):
        result.append(deepcopy(child))
    if own_operations is not None:
        _merge_operations(config, result, template)
    return result


def _merge_operations(config: Configuration, result: _Element, template: _Element) -> None:
    own = result.find("operations")
    inherited = template.find("operations")
    if own is None or inherited is None:
        return
    own = _resolved(config, own)
    inherited = _resolved(config, inherited)
    taken = {_role_class(op) for op in own.iterchildren("op")}
    for op in inherited.iterchildren("op"):
        if _role_class(op) not in taken:
            own.append(deepcopy(op))


def _resolved(config: Configuration, operations: _Element) -> _Element:
    """What an `id-ref` points to, in the place of the reference."""
    reference = operations.get("id-ref")
    target = config.resolve("operations", reference) if reference is not None else None
    if target is None:
        return operations
    parent = operations.getparent()
    if parent is None or parent.tag == "template":
        return target
    copy = deepcopy(target)
    parent.replace(operations, copy)
    return copy


def _role_class(op: _Element) -> tuple[str, str]:
    role = op.get("role")
    plain = role is None or parse_role(role) in (Role.STARTED, Role.UNPROMOTED)
    return op.get("name", ""), "" if plain else str(role)
