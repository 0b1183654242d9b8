"""Lines have S3's form, none is torn, forged or silently lost, and writing them never blocks."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastcache.errors import ConfigError
from fastcache.model import Result
from fastcache.observe.access_line import MAX_FIELD, AccessRecord, line, operation
from fastcache.observe.access_log import AccessLog
from fastcache.observe.metrics import Metrics

WRITTEN = "fastcache_access_log_lines_total"
DROPPED = "fastcache_access_log_dropped_total"
ERRORS = "fastcache_access_log_errors_total"
WITHIN = 60.0
"""Seconds for a few lines, on a disk that stalls."""

# Fields as a reader of S3's format splits them: in brackets, in quotes, or free of white space.
FIELD = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')


def record(**changes: Any) -> AccessRecord:
    values: dict[str, Any] = {
        "time": 1549411238.9,
        "remote": "192.0.2.3",
        "request_id": "3E57427F3EXAMPLE",
        "method": b"GET",
        "target": b"/bucket/a%20key?x-id=GetObject",
        "status": 200,
        "result": Result.HIT,
        "bytes_sent": 4096,
        "total_seconds": 0.0129,
        "turnaround_seconds": 0.004,
        "bucket": b"bucket",
        "key": b"a key",
        "object_size": 8192,
        "user_agent": b"Boto3/1.35 (x; y)",
        "host": b"bucket.s3.test",
    }
    return AccessRecord(**{**values, **changes})


def fields(of: AccessRecord) -> list[str]:
    written = line(of).decode("ascii")
    assert written.endswith("\n")
    assert written.count("\n") == 1
    return FIELD.findall(written[:-1])


def test_a_line_has_the_fields_of_s3_in_order_and_ours_behind() -> None:
    written = line(
        record(
            result=Result.COALESCED,
            origin_status=206,
            origin_bytes=4096,
            coalesced=True,
            version_id=b"3HL4kqtJ",
            host_id=b"s9lz+/=",
            auth_type="AuthHeader",
            signature_version="SigV4",
            referer=b"https://page.test/",
        )
    )
    assert written == (
        b"- bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - 3E57427F3EXAMPLE REST.GET.OBJECT a%20key "
        b'"GET /bucket/a%20key?x-id=GetObject HTTP/1.1" 200 - 4096 8192 12 4 "https://page.test/" '
        b'"Boto3/1.35 (x; y)" 3HL4kqtJ s9lz+/= SigV4 - AuthHeader bucket.s3.test - - - COALESCED 206 4096 Yes\n'
    )


def test_what_is_not_known_is_a_dash_and_shifts_nothing() -> None:
    bare = AccessRecord(0.0, "", "", b"GET", b"/", 0, Result.ERROR, 0, 0.0)
    found = fields(bare)
    assert len(found) == len(fields(record())) == 30
    assert found[2] == "[01/Jan/1970:00:00:00 +0000]"
    assert {found[i] for i in (0, 1, 3, 4, 5, 7, 9, 10, 11, 12, 14)} == {"-"}
    assert found[15:17] == ['"-"', '"-"']


@example(b"[a] b", "[]0")
@example(b'" 200 "', '"\n[')
@given(st.binary(max_size=80), st.text(max_size=20))
def test_no_value_forges_a_field_or_a_line(value: bytes, text: str) -> None:
    found = fields(
        record(
            method=value or b"x",
            target=value,
            bucket=value,
            key=value,
            version_id=value,
            referer=value,
            user_agent=value,
            host=value,
            host_id=value,
            request_id=text,
            remote=text,
            error_code=text,
        )
    )
    assert len(found) == 30
    assert (found[9], found[-4:]) == ("200", ["HIT", "-", "-", "-"])


def test_no_secret_reaches_a_line() -> None:
    canary = "c4n4ryS3cr3tValue"
    planted = f"/bucket/k?X-Amz-Signature={canary}&x%2Damz-security-token={canary}".encode()
    written = line(record(target=planted, key=planted, referer=planted, user_agent=planted, host=planted))
    assert canary.encode() not in written


def test_a_long_field_is_cut_after_masking() -> None:
    found = fields(record(user_agent=b"u" * 100_000, target=b"/b/k?X-Amz-Signature=" + b"s" * 100_000))
    assert len(found[16]) == MAX_FIELD + 2
    assert found[16].endswith('..."')
    assert found[8] == '"GET /b/k?X-Amz-Signature=*** HTTP/1.1"'


@pytest.mark.parametrize(
    ("method", "target", "bucket", "key", "copy", "expected"),
    [
        (b"GET", b"/", None, None, False, "REST.GET.SERVICE"),
        (b"GET", b"/b?list-type=2", b"b", None, False, "REST.GET.BUCKET"),
        (b"GET", b"/b?versioning", b"b", None, False, "REST.GET.VERSIONING"),
        (b"POST", b"/b?delete", b"b", None, False, "REST.POST.MULTI_OBJECT_DELETE"),
        (b"GET", b"/b/k?acl", b"b", b"k", False, "REST.GET.ACL"),
        (b"PUT", b"/b/k?partNumber=1&uploadId=x", b"b", b"k", False, "REST.PUT.PART"),
        (b"PUT", b"/b/k?partNumber=1&uploadId=x", b"b", b"k", True, "REST.COPY.PART"),
        (b"POST", b"/b/k?uploadId=x", b"b", b"k", False, "REST.POST.UPLOAD"),
        (b"POST", b"/b/k?uploads", b"b", b"k", False, "REST.POST.UPLOADS"),
        (b"PUT", b"/b/k", b"b", b"k", True, "REST.COPY.OBJECT"),
        (b"HEAD", b"/b/k", b"b", b"k", False, "REST.HEAD.OBJECT"),
    ],
)
def test_operations_have_the_names_of_s3(
    method: bytes, target: bytes, bucket: bytes | None, key: bytes | None, copy: bool, expected: str
) -> None:
    assert operation(record(method=method, target=target, bucket=bucket, key=key, copy=copy)) == expected


@pytest.mark.parametrize(
    ("mode", "logged"),
    [("off", set()), ("all", {"hit", "miss", "stale", "403", "none"}), ("misses", {"miss", "403", "none"})]
    + [("failures", {"403", "none"})],
)
def test_a_mode_logs_what_it_names(tmp_path: Path, mode: str, logged: set[str]) -> None:
    path = tmp_path / "access.log"
    writer = AccessLog(mode, path, Metrics())
    writer.write(record(request_id="hit"))
    writer.write(record(request_id="miss", result=Result.MISS))
    writer.write(record(request_id="stale", result=Result.REVALIDATED))
    writer.write(record(request_id="403", result=Result.PASS, status=403))
    writer.write(record(request_id="none", result=Result.ERROR, status=0))
    assert writer.close(WITHIN)
    written = path.read_text().splitlines() if path.exists() else []
    assert {FIELD.findall(each)[5] for each in written} == logged
    assert path.exists() == (mode != "off")


def test_lines_of_many_threads_are_all_written_and_whole(tmp_path: Path) -> None:
    metrics = Metrics()
    path = tmp_path / "access.log"
    writer = AccessLog("all", path, metrics)

    def work(name: int) -> None:
        for i in range(500):
            writer.write(record(request_id=f"{name}-{i}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(WITHIN)
    found = [FIELD.findall(each) for each in path.read_text().splitlines()]
    assert {len(each) for each in found} == {30}
    assert {each[5] for each in found} == {f"{name}-{i}" for name in range(4) for i in range(500)}
    assert (metrics.value(WRITTEN), metrics.value(DROPPED)) == (2000, 0)


def test_the_file_is_for_its_owner_alone_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for _ in range(2):
        writer = AccessLog("all", path, Metrics())
        writer.write(record())
        assert writer.close(WITHIN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().splitlines()) == 2


def test_reopen_splits_exactly_between_the_records(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    writer = AccessLog("all", path, Metrics())
    writer.write(record(request_id="before"))
    assert writer.flush(WITHIN)
    path.rename(old)
    writer.write(record(request_id="still-old"))
    writer.reopen()
    writer.write(record(request_id="after"))
    assert writer.close(WITHIN)
    assert [FIELD.findall(each)[5] for each in old.read_text().splitlines()] == ["before", "still-old"]
    assert [FIELD.findall(each)[5] for each in path.read_text().splitlines()] == ["after"]


def test_a_failed_reopen_goes_on_with_the_old_file(tmp_path: Path) -> None:
    metrics = Metrics()
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = AccessLog("all", folder / "access.log", metrics)
    folder.rename(tmp_path / "moved")
    writer.reopen()
    writer.write(record())
    assert writer.close(WITHIN)
    assert len((tmp_path / "moved" / "access.log").read_text().splitlines()) == 1
    assert metrics.value(ERRORS) == 1


def test_a_reader_that_stops_never_blocks_the_writer_and_every_loss_is_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = AccessLog("all", pipe, metrics, buffer_records=100)
    began = time.monotonic()
    total = 0
    while metrics.value(DROPPED) < 50 and time.monotonic() - began < 20:
        writer.write(record(user_agent=b"u" * 4000))
        total += 1
        time.sleep(0.0002)
    assert metrics.value(DROPPED) >= 50
    assert not writer.close(timeout=0.2)
    received = b""
    os.set_blocking(reading, True)
    while chunk := os.read(reading, 1 << 20):
        received += chunk
    os.close(reading)
    assert received.count(b"\n") == metrics.value(WRITTEN)
    assert metrics.value(WRITTEN) + metrics.value(DROPPED) == total
    assert writer.close(WITHIN)


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_tears_one_line_at_most_and_every_loss_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    path = tmp_path / "access.log"
    length = len(line(record()))
    writer = AccessLog("all", path, metrics)
    with file_size_limit(2 * length + length // 2):
        for _ in range(5):
            writer.write(record())
        assert writer.flush(WITHIN)
    assert (metrics.value(WRITTEN), metrics.value(DROPPED), metrics.value(ERRORS)) == (2, 3, 1)
    writer.write(record(request_id="later"))
    assert writer.close(WITHIN)
    found = path.read_text().splitlines()
    assert len(found) == 4
    assert len(found[2]) == length // 2, "the torn line ends before the next one begins"
    assert FIELD.findall(found[3])[5] == "later"
    assert metrics.value(WRITTEN) == 3
    assert [each.levelname for each in caplog.records] == ["ERROR", "WARNING"]


def test_a_record_after_the_close_is_counted_as_lost(tmp_path: Path) -> None:
    metrics = Metrics()
    writer = AccessLog("all", tmp_path / "access.log", metrics)
    assert writer.close(WITHIN)
    writer.write(record())
    assert metrics.value(DROPPED) == 1
    assert writer.close(WITHIN)


def test_a_path_that_cannot_be_opened_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        AccessLog("all", tmp_path / "missing" / "access.log", Metrics())
    with pytest.raises(ValueError, match="hits"):
        AccessLog("hits", tmp_path / "access.log", Metrics())


def test_a_dash_is_standard_output_and_stays_open() -> None:
    program = (
        "from fastcache.model import Result\n"
        "from fastcache.observe.access_line import AccessRecord\n"
        "from fastcache.observe.access_log import AccessLog\n"
        "from fastcache.observe.metrics import Metrics\n"
        "log = AccessLog('all', '-', Metrics())\n"
        "log.write(AccessRecord(0.0, '::1', 'id', b'GET', b'/', 200, Result.PASS, 1, 0.1))\n"
        "log.reopen()\n"
        "assert log.close()\n"
        "print('still open')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert len(FIELD.findall(first)) == 30
    assert second == "still open"


def test_records_that_cannot_be_made_are_counted_and_the_next_ones_are_written(tmp_path: Path) -> None:
    def broken() -> Iterator[AccessRecord]:
        yield record(status=200)
        raise ValueError("cut short")

    metrics = Metrics()
    access_log = AccessLog("all", tmp_path / "log", metrics)
    access_log.write_later(broken)
    access_log.write_later(lambda: [record(status=206)])
    assert access_log.flush(WITHIN)
    assert access_log.close(WITHIN)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [status for line_ in lines for status in (" 200 ", " 206 ") if status in line_] == [" 200 ", " 206 "]
    assert metrics.value(DROPPED) == 1
