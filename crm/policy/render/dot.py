"""The transition as a dot file (20): every action a box, every input an arrow; what stays out of the graph is dashed."""

from __future__ import annotations

from crm.policy.actions.model import LOAD, OPTIONAL, PSEUDO, Action
from crm.policy.graph import history_key
from crm.policy.model import Primitive
from crm.policy.ordering.validate import merged_inputs
from crm.policy.schedule import Transition


def dot_text(transition: Transition, everything: bool = False, verbose: bool = False) -> str:
    """The file; `everything` also draws optional actions and what is unmanaged, `verbose` adds ids to the labels."""
    actions = transition.plan.actions
    lines = [' digraph "g" {']
    labels = {action: _label(action, verbose) for action in actions}
    drawn: set[Action] = set()
    for action in reversed(actions):
        style = _style(transition, action, everything)
        if style is not None:
            drawn.add(action)
            colour, font, dash = style
            lines.append(f'"{labels[action]}" [ style={dash} color="{colour}" fontcolor="{font}"]')
    for action in reversed(actions):
        written = set(transition.inputs[action.synapse]) if action.synapse >= 0 else set()
        for first, bits in merged_inputs(action):
            style_text = ""
            if first in written:
                style_text = "style = bold"
            elif not bits:
                continue
            elif (first in drawn and action in drawn and bits != LOAD) or everything:
                style_text = "style = dashed"
            else:
                continue
            lines.append(f'"{labels[first]}" -> "{labels[action]}" [ {style_text}]')
    lines.append("}")
    return "\n".join(lines) + "\n"


def _style(transition: Transition, action: Action, everything: bool) -> tuple[str, str, str] | None:
    font = "orange" if action.flags & PSEUDO else "black"
    if action.synapse >= 0:
        return "green", font, "bold"
    if action.rsc is not None and not transition.plan.managed[action.rsc.index]:
        return ("red", "purple", "dashed") if everything else None
    if action.flags & OPTIONAL:
        return ("blue", font, "dashed") if everything else None
    return "red", font, "dashed"


def _label(action: Action, verbose: bool) -> str:
    node = ""
    if action.node is not None:
        node = action.node.name
    elif not action.flags & PSEUDO:
        node = "<none>"
    rsc = action.rsc
    if action.task == "stonith":
        text = f"stonith '{action.get_meta('stonith_action')}' {node}"
    elif isinstance(rsc, Primitive) and rsc.history_name is not None and rsc.history_name != rsc.id:
        key = history_key(action, rsc.history_name)
        if action.task in ("notify", "notified"):
            kind, about = action.get_meta("notify_key_type"), action.get_meta("notify_key_operation")
            key = f"{rsc.history_name}_{kind}_notify_{about}_0"
        text = f"{key} {node}"
    elif rsc is not None:
        text = f"{action.key} {node}" if node else action.key
    else:
        text = f"{action.task} {node}" if node else action.key
    if action.task == "cancel":
        text = f"Cancel {text}"
    return f"{text} ({action.id})" if verbose else text
