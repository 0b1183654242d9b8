"""Which requests are reads that the cache may answer, and what is read out of them. Unknown is never a hit."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.heads import ETAG, KEY, MODIFIED, OTHER_ETAG, classified, identity, passed, read_of

from fastcache.errors import RequestError
from fastcache.model import Interval
from fastcache.policy.read_request import Conditions, ReadRequest
from fastcache.policy.request_class import PassRequest

PRESIGNED_V4 = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20261113%2Fus-east-1%2Fs3%2Faws4_request"
    b"&X-Amz-Date=20261113T100000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
)
PRESIGNED_V2 = b"AWSAccessKeyId=k&Signature=s%3D&Expires=1900000000"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_plain_read_of_an_object_may_be_answered(method: bytes) -> None:
    read = replace(read_of(method=method), may_ask_for_part=False)
    assert read == ReadRequest(method, KEY, None, Conditions(), checksum_mode=False, must_ask=False)


@pytest.mark.parametrize(
    ("target", "key"),
    [
        (b"/bucket/%28a%29", b"(a)"),
        (b"/bucket/(a)", b"(a)"),
        (b"/bucket/a%252Fb", b"a%2Fb"),
        (b"/bucket/a%2Fb", b"a/b"),
        (b"/bucket/a//./../b/", b"a//./../b/"),
        (b"/bucket/a%2Bb", b"a+b"),
        (b"/bucket/e%CC%81", b"e\xcc\x81"),
        (b"/bucket/%C3%A9", b"\xc3\xa9"),
        (b"/bucket/a:b%3Fc", b"a:b?c"),
        (b"/bucket/" + b"k" * 1024, b"k" * 1024),
    ],
)
def test_the_identity_is_the_key_decoded_exactly_once(target: bytes, key: bytes) -> None:
    """SEMANTICS 1: boto3 sends %28 where curl sends a parenthesis; nothing else is normalised."""
    assert read_of(target=target).object_id == identity(b"bucket", key)


@pytest.mark.parametrize(
    "target",
    [b"/bucket/a+b", b"/bucket/a%2", b"/bucket/a%zz", b"/bucket/%", b"/bucket%2Fkey", b"/bucket%2fkey", b"/b+c/key"],
)
def test_a_path_that_servers_read_differently_is_never_answered_from_the_cache(target: bytes) -> None:
    """SEMANTICS 1: AWS reads a raw + as a space, others do not."""
    assert passed(target=target) in (b"ambiguous-key", b"not-an-object")


def test_path_style_and_virtual_hosted_names_of_one_bucket_are_one_entry() -> None:
    """SEMANTICS 2."""
    virtual = read_of(target=b"/key", host=b"bucket.s3.example.com")
    assert virtual.object_id == KEY
    assert virtual.object_id.digest == read_of(host=b"origin.example.org").object_id.digest


def test_no_entry_is_shared_with_an_unknown_host_name() -> None:
    """SEMANTICS 3: many servers read an unknown Host as the bucket, so its answers belong to another object."""
    with pytest.raises(RequestError) as refused:
        classified(target=b"/victim/key", host=b"evil.store")
    assert refused.value.response_status == 400


def test_an_access_point_is_an_entry_of_its_own() -> None:
    """SEMANTICS 2."""
    entry = read_of(target=b"/key", host=b"bucket.s3-accesspoint.example.com").object_id
    assert entry.digest not in (KEY.digest, read_of(target=b"/key", host=b"bucket.s3.example.com").object_id.digest)


@pytest.mark.parametrize("target", [b"/", b"/bucket", b"/bucket/", b"/bucket?list-type=2", b"/bucket/?x-id=GetObject"])
def test_what_names_no_object_is_passed(target: bytes) -> None:
    assert passed(target=target) == b"not-an-object"


def test_a_cors_preflight_is_passed() -> None:
    """PITFALLS: OPTIONS answered 405 broke browsers."""
    assert passed(b"Origin: https://app", b"Access-Control-Request-Method: GET", method=b"OPTIONS") == b"method"


# ---- query ----


@pytest.mark.parametrize(
    "query",
    [
        b"x-id=GetObject",
        b"x-id=HeadObject",
        PRESIGNED_V4,
        PRESIGNED_V4.lower().replace(b"aws4-hmac-sha256", b"AWS4-HMAC-SHA256"),
        PRESIGNED_V4 + b"&X-Amz-Security-Token=t",
        PRESIGNED_V4 + b"&x-amz-checksum-mode=ENABLED",
        PRESIGNED_V2,
        b"x-id=GetObject&" + PRESIGNED_V4,
    ],
)
def test_signatures_and_neutral_names_in_the_query_leave_the_object_what_it_is(query: bytes) -> None:
    assert read_of(target=b"/bucket/key?" + query).object_id == KEY


@pytest.mark.parametrize(
    "name",
    [
        b"acl", b"tagging", b"retention", b"legal-hold", b"torrent", b"attributes", b"uploadId=u", b"uploads",
        b"restore", b"versions", b"versionid=1", b"VersionId=1", b"partnumber=1", b"session", b"encryption",
        b"Range=bytes%3D0-1", b"Cache-Control=no-cache", b"Origin=x", b"foo", b"foo=bar", b"",
        b"x-id=GetObjectAcl", b"x-id=", b"x-amz-copy-source=b%2Fk", b"x-amz-meta-a=1",
        b"x-amz-server-side-encryption-customer-key=k", b"awsaccesskeyid=k", b"%61cl",
        b"x-amz-website-redirect-location",
    ],
)  # fmt: skip
@pytest.mark.parametrize("beside", [b"", b"x-id=GetObject", PRESIGNED_V4])
def test_a_sub_resource_or_unknown_query_name_is_never_a_hit(name: bytes, beside: bytes) -> None:
    """SEMANTICS 8; PITFALLS: ?tagging, ?acl and ?uploadId answers were cached as the object."""
    query = b"&".join(part for part in (beside, name) if part) if name else (beside + b"&" if beside else b"&")
    for method in (b"GET", b"HEAD"):
        assert passed(method=method, target=b"/bucket/key?" + query) == b"query"


KNOWN_QUERY = frozenset(
    b"x-id versionid partnumber awsaccesskeyid signature expires x-amz-algorithm x-amz-credential x-amz-date"
    b" x-amz-expires x-amz-signedheaders x-amz-signature x-amz-security-token x-amz-content-sha256 x-amz-checksum-mode"
    b" x-amz-request-payer x-amz-expected-bucket-owner x-amz-user-agent x-amz-api-version".split()
)
names = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=24).map(str.encode)


@given(names.filter(lambda name: name.lower() not in KNOWN_QUERY), st.sampled_from([b"", b"=1", b"=GetObject"]))
def test_no_unknown_query_name_whatever_its_value_is_read_from_the_cache(name: bytes, value: bytes) -> None:
    """SEMANTICS 8."""
    for query in (name + value, PRESIGNED_V4 + b"&" + name + value, name + value + b"&versionId=1"):
        assert isinstance(classified(target=b"/bucket/key?" + query), PassRequest)


@pytest.mark.parametrize("name", sorted({
    b"response-cache-control", b"response-content-disposition", b"response-content-encoding",
    b"response-content-language", b"response-content-type", b"response-expires",
}))  # fmt: skip
def test_a_signed_override_asks_the_origin_whatever_a_ttl_says(name: bytes) -> None:
    """SEMANTICS 25: applied only after a 304 to that very request."""
    field = b"-".join(part.capitalize() for part in name.removeprefix(b"response-").split(b"-"))
    read = read_of(target=b"/bucket/key?" + name + b"=a%3B%20b%2Bc&" + PRESIGNED_V4)
    assert read.overrides == ((field, b"a; b+c"),)
    assert read.must_ask
    assert not read.may_ask_for_part
    assert read.object_id == KEY
    signed = read_of(b"Authorization: AWS AK:sig", target=b"/bucket/key?" + name + b"=x")
    assert signed.overrides == ((field, b"x"),)


@pytest.mark.parametrize(
    "value", [b"a+b", b"a;b", b"", b"%20a", b"a%0d%0aSet-Cookie%3A%20x", b"a%00", b"%C3%A9", b"%7f"]
)
def test_an_override_that_can_be_read_in_two_ways_is_passed(value: bytes) -> None:
    """SEMANTICS 25."""
    assert passed(target=b"/bucket/key?response-expires=" + value + b"&" + PRESIGNED_V4) == b"override"


def test_overrides_of_anonymous_and_head_requests_are_passed() -> None:
    """SEMANTICS 25: S3 takes them from signed requests only; a HEAD of theirs describes no object."""
    assert passed(target=b"/bucket/key?response-expires=x") == b"override"
    assert passed(method=b"HEAD", target=b"/bucket/key?response-expires=x&" + PRESIGNED_V4) == b"override"
    for query in (b"response-expires=x&response-expires=x&", b"response-expires=%zz&"):
        assert passed(target=b"/bucket/key?" + query + PRESIGNED_V4) == b"ambiguous-key"


def test_a_part_is_read_by_its_number() -> None:
    """SEMANTICS 26."""
    read = read_of(target=b"/bucket/key?partNumber=2")
    assert (read.part, read.range, read.object_id) == (2, None, KEY)
    assert not read.may_ask_for_part  # S3 refuses a Range beside partNumber


@pytest.mark.parametrize(
    ("method", "fields"),
    [(b"HEAD", ()), (b"HEAD", (b"Range: bytes=0-9",)), (b"GET", (b"Range: bytes=0-9",)), (b"GET", (b"Range: x",))],
)
def test_a_part_is_never_taken_for_the_object(method: bytes, fields: tuple[bytes, ...]) -> None:
    """SEMANTICS 26; PITFALLS: the length of a HEAD ?partNumber was taken for the object's."""
    assert passed(*fields, method=method, target=b"/bucket/key?partNumber=2") == b"part"


@pytest.mark.parametrize("value", [b"", b"0", b"10001", b"-1", b"1x", b"%31", b"99999999999"])
def test_what_is_no_part_number_is_passed(value: bytes) -> None:
    assert passed(target=b"/bucket/key?partNumber=" + value) == b"part"
    assert isinstance(classified(target=b"/bucket/key?partNumber=1&partNumber=1"), PassRequest)


@pytest.mark.parametrize(
    ("mine", "other", "inside"),
    [(b"?partNumber=2", b"?partNumber=2", True), (b"?partNumber=2", b"?partNumber=1", False),
     (b"?partNumber=2", b"", False), (b"", b"?partNumber=2", False)],
)  # fmt: skip
def test_only_the_same_part_waits_for_a_part(mine: bytes, other: bytes, inside: bool) -> None:
    """Where a part lies is known only when its answer is here."""
    one, two = read_of(target=b"/bucket/key" + mine), read_of(target=b"/bucket/key" + other)
    assert one.is_within(two) is inside


@pytest.mark.parametrize("query", [b"x-id=%zz", b"x-id=GetObject&x-id=GetObject", PRESIGNED_V4 + b"&X-Amz-Date=1"])
def test_a_query_that_can_be_read_in_two_ways_is_passed(query: bytes) -> None:
    assert isinstance(classified(target=b"/bucket/key?" + query), PassRequest)


# ---- versions ----


@pytest.mark.parametrize("version", [b"null", b"3HL4kqtJlcpXroDTDmJ-rmSpXd3dIbrHY"])
def test_a_version_is_part_of_the_identity(version: bytes) -> None:
    """SEMANTICS 5; PITFALLS: an old version was stored as the current one, with no-cache too."""
    for fields in ((), (b"Cache-Control: no-cache",)):
        found = read_of(*fields, target=b"/bucket/key?versionId=" + version).object_id
        assert found == identity(b"bucket", b"key", version)
        assert found != KEY
        assert found.digest != KEY.digest


@pytest.mark.parametrize("query", [b"versionId", b"versionId=", b"versionId=a&versionId=b", b"versionId=a&versionId=a",
                                   b"versionId=a+b", b"versionId=a%2"])  # fmt: skip
def test_an_empty_duplicate_or_ambiguous_version_is_passed(query: bytes) -> None:
    """SEMANTICS 5."""
    assert isinstance(classified(target=b"/bucket/key?" + query), PassRequest)


# ---- header fields ----


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (b"x-amz-server-side-encryption-customer-algorithm: AES256", b"sse-c"),
        (b"X-Amz-Server-Side-Encryption-Customer-Key: a2V5", b"sse-c"),
        (b"X-Amz-Foo: 1", b"header"),
        (b"x-amz-copy-source: /b/k", b"header"),
        (b"x-amz-s3session-token: t", b"header"),
        (b"Cookie: a=b", b"header"),
        (b"Cache-Control: no-store", b"no-store"),
        (b"Cache-Control: max-age=0, No-Store", b"no-store"),
        (b"Content-Length: 3", b"body"),
        (b"Transfer-Encoding: chunked", b"body"),
    ],
)
def test_a_field_that_may_change_the_answer_makes_the_request_pass(field: bytes, reason: bytes) -> None:
    """SEMANTICS 20, 21, 24."""
    assert passed(field) == reason


KNOWN_AMZ = frozenset(
    b"date content-sha256 security-token user-agent checksum-mode request-payer expected-bucket-owner".split()
)


@given(names.filter(lambda name: name.lower() not in KNOWN_AMZ), st.sampled_from([b"x-amz-", b"X-Amz-", b"X-AMZ-"]))
def test_no_unknown_amz_field_is_answered_from_the_cache(name: bytes, prefix: bytes) -> None:
    """SEMANTICS 20: as a header field or moved into a presigned query (Go does that)."""
    assert isinstance(classified(prefix + name + b": 1"), PassRequest)
    if (prefix + name).lower() not in KNOWN_QUERY:
        assert isinstance(classified(target=b"/bucket/key?" + PRESIGNED_V4 + b"&" + prefix + name + b"=1"), PassRequest)


def test_what_sdks_send_with_every_read_does_not_keep_them_from_hitting() -> None:
    """CLIENTS: signatures, SDK ids, Content-Length 0 (awscrt), Content-Type (pyarrow), identity encoding."""
    read = read_of(
        b"Authorization: AWS4-HMAC-SHA256 Credential=k/20261113/us-east-1/s3/aws4_request, SignedHeaders=host,"
        b" Signature=00",
        b"X-Amz-Date: 20261113T100000Z",
        b"X-Amz-Content-SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"X-Amz-Security-Token: token",
        b"amz-sdk-invocation-id: 1",
        b"amz-sdk-request: attempt=1",
        b"User-Agent: Boto3",
        b"Accept-Encoding: identity",
        b"Content-Length: 0",
        b"Content-Type: application/octet-stream",
        target=b"/bucket/key?x-id=GetObject",
    )
    assert not read.must_ask


@pytest.mark.parametrize(
    "field",
    [
        b"Origin: https://app.example",
        b"x-amz-request-payer: requester",
        b"X-Amz-Expected-Bucket-Owner: 111122223333",
        b"Cache-Control: no-cache",
        b"Cache-Control: No-Cache, foo",
        b"Cache-Control: max-age=0",
        b"Pragma: no-cache",
        b"Pragma: No-Cache",
    ],
)
def test_such_a_request_always_reaches_the_origin(field: bytes) -> None:
    """SEMANTICS 19 and 21: in every mode, whatever a TTL says."""
    assert read_of(field).must_ask


@pytest.mark.parametrize(
    "item", [b"x-amz-request-payer=requester", b"X-Amz-Request-Payer=requester", b"X-Amz-Expected-Bucket-Owner=1"]
)
def test_a_presigned_query_that_holds_such_a_field_reaches_the_origin_too(item: bytes) -> None:
    """SEMANTICS 19: Go hoists headers into the query, in a case of its own."""
    assert read_of(target=b"/bucket/key?" + PRESIGNED_V4 + b"&" + item).must_ask


@pytest.mark.parametrize("field", [b"Cache-Control: max-age=60", b"Cache-Control: only-if-cached-not", b"Accept: */*"])
def test_other_requests_may_be_answered_by_a_ttl(field: bytes) -> None:
    assert not read_of(field).must_ask


@pytest.mark.parametrize(
    ("fields", "target", "wanted"),
    [
        ((), b"/bucket/key", False),
        ((b"x-amz-checksum-mode: ENABLED",), b"/bucket/key", True),
        ((b"X-Amz-Checksum-Mode: enabled",), b"/bucket/key", True),
        ((b"x-amz-checksum-mode: DISABLED",), b"/bucket/key", False),
        ((), b"/bucket/key?" + PRESIGNED_V4 + b"&X-Amz-Checksum-Mode=ENABLED", True),
    ],
)
def test_checksums_are_for_those_who_ask_for_them(fields: tuple[bytes, ...], target: bytes, wanted: bool) -> None:
    """SEMANTICS 18."""
    assert read_of(*fields, target=target).checksum_mode is wanted


def test_conditions_are_kept_as_sent_and_lists_are_joined() -> None:
    """RFC 9110 section 5.3: several lines of a list mean their concatenation."""
    read = read_of(
        b"If-Match: " + ETAG,
        b"If-None-Match: " + ETAG,
        b"if-none-match: " + OTHER_ETAG,
        b"If-Modified-Since: " + MODIFIED,
        b"If-Unmodified-Since: " + MODIFIED,
        b"If-Range: " + ETAG,
    )
    assert read.conditions == Conditions(ETAG, ETAG + b", " + OTHER_ETAG, MODIFIED, MODIFIED, ETAG)


# ---- ranges ----


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (b"bytes=0-0", Interval(0, 1)),
        (b"bytes=100-199", Interval(100, 200)),
        (b"bytes=100-", Interval(100, 1 << 63)),
        (b"bytes=9223372036854775806-", Interval((1 << 63) - 2, 1 << 63)),
        (b"bytes=-5", None),
    ],
)
def test_a_single_range_is_asked_for(value: bytes, interval: Interval | None) -> None:
    read = read_of(b"Range: " + value)
    assert read.range is not None
    assert read.range_field_sent
    assert read.absolute_interval() == interval


@pytest.mark.parametrize("value", [b"bytes=0-0,5-6", b"bytes=-1,0-", b"items=0-5", b"bytes=5-4", b"bytes=", b"0-5"])
def test_several_ranges_and_invalid_ones_mean_the_whole_object(value: bytes) -> None:
    """SEMANTICS 27: AWS does not support several ranges and ignores what is no range."""
    read = read_of(b"Range: " + value)
    assert read.range is None
    assert read.absolute_interval() is None
    assert read.range_field_sent


@pytest.mark.parametrize("value", [b"bytes=0-9", b"bytes=-1", b"bytes=0-1,3-4", b"nonsense"])
def test_a_head_with_a_range_is_passed(value: bytes) -> None:
    """SEMANTICS 26: AWS honours it, RFC 9110 does not define it."""
    assert passed(b"Range: " + value, method=b"HEAD") == b"head-range"


@pytest.mark.parametrize(
    ("mine", "other", "inside"),
    [
        (None, None, True),
        (b"bytes=5-9", None, True),
        (b"bytes=-5", None, True),
        (b"bytes=0-49", b"bytes=0-99", True),
        (b"bytes=0-99", b"bytes=0-49", False),
        (b"bytes=10-", b"bytes=5-", True),
        (b"bytes=5-", b"bytes=10-", False),
        (b"bytes=5-9", b"bytes=0-", True),
        (b"bytes=0-", b"bytes=0-9", False),
        (None, b"bytes=0-", False),
        (b"bytes=-5", b"bytes=-5", True),
        (b"bytes=-5", b"bytes=-9", False),
        (b"bytes=-5", b"bytes=0-", False),
        (b"bytes=9223372036854775806-", b"bytes=0-9223372036854775800", False),
    ],
)
def test_only_a_request_whose_bytes_are_all_asked_for_waits_for_another(
    mine: bytes | None, other: bytes | None, inside: bool
) -> None:
    """PITFALLS: bytes=0-99 and bytes=0-49 shared nothing."""
    one = read_of(*(() if mine is None else (b"Range: " + mine,)))
    two = read_of(*(() if other is None else (b"Range: " + other,)))
    assert one.is_within(two) is inside


@given(
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.integers(0, 60),
)
def test_a_request_within_another_needs_no_byte_that_the_other_does_not_get(
    mine: tuple[int, int], other: tuple[int, int], size: int
) -> None:
    one = read_of(b"Range: bytes=%d-%d" % (min(mine), max(mine)))
    two = read_of(b"Range: bytes=%d-%d" % (min(other), max(other)))
    assert one.range is not None
    assert two.range is not None
    if one.is_within(two):
        needed, got = one.range.resolve(size), two.range.resolve(size)
        if isinstance(needed, Interval):
            assert isinstance(got, Interval)
            assert got.contains(needed)
