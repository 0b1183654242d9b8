"""What goes up through a gateway is a hit there; what was not what its client signed is neither object nor hit."""

from __future__ import annotations

import itertools
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.clients.comparison import differences, documented
from tests.gateway.conftest import Gate
from tests.gateway.test_bodies import SPOILT, some
from tests.gateway.uploads import Upload, changed, send
from tests.harness.processes import wait_until
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request

from fastcache.protocol.sigv4 import PayloadKind
from fastcache.storage.layout import is_upload_name

MIB = 1024 * 1024
BUCKET = "kept"


@pytest.fixture
def keeping(own_gate: Gate) -> Gate:
    """``verify`` with ``sign`` in front of our own origin, with an empty bucket."""
    assert own_gate.control is not None
    own_gate.control.bucket(BUCKET)
    return own_gate


def as_the_origin(gate: Gate, method: str, key: str) -> RawResponse:
    request = signed_request(method, f"{gate.origin_endpoint}/{BUCKET}/{key}", *gate.own)
    return exchange(gate.origin_endpoint, request, method=method.encode())


def heads(gate: Gate) -> int:
    """How many HEADs the origin has answered, or is about to."""
    assert gate.control is not None
    return int(gate.control.stats(0)["methods"].get("HEAD", 0))


def stored(gate: Gate) -> float:
    return gate.proxy.metric("fastcache_uploads_kept_total", outcome="stored")


def assert_a_hit(gate: Gate, key: str, body: bytes) -> None:
    """Bytes and headers are the origin's, and no byte of them comes from there."""
    gate.proxy.wait_until_stored()
    expected = {method: as_the_origin(gate, method, key) for method in ("GET", "HEAD")}
    before = gate.moved(BUCKET)
    for method in ("GET", "HEAD", "GET"):
        got = gate.raw(method, f"/{BUCKET}/{key}")
        found = [
            one for one in differences(expected[method], got) if not any(row.explains(one) for row in documented())
        ]
        assert found == [], (key, method)
        assert got.body == (body if method == "GET" else b"")
    if len(body) > 10:
        assert gate.raw("GET", f"/{BUCKET}/{key}", signed={"Range": "bytes=3-9"}).body == body[3:10]
    assert gate.moved(BUCKET) == before, key


@pytest.mark.parametrize("kind", PayloadKind, ids=lambda kind: kind.name)
def test_what_was_put_moves_no_body_when_it_is_read(keeping: Gate, kind: PayloadKind) -> None:
    for te_chunked, size in itertools.product((False, True), (0, 1, 100_000, 2 * MIB + 7)):
        key, body, before = f"{kind.name}-{te_chunked}-{size}", some(size), stored(keeping)
        assert send(keeping, f"/{BUCKET}/{key}", Upload(body, kind, te_chunked=te_chunked)).status == 200
        assert_a_hit(keeping, key, body)
        assert stored(keeping) == before + 1, key


def test_not_every_upload_of_many_at_once_has_the_origin_asked_behind_it(keeping: Gate) -> None:
    """An origin that answers nobody's HEAD for a while is not asked once for each of them, and nobody waits."""
    assert keeping.control is not None
    control, asked, kept = keeping.control, heads(keeping), stored(keeping)
    control.fault("latency", seconds=60, method="HEAD", bucket=BUCKET, count=-1)
    bodies = {f"many-{number}": b"%d" % number + some(100) for number in range(50)}
    uploads = [(f"/{BUCKET}/{key}", Upload(body, PayloadKind.SIGNED)) for key, body in bodies.items()]
    with ThreadPoolExecutor(8) as pool:
        assert [answer.status for answer in pool.map(lambda one: send(keeping, *one), uploads)] == [200] * 50
    wait_until(lambda: stored(keeping) == kept + 50, 30, "all are stored")
    assert 0 < heads(keeping) - asked <= 32
    control.clear_faults()
    control.drop_connections()
    keeping.proxy.wait_until_stored()
    moved = keeping.moved(BUCKET)
    for key, body in bodies.items():
        assert keeping.raw("GET", f"/{BUCKET}/{key}").body == body
    assert keeping.moved(BUCKET) - moved <= 50, "an object without a header set costs one byte"
    assert send(keeping, f"/{BUCKET}/one", Upload(b"one more of them", PayloadKind.SIGNED)).status == 200
    assert_a_hit(keeping, "one", b"one more of them")


def test_what_was_spoilt_is_kept_in_no_form(keeping: Gate) -> None:
    old, before = b"what was there", stored(keeping)
    assert send(keeping, f"/{BUCKET}/k", Upload(old, PayloadKind.SIGNED)).status == 200
    assert_a_hit(keeping, "k", old)
    for name, (upload, status, _) in SPOILT.items():
        assert send(keeping, f"/{BUCKET}/k", upload).status == status, name
        assert keeping.raw("GET", f"/{BUCKET}/k").body == old, name
    assert_a_hit(keeping, "k", old)
    assert stored(keeping) == before + 1
    in_progress = (keeping.proxy.cache_directory / "fills").iterdir()
    assert [
        path for path in in_progress if not is_upload_name(path.name) or path.is_dir()
    ] == []  # but marks of ended ones


def test_a_part_that_was_spoilt_is_not_the_one_that_is_kept(keeping: Gate) -> None:
    begun = keeping.raw("POST", f"/{BUCKET}/parts?uploads")
    found = re.search(rb"<UploadId>(.*)</UploadId>", begun.body)
    assert found is not None
    upload, named, whole = found[1].decode(), b"", b""
    spoil = SPOILT["signature of chunk 1"][0].spoil
    for number, kind in enumerate((PayloadKind.CHUNKS_SIGNED, PayloadKind.CHUNKS_SIGNED_TRAILER), 1):
        made = Upload(some(5 * MIB + number), kind)
        target = f"/{BUCKET}/parts?partNumber={number}&uploadId={upload}"
        assert send(keeping, target, changed(made, spoil=spoil)).status == 403
        answer = send(keeping, target, made)
        assert answer.status == 200
        named += b"<Part><PartNumber>%d</PartNumber><ETag>%b</ETag></Part>" % (number, answer.get(b"etag") or b"")
        whole += made.body
    document = b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % named
    assert keeping.raw("POST", f"/{BUCKET}/parts?uploadId={upload}", body=document).status == 200
    assert_a_hit(keeping, "parts", whole)
