"""What the proxy tells its operator: access log and metrics of a known sequence, and secrets nowhere (P-43)."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.front.conftest import MIB, Front
from tests.harness import processes
from tests.harness.origin import running_origin
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import presigned_url, signed_request

from fastcache.origin.process import AccountSpec

StartFront = Callable[..., Front]

# Field 9 is the request in quotes; S3's fields first, then ours (result, origin status, origin bytes, coalesced).
_FIELD = re.compile(r'\[[^]]*\]|"[^"]*"|\S+')


def access_lines(front: Front, path: Path, count: int) -> list[list[str]]:
    front.until(lambda: path.exists() and path.read_text().count("\n") >= count, f"{count} lines in the access log")
    lines = path.read_text().splitlines()
    assert len(lines) == count, lines
    return [_FIELD.findall(line) for line in lines]


PLAIN = ("--authorization", "none", "--write-through", "off")
"""Where what the sequence uploads is read for the first time afterwards."""
SEQUENCE: list[tuple[bytes, str, tuple[bytes, ...], int, str]] = [
    (b"GET", "o", (), 200, "MISS"),
    (b"GET", "o", (), 200, "HIT"),
    (b"GET", "o", (b"Range: bytes=10-19",), 206, "HIT"),
    (b"HEAD", "o", (), 200, "HIT"),
    (b"GET", "none", (), 404, "MISS"),
    (b"PUT", "p", (), 200, "PASS"),
    (b"GET", "p", (), 200, "MISS"),
    (b"DELETE", "p", (), 204, "PASS"),
    (b"GET", "unknown-host", (), 400, "ERROR"),
]
BODY = {("o", 200): 1000, ("o", 206): 10, ("p", 200): 7}


def run_sequence(front: Front) -> list[RawResponse]:
    front.origin.control.synthetic("bkt", "o", 1000)
    answers = []
    with front.connect() as connection:
        for method, key, fields, status, result in SEQUENCE:
            host = b"evil.store" if key == "unknown-host" else b"127.0.0.1"
            body = b"1234567" if method == b"PUT" else None
            connection.send(front.request(key, *fields, method=method, host=host, body=body))
            response = connection.read_response(method)
            assert (response.status, (response.get(b"x-cache") or b"").decode()) == (status, result)
            answers.append(response)
    return answers


def wanted(mode: str) -> list[tuple[bytes, str, tuple[bytes, ...], int, str]]:
    if mode == "misses":
        return [row for row in SEQUENCE if row[4] not in ("HIT", "REVALIDATED")]
    if mode == "failures":
        return [row for row in SEQUENCE if row[3] >= 400]
    return SEQUENCE


@pytest.mark.parametrize("mode", ["all", "misses", "failures"])
def test_each_request_has_its_line_in_the_access_log(start_front: StartFront, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "access.log"
    front = start_front(*PLAIN, "--access-log", mode, "--access-log-file", str(path))
    answers = run_sequence(front)
    rows = wanted(mode)
    # Those of the hit branch come a moment later than the engine's.
    lines = {(line[8], line[9], line[26]): line for line in access_lines(front, path, len(rows))}
    by_request = {(row[0], row[1], row[2]): answer for row, answer in zip(SEQUENCE, answers, strict=True)}
    for method, key, fields, status, result in rows:
        answer = by_request[method, key, fields]
        line = lines.pop((f'"{method.decode()} /bkt/{key} HTTP/1.1"', str(status), result))
        _, bucket, _, remote, _, request_id, operation, logged_key, _, _, code, sent = line[:12]
        assert remote == "127.0.0.1"
        assert sent == (str(len(answer.body)) if answer.body else "-")
        if key == "unknown-host":
            assert (bucket, logged_key, code) == ("-", "-", "InvalidRequest")
            assert request_id.encode() == answer.get(b"x-amz-request-id")
        else:
            assert (bucket, logged_key, operation) == ("bkt", key, f"REST.{method.decode()}.OBJECT")
        assert line[27] == ("-" if result in ("HIT", "ERROR") else str(status))
        if result == "MISS" and method == b"GET":
            assert line[28] == str(len(answer.body))


def test_no_access_log_is_written_when_none_is_asked_for(start_front: StartFront, tmp_path: Path) -> None:
    front = start_front(*PLAIN, "--access-log-file", str(tmp_path / "access.log"))
    run_sequence(front)
    assert not (tmp_path / "access.log").exists()
    assert front.proxy.metric("fastcache_access_log_lines_total") == 0


def test_the_metrics_of_a_known_sequence_are_exactly_its_numbers(start_front: StartFront) -> None:
    front = start_front(*PLAIN)
    answers = run_sequence(front)
    front.until_idle()
    counted = {
        name: value for name, value in front.proxy.metrics().items() if name.startswith("fastcache_requests_total")
    }
    expected: dict[str, float] = {}
    for method, _, _, status, result in SEQUENCE:
        name = f'fastcache_requests_total{{method="{method.decode()}",result="{result}",status="{status}"}}'
        expected[name] = expected.get(name, 0) + 1
    assert counted == expected
    metric = front.proxy.metric
    assert metric("fastcache_sent_bytes_total") == sum(len(answer.body) for answer in answers)
    # Two of the nine were hits, a third a hit of HEAD, and one was refused here.
    assert metric("fastcache_origin_requests_total") == len(SEQUENCE) - 4
    assert metric("fastcache_origin_requests_total", method="GET") == 3
    assert metric("fastcache_origin_requests_total", method="PUT") == 1
    assert metric("fastcache_origin_responses_total", status="404") == 1
    not_found = next(answer for answer in answers if answer.status == 404)
    assert metric("fastcache_origin_received_bytes_total") == 1000 + 7 + len(not_found.body)
    assert metric("fastcache_origin_connections_opened_total") == 1
    assert metric("fastcache_origin_errors_total") == 0
    assert metric("fastcache_fills_total", outcome="complete") == 2
    assert metric("fastcache_request_seconds_count") == len(SEQUENCE)
    assert metric("fastcache_first_byte_seconds_count") == len(SEQUENCE)
    front.until(lambda: metric("fastcache_client_connections_closed_total") == 1, "the client's connection is counted")
    assert metric("fastcache_client_connections_opened_total") == 1
    assert front.origin.control.requests() == len(SEQUENCE) - 4


def test_clients_that_leave_and_heads_that_are_none_are_counted(start_front: StartFront) -> None:
    front = start_front("--timeouts-head", "300ms", "--limits-max-connections", "50")
    front.origin.control.fault("latency", seconds=3600, key="late", count=-1)
    with front.connect() as gone, front.connect() as slow:
        gone.send(front.request("late"))
        slow.send(b"GET /")
        assert slow.read_response().status == 408
        gone.reset()
    assert exchange(front.proxy.endpoint, b"GET / HTTP/1.1\r\nbad\r\n\r\n").status == 400
    for status in ("499", "408", "400"):
        counted = partial(front.proxy.metric, "fastcache_requests_total", status=status, result="ERROR")
        front.until(lambda counted=counted: counted() == 1, f"{status} is counted")  # type: ignore[misc]
    assert front.proxy.metric("fastcache_refused_total", reason="head") == 1
    front.until(lambda: front.proxy.metric("fastcache_client_connections_closed_total") == 3, "all are counted")
    assert front.proxy.metric("fastcache_client_connections_opened_total") == 3


TOKEN = "canary-session-token-" + "t" * 60
SECRET = "canary-secret-key-" + "s" * 40


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_of_a_request_is_told_anywhere(
    start_fastcache: Callable[..., Any], tmp_path: Path, log_format: str
) -> None:
    """Presigned URLs, Authorization and session tokens, on requests that succeed, fail, are malformed or time out."""
    account = AccountSpec("AKIACANARYCANARY1234", SECRET, TOKEN)
    path = tmp_path / "access.log"
    with processes.refusing_port() as closed, running_origin(accounts=(account,)) as origin:
        flags = ("--log-level", "debug", "--log-format", log_format, "--access-log", "all", "--timeouts-head", "300ms")
        origin.control.bucket("bkt")
        origin.control.synthetic("bkt", "o", 1000)
        shown = ""
        canaries = {TOKEN, SECRET, "AKIACANARYCANARY1234"}
        for n, endpoint in enumerate((origin.endpoint, f"http://127.0.0.1:{closed}")):
            log = path.with_name(f"access-{n}.log")
            proxy = start_fastcache(endpoint, *flags, "--access-log-file", str(log))
            front = Front(origin, proxy)
            host = proxy.endpoint.removeprefix("http://")
            signed = signed_request("GET", f"{proxy.endpoint}/bkt/o", account.access_key, SECRET, token=TOKEN)
            signature = re.search(rb"Signature=([0-9a-f]{64})", signed)
            url = presigned_url("GET", f"{proxy.endpoint}/bkt/o", account.access_key, SECRET)
            query = url.partition("?")[2] + f"&X-Amz-Security-Token={TOKEN}"
            v2 = f"AWSAccessKeyId={account.access_key}&Expires=1&Signature=canary-v2-signature"
            assert signature is not None
            canaries |= {signature[1].decode(), query.partition("X-Amz-Signature=")[2][:64], "canary-v2-signature"}
            requests = [
                signed,
                signed.replace(b"/bkt/o ", b"/bkt/missing "),
                f"GET /bkt/o?{query} HTTP/1.1\r\nHost: {host}\r\nReferer: http://a/?{query}\r\n\r\n".encode(),
                f"GET /bkt/o?{v2} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: a?{query}\r\n\r\n".encode(),
                f"GET /bkt/o?{query} HTTP/1.1\r\nHost: evil.store\r\n\r\n".encode(),
                f"PUT /bkt/o?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: x\r\n\r\n".encode(),
                f"PUT /bkt/o?{query} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".encode(),
                signed.replace(b"\r\n\r\n", b"\r\nbad line\r\n\r\n"),
                signed[:-2],  # never ends: 408
            ]
            for request in requests:
                response = exchange(proxy.endpoint, request)
                shown += response.body.decode("latin-1")
                shown += "".join(f"{name!r}{value!r}" for name, value in response.headers)
            front.until(lambda log=log: log.exists() and log.read_text().count("\n") == 9, "nine lines are logged")
            for page in ("/metrics", "/health", "/"):
                with urllib.request.urlopen(proxy.admin + page, timeout=20) as answer:
                    shown += answer.read().decode()
            proxy.stop()
            shown += log.read_text() + proxy.stderr.read_text() + proxy.stdout.read_text()
        # What the origin itself says of a request is its own affair, and passed on: not of a secret, though.
    assert "X-Amz-Signature=***" in shown
    told = {canary for canary in canaries if canary in shown}
    assert told <= {"AKIACANARYCANARY1234"}, told
    logs = "".join(file.read_text() for file in path.parent.glob("access-*.log"))
    assert "AKIACANARYCANARY1234" not in logs
    for file in [*path.parent.glob("cache-*/**/*")]:
        if file.is_file():
            data = file.read_bytes()
            assert not any(canary.encode() in data for canary in canaries), file


def test_a_log_line_cannot_be_forged(start_front: StartFront, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    front = start_front("--access-log", "all", "--access-log-file", str(path))
    nasty = b'a" 200 - "x\\" [01/Jan/2020:00:00:00 +0000] %0d%0aforged'
    with front.connect() as connection:
        connection.send(front.request("o%0a%22forged", b"User-Agent: " + nasty, b"Referer: " + nasty))
        assert connection.read_response().status == 404
    ((*_, remote, _, _, _, _, request, status), *_) = [line[:10] for line in access_lines(front, path, 1)]
    assert (remote, status) == ("127.0.0.1", "404")
    assert request == '"GET /bkt/o%0a%22forged HTTP/1.1"'


def test_a_large_transfer_is_logged_with_its_own_bytes(start_front: StartFront, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    front = start_front("--access-log", "all", "--access-log-file", str(path), "--fill-detach-after", "60s")
    front.origin.control.synthetic("bkt", "large", 5 * MIB)
    for _ in range(2):
        with front.connect() as connection:
            connection.send(front.request("large"))
            assert len(connection.read_response().body) == 5 * MIB
        front.until_idle()
    first, second = access_lines(front, path, 2)
    assert (first[11], first[12], first[26], first[28]) == (str(5 * MIB), "-", "MISS", str(5 * MIB))
    assert (second[11], second[12], second[26], second[28]) == (str(5 * MIB), str(5 * MIB), "REVALIDATED", "-")
