"""The configurations of simulated clusters, drawn from the seed: what runs, what depends on what, how failures are taken.

`Configuration` also knows, for the checkers, which ids are of what kind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

KINDS: Final = ("primitive", "primitive", "primitive", "group", "clone", "promotable")
OPTIONS: Final = {
    "stonith-enabled": ("true",),
    "start-failure-is-fatal": ("true", "false"),
    "stonith-action": ("reboot", "reboot", "off"),
    "batch-limit": ("0", "2", "5"),
    "concurrent-fencing": ("true", "false"),
    "cluster-delay": ("10s", "60s"),
    "dc-deadtime": ("2s", "5s"),
    "cluster-recheck-interval": ("10s", "60s", "15min"),
    "migration-limit": ("-1", "1"),
    "priority-fencing-delay": ("0", "1s"),
}
SCORES: Final = ("INFINITY", "INFINITY", "-INFINITY", "100", "-100")


@dataclass(slots=True)
class Configuration:
    """`primitives` run once in the cluster (members of groups too), `clones` on many nodes, `promotables` are those with a promoted role."""

    options: dict[str, str] = field(default_factory=dict)
    resources: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    primitives: list[str] = field(default_factory=list)
    clones: list[str] = field(default_factory=list)
    promotables: list[str] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)
    levels: list[str] = field(default_factory=list)

    def is_promotable(self, name: str) -> bool:
        return name.partition(":")[0] in self.promotables

    def describe(self) -> str:
        return f"{' '.join(self.tops)}; {len(self.constraints)} constraints; " + " ".join(
            f"{name}={value}" for name, value in {**self.options, **self.defaults}.items()
        )

    def sections(self) -> dict[str, str]:
        """The XML of each section of the configuration that is not empty at first."""
        options = _nvpairs("option", self.options)
        defaults = _nvpairs("default", self.defaults)
        levels = f"<fencing-topology>{''.join(self.levels)}</fencing-topology>"
        return {
            **({"fencing-topology": levels} if self.levels else {}),
            "crm_config": f'<crm_config><cluster_property_set id="options">{options}</cluster_property_set></crm_config>',
            "rsc_defaults": f'<rsc_defaults><meta_attributes id="defaults">{defaults}</meta_attributes></rsc_defaults>',
            "resources": f"<resources>{''.join(self.resources)}</resources>",
            "constraints": f"<constraints>{''.join(self.constraints)}</constraints>",
        }


def draw(rng: random.Random, nodes: list[str], fencing: bool) -> Configuration:
    made = Configuration()
    made.options = {name: rng.choice(values) for name, values in OPTIONS.items() if rng.random() < 0.6}
    made.options["stonith-enabled"] = "true" if fencing else "false"
    made.defaults = {
        name: rng.choice(values)
        for name, values in {
            "migration-threshold": ("2", "3", "1000000"),
            "failure-timeout": ("5s", "20s", "60s"),
            "resource-stickiness": ("0", "1", "100", "INFINITY"),
        }.items()
        if rng.random() < 0.6
    }
    for number in range(rng.randint(1, 4)):
        _top(made, rng, number)
    for number in range(rng.randint(1, 2) if fencing else 0):
        _device(made, rng, number, nodes)
    for number in range(rng.choice([0, 1, 2, 3])):
        _constraint(made, rng, number, nodes)
    return made


def draw_topology(made: Configuration, rng: random.Random, nodes: list[str]) -> None:
    """With two devices: for some nodes one after the other, for some both at a time."""
    devices = [name for name in ("fence0", "fence1") if any(f'id="{name}"' in text for text in made.resources)]
    if len(devices) < 2 or rng.random() < 0.5:
        return
    for node in nodes:
        levels = rng.choice((["fence0", "fence1"], ["fence1", "fence0"], ["fence0,fence1"]))
        made.levels += [
            f'<fencing-level id="{node}-{index}" target="{node}" index="{index}" devices="{level}"/>'
            for index, level in enumerate(levels, 1)
        ]


def _top(made: Configuration, rng: random.Random, number: int) -> None:
    kind = rng.choice(KINDS)
    match kind:
        case "primitive":
            name = f"p{number}"
            made.primitives.append(name)
            made.resources.append(_primitive(rng, name, rng.choice(("Dummy", "Dummy", "Moving"))))
        case "group":
            name = f"g{number}"
            members = [f"{name}m{i}" for i in range(rng.randint(2, 3))]
            made.primitives += members
            body = "".join(_primitive(rng, member, "Dummy") for member in members)
            made.resources.append(f'<group id="{name}">{body}</group>')
        case "clone":
            name, inner = f"c{number}", f"c{number}i"
            made.clones.append(inner)
            meta = _meta(name, {"interleave": rng.choice(("true", "false"))})
            made.resources.append(f'<clone id="{name}">{meta}{_primitive(rng, inner, "Dummy")}</clone>')
        case _:
            name, inner = f"m{number}", f"m{number}i"
            made.clones.append(inner)
            made.promotables.append(inner)
            meta = _meta(name, {"promotable": "true", "notify": rng.choice(("true", "false"))})
            made.resources.append(f'<clone id="{name}">{meta}{_primitive(rng, inner, "Stateful")}</clone>')
    made.tops.append(name)


def _primitive(rng: random.Random, name: str, agent: str) -> str:
    interval = rng.choice((1, 3, 10))
    operations = [("start", "0", "5s"), ("stop", "0", "5s"), ("promote", "0", "5s"), ("demote", "0", "5s")]
    operations.append(("monitor", f"{interval}s", "3s"))
    ops = "".join(
        f'<op id="{name}-{action}-{every}" name="{action}" interval="{every}" timeout="{limit}"/>'
        for action, every, limit in operations
    )
    if agent == "Stateful":
        ops += f'<op id="{name}-monitor-p" name="monitor" interval="{interval + 1}s" timeout="3s" role="Promoted"/>'
    meta = _meta(name, {"allow-migrate": "true"}) if agent == "Moving" else ""
    parameters = f'<instance_attributes id="{name}-ia"><nvpair id="{name}-ia-fixed" name="fixed" value="0"/></instance_attributes>'
    return f'<primitive id="{name}" class="ocf" provider="sim" type="{agent}">{parameters}{meta}<operations>{ops}</operations></primitive>'


def _device(made: Configuration, rng: random.Random, number: int, nodes: list[str]) -> None:
    values = {"pcmk_host_list": " ".join(nodes)}
    if rng.random() < 0.3:
        values["pcmk_reboot_action"] = "off"
    if rng.random() < 0.3:
        values["pcmk_delay_max"] = "1s"
    name = f"fence{number}"
    made.resources.append(
        f'<primitive id="{name}" class="stonith" type="fence_sim"><instance_attributes id="{name}-ia">'
        f"{_nvpairs(name, values)}</instance_attributes></primitive>"
    )


def _constraint(made: Configuration, rng: random.Random, number: int, nodes: list[str]) -> None:
    one, other, score = rng.choice(made.tops), rng.choice(made.tops), rng.choice(SCORES)
    if one == other or rng.random() < 0.3:
        made.constraints.append(
            f'<rsc_location id="k{number}" rsc="{one}" node="{rng.choice(nodes)}" score="{rng.choice(("100", "INFINITY", "-INFINITY"))}"/>'
        )
    elif rng.random() < 0.5:
        # Two that contradict each other would let a promoted role follow what follows it, without end; of two clones that want to be
        # everywhere and may be nowhere together the instances would go round without end, as they do in Pacemaker.
        apart = score == "-INFINITY" and one[0] in "cm" and other[0] in "cm"
        if not apart and not any(
            "rsc_colocation" in known and f'"{one}"' in known and f'"{other}"' in known for known in made.constraints
        ):
            made.constraints.append(f'<rsc_colocation id="k{number}" rsc="{one}" with-rsc="{other}" score="{score}"/>')
    else:
        kind = rng.choice(("Mandatory", "Optional", "Serialize"))
        made.constraints.append(f'<rsc_order id="k{number}" first="{one}" then="{other}" kind="{kind}"/>')


def _meta(name: str, values: dict[str, str]) -> str:
    return f'<meta_attributes id="{name}-meta">{_nvpairs(name + "-meta", values)}</meta_attributes>'


def _nvpairs(owner: str, values: dict[str, str]) -> str:
    return "".join(f'<nvpair id="{owner}-{name}" name="{name}" value="{value}"/>' for name, value in values.items())
