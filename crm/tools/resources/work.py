"""What only a running cluster can do with resources: forget failures, wait, restart; and taking one out of the configuration."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.tools import exits
from crm.tools.cluster import milliseconds
from crm.tools.command import Failure, usage
from crm.tools.resources import values
from crm.tools.xmltext import element, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crm.tools.cluster import Cluster
    from crm.tools.command import Given

WAIT_LIMIT_S: Final = 3600
_LOOK_AGAIN_S: Final = 0.1
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BANNED: Final = ("clone", "master", "bundle")
"""What can be restarted on one of its nodes."""


def clear_history(cluster: Cluster, given: Given) -> int:
    """`--cleanup`: where there are failures. `--refresh`: everywhere. A member stands for its group or clone, unless forced."""
    refresh = given.has("refresh")
    resource, node = given.get("resource"), given.get("node")
    which: dict[str, object] = {"alone": True if given.has("force") else None}
    if given.has("operation", "interval"):
        if refresh or resource is None or not given.has("operation"):
            usage("--operation (and --interval) go with --cleanup and --resource")
        interval = milliseconds(given.text("interval"), "--interval") if given.has("interval") else 0
        which.update(operation=given.text("operation"), interval_ms=interval)
    if resource is not None:
        resource = values.find(cluster, resource).id
    answer = cluster.call("resource.refresh" if refresh else "resource.cleanup", resource=resource, node=node, **which)
    if not given.has("quiet"):
        where = f" on {node}" if node else " on all nodes"
        count = f" ({answer['cleared']} histories cleared)"
        print(f"{'Refreshed' if refresh else 'Cleaned up'} {resource or 'all resources'}{where}{count}")
    return exits.OK


def fail(cluster: Cluster, given: Given) -> int:
    if not given.has("node"):
        usage("Must supply a node name with -N")
    cluster.call("resource.fail", resource=given.text("resource"), node=given.text("node"))
    return exits.OK


def limit_s(given: Given) -> float:
    return milliseconds(given.text("timeout"), "--timeout") / 1000 if given.has("timeout") else WAIT_LIMIT_S


def wait(cluster: Cluster, given: Given) -> int:
    _settle(cluster, time.monotonic() + limit_s(given))
    return exits.OK


def _settle(cluster: Cluster, deadline: float) -> None:
    """Returns when nothing is left to do. Failure (timeout) past the deadline."""
    left_s = deadline - time.monotonic()
    try:
        if left_s <= 0:
            raise ApiError(errors.TIMEOUT, "")
        cluster.call("wait", timeout_ms=max(1, int(left_s * 1000)))
    except ApiError as error:
        if error.code != errors.TIMEOUT:
            raise
        raise Failure("the cluster is still busy: Timeout occurred", exits.TIMEOUT) from None


def restart(cluster: Cluster, given: Given) -> int:
    """Stop it, wait, and let it run again as before; with --node only there: a clone's instance is banned for that time.

    What held it back is taken away also when the wait is cut short.
    """
    from crm.tools.resources.listing import find, places, state_of

    owner = values.find(cluster, given.text("resource"))
    owner = values.Owner("clone", owner.clone, "") if owner.clone else owner
    node = given.get("node")

    def active() -> list[str]:
        found = places(find(state_of(cluster), owner.id))
        return [name for name, _ in found if node in (None, name)]

    if not active():
        where = f"on {node}" if node is not None else "anywhere"
        problem = f"{owner.id} is not running {where} and so cannot be restarted"
        raise Failure(f"{problem}\nError performing operation: No such object", exits.NOSUCH)
    deadline = time.monotonic() + limit_s(given)
    given.add("quiet", "")
    held = _banned(cluster, owner, node, given) if owner.tag in _BANNED and node else _stopped(cluster, owner, given)
    with ended_as_interrupted(), held:
        _settle(cluster, deadline)
        while active():
            time.sleep(_LOOK_AGAIN_S)
            _settle(cluster, deadline)
    _settle(cluster, deadline)
    return exits.OK


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """Whoever is ended (`timeout`, a closed terminal) gives back what it holds, as with Ctrl-C: a resource that is being restarted must not stay stopped."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in _ENDS if number != signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A change and its answer: whoever is ended in between would not know whether there is something to be given back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _stopped(cluster: Cluster, owner: values.Owner, given: Given) -> Iterator[None]:
    before = values.value_of(cluster, owner, "meta_attributes", "target-role", given)
    held = False
    try:
        with uninterrupted():
            values.put(cluster, owner, "meta_attributes", "target-role", "Stopped", given)
            held = True
        yield
    finally:
        with uninterrupted():
            if held and before is None:
                values.drop(cluster, owner, "meta_attributes", "target-role", given)
            elif held and before is not None:
                values.put(cluster, owner, "meta_attributes", "target-role", before, given)


@contextmanager
def _banned(cluster: Cluster, owner: values.Owner, node: str, given: Given) -> Iterator[None]:
    """Only what is made here is taken away: a ban that was there already stays."""
    identity = f"cli-ban-{owner.id}-on-{node}-restart"
    location = {"id": identity, "rsc": owner.id, "node": node, "score": "-INFINITY"}
    text = element("rsc_location", location)
    held = False
    try:
        with uninterrupted():
            cluster.call("cib.apply", operation="create", xml=text, scope="constraints", client=values.CLIENT)
            held = True
        yield
    finally:
        path = f"/cib/configuration/constraints/rsc_location[@id={quoted(identity)}]"
        with uninterrupted():
            if held:
                cluster.call("cib.apply", operation="delete", xpath=path, client=values.CLIENT)


def delete(cluster: Cluster, given: Given) -> int:
    if not given.has("resource-type"):
        raise Failure("You need to specify a resource type with -t", exits.USAGE)
    tag, identity = given.text("resource-type"), given.text("resource")
    if tag not in values.TAGS:
        usage(f"'{tag}' is no kind of resource ({', '.join(values.TAGS)} expected)")
    try:
        path = f"//resources//{tag}[@id={quoted(identity)}]"
        cluster.call("cib.apply", operation="delete", xpath=path, client=values.CLIENT)
    except ApiError as error:
        if error.code != errors.NOT_FOUND:
            raise
    return exits.OK
