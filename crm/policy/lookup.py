"""What an id in a constraint means: a resource, the members of a tag, the resources made from a template.

Theory of operation. A resource is found by its id or by the name under which history knows an instance; in the latter case the whole clone
is meant. So naming the primitive inside an anonymous clone works once an instance has history under that name, and not before. Templates
shadow tags.

Sources: scheduler specification, part 1, section 8; part 2, section 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import Primitive, Resource

if TYPE_CHECKING:
    from crm.policy.model import ClusterState


class Lookup:
    """References of constraints, resolved. Made when the state is complete."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self._found: dict[str, Resource] = {}
        for rsc in state.all_resources:
            self._found.setdefault(rsc.id, rsc)
            if isinstance(rsc, Primitive) and rsc.history_name is not None:
                self._found.setdefault(rsc.history_name, rsc)

    def resource(self, wanted: str) -> Resource | None:
        """The resource of that id; an instance found by its history name stands for its clone."""
        rsc = self._found.get(wanted)
        return rsc if rsc is None or rsc.id == wanted else rsc.top

    def members(self, wanted: str) -> list[str] | None:
        """The ids that a template or tag stands for; None when there is no such thing."""
        members = self.state.templates.get(wanted)
        return members if members is not None else self.state.tags.get(wanted)
