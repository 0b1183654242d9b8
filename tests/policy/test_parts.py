"""What an answer to ``?partNumber=`` tells, what it must not tell, and how the places of parts come together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.heads import ETAG, LATER, answer, names, read_of, record

from fastcache.model import ChecksumState, Generation, HeadRecord, Interval, Part
from fastcache.policy.local_answer import answer_locally, can_answer
from fastcache.policy.storable import NotStorable, Storable, judge_body, merge_known

THREE = b'"0123456789abcdef0123456789abcdef-3"'
CRC = b"x-amz-checksum-crc32: AAAAAA=="


def judged(
    number: int,
    content_range: bytes,
    *fields: bytes,
    etag: bytes = THREE,
    status: int = 206,
    length: int = 10,
    known: Generation | None = None,
) -> Storable | NotStorable:
    response = answer(
        b"ETag: " + etag, b"Content-Length: %d" % length, b"Content-Range: " + content_range, *fields, status=status
    )
    return judge_body(
        response,
        requested=None,
        range_asked=False,
        checksum_mode=True,
        at=1.0,
        honour_no_store=False,
        part=number,
        known=known,
    )


COUNT = b"x-amz-mp-parts-count: 3"


@pytest.mark.parametrize(
    ("number", "content_range", "start"),
    [(1, b"bytes 0-9/25", 0), (2, b"bytes 10-19/25", 10), (3, b"bytes 15-24/25", 15)],
)
def test_a_part_is_stored_as_its_byte_range(number: int, content_range: bytes, start: int) -> None:
    """SEMANTICS 26."""
    found = judged(number, content_range, COUNT)
    assert isinstance(found, Storable)
    assert found.interval == Interval(start, start + 10)
    assert found.record.generation == Generation(THREE, 25)
    assert found.record.parts == (Part(number, found.interval),)
    assert found.record.parts_count == 3


def test_a_part_tells_neither_the_checksum_nor_the_part_count_of_the_object() -> None:
    """SEMANTICS 18, 26: S3 answers with the part's checksum."""
    found = judged(2, b"bytes 10-19/25", COUNT, CRC, b"x-amz-checksum-type: COMPOSITE")
    assert isinstance(found, Storable)
    assert found.record.checksum_state is ChecksumState.UNKNOWN
    assert found.record.checksums == ()
    assert names(found.record.headers) == {b"etag"}


def test_the_only_part_of_an_object_not_uploaded_in_parts_is_all_of_it() -> None:
    found = judged(1, b"bytes 0-9/10", etag=ETAG)
    assert isinstance(found, Storable)
    assert (found.record.parts, found.record.parts_count) == ((Part(1, Interval(0, 10)),), 0)


@pytest.mark.parametrize(
    ("number", "content_range", "fields"),
    [
        (1, b"bytes 0-9/25", ()),  # no count, and not all of it
        (2, b"bytes 0-9/10", ()),
        (4, b"bytes 15-24/25", (COUNT,)),  # a part beyond the count
        (1, b"bytes 10-19/25", (COUNT,)),  # the first does not begin the object
        (2, b"bytes 0-9/25", (COUNT,)),
        (3, b"bytes 10-19/25", (COUNT,)),  # the last does not end it
        (2, b"bytes 15-24/25", (COUNT,)),
        (2, b"bytes 10-19/25", (b"x-amz-mp-parts-count: 0",)),
        (2, b"bytes 10-19/25", (b"x-amz-mp-parts-count: 10001",)),
        (2, b"bytes 10-19/25", (b"x-amz-mp-parts-count: x",)),
        (2, b"bytes 10-19/25", (COUNT, COUNT)),
    ],
)
def test_a_part_that_cannot_lie_there_is_not_stored(
    number: int, content_range: bytes, fields: tuple[bytes, ...]
) -> None:
    assert judged(number, content_range, *fields) == NotStorable(b"part")


@pytest.mark.parametrize("content_range", [b"bytes 10-19/*", b"bytes 10-20/25", b"bytes 10-19/15"])
def test_a_part_without_valid_place_and_total_is_not_stored(content_range: bytes) -> None:
    """SEMANTICS 26: with a valid total."""
    assert judged(2, content_range, COUNT) == NotStorable(b"content-range")


def test_a_200_to_a_part_may_be_anything() -> None:
    """PITFALLS: a server that does not know parts answers with the whole object, others with the part alone."""
    response = answer(b"ETag: " + THREE, b"Content-Length: 10")
    found = judge_body(
        response, requested=None, range_asked=False, checksum_mode=False, at=0.0, honour_no_store=False, part=1
    )
    assert found == NotStorable(b"part")


def test_the_etag_of_a_part_is_not_taken_for_the_objects() -> None:
    """Some servers answer with it; the object's ends in the count, or a whole read told it."""
    assert judged(2, b"bytes 10-19/25", COUNT, etag=ETAG) == NotStorable(b"part")
    assert judged(2, b"bytes 10-19/25", COUNT, etag=ETAG, known=Generation(THREE, 25)) == NotStorable(b"part")
    assert isinstance(judged(2, b"bytes 10-19/25", COUNT, etag=ETAG, known=Generation(ETAG, 25)), Storable)


# ---- answers from what is known ----

KNOWN = replace(
    record(25, etag=THREE, headers=((b"Content-Type", b"a/b"),)),
    parts=(Part(1, Interval(0, 10)), Part(3, Interval(15, 25))),
    parts_count=3,
)


def test_a_known_part_is_answered_as_the_origin_does() -> None:
    found = answer_locally(read_of(target=b"/bucket/key?partNumber=3"), KNOWN)
    assert (found.status, found.interval) == (206, Interval(15, 25))
    assert found.headers == (
        (b"Content-Range", b"bytes 15-24/25"),
        (b"Content-Length", b"10"),
        (b"x-amz-mp-parts-count", b"3"),
    )
    assert not found.whole_object


def test_only_a_part_is_answered_with_the_count() -> None:
    """SEMANTICS 26."""
    for fields in ((), (b"Range: bytes=0-9",)):
        assert b"x-amz-mp-parts-count" not in names(answer_locally(read_of(*fields), KNOWN).headers)
    single = replace(record(10), parts=(Part(1, Interval(0, 10)),))
    found = answer_locally(read_of(target=b"/bucket/key?partNumber=1"), single)
    assert names(found.headers) == {b"content-range", b"content-length"}


def test_conditions_come_before_the_part() -> None:
    found = answer_locally(read_of(b"If-None-Match: " + THREE, target=b"/bucket/key?partNumber=3"), KNOWN)
    assert (found.status, found.interval) == (304, None)


@pytest.mark.parametrize("number", [2, 4, 10_000])
def test_an_unknown_part_is_the_origins_to_answer(number: int) -> None:
    read = read_of(target=b"/bucket/key?partNumber=%d" % number)
    assert not can_answer(read, KNOWN, allow_kms=False)
    with pytest.raises(ValueError, match="not known"):
        answer_locally(read, KNOWN)


@pytest.mark.parametrize("encryption", [b"aws:kms", b"AWS:KMS", b"aws:kms:dsse"])
def test_what_was_stored_under_another_rule_is_not_served(encryption: bytes) -> None:
    """SEMANTICS 24: kms: refuse after kms: allow."""
    stored = record(10, headers=((b"x-amz-server-side-encryption", encryption),))
    assert not can_answer(read_of(), stored, allow_kms=False)
    assert can_answer(read_of(), stored, allow_kms=True)
    assert can_answer(read_of(), record(10, headers=((b"x-amz-server-side-encryption", b"AES256"),)), allow_kms=False)


# ---- what several answers know together ----


def only(*parts: Part, count: int = 3) -> HeadRecord:
    return replace(KNOWN, parts=parts, parts_count=count)


def test_parts_are_known_together_in_whatever_order_they_are_read() -> None:
    two = only(Part(2, Interval(10, 15)))
    merged = merge_known(two, KNOWN)
    assert [part.number for part in merged.parts] == [1, 2, 3]
    assert merge_known(KNOWN, two).parts == merged.parts
    assert merged.parts_count == 3
    assert [merged.part(number) for number in (1, 2, 3, 4)] == [*(part.interval for part in merged.parts), None]


def test_a_whole_read_keeps_the_parts_and_a_part_keeps_the_checksums() -> None:
    """SEMANTICS 18, 26."""
    whole = replace(only(count=0), checksum_state=ChecksumState.KNOWN, checksums=((b"x-amz-checksum-crc32", b"A-3"),))
    for fresh, known in ((whole, KNOWN), (KNOWN, whole)):
        merged = merge_known(fresh, known)
        assert (merged.parts, merged.parts_count) == (KNOWN.parts, 3)
        assert merged.checksums == whole.checksums


def test_nothing_new_is_the_same_head() -> None:
    assert merge_known(KNOWN, KNOWN) is KNOWN
    assert merge_known(KNOWN, only(count=0)) is KNOWN
    assert merge_known(KNOWN, None) is KNOWN


@pytest.mark.parametrize(
    "other",
    [
        only(Part(2, Interval(9, 15))),
        only(Part(2, Interval(10, 16))),
        only(Part(4, Interval(5, 10))),
        only(Part(2, Interval(10, 15)), count=4),
    ],
)
def test_where_answers_disagree_the_newer_one_stands_alone(other: HeadRecord) -> None:
    assert merge_known(other, KNOWN) is other
    assert merge_known(KNOWN, other) is KNOWN


@pytest.mark.parametrize(
    "fresh",
    [
        record(26, etag=THREE),
        record(25, etag=ETAG),
        record(25, etag=THREE, modified=LATER),
        record(25, etag=THREE, version=b"v2"),
    ],
)
def test_parts_are_not_carried_over_to_another_put(fresh: HeadRecord) -> None:
    """SEMANTICS 6: the same bytes may have been uploaded in other parts."""
    assert merge_known(fresh, KNOWN) is fresh


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_all_parts_of_an_object_come_together(sizes: list[int], order: object) -> None:
    places, start = [], 0
    for number, size in enumerate(sizes, 1):
        places.append(Part(number, Interval(start, start + size)))
        start += size
    shuffled = places[:]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    head = record(start, etag=THREE)
    for part in shuffled:
        head = merge_known(replace(head, parts=(part,), parts_count=len(sizes)), head)
    assert head.parts == tuple(places)
