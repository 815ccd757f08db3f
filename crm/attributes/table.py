"""What there is to know of node attributes beside the status section: delays, values that are held back, private values.

Theory of operation. Every member has the same table, since it changes by what is delivered in the total order (`crm.attributes.messages`).

*Dampening.* An attribute may have a delay. Its first change starts a clock, at every member; what changes until it runs out, on whichever node, is held back. Then one
member, the DC, has all of it written at once (`Release`), and only what was released leaves the table. If the DC dies before, the next one finds the
time run out and does the same; so each value is written once, and none is lost. A further change does not start the clock anew: a flapping value
cannot hide for ever.

*Private* values are known to all members, and never in the CIB.

*Members come and go.* What a node has set goes with it. When somebody comes, each member tells what it knows of its own node.

The class knows no clock, and no document but through `current`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crm.attributes.messages import Release, Told, Wish, Word
from crm.attributes.values import counts, evaluate

Current = Callable[[str, str], str | None]
"""The value in the status section: (node id, attribute)."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write this value (None: delete) into the status section."""

    node_id: str
    uname: str
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    uname: str
    value: str | None


class AttributeTable:
    """`me` is this node's id; `kept` is what `own` gave in an earlier life of this process."""

    def __init__(self, me: str, kept: Mapping[str, Any] | None = None) -> None:
        self._me = me
        self._delays: dict[str, int] = {}
        self._private: dict[str, dict[str, str]] = {}
        self._names: dict[str, str] = {}
        self._held: dict[str, dict[str, _Held]] = {}
        self._due: dict[str, int] = {}
        self._asked: set[str] = set()
        self._kept = kept

    # --- asking ------------------------------------------------------------------------------------------------------

    def wish(
        self,
        node_id: str,
        uname: str,
        name: str,
        value: str | None,
        *,
        delay_ms: int | None = None,
        change_delay: bool = False,
        valued: bool = True,
        private: bool = False,
        public: bool = False,
    ) -> Wish:
        """What is to be multicast for a client's wish. A delay counts for a new attribute, and otherwise only with `change_delay`.

        `public`: the status section has a value already, so it cannot become private any more.
        """
        known = self._delays.get(name)
        new = delay_ms if delay_ms is not None and (change_delay or known is None) else None
        is_private = node_id in self._private.get(name, {}) or (private and not public)
        delay = (known or 0) if new is None else new
        return Wish(node_id, uname, name, value, delay > 0 and not is_private and valued, is_private, new, valued)

    def unwritten(self, node_id: str) -> dict[str, str | None]:
        """Values of a node that are not in the status section: held back (None: about to be deleted) or private."""
        found: dict[str, str | None] = {
            name: values[node_id].value for name, values in self._held.items() if node_id in values
        }
        found.update({name: values[node_id] for name, values in self._private.items() if node_id in values})
        return found

    # --- what is delivered -------------------------------------------------------------------------------------------

    def apply(self, words: Iterable[Word], current: Current, now_ms: int) -> list[Write]:
        """What is to be written now; the same at every member."""
        writes: list[Write] = []
        new: dict[tuple[str, str], str | None] = {}

        def now(node_id: str, name: str) -> str | None:
            return new[node_id, name] if (node_id, name) in new else current(node_id, name)

        for word in words:
            known = len(writes)
            match word:
                case Wish():
                    writes += self._on_wish(word, now, now_ms)
                case Release(name, values):
                    writes += [Write(node_id, uname, name, value) for node_id, uname, value in values]
                    self._on_release(word, now_ms)
                case Told():
                    self._on_told(word, now_ms)
            new.update({(write.node_id, write.name): write.value for write in writes[known:]})
        return writes

    def _on_wish(self, wish: Wish, current: Current, now_ms: int) -> list[Write]:
        name, node_id = wish.name, wish.node_id
        if wish.delay_ms is not None:
            self._set_delay(name, wish.delay_ms, now_ms)
        if not wish.valued:
            return []
        if wish.private:
            values = self._private.setdefault(name, {})
            if wish.value is None:
                values.pop(node_id, None)
            else:
                values[node_id] = evaluate(wish.value, values.get(node_id))
                self._names[node_id] = wish.uname
            if not values:
                del self._private[name]
            return []
        if not wish.hold:
            self._drop(name, node_id)
            value = wish.value
            if value is not None and counts(value):
                value = evaluate(value, current(node_id, name))
            return [Write(node_id, wish.uname, name, value)]
        written = current(node_id, name)
        held = self._held.get(name, {}).get(node_id)
        value = None if wish.value is None else evaluate(wish.value, written if held is None else held.value)
        if value == written:
            self._drop(name, node_id)
        else:
            self._hold(name, node_id, wish.uname, value, now_ms)
        return []

    def _on_release(self, release: Release, now_ms: int) -> None:
        self._asked.discard(release.name)
        values = self._held.get(release.name, {})
        for node_id, _, value in release.values:
            if node_id in values and values[node_id].value == value:
                del values[node_id]
        self._due.pop(release.name, None)
        if values:  # changed again while the release was on its way
            self._due[release.name] = now_ms + self._delays.get(release.name, 0)
        else:
            self._held.pop(release.name, None)

    def _on_told(self, told: Told, now_ms: int) -> None:
        # Whoever tells last is right, for every member: so all know the same afterwards.
        self._delays.update(told.delays)
        if told.node_id == self._me:
            return
        since = dict(self._due)
        self._forget(told.node_id)
        for name, value in told.private.items():
            self._private.setdefault(name, {})[told.node_id] = value
            self._names[told.node_id] = told.uname
        for name, held in told.held.items():
            self._hold(name, told.node_id, told.uname, held, now_ms)
            # A clock that runs goes on; only a newcomer begins to count.
            self._due[name] = min(self._due[name], since.get(name, self._due[name]))

    # --- time and membership -----------------------------------------------------------------------------------------

    def next_wake_ms(self) -> int | None:
        return min((due for name, due in self._due.items() if name not in self._asked), default=None)

    def due(self, now_ms: int) -> list[Release]:
        """At the DC: what is to be multicast now."""
        names = sorted(name for name, due in self._due.items() if due <= now_ms and name not in self._asked)
        self._asked.update(names)
        return [
            Release(
                name, tuple((node_id, held.uname, held.value) for node_id, held in sorted(self._held[name].items()))
            )
            for name in names
        ]

    def on_view(self, gone: Iterable[str]) -> None:
        """What the members that are gone had set goes with them. What was to be released is asked for again."""
        self._asked.clear()
        for node_id in gone:
            if node_id != self._me:
                self._forget(node_id)

    def tell(self, members: Iterable[str] = ()) -> tuple[Told, ...]:
        """What this member has to tell the others in a new view. The DC gives the `members`: it tells of nodes that are none (remote ones) too."""
        mine, others = {self._me}, set(members)
        if others:
            for name in (*self._held, *self._private):
                mine |= {*self._held.get(name, ()), *self._private.get(name, ())} - others
        return tuple(told for node_id in sorted(mine) if (told := self._told(node_id)) is not None)

    def _told(self, node_id: str) -> Told | None:
        held = {name: values[node_id] for name, values in self._held.items() if node_id in values}
        private = {name: values[node_id] for name, values in self._private.items() if node_id in values}
        if not held and not private and not (self._delays and node_id == self._me):
            return None
        uname = next((each.uname for each in held.values()), self._names.get(node_id, ""))
        return Told(node_id, uname, dict(self._delays), private, {name: each.value for name, each in held.items()})

    def own(self) -> dict[str, Any]:
        """What a successor of this process is to be given as `kept`."""
        told = self._told(self._me)
        if told is None:
            return {}
        return {
            "uname": told.uname,
            "delays": dict(told.delays),
            "private": dict(told.private),
            "held": dict(told.held),
        }

    def resume(self, now_ms: int) -> None:
        """Goes on from what was kept; once, when there is a time to count from."""
        kept, self._kept = self._kept, None
        if not kept:
            return
        self._delays.update(kept.get("delays", {}))
        for name, value in kept.get("private", {}).items():
            self._private.setdefault(name, {}).setdefault(self._me, value)
            self._names[self._me] = kept.get("uname", "")
        for name, value in kept.get("held", {}).items():
            self._hold(name, self._me, kept.get("uname", ""), value, now_ms)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _set_delay(self, name: str, delay_ms: int, now_ms: int) -> None:
        self._delays[name] = delay_ms
        if name in self._due:
            self._due[name] = now_ms + delay_ms

    def _hold(self, name: str, node_id: str, uname: str, value: str | None, now_ms: int) -> None:
        self._held.setdefault(name, {})[node_id] = _Held(uname, value)
        self._due.setdefault(name, now_ms + self._delays.get(name, 0))

    def _drop(self, name: str, node_id: str) -> None:
        values = self._held.get(name, {})
        values.pop(node_id, None)
        if not values:
            self._held.pop(name, None)
            self._due.pop(name, None)
            self._asked.discard(name)

    def _forget(self, node_id: str) -> None:
        for name in list(self._held):
            self._drop(name, node_id)
        for name in list(self._private):
            self._private[name].pop(node_id, None)
            if not self._private[name]:
                del self._private[name]
