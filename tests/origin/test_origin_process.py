"""The process: start, other clients, control, preload, TLS, the default loop, and its end."""

from __future__ import annotations

import io
import os
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import obstore
import pytest
from tests.harness.clients import minio_client, obstore_store
from tests.harness.raw import RawConnection, exchange
from tests.origin.accounts import ACCOUNTS, client_of, error_of

from fastcache.origin.control import OriginControlError
from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess, OriginStartError, start_origin


def test_minio_round_trip(origin: OriginProcess, s3: Any, bucket: str) -> None:
    client = minio_client(origin.endpoint, origin.access_key, origin.secret_key)
    data = pattern(b"any", 1, 0, 12 << 20)
    client.put_object(bucket, "a b/ü(1)", io.BytesIO(data), len(data), part_size=5 << 20)
    assert client.get_object(bucket, "a b/ü(1)").read() == data
    assert client.stat_object(bucket, "a b/ü(1)").size == len(data)
    assert [item.object_name for item in client.list_objects(bucket, recursive=True)] == ["a b/ü(1)"]
    client.remove_object(bucket, "a b/ü(1)")
    assert list(client.list_objects(bucket)) == []


def test_obstore_round_trip(origin: OriginProcess, s3: Any, bucket: str) -> None:
    store = obstore_store(origin.endpoint, bucket, origin.access_key, origin.secret_key)
    data = pattern(b"any", 1, 0, 12 << 20)
    obstore.put(store, "a b/k", data, chunk_size=5 << 20)
    assert bytes(obstore.get(store, "a b/k").bytes()) == data
    assert bytes(obstore.get_range(store, "a b/k", start=5, end=9)) == data[5:9]
    assert obstore.head(store, "a b/k")["size"] == len(data)
    assert [item["path"] for page in obstore.list(store) for item in page] == ["a b/k"]
    obstore.delete(store, "a b/k")
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "a b/k")


def test_the_control_api_tells_what_reached_the_origin(anyone: OriginProcess, bucket: str) -> None:
    control = anyone.control
    control.synthetic(bucket, "k", 300_000)
    control.reset()
    head = f"/{bucket}/k?versionId=null HTTP/1.1\r\nHost: localhost\r\nX-Secret: hidden\r\n"
    exchange(anyone.endpoint, f"GET {head}Range: bytes=0-199999\r\n\r\n".encode())
    exchange(anyone.endpoint, f"HEAD {head}\r\n".encode())
    stats = control.stats()
    assert (stats["requests"], stats["methods"]) == (2, {"GET": 1, "HEAD": 1})
    assert stats["statuses"] == {"GET 206": 1, "HEAD 200": 1}
    assert control.body_sent(bucket, "k") == control.body_sent() == 200_000
    assert control.requests("GET") == control.requests(key="k") - 1 == 1
    entry = stats["log"][0]
    assert (entry["method"], entry["path"], entry["range"]) == ("GET", f"/{bucket}/k", "bytes=0-199999")
    assert (entry["params"], entry["status"], entry["complete"]) == (["versionId"], 206, True)
    assert "X-Secret" in entry["headers"]
    assert "hidden" not in str(stats)
    control.reset()
    assert control.requests() == control.body_sent() == 0
    with pytest.raises(OriginControlError, match="bandwidth_total"):
        control.settings(speed=1)
    control.put(bucket, "literal", b"x")
    with pytest.raises(OriginControlError, match="synthetic"):
        control.flip(bucket, "literal")


def test_an_aborted_answer_is_counted_as_far_as_it_went(anyone: OriginProcess, bucket: str) -> None:
    size = 1 << 30
    anyone.control.synthetic(bucket, "k", size)
    anyone.control.reset()
    with RawConnection(anyone.endpoint) as connection:
        connection.send(f"GET /{bucket}/k HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.read_head()
        assert connection.read_exactly(1 << 20) == pattern(b"k", 1, 0, 1 << 20)
    entry = anyone.control.log()[0]
    assert not entry["complete"]
    assert 1 << 20 <= entry["body_sent"] < size


def test_connections_can_be_dropped(anyone: OriginProcess) -> None:
    with RawConnection(anyone.endpoint) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.read_response()
        assert anyone.control.drop_connections() >= 1
        connection.expect_close()


@pytest.mark.parametrize("loop", [(), ("--asyncio",)])
def test_preloaded_files_are_objects_on_either_loop(tmp_path: Path, loop: tuple[str, ...]) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "sub" / "ü.txt").write_bytes(b"text")
    (tmp_path / "data" / "big").write_bytes(pattern(b"big", 1, 0, 3 << 20))
    with start_origin(*loop, data_dir=tmp_path, accounts=ACCOUNTS) as origin:
        s3 = client_of(origin)
        assert [item["Name"] for item in s3.list_buckets()["Buckets"]] == ["data", "empty"]
        got = s3.get_object(Bucket="data", Key="sub/ü.txt")
        assert (got["Body"].read(), got["ContentType"]) == (b"text", "text/plain")
        assert s3.get_object(Bucket="data", Key="big")["Body"].read() == pattern(b"big", 1, 0, 3 << 20)


def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate, "-days", "1", *subject], check=True, capture_output=True
    )
    arguments = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with start_origin(*arguments, auth=False) as origin:
        assert origin.endpoint.startswith("https://")
        origin.control.synthetic("bucket", "k", 5 << 20)
        trusting = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"{origin.endpoint}/bucket/k", context=trusting) as answer:
            assert answer.read() == pattern(b"k", 1, 0, 5 << 20)


def test_it_ends_at_sigterm_with_status_zero_and_leaves_no_socket() -> None:
    origin = start_origin()
    with RawConnection(origin.endpoint):
        assert origin.stop() == 0
    with pytest.raises(OSError, match="refused"):
        RawConnection(origin.endpoint)


def test_a_start_that_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(OriginStartError, match="status 2"):
        start_origin(data_dir=tmp_path / "none")
    secret = "not-json-secret"
    environment = {**os.environ, "FASTCACHE_ORIGIN_ACCOUNTS": secret}
    run = subprocess.run(
        [sys.executable, "-m", "fastcache.origin"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "FASTCACHE_ORIGIN_ACCOUNTS" in run.stderr
    assert secret not in run.stderr


def test_discarded_uploads_are_checked_but_read_as_pattern() -> None:
    with start_origin("--discard-uploads", buckets=["bucket"]) as origin:
        s3 = client_of(origin)
        etag = s3.put_object(Bucket="bucket", Key="k", Body=b"data")["ETag"]
        got = s3.get_object(Bucket="bucket", Key="k")
        assert (got["ETag"], got["Body"].read()) == (etag, pattern(b"k", 0, 0, 4))
        wrong = {"Bucket": "bucket", "Key": "l", "Body": b"data", "ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
        assert error_of(s3.put_object, **wrong) == (400, "BadDigest")
        assert error_of(s3.head_object, Bucket="bucket", Key="l")[0] == 404


def test_it_ends_with_the_process_that_started_it() -> None:
    program = "from fastcache.origin.process import start_origin; print(start_origin().endpoint, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    endpoint = parent.stdout.readline().strip()
    with parent.stdin, parent.stdout, RawConnection(endpoint) as connection:
        connection.expect_silence()
        parent.kill()
        parent.wait()
        connection.expect_close()
