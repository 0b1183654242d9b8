"""Who is refused gets no byte, causes no request and learns nothing of the cache, in every mode of a gateway (P-40)."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

import pytest
from tests.clients.test_authorization_matrix import BODY, PROOFS, TOO_OLD, Asked
from tests.gateway.conftest import (
    DISABLED,
    FULL,
    OTHER_PREFIX,
    READER,
    TEMPORARY,
    WRITER,
    Gate,
    Key,
)
from tests.harness.raw import RawResponse, exchange

from fastcache.protocol import sigv2
from fastcache.protocol.sigv4 import EMPTY_SHA256, Credentials, sign

DELETE = b"<Delete><Object><Key>k-one</Key></Object><Object><Key>secret</Key></Object></Delete>"


def credentials(key: Key, token: str | None = None) -> Credentials:
    shown = token or key.session_token
    return Credentials(key.access_key.encode(), key.secret_key.encode(), shown and shown.encode())


class Request(NamedTuple):
    """What a case may be made of."""

    asked: Asked
    bucket: bytes
    own: Credentials
    """The gateway's at the origin, which are good for nothing here."""

    def signed(
        self,
        method: bytes,
        target: bytes,
        key: Key,
        *fields: tuple[bytes, bytes],
        body: bytes = b"",
        unsigned: tuple[tuple[bytes, bytes], ...] = (),
        **changed: bytes,
    ) -> bytes:
        host = ((b"Host", self.asked.host),)
        payload = EMPTY_SHA256 if not body else b"UNSIGNED-PAYLOAD"
        made = sign(
            method, target, (*host, *fields), credentials(key), region=b"us-east-1", now=time.time(),
            payload_hash=payload, signed=[name.lower() for name, _ in fields],
        )  # fmt: skip
        lines = [b"%b %b HTTP/1.1" % (changed.get("sent_method", method), changed.get("sent_target", target))]
        lines += [b"%b: %b" % field for field in (*host, *fields, *made.headers, *unsigned)]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join((*lines, b"", b"")) + body

    @property
    def target(self) -> bytes:
        return self.asked.target

    def v2(self, *, presigned: bool) -> bytes:
        """By a key that exists, as boto3 still presigns in some regions."""
        host, secret = (b"Host", self.asked.host), FULL.secret_key.encode()
        if not presigned:
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()
            text = sigv2.string_to_sign(b"GET", self.target, [host], date=date)
            made = b"AWS %b:%b" % (FULL.access_key.encode(), sigv2.signature(secret, text))
            return self.asked.raw(b"GET", (b"Date", date), (b"Authorization", made))
        expires = b"%d" % (time.time() + 600)
        text = sigv2.string_to_sign(b"GET", self.target, [host], date=expires)
        given = sigv2.signature(secret, text).replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
        query = b"?AWSAccessKeyId=%b&Signature=%b&Expires=%b" % (FULL.access_key.encode(), given, expires)
        return self.asked.raw(target=self.target + query)

    def form(self) -> bytes:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk-form\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nxx\r\n--b--\r\n'
        )
        type_ = b"multipart/form-data; boundary=b"
        lines = (
            b"POST /%b HTTP/1.1" % self.bucket,
            b"Host: " + self.asked.host,
            b"Content-Type: " + type_,
            b"Content-Length: %d" % len(body),
            b"",
            b"",
        )
        return b"\r\n".join(lines) + body

    def deletes(self, key: Key, body: bytes = DELETE) -> bytes:
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest())
        return self.signed(b"POST", b"/%b?delete" % self.bucket, key, (b"Content-MD5", md5), body=body)


def _copy(request: Request, source: bytes, key: Key = WRITER) -> bytes:
    return request.signed(b"PUT", request.target, key, (b"x-amz-copy-source", source))


REFUSED: dict[str, tuple[Callable[[Request], bytes], int, str]] = {
    "wrong secret": (
        lambda r: r.asked.signed(by=Credentials(FULL.access_key.encode(), b"wrong")),
        403,
        "SignatureDoesNotMatch",
    ),
    "unknown key": (lambda r: r.asked.signed(by=Credentials(b"AKIAUNKNOWN", b"secret")), 403, "InvalidAccessKeyId"),
    "the gateway's own key": (lambda r: r.asked.signed(by=r.own), 403, "InvalidAccessKeyId"),
    "disabled key": (lambda r: r.asked.signed(by=credentials(DISABLED)), 403, "InvalidAccessKeyId"),
    "token missing": (
        lambda r: r.asked.signed(by=Credentials(TEMPORARY.access_key.encode(), TEMPORARY.secret_key.encode())),
        400,
        "InvalidToken",
    ),
    "another token": (lambda r: r.asked.signed(by=credentials(TEMPORARY, "another-token")), 400, "InvalidToken"),
    "too old": (lambda r: r.asked.signed(age=TOO_OLD), 403, "RequestTimeTooSkewed"),
    "from the future": (lambda r: r.asked.signed(age=-TOO_OLD), 403, "RequestTimeTooSkewed"),
    "presigned, expired": (
        lambda r: r.asked.raw(target=r.asked.presigned(expires=60, age=120)),
        403,
        "AccessDenied",
    ),
    "presigned, longer": (lambda r: PROOFS["presigned, longer"](r.asked), 403, "SignatureDoesNotMatch"),
    "presigned, changed": (lambda r: PROOFS["presigned, changed"](r.asked), 403, "SignatureDoesNotMatch"),
    "presigned for HEAD": (lambda r: PROOFS["presigned for HEAD"](r.asked), 403, "SignatureDoesNotMatch"),
    "signed for HEAD": (lambda r: r.asked.signed(b"HEAD"), 403, "SignatureDoesNotMatch"),
    "replayed on another path": (
        lambda r: r.asked.signed(target=r.target + b"-allowed"),
        403,
        "SignatureDoesNotMatch",
    ),
    "another range": (lambda r: r.asked.signed(range_=b"bytes=5-6"), 403, "SignatureDoesNotMatch"),
    "another host": (
        lambda r: r.asked.signed().replace(b"Host: " + r.asked.host, b"Host: localhost"),
        403,
        "SignatureDoesNotMatch",
    ),
    "both ways at once": (
        lambda r: r.asked.raw(
            b"GET",
            *sign(b"GET", r.target, r.asked.fields(), credentials(FULL), region=b"us-east-1", now=time.time()).headers,
            target=r.asked.presigned(),
        ),
        400,
        "InvalidArgument",
    ),
    "no such prefix": (lambda r: r.asked.signed(by=credentials(OTHER_PREFIX)), 403, "AccessDenied"),
    "x-amz-* added": (
        lambda r: r.signed(b"GET", r.target, FULL, unsigned=((b"x-amz-request-payer", b"requester"),)),
        403,
        "AccessDenied",
    ),
    "x-amz-* added to a presigned": (
        lambda r: r.asked.raw(b"GET", (b"x-amz-meta-a", b"b"), target=r.asked.presigned()),
        403,
        "AccessDenied",
    ),
    "anonymous": (lambda r: r.asked.raw(), 403, "AccessDenied"),
    "malformed": (
        lambda r: r.asked.raw(b"GET", (b"Authorization", b"AWS4-HMAC-SHA256 x")),
        400,
        "AuthorizationHeaderMalformed",
    ),
    "SigV2": (lambda r: r.v2(presigned=False), 403, "AccessDenied"),
    "SigV2, presigned": (lambda r: r.v2(presigned=True), 403, "AccessDenied"),
    "SigV4A": (
        lambda r: r.asked.raw(b"GET", (b"Authorization", b"AWS4-ECDSA-P256-SHA256 Credential=a/b")),
        501,
        "NotImplemented",
    ),
    "form": (Request.form, 403, "AccessDenied"),
    "unknown query": (lambda r: r.signed(b"GET", r.target + b"?secrets", FULL), 403, "AccessDenied"),
    "reader asks for the policy": (lambda r: r.signed(b"GET", b"/%b?policy" % r.bucket, READER), 403, "AccessDenied"),
    "reader writes": (lambda r: r.signed(b"PUT", r.target, READER, body=b"new"), 403, "AccessDenied"),
    "reader deletes": (lambda r: r.signed(b"DELETE", r.target, READER), 403, "AccessDenied"),
    "copy from elsewhere": (lambda r: _copy(r, b"/%b/secret" % r.bucket), 403, "AccessDenied"),
    "copy from another bucket": (lambda r: _copy(r, b"other-bucket/secret"), 403, "AccessDenied"),
    "copy from an escaped elsewhere": (lambda r: _copy(r, b"%b/%%73ecret" % r.bucket), 403, "AccessDenied"),
    "made public": (
        lambda r: r.signed(b"PUT", r.target, WRITER, (b"x-amz-acl", b"public-read"), body=b"new"),
        403,
        "AccessDenied",
    ),
    "deletes what it may not": (lambda r: r.deletes(WRITER), 403, "AccessDenied"),
    "deletes what nobody can read": (lambda r: r.deletes(FULL, b"<Delete><Object>"), 400, "MalformedXML"),
    "deletes too much": (
        lambda r: r.deletes(FULL, b"<Delete>" + b" " * (2 << 20) + b"</Delete>"),
        400,
        "MaxMessageLengthExceeded",
    ),
    "list outside the prefix": (lambda r: r.signed(b"GET", b"/%b?prefix=s" % r.bucket, READER), 403, "AccessDenied"),
    "list of everything": (
        lambda r: r.signed(b"GET", b"/%b?list-type=2" % r.bucket, OTHER_PREFIX),
        403,
        "AccessDenied",
    ),
    "list of buckets": (lambda r: r.signed(b"GET", b"/", READER), 403, "AccessDenied"),
    "bucket deleted": (lambda r: r.signed(b"DELETE", b"/" + r.bucket, WRITER), 403, "AccessDenied"),
    "method changed": (
        lambda r: r.signed(b"GET", r.target, FULL, sent_method=b"DELETE"),
        403,
        "SignatureDoesNotMatch",
    ),
    "query added": (
        lambda r: r.signed(b"GET", r.target, FULL, sent_target=r.target + b"?versionId=1"),
        403,
        "SignatureDoesNotMatch",
    ),
}
"""Name to a request, and the status and code it is refused with."""
ALLOWED: dict[str, Callable[[Request], bytes]] = {
    "valid": lambda r: r.asked.signed(),
    "presigned": lambda r: r.asked.raw(target=r.asked.presigned()),
    "reader's": lambda r: r.asked.signed(by=credentials(READER)),
    "temporary": lambda r: r.asked.signed(by=credentials(TEMPORARY)),
    "any region": lambda r: r.asked.raw(
        b"GET",
        *sign(b"GET", r.target, r.asked.fields(), credentials(FULL), region=b"eu-xyz-9", now=time.time()).headers,
    ),
}


@functools.cache
def _kept_bucket(gate: Gate) -> str:
    return gate.new_bucket()


class Scene:
    """One object behind a gateway, and whoever asks for it."""

    def __init__(self, gate: Gate, *, warm: bool) -> None:
        self.gate = gate
        # Making a bucket takes Swift a while; our own origin is emptied for each test.
        self.bucket = _kept_bucket(gate) if gate.kind == "swift" else gate.new_bucket()
        self.key = f"k{uuid.uuid4().hex}"
        self.at = {"Bucket": self.bucket, "Key": self.key}
        gate.direct.put_object(**self.at, Body=BODY)
        for _ in range(3 if warm else 0):  # the second is a hit of the engine, the third one of the compiled branch
            self.read()
        self._before = gate.origin_requests

    def read(self) -> None:
        assert self.gate.through.get_object(**self.at)["Body"].read() == BODY

    def send(self, make: Callable[[Request], bytes], range_: bytes | None = None) -> RawResponse:
        gate = self.gate
        host, target = gate.endpoint.removeprefix("http://").encode(), f"/{self.bucket}/{self.key}".encode()
        client = Credentials(gate.access_key.encode(), gate.secret_key.encode())
        own = Credentials(*(part.encode() for part in gate.own))
        asked = Asked(host, target, client, range_)
        return exchange(gate.endpoint, make(Request(asked, self.bucket.encode(), own)))

    def origin_was_asked(self) -> bool:
        asked = self.gate.origin_requests != self._before
        self._before = self.gate.origin_requests
        return asked


def code_of(answer: RawResponse) -> str:
    found = re.search(rb"<Code>([^<]*)</Code>", answer.body)
    return found[1].decode() if found else ""


def _without_ids(answer: RawResponse) -> tuple[object, ...]:
    """All that an answer says but its time and its ids."""
    ids = (b"date", b"x-amz-request-id", b"x-amz-id-2")
    fields = [field for field in answer.headers if field[0].lower() not in ids]
    return answer.status, fields, re.sub(rb"<(RequestId|HostId|Resource)>[^<]*<", b"", answer.body)


@pytest.mark.parametrize("name", REFUSED)
def test_who_is_refused_gets_nothing_and_asks_nobody(own_gate: Gate, name: str) -> None:
    make, status, code = REFUSED[name]
    told = []
    for warm in (False, True):
        scene = Scene(own_gate, warm=warm)
        answer = scene.send(make)
        assert (answer.status, code_of(answer)) == (status, code)
        assert not scene.origin_was_asked()
        assert BODY[:5] not in answer.body
        told.append(_without_ids(answer))
        if warm:
            scene.read()
            assert not scene.origin_was_asked(), "a refused request cost the owner a hit"
    assert told[0] == told[1], "the answer tells what is cached"


@pytest.mark.parametrize("name", ALLOWED)
def test_who_is_allowed_has_it_from_here(gate: Gate, name: str) -> None:
    for warm in (False, True):
        scene = Scene(gate, warm=warm)
        for range_ in (None, b"bytes=0-9"):
            answer = scene.send(ALLOWED[name], range_)
            assert answer.body == (BODY if range_ is None else BODY[:10])
            assert scene.origin_was_asked() is (not warm and range_ is None)
            assert answer.get(b"x-cache") == (b"HIT" if warm or range_ else b"MISS")


READS_ONLY: dict[str, Callable[[Request], bytes]] = {
    "put": lambda r: r.signed(b"PUT", r.target, FULL, body=b"new"),
    "anonymous put": lambda r: b"PUT %b HTTP/1.1\r\nHost: %b\r\nContent-Length: 1\r\n\r\nx" % (r.target, r.asked.host),
    "delete": lambda r: r.signed(b"DELETE", r.target, FULL),
    "deletes": lambda r: r.deletes(FULL),
    "copy": lambda r: _copy(r, b"/%b/k" % r.bucket),
    "form": Request.form,
    "multipart": lambda r: r.signed(b"POST", r.target + b"?uploads", FULL),
    "bucket": lambda r: r.signed(b"PUT", b"/another-bucket", FULL),
    "policy": lambda r: r.signed(b"GET", b"/%b?policy" % r.bucket, FULL),
    "unknown query": lambda r: r.asked.raw(target=r.target + b"?secrets"),
    "SigV2, presigned": lambda r: r.v2(presigned=True),
    "unknown method": lambda r: r.asked.raw(b"PATCH"),
}


@pytest.mark.parametrize("own_gate", ["none-sign"], indirect=True)
@pytest.mark.parametrize("name", READS_ONLY)
def test_without_verification_our_key_is_lent_for_reading_alone(own_gate: Gate, name: str) -> None:
    for warm in (False, True):
        scene = Scene(own_gate, warm=warm)
        answer = scene.send(READS_ONLY[name])
        assert (answer.status, code_of(answer)) == (403, "AccessDenied")
        assert not scene.origin_was_asked()


@pytest.mark.parametrize("own_gate", ["none-sign"], indirect=True)
@pytest.mark.parametrize(
    "proof", ["valid", "wrong secret", "unknown key", "expired", "anonymous", "presigned, changed"]
)
def test_without_verification_anybody_reads(own_gate: Gate, proof: str) -> None:
    for warm in (False, True):
        scene = Scene(own_gate, warm=warm)
        answer = scene.send(lambda r: PROOFS[proof](r.asked))
        assert (answer.status, answer.body) == (200, BODY)
        assert scene.origin_was_asked() is not warm
        listed = scene.send(lambda r: r.asked.raw(target=b"/%b?list-type=2" % r.bucket))
        assert scene.key.encode() in listed.body


@pytest.mark.parametrize("own_gate", ["verify-passthrough"], indirect=True)
@pytest.mark.parametrize("proof", PROOFS)
def test_in_passthrough_a_known_key_is_judged_here_and_an_unknown_one_by_the_origin(own_gate: Gate, proof: str) -> None:
    judged_here = {"valid", "presigned", "wrong secret", "expired", "another range", "replayed on another path"} | {
        name for name in PROOFS if "presigned" in name or name in ("signed for HEAD", "another prefix")
    }
    for warm in (False, True):
        scene = Scene(own_gate, warm=warm)
        answer = scene.send(lambda r: PROOFS[proof](r.asked))
        asked = scene.origin_was_asked()
        if proof in ("valid", "presigned"):
            assert (answer.status, answer.body, asked) == (200, BODY, not warm)
            continue
        assert answer.status == 403
        assert BODY[:5] not in answer.body
        assert asked is (proof not in judged_here)
        scene.read()


@pytest.mark.parametrize("own_gate", ["verify-passthrough-unlisted"], indirect=True)
def test_in_passthrough_a_key_that_only_the_origin_knows_is_asked_about_every_time(own_gate: Gate) -> None:
    """As in ``revalidate``: bytes from here, permission from there."""
    scene = Scene(own_gate, warm=True)
    control = own_gate.control
    assert control is not None
    before = control.body_sent(scene.bucket)
    for _ in range(2):
        answer = scene.send(lambda r: r.asked.signed())
        assert (answer.status, answer.body, answer.get(b"x-cache")) == (200, BODY, b"REVALIDATED")
        assert scene.origin_was_asked()
    assert control.body_sent(scene.bucket) == before
