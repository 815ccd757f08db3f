"""Random clusters and what befalls them, all from one seed.

`RandomCluster(seed)` makes a configuration with every kind of resource and constraint, and nodes that are online with an empty history.
`perturb` lets something happen: a node is lost, leaves, comes back, goes into standby; an operation fails; an administrator changes
the configuration. The CIB is an lxml tree, changed in place.
"""

from __future__ import annotations

import random

from lxml import etree
from lxml.etree import _Element

from crm.policy import inject

KINDS = (
    "primitive",
    "primitive",
    "primitive",
    "group",
    "group",
    "clone",
    "cloned-group",
    "promotable",
    "bundle",
    "guest",
    "remote",
)
SCORES = ("INFINITY", "INFINITY", "-INFINITY", "100", "-100", "50", "500000")


class RandomCluster:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.counter = 0
        self.fencing = self.random.random() < 0.8
        self.nodes = [f"n{i}" for i in range(1, self.random.randint(2, 5) + 1)]
        self.tops: list[str] = []
        self.leaves: list[str] = []  # ids of the primitives that can fail
        self.clones: list[str] = []
        self.promotables: list[str] = []
        self.remotes: list[str] = []
        self.cib = self._make()

    def new_id(self, prefix: str) -> str:
        self.counter += 1
        return f"{prefix}{self.counter}"

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- configuration ------------------------------------------------------------------------------------------------

    def _make(self) -> _Element:
        resources = "".join(self._resource(self.random.choice(KINDS)) for _ in range(self.random.randint(2, 9)))
        if self.fencing:
            resources += '<primitive id="Fencing" class="stonith" type="fence_dummy"/>'
        constraints = "".join(self._constraint() for _ in range(self.random.randint(0, 10)))
        options = {
            "fencing-enabled": str(self.fencing).lower(),
            "no-quorum-policy": self.random.choice(("stop", "ignore", "freeze", "demote")),
            "placement-strategy": self.random.choice(("default", "default", "default", "utilization", "balanced")),
            "enable-startup-probes": self.random.choice(("true", "true", "true", "false")),
            "concurrent-fencing": self.random.choice(("true", "false")),
        }
        pairs = "".join(f'<nvpair id="o-{name}" name="{name}" value="{value}"/>' for name, value in options.items())
        nodes = "".join(
            f'<node id="{i}" uname="{name}"><utilization id="u-{name}"><nvpair id="u-{name}-cpu" name="cpu" value="8"/>'
            "</utilization></node>"
            for i, name in enumerate(self.nodes, 1)
        )
        states = "".join(
            f'<node_state id="{i}" uname="{name}" in_ccm="true" crmd="online" join="member" expected="member">'
            f'<lrm id="{i}"><lrm_resources/></lrm></node_state>'
            for i, name in enumerate(self.nodes, 1)
        )
        return etree.fromstring(
            '<cib crm_feature_set="3.20.0" validate-with="pacemaker-4.0" admin_epoch="0" epoch="1" num_updates="0" '
            'have-quorum="1" dc-uuid="1"><configuration><crm_config><cluster_property_set id="o">'
            f"{pairs}</cluster_property_set></crm_config><nodes>{nodes}</nodes><resources>{resources}</resources>"
            f"<constraints>{constraints}</constraints></configuration><status>{states}</status></cib>"
        )

    def _meta(self, owner: str, values: dict[str, str]) -> str:
        if not values:
            return ""
        pairs = "".join(
            f'<nvpair id="{owner}-{name}" name="{name}" value="{value}"/>' for name, value in values.items()
        )
        return f'<meta_attributes id="{owner}-meta">{pairs}</meta_attributes>'

    def _common(self) -> dict[str, str]:
        values: dict[str, str] = {}
        if self.chance(0.3):
            values["resource-stickiness"] = self.random.choice(("1", "100", "INFINITY"))
        if self.chance(0.2):
            values["priority"] = str(self.random.randint(1, 10))
        if self.chance(0.2):
            values["migration-threshold"] = "1"
        if self.chance(0.05):
            values["critical"] = "false"
        if self.chance(0.05):
            values["target-role"] = "Stopped"
        return values

    def _primitive(self, agent: str = "Dummy", meta: dict[str, str] | None = None, name: str | None = None) -> str:
        name = name or self.new_id("p")
        self.leaves.append(name)
        operations = f'<op id="{name}-m10" name="monitor" interval="10s"/>'
        if agent == "Stateful":
            operations += f'<op id="{name}-m11" name="monitor" interval="11s" role="Promoted"/>'
        elif self.chance(0.1):
            operations += f'<op id="{name}-m12" name="monitor" interval="12s" role="Stopped"/>'
        utilization = ""
        if self.chance(0.3):
            utilization = (
                f'<utilization id="{name}-u"><nvpair id="{name}-u-cpu" name="cpu" value="{self.random.randint(1, 4)}"/>'
                "</utilization>"
            )
        return (
            f'<primitive id="{name}" class="ocf" provider="pacemaker" type="{agent}">{self._meta(name, meta or {})}'
            f'<instance_attributes id="{name}-ia"><nvpair id="{name}-ia-x" name="x" value="1"/></instance_attributes>'
            f"{utilization}<operations>{operations}</operations></primitive>"
        )

    def _resource(self, kind: str) -> str:
        values = self._common()
        if kind == "primitive":
            if self.chance(0.3):
                values["allow-migrate"] = "true"
            text = self._primitive(meta=values)
            self.tops.append(self.leaves[-1])
            return text
        if kind == "guest":
            name = self.new_id("vm")
            node = self.new_id("guest")
            self.remotes.append(node)
            self.tops.append(name)
            return self._primitive(meta={**values, "remote-node": node}, name=name)
        if kind == "remote":
            name = self.new_id("remote")
            self.remotes.append(name)
            self.leaves.append(name)
            return (
                f'<primitive id="{name}" class="ocf" provider="pacemaker" type="remote">'
                f'<operations><op id="{name}-m" name="monitor" interval="20s"/></operations></primitive>'
            )
        if kind == "group":
            return self._group(values)
        if kind == "bundle":
            return self._bundle()
        return self._clone(kind, values)

    def _group(self, values: dict[str, str]) -> str:
        name = self.new_id("g")
        self.tops.append(name)
        if self.chance(0.1):
            values["ordered"] = "false"
        members = "".join(self._primitive() for _ in range(self.random.randint(1, 4)))
        return f'<group id="{name}">{self._meta(name, values)}{members}</group>'

    def _clone(self, kind: str, values: dict[str, str]) -> str:
        name = self.new_id("c")
        self.tops.append(name)
        self.clones.append(name)
        for meta, probability in (("interleave", 0.5), ("notify", 0.3), ("ordered", 0.2)):
            if self.chance(probability):
                values[meta] = "true"
        if self.chance(0.3):
            values["clone-max"] = str(self.random.randint(1, len(self.nodes)))
        if kind == "promotable":
            values["promotable"] = "true"
            self.promotables.append(name)
            child = self._primitive("Stateful")
        elif kind == "cloned-group":
            group = self.new_id("cg")
            child = (
                f'<group id="{group}">{"".join(self._primitive() for _ in range(self.random.randint(1, 3)))}</group>'
            )
        else:
            child = self._primitive()
            if self.chance(0.2):
                values["globally-unique"] = "true"
                values["clone-node-max"] = "2"
        return f'<clone id="{name}">{self._meta(name, values)}{child}</clone>'

    def _bundle(self) -> str:
        name = self.new_id("b")
        self.tops.append(name)
        replicas = self.random.randint(1, 3)
        inner = self._primitive() if self.chance(0.7) else ""
        network = (
            f'<network ip-range-start="10.0.{self.counter % 250}.1"/>' if inner or self.chance(0.5) else "<network/>"
        )
        return f'<bundle id="{name}"><podman image="i" replicas="{replicas}"/>{network}{inner}</bundle>'

    # --- constraints --------------------------------------------------------------------------------------------------

    def _constraint(self) -> str:
        name = self.new_id("k")
        if not self.tops:
            return ""
        first, then = self.random.choice(self.tops), self.random.choice(self.tops)
        kind = self.random.choice(
            ("location", "location", "order", "order", "order", "colocation", "colocation", "set")
        )
        if kind == "location":
            return (
                f'<rsc_location id="{name}" rsc="{first}" node="{self.random.choice(self.nodes)}" '
                f'score="{self.random.choice(SCORES)}"/>'
            )
        if first == then:
            return ""
        if kind == "colocation":
            role = ' with-rsc-role="Promoted"' if then in self.promotables and self.chance(0.5) else ""
            return (
                f'<rsc_colocation id="{name}" rsc="{first}" with-rsc="{then}"{role} '
                f'score="{self.random.choice(SCORES)}"/>'
            )
        if kind == "set":
            members = self.random.sample(self.tops, min(len(self.tops), self.random.randint(2, 4)))
            refs = "".join(f'<resource_ref id="{member}"/>' for member in members)
            extra = self.random.choice(("", ' sequential="false"', ' require-all="false" sequential="false"'))
            return f'<rsc_order id="{name}"><resource_set id="{name}-s"{extra}>{refs}</resource_set></rsc_order>'
        extra = f' kind="{self.random.choice(("Mandatory", "Mandatory", "Optional", "Serialize"))}"'
        if first in self.promotables and self.chance(0.5):
            extra += ' first-action="promote" then-action="start"'
        if self.chance(0.1):
            extra += ' symmetrical="false"'
        if self.chance(0.1):
            extra += ' require-all="false"'
        return f'<rsc_order id="{name}" first="{first}" then="{then}"{extra}/>'

    # --- events -------------------------------------------------------------------------------------------------------

    def perturb(self, now: int) -> str:
        """Something happens; a few words on what."""
        event = self.random.choice(
            (
                self._lose_node,
                self._lose_node,
                self._node_up,
                self._node_up,
                self._standby,
                self._fail,
                self._fail,
                self._fail,
                self._set_meta,
                self._change_parameter,
                self._remove,
                self._change_constraints,
                self._shut_down,
            )
        )
        return event(now)

    def _states(self) -> list[_Element]:
        return [e for e in self.cib.iterfind("status/node_state") if e.get("uname") in self.nodes]

    def _lose_node(self, now: int) -> str:
        up = [str(e.get("uname")) for e in self._states() if e.get("in_ccm") == "true"]
        if len(up) < 2:
            return "nothing (one node left)"
        return inject.node_fail(self.cib, self.random.choice(up))

    def _node_up(self, now: int) -> str:
        down = [e for e in self._states() if e.get("expected") == "down"]
        if not down:
            return "nothing (no node is down)"
        name = str(self.random.choice(down).get("uname"))
        return inject.node_up(self.cib, name)

    def _shut_down(self, now: int) -> str:
        up = [e for e in self._states() if e.get("in_ccm") == "true" and e.get("expected") == "member"]
        if len(up) < 2:
            return "nothing (one node left)"
        state = self.random.choice(up)
        identity = str(state.get("id"))
        attributes = inject.child(state, "transient_attributes", id=identity)
        block = inject.child(attributes, "instance_attributes", id=f"status-{identity}")
        etree.SubElement(block, "nvpair", id=f"status-{identity}-shutdown", name="shutdown", value=str(now))
        return f"shut down {state.get('uname')}"

    def _standby(self, now: int) -> str:
        node = self.random.choice(list(self.cib.iterfind("configuration/nodes/node")))
        identity = str(node.get("id"))
        block = inject.child(node, "instance_attributes", id=f"nodes-{identity}")
        for pair in block.iterchildren("nvpair"):
            if pair.get("name") == "standby":
                block.remove(pair)
                return f"online {node.get('uname')}"
        etree.SubElement(block, "nvpair", id=f"nodes-{identity}-standby", name="standby", value="on")
        return f"standby {node.get('uname')}"

    def _fail(self, now: int) -> str:
        """The newest recurring monitor of something that runs fails."""
        entries = [
            e
            for e in self.cib.iterfind(".//lrm_rsc_op")
            if e.get("operation") == "monitor" and e.get("interval") not in (None, "0")
        ]
        if not entries:
            return "nothing (no monitor runs)"
        entry = self.random.choice(entries)
        history = entry.getparent()
        assert history is not None
        state = next(parent for parent in history.iterancestors("node_state"))
        if state.get("in_ccm") == "false":
            return "nothing (its node is down)"
        name, interval = str(history.get("id")), int(entry.get("interval") or 0)
        inject.count_failure(state, name, "monitor", interval, now)
        expected = int((entry.get("transition-key") or "0:0:0:0").split(":")[2])
        call = max(int(e.get("call-id") or 0) for e in history.iterchildren("lrm_rsc_op")) + 1
        for old in list(history.iterchildren("lrm_rsc_op")):
            if (old.get("id") or "").endswith("_last_failure_0"):
                history.remove(old)
        failure = etree.SubElement(history, "lrm_rsc_op", dict(entry.attrib))
        rc = self.random.choice((1, 7))
        failure.set("id", f"{name}_last_failure_0")
        failure.set("rc-code", str(rc))
        failure.set("call-id", str(call))
        failure.set("last-rc-change", str(now))
        failure.set("transition-magic", f"0:{rc};{entry.get('transition-key')}")
        return f"monitor of {name} on {state.get('uname')} fails with {rc} (expected {expected})"

    def _set_meta(self, now: int) -> str:
        rsc = self._any_resource()
        name, value = self.random.choice(
            (("target-role", "Stopped"), ("target-role", "Started"), ("is-managed", "false"), ("is-managed", "true"))
        )
        identity = str(rsc.get("id"))
        block = rsc.find("meta_attributes")
        if block is None:
            block = etree.Element("meta_attributes", id=f"{identity}-meta")
            rsc.insert(0, block)
        pair = next((p for p in block.iterchildren("nvpair") if p.get("name") == name), None)
        if pair is None:
            pair = etree.SubElement(block, "nvpair", id=f"{identity}-{name}", name=name)
        pair.set("value", value)
        return f"{name}={value} on {identity}"

    def _any_resource(self) -> _Element:
        return self.random.choice(list(self.cib.iterfind("configuration/resources/*")))

    def _change_parameter(self, now: int) -> str:
        pairs = list(self.cib.iterfind(".//resources//instance_attributes/nvpair"))
        if not pairs:
            return "nothing (no parameters)"
        pair = self.random.choice(pairs)
        pair.set("value", str(now))
        return f"parameter {pair.get('id')} changed"

    def _remove(self, now: int) -> str:
        """A resource is taken out of the configuration with everything that names it, running or not."""
        rsc = self._any_resource()
        if rsc.get("class") == "stonith" or rsc.get("type") == "remote":
            return "nothing (kept)"
        gone = {str(e.get("id")) for e in rsc.iter() if e.get("id")}
        parent = rsc.getparent()
        assert parent is not None
        parent.remove(rsc)
        constraints = self.cib.find("configuration/constraints")
        assert constraints is not None
        for constraint in list(constraints):
            named = {constraint.get(a) for a in ("rsc", "with-rsc", "first", "then")}
            named |= {e.get("id") for e in constraint.iter("resource_ref")}
            if named & gone:
                constraints.remove(constraint)
        self.tops = [name for name in self.tops if name not in gone]
        return f"{rsc.get('id')} removed"

    def _change_constraints(self, now: int) -> str:
        constraints = self.cib.find("configuration/constraints")
        assert constraints is not None
        if len(constraints) and self.chance(0.5):
            constraint = self.random.choice(list(constraints))
            constraints.remove(constraint)
            return f"constraint {constraint.get('id')} removed"
        text = self._constraint()
        if not text:
            return "nothing (no constraint)"
        constraints.append(etree.fromstring(text))
        return text
