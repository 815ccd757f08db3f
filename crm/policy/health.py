"""Node health as location scores (4.1; part 1, 6.5).

Theory of operation. Agents publish node attributes whose names begin with `#health`; their values are numbers or colours, whose worth the
strategy decides. A node's health is their sum. If it is not zero, every top-level resource prefers or avoids the node
accordingly, except that a resource may allow unhealthy nodes.
"""

from __future__ import annotations

from crm.policy.constraints.model import Location
from crm.policy.model import Cause, ClusterState
from crm.policy.options import health_colours
from crm.policy.values import add_scores, parse_score, truthy


def health_locations(state: ClusterState) -> list[Location]:
    """A record for every top-level resource and node whose health counts; nodes outside, resources inside."""
    if state.options.health_strategy == "none":
        return []
    words = health_colours(state.options)
    found = []
    for node in state.nodes:
        health = state.options.health_base if state.options.health_strategy == "progressive" else 0
        attributes: list[str] = []
        for name, text in node.attributes.items():
            if name.startswith("#health"):
                health = add_scores(health, parse_score(text, words) or 0)
                attributes.append(f"{name}={text}")
        if health == 0:
            continue
        cause = Cause("health", node.name, f"the health of {node.name} ({', '.join(attributes) or 'node-health-base'})")
        found += [
            Location(rsc, {node: health}, cause)
            for rsc in state.resources
            if health > 0 or not truthy(rsc.meta.get("allow-unhealthy-nodes"))
        ]
    return found
