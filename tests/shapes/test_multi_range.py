"""Several ranges in one request: ``multipart/byteranges`` from what is here, as the operator chose (SEMANTICS 27)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from tests.harness.multipart import BodyPart, body_parts
from tests.harness.raw import IncompleteResponseError, RawResponse
from tests.reads.conftest import content
from tests.shapes.conftest import MODES, NONE, Shapes, told, x_cache

Start = Callable[..., Shapes]
MULTIPART = ("--multi-range", "multipart")
SIZE = 3 << 20
RANGES = [(0, 10), (100, 100_100), (SIZE - 1, SIZE)]
FIELD = "bytes=0-9,100-100099,-1"


def parts(answer: RawResponse) -> list[BodyPart]:
    assert answer.status == 206, answer
    assert answer.get(b"content-range") is None
    assert answer.get(b"content-length") == b"%d" % len(answer.body)
    return body_parts(answer.get(b"content-type") or b"", answer.body)


def expected(ranges: list[tuple[int, int]], size: int = SIZE, generation: int = 1) -> list[BodyPart]:
    return [
        BodyPart("text/x", f"bytes {start}-{end - 1}/{size}", content("o", start, end, generation))
        for start, end in ranges
    ]


@MODES
def test_a_hit_is_exactly_those_ranges_and_a_miss_the_origins_answer(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*MULTIPART, *mode)
    s.synthetic("o", SIZE, headers={"Content-Type": "text/x", "x-amz-meta-m": "1"})
    cold = s.get("o", FIELD)
    assert told(cold) == told(s.direct("o", signed={"Range": FIELD}))
    s.origin.control.reset()
    warm = s.get("o", FIELD)
    assert parts(warm) == expected(RANGES)
    assert x_cache(warm) == (b"HIT" if mode else b"REVALIDATED")
    assert warm.get(b"etag") == cold.get(b"etag")
    assert warm.get(b"x-amz-meta-m") == b"1"
    assert s.body_bytes("o") == 0
    # A boundary nobody could have put into an object: another one each time.
    assert s.get("o", FIELD).get(b"content-type") != warm.get(b"content-type")


@MODES
def test_only_the_ranges_have_to_be_here(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*MULTIPART, *mode)
    s.synthetic("o", SIZE, headers={"Content-Type": "text/x"})
    for start, end in RANGES:
        s.get("o", f"bytes={start}-{end - 1}")
    s.origin.control.reset()
    assert parts(s.get("o", FIELD)) == expected(RANGES)
    assert s.body_bytes("o") == 0
    # One byte more is not here: the origin answers, and that is the whole object.
    assert s.get("o", "bytes=0-10,100-100099,-1").status == 200


@MODES
def test_what_gains_nothing_is_the_whole_object_and_what_does_not_exist_416(
    shapes: Start, mode: tuple[str, ...]
) -> None:
    s = shapes(*MULTIPART, *mode)
    s.synthetic("o", SIZE, headers={"Content-Type": "text/x"})
    s.get("o")
    for value in ("bytes=0-,0-,0-", "bytes=0-99,50-149,100-199", f"bytes={','.join(f'{n}-{n}' for n in range(200))}"):
        whole = s.get("o", value)
        assert (whole.status, whole.body) == (200, content("o", 0, SIZE)), value
    one = s.get("o", "bytes=5-9,9999999-")
    assert (one.status, one.get(b"content-range"), one.body) == (206, b"bytes 5-9/%d" % SIZE, content("o", 5, 10))
    assert s.get("o", "bytes=9999999-,8888888-").status == (416 if mode else 200), "revalidate: the origin's own answer"


@MODES
def test_conditions_and_an_overwrite_hold_for_several_ranges_too(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*MULTIPART, *mode)
    s.synthetic("o", SIZE, headers={"Content-Type": "text/x"})
    etag = (s.get("o").get(b"etag") or b"").decode()
    assert s.get("o", FIELD, signed={"If-Match": '"other"'}).status == 412
    assert s.get("o", FIELD, signed={"If-None-Match": etag}).status == 304
    assert parts(s.get("o", FIELD, signed={"If-Range": etag})) == expected(RANGES)
    whole = s.get("o", FIELD, signed={"If-Range": '"other"'})
    assert (whole.status, whole.body) == (200, content("o", 0, SIZE))
    s.origin.control.flip(s.bucket, "o")  # behind the proxy's back
    fresh = s.get("o", FIELD, signed={"Cache-Control": "no-cache"})
    assert (fresh.status, fresh.body) == (200, content("o", 0, SIZE, 2)), "a miss: all of the new generation"
    assert parts(s.get("o", FIELD)) == expected(RANGES, generation=2)


def test_overrides_describe_the_parts(shapes: Start) -> None:
    s = shapes(*MULTIPART, *NONE)
    s.synthetic("o", SIZE, headers={"Content-Type": "text/x"})
    s.get("o")
    answer = s.get("o?response-content-type=text%2Fy&response-expires=x", FIELD)
    assert [part.content_type for part in parts(answer)] == ["text/y"] * 3
    assert answer.get(b"expires") == b"x"


def test_a_range_that_cannot_be_read_any_more_resets_the_connection(shapes: Start) -> None:
    """No origin could go on in the middle of a body whose delimiters are ours, and it must not end cleanly."""
    s = shapes(*MULTIPART, *NONE)
    size = 24 << 20
    s.synthetic("o", size, headers={"Content-Type": "text/x"})
    s.get("o")
    s.proxy.wait_until_stored()
    before = set(s.proxy.cache_directory.rglob("*.ext"))
    field = f"bytes=0-9,100-{size - 2}"
    assert parts(s.get("o", field)) == expected([(0, 10), (100, size - 1)], size)
    last = max(before, key=lambda path: path.stat().st_mtime_ns)
    os.truncate(last, last.stat().st_size // 2)
    with pytest.raises(IncompleteResponseError):
        s.get("o", field)
    assert s.get("o").body == content("o", 0, size)


@pytest.mark.parametrize("flags", [(), ("--multi-range", "whole")])
def test_by_default_a_hit_is_the_whole_object(shapes: Start, flags: tuple[str, ...]) -> None:
    s = shapes(*NONE, *flags)
    s.synthetic("o", SIZE)
    assert s.three("o", signed={"Range": FIELD}).body == content("o", 0, SIZE)
