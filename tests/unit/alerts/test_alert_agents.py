"""The shipped alert agents, as the cluster runs them, against a real file, a real SMTP server and a real HTTP server."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.paths import HERE, SHIPPED_ALERTS

RESOURCE = {
    "kind": "resource",
    "node": "n1",
    "rsc": "web",
    "task": "monitor",
    "interval": "5000",
    "rc": "7",
    "target_rc": "0",
    "status": "0",
    "exec_time": "12",
    "desc": "not running",
    "timestamp": "12:04:31.612000",
    "timestamp_epoch": "1795275674",
    "node_sequence": "4",
    "version": "0.1.0",
    "cause": "op-n1.3f2a.9",
}
NODE = {"kind": "node", "node": "n2", "nodeid": "2", "desc": "lost", "timestamp": "12:04:31", "timestamp_epoch": "1"}


def run(agent: str, alert: dict[str, str], **parameters: str) -> subprocess.CompletedProcess[str]:
    environment = {f"CRM_alert_{name}": value for name, value in alert.items()}
    environment |= parameters | {
        "PATH": "/usr/bin:/bin",
        "VIGIL_PYTHON": sys.executable,
        "VIGIL_AGENTS_DIR": str(HERE),
    }
    return subprocess.run(
        [SHIPPED_ALERTS / agent], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


# --- file -------------------------------------------------------------------------------------------------------------


def test_file_writes_a_line_for_each_alert(tmp_path: Path) -> None:
    path = tmp_path / "log" / "alerts"
    attribute = {"kind": "attribute", "node": "n2", "attribute_name": "pingd", "attribute_value": "0"}
    fencing = {"kind": "fencing", "node": "n2", "desc": "Operation off of n2 by n1 for crm@n1: OK"}
    for alert in (RESOURCE, NODE, fencing, attribute):
        assert run("file", {**alert, "recipient": str(path)}).returncode == 0
    resource, node, fenced, changed = path.read_text().splitlines()
    assert resource == (
        "12:04:31.612000 monitor of web on n1: not running (every 5000 ms) (exit code 7, expected 0) [op-n1.3f2a.9]"
    )
    assert node == "12:04:31 node n2 is now lost"
    assert "Operation off of n2" in fenced and "pingd of n2 is now '0'" in changed


@pytest.mark.parametrize("agent", ["file", "mail", "webhook"])
def test_an_agent_that_a_person_runs_says_what_it_is(agent: str) -> None:
    ended = run(agent, {})
    assert ended.returncode == 2 and "the cluster runs it" in ended.stderr


def test_a_file_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert run("file", {**NODE, "recipient": str(tmp_path / "plain" / "alerts")}).returncode != 0


def test_a_file_that_is_large_enough_becomes_the_first_of_a_few_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "alerts.log"
    for number in range(4):
        path.write_text(f"{number}\n" + "x" * 1024)
        assert run("file", {**NODE, "recipient": str(path)}, max_kib="1", keep="2").returncode == 0
        assert path.read_text() == "12:04:31 node n2 is now lost\n"
    assert [(tmp_path / f"alerts.log.{number}").read_text()[0] for number in (1, 2)] == ["3", "2"]
    assert not (tmp_path / "alerts.log.3").exists()
    path.write_text("x" * 2048)
    assert run("file", {**NODE, "recipient": str(path)}, max_kib="0").returncode == 0
    assert path.stat().st_size > 2048, "0: never"


def test_no_line_is_lost_when_several_agents_find_the_file_too_large_at_once(tmp_path: Path) -> None:
    path = tmp_path / "alerts.log"
    path.write_text("old\n" + "x" * 1024)
    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(run, "file", {**NODE, "recipient": str(path)}, max_kib="1", keep="3") for _ in range(16)]
    assert {each.result().returncode for each in ends} == {0}
    assert len(path.read_text().splitlines()) == 16
    assert (tmp_path / "alerts.log.1").read_text().startswith("old") and not (tmp_path / "alerts.log.2").exists()


def test_a_value_cannot_write_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "alerts.log"
    alert = {"kind": "attribute", "node": "n2", "attribute_name": "a", "attribute_value": "1\n12:00 all is well"}
    assert run("file", {**alert, "recipient": str(path)}).returncode == 0
    assert path.read_text() == " attribute a of n2 is now '1 12:00 all is well'\n"


@pytest.mark.parametrize(
    ("recipient", "parameters"), [("alerts.log", {}), ("/tmp/x", {"max_kib": "1M"}), ("/tmp/x", {"keep": "-1"})]
)
def test_file_that_is_configured_wrongly_says_how(recipient: str, parameters: dict[str, str]) -> None:
    ended = run("file", {**NODE, "recipient": recipient}, **parameters)
    assert ended.returncode == 2 and "expected" in ended.stderr


# --- mail -------------------------------------------------------------------------------------------------------------


class SmtpServer(socketserver.ThreadingTCPServer):
    """Enough of RFC 5321 to take mail; addresses at refused.example are refused. With `tls`, from the start or when asked."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None, *, from_the_start: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), SmtpSession)
        self.mails: list[tuple[str, list[str], str]] = []
        self.logins: list[str] = []
        self.tls = tls
        self.from_the_start = from_the_start


class SmtpSession(socketserver.StreamRequestHandler):
    server: SmtpServer

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def secure(self) -> None:
        assert self.server.tls is not None
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def handle(self) -> None:
        if self.server.from_the_start:
            self.secure()
        self.say("220 test")
        sender, recipients = "", []
        while line := self.rfile.readline().decode().strip():
            verb = line.upper()
            if verb.startswith("EHLO"):
                self.say("250-test")
                self.say("250-STARTTLS")
                self.say("250 AUTH PLAIN")
                continue
            if verb == "STARTTLS":
                self.say("220 go on")
                self.secure()
                continue
            if verb.startswith("AUTH PLAIN"):
                self.server.logins.append(base64.b64decode(line.split()[2]).decode())
                self.say("235 welcome")
                continue
            if verb.startswith("MAIL FROM:"):
                sender = line[10:].partition(" ")[0]
            elif verb.startswith("RCPT TO:"):
                if "refused.example" in line:
                    self.say("550 no such user")
                    continue
                recipients.append(line[8:])
            elif verb == "DATA":
                self.say("354 go on")
                lines = []
                while (part := self.rfile.readline().decode()) not in (".\r\n", ""):
                    lines.append(part)
                self.server.mails.append((sender, recipients, "".join(lines)))
            elif verb == "QUIT":
                self.say("221 bye")
                return
            self.say("250 ok")


@contextmanager
def serving(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_mail_is_sent_to_all_recipients_and_says_what_happened_and_how_to_follow_it() -> None:
    server = SmtpServer()
    with serving(server) as port:
        alert = {**RESOURCE, "recipient": "ops@example.org, night@example.org"}
        ended = run("mail", alert, smtp=f"127.0.0.1:{port}", **{"from": "cluster@example.org"})
        assert ended.returncode == 0, ended.stderr
    ((sender, recipients, text),) = server.mails
    assert (sender, recipients) == ("<cluster@example.org>", ["<ops@example.org>", "<night@example.org>"])
    mail = message_from_string(text)
    assert mail["Subject"] == "[cluster] monitor of web on n1: not running (exit code 7, expected 0)"
    body = mail.get_payload()
    assert isinstance(body, str) and "rsc: web" in body and "crm events --cause op-n1.3f2a.9" in body


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that signs itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + plain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_mail_goes_over_tls_with_a_login(
    certificate: tuple[Path, ssl.SSLContext], security: str, tmp_path: Path
) -> None:
    path, context = certificate
    (tmp_path / "password").write_text("s3cret\n")
    server = SmtpServer(context, from_the_start=security == "tls")
    with serving(server) as port:
        parameters = {"smtp": f"127.0.0.1:{port}", "security": security, "ca_file": str(path)}
        parameters |= {"user": "cluster", "password_file": str(tmp_path / "password"), "from": "a@example.org"}
        ended = run("mail", {**NODE, "recipient": "ops@example.org"}, **parameters)
        assert ended.returncode == 0, ended.stderr
    assert len(server.mails) == 1 and server.logins == ["\0cluster\0s3cret"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_is_not_trusted_gets_nothing(certificate: tuple[Path, ssl.SSLContext]) -> None:
    server = SmtpServer(certificate[1], from_the_start=True)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # the client breaks off
    with serving(server) as port:
        parameters = {"smtp": f"127.0.0.1:{port}", "security": "tls", "from": "a@example.org"}
        ended = run("mail", {**NODE, "recipient": "ops@example.org"}, **parameters)
    assert ended.returncode == 1 and "certificate" in ended.stderr.lower() and not server.mails


def test_a_webhook_over_https_checks_the_certificate(certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, context = certificate
    server = Hook()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # the client breaks off
    with serving(server) as port:
        alert = {**NODE, "recipient": f"https://127.0.0.1:{port}/secret"}
        trusted = run("webhook", alert, ca_file=str(path))
        wary = run("webhook", alert, retries="0")
    assert trusted.returncode == 0, trusted.stderr
    assert wary.returncode == 1 and "certificate" in wary.stderr.lower() and "secret" not in wary.stderr
    assert len(server.posts) == 1


def test_mail_that_the_server_refuses_for_one_recipient_is_a_failure_that_names_it() -> None:
    server = SmtpServer()
    with serving(server) as port:
        ended = run("mail", {**NODE, "recipient": "a@example.org,b@refused.example"}, smtp=f"127.0.0.1:{port}")
    assert ended.returncode == 1 and "b@refused.example" in ended.stderr
    assert len(server.mails) == 1, "the other one got it"


def test_mail_without_a_server_is_a_failure_in_one_line() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as closed:
        port = closed.server_address[1]
    ended = run("mail", {**NODE, "recipient": "a@example.org"}, smtp=f"127.0.0.1:{port}")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and "refused" in ended.stderr.lower()


@pytest.mark.parametrize(
    ("alert", "parameters", "expected"),
    [
        ({}, {}, "no recipient"),
        ({"recipient": "a@b"}, {"security": "some"}, "expected none, starttls or tls"),
        ({"recipient": "a@b"}, {"smtp": "host:port"}, "expected HOST or HOST:PORT"),
        ({"recipient": "a@b"}, {"smtp": "mail.example.org", "user": "me", "password_file": "/x"}, "in the clear"),
        ({"recipient": "a@b"}, {"smtp": "127.0.0.1:1", "security": "tls", "user": "me"}, "password_file is missing"),
        ({"recipient": "a@b\nBcc: x@y"}, {"smtp": "127.0.0.1:1", "from": "a@b"}, "mail:"),
    ],
)
def test_mail_that_is_configured_wrongly_says_how(
    alert: dict[str, str], parameters: dict[str, str], expected: str
) -> None:
    ended = run("mail", {**NODE, **alert}, **parameters)
    assert ended.returncode == 2 and expected in ended.stderr and "Traceback" not in ended.stderr


# --- webhook ----------------------------------------------------------------------------------------------------------


class Hook(HTTPServer):
    """Answers with the codes in `answers`, then with 200."""

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), HookRequest)
        self.answers = list(answers)
        self.posts: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.requests = 0
        self.location = ""


class HookRequest(BaseHTTPRequestHandler):
    server: Hook

    def parse_request(self) -> bool:
        self.server.requests += 1
        return super().parse_request()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((dict(self.headers), json.loads(body)))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def test_webhook_posts_json_with_a_sentence_and_numbers_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    server = Hook()
    with serving(server) as port:
        alert = {**RESOURCE, "recipient": f"http://127.0.0.1:{port}/cluster"}
        ended = run("webhook", alert, token_file=str(tmp_path / "token"))
        assert ended.returncode == 0, ended.stderr
    ((headers, body),) = server.posts
    assert headers["Content-Type"] == "application/json" and headers["Authorization"] == "Bearer s3cret"
    assert body["text"] == "monitor of web on n1: not running (exit code 7, expected 0)"
    assert (body["rsc"], body["rc"], body["interval"], body["cause"]) == ("web", 7, 5000, "op-n1.3f2a.9")


def test_webhook_tries_again_when_the_server_is_in_trouble() -> None:
    server = Hook(503)
    with serving(server) as port:
        assert run("webhook", {**NODE, "recipient": f"http://127.0.0.1:{port}/"}).returncode == 0
    assert len(server.posts) == 2


def test_webhook_is_not_led_elsewhere_with_its_token(tmp_path: Path) -> None:
    """A redirection would be followed with GET: the alert would be lost, and nobody would know."""
    (tmp_path / "token").write_text("s3cret\n")
    elsewhere, server = Hook(), Hook(302)
    with serving(elsewhere) as other, serving(server) as port:
        server.location = f"http://127.0.0.1:{other}/"
        alert = {**NODE, "recipient": f"http://127.0.0.1:{port}/"}
        ended = run("webhook", alert, token_file=str(tmp_path / "token"))
    assert ended.returncode == 1 and "302" in ended.stderr
    assert len(server.posts) == 1 and not elsewhere.requests


def test_webhook_waits_for_a_server_that_is_asked_too_often() -> None:
    server = Hook(429)
    with serving(server) as port:
        assert run("webhook", {**NODE, "recipient": f"http://127.0.0.1:{port}/"}).returncode == 0
    assert len(server.posts) == 2


def test_webhook_does_not_insist_when_the_server_does_not_want_it() -> None:
    server = Hook(404)
    with serving(server) as port:
        ended = run("webhook", {**NODE, "recipient": f"http://127.0.0.1:{port}/"})
    assert ended.returncode == 1 and "404" in ended.stderr and len(server.posts) == 1


@pytest.mark.parametrize(
    ("recipient", "parameters"),
    [
        ("", {}),
        ("ftp://x/", {}),
        ("http://127.0.0.1:1/", {"retries": "x"}),
        ("http://x/", {"retries": "-1"}),
        ("http://x:y/secret", {}),
    ],
)
def test_webhook_that_is_configured_wrongly_says_how(recipient: str, parameters: dict[str, str]) -> None:
    ended = run("webhook", {**NODE, "recipient": recipient}, **parameters)
    assert ended.returncode == 2 and "expected" in ended.stderr and "secret" not in ended.stderr


def test_the_version_that_agents_are_told_is_the_packages() -> None:
    import tomllib

    from crm import __version__

    text = (HERE.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["version"] == __version__
