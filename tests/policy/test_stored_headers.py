"""What a hit replays: what the origin would answer, and nothing that it said to somebody else (SEMANTICS 14, 16-18)."""

from __future__ import annotations

import pytest
from tests.policy.heads import ETAG, MODIFIED, names, record

from fastcache.model import ChecksumState, Generation, Headers, HeadRecord
from fastcache.policy.storable import without_headers
from fastcache.policy.stored_headers import VOLATILE_AFTER, not_modified_headers, replayed_headers, storable_headers

VOLATILE: Headers = (
    (b"x-amz-tagging-count", b"2"),
    (b"x-amz-restore", b'ongoing-request="false"'),
    (b"x-amz-expiration", b"x"),
    (b"x-amz-replication-status", b"COMPLETED"),
    (b"X-Amz-Storage-Class", b"GLACIER"),
    (b"x-amz-object-lock-mode", b"GOVERNANCE"),
    (b"x-amz-object-lock-retain-until-date", b"2030-01-01T00:00:00Z"),
    (b"x-amz-object-lock-legal-hold", b"ON"),
)
LASTING: Headers = ((b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip"), (b"x-amz-meta-a", b"1"))
NOT_MODIFIED: Headers = ((b"ETag", ETAG), (b"x-amz-request-id", b"R304"))


def replayed(
    stored: HeadRecord,
    *,
    age: float = 0.0,
    stored_for: float | None = None,
    validation: Headers = (),
    whole: bool = True,
    mode: bool = False,
) -> Headers:
    return replayed_headers(
        stored, age=age, whole_object=whole, checksum_mode=mode, validation=validation, stored_for=stored_for
    )


def test_a_hit_replays_content_type_encoding_metadata_and_last_modified() -> None:
    """PITFALLS: GET after PUT replayed none of them."""
    stored = record(headers=LASTING)
    assert replayed(stored) == stored.headers
    assert dict(stored.headers)[b"Last-Modified"] == MODIFIED


@pytest.mark.parametrize("stored_for", [VOLATILE_AFTER + 0.1, 86400.0])
@pytest.mark.parametrize("validation", [(), NOT_MODIFIED])
def test_an_old_hit_leaves_out_what_changes_without_a_new_etag(stored_for: float, validation: Headers) -> None:
    """SEMANTICS 17: and a 304, which speaks of the ETag, does not vouch for them however fresh it is."""
    found = replayed(record(headers=VOLATILE + LASTING), age=0.0, stored_for=stored_for, validation=validation)
    assert not names(found) & names(VOLATILE)
    assert names(found) >= names(LASTING)


@pytest.mark.parametrize("validation", [(), NOT_MODIFIED])
def test_a_young_hit_replays_them(validation: Headers) -> None:
    found = replayed(record(headers=VOLATILE), stored_for=VOLATILE_AFTER, validation=validation)
    assert names(found) >= names(VOLATILE)


def test_without_the_age_of_the_header_set_a_304_vouches_for_none_of_them() -> None:
    assert not names(replayed(record(headers=VOLATILE), validation=NOT_MODIFIED)) & names(VOLATILE)
    assert not names(replayed(record(headers=VOLATILE), age=61.0)) & names(VOLATILE)
    assert names(replayed(record(headers=VOLATILE), age=59.0)) >= names(VOLATILE)


def test_from_a_304_come_only_request_ids_charges_cors_and_vary() -> None:
    """SEMANTICS 14: a 304 carrying Content-Type: application/xml, Content-Length: 0 changes no later hit."""
    stored = record(headers=LASTING + ((b"Vary", b"Origin"),))
    found = replayed(
        stored,
        validation=(
            (b"Content-Type", b"application/xml"),
            (b"Content-Length", b"0"),
            (b"Content-Encoding", b"br"),
            (b"Set-Cookie", b"a=b"),
            (b"ETag", b'"nonsense"'),
            (b"Last-Modified", b"never"),
            (b"x-amz-meta-a", b"2"),
            (b"Cache-Control", b"no-store"),
            (b"X-Amz-Request-Id", b"R"),
            (b"x-amz-id-2", b"I"),
            (b"x-amz-request-charged", b"requester"),
            (b"Access-Control-Allow-Origin", b"https://app"),
            (b"vary", b"Origin, Access-Control-Request-Method"),
        ),
    )
    kept = tuple(field for field in stored.headers if field[0] != b"Vary")
    assert found == kept + (
        (b"X-Amz-Request-Id", b"R"),
        (b"x-amz-id-2", b"I"),
        (b"x-amz-request-charged", b"requester"),
        (b"Access-Control-Allow-Origin", b"https://app"),
        (b"vary", b"Origin, Access-Control-Request-Method"),
    )
    assert replayed(stored) == stored.headers


def test_a_304_describes_no_representation_but_keeps_what_lets_a_page_read_it() -> None:
    """RFC 9110 section 15.4.5; a browser hides a 304 without Access-Control-Allow-Origin (SEMANTICS 14)."""
    kept: Headers = (
        (b"ETag", ETAG),
        (b"Vary", b"Origin"),
        (b"x-amz-request-id", b"R"),
        (b"Access-Control-Allow-Origin", b"https://app"),
        (b"access-control-expose-headers", b"ETag"),
    )
    gone: Headers = ((b"Content-Type", b"a/b"), (b"x-amz-meta-a", b"1"), (b"x-amz-checksum-crc32", b"A"))
    assert not_modified_headers(gone + kept) == kept


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("mode", [True, False])
def test_checksums_go_out_with_the_whole_object_to_those_who_asked(whole: bool, mode: bool) -> None:
    """SEMANTICS 18; PITFALLS: partial responses carried the whole object's checksum and SDKs raised errors."""
    field = (b"x-amz-checksum-crc32", b"AAAAAA==")
    stored = HeadRecord(Generation(ETAG, 10), record(10).headers, ChecksumState.KNOWN, (field,))
    assert (field in replayed(stored, whole=whole, mode=mode)) is (whole and mode)


def test_an_unknown_checksum_is_left_out() -> None:
    """SEMANTICS 18: a listed difference."""
    assert replayed(record(), mode=True) == record().headers


@pytest.mark.parametrize(
    "name",
    [
        b"Set-Cookie", b"Alt-Svc", b"Strict-Transport-Security", b"Via", b"Age", b"Connection", b"Date",
        b"x-amz-request-charged", b"Access-Control-Allow-Origin", b"access-control-expose-headers",
        b"x-amz-request-id", b"X-AMZ-ID-2", b"Content-Length", b"Content-Range", b"Transfer-Encoding",
        b"x-amz-checksum-sha256", b"x-amz-checksum-type", b"Content-MD5", b"x-amz-mp-parts-count", b"X-Cache",
        b"Cache-Status", b"Keep-Alive", b"Trailer", b"Upgrade", b"Proxy-Connection", b"x-trans-id",
    ],
)  # fmt: skip
def test_such_a_field_is_never_stored(name: bytes) -> None:
    """SEMANTICS 16, 17, 18."""
    assert storable_headers(((name, b"x"), *LASTING)) == LASTING


def test_what_connection_names_is_not_stored() -> None:
    """SEMANTICS 17."""
    hop: Headers = ((b"connection", b"close, X-Hop ,x-other"), (b"x-hop", b"1"), (b"X-Other", b"2"))
    assert storable_headers(hop + LASTING) == LASTING


def test_fields_are_taken_away_by_name_without_case() -> None:
    assert without_headers(((b"Range", b"a"), (b"range", b"b"), (b"Host", b"c")), frozenset({b"range"})) == (
        (b"Host", b"c"),
    )
