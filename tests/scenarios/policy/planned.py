"""What the policy engine plans for a small cluster, asked in few words.

Actions are named `TASK RESOURCE` or `TASK RESOURCE on NODE`; `before(a, b)` follows inputs transitively.
"""

from __future__ import annotations

from policy_cib import NOW, parsed

from crm.policy.actions.model import PSEUDO, Action
from crm.policy.schedule import Transition, schedule
from crm.policy.simulate import execute


class Planned:
    def __init__(self, text: str, now: int = NOW) -> None:
        self.cib = parsed(text)
        self.now = now
        self.transition: Transition = schedule(self.cib, now)

    @property
    def real(self) -> list[str]:
        """What will really be done, sorted."""
        return sorted(_name(action) for action in self.transition.synapses if not action.flags & PSEUDO)

    @property
    def changes(self) -> list[str]:
        """The lines about resources, blanks squeezed: `Move A ( n1 -> n2 )`."""
        return [" ".join(line[4:].split()) for line in self.transition.summary.lines()]

    def action(self, name: str) -> Action:
        found = [a for a in self.transition.synapses if name in (_name(a), _name(a).partition(" on ")[0])]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def before(self, first: str, then: str) -> bool:
        """Is `first` done before `then` can begin?"""
        wanted, waiting, seen = self.action(first), [self.action(then)], set()
        while waiting:
            action = waiting.pop()
            if action in seen:
                continue
            seen.add(action)
            for earlier in self.transition.inputs[action.synapse]:
                if earlier is wanted:
                    return True
                waiting.append(earlier)
        return False

    def next(self) -> Planned:
        """The plan after this one has been carried out."""
        assert execute(self.cib, self.transition, self.now, realistic=True).complete
        following = Planned.__new__(Planned)
        following.cib, following.now = self.cib, self.now + 10
        following.transition = schedule(self.cib, following.now)
        return following


def _name(action: Action) -> str:
    whose = f" {action.rsc.id}" if action.rsc is not None else ""
    where = f" on {action.node.name}" if action.node is not None else ""
    interval = f"={action.get_meta('interval')}" if action.get_meta("interval") not in (None, "0") else ""
    return f"{action.task}{interval}{whose}{where}"


def planned(text: str) -> Planned:
    return Planned(text)
