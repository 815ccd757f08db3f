"""How `crm lab` and the tests talk to a lab's keeper: one JSON line there, one back."""

from __future__ import annotations

import json
import socket
from typing import Any

from crm.lab.layout import Lab, LabError

ANSWER_LIMIT_S = 90.0


def ask(lab: Lab, do: str, **parameters: Any) -> dict[str, Any]:
    """The keeper's answer; LabError when it refuses, or is not there."""
    request = json.dumps({"do": do} | parameters).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ANSWER_LIMIT_S)
            sock.connect(str(lab.keeper_socket))
            sock.sendall(request)
            with sock.makefile("rb") as stream:
                line = stream.readline()
    except (FileNotFoundError, ConnectionRefusedError):
        raise LabError(f"lab {lab.name!r} is not running (crm lab down --name {lab.name} clears it away)") from None
    except OSError as error:
        raise LabError(f"the keeper of lab {lab.name!r} does not answer: {error}") from None
    if not line:
        raise LabError(f"the keeper of lab {lab.name!r} ended; see {lab.folder / 'keeper.log'}")
    reply: dict[str, Any] = json.loads(line)
    if not reply.pop("ok"):
        raise LabError(str(reply.get("error")))
    return reply
