"""The transition graph as text (19): which actions are written, in which order, with which attributes and inputs.

Theory of operation. Resources are visited in list order and their actions written newest first; whatever is left (fencing, shutdowns,
pseudo-actions of no resource) follows. Text is produced directly: a large first transition has some seventy thousand synapses, nearly
all of them alike, so what an action's text shares with others (its resource's line, its parameters, its meta-attributes) is made once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from crm.policy.actions import notify
from crm.policy.actions.model import ALWAYS, OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.actions.plan import Plan
from crm.policy.actions.remote import router
from crm.policy.model import Bundle, Clone, Group, Node, Primitive, Resource, Role
from crm.policy.ordering.executable import Inputs, make_executable
from crm.policy.ordering.propagate import Propagation
from crm.policy.ordering.validate import counts, merged_inputs
from crm.policy.values import parse_integer

FEATURE_SET: Final = "3.20.5"

# Places of a node's name and id in a text that is otherwise the same for all nodes; no XML can contain them.
_NAME, _ID = "\ufffe", "\uffff"

_SPECIAL = re.compile('[<>&"\x00-\x1f\x7f]')
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}


def escape(text: str) -> str:
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _ENTITIES.get(match.group(), f"&#x{ord(match.group()):X};"), text)


def attribute_text(attributes: Iterable[tuple[str, str | None]]) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in attributes if value is not None)


class GraphWriter:
    """Writes one plan. `synapses` keeps the actions in the order written, `inputs` what each waits for."""

    def __init__(self, plan: Plan, propagation: Propagation) -> None:
        self.plan = plan
        self.propagation = propagation
        self.operations = plan.state.operations
        self.synapses: list[Action] = []
        self.inputs: list[list[Action]] = []
        self._inputs: Inputs = {}
        self._meta_names: dict[int, tuple[dict[str, str], dict[str, str]]] = {}
        self._resource_lines: dict[Resource, str] = {}
        self._above: dict[Resource, dict[str, str]] = {}
        self._texts: dict[tuple[object, ...], tuple[str, str, str]] = {}
        self._node_texts: dict[Node, str] = {}

    # --- selection and order (19.1) -----------------------------------------------------------------------------------

    def collect(self) -> None:
        """Choose what is written, and in which order."""
        for rsc in self.plan.resource_order:
            self._collect_resource(rsc)
        self._maintenance_nodes()
        for action in reversed(self.plan.actions):
            self._consider(action)
        self._make_executable()

    def _make_executable(self) -> None:
        inputs = self._inputs
        if make_executable(self.plan, inputs):
            for action in self.synapses:
                action.synapse = -1
            self.synapses = [action for action in self.synapses if action in inputs]
            for number, action in enumerate(self.synapses):
                action.synapse = number
        self.inputs = [[first for first, _ in inputs[action]] for action in self.synapses]

    def _collect_resource(self, rsc: Resource) -> None:
        plan = self.plan
        if isinstance(rsc, Clone):
            for action in reversed(plan.by_rsc[rsc.index]):
                self.propagation.summaries.of(action)
            notify.create_notifications(plan, rsc)
            for instance in plan.children[rsc.index]:
                self._collect_resource(instance)
            self._consider_all(rsc)
        elif isinstance(rsc, Bundle):
            if rsc.inner_clone is not None:
                self._collect_resource(rsc.inner_clone)
            for replica in rsc.replicas:
                for part in (replica.ip, replica.container, replica.connection):
                    if part is not None:
                        self._collect_resource(part)
        else:
            self._consider_all(rsc)
            if isinstance(rsc, Group):
                for member in plan.children[rsc.index]:
                    self._collect_resource(member)

    def _consider_all(self, rsc: Resource) -> None:
        for action in reversed(self.plan.by_rsc[rsc.index]):
            self._consider(action)

    def _maintenance_nodes(self) -> None:
        plan = self.plan
        changed = [node for node in plan.state.nodes if node.is_remote and node.maintenance != node.remote_maintenance]
        if changed:
            action = plan.loose_pseudo("maintenance_nodes", optional=True)
            action.flags |= ALWAYS

    def _consider(self, action: Action) -> None:
        if action.synapse >= 0 or not self._is_written(action):
            return
        plan = self.plan
        self._inputs[action] = [
            (first, bits) for first, bits in merged_inputs(action) if counts(plan, first, action, bits)
        ]
        action.synapse = len(self.synapses)
        self.synapses.append(action)

    def _is_written(self, action: Action) -> bool:
        flags = action.flags
        if not flags & RUNNABLE or (flags & OPTIONAL and not flags & ALWAYS):
            return False
        plan, rsc, node = self.plan, action.rsc, action.node
        if (
            rsc is not None
            and not plan.managed[rsc.index]
            and action.task != "monitor"
            and action.get_meta("interval") in (None, "0")
        ):
            return False
        if flags & PSEUDO or action.task in ("stonith", "do_shutdown"):
            return True
        if node is None:
            return False
        if action.task == "lrm_delete" or (node.is_guest and not plan.reset[node.index]):
            return True
        return plan.online[node.index] and not plan.unclean[node.index]

    # --- text (19.2) --------------------------------------------------------------------------------------------------

    def text(self) -> str:
        out: list[str] = []
        references: dict[Action, str] = {}
        for number, action in enumerate(self.synapses):
            reference = references.get(action) or self._reference(action)
            references[action] = reference
            triggers = []
            for first in self.inputs[number]:
                known = references.get(first)
                if known is None:
                    known = references[first] = self._reference(first)
                triggers.append(f"      <trigger>\n        <{known}/>\n      </trigger>\n")
            priority = self.priority_of(action)
            out.append(
                f'  <synapse id="{number}"{f" priority={chr(34)}{priority}{chr(34)}" if priority > 0 else ""}>\n'
                f"    <action_set>\n{self._element(action, reference)}    </action_set>\n"
            )
            if triggers:
                out.append("    <inputs>\n")
                out += triggers
                out.append("    </inputs>\n  </synapse>\n")
            else:
                out.append("    <inputs/>\n  </synapse>\n")
        head = f"<transition_graph{attribute_text(self._root())}"
        return "".join((head, ">\n", *out, "</transition_graph>\n")) if out else f"{head}/>\n"

    def recheck_by(self) -> int | None:
        """A rule's result changes, a failure expires, a shutdown lock ends."""
        state = self.plan.state
        limit = state.options.shutdown_lock_limit_ms // 1000
        ends = [since + limit + 1 for _, since in self.plan.locks.values()] if limit > 0 else []
        return min((when for when in (*state.recheck_candidates, *ends) if when > state.now), default=None)

    def _root(self) -> list[tuple[str, str | None]]:
        options = self.plan.options
        recheck = self.recheck_by()
        limit = options.migration_limit
        return [
            ("cluster-delay", options.cluster_delay),
            ("fencing-timeout", options.fencing_timeout),
            ("failed-stop-offset", "INFINITY"),
            ("failed-start-offset", "INFINITY" if options.start_failure_is_fatal else "1"),
            ("batch-limit", options.batch_limit),
            ("transition_id", "1"),
            ("migration-limit", limit if limit.lstrip("+").isdigit() and (parse_integer(limit) or 0) > 0 else None),
            ("recheck-by", str(recheck) if recheck is not None else None),
        ]

    def _reference(self, action: Action) -> str:
        """Element name and attributes, as they stand in the action itself and in every trigger that names it."""
        tag, extra = "rsc_op", ""
        if action.task == "stonith":
            tag = "pseudo_event" if action.flags & PSEUDO else "crm_event"
        elif action.task in ("do_shutdown", "clear_failcount"):
            tag = "crm_event"
        elif action.task == "lrm_delete":
            tag, extra = "crm_event", ' mode="cib"'
        elif action.flags & PSEUDO:
            tag = "pseudo_event"
        key = self.operation_key(action)
        internal = f' internal_operation_key="{escape(action.key)}"' if key is not action.key else ""
        node = ""
        if action.node is not None and has_node_attributes(action):
            node = self._node_texts.get(action.node) or self._node_text(action.node)
            if action.node.is_remote:
                via = router(self.plan, action)
                if via is not None:
                    node += f' router_node="{escape(via.name)}"'
        return (
            f'{tag} id="{action.id}"{extra} operation="{escape(action.task)}" operation_key="{escape(key)}"'
            f"{internal}{node}"
        )

    def _node_text(self, node: Node) -> str:
        text = self._node_texts[node] = f' on_node="{escape(node.name)}" on_node_uuid="{escape(node.id)}"'
        return text

    def _element(self, action: Action, reference: str) -> str:
        lock = self._shutdown_lock(action)
        tag = reference.partition(" ")[0]
        lines = [f"      <{reference}{lock}>\n"]
        rsc = action.rsc
        if isinstance(rsc, Primitive) and not action.flags & PSEUDO:
            lines.append(self._resource_line(rsc))
        lines.append(self._attributes(action))
        if not action.flags & PSEUDO or action.task == "stonith":
            lines.append(self._downed(action))
        if action.task == "maintenance_nodes":
            lines.append(self._maintenance())
        lines.append(f"      </{tag}>\n")
        return "".join(lines)

    def _shutdown_lock(self, action: Action) -> str:
        lock = self.plan.locks.get(action.rsc) if action.rsc is not None else None
        if lock is None or lock[0] is not action.node:
            return ""
        node, since = lock
        if self.plan.shutdown[node.index] and action.task != "stop":
            return ""
        return f' shutdown-lock="{since}"'

    def priority_of(self, action: Action) -> int:
        return max(self.plan.priority[action.rsc.index] if action.rsc is not None else 0, action.priority)

    def operation_key(self, action: Action) -> str:
        """The key under which the operation is recorded: by history's name for an instance, if it has one (19.2)."""
        rsc = action.rsc
        if isinstance(rsc, Primitive) and rsc.history_name is not None and rsc.history_name != rsc.id:
            return history_key(action, rsc.history_name)
        return action.key

    @staticmethod
    def primitive_ids(rsc: Primitive) -> tuple[str, str | None]:
        """`id` and `long-id` of a primitive in the graph."""
        name = rsc.history_name
        if rsc.removed and name is not None:
            return name, rsc.id
        if not rsc.unique:
            return rsc.config_id, name if name is not None and name != rsc.config_id else rsc.id
        return rsc.id, None

    def _resource_line(self, rsc: Primitive) -> str:
        line = self._resource_lines.get(rsc)
        if line is None:
            identity, long_id = self.primitive_ids(rsc)
            attributes = [
                ("id", identity),
                ("long-id", long_id),
                ("class", rsc.standard),
                ("provider", rsc.provider or None),
                ("type", rsc.type),
            ]
            line = self._resource_lines[rsc] = f"        <{rsc.xml.tag}{attribute_text(attributes)}/>\n"
        return line

    # --- attributes ---------------------------------------------------------------------------------------------------

    def attribute_values(self, action: Action) -> dict[str, str]:
        """Everything in the `attributes` element of an action, in no particular order."""
        values: dict[str, str] = {"crm_feature_set": FEATURE_SET}
        for source in (self.operations.extra(action.op, action.node), self._parameters_of(action)):
            for name, value in source.items():
                values.setdefault(name, value)
        for name, value in self._renamed(action.meta).items():
            values.setdefault(name, value)
        if action.own_meta is not None:
            for name, value in action.own_meta.items():
                values[_meta_name(name)] = value
        node = action.node
        if node is not None and has_node_attributes(action):
            values["CRM_meta_on_node"] = node.name
            values["CRM_meta_on_node_uuid"] = node.id
        if action.rsc is not None:
            values.update(self._structure(action.rsc))
            if node is not None and node.is_guest:
                self._add_host(action, node, values)
        return values

    def _attributes(self, action: Action) -> str:
        """What is the same for a resource on all nodes, but for the node itself, is put together once."""
        rsc, node = action.rsc, action.node
        if node is None or node.is_guest or not isinstance(rsc, Primitive) or rsc.is_connection:
            return self._attributes_text(self.attribute_values(action))
        kind = (
            rsc.index,
            has_node_attributes(action),
            id(self.operations.extra(action.op, node)),  # these three are shared and live as long as the plan
            id(self.operations.parameters(rsc, node)),
            id(action.meta),
            *(action.own_meta.items() if action.own_meta is not None else ()),
        )
        known = self._texts.get(kind)
        if known is None:
            values = self.attribute_values(action)
            if kind[1]:
                values["CRM_meta_on_node"], values["CRM_meta_on_node_uuid"] = _NAME, _ID
            before, _, rest = self._attributes_text(values).partition(_NAME)
            between, _, after = rest.partition(_ID)
            known = self._texts[kind] = (before, between, after)
        before, between, after = known
        return f"{before}{escape(node.name)}{between}{escape(node.id)}{after}" if kind[1] else before

    def _attributes_text(self, values: dict[str, str]) -> str:
        numbered = [name for name in values if name[:1].isdigit()]
        if not numbered:
            return f"        <attributes{attribute_text(sorted(values.items()))}/>\n"
        params = "".join(
            f"          <param{attribute_text((('name', name), ('value', values.pop(name))))}/>\n"
            for name in sorted(numbered)
        )
        return f"        <attributes{attribute_text(sorted(values.items()))}>\n{params}        </attributes>\n"

    def _parameters_of(self, action: Action) -> dict[str, str]:
        rsc = action.rsc
        if rsc is None or (action.node is None and not isinstance(rsc, Primitive)):
            return {}
        values = self.operations.parameters(rsc, action.node)
        if isinstance(rsc, Primitive) and rsc.is_connection and values.get("addr") == "#uname":
            launcher = rsc.launcher
            if launcher is not None:
                host = self.plan.node[launcher.index] or self.plan.current_node(launcher)
                if host is not None:
                    values = {**values, "addr": host.name}
        return values

    def _renamed(self, meta: dict[str, str]) -> dict[str, str]:
        """Meta-attributes under their graph names; one result per shared dictionary."""
        known = self._meta_names.get(id(meta))
        if known is None:
            known = (meta, {_meta_name(name): value for name, value in meta.items() if not _is_hidden(name)})
            self._meta_names[id(meta)] = known
        return known[1]

    def _structure(self, rsc: Resource) -> dict[str, str]:
        """What the resource and its ancestors add."""
        known = self._above.get(rsc)
        if known is not None:
            return known
        values: dict[str, str] = {}
        current: Resource | None = rsc
        launcher: Resource | None = None
        while current is not None:
            if isinstance(current, Primitive):
                if current.instance is not None:
                    values["CRM_meta_clone"] = str(current.instance)
                remote = current.meta.get("remote-node")
                if remote is not None:
                    values["CRM_meta_remote_node"] = remote
                if current.launcher is not None and current.launcher is not current:
                    launcher = current.launcher
                address = current.meta.get("external-ip")
                if address is not None:
                    values["pcmk_external_ip"] = address
            elif isinstance(current, Clone):
                _clone_values(current, values)
            current = current.parent
        if launcher is not None:
            values["CRM_meta_container"] = launcher.id
        self._above[rsc] = values
        return values

    def _add_host(self, action: Action, node: Node, values: dict[str, str]) -> None:
        rsc = action.rsc
        assert rsc is not None
        container = self.plan.container_of(node)
        if container is None:
            return
        task = action.task
        if task in ("notify", "notified"):
            task = action.get_meta("notify_operation") or ""
        host: Node | None = None
        if task in ("stop", "stopped", "demote", "demoted"):
            host = self.plan.current_node(container)
        elif task in ("start", "running", "monitor", "promote", "promoted"):
            host = self.plan.node[container.index]
        if host is not None:
            values.setdefault("CRM_meta_physical_host", host.name)
            target = rsc.meta.get("container-attribute-target")
            if target is not None:
                values.setdefault("CRM_meta_container_attribute_target", target)

    def _downed(self, action: Action) -> str:
        node = action.node
        ids: list[str] = []
        if action.task == "do_shutdown" and node is not None:
            ids = [node.id]
        elif action.task == "stonith" and node is not None:
            if action.get_meta("stonith_action") in ("off", "reboot"):
                ids = [node.id]
                for active in node.running:
                    if isinstance(active, Primitive) and active.remote_node is not None and active.remote_node.is_guest:
                        ids.append(active.remote_node.id)
        elif (
            action.task == "stop"
            and isinstance(action.rsc, Primitive)
            and action.rsc.is_connection
            and not any(
                relation.first.task == "migrate_from" and relation.first.rsc is action.rsc for relation in action.inputs
            )
        ):
            ids = [action.rsc.id]
        if not ids:
            return ""
        nodes = "".join(f'          <node id="{escape(identity)}"/>\n' for identity in ids)
        return f"        <downed>\n{nodes}        </downed>\n"

    def _maintenance(self) -> str:
        nodes = "".join(
            f'          <node id="{escape(node.id)}" node_in_maintenance="{int(node.maintenance)}"/>\n'
            for node in self.plan.state.nodes
            if node.is_remote and node.maintenance != node.remote_maintenance
        )
        return f"        <maintenance>\n{nodes}        </maintenance>\n"


def _is_hidden(name: str) -> bool:
    return "#" in name or ":" in name


def _meta_name(name: str) -> str:
    return "CRM_meta_" + name.replace("-", "_")


def _clone_values(clone: Clone, values: dict[str, str]) -> None:
    values["CRM_meta_globally_unique"] = "true" if clone.unique else "false"
    values["CRM_meta_notify"] = "true" if clone.notify else "false"
    values["CRM_meta_clone_max"] = str(clone.clone_max)
    values["CRM_meta_clone_node_max"] = str(clone.clone_node_max)
    if clone.promotable:
        values["CRM_meta_promoted_max"] = values["CRM_meta_master_max"] = str(clone.promoted_max)
        values["CRM_meta_promoted_node_max"] = values["CRM_meta_master_node_max"] = str(clone.promoted_node_max)


def has_node_attributes(action: Action) -> bool:
    return not action.flags & PSEUDO or action.task == "stonith"


def history_key(action: Action, name: str) -> str:
    """An operation key under the name that history knows the instance by."""
    if action.task == "notify":
        return f"{name}_{action.get_meta('notify_type')}_notify_{action.get_meta('notify_operation')}_0"
    if action.task == "notified":
        return f"{name}_notified_0"
    task = (action.get_meta("operation") or "cancel") if action.task == "cancel" else action.task
    interval = action.get_meta("interval") or str(action.interval_ms)
    return f"{name}_{task}_{interval}"


__all__ = ["GraphWriter", "Role", "escape", "history_key"]
