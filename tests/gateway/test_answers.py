"""What comes back to a request in our name: nothing of us, and what can be repaired here is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.gateway.conftest import FULL, MODES, Gate, upstream_environment, write_keys
from tests.gateway.test_matrix import code_of
from tests.gateway.uploads import Upload, send
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import exchange

from fastcache.origin.process import AccountSpec, OriginProcess, start_origin
from fastcache.protocol.sigv4 import PayloadKind

OWN = AccountSpec("UPSTREAMKEYCANARY", "upstream-secret-canary")
NARROW = AccountSpec("NARROWKEYCANARY", "narrow-secret-canary", prefixes=("bkt/public/",))

Start = Callable[..., Gate]


@pytest.fixture
def start(start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path) -> Iterator[Start]:
    """``start("--flag", own=(access key, secret), origin=[option, ...])``: an origin of its own, and a gateway."""
    keys = write_keys(tmp_path / "keys.yaml", [FULL])
    with contextlib.ExitStack() as stack:

        def begin(
            *flags: str, own: tuple[str, str] = (OWN.access_key, OWN.secret_key), origin: tuple[str, ...] = ()
        ) -> Gate:
            process: OriginProcess = stack.enter_context(start_origin(*origin, accounts=(OWN, NARROW)))
            process.control.bucket("bkt")
            process.control.put("bkt", "k", b"content")
            proxy = start_fastcache(
                process.endpoint,
                *(*MODES["verify-sign"], "--keys", str(keys), "--ttl", "0", *flags),
                environment=upstream_environment(*own),
            )
            control = process.control
            identity = (FULL.access_key, FULL.secret_key)
            return Gate("own", "verify-sign", process.endpoint, proxy, *identity, control.body_sent, control, own)

        yield begin


def error_of(call: Callable[..., object], **arguments: object) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]


AT = {"Bucket": "bkt", "Key": "k"}


@pytest.mark.parametrize("own", [(OWN.access_key, "another-secret-canary"), ("UNKNOWNCANARY", OWN.secret_key)])
def test_credentials_that_the_origin_refuses_are_a_fault_of_ours_and_stay_here(
    start: Start, own: tuple[str, str]
) -> None:
    gate = start(own=own)
    for method in ("GET", "PUT", "DELETE"):
        answer = gate.raw(method, "/bkt/k", body=b"new" if method == "PUT" else b"")
        assert (answer.status, code_of(answer)) == (500, "InternalError")
        assert own[0].encode() not in answer.body
        assert b"ignature" not in answer.body
    logged = gate.proxy.stderr.read_text()
    assert "the origin does not take our request: 403" in logged
    assert own[1] not in logged
    assert gate.proxy.metric("fastcache_origin_errors_total", kind="credentials") == 3


def test_what_we_may_not_do_is_denied_in_our_own_words(start: Start) -> None:
    gate = start(own=(NARROW.access_key, NARROW.secret_key))
    answer = gate.raw("GET", "/bkt/k")
    assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    assert NARROW.access_key.encode() not in answer.body
    assert error_of(gate.through.head_object, **AT)[0] == 403


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_origins_time_is_learnt_from_its_complaint(start: Start, method: str) -> None:
    gate = start("--write-through", "off")
    assert gate.control is not None
    gate.control.settings(clock_offset=3600)
    if method == "GET":
        assert gate.through.get_object(**AT)["Body"].read() == b"content"
    else:
        # The body is on its way when the complaint comes: the client is asked to send it again.
        first = send(gate, "/bkt/k", Upload(b"new" * 1000, PayloadKind.SIGNED))
        assert (first.status, code_of(first)) in ((503, "SlowDown"), (200, ""))
        assert send(gate, "/bkt/k", Upload(b"new" * 1000, PayloadKind.SIGNED)).status == 200
    wait_until(lambda: gate.proxy.metric("fastcache_fills_active") == 0, 20, "all is stored")
    asked = gate.control.requests()
    gate.through.list_objects_v2(Bucket=AT["Bucket"])
    assert gate.control.requests() == asked + 1, "it is not learnt anew each time"
    gate.control.settings(clock_offset=0)
    assert gate.through.get_object(**AT)["ContentLength"] in (7, 3000)


def test_a_region_that_the_origin_names_is_signed_for(start: Start) -> None:
    gate = start(origin=("--region", "eu-test-9", "--strict-region"))
    assert gate.control is not None
    # Our origin says so in the message alone; AWS has an element for it, and a header.
    fault = {"headers": {"x-amz-bucket-region": "eu-test-9"}, "status": 400, "code": "AuthorizationHeaderMalformed"}
    gate.control.fault("status", count=1, **fault)
    assert gate.through.get_object(**AT)["Body"].read() == b"content"
    gate.control.reset()
    assert gate.through.get_object(**AT)["Body"].read() == b"content"
    assert gate.control.requests() == 1
    gate.through.put_object(**AT, Body=b"new")
    assert gate.through.head_object(**AT)["ContentLength"] == 3


def test_a_wrong_region_that_nobody_repairs_is_a_fault_of_ours(start: Start) -> None:
    gate = start("--region", "us-east-1", origin=("--region", "eu-test-9", "--strict-region"))
    answer = gate.raw("GET", "/bkt/k")
    assert (answer.status, code_of(answer)) == (500, "InternalError")
    assert b"eu-test-9" not in answer.body


@pytest.mark.parametrize("status", [404, 409, 412, 500, 503])
def test_answers_that_do_not_speak_of_us_pass(own_gate: Gate, status: int) -> None:
    control = own_gate.control
    assert control is not None
    control.bucket("bkt")
    control.fault("status", count=1, status=status, code="SomethingElse", headers={"x-amz-meta-seen": "yes"})
    answer = own_gate.raw("GET", f"/bkt/answered-{status}")
    assert (answer.status, code_of(answer), answer.get(b"x-amz-meta-seen")) == (status, "SomethingElse", b"yes")


def test_a_redirect_to_elsewhere_is_not_followed(own_gate: Gate) -> None:
    control = own_gate.control
    assert control is not None
    control.bucket("bkt")
    control.fault("status", count=1, status=307, headers={"Location": "http://127.0.0.1:1/bkt/k"})
    answer = own_gate.raw("GET", "/bkt/redirected")
    assert answer.status == 307
    assert control.requests("GET") == 1


def test_a_preflight_is_forwarded_without_our_signature(own_gate: Gate) -> None:
    control = own_gate.control
    assert control is not None
    rule = "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod></CORSRule>"
    control.bucket("bkt", cors=f"<CORSConfiguration>{rule}</CORSConfiguration>")
    lines = (
        "OPTIONS /bkt/k HTTP/1.1",
        "Host: " + own_gate.endpoint.removeprefix("http://"),
        "Origin: https://page.test",
        "Access-Control-Request-Method: PUT",
    )
    answer = exchange(own_gate.endpoint, "\r\n".join((*lines, "", "")).encode())
    assert answer.status == 200
    assert answer.get(b"access-control-allow-methods") == b"PUT"
    assert control.log(1)[0]["auth"] == "anonymous"


def test_no_secret_of_either_side_is_told_anywhere(start: Start) -> None:
    """P-43: the client's and the gateway's, in logs of every kind, in metrics and in answers."""
    gate = start("--access-log", "all", "--log-level", "debug")
    told = b""
    gate.through.get_object(**AT)
    gate.through.put_object(**AT, Body=b"x")
    url = gate.presigned("GET", "/bkt/k")
    host, target = gate.endpoint.removeprefix("http://"), url.removeprefix(gate.endpoint)
    for sent in (target, target + "0"):
        answer = exchange(gate.endpoint, f"GET {sent} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        told += answer.body + b"".join(value for _, value in answer.headers)
    told += gate.raw("GET", "/bkt/k", secret="a-wrong-secret-canary").body
    told += b"".join(f"{name} {value}".encode() for name, value in gate.proxy.metrics().items())
    gate.proxy.stop()  # what is logged is written by then
    told += gate.proxy.stderr.read_bytes() + gate.proxy.stdout.read_bytes()
    signature = target.rpartition("X-Amz-Signature=")[2]
    secrets = (FULL.secret_key, OWN.secret_key, "a-wrong-secret-canary", signature, OWN.access_key)
    assert not [secret for secret in secrets if secret.encode() in told]
    assert b"GET /bkt/k" in told
