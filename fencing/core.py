"""The fencer: makes sure that a node is off, with the devices there are, and says so only when a device has said so.

Theory of operation. A request for a node becomes a `_Job`; requests for the same node and action share one, so that a node is not
switched off twice because two decisions wanted it. A job is a list of rounds: each round is what must succeed together (a topology level, or
one capable device), and rounds are tried in order until one succeeds. A round is a list of steps, one device and one action
each. "reboot" becomes "off" and then "on" where a device cannot reboot or where several devices must act together; the node counts
as fenced as soon as everything of the round is off, and switching it on again is done afterwards without holding anybody up.

A step is tried as often as its device allows, within its time limit. A device works on as many steps as it allows at the same time (one,
usually); more wait. Devices that must be asked whom they can fence are asked first, and their lists are remembered for a while.

When no device can do it, the node's own watchdog may: a node that is cut off and known to be watched resets itself, and counts as
fenced when the time that this takes at most has passed (`messaging.watchdog_core` derives it; who asks for it knows).

What is never done: confirming on a guess. A request that no device can carry out fails, with the reason for each device. A person's
word (`confirm`) counts as a device's.

No clock, randomness or process here: `now_ms` and `epoch_s` come in, effects go out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agents.types import Operation, OperationResult
from fencing.devices import Device, HostCheck
from fencing.topology import Level, levels_for
from fencing.types import (
    Answer,
    AskWatchdog,
    Effect,
    Event,
    FenceAction,
    InvariantBroken,
    Outcome,
    Request,
    RunDevice,
    SetTimer,
)

HISTORY_LIMIT: Final = 500
"""Finished requests that are remembered."""
LIST_VALID_MS: Final = 60_000
"""How long a device's list of plugs is believed."""
ASK_TIMEOUT_MS: Final = 20_000
"""For `list` and `status`, unless the device says otherwise."""
WATCHDOG: Final = "watchdog"
"""Named in the history as the device, when a node has reset itself."""
STATUS_ON: Final = 0
STATUS_OFF: Final = 2


@dataclass(frozen=True, slots=True)
class _Step:
    device: str
    action: FenceAction


@dataclass(slots=True)
class _Round:
    """`steps` confirm the job when they all succeeded; `after` follow without anybody waiting."""

    name: str
    steps: list[_Step]
    after: list[_Step]


@dataclass(slots=True)
class _Job:
    identity: int
    target: str
    action: FenceAction
    reason: str
    timeout_ms: int
    delay_ms: int
    chance: float
    began: int
    tokens: list[int]
    questions: int = 0
    rounds: deque[_Round] | None = None
    current: _Round | None = None
    position: int = 0
    tries: int = 0
    step_deadline_ms: int = 0
    delayed: bool = False
    errors: list[str] = field(default_factory=list)
    over: bool = False
    answer: str = ""
    watchdog: bool = False
    resets_itself: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    """An agent at work: a step of a job, a question for a job (`target`: status of that node), or work afterwards."""

    device: str
    kind: str
    action: str
    job: _Job | None
    target: str | None


class Fencer:
    """See the module's text. `node` is the node it runs on."""

    def __init__(self, node: str) -> None:
        self.watchdog = False
        """Whether nodes may be fenced by their own watchdogs, when no device can do it."""
        self._node = node
        self._devices: dict[str, Device] = {}
        self._levels: tuple[Level, ...] = ()
        self._attributes: Mapping[str, Mapping[str, str]] = {}
        self._jobs: dict[tuple[str, FenceAction], _Job] = {}
        self._waiting: dict[str, deque[tuple[_Call, Operation]]] = {}
        self._busy: dict[str, int] = {}
        self._calls: dict[int, _Call] = {}
        self._last_call = 0
        self._last_job = 0
        self._lists: dict[str, tuple[int, frozenset[str]]] = {}
        self._statuses: dict[tuple[str, str], bool] = {}
        self._history: deque[Event] = deque(maxlen=HISTORY_LIMIT)

    # --- what there is to know ---------------------------------------------------------------------------------------

    @property
    def devices(self) -> list[str]:
        return list(self._devices)

    def pending(self) -> list[Event]:
        """Requests under way, oldest first."""
        return [self._event(job, Outcome.PENDING) for job in self._jobs.values()]

    def history(self, target: str | None = None) -> list[Event]:
        """Finished requests, oldest first."""
        return [event for event in self._history if target in (None, event.target)]

    def forget_history(self, target: str | None = None) -> None:
        kept = [event for event in self._history if target is not None and event.target != target]
        self._history = deque(kept, maxlen=HISTORY_LIMIT)

    def can_fence(self, target: str) -> bool | None:
        """Whether a device is known to be able to fence the node; None when devices would have to be asked."""
        if levels_for(self._levels, target, self._attributes.get(target, {})):
            return True
        known = [device.knows(target) for device in self._devices.values()]
        return True if True in known else None if None in known else False

    # --- configuration -----------------------------------------------------------------------------------------------

    def configure(
        self,
        devices: Iterable[Device],
        levels: Iterable[Level] = (),
        attributes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Take the configuration as it is now. `attributes`: of each node, for topology levels. Requests under way keep theirs."""
        before = self._devices
        self._devices = {device.id: device for device in devices}
        self._levels = tuple(levels)
        self._attributes = attributes or {}
        for identity in list(self._lists):
            if before.get(identity) != self._devices.get(identity):
                del self._lists[identity]

    # --- what happens ------------------------------------------------------------------------------------------------

    def request(self, request: Request, now_ms: int, epoch_s: int) -> list[Effect]:
        """Begin to fence a node, or join those who want the same. One `Answer` with the token follows, now or later."""
        key = (request.target, request.action)
        job = self._jobs.get(key)
        if job is not None:
            job.tokens.append(request.token)
            return []
        self._last_job += 1
        job = self._jobs[key] = _Job(
            identity=self._last_job,
            target=request.target,
            action=request.action,
            reason=request.reason,
            timeout_ms=request.timeout_ms,
            delay_ms=request.delay_ms,
            chance=request.chance,
            began=epoch_s,
            tokens=[request.token],
        )
        return [self._event(job, Outcome.PENDING), *self._ask(job, now_ms, epoch_s)]

    def on_result(self, call_id: int, result: OperationResult, now_ms: int, epoch_s: int) -> list[Effect]:
        """A fence agent has ended."""
        call = self._calls.pop(call_id, None)
        if call is None:
            raise InvariantBroken(f"result for fencing call {call_id}, which is not running")
        self._busy[call.device] -= 1
        effects = self._release(call.device)
        job = call.job
        if call.kind == "ask":
            assert job is not None
            self._learn(call, result, now_ms)
            job.questions -= 1
            return effects + (self._plan(job, now_ms, epoch_s) if job.questions == 0 and not job.over else [])
        if call.kind == "after" or job is None or job.over:
            return effects
        return effects + self._step_ended(job, call, result, now_ms, epoch_s)

    def on_timer(self, name: str, now_ms: int, epoch_s: int) -> list[Effect]:
        """A delay is over."""
        for job in list(self._jobs.values()):
            if _timer(job) == name and not job.over:
                if job.resets_itself:
                    text = f"{job.target} has reset itself: its watchdog has not been fed since it was lost"
                    return self._finish(job, True, WATCHDOG, text, epoch_s)
                return self._step(job, now_ms, epoch_s)
        return []

    def on_watchdog(self, identity: int, wait_ms: int, why_not: str, now_ms: int, epoch_s: int) -> list[Effect]:
        """What is known of the target's watchdog: it resets the node within `wait_ms` from now; 0: nobody may rely on it."""
        job = next((job for job in self._jobs.values() if job.identity == identity and not job.over), None)
        if job is None:
            return []
        if wait_ms <= 0:
            if why_not:
                job.errors.append(f"{WATCHDOG}: {why_not}")
            return self._begin_round(job, now_ms, epoch_s)
        job.resets_itself = True
        return [SetTimer(_timer(job), now_ms + wait_ms)]

    def watchdog_void(self, target: str, why: str, now_ms: int, epoch_s: int) -> list[Effect]:
        """The target is there again before it has reset itself, and its watchdog may be fed: nothing may be relied on any more."""
        effects: list[Effect] = []
        for job in [job for job in self._jobs.values() if job.target == target and job.resets_itself]:
            job.resets_itself = False
            job.errors.append(f"{WATCHDOG}: {why}")
            effects += self._begin_round(job, now_ms, epoch_s)
        return effects

    def confirm(self, target: str, who: str, now_ms: int, epoch_s: int) -> list[Effect]:
        """A person's word that the node is off: it ends every request to switch it off."""
        effects: list[Effect] = []
        text = f"{target} is off on the word of {who}"
        jobs = [job for job in self._jobs.values() if job.target == target and job.action is not FenceAction.ON]
        for job in jobs:
            effects += self._finish(job, True, "", text, epoch_s)
        if not jobs:
            self._last_job += 1
            job = _Job(self._last_job, target, FenceAction.OFF, "confirmed by hand", 0, 0, 0.0, epoch_s, [])
            event = self._event(job, Outcome.DONE, "", text, epoch_s)
            self._history.append(event)
            effects.append(event)
        return effects

    # --- who can? ----------------------------------------------------------------------------------------------------

    def _ask(self, job: _Job, now_ms: int, epoch_s: int) -> list[Effect]:
        """Ask the devices that must be asked, unless a topology names the devices already."""
        effects: list[Effect] = []
        if not levels_for(self._levels, job.target, self._attributes.get(job.target, {})):
            for device in self._devices.values():
                if device.knows(job.target) is not None or self._listed(device, now_ms) is not None:
                    continue
                listing = device.check is HostCheck.DYNAMIC_LIST
                action = "list" if listing else "status"
                call = _Call(device.id, "ask", action, job, None if listing else job.target)
                job.questions += 1
                effects += self._call(call, device, ASK_TIMEOUT_MS)
        return effects if job.questions else self._plan(job, now_ms, epoch_s)

    def _listed(self, device: Device, now_ms: int) -> frozenset[str] | None:
        if device.check is not HostCheck.DYNAMIC_LIST or device.id not in self._lists:
            return None
        when, plugs = self._lists[device.id]
        return plugs if now_ms - when <= LIST_VALID_MS else None

    def _learn(self, call: _Call, result: OperationResult, now_ms: int) -> None:
        if call.action == "list":
            if result.ok:
                self._lists[call.device] = (now_ms, parse_list(result.stdout))
            else:
                self._lists.pop(call.device, None)
                if call.job is not None:
                    call.job.errors.append(f"{call.device} cannot say whom it can fence: {_why(result)}")
        elif call.target is not None:
            self._statuses[(call.device, call.target)] = result.rc in (STATUS_ON, STATUS_OFF)

    def _able(self, device: Device, target: str, now_ms: int) -> bool:
        known = device.knows(target)
        if known is not None:
            return known
        if device.check is HostCheck.STATUS:
            return self._statuses.get((device.id, target), False)
        listed = self._listed(device, now_ms)
        return listed is not None and device.plug(target) in listed

    # --- in which order? ---------------------------------------------------------------------------------------------

    def _plan(self, job: _Job, now_ms: int, epoch_s: int) -> list[Effect]:
        """Make the rounds of a job and begin the first."""
        levels = levels_for(self._levels, job.target, self._attributes.get(job.target, {}))
        rounds: list[_Round] = []
        if levels:
            for number, names in enumerate(levels, 1):
                missing = [name for name in names if name not in self._devices]
                if missing:
                    job.errors.append(f"level {number} names {', '.join(missing)}, which does not exist")
                else:
                    rounds.append(self._round(f"level {number}", names, job.action))
        else:
            able = [device for device in self._devices.values() if self._able(device, job.target, now_ms)]
            able.sort(key=lambda device: (-device.priority, device.id))
            rounds = [self._round(device.id, (device.id,), job.action) for device in able]
        job.rounds = deque(rounds)
        return self._begin_round(job, now_ms, epoch_s)

    def _round(self, name: str, devices: tuple[str, ...], action: FenceAction) -> _Round:
        """Reboot is done as off and on when several devices act together or one of them cannot do it."""
        together = len(devices) > 1 or not all(self._devices[device].supports("reboot") for device in devices)
        if action is FenceAction.REBOOT and together:
            off = [_Step(device, FenceAction.OFF) for device in devices]
            return _Round(name, off, [_Step(device, FenceAction.ON) for device in devices])
        return _Round(name, [_Step(device, action) for device in devices], [])

    def _begin_round(self, job: _Job, now_ms: int, epoch_s: int) -> list[Effect]:
        assert job.rounds is not None
        if not job.rounds and self.watchdog and job.action is not FenceAction.ON and not job.watchdog:
            job.watchdog = True
            return [AskWatchdog(job.identity, job.target)]
        if not job.rounds:
            reason = "; ".join(job.errors)
            if not self._devices:
                reason = "; ".join(["there are no fence devices", *job.errors])
            elif not reason:
                reason = "none of the fence devices is for it"
            return self._finish(job, False, "", f"no device can fence {job.target}: {reason}", epoch_s)
        job.current = job.rounds.popleft()
        job.position, job.tries, job.step_deadline_ms = 0, 0, 0
        if not job.delayed:
            job.delayed = True
            first = self._devices.get(job.current.steps[0].device)
            delay = job.delay_ms
            if first is not None and job.action is not FenceAction.ON:
                delay += first.delay_ms(job.target, job.chance)
            if delay > 0:
                return [SetTimer(_timer(job), now_ms + delay)]
        return self._step(job, now_ms, epoch_s)

    # --- doing it ----------------------------------------------------------------------------------------------------

    def _step(self, job: _Job, now_ms: int, epoch_s: int) -> list[Effect]:
        assert job.current is not None
        step = job.current.steps[job.position]
        device = self._devices.get(step.device)
        if device is None:
            job.errors.append(f"{step.device} was removed")
            return self._begin_round(job, now_ms, epoch_s)
        timeout = device.rule(step.action).timeout_ms or job.timeout_ms
        if job.tries == 0:
            job.step_deadline_ms = now_ms + timeout
        job.tries += 1
        call = _Call(device.id, "step", step.action, job, job.target)
        return self._call(call, device, max(1, job.step_deadline_ms - now_ms))

    def _step_ended(self, job: _Job, call: _Call, result: OperationResult, now_ms: int, epoch_s: int) -> list[Effect]:
        assert job.current is not None
        if result.ok:
            job.position, job.tries = job.position + 1, 0
            if job.position < len(job.current.steps):
                return self._step(job, now_ms, epoch_s)
            after = job.current.after
            names = ", ".join(dict.fromkeys(step.device for step in job.current.steps))
            effects = self._finish(job, True, names, f"{job.target} was fenced by {names}", epoch_s)
            return effects + [effect for step in after for effect in self._afterwards(step, job)]
        device = self._devices.get(call.device)
        tries = device.rule(call.action).retries if device is not None else 1
        if job.tries < tries and now_ms < job.step_deadline_ms:
            return self._step(job, now_ms, epoch_s)
        job.errors.append(f"{call.device} could not switch {job.target} {_word(call.action)}: {_why(result)}")
        return self._begin_round(job, now_ms, epoch_s)

    def _afterwards(self, step: _Step, job: _Job) -> list[Effect]:
        device = self._devices.get(step.device)
        if device is None:
            return []
        timeout = device.rule(step.action).timeout_ms or job.timeout_ms
        return self._call(_Call(device.id, "after", step.action, None, job.target), device, timeout)

    def _finish(self, job: _Job, confirmed: bool, device: str, text: str, epoch_s: int) -> list[Effect]:
        job.over = True
        self._jobs.pop((job.target, job.action), None)
        event = self._event(job, Outcome.DONE if confirmed else Outcome.FAILED, device, text, epoch_s)
        self._history.append(event)
        return [event, *(Answer(token, job.target, confirmed, text) for token in job.tokens)]

    # --- agents ------------------------------------------------------------------------------------------------------

    def _call(self, call: _Call, device: Device, timeout_ms: int) -> list[Effect]:
        rule = device.rule(call.action)
        operation = Operation(
            agent=device.agent,
            action=rule.name,
            resource=device.id,
            parameters=device.options(call.action, call.target),
            timeout_ms=(rule.timeout_ms or timeout_ms) if call.kind == "ask" else timeout_ms,
            node=self._node,
        )
        if 0 <= device.limit <= self._busy.get(device.id, 0):
            self._waiting.setdefault(device.id, deque()).append((call, operation))
            return []
        return self._run(call, operation)

    def _run(self, call: _Call, operation: Operation) -> list[Effect]:
        self._busy[call.device] = self._busy.get(call.device, 0) + 1
        self._last_call += 1
        self._calls[self._last_call] = call
        return [RunDevice(self._last_call, call.device, operation)]

    def _release(self, device: str) -> list[Effect]:
        """A device has a hand free: the next that waits for it, unless its request is over."""
        waiting = self._waiting.get(device)
        while waiting:
            call, operation = waiting.popleft()
            if call.job is None or not call.job.over:
                return self._run(call, operation)
        return []

    def _event(self, job: _Job, outcome: Outcome, device: str = "", text: str = "", ended: int = 0) -> Event:
        return Event(
            identity=job.identity,
            target=job.target,
            action=job.action,
            reason=job.reason,
            outcome=outcome,
            device=device,
            text=text,
            began=job.began,
            ended=ended,
        )


def parse_list(text: str) -> frozenset[str]:
    """The plugs that `list` printed: `PLUG`, `PLUG,ALIAS` or `PLUG,ALIAS,STATE` a line; plug and alias both count."""
    found: set[str] = set()
    for line in text.splitlines():
        found.update(part.strip() for part in line.split(",")[:2])
    return frozenset(found - {""})


def _word(action: str) -> str:
    return {"reboot": "off and on (reboot)"}.get(action, action)


def _why(result: OperationResult) -> str:
    return result.exit_reason or f"the agent ended with {result.rc}"


def _timer(job: _Job) -> str:
    return f"fence-{job.identity}"
