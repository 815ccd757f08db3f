"""Parts of small clusters beyond what `policy_cib` writes: operations, parameters, histories with monitors, fence devices, remote nodes."""

from __future__ import annotations

from collections.abc import Mapping

from policy_cib import pairs, primitive

from crm.policy.digests import attribute_digest

NO_PROBES = {"enable-startup-probes": "false"}
FENCING = {"stonith-enabled": "true", **NO_PROBES}
DEVICE = '<primitive id="F" class="stonith" type="fence_dummy"/>'
GONE = {"in_ccm": "false", "crmd": "offline"}
LOST = {"n1": GONE}
OFF = {"in_ccm": "false", "crmd": "offline", "join": "down", "expected": "down"}
TIMEOUT_MS = "20000"


def ban(rsc: str, node: str) -> str:
    return f'<rsc_location id="{rsc}-not-{node}" rsc="{rsc}" node="{node}" score="-INFINITY"/>'


def order(first: str, then: str, kind: str = "Mandatory", **extra: str) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in extra.items())
    return f'<rsc_order id="{first}-then-{then}" first="{first}" then="{then}" kind="{kind}"{more}/>'


def op(name: str, interval: str = "0", *, of: str, **extra: str) -> str:
    more = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in extra.items())
    return f'<op id="{of}-{name}-{interval}" name="{name}" interval="{interval}"{more}/>'


def with_ops(text: str, *ops: str) -> str:
    """A primitive with operations."""
    return text.replace("</primitive>", f"<operations>{''.join(ops)}</operations></primitive>", 1)


def monitored(name: str, interval: str = "10s", meta: Mapping[str, str] | None = None, **extra: str) -> str:
    """A Dummy with a recurring monitor."""
    return with_ops(primitive(name, meta), op("monitor", interval, of=name, **extra))


def with_parameters(text: str, owner: str, **values: str) -> str:
    """A primitive with instance attributes."""
    return text.replace("</primitive>", f"{pairs('instance_attributes', owner, values)}</primitive>", 1)


def runs_monitor(
    text: str, node: int, rsc: str, interval_ms: int = 10000, rc: int = 0, expected: int = 0, timeout: str = TIMEOUT_MS
) -> str:
    """The CIB's text with a recurring monitor in the history that `cib(active=...)` wrote for a resource on node number `node`."""
    digest = attribute_digest({"CRM_meta_timeout": timeout})
    key = f"77:1:{expected}:11111111-2222-3333-4444-555555555555"
    entry = (
        f'<lrm_rsc_op id="{rsc}_monitor_{interval_ms}" operation_key="{rsc}_monitor_{interval_ms}" operation="monitor" '
        f'call-id="77" rc-code="{rc}" op-status="0" interval="{interval_ms}" op-digest="{digest}" '
        f'crm_feature_set="3.19.0" transition-key="{key}" transition-magic="0:{rc};{key}"/>'
    )
    begin = text.index(f'<lrm_resource id="{rsc}"', text.index(f'<lrm id="{node}">'))
    end = text.index("</lrm_resource>", begin)
    return text[:end] + entry + text[end:]


def transient(text: str, node: int, **values: str) -> str:
    """The CIB's text with transient attributes of node number `node`."""
    attributes = pairs("instance_attributes", f"status-{node}", values)
    mark = f'<lrm id="{node}">'
    return text.replace(mark, f'<transient_attributes id="{node}">{attributes}</transient_attributes>{mark}', 1)


def with_status(text: str, element: str) -> str:
    """The CIB's text with one more element in the status section."""
    return text.replace("</status>", f"{element}</status>", 1)


def remote(name: str, meta: Mapping[str, str] | None = None) -> str:
    """The connection to a remote node."""
    text = primitive(name, meta).replace('type="Dummy"', 'type="remote"')
    return with_parameters(text, name, server=f"{name}.example")


def guest_host(name: str, guest: str) -> str:
    """A resource that carries a guest node."""
    return primitive(name, {"remote-node": guest})
