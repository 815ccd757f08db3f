"""The alert agents that need more than a shell: mail and webhook.

Theory of operation. Run as a program with nothing but the standard library (`python3 -I alert.py mail|webhook`, by `agents/alerts/mail` and `webhook`), once for each
alert and recipient. Everything comes in the environment: `CRM_alert_*` says what happened, the alert's parameters have their own names. Each network step
has a time limit well below the cluster's own (30 s), so that a dead server is reported as such. Ends with 0 when the alert was taken over by the server, with 1 and a
line on standard error otherwise, 2 when it is configured wrongly.
"""

from __future__ import annotations

import http.client
import json
import os
import smtplib
import socket
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final

STEP_LIMIT_S: Final = 8.0
"""To connect, and for each answer."""
MAX_RETRIES: Final = 10
TEMPORARY: Final = frozenset((408, 429))
"""Answers that blame the client and may be other ones a moment later."""
LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
PREFIX: Final = "CRM_alert_"
_NUMBERS: Final = frozenset(
    ("rc", "target_rc", "status", "interval", "exec_time", "node_sequence", "timestamp_epoch", "timestamp_usec")
)


class Wrong(Exception):
    """A parameter is missing or is none; the text says which and what was expected."""


def subject(alert: Mapping[str, str]) -> str:
    """One line that says what happened."""
    node, desc = alert.get("node", ""), alert.get("desc", "")
    match alert.get("kind"):
        case "node":
            return f"node {node} is now {desc}"
        case "fencing":
            return desc
        case "resource":
            text = f"{alert.get('task')} of {alert.get('rsc')} on {node}: {desc}"
            expected = alert.get("target_rc")
            return text if alert.get("rc") == expected else f"{text} (exit code {alert.get('rc')}, expected {expected})"
        case "attribute":
            return f"{alert.get('attribute_name')} of {node} is now {alert.get('attribute_value')!r}"
        case kind:
            return f"{kind}: {desc}"


def message(alert: Mapping[str, str], sender: str, recipients: list[str]) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = " ".join(f"[cluster] {subject(alert)}".split())
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = formatdate(float(alert.get("timestamp_epoch") or time.time()), localtime=True)
    # Nothing here asks the DNS for our own name: it may be what is down.
    mail["Message-ID"] = make_msgid(domain=socket.gethostname())
    mail["Auto-Submitted"] = "auto-generated"
    lines = [subject(alert), "", *(f"{name}: {value}" for name, value in sorted(alert.items()) if value)]
    if alert.get("cause"):
        lines += ["", f"What led to it and what came of it: crm events --cause {alert['cause']}"]
    mail.set_content("\n".join(lines) + "\n")
    return mail


def send_mail(alert: Mapping[str, str], parameters: Mapping[str, str]) -> None:
    recipients = [address.strip() for address in alert.get("recipient", "").split(",") if address.strip()]
    if not recipients:
        raise Wrong("no recipient; expected the address that the mail is for")
    security = parameters.get("security", "none")
    if security not in ("none", "starttls", "tls"):
        raise Wrong(f"security is {security!r}; expected none, starttls or tls")
    host, port = _endpoint(parameters.get("smtp", "localhost"), {"tls": 465, "starttls": 587}.get(security, 25))
    if parameters.get("user") and security == "none" and host not in LOOPBACK:
        raise Wrong(
            "user is given, and security is none: the password would be sent in the clear; expected starttls or tls"
        )
    me = socket.gethostname()
    sender = parameters.get("from") or f"vigil@{me}"
    mail = message(alert, sender, recipients)
    context = _trust(parameters) if security != "none" else None
    password = _secret(parameters, "password_file") if parameters.get("user") else ""
    if security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, me, timeout=STEP_LIMIT_S, context=context)
    else:
        server = smtplib.SMTP(host, port, me, timeout=STEP_LIMIT_S)
    with server:
        if security == "starttls":
            server.starttls(context=context)
        if parameters.get("user"):
            server.login(parameters["user"], password)
        refused = server.send_message(mail, sender, recipients)
    if refused:
        raise OSError(f"{', '.join(refused)} refused by {host}")


def post(alert: Mapping[str, str], parameters: Mapping[str, str]) -> None:
    url = alert.get("recipient", "")
    if not url.startswith(("http://", "https://")):
        raise Wrong("the recipient is no URL; expected one with http or https")
    retries = parameters.get("retries", "2")
    if not retries.isdecimal() or int(retries) > MAX_RETRIES:
        raise Wrong(f"retries is {retries!r}; expected a number, 0 to {MAX_RETRIES}")
    tries = 1 + int(retries)
    headers = {"Content-Type": "application/json", "User-Agent": "vigil-alert"}
    if parameters.get("token_file"):
        headers["Authorization"] = f"Bearer {_secret(parameters, 'token_file')}"
    opener = urllib.request.build_opener(_NoRedirect(), urllib.request.HTTPSHandler(context=_trust(parameters)))
    request = urllib.request.Request(url, body(alert), headers, method="POST")
    for attempt in range(tries):
        try:
            with opener.open(request, timeout=STEP_LIMIT_S):
                return
        except urllib.error.HTTPError as error:
            # The server has understood and does not want it: asking again does not help.
            final = 300 <= error.code < 500 and error.code not in TEMPORARY
            if attempt + 1 == tries or final:
                raise OSError(f"{urllib.parse.urlsplit(url).hostname} answered {error.code} {error.reason}") from None
        except http.client.InvalidURL:  # its text has the URL in it, which may be a secret
            raise Wrong("the recipient is no URL that can be used; expected http(s)://HOST[:PORT]/PATH") from None
        except (OSError, http.client.HTTPException):
            if attempt + 1 == tries:
                raise
        time.sleep(0.5 * 2**attempt)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Following one would turn POST into GET, and take the token to another server."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def body(alert: Mapping[str, str]) -> bytes:
    """The variables by their names without `CRM_alert_`, numbers as such, and `text`: what happened in a sentence."""
    values: dict[str, str | int] = {"text": subject(alert)}
    for name, value in sorted(alert.items()):
        values[name] = int(value) if name in _NUMBERS and value.lstrip("-").isdigit() else value
    return json.dumps(values, ensure_ascii=False).encode()


def _endpoint(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        return text.strip("[]"), port
    if not number.isdigit():
        raise Wrong(f"smtp is {text!r}; expected HOST or HOST:PORT")
    return host.strip("[]"), int(number)


def _trust(parameters: Mapping[str, str]) -> ssl.SSLContext:
    """What a server's certificate is checked with: the system's authorities, or those of `ca_file`."""
    path = parameters.get("ca_file") or None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise Wrong(f"ca_file {path!r} cannot be used: {error.strerror or error}") from None


def _secret(parameters: Mapping[str, str], name: str) -> str:
    path = parameters.get(name, "")
    if not path:
        raise Wrong(f"{name} is missing; expected a file whose first line is the secret")
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError as error:
        raise Wrong(f"{name} {path!r} cannot be read: {error.strerror}") from None


def main() -> int:
    agents = {"mail": send_mail, "webhook": post}
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    alert = {key.removeprefix(PREFIX): value for key, value in os.environ.items() if key.startswith(PREFIX)}
    if name not in agents or "kind" not in alert:
        sys.stderr.write("this is an alert agent: the cluster runs it (crm configure alert ID mail to ADDRESS)\n")
        return 2
    try:
        agents[name](alert, os.environ)
    except (OSError, smtplib.SMTPException, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        sys.stderr.write(f"{name}: {type(error).__name__}: {reason}\n")
        return 1
    except (Wrong, ValueError) as wrong:  # ValueError: a header or a URL that cannot be one
        sys.stderr.write(f"{name}: {wrong}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
