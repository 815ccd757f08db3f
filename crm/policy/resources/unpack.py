"""Resources: from `<resources>` to the tree.

Theory of operation. A `Builder` unpacks elements one after the other, in document order, each kind in its own module. It owns what
several resources share while they are made: the templates, the expanded elements, the default placement table. A resource that
cannot be unpacked is left out with everything below its top-level element. When all exist, connections are linked to nodes and containers and the
top level is sorted by priority. The builder lives on while history is read, which may add instances and removed resources.

Sources: scheduler specification, part 1, sections 0.1 (steps 7 and 8), 7, 7.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import Clone, ClusterState, Discovery, Node, Primitive, Resource
from crm.policy.resources import bundle, clone, group, primitive
from crm.policy.resources.meta import MetaTables
from crm.policy.resources.remote import find_remote_nodes, link
from crm.policy.resources.templates import expand

if TYPE_CHECKING:
    from lxml.etree import _Element


class Builder:
    """Makes resources of elements."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.metas = MetaTables(state)
        self.templates: dict[str, _Element] = {}
        self.instance_elements: dict[Clone, _Element] = {}
        self._expanded: dict[_Element, _Element | None] = {}
        self._template_members: dict[str, list[str]] = {}
        self._made: list[Resource] = []  # below the current top-level element
        self._configured: set[str] | None = None
        self._default: dict[Node, int] = {}
        self._default_nodes = -1

    # --- the section --------------------------------------------------------------------------------------------------

    def unpack(self) -> None:
        state = self.state
        section = state.config.section("resources")
        if section is None:
            return
        for template in section.iterchildren("template"):
            name = template.get("id")
            if name:
                self.templates[name] = template
                self._template_members[name] = []
        state.templates = self._template_members
        implicit = find_remote_nodes(state, section)
        for element in [*section.iterchildren("*"), *implicit]:
            if element.tag != "template":
                self.add_top_level(element)
        for rsc in list(state.by_id.values()):
            if isinstance(rsc, Primitive):
                link(state, rsc)
        state.resources.sort(key=lambda rsc: -rsc.priority)

    def add_top_level(self, element: _Element) -> Resource | None:
        """Unpack one element; nothing of it remains when that fails."""
        self._made = []
        rsc = self.build(element, None, None)
        if rsc is None:
            for made in self._made:
                if self.state.by_id.get(made.id) is made:
                    del self.state.by_id[made.id]
            return None
        self.state.resources.append(rsc)
        return rsc

    def build(self, element: _Element, parent: Resource | None, number: int | None) -> Resource | None:
        if not element.get("id"):
            self.state.config.report("error", "resource-without-id", element, "a resource needs an id; it is ignored")
            return None
        if element.tag == "primitive":
            return primitive.build(self, element, parent, number)
        if element.tag == "group":
            return group.build(self, element, parent, number)
        if element.tag in ("clone", "master"):
            return clone.build(self, element, parent)
        if element.tag == "bundle":
            return bundle.build(self, element, parent)
        message = f"{element.tag} is not a kind of resource; it is ignored"
        self.state.config.report("error", "resource-kind", element, message)
        return None

    # --- shared by the kinds ------------------------------------------------------------------------------------------

    def expanded(self, element: _Element) -> _Element | None:
        """The element with its template, made once."""
        if element not in self._expanded:
            result = expand(self.state.config, self.templates, element)
            self._expanded[element] = result
            if result is not None and result is not element:
                self._template_members[element.get("template", "")].append(element.get("id", ""))
        return self._expanded[element]

    def register(self, rsc: Resource) -> None:
        """Make a finished resource known, with its default placement (7.8)."""
        self._made.append(rsc)
        self.state.by_id.setdefault(rsc.id, rsc)
        if self.state.options.symmetric or (isinstance(rsc, Primitive) and rsc.is_internal and rsc.is_connection):
            rsc.table = dict(self.default_table())

    def default_table(self) -> dict[Node, int]:
        nodes = self.state.nodes
        if self._default_nodes != len(nodes):
            self._default_nodes = len(nodes)
            self._default = {node: node.base_score for node in nodes if node.base_discovery is not Discovery.NEVER}
        return self._default

    def forget_default_table(self) -> None:
        """A node's base score or discovery has changed."""
        self._default_nodes = -1

    def is_configured(self, name: str) -> bool:
        """Is there an element with that id in the resources section?"""
        if self._configured is None:
            section = self.state.config.section("resources")
            self._configured = set()
            if section is not None:
                self._configured = {element.get("id", "") for element in section.iter("*")}
        return name in self._configured
