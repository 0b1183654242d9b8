"""What a write leaves behind (DESIGN section 7, SEMANTICS 30, 31): with a TTL of an hour, and whatever became of it.

Once its client has the answer, nobody gets the old content any more; and a write that was refused costs no transfer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.faults.conftest import MIB, MODES, NONE, Start, asked, until_asked, wait_until_stored
from tests.harness.processes import wait_until
from tests.harness.raw import IncompleteResponseError, RawConnection, RawResponse, exchange
from tests.harness.signing import UNSIGNED, presigned_url, signed_request
from tests.reads.conftest import Reader, content

NEW = b"the new content " * 40
OLD = 900
"""Bytes of the old object."""


def signed(r: Reader, method: str, target: str, body: bytes = b"", **fields: str) -> bytes:
    """A signed request for any target; ``fields`` are signed header fields, ``_`` standing for ``-``."""
    return signed_request(
        method,
        r.proxy.endpoint + target,
        r.origin.access_key,
        r.origin.secret_key,
        body=body,
        signed=[(name.replace("_", "-"), value) for name, value in fields.items()],
        payload_sha256=UNSIGNED,
    )


def plain(r: Reader, method: str, target: str, body: bytes = b"", content_type: str = "text/plain") -> bytes:
    host = r.proxy.endpoint.removeprefix("http://")
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def put(r: Reader, key: str) -> bytes:
    return signed(r, "PUT", f"/{r.bucket}/{key}", NEW)


def put_with_another_encoding(r: Reader, key: str) -> bytes:
    # A signature covers the canonical form of the path, whatever form is sent.
    return (
        signed(r, "PUT", f"/{r.bucket}/{key}", NEW)
        .replace(f"/{r.bucket}/".encode(), f"/{r.bucket}/%{ord(key[0]):02X}".encode(), 1)
        .replace(key.encode(), key[1:].encode(), 1)
    )


def put_in_chunks(r: Reader, key: str) -> bytes:
    head, _, _ = signed(r, "PUT", f"/{r.bucket}/{key}").partition(b"\r\n\r\n")
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEW), NEW)
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def presigned_put(r: Reader, key: str) -> bytes:
    url = presigned_url("PUT", f"{r.proxy.endpoint}/{r.bucket}/{key}", r.origin.access_key, r.origin.secret_key)
    return plain(r, "PUT", url.removeprefix(r.proxy.endpoint), NEW)


def delete(r: Reader, key: str) -> bytes:
    return signed(r, "DELETE", f"/{r.bucket}/{key}")


def delete_objects(r: Reader, key: str) -> bytes:
    return signed(r, "POST", f"/{r.bucket}?delete", b"<Delete><Object><Key>%b</Key></Object></Delete>" % key.encode())


def delete_objects_unparsable(r: Reader, key: str) -> bytes:
    return signed(r, "POST", f"/{r.bucket}?delete", b"<Delete><Object><Key>%b</Key></Object>" % key.encode())


def delete_objects_in_chunks(r: Reader, key: str) -> bytes:
    head, _, _ = signed(r, "POST", f"/{r.bucket}?delete").partition(b"\r\n\r\n")
    body = b"<Delete><Object><Key>%b</Key></Object></Delete>" % key.encode()
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def copy(r: Reader, key: str) -> bytes:
    r.origin.control.put(r.bucket, "source", NEW)
    return signed(r, "PUT", f"/{r.bucket}/{key}", x_amz_copy_source=f"/{r.bucket}/source")


def put_tagging(r: Reader, key: str) -> bytes:
    return signed(r, "PUT", f"/{r.bucket}/{key}?tagging", b"<Tagging><TagSet/></Tagging>")


def complete(r: Reader, key: str) -> bytes:
    begun = exchange(r.proxy.endpoint, signed(r, "POST", f"/{r.bucket}/{key}?uploads"))
    upload = begun.body.partition(b"<UploadId>")[2].partition(b"</UploadId>")[0].decode()
    part = exchange(r.proxy.endpoint, signed(r, "PUT", f"/{r.bucket}/{key}?partNumber=1&uploadId={upload}", NEW))
    etag = part.get(b"etag")
    assert etag is not None
    named = b"<Part><PartNumber>1</PartNumber><ETag>%b</ETag></Part>" % etag
    return signed(
        r,
        "POST",
        f"/{r.bucket}/{key}?uploadId={upload}",
        b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % named,
    )


def form(r: Reader, key: str) -> bytes:
    body = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n%b\r\n--b--\r\n' % key.encode()
    return plain(r, "POST", f"/{r.bucket}", body, "multipart/form-data; boundary=b")


def rename(r: Reader, key: str) -> bytes:
    return signed(r, "PUT", f"/{r.bucket}/elsewhere?renameObject", x_amz_rename_source=f"/{r.bucket}/{key}")


def append(r: Reader, key: str) -> bytes:
    return signed(r, "PUT", f"/{r.bucket}/{key}", NEW, x_amz_write_offset_bytes=str(OLD))


def unknown_method(r: Reader, key: str) -> bytes:
    return signed(r, "PATCH", f"/{r.bucket}/{key}", NEW)


def delete_bucket(r: Reader, key: str) -> bytes:
    return signed(r, "DELETE", f"/{r.bucket}")


APPLIED: list[Callable[[Reader, str], bytes]] = [
    put,
    put_with_another_encoding,
    put_in_chunks,
    presigned_put,
    delete,
    delete_objects,
    delete_objects_in_chunks,
    copy,
    put_tagging,
    complete,
]
"""What the origin does when it is asked."""
OTHERS: list[Callable[[Reader, str], bytes]] = [
    delete_objects_unparsable,
    form,
    rename,
    append,
    unknown_method,
    delete_bucket,
]
"""What other servers may do when they are asked, this origin refuses."""


def truth(r: Reader, key: str) -> RawResponse:
    """The object as the origin itself gives it."""
    return exchange(
        r.origin.endpoint,
        signed_request("GET", f"{r.origin.endpoint}/{r.bucket}/{key}", r.origin.access_key, r.origin.secret_key),
    )


def assert_as_the_origin(r: Reader, key: str) -> None:
    expected = truth(r, key)
    for turn in ("first", "second"):
        got = r.get(key)
        assert got.status == expected.status, (key, turn)
        head = r.get(key, method="HEAD")
        assert head.status == expected.status, (key, turn)
        if expected.status == 200:
            assert got.body == expected.body, (key, turn)
            assert got.get(b"etag") == head.get(b"etag") == expected.get(b"etag"), (key, turn)
            part = r.get(key, "bytes=2-11")
            assert (part.status, part.body) == (206, expected.body[2:12]), (key, turn)


def warm(r: Reader, key: str) -> None:
    r.origin.control.bucket(r.bucket)
    r.origin.control.synthetic(r.bucket, key, OLD)
    assert r.get(key).body == content(key, 0, OLD)
    hit = r.get(key)
    assert hit.get(b"x-cache") == b"HIT"


def name_of(function: Callable[[Reader, str], bytes]) -> str:
    return function.__name__


def test_after_a_write_reads_are_what_the_origin_holds(shared: Start) -> None:
    r = shared(*NONE)
    for make in APPLIED:
        key = name_of(make)
        warm(r, key)
        answer = exchange(r.proxy.endpoint, make(r, key))
        assert answer.status < 300, (key, answer)
        if make is not put_tagging:
            assert truth(r, key).body != content(key, 0, OLD), key
        assert_as_the_origin(r, key)


OUTCOMES = ["late", "500", "403", "timeout", "cut"]
HELD = 5
"""Seconds that an answer to a write is late: for what has to happen before it, and takes a small part of one."""


def answered_late(r: Reader, outcome: str, method: str) -> None:
    """What becomes of the next such request for the bucket, which is carried out at once."""
    fault = partial(r.origin.control.fault, method=method, bucket=r.bucket)
    if outcome == "timeout":
        fault("stall", after=-1, seconds=3600)
        return
    fault("latency", seconds=HELD)
    if outcome == "cut":
        fault("cut")
    elif outcome != "late":
        fault("status", status=int(outcome))


def overtaken(r: Reader, make: Callable[[Reader, str], bytes], outcome: str) -> None:
    """A write whose answer comes after a read, and after another write behind our back."""
    key = name_of(make)
    warm(r, key)
    request = make(r, key)
    method = request.partition(b" ")[0].decode()

    def carried_out() -> int:
        log = r.origin.control.log()
        return sum((entry["method"], entry["bucket"]) == (method, r.bucket) for entry in log)

    before = carried_out()
    answered_late(r, outcome, method)
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(request)
        wait_until(lambda: carried_out() > before, 20, f"the origin has carried out a {method}")
        assert r.get(key).status in (200, 404), key
        r.origin.control.bucket(r.bucket)
        r.origin.control.put(r.bucket, key, NEW + key.encode())
        answer = connection.read_response(method.encode())
    if outcome != "late":
        expected = {"500": 500, "403": 403, "timeout": 504, "cut": 502}[outcome]
        assert answer.status == expected, key
    assert carried_out() == before + 1, f"{key}: what cannot be repeated was sent again"
    assert r.get(key).body == NEW + key.encode(), key
    assert_as_the_origin(r, key)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_whatever_a_write_is_answered_the_old_content_is_not_served_unasked(shared: Start, outcome: str) -> None:
    """It happened at the origin all the same, and once; and a read during the write has proven the old object once
    more. Each in a bucket of its own, so that all answers are waited for at once."""
    flags = (*NONE, "--timeouts-first-byte", f"{HELD}s" if outcome == "timeout" else "60s")
    cases = [(shared(*flags), make, outcome) for make in (*APPLIED, *OTHERS)]
    with ThreadPoolExecutor(len(cases)) as pool:
        for under_way in [pool.submit(overtaken, *case) for case in cases]:
            under_way.result()


def test_a_plus_in_the_path_of_a_write_fences_both_of_its_readings(shared: Start) -> None:
    r = shared(*NONE)
    for number, applied in enumerate((" ", "+")):
        for key, target in ((f"{number} b", f"{number}%20b"), (f"{number}+b", f"{number}%2Bb")):
            r.origin.control.synthetic(r.bucket, key, OLD)
            for _ in range(2):
                assert r.get(target).body == content(key, 0, OLD)
            assert r.get(target).get(b"x-cache") == b"HIT"
        r.origin.control.fault("latency", seconds=0.2, method="PUT")
        before = asked(r, "PUT")
        with RawConnection(r.proxy.endpoint) as connection:
            connection.send(signed(r, "PUT", f"/{r.bucket}/{number}+b", NEW))
            until_asked(r, "PUT", before)
            r.origin.control.put(r.bucket, f"{number}{applied}b", NEW)
            connection.read_response(b"PUT")
        for target in (f"{number}%20b", f"{number}%2Bb"):
            assert_as_the_origin(r, target)


@MODES
@pytest.mark.parametrize(
    ("forgeries", "size"),
    [(100, 24 * MIB), pytest.param(10_000, 100 * MIB, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_forged_deletes_of_a_hot_object_cost_no_body_byte(
    shared: Start, mode: tuple[str, ...], forgeries: int, size: int
) -> None:
    """Refused writes are no purge: the extents stay and only have to be proven."""
    r = shared(*mode)
    r.origin.control.synthetic(r.bucket, "o", size)
    assert r.get("o").body == content("o", 0, size)
    wait_until_stored(r)
    r.origin.control.reset()
    forged = r.request("o", method="DELETE", secret="wrong")
    with RawConnection(r.proxy.endpoint) as connection:
        for number in range(forgeries):
            connection.send(forged)
            assert connection.read_response(b"DELETE").status == 403
            if number % (forgeries // 10) == 0:
                at = number * (size // forgeries)
                part = r.get("o", f"bytes={at}-{at + 99}")
                assert (part.status, part.body) == (206, content("o", at, at + 100))
    assert r.get("o").body == content("o", 0, size)
    assert r.body_bytes("o") == 0
    if mode:
        assert r.get("o", "bytes=0-9").get(b"x-cache") == b"HIT"


@MODES
@pytest.mark.parametrize("range_", [None, "bytes=0-500000"], ids=["whole", "range"])
def test_a_read_under_way_during_a_write_never_brings_the_old_bytes_back(
    shared: Start, mode: tuple[str, ...], range_: str | None
) -> None:
    r = shared(*mode)
    size = MIB
    for when in ("head", "body"):
        r.origin.control.synthetic(r.bucket, when, size)
        if when == "head":
            r.origin.control.fault("latency", seconds=0.4, method="GET", key=when)
        else:
            r.origin.control.fault("stall", after=size // 3, seconds=0.4, method="GET", key=when)
        before = asked(r, "GET")
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(r.get, when, range_)
            until_asked(r, "GET", before)
            assert r.get(when, method="PUT", body=NEW).status == 200
            assert r.get(when).body == NEW
            old = slow.result()
        assert old.body == content(when, 0, size if range_ is None else 500001)
        for _ in range(2):
            assert r.get(when).body == NEW
            assert r.get(when, "bytes=1-9").body == NEW[1:10]
            assert r.get(when, method="HEAD").get(b"content-length") == b"%d" % len(NEW)


def test_killed_after_a_write_was_forwarded_the_old_object_does_not_come_back(reader: Start) -> None:
    r = reader(*NONE)
    for key in ("small", "large"):
        size = 1000 if key == "small" else 3 * MIB
        r.origin.control.synthetic(r.bucket, key, size)
        assert r.get(key).body == content(key, 0, size)
        assert r.get(key).get(b"x-cache") == b"HIT"
    wait_until_stored(r)
    r.origin.control.fault("latency", seconds=3600, method="PUT", count=2)
    connections = [RawConnection(r.proxy.endpoint) for _ in range(2)]
    for connection, key in zip(connections, ("small", "large"), strict=True):
        connection.send(r.request(key, method="PUT", body=NEW))
    wait_until(lambda: all(truth(r, key).body == NEW for key in ("small", "large")), 20, "both writes are applied")
    assert len(list(r.proxy.cache_directory.rglob("*.void"))) == 2, "forwarded before it was unpublished on the disk"
    r.proxy.kill()
    for connection in connections:
        with pytest.raises(IncompleteResponseError):
            connection.read_response(b"PUT")
        connection.close()
    restarted = reader(*NONE, cache_directory=r.proxy.cache_directory)
    for key in ("small", "large"):
        assert restarted.get(key).body == NEW
        assert_as_the_origin(restarted, key)


@MODES
def test_a_completion_that_ends_in_an_error_keeps_the_old_object_and_holds_no_white_space(
    shared: Start, mode: tuple[str, ...]
) -> None:
    r = shared(*mode)
    r.origin.control.synthetic(r.bucket, "o", OLD)
    r.get("o")
    wait_until_stored(r)
    request = complete(r, "o")
    r.origin.control.reset()
    r.origin.control.fault("late-error", method="POST", key="o", params="uploadId", seconds=3)
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(request)
        head = connection.read_head()
        assert head.status == 200
        white = connection.read_exactly(60, head)
        assert not r.origin.control.log(1)[0]["complete"], "white space was held until the document"
        assert b"<Error>" not in white
        rest = b""
        while not rest.endswith(b"\r\n0\r\n\r\n"):
            rest += connection.read_exactly(1, head, rest)
    assert b"<Error>" in rest
    answer = r.get("o")
    assert (answer.status, answer.body) == (200, content("o", 0, OLD))
    assert r.body_bytes("o") == 0


def test_a_late_completion_shows_the_new_object(shared: Start) -> None:
    r = shared(*NONE)
    warm(r, "o")
    request = complete(r, "o")
    r.origin.control.fault("late", method="POST", key="o", params="uploadId", seconds=0.5)
    answer = exchange(r.proxy.endpoint, request)
    assert answer.status == 200
    assert b"CompleteMultipartUploadResult" in answer.body
    assert_as_the_origin(r, "o")
