"""``response-*``: the stored body after a 304 to that very request, and never a stored head (SEMANTICS 25)."""

from __future__ import annotations

from collections.abc import Callable

from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import presigned_url
from tests.shapes.conftest import MODES, Shapes, told, x_cache

Start = Callable[..., Shapes]
QUERY = "response-content-type=text%2Fcsv&response-content-disposition=attachment%3B%20filename%3D%22a%20b.csv%22"


@MODES
def test_overrides_are_applied_to_the_stored_body_after_a_304(either: Start, mode: tuple[str, ...]) -> None:
    s = either(*mode)
    s.synthetic("o", 5000, headers={"Content-Type": "text/plain", "Cache-Control": "max-age=9"})
    plain = told(s.get("o"))
    s.origin.control.reset()
    warm = s.get(f"o?{QUERY}")
    assert (s.origin.control.requests("GET", "o"), s.body_bytes("o")) == (1, 0)
    assert x_cache(warm) == b"REVALIDATED"
    assert told(warm) == told(s.direct(f"o?{QUERY}"))
    assert warm.get(b"content-type") == b"text/csv"
    assert warm.get(b"content-disposition") == b'attachment; filename="a b.csv"'
    assert warm.get(b"cache-control") == b"max-age=9"
    ranged = s.get(f"o?{QUERY}", "bytes=10-19")
    assert told(ranged) == told(s.direct(f"o?{QUERY}", signed={"Range": "bytes=10-19"}))
    assert told(s.get("o")) == plain


@MODES
def test_a_miss_with_overrides_leaves_nothing_behind(either: Start, mode: tuple[str, ...]) -> None:
    s = either(*mode)
    s.synthetic("o", 5000, headers={"Content-Type": "text/plain"})
    cold = s.three(f"o?{QUERY}")
    assert x_cache(cold) == b"MISS"
    assert b"detail=override" in (cold.get(b"cache-status") or b"")
    assert s.body_bytes("o") == 5000
    plain = s.get("o")
    assert (plain.get(b"content-type"), plain.get(b"content-disposition")) == (b"text/plain", None)
    assert told(plain) == told(s.direct("o"))
    assert s.three(f"o?{QUERY}", method="HEAD").get(b"content-type") == b"text/csv"
    assert told(s.get("o")) == told(s.direct("o"))


@MODES
def test_an_overwritten_object_is_not_served_under_overrides(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.synthetic("o", 5000)
    s.get("o")
    s.origin.control.flip(s.bucket, "o")
    assert told(s.get(f"o?{QUERY}")) == told(s.direct(f"o?{QUERY}"))
    assert told(s.get("o")) == told(s.direct("o")), "the old generation after the new one was seen"


@MODES
def test_who_may_not_use_overrides_gets_the_origins_answer(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.origin.control.bucket(s.bucket, public_read=True)
    s.synthetic("o", 5000)
    s.get("o")
    host = s.proxy.endpoint.removeprefix("http://")

    def get(target: str) -> RawResponse:
        return exchange(s.proxy.endpoint, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    anonymous = get(f"/{s.bucket}/o?{QUERY}")
    assert (anonymous.status, x_cache(anonymous)) == (400, b"PASS")
    assert b"cannot be used for anonymous" in anonymous.body
    url = presigned_url("GET", f"{s.proxy.endpoint}/{s.bucket}/o?{QUERY}", s.origin.access_key, s.origin.secret_key)
    s.origin.control.reset()
    signed = get(url[len(s.proxy.endpoint) :])
    assert (signed.status, signed.get(b"content-type"), s.body_bytes("o")) == (200, b"text/csv", 0)
    assert get(url[len(s.proxy.endpoint) : -4] + "0000").status == 403
    assert s.get(f"o?{QUERY}", secret="wrong").status == 403


@MODES
def test_an_override_that_servers_read_differently_is_passed(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.synthetic("o", 5000)
    s.get("o")
    answer = s.get("o?response-content-language=de+en")
    assert x_cache(answer) == b"PASS"
