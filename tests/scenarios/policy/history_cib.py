"""Clusters with a history: CIB text from a few words, and what the status listing says of it.

`entry` is one operation's record, `history` a resource's on a node, `node` a node's state with histories, `read` unpacks all of it. Nodes are n1, n2, ...
in the order given; entries are numbered in the order written, so a later one is newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from lxml import etree
from policy_cib import NOW, pairs

from crm.policy.model import ClusterState, FenceNode
from crm.policy.render.status import header_lines, status_lines
from crm.policy.state import unpack

PLAIN = "f2317cad3d54cec5d7d7aa7d0bf35cf8"  # digest of an operation without parameters
RECURRING = "4811cef7f7f94e3a35a70be7916cb2fd"  # the same, recurring with the default timeout
_UUID = "11111111-2222-3333-4444-555555555555"
_calls = count(1)


def entry(
    task: str,
    rc: int = 0,
    *,
    every: int = 0,
    status: int = 0,
    expected: int | None = None,
    age: int = 60,
    name: str | None = None,
    call: int | None = None,
    like: Mapping[str, str] | None = None,
    **attributes: str,
) -> str:
    """One operation, with RSC for the resource; `every` in seconds, `age` since it ended, `name` instead of the usual id.

    Further attributes by name, or several at once as `like`.
    """
    key = f"RSC_{task}_{every * 1000}"
    wanted = (7 if task == "monitor" and not every else 0) if expected is None else expected
    values = {
        "id": f"RSC_{name}" if name else key,
        "operation_key": key,
        "operation": task,
        "interval": str(every * 1000),
        "call-id": str(next(_calls) if call is None else call),
        "rc-code": str(rc),
        "op-status": str(status),
        "last-rc-change": str(NOW - age),
        "transition-key": f"1:1:{wanted}:{_UUID}",
        "transition-magic": f"{status}:{rc};1:1:{wanted}:{_UUID}",
        "op-digest": RECURRING if every else PLAIN,
        **{
            name.replace("_", "-") if not name.startswith("migrate") else name: v
            for name, v in {**(like or {}), **attributes}.items()
        },
    }
    return f"<lrm_rsc_op {' '.join(f'{name}={v!r}' for name, v in values.items())}/>"


def pending(task: str, **more: int) -> str:
    return entry(task, 193, status=-1, call=-1, **more)  # type: ignore[arg-type]


def history(rsc: str, *entries: str, agent: str = "Dummy", **attributes: str) -> str:
    extra = "".join(f" {name.replace('_', '-')}='{value}'" for name, value in attributes.items())
    body = "".join(entries).replace("RSC", rsc)
    return f"<lrm_resource id='{rsc}' class='ocf' provider='pacemaker' type='{agent}'{extra}>{body}</lrm_resource>"


def state(
    *histories: str,
    transient: Mapping[str, str] | None = None,
    remote: str | None = None,
    like: Mapping[str, str] | None = None,
    **attributes: str,
) -> str:
    """A node_state with NUMBER to be filled in, or that of a Remote node; online unless said otherwise."""
    identity = remote or "NUMBER"
    values = {"id": identity, "uname": remote or "nNUMBER"}
    if remote is None:
        values |= {"in_ccm": "true", "crmd": "online", "join": "member", "expected": "member"}
    values |= {**(like or {}), **attributes}
    own = "".join(f' {name}="{value}"' for name, value in values.items() if value)
    shown = f'<transient_attributes id="{identity}">{pairs("instance_attributes", f"t{identity}", transient or {})}'
    return (
        f"<node_state{own}>{shown}</transient_attributes>"
        f'<lrm id="{identity}"><lrm_resources>{"".join(histories)}</lrm_resources></lrm></node_state>'
    )


OFFLINE = {"in_ccm": "false", "crmd": "offline", "join": "down", "expected": "down"}


@dataclass(frozen=True)
class Cluster:
    """A cluster as it was read."""

    state: ClusterState

    @property
    def lines(self) -> list[str]:
        return [line.strip().removeprefix("* ") for line in status_lines(self.state) if line.strip()]

    @property
    def header(self) -> list[str]:
        return [line.strip() for line in header_lines(self.state) if line.strip()]

    def shown(self, name: str) -> str:
        """What the listing says of a primitive, after its agent."""
        found = [line.partition("\t ")[2].strip() for line in self.lines if line.startswith(f"{name}\t")]
        assert len(found) == 1, f"{name} is listed {len(found)} times in {self.lines}"
        return found[0]

    def clone(self, name: str) -> list[str]:
        """The lines below a clone, group or bundle."""
        lines = status_lines(self.state)
        start = next(i for i, line in enumerate(lines) if f": {name} [" in line or f"Group: {name}:" in line)
        depth = len(lines[start]) - len(lines[start].lstrip())
        found = []
        for line in lines[start + 1 :]:
            if len(line) - len(line.lstrip()) <= depth:
                break
            found.append(line.strip().removeprefix("* ").replace("\t", " ").replace("  ", " "))
        return found

    def banned(self, name: str) -> list[str]:
        """Nodes where history forbids a resource."""
        table = self.state.by_id[name].table
        return sorted(node.name for node, score in table.items() if score <= -1_000_000)

    @property
    def fenced(self) -> dict[str, str]:
        """Nodes to be fenced, with the first reason."""
        found: dict[str, str] = {}
        for request in self.state.requests:
            if isinstance(request, FenceNode):
                found.setdefault(request.node.name, request.reason)
        return found

    def requests(self, kind: type) -> list[str]:
        """Requests of a kind, as RESOURCE NODE, each once."""
        found = (
            f"{request.resource.id} {request.node.name}"  # type: ignore[union-attr]
            for request in self.state.requests
            if isinstance(request, kind)
        )
        return list(dict.fromkeys(found))


def text(
    resources: Iterable[str],
    states: Iterable[str],
    *,
    options: Mapping[str, str] | None = None,
    nodes: int | None = None,
    node_attributes: Mapping[str, str] | None = None,
    constraints: str = "",
    more: str = "",
    root: str = "",
    schema: str = "pacemaker-4.0",
    quorate: bool = True,
) -> str:
    """CIB text. Without fencing unless an option says so; `more` are further sections, `root` attributes of the cib element."""
    filled = [each.replace("NUMBER", str(i)) for i, each in enumerate(states, 1)]
    number = nodes if nodes is not None else sum(1 for each in filled if 'uname="n' in each)
    settings = {"fencing-enabled": "false", **(options or {})}
    listed = "".join(
        f'<node id="{i}" uname="n{i}">{pairs("instance_attributes", f"n{i}", node_attributes or {})}</node>'
        for i in range(1, number + 1)
    )
    return (
        f'<cib validate-with="{schema}" crm_feature_set="3.19.0" have-quorum="{int(quorate)}" dc-uuid="1" {root}><configuration>'
        f"<crm_config>{pairs('cluster_property_set', 'options', settings)}</crm_config><nodes>{listed}</nodes>"
        f"<resources>{''.join(resources)}</resources><constraints>{constraints}</constraints>{more}</configuration>"
        f"<status>{''.join(filled)}</status></cib>"
    )


def read(*args: object, now: int = NOW, **kwargs: object) -> Cluster:
    return Cluster(unpack(etree.fromstring(text(*args, **kwargs)), now))  # type: ignore[arg-type]


def dummy(
    name: str, *ops: str, meta: Mapping[str, str] | None = None, agent: str = "Dummy", parameters: str = ""
) -> str:
    """A primitive; an op is `monitor 10s on-fail=block role=Promoted`."""
    found = []
    for op in ops:
        task, interval, *extra = op.split()
        values = "".join(f' {word.partition("=")[0]}="{word.partition("=")[2]}"' for word in extra)
        found.append(f'<op id="{name}-{task}-{interval}" name="{task}" interval="{interval}"{values}/>')
    operations = f"<operations>{''.join(found)}</operations>" if found else ""
    given = pairs("instance_attributes", name, dict(item.split("=") for item in parameters.split()))
    return (
        f'<primitive id="{name}" class="ocf" provider="pacemaker" type="{agent}">'
        f"{given}{pairs('meta_attributes', name, meta or {})}{operations}</primitive>"
    )


DEVICE = '<primitive id="fencer" class="stonith" type="fence_dummy"/>'
FENCING = {"fencing-enabled": "true"}
