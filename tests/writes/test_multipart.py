"""Multipart uploads through the proxy: the object is here when it is complete, or not at all (SEMANTICS 31, 32)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.faults.conftest import asked, until_asked, wait_until_stored
from tests.faults.test_unsafe_requests import signed
from tests.harness.processes import wait_until
from tests.harness.raw import IncompleteResponseError, RawConnection, RawResponse, exchange
from tests.reads.conftest import Reader
from tests.writes.conftest import (
    KIB,
    MIB,
    MODES,
    NONE,
    SHORT,
    Start,
    data_of,
    nothing_staged,
    staged_bytes,
    straight,
    uploads,
    wait_for_uploads,
)
from tests.writes.test_put import assert_as_straight
from tests.writes.uploads import FRAMINGS

PART = 5 * MIB


class Multipart:
    """One multipart upload of ``key`` by raw requests."""

    def __init__(self, r: Reader, key: str, **fields: str) -> None:
        self.r = r
        self.key = key
        begun = exchange(r.proxy.endpoint, signed(r, "POST", f"/{r.bucket}/{key}?uploads", **fields))
        found = re.search(rb"<UploadId>(.*)</UploadId>", begun.body)
        assert found is not None, begun
        self.id = found[1].decode()
        self.etags: dict[int, bytes] = {}

    def target(self, number: int | None = None) -> str:
        part = "" if number is None else f"partNumber={number}&"
        return f"/{self.r.bucket}/{self.key}?{part}uploadId={self.id}"

    def put(self, number: int, data: bytes, **fields: str) -> RawResponse:
        request = signed(self.r, "PUT", self.target(number), data, **fields)
        answer = exchange(self.r.proxy.endpoint, request, method=b"PUT")
        if answer.status == 200 and answer.get(b"etag") is not None:
            self.etags[number] = answer.get(b"etag") or b""
        return answer

    def completion(self, numbers: Sequence[int]) -> bytes:
        parts = b"".join(
            b"<Part><PartNumber>%d</PartNumber><ETag>%b</ETag></Part>" % (n, self.etags[n]) for n in numbers
        )
        return signed(self.r, "POST", self.target(), b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % parts)

    def complete(self, numbers: Sequence[int] | None = None) -> RawResponse:
        """When all parts are stored: a completion waits for them, but not for long."""
        wait_until_stored(self.r)
        return exchange(self.r.proxy.endpoint, self.completion(numbers or sorted(self.etags)), method=b"POST")


def parts_of(key: str, count: int = 3, last: int = 100 * KIB) -> dict[int, bytes]:
    return {n: data_of(f"{key}/{n}", PART + n if n < count else last, n) for n in range(1, count + 1)}


def joined(parts: dict[int, bytes]) -> bytes:
    return b"".join(parts[number] for number in sorted(parts))


def assert_here(r: Reader, key: str, data: bytes, *, moved: int = 0) -> None:
    """The object is ``data``, and no more than ``moved`` bytes of it come from the origin."""
    wait_until_stored(r)
    before = r.body_bytes(key)
    for method in ("HEAD", "GET", "GET"):
        got = r.get(key, method=method)
        assert (got.status, got.body == (b"" if method == "HEAD" else data)) == (200, True), method
    assert r.get(key, f"bytes={PART - 5}-{PART + 50}").body == data[PART - 5 : PART + 51]
    assert r.body_bytes(key) - before <= moved


def assert_from_the_origin(r: Reader, key: str) -> None:
    """Whatever the origin holds is what is read, twice."""
    held = straight(r, key)
    for _ in range(2):
        got = r.get(key)
        assert (got.status, got.body) == (held.status, held.body if held.status == 200 else got.body)


@MODES
def test_what_was_uploaded_in_parts_is_read_without_a_body(reader: Start, mode: tuple[str, ...]) -> None:
    """Parts in any order, several at once, and in every framing."""
    r = reader(*mode)
    parts = parts_of("o", 4)
    upload = Multipart(r, "o")
    with ThreadPoolExecutor(4) as pool:
        assert [a.status for a in pool.map(lambda n: upload.put(n, parts[n]), (4, 2, 3, 1))] == [200] * 4
    assert upload.complete().status == 200
    assert_here(r, "o", joined(parts))
    assert_as_straight(r, "o")
    for number, data in parts.items():
        before = r.body_bytes("o")
        request = signed(r, "GET", f"/{r.bucket}/o?partNumber={number}")
        got = exchange(r.proxy.endpoint, request)
        assert (got.status, got.body == data) == (206, True)
        assert got.get(b"x-amz-mp-parts-count") == b"4"
        assert r.body_bytes("o") == before, "the part map was not known"
    assert uploads(r, "stored") == 1
    assert nothing_staged(r)


@pytest.mark.parametrize("framing", ["aws-chunked", "aws-chunked-in-chunks", "unknown-length"])
def test_parts_in_every_framing(reader: Start, framing: str) -> None:
    r = reader(*NONE)
    parts = parts_of("o", 2)
    upload = Multipart(r, "o")
    for number, data in parts.items():
        made = FRAMINGS[framing](r, upload.target(number).removeprefix(f"/{r.bucket}/"), data)
        answer = exchange(r.proxy.endpoint, bytes(made), method=b"PUT")
        assert answer.status == 200
        upload.etags[number] = answer.get(b"etag") or b""
    assert upload.complete().status == 200
    assert_here(r, "o", joined(parts))


@MODES
def test_a_subset_of_the_parts_is_the_object_that_the_origin_made(reader: Start, mode: tuple[str, ...]) -> None:
    """PITFALLS: Complete with a subset of parts stored a shorter object."""
    r = reader(*mode)
    parts = parts_of("o", 4)
    upload = Multipart(r, "o")
    for number, data in parts.items():
        assert upload.put(number, data).status == 200
    assert upload.complete([1, 3]).status == 200
    assert_here(r, "o", parts[1] + parts[3])
    assert_as_straight(r, "o")
    assert nothing_staged(r)


def test_a_part_that_is_uploaded_again_replaces_the_first(reader: Start) -> None:
    r = reader(*NONE)
    parts = parts_of("o", 2)
    upload = Multipart(r, "o")
    for number in (1, 2, 1):
        assert upload.put(number, data_of("first", PART, number)).status == 200
    for number, data in parts.items():
        assert upload.put(number, data).status == 200
    assert upload.complete().status == 200
    assert_here(r, "o", joined(parts))
    assert nothing_staged(r)


def test_two_uploads_of_one_part_at_once_never_mix(reader: Start) -> None:
    """PITFALLS: the bytes of one with the ETag of the other."""
    r = reader(*NONE)
    upload = Multipart(r, "o")
    versions = [data_of("o", PART, version) for version in (1, 2)]
    requests = [signed(r, "PUT", upload.target(1), data) for data in versions]
    with RawConnection(r.proxy.endpoint) as one, RawConnection(r.proxy.endpoint) as two:
        for at in range(0, len(requests[0]), MIB):
            for connection, request in zip((one, two), requests, strict=True):
                connection.send(request[at : at + MIB])
        etags = [(connection.read_response(b"PUT").get(b"etag") or b"").strip(b'"') for connection in (one, two)]
    (held,) = straight_parts(r, upload)
    upload.etags[1] = held
    assert upload.complete().status == 200
    assert_here(r, "o", versions[etags.index(held)])


def straight_parts(r: Reader, upload: Multipart) -> list[bytes]:
    """The ETags of the parts that the origin holds."""
    listed = exchange(r.proxy.endpoint, signed(r, "GET", f"/{r.bucket}/{upload.key}?uploadId={upload.id}"))
    return re.findall(rb"<ETag>(?:&quot;)?([^<&]*)", listed.body)


def test_what_was_copied_makes_the_upload_the_origins_alone(reader: Start) -> None:
    r = reader(*NONE)
    r.origin.control.put(r.bucket, "source", data_of("source", PART))
    upload = Multipart(r, "o")
    upload.put(1, data_of("o", PART))
    copied = upload.put(2, b"", x_amz_copy_source=f"/{r.bucket}/source")
    assert copied.status == 200
    found = re.search(rb"<ETag>(?:&quot;)?([0-9a-f]+)", copied.body)
    assert found is not None
    upload.etags[2] = found[1]
    upload.put(3, data_of("o", KIB))
    assert upload.complete().status == 200
    assert_from_the_origin(r, "o")
    assert uploads(r, "incomplete") == 1
    wait_until(lambda: nothing_staged(r), 20, "the parts are gone")


def test_a_part_that_went_another_way_makes_the_upload_the_origins_alone(reader: Start) -> None:
    r = reader(*NONE)
    upload = Multipart(r, "o")
    upload.put(1, data_of("o", PART))
    direct = exchange(
        r.origin.endpoint,
        signed(r, "PUT", upload.target(2), data_of("o", KIB)).replace(
            r.proxy.endpoint.removeprefix("http://").encode(), r.origin.endpoint.removeprefix("http://").encode()
        ),
        method=b"PUT",
    )
    assert direct.status == 403, "the Host is signed"
    behind = Multipart.__new__(Multipart)
    behind.__dict__.update(upload.__dict__)
    behind.r = Reader(r.origin, _Straight(r), r.bucket)  # type: ignore[arg-type]
    assert behind.put(2, data_of("o", KIB)).status == 200
    assert upload.complete().status == 200
    assert_from_the_origin(r, "o")
    assert uploads(r, "stored") == 0


class _Straight:
    """Stands where a proxy does, for requests that go past it."""

    def __init__(self, r: Reader) -> None:
        self.endpoint = r.origin.endpoint


BAD_COMPLETIONS: dict[str, dict[str, object]] = {
    "error-in-200": {"kind": "late-error", "seconds": 0.1},
    **{str(status): {"kind": "status", "status": status} for status in (307, 403, 500, 503)},
    "cut": {"kind": "cut"},
    "cut-head": {"kind": "cut-head", "after": 20},
    "cut-body": {"kind": "cut-body", "after": 60},
    "stall": {"kind": "stall", "after": -1, "seconds": 30},
}
"""Those that cut or stall have happened all the same."""


@MODES
def test_a_completion_that_ends_in_an_error_publishes_nothing(reader: Start, mode: tuple[str, ...]) -> None:
    """PITFALLS: Complete that answers 200 with an <Error> body taken as success. Done again, it is done."""
    r = reader(*mode, *SHORT)
    for key, fault in BAD_COMPLETIONS.items():
        old, new = data_of(f"old {key}", KIB), data_of(key, 2 * KIB)
        r.get(key, method="PUT", body=old)
        assert r.get(key).body == old
        upload = Multipart(r, key)
        upload.put(1, new)
        r.origin.control.fault(method="POST", key=key, params="uploadId", **fault)
        answer = completed_or_cut(upload)
        assert answer is None or answer.status >= 300 or b"<Error>" in answer.body, key
        r.origin.control.clear_faults()
        assert_from_the_origin(r, key)
        upload.complete()
        assert straight(r, key).body == new, key
        assert_from_the_origin(r, key)


def completed_or_cut(upload: Multipart) -> RawResponse | None:
    try:
        return upload.complete()
    except IncompleteResponseError:
        return None


def test_a_late_completion_is_published(reader: Start) -> None:
    r = reader(*NONE)
    parts = parts_of("o", 2)
    upload = Multipart(r, "o")
    for number, data in parts.items():
        upload.put(number, data)
    r.origin.control.fault("late", method="POST", key="o", params="uploadId", seconds=0.5)
    assert upload.complete().status == 200
    assert_here(r, "o", joined(parts))


def test_parts_that_fail_and_are_sent_again_are_kept(reader: Start) -> None:
    r = reader(*NONE, *SHORT)
    parts = parts_of("o", 7)
    upload = Multipart(r, "o")
    faults: dict[int, dict[str, object]] = {
        1: {"kind": "status", "status": 500},
        2: {"kind": "status", "status": 503},
        3: {"kind": "cut-head", "after": 20},
        4: {"kind": "stall", "after": -1, "seconds": 30},
        5: {"kind": "status", "status": 307},
        6: {"kind": "cut"},
        7: {"kind": "late-error", "seconds": 0.1},
    }
    for number, data in parts.items():
        r.origin.control.fault(method="PUT", **faults[number])
        answer = upload.put(number, data)
        assert answer.status in (307, 500, 502, 503, 504) or b"<Error>" in answer.body
        r.origin.control.clear_faults()
        assert upload.put(number, data).status == 200
    assert upload.complete().status == 200
    assert_here(r, "o", joined(parts))
    assert nothing_staged(r)


def test_an_abort_forgets_the_parts_and_a_forged_one_does_not(reader: Start) -> None:
    r = reader(*NONE)
    upload = Multipart(r, "o")
    upload.put(1, data_of("o", PART))
    wait_for_uploads(r, "part", 1)
    forged = r.request(upload.target().removeprefix(f"/{r.bucket}/"), method="DELETE", secret="wrong")
    assert exchange(r.proxy.endpoint, forged, method=b"DELETE").status == 403
    assert not nothing_staged(r)
    assert exchange(r.proxy.endpoint, signed(r, "DELETE", upload.target()), method=b"DELETE").status == 204
    wait_until(lambda: nothing_staged(r), 20, "the parts are gone")
    assert upload.complete().status == 404


def test_what_nobody_goes_on_with_expires(reader: Start) -> None:
    r = reader(*NONE, "--upload-expiry", "1s")
    upload = Multipart(r, "o")
    data = data_of("o", PART)
    upload.put(1, data)
    wait_for_uploads(r, "part", 1)
    wait_until(lambda: nothing_staged(r), 30, "the part expired")
    wait_until(lambda: r.proxy.metric("fastcache_cache_bytes") == 0, 20, "nothing is counted any more")
    assert upload.complete().status == 200
    assert_from_the_origin(r, "o")


def test_an_upload_across_a_restart_is_the_origins_alone(reader: Start) -> None:
    r = reader(*NONE, own=True)
    upload = Multipart(r, "o")
    upload.put(1, data_of("o", PART))
    wait_for_uploads(r, "part", 1)
    r.proxy.kill()
    again = reader(*NONE, own=True, cache_directory=r.proxy.cache_directory)
    wait_until(lambda: nothing_staged(again), 20, "the next life removes it")
    upload.r = again
    upload.put(2, data_of("o", KIB))
    assert upload.complete().status == 200
    assert_from_the_origin(again, "o")


def test_what_is_staged_is_bounded(reader: Start) -> None:
    """A quarter of the cache: the upload goes on, its parts give way."""
    r = reader(*NONE, "--cache-size", "48MiB")
    parts = parts_of("o", 4)
    upload = Multipart(r, "o")
    for number, data in parts.items():
        assert upload.put(number, data).status == 200
        assert staged_bytes(r) <= 12 * MIB
    assert upload.complete().status == 200
    assert_from_the_origin(r, "o")


def test_an_upload_of_which_a_part_was_lost_keeps_no_other(reader: Start) -> None:
    """None that is there, and none that comes later: it cannot become an object here."""
    r = reader(*NONE, "--cache-size", "48MiB")
    parts = parts_of("o", 4)
    upload = Multipart(r, "o")
    for number in (1, 2):
        assert upload.put(number, parts[number]).status == 200
    wait_for_uploads(r, "part", 2)
    too_much = FRAMINGS["unknown-length"](r, upload.target(3).removeprefix(f"/{r.bucket}/"), parts[3])
    answer = exchange(r.proxy.endpoint, bytes(too_much), method=b"PUT")
    upload.etags[3] = answer.get(b"etag") or b""
    wait_until(lambda: nothing_staged(r), 20, "the parts are gone")
    assert upload.put(4, parts[4]).status == 200
    wait_until_stored(r)
    assert nothing_staged(r)
    assert upload.complete().status == 200
    assert_from_the_origin(r, "o")


def test_an_overlapping_put_makes_a_completion_publish_nothing(reader: Start) -> None:
    r = reader(*NONE)
    parts = parts_of("o", 2)
    upload = Multipart(r, "o")
    for number, data in parts.items():
        upload.put(number, data)
    r.origin.control.fault("late", method="POST", key="o", params="uploadId", seconds=3)
    before = asked(r, "POST")
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(upload.completion([1, 2]))
        until_asked(r, "POST", before)
        assert r.get("o", method="PUT", body=b"other").status == 200
        assert connection.read_response(b"POST").status == 200
    assert uploads(r, "overlapped") >= 1
    assert_from_the_origin(r, "o")
    wait_until(lambda: nothing_staged(r), 20, "the parts are gone")


def test_no_byte_of_an_uploads_id_reaches_a_path(reader: Start) -> None:
    r = reader(*NONE, own=True)
    for hostile in ("..%2F..%2Fx", "%00", "a" * 2000):
        request = signed(r, "PUT", f"/{r.bucket}/o?partNumber=1&uploadId={hostile}", data_of("o", KIB))
        assert exchange(r.proxy.endpoint, request, method=b"PUT").status == 404
    found = [path.name for path in r.proxy.cache_directory.rglob("*")]
    assert all(re.fullmatch(r"[0-9a-f]{2}|[0-9a-f]{64}|FORMAT|LOCK|objects|fills|.*\.staged", name) for name in found)
