"""Requests that the origin must see in every mode, and what its answer to them adds to ours (SEMANTICS 14, 19, 24)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.harness.raw import exchange
from tests.harness.signing import presigned_url
from tests.shapes.conftest import MODES, NONE, Shapes, x_cache

Start = Callable[..., Shapes]
SITE = "https://app.example"
CORS = (
    f"<CORSConfiguration><CORSRule><AllowedOrigin>{SITE}</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    "<ExposeHeader>ETag</ExposeHeader></CORSRule></CORSConfiguration>"
)


@MODES
@pytest.mark.parametrize(
    "fields",
    [
        {"x-amz-request-payer": "requester"},
        {"x-amz-expected-bucket-owner": "111122223333"},
        {"Origin": SITE},
        {"Cache-Control": "no-cache"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_the_origin_sees_it_however_fresh_the_object_is(
    shapes: Start, mode: tuple[str, ...], fields: dict[str, str]
) -> None:
    s = shapes(*mode)
    s.synthetic("o", 5000)
    s.get("o")
    s.origin.control.reset()
    warm = s.get("o", signed=fields)
    assert x_cache(warm) == b"REVALIDATED"
    assert s.origin.control.requests("GET", "o") == 1
    assert s.body_bytes("o") == 0


@pytest.mark.parametrize("name", ["x-amz-request-payer=requester", "X-Amz-Expected-Bucket-Owner=111122223333"])
def test_so_it_does_when_the_field_was_moved_into_a_presigned_query(shapes: Start, name: str) -> None:
    """Go hoists x-amz-* fields into the query before it signs."""
    s = shapes(*NONE)
    s.synthetic("o", 5000)
    s.get("o")
    url = presigned_url("GET", f"{s.proxy.endpoint}/{s.bucket}/o?{name}", s.origin.access_key, s.origin.secret_key)
    s.origin.control.reset()
    target, host = url[len(s.proxy.endpoint) :], s.proxy.endpoint.removeprefix("http://")
    warm = exchange(s.proxy.endpoint, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert (warm.status, x_cache(warm)) == (200, b"REVALIDATED")
    assert s.origin.control.requests("GET", "o") == 1


@MODES
def test_a_page_may_read_what_the_origin_lets_it_read_cold_and_warm(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.origin.control.bucket(s.bucket, cors=CORS)
    s.synthetic("o", 5000)
    warm = s.three("o", signed={"Origin": SITE})
    assert warm.get(b"access-control-allow-origin") == SITE.encode()
    assert s.body_bytes("o") == 0
    assert s.get("o").get(b"access-control-allow-origin") is None


@MODES
def test_a_304_of_ours_carries_what_the_origin_allows_the_page(shapes: Start, mode: tuple[str, ...]) -> None:
    """A browser hides a cross-origin answer without Access-Control-Allow-Origin, a 304 as well."""
    s = shapes(*mode)
    s.origin.control.bucket(s.bucket, cors=CORS)
    s.synthetic("o", 5000)
    modified = (s.get("o").get(b"last-modified") or b"").decode()
    answer = s.get("o", signed={"Origin": SITE, "If-Modified-Since": modified})
    assert answer.status == 304
    assert answer.get(b"access-control-allow-origin") == SITE.encode()
    assert answer.get(b"access-control-expose-headers") == b"ETag"
    assert answer.get(b"content-type") is None


KEY_FIELDS = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5",
    "x-amz-server-side-encryption-customer-key-MD5": "bWQ1",
}


@MODES
def test_a_request_with_a_customers_key_is_never_answered_nor_stored(shapes: Start, mode: tuple[str, ...]) -> None:
    """SEMANTICS 24: SSE-C never."""
    s = shapes(*mode)
    stored = {"x-amz-server-side-encryption-customer-key-MD5": "bWQ1"}
    s.synthetic("o", 5000, headers=stored)
    for _ in range(2):
        s.origin.control.reset()
        answer = s.get("o", signed=KEY_FIELDS)
        assert (answer.status, x_cache(answer)) == (200, b"PASS")
        assert s.body_bytes("o") == 5000
    assert s.get("o").status == 400
    s.synthetic("p", 5000)
    s.get("p")
    assert x_cache(s.get("p", signed=KEY_FIELDS)) == b"PASS"
