"""Small clusters for scenarios: CIB text from a few words, and what the policy engine makes of it.

`cib(...)` writes a CIB with nodes n1, n2, ... online and nothing active unless said; `placed(...)` assigns its resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from crm.policy.assign import assign
from crm.policy.constraints.read import read_constraints
from crm.policy.model import INFINITY, Assignment, ClusterState, Role
from crm.policy.state import unpack

NOW = 1_700_000_000
_NO_PARAMETERS = "f2317cad3d54cec5d7d7aa7d0bf35cf8"  # digest of an operation without parameters


def primitive(
    name: str, meta: Mapping[str, str] | None = None, *, utilization: str = "", stateful: bool = False
) -> str:
    """A Dummy, or a Stateful, with meta-attributes and `cpu=1 memory=2` as utilization."""
    agent = "Stateful" if stateful else "Dummy"
    parts = pairs("meta_attributes", name, meta or {})
    parts += pairs("utilization", name, dict(item.split("=") for item in utilization.split()))
    return f'<primitive id="{name}" class="ocf" provider="pacemaker" type="{agent}">{parts}</primitive>'


def group(name: str, *members: str, meta: Mapping[str, str] | None = None) -> str:
    return f'<group id="{name}">{pairs("meta_attributes", name, meta or {})}{"".join(members)}</group>'


def clone(name: str, child: str, meta: Mapping[str, str] | None = None) -> str:
    return f'<clone id="{name}">{pairs("meta_attributes", name, meta or {})}{child}</clone>'


def pairs(tag: str, owner: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    body = "".join(f'<nvpair id="{owner}-{tag}-{k}" name="{k}" value="{v}"/>' for k, v in values.items())
    return f'<{tag} id="{owner}-{tag}">{body}</{tag}>'


def location(rsc: str, node: str, score: int | str, **extra: str) -> str:
    return f'<rsc_location id="{rsc}-on-{node}-{score}" rsc="{rsc}" node="{node}" score="{score}"{_attributes(extra)}/>'


def colocation(dependent: str, primary: str, score: int | str, **extra: str) -> str:
    name = f"{dependent}-with-{primary}"
    return f'<rsc_colocation id="{name}" rsc="{dependent}" with-rsc="{primary}" score="{score}"{_attributes(extra)}/>'


def _attributes(extra: Mapping[str, str]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in extra.items())


def cib(
    *resources: str,
    constraints: tuple[str, ...] = (),
    nodes: int = 3,
    options: Mapping[str, str] | None = None,
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    capacity: Mapping[str, Mapping[str, str]] | None = None,
    active: Mapping[str, tuple[str, ...]] | None = None,
    state: Mapping[str, Mapping[str, str]] | None = None,
    quorate: bool = True,
) -> str:
    """CIB text. `active` maps a node to what runs there, `x promoted` for a promoted instance; `state` overrides a node's state."""
    names = [f"n{i}" for i in range(1, nodes + 1)]
    settings = {"stonith-enabled": "false", **(options or {})}
    node_list = "".join(
        f'<node id="{i}" uname="{name}">{pairs("instance_attributes", name, (attributes or {}).get(name, {}))}'
        f"{pairs('utilization', name, (capacity or {}).get(name, {}))}</node>"
        for i, name in enumerate(names, 1)
    )
    status = "".join(
        _node_state(str(i), name, (active or {}).get(name, ()), (state or {}).get(name, {}))
        for i, name in enumerate(names, 1)
    )
    return (
        '<cib crm_feature_set="3.19.0" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0" '
        f'have-quorum="{int(quorate)}" dc-uuid="1"><configuration><crm_config>'
        f'<cluster_property_set id="options">{_options(settings)}</cluster_property_set></crm_config>'
        f"<nodes>{node_list}</nodes><resources>{''.join(resources)}</resources>"
        f"<constraints>{''.join(constraints)}</constraints></configuration><status>{status}</status></cib>"
    )


def _options(settings: Mapping[str, str]) -> str:
    return "".join(f'<nvpair id="options-{name}" name="{name}" value="{value}"/>' for name, value in settings.items())


def _node_state(node_id: str, name: str, active: tuple[str, ...], state: Mapping[str, str]) -> str:
    values = {"in_ccm": "true", "crmd": "online", "join": "member", "expected": "member", **state}
    attributes = "".join(f' {key}="{value}"' for key, value in values.items())
    history = "".join(_history(text, number) for number, text in enumerate(active, 1))
    return (
        f'<node_state id="{node_id}" uname="{name}"{attributes}>'
        f'<lrm id="{node_id}"><lrm_resources>{history}</lrm_resources></lrm></node_state>'
    )


def _history(text: str, call: int) -> str:
    """What a started (or promoted) resource leaves behind: one successful start, and one promotion."""
    name, _, role = text.partition(" ")
    agent = "Stateful" if role else "Dummy"
    tasks = ("start", "promote") if role == "promoted" else ("start",)
    entries = "".join(
        f'<lrm_rsc_op id="{name}_last_{i}" operation_key="{name}_{task}_0" operation="{task}" call-id="{10 * call + i}" '
        f'rc-code="0" op-status="0" interval="0" op-digest="{_NO_PARAMETERS}" crm_feature_set="3.19.0" '
        f'transition-key="{call}:1:0:11111111-2222-3333-4444-555555555555" '
        f'transition-magic="0:0;{call}:1:0:11111111-2222-3333-4444-555555555555"/>'
        for i, task in enumerate(tasks)
    )
    return f'<lrm_resource id="{name}" class="ocf" provider="pacemaker" type="{agent}">{entries}</lrm_resource>'


@dataclass(frozen=True)
class Placed:
    """An assigned cluster, asked by ids."""

    state: ClusterState
    assignment: Assignment

    def node(self, name: str) -> str | None:
        """Where a primitive or instance will run."""
        node = self.assignment.node[self.state.by_id[name].index]
        return None if node is None else node.name

    def nodes(self, name: str) -> list[str]:
        """Where the parts of a collective will run, by name."""
        found = [self.assignment.node[leaf.index] for leaf in self.state.by_id[name].leaves()]
        return sorted(node.name for node in found if node is not None)

    def role(self, name: str) -> Role:
        return self.assignment.next_role[self.state.by_id[name].index]

    def scores(self, name: str, step: str = "primitive") -> tuple[int, ...]:
        """The scores that were printed last for a resource in a step, nodes in name order."""
        return self.all_scores(name, step)[-1]

    def all_scores(self, name: str, step: str = "primitive") -> list[tuple[int, ...]]:
        """Every set of scores that was printed for a resource in a step."""
        head = f"pcmk__{step}_assign: {name} allocation score on "
        found: list[list[int]] = []
        seen: set[str] = set()
        for line in self.assignment.score_lines:
            if line.startswith(head):
                node, _, score = line.removeprefix(head).partition(": ")
                if not found or node in seen:
                    found.append([])
                    seen = set()
                seen.add(node)
                found[-1].append(_number(score))
        return [tuple(scores) for scores in found]

    def promotion(self, name: str) -> int:
        head = f"{name} promotion score "
        line = next(line for line in self.assignment.score_lines if line.startswith(head))
        return _number(line.rpartition(": ")[2])


def _number(text: str) -> int:
    return {"INFINITY": INFINITY, "-INFINITY": -INFINITY}.get(text) or int(text)


def parsed(text: str) -> etree._Element:
    return etree.fromstring(text)


def placed(text: str) -> Placed:
    """Assign the resources of a CIB."""
    state = unpack(parsed(text), NOW)
    constraints = read_constraints(state)
    return Placed(state, assign(state, constraints.locations, constraints.colocations, show_scores=True))
