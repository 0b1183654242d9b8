"""Our heads beside those of the clients they stand for."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.harness.swift import SwiftServer
from tests.harness.tools import REPOSITORY

from fastcache.load.connections import fetch
from fastcache.load.heads import CLIENTS, Signer, request_head
from fastcache.protocol.sigv4 import Credentials

KEY, SECRET = "AKIDEXAMPLE", "secret"
SIGNER = Signer(Credentials(KEY.encode(), SECRET.encode()), b"us-east-1", time.time())


@contextmanager
def recording() -> Iterator[tuple[int, list[bytes]]]:
    """A port where each connection gets one answer of ten bytes, and the heads that came."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        head += connection.recv(65536)
                    heads.append(head)
                    status = b"206 Partial Content\r\nContent-Range: bytes 0-9/10" if b"Range:" in head else b"200 OK"
                    body = b"" if head.startswith(b"HEAD") else b"0123456789"
                    fields = b'ETag: "x"\r\nContent-Length: 10\r\nConnection: close'
                    connection.sendall(b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, fields, body))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heads
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


VARYING = re.compile(
    rb"(?<=User-Agent: )[^\r]*|(?<=Date: )[^\r]*|(?<=Signature=)\w*|(?<=Credential=)[^,]*|(?<=invocation-id: )[^\r]*"
    rb"|127.0.0.1:\d+"
)


def normal(head: bytes) -> bytes:
    """Without what is another value in every request or release."""
    return VARYING.sub(b"*", re.sub(rb"; max=\d+", b"", head))  # which not every release tells


BOTO3 = """
import sys
from tests.harness.clients import boto3_client
port, key, secret, method, *ranges = sys.argv[1:]
client = boto3_client(f"http://127.0.0.1:{port}", key, secret)
options = {"Range": ranges[0]} if ranges else {}
if method == "GET":
    client.get_object(Bucket="bucket", Key="a/b c", **options)["Body"].read()
else:
    client.head_object(Bucket="bucket", Key="a/b c", **options)
"""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("interval", [None, (0, 10)])
def test_a_head_of_boto3_is_the_one_boto3_sends(method: str, interval: tuple[int, int] | None) -> None:
    with recording() as (port, heads):
        ranges = [] if interval is None else [f"bytes={interval[0]}-{interval[1] - 1}"]
        # A process of its own: where awscrt is installed boto3 signs with that.
        environment = {**os.environ, "BOTO_DISABLE_CRT": "true"}
        command = [sys.executable, "-c", BOTO3, str(port), KEY, SECRET, method, *ranges]
        subprocess.run(command, check=True, cwd=REPOSITORY, env=environment, timeout=60)
        host = b"127.0.0.1:%d" % port
        ours = request_head("boto3", host, b"/bucket/a/b%20c", method=method.encode(), interval=interval, signer=SIGNER)
        assert normal(ours) == normal(heads[0])


def test_a_head_of_curl_is_the_one_curl_sends(require_tool: Any) -> None:
    require_tool("curl")
    with recording() as (port, heads):
        command = [shutil.which("curl") or "curl", "-sS", "-r", "0-9", "--user", f"{KEY}:{SECRET}"]
        command += ["--aws-sigv4", "aws:amz:us-east-1:s3", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
        subprocess.run([*command, f"http://127.0.0.1:{port}/bucket/key"], check=True, capture_output=True, timeout=20)
        ours = request_head("curl", b"127.0.0.1:%d" % port, b"/bucket/key", interval=(0, 10), signer=SIGNER)
    theirs = normal(heads[0])
    # Releases differ in whether the hash is signed and where its field stands.
    field = b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"
    signed = b";x-amz-content-sha256"
    assert normal(ours).replace(field, b"").replace(signed, b"") == theirs.replace(field, b"").replace(signed, b"")
    assert field in ours
    assert field in theirs


def test_a_head_of_crt_has_its_fields_in_its_order() -> None:
    head = request_head("crt", b"h", b"/b/k", interval=(0, 8), signer=SIGNER).decode()
    names = [line.partition(":")[0] for line in head.split("\r\n")[1:-2]]
    assert names == ["Host", "Range", "User-Agent", "X-Amz-Date", "x-amz-content-sha256", "Authorization"]
    assert "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," in head


@pytest.mark.parametrize("client", CLIENTS)
def test_an_anonymous_head_carries_nothing_of_a_signature(client: str) -> None:
    head = request_head(client, b"h", b"/b/k").lower()
    for name in (b"authorization", b"x-amz-date", b"x-amz-content-sha256", b"range"):
        assert b"\r\n" + name + b":" not in head


@pytest.mark.parametrize("client", CLIENTS)
def test_a_session_token_is_sent_and_signed(client: str) -> None:
    signer = Signer(Credentials(b"a", b"b", b"token"), b"us-east-1", time.time())
    head = request_head(client, b"h", b"/b/k", signer=signer)
    assert b"\r\nX-Amz-Security-Token: token\r\n" in head
    assert b";x-amz-security-token, Signature=" in head


@pytest.mark.parametrize("client", CLIENTS)
def test_swift_accepts_the_signature(swift: SwiftServer, swift_client: Any, swift_bucket: str, client: str) -> None:
    swift_client.put_object(Bucket=swift_bucket, Key="a b", Body=bytes(range(100)))
    host, _, port = swift.endpoint.removeprefix("http://").partition(":")
    credentials = Credentials(swift.user.access_key.encode(), swift.user.secret_key.encode())
    signer = Signer(credentials, b"us-east-1", time.time())
    target = f"/{swift_bucket}/a%20b".encode()
    head = request_head(client, f"{host}:{port}".encode(), target, interval=(10, 20), signer=signer)
    answer, data = fetch((host, int(port)), head)
    assert answer.status == 206, data
    assert data[answer.size :] == bytes(range(10, 20))
