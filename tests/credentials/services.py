"""What gives out credentials on AWS, as servers on loopback that check what the real ones check.

Sources: EC2 User Guide, "Use the Instance Metadata Service"; SDKs Reference Guide, "Container credential provider"; STS
API Reference, AssumeRoleWithWebIdentity.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

CANARY = "canarySecret/0123456789+abcdefghijklmnop"
"""Every secret that is issued here begins with it."""


@dataclass
class Issued:
    access_key: str
    secret_key: str
    token: str
    expires: float


def named(label: str, number: int) -> tuple[str, str, str]:
    """Access key, secret and token of the credentials that are issued so."""
    return f"ASIA{label}{number:06}", f"{CANARY}{number}", f"{CANARY}token{number}=="


@dataclass
class Service:
    """A metadata or token service; ``life`` seconds by ``wall`` is what it issues credentials for."""

    url: str = ""
    life: float = 3600.0
    wall: Callable[[], float] = time.time
    issued: dict[str, Issued] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """Why requests were refused, in order."""
    failing: tuple[int, str] | None = None
    """Status and body of every answer, while it is set."""
    may_answer: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self, label: str = "ISSUED") -> Issued:
        """Credentials that are numbered by their ``label``, from 1."""
        with self.lock:
            number = sum(key.startswith(f"ASIA{label}") for key in self.issued) + 1
            one = Issued(*named(label, number), self.wall() + self.life)
            self.issued[one.access_key] = one
        return one


class Handler(BaseHTTPRequestHandler):
    """One request of one service; a subclass for each says what it takes."""

    service: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def answer(self, status: int, body: str, content_type: str = "application/json") -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, why: str) -> None:
        self.service.refused.append(why)
        self.answer(status, f"{CANARY} {why}")

    def is_failing(self) -> bool:
        self.service.may_answer.wait(60)
        if self.service.failing is not None:
            self.answer(*self.service.failing)
        return self.service.failing is not None


def timestamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(one: Issued) -> str:
    document = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": one.access_key, "SecretAccessKey": one.secret_key}
    return json.dumps({**document, "Token": one.token, "Expiration": timestamp(one.expires)})


class Instance(Handler):
    """The instance metadata service, version 2 only: nothing without a session token of its own making."""

    ROLE = "cache-role"
    PATH = "/latest/meta-data/iam/security-credentials/"
    SESSION = "session-token-of-this-instance"

    def do_PUT(self) -> None:
        if self.is_failing():
            return
        if self.path != "/latest/api/token":
            self.refuse(404, "no such path")
        elif self.headers.get("x-forwarded-for"):
            self.refuse(403, "forwarded")
        elif not 1 <= int(self.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "0")) <= 21600:
            self.refuse(400, "no time to live")
        else:
            self.answer(200, self.SESSION, "text/plain")

    def do_GET(self) -> None:
        if self.is_failing():
            return
        if self.headers.get("x-aws-ec2-metadata-token") != self.SESSION:
            self.refuse(401, "no session token")
        elif self.path == self.PATH:
            self.answer(200, self.ROLE, "text/plain")
        elif self.path == self.PATH + self.ROLE:
            self.answer(200, _document(self.service.issue()))
        else:
            self.refuse(404, "no such path")


class Container(Handler):
    """The agent of a container's task or pod; it wants what is in the token file now."""

    PATH = "/v2/credentials/0123-4567"
    authorization: str

    def do_GET(self) -> None:
        if self.is_failing():
            return
        if self.headers.get("authorization") != type(self).authorization:
            self.refuse(401, "wrong authorization")
        elif self.path != self.PATH:
            self.refuse(404, "no such path")
        else:
            self.answer(200, _document(self.service.issue()))


class Sts(Handler):
    """The token service, as far as it exchanges an identity token for a role. Not signed, and never shown a key."""

    ROLE = "arn:aws:iam::123456789012:role/reader"
    roles: Mapping[str, str] = {ROLE: "ISSUED"}
    """The roles there are, and what their sessions are labelled."""
    identity: str
    NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode("ascii")
        if self.is_failing():
            return
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        session = form.get("RoleSessionName", "")
        if self.path != "/" or "authorization" in self.headers:
            self._fail(400, "InvalidAction")
        elif not self.headers["content-type"].startswith("application/x-www-form-urlencoded"):
            self._fail(400, "MalformedInput")
        elif (form.get("Action"), form.get("Version")) != ("AssumeRoleWithWebIdentity", "2011-06-15"):
            self._fail(400, "InvalidAction")
        elif not 2 <= len(session) <= 64 or not all(c.isalnum() or c in "_=,.@-" for c in session):
            self._fail(400, "ValidationError")
        elif form.get("RoleArn") not in self.roles:
            self._fail(403, "AccessDenied")
        elif form.get("WebIdentityToken") != type(self).identity:
            self._fail(400, "ExpiredTokenException")
        else:
            one = self.service.issue(self.roles[form["RoleArn"]])
            credentials = (
                f"<Credentials><AccessKeyId>{one.access_key}</AccessKeyId><SecretAccessKey>{one.secret_key}"
                f"</SecretAccessKey><SessionToken>{one.token}</SessionToken><Expiration>{timestamp(one.expires)}"
                "</Expiration></Credentials>"
            )
            self._send(200, "AssumeRoleWithWebIdentity", f"<AssumeRoleWithWebIdentityResult>{credentials}"
                "<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/reader/x</Arn><AssumedRoleId>AROAX:x"
                "</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>"
            )  # fmt: skip

    def _fail(self, status: int, code: str) -> None:
        self.service.refused.append(code)
        self._send(status, "Error", f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{CANARY}</Message></Error>")

    def _send(self, status: int, name: str, inner: str) -> None:
        xml = f'<{name}Response xmlns="{self.NAMESPACE}">{inner}<RequestId>r</RequestId></{name}Response>'
        self.answer(status, xml, "text/xml")


@contextmanager
def running(handler: type[Handler], service: Service) -> Iterator[type[Handler]]:
    """``handler`` as a server of its own for ``service``, whose ``url`` it sets."""
    own = type(handler.__name__, (handler,), {"service": service})
    service.may_answer.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield own
    finally:
        service.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()


def token_file(directory: Path, text: str) -> Path:
    path = directory / "token"
    path.write_text(text)
    return path
