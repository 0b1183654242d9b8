"""Every fault, seen on a raw socket: it happens, to the requests it is meant for, as often as asked."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.raw import (
    IncompleteResponseError,
    InvalidResponseError,
    RawConnection,
    RawResponse,
    exchange,
)

from fastcache.origin.control import OriginControlError
from fastcache.origin.faults import KINDS
from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

SIZE = 100_000
BODY = pattern(b"k", 1, 0, SIZE)


@pytest.fixture
def place(anyone: OriginProcess, bucket: str) -> Iterator[tuple[OriginProcess, str]]:
    anyone.control.synthetic(bucket, ["k", "other"], SIZE)
    yield anyone, bucket
    anyone.control.clear_faults()


Place = tuple[OriginProcess, str]


def request(bucket: str, *fields: str, method: str = "GET", key: str = "k", query: str = "") -> bytes:
    lines = [f"{method} /{bucket}/{key}{query} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


def get(place: Place, *fields: str, method: str = "GET", key: str = "k", query: str = "") -> RawResponse:
    origin, bucket = place
    return exchange(origin.endpoint, request(bucket, *fields, method=method, key=key, query=query))


def fault(place: Place, kind: str, **parameters: object) -> None:
    place[0].control.fault(kind, bucket=place[1], **parameters)


def incomplete(place: Place, *fields: str) -> IncompleteResponseError:
    with pytest.raises(IncompleteResponseError) as caught:
        get(place, *fields)
    assert get(place).body == BODY, "the fault was for one request"
    return caught.value


def test_cut_before_any_byte(place: Place) -> None:
    fault(place, "cut")
    with RawConnection(place[0].endpoint) as connection:
        connection.send(request(place[1]))
        connection.expect_close()
    assert get(place).body == BODY


@pytest.mark.parametrize("after", [1, 9, 40])
def test_cut_in_the_head(place: Place, after: int) -> None:
    fault(place, "cut-head", after=after)
    with RawConnection(place[0].endpoint) as connection:
        connection.send(request(place[1]))
        assert connection.read_exactly(after).startswith(b"HTTP/1.1 200"[:after])
        connection.expect_close()


@pytest.mark.parametrize("after", [0, 1, 70_000, SIZE - 1])
def test_cut_in_the_body(place: Place, after: int) -> None:
    fault(place, "cut-body", after=after)
    error = incomplete(place)
    assert error.body == BODY[:after]
    assert not error.reset


@pytest.mark.parametrize("after", [0, 70_000])
def test_reset_in_the_body(place: Place, after: int) -> None:
    fault(place, "reset", after=after)
    error = incomplete(place)
    assert error.reset
    assert error.body == BODY[:after]


def test_stall_in_the_body_ends_after_its_time(place: Place) -> None:
    fault(place, "stall", after=5000, seconds=3600)
    with RawConnection(place[0].endpoint) as connection:
        connection.send(request(place[1]))
        connection.read_head()
        assert connection.read_exactly(5000) == BODY[:5000]
        connection.expect_silence(0.2)
    fault(place, "stall", after=5000, seconds=0.3)
    started = time.monotonic()
    assert get(place).body == BODY
    assert time.monotonic() - started >= 0.3


def test_stall_in_the_head(place: Place) -> None:
    fault(place, "stall", after=-1, seconds=3600)
    with RawConnection(place[0].endpoint) as connection:
        connection.send(request(place[1]))
        connection.expect_silence(0.2)
    fault(place, "stall", after=-1, seconds=0.3)
    started = time.monotonic()
    assert get(place).body == BODY
    assert time.monotonic() - started >= 0.3


def test_latency(place: Place) -> None:
    fault(place, "latency", seconds=0.3)
    started = time.monotonic()
    assert get(place).body == BODY
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("delta", [-10, 10])
def test_a_wrong_content_length(place: Place, delta: int) -> None:
    fault(place, "content-length", delta=delta)
    with RawConnection(place[0].endpoint) as connection:
        connection.send(request(place[1]))
        assert connection.read_head().get(b"content-length") == b"%d" % (SIZE + delta)
        assert connection.read_exactly(SIZE) == BODY
        connection.expect_silence()


@pytest.mark.parametrize(
    ("value", "sent"), [("bytes 1-10/99", b"bytes 1-10/99"), ("total-star", b"bytes 0-9/*"), ("junk", b"junk")]
)
def test_a_wrong_content_range(place: Place, value: str, sent: bytes) -> None:
    fault(place, "content-range", value=value)
    answer = get(place, "Range: bytes=0-9")
    assert (answer.status, answer.get(b"content-range"), answer.body) == (206, sent, BODY[:10])


@pytest.mark.parametrize("value", ["missing", "weak", '"other"'])
def test_a_wrong_etag(place: Place, value: str) -> None:
    etag = get(place).get(b"etag")
    fault(place, "etag", value=value)
    assert etag is not None
    assert get(place).get(b"etag") == {"missing": None, "weak": b"W/" + etag}.get(value, value.encode())


def test_no_content_length_but_a_close(place: Place) -> None:
    fault(place, "framing", value="close")
    answer = get(place)
    assert (answer.get(b"content-length"), answer.get(b"transfer-encoding"), answer.body) == (None, None, BODY)


def test_no_content_length_but_chunks(place: Place) -> None:
    fault(place, "framing", value="chunked")
    answer = get(place)
    assert (answer.get(b"content-length"), answer.get(b"transfer-encoding"), answer.body) == (None, b"chunked", BODY)


def test_a_cut_in_a_chunked_body_lacks_its_end(place: Place) -> None:
    fault(place, "framing", value="chunked")
    fault(place, "cut-body", after=1000)
    assert incomplete(place).body == BODY[:1000]


def test_an_ignored_range(place: Place) -> None:
    fault(place, "ignore-range")
    answer = get(place, "Range: bytes=0-9")
    assert (answer.status, answer.body) == (200, BODY)


def test_ignored_conditions(place: Place) -> None:
    etag = (get(place).get(b"etag") or b"").decode()
    fault(place, "ignore-conditions")
    assert get(place, f"If-None-Match: {etag}").status == 200
    fault(place, "ignore-conditions", value="if-match")
    assert get(place, 'If-Match: "x"', f"If-None-Match: {etag}").status == 304
    assert get(place, 'If-Match: "x"').status == 412


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (403, "AccessDenied"), (404, "NoSuchKey")]
)
def test_error_answers(place: Place, status: int, code: str) -> None:
    fault(place, "status", status=status)
    answer = get(place)
    assert answer.status == status
    assert f"<Code>{code}</Code>".encode() in answer.body
    assert get(place).body == BODY


def test_a_redirect_with_its_location(place: Place) -> None:
    fault(place, "status", status=307, headers={"Location": "http://elsewhere.test/"})
    answer = get(place)
    assert (answer.status, answer.get(b"location")) == (307, b"http://elsewhere.test/")


def test_garbage_in_the_head(place: Place) -> None:
    fault(place, "garbage-head")
    with pytest.raises(InvalidResponseError, match="field line"):
        get(place)


def test_bytes_after_the_body(place: Place) -> None:
    fault(place, "extra-bytes", value="surplus")
    with RawConnection(place[0].endpoint) as connection:
        connection.send(request(place[1]))
        assert connection.read_response().body == BODY
        assert connection.read_exactly(7) == b"surplus"


def test_a_304_with_fields_that_do_not_belong_to_it(place: Place) -> None:
    etag = (get(place).get(b"etag") or b"").decode()
    fault(place, "not-modified-headers")
    answer = get(place, f"If-None-Match: {etag}")
    assert answer.status == 304
    assert answer.get(b"content-type") == b"application/xml"
    assert answer.get(b"content-length") == b"0"
    assert answer.get(b"set-cookie")


def test_fields_set_and_removed(place: Place) -> None:
    fault(place, "headers", headers={"X-Added": "1", "Last-Modified": None})
    answer = get(place)
    assert answer.get(b"x-added") == b"1"
    assert answer.get(b"last-modified") is None


def test_a_complete_that_ends_in_an_error_after_white_space(place: Place) -> None:
    fault(place, "late-error", method="POST", params="uploadId", seconds=0.5)
    started = time.monotonic()
    answer = get(place, "Content-Length: 0", method="POST", query="?uploadId=x")
    assert time.monotonic() - started >= 0.5
    assert answer.status == 200
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n   ')
    assert b"<Code>InternalError</Code>" in answer.body


def test_a_document_that_comes_late_after_white_space(place: Place) -> None:
    fault(place, "late", params="acl", seconds=0.3)
    answer = get(place, query="?acl")
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n   ')
    assert answer.body.endswith(b"</AccessControlPolicy>")


def test_faults_hit_only_what_they_are_meant_for(place: Place) -> None:
    fault(place, "status", method="HEAD", key="ot", count=2)
    assert get(place).status == get(place, key="other").status == get(place, method="HEAD").status == 200
    assert [get(place, method="HEAD", key="other").status for _ in range(3)] == [500, 500, 200]
    assert place[0].control.faults() == []
    fault(place, "status", count=-1)
    assert [get(place).status for _ in range(3)] == [500, 500, 500]
    place[0].control.clear_faults()
    assert get(place).status == 200


def test_unknown_faults_are_refused_by_name(place: Place) -> None:
    with pytest.raises(OriginControlError, match="cut-body"):
        place[0].control.fault("explode")
    with pytest.raises(OriginControlError, match="weight"):
        place[0].control.fault("cut", weight=1)


def test_every_kind_of_fault_is_exercised_here() -> None:
    called = re.findall(r'^    fault\(place, "([a-z0-9-]+)"', Path(__file__).read_text(), re.MULTILINE)
    assert set(called) == KINDS.keys()
