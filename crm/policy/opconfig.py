"""Configured operations and parameters: what an action of a resource is made of.

Theory of operation. `Operations` answers, for a resource: which `op` defines an action (`find`), the meta-attributes of the action
(`meta`), the resource's parameters on a node (`parameters`), and the operation's own parameters there (`extra`). All instances of a
clone share one XML element, and few parameters depend on the node, so answers are kept by element and made once; callers
share the returned dictionaries and must not change them.

Whether an `on-fail` is allowed for an operation is part of its meta-attributes and decided here; what it then means for a resource is decided
in `crm.policy.history.onfail`.

Sources: scheduler specification, part 1, sections 15.1 and 23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.policy.dates import interval_ms, parse_date, parse_interval_ms, timeout_ms
from crm.policy.model import OpConfig, Primitive, Role
from crm.policy.nvpairs import NvSet, apply_sets, conditional, read_sets, within
from crm.policy.rules import Context
from crm.policy.values import parse_boolean, parse_role

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.configuration import Configuration
    from crm.policy.model import Node, Resource

_NO_PARAMETERS: Final[dict[str, str]] = {}
_STOP_REFUSES: Final = frozenset(("standby", "demote", "stop"))


class _Parameters:
    """The instance attributes of a resource: the same everywhere, or by node."""

    __slots__ = ("by_node", "everywhere", "sets")

    def __init__(self, sets: list[NvSet]) -> None:
        self.sets = sets
        self.everywhere: dict[str, str] | None = None if conditional(sets) else {}
        self.by_node: dict[Node | None, dict[str, str]] = {}


class Operations:
    """Operations and parameters of every resource of one CIB."""

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self._ops: dict[_Element, list[OpConfig]] = {}
        self._metas: dict[tuple[_Element, str, int], tuple[OpConfig | None, dict[str, str]]] = {}
        self._parameters: dict[_Element, _Parameters] = {}
        self._extras: dict[_Element, _Parameters] = {}
        self._plain_defaults: dict[str, str] | None = None  # op_defaults, when no rule decides about them
        if not conditional(config.op_defaults):
            self._plain_defaults = {}
            apply_sets(config.op_defaults, config.context(), self._plain_defaults)

    # --- operations ---------------------------------------------------------------------------------------------------

    def ops(self, rsc: Resource) -> list[OpConfig]:
        return self.ops_of(rsc.xml)

    def ops_of(self, xml: _Element) -> list[OpConfig]:
        """The `op` elements of a (template-expanded) resource element, in document order."""
        found = self._ops.get(xml)
        if found is None:
            found = self._ops[xml] = self._read_ops(xml)
        return found

    def _read_ops(self, xml: _Element) -> list[OpConfig]:
        parent = xml.find("operations")
        if parent is not None:
            reference = parent.get("id-ref")
            if reference is not None:
                parent = self.config.resolve("operations", reference)
        if parent is None:
            return []
        return [
            OpConfig(
                id=op.get("id", ""),
                name=op.get("name", ""),
                interval_ms=interval_ms(op.get("interval")),
                enabled=parse_boolean(op.get("enabled")) is not False,
                xml=op,
            )
            for op in parent.iterchildren("op")
        ]

    def find(self, rsc: Resource, name: str, interval: int, enabled_only: bool = False) -> OpConfig | None:
        """The definition of an operation: the first with that name and interval in ms (23.1)."""
        found = self._find(rsc, name, interval, enabled_only)
        if found is None and name in ("migrate_to", "migrate_from"):
            found = self._find(rsc, "migrate", 0, enabled_only)
        return found

    def _find(self, rsc: Resource, name: str, interval: int, enabled_only: bool) -> OpConfig | None:
        for op in self.ops_of(rsc.xml):
            if op.interval_ms == interval and op.name == name and (op.enabled or not enabled_only):
                return op
        return None

    # --- meta-attributes of an action ---------------------------------------------------------------------------------

    def meta(self, rsc: Resource, task: str, interval: int) -> tuple[OpConfig | None, dict[str, str]]:
        """The definition of an action, if there is one, and its meta-attributes (23.2); shared, not to be changed."""
        key = (rsc.xml, task, interval)
        known = self._metas.get(key)
        if known is None:
            op = self.find(rsc, task, interval)
            known = self._metas[key] = (op, self._meta(rsc, op, task, interval))
        return known

    def _meta(self, rsc: Resource, op: OpConfig | None, task: str, interval: int) -> dict[str, str]:
        table: dict[str, str] = {}
        context = self._agent_context(rsc)
        context.op_name, context.op_interval_ms = task, interval
        if op is not None:
            if len(op.xml):
                sets = read_sets(op.xml, "meta_attributes", within(rsc.xml), self.config.resolve)
                apply_sets(sets, context, table)
            for name, value in op.xml.attrib.items():
                table[str(name)] = str(value)
        if task == "monitor" and interval == 0 and "timeout" not in table:
            timeout = self._shortest_monitor_timeout(rsc)
            if timeout is not None:
                table["timeout"] = timeout
        if self._plain_defaults is None:
            apply_sets(self.config.op_defaults, context, table)
        elif self._plain_defaults:
            for name, value in self._plain_defaults.items():
                table.setdefault(name, value)
        table.pop("id", None)
        self._normalise(rsc, op, table, task, interval)
        return table

    def _agent_context(self, rsc: Resource) -> Context:
        context = self.config.context()
        if isinstance(rsc, Primitive):
            context.standard, context.provider, context.type = rsc.standard, rsc.provider, rsc.type
        return context

    def _shortest_monitor_timeout(self, rsc: Resource) -> str | None:
        shortest: OpConfig | None = None
        for op in self.ops_of(rsc.xml):
            counts = op.name == "monitor" and op.interval_ms > 0 and op.enabled
            if counts and (shortest is None or op.interval_ms < shortest.interval_ms):
                shortest = op
        return None if shortest is None else shortest.xml.get("timeout")

    def _normalise(self, rsc: Resource, op: OpConfig | None, table: dict[str, str], task: str, interval: int) -> None:
        if interval:
            table["interval"] = str(interval)
        else:
            table.pop("interval", None)
        is_device = isinstance(rsc, Primitive) and rsc.standard.lower() == "stonith"
        if is_device and (task == "start" or (task == "monitor" and interval == 0)):
            timeout = self.parameters(rsc, None).get("pcmk_monitor_timeout")
            if timeout is not None:
                table["timeout"] = timeout
        table["timeout"] = str(timeout_ms(table.get("timeout")))
        self._validate_on_fail(rsc, op, table, task, interval)
        delay = table.get("start-delay")
        if delay is not None:
            table["start-delay"] = str(parse_interval_ms(delay) or 0)
        elif interval and "interval-origin" in table:
            origin = parse_date(table["interval-origin"], self.config.now)
            if origin is not None:
                table["start-delay"] = str((origin - self.config.now) % max(1, interval // 1000) * 1000)

    # --- on-fail ------------------------------------------------------------------------------------------------------

    def _validate_on_fail(
        self, rsc: Resource, op: OpConfig | None, table: dict[str, str], task: str, interval: int
    ) -> None:
        """Drop an `on-fail` that the operation may not have; a demote inherits its promoted monitor's (15.1)."""
        value = table.get("on-fail")
        if task == "demote" and value is None:
            inherited = self._on_fail_of_promoted_monitor(rsc)
            if inherited is not None:
                table["on-fail"] = inherited
            return
        if value is None:
            return
        word = value.lower()
        if task == "stop" and word in _STOP_REFUSES:
            refused = True
        elif word == "demote" and task != "promote":
            promoted = parse_role(op.xml.get("role") if op is not None else None) is Role.PROMOTED
            refused = not (task == "monitor" and interval > 0 and promoted)
        else:
            refused = False
        if refused:
            del table["on-fail"]
            message = f"on-fail '{value}' is not possible for {task}; the default is used"
            self.config.report("warning", "on-fail", op.xml if op else rsc.xml, message, attribute="on-fail")

    def _on_fail_of_promoted_monitor(self, rsc: Resource) -> str | None:
        found: str | None = None
        for op in self.ops_of(rsc.xml):
            if op.name != "monitor" or op.interval_ms <= 0 or not op.enabled:
                continue
            value = op.xml.get("on-fail")
            if value is not None and value.lower() != "demote" and parse_role(op.xml.get("role")) is Role.PROMOTED:
                found = value
        return found

    # --- parameters ---------------------------------------------------------------------------------------------------

    def parameters(self, rsc: Resource, node: Node | None) -> dict[str, str]:
        """Instance attributes of a resource on a node: its own, then its parents'; shared, not to be changed (23.3)."""
        known = self._parameters.get(rsc.xml)
        if known is None:
            known = self._parameters[rsc.xml] = _Parameters(self._parameter_sets(rsc))
            if known.everywhere is not None and known.sets:
                apply_sets(known.sets, self.config.context(), known.everywhere)
        return self._on_node(known, node)

    def extra(self, op: OpConfig | None, node: Node | None) -> dict[str, str]:
        """The operation's own instance attributes; shared, not to be changed."""
        if op is None or not len(op.xml):
            return _NO_PARAMETERS
        known = self._extras.get(op.xml)
        if known is None:
            sets = read_sets(op.xml, "instance_attributes", within(op.xml), self.config.resolve)
            known = self._extras[op.xml] = _Parameters(sets)
            if known.everywhere is not None and sets:
                apply_sets(sets, self.config.context(), known.everywhere)
        return self._on_node(known, node)

    def _parameter_sets(self, rsc: Resource) -> list[NvSet]:
        sets: list[NvSet] = []
        current: Resource | None = rsc
        while current is not None:
            sets += read_sets(current.xml, "instance_attributes", within(current.xml), self.config.resolve)
            current = current.parent
        return sets

    def _on_node(self, known: _Parameters, node: Node | None) -> dict[str, str]:
        if known.everywhere is not None:
            return known.everywhere
        found = known.by_node.get(node)
        if found is None:
            found = known.by_node[node] = {}
            context = self.config.context()
            if node is not None:
                context.attributes = node.attributes
            apply_sets(known.sets, context, found)
        return found
