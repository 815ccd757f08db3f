"""Meta-attributes: how they are inherited, and what they mean for a resource.

Theory of operation. `effective` layers a resource's table: element attributes, its own sets, its ancestors' explicit sets, the defaults,
and last the parent's effective table (which includes values computed there). `interpret` then sets the fields of `Resource` from it.
All instances of a clone have the same table but for their number, so it is made once for an element and a clone.

Sources: scheduler specification, part 1, sections 7.3 to 7.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.policy.dates import parse_interval_ms, seconds
from crm.policy.model import INFINITY, Clone, MultipleActive, Needs, Primitive, Resource, Role
from crm.policy.nvpairs import NvSet, apply_sets, read_sets, within
from crm.policy.values import parse_boolean, parse_role, parse_score, truthy

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.model import ClusterState

_NEEDS: Final = {needs.value: needs for needs in Needs}
_MULTIPLE: Final = {policy.value: policy for policy in MultipleActive}


class MetaTables:
    """Effective meta-attribute tables, made once for each element below each parent."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self._own: dict[_Element, list[NvSet]] = {}
        self._tables: dict[tuple[_Element, Resource | None], dict[str, str]] = {}

    def own_sets(self, rsc: Resource) -> list[NvSet]:
        sets = self._own.get(rsc.xml)
        if sets is None:
            sets = read_sets(rsc.xml, "meta_attributes", within(rsc.xml), self.state.config.resolve)
            self._own[rsc.xml] = sets
        return sets

    def effective(self, rsc: Resource) -> dict[str, str]:
        """The table of 7.3, to be changed freely."""
        key = (rsc.xml, rsc.outermost)
        known = self._tables.get(key)
        if known is None:
            known = self._tables[key] = self._layer(rsc)
        return dict(known)

    def _layer(self, rsc: Resource) -> dict[str, str]:
        config = self.state.config
        context = config.context()
        if isinstance(rsc, Primitive):
            context.standard, context.provider, context.type = rsc.standard, rsc.provider, rsc.type
        table = {str(name): str(value) for name, value in rsc.xml.attrib.items()}
        current: Resource | None = rsc
        while current is not None:
            sets = self.own_sets(current)
            if sets:
                apply_sets(sets, context, table)
            current = current.parent
        if config.static_defaults is None:
            apply_sets(config.rsc_defaults, context, table)
        else:
            for name, value in config.static_defaults.items():
                table.setdefault(name, value)
        if rsc.parent is not None:
            for name, value in rsc.parent.meta.items():
                table.setdefault(name, value)
        return table


def interpret(state: ClusterState, rsc: Resource) -> None:
    """Set what the meta-attributes in `rsc.meta` decide."""
    meta, options = rsc.meta, state.options
    rsc.priority = parse_score(meta.get("priority")) or 0
    critical = meta.get("critical")
    rsc.critical = critical is None or truthy(critical)
    rsc.notify = truthy(meta.get("notify"))
    rsc.managed = not options.maintenance_mode
    managed = meta.get("is-managed")
    if managed is not None and managed.lower() != "default":
        rsc.managed = truthy(managed)
    if truthy(meta.get("maintenance")) or options.maintenance_mode:
        rsc.managed = False
        rsc.maintenance = True
    stickiness = meta.get("resource-stickiness")
    if stickiness is not None and stickiness.lower() != "default":
        rsc.stickiness = parse_score(stickiness) or 0
    threshold = parse_score(meta.get("migration-threshold"))
    rsc.migration_threshold = INFINITY if threshold is None or threshold < 0 else threshold
    rsc.failure_timeout_s = seconds(parse_interval_ms(meta.get("failure-timeout")) or 0)
    rsc.multiple_active = _MULTIPLE.get(meta.get("multiple-active", "").lower(), MultipleActive.STOP_START)
    rsc.needs = _needs(state, rsc)
    apply_target_role(state, rsc)


def _needs(state: ClusterState, rsc: Resource) -> Needs:
    """What must be true before the resource is started (7.5)."""
    options = state.options
    device = is_fence_device(rsc)
    text = rsc.meta.get("requires")
    value = _NEEDS.get(text.lower()) if text is not None else None
    if value is Needs.UNFENCING and (device or not options.fencing_enabled):
        return Needs.QUORUM
    if value is not None:
        return value
    if text is not None:
        message = f"requires '{text}' is not one of nothing, quorum, fencing, unfencing; the default is used"
        state.config.report("warning", "requires", rsc.xml, message, attribute="requires")
    if device or (isinstance(rsc, Primitive) and rsc.is_connection):
        return Needs.QUORUM
    if state.unfencing_in_use:
        return Needs.UNFENCING if options.fencing_enabled else Needs.QUORUM
    if options.fencing_enabled:
        return Needs.FENCING
    return Needs.NOTHING if options.no_quorum_policy == "ignore" else Needs.QUORUM


def is_fence_device(rsc: Resource) -> bool:
    return isinstance(rsc, Primitive) and rsc.standard.lower() == "stonith"


def target_role(state: ClusterState, rsc: Resource) -> Role:
    """The role that `target-role` limits the resource to; UNKNOWN when it sets no limit (7.6)."""
    text = rsc.meta.get("target-role")
    if text is None or text.lower() in ("started", "default"):
        return Role.UNKNOWN
    role = parse_role(text)
    if role is Role.STOPPED:
        return Role.STOPPED
    if role is Role.UNPROMOTED and is_promotable(rsc):
        return Role.UNPROMOTED
    return Role.UNKNOWN


def is_promotable(rsc: Resource) -> bool:
    """Is the resource, or the clone it belongs to, promotable?"""
    top = rsc.top
    return isinstance(top, Clone) and top.promotable


def apply_target_role(state: ClusterState, rsc: Resource) -> None:
    role = target_role(state, rsc)
    if role is not Role.UNKNOWN:
        rsc.next_role = role


def check_target_role(state: ClusterState, rsc: Resource) -> None:
    """Report a `target-role` that means nothing here."""
    text = rsc.meta.get("target-role")
    if text is None or text.lower() in ("started", "default", "stopped"):
        return
    if parse_role(text) is Role.UNKNOWN:
        message = f"target-role '{text}' is not a role; it is ignored"
    elif not is_promotable(rsc):
        message = f"target-role '{text}' needs a promotable clone; it is ignored"
    else:
        return
    state.config.report("error", "target-role", rsc.xml, message, attribute="target-role")


def boolean_meta(rsc: Resource, name: str, default: bool) -> bool:
    """False or true only when the text says so."""
    value = parse_boolean(rsc.meta.get(name))
    return default if value is None else value
