"""Signature V4 against the values AWS documents and against botocore as an oracle."""

from __future__ import annotations

import hashlib
import time
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    ChunkSignatures,
    Credentials,
    PayloadKind,
    Scope,
    SignatureError,
    SigningContext,
    SigningKeys,
    derive_key,
    parse_timestamp,
    presign,
    sign,
)
from fastcache.protocol.sigv4_verify import Verified, verify

EXAMPLE = Credentials(b"AKIAIOSFODNN7EXAMPLE", b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_TIME = parse_timestamp(b"20130524T000000Z")
SECRET = "secret/with+odd=characters"
KEYS = SigningKeys()

Pairs = list[tuple[bytes, bytes]]


def check(
    method: bytes,
    target: bytes,
    headers: Pairs,
    *,
    credentials: Credentials,
    now: float,
    regions: frozenset[bytes] | None = None,
) -> Verified:
    def find(access_key: bytes) -> Credentials | None:
        return credentials if access_key == credentials.access_key else None

    return verify(method, target, headers, find=find, now=now, keys=KEYS, regions=regions)


def refused(method: bytes, target: bytes, headers: Pairs, *, credentials: Credentials, now: float) -> tuple[int, str]:
    with pytest.raises(SignatureError) as caught:
        check(method, target, headers, credentials=credentials, now=now)
    assert credentials.secret_key.decode() not in str(caught.value)
    return caught.value.response_status, caught.value.response_code


def replaced(headers: Pairs, name: bytes, value: bytes | None) -> Pairs:
    kept = [item for item in headers if item[0].lower() != name]
    return kept if value is None else [*kept, (name, value)]


def test_documented_get_object_example() -> None:
    """S3 API Reference, "Examples: Signature Calculations", GET Object."""
    headers = ((b"host", b"examplebucket.s3.amazonaws.com"), (b"range", b"bytes=0-9"))
    made = sign(
        b"GET", b"/test.txt", headers, EXAMPLE, region=b"us-east-1", now=EXAMPLE_TIME, payload_hash=EMPTY_SHA256
    )
    authorization = dict(made.headers)[b"authorization"]
    assert authorization.endswith(b"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    check(b"GET", b"/test.txt", [*headers, *made.headers], credentials=EXAMPLE, now=EXAMPLE_TIME)


def test_documented_presigned_example() -> None:
    """S3 API Reference, "Authenticating Requests: Using Query Parameters"."""
    host = ((b"host", b"examplebucket.s3.amazonaws.com"),)
    target = presign(b"GET", b"/test.txt", host, EXAMPLE, region=b"us-east-1", now=EXAMPLE_TIME, expires=86400)
    assert target.endswith(b"X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    verified = check(b"GET", target, list(host), credentials=EXAMPLE, now=EXAMPLE_TIME + 86400)
    assert verified.presigned
    assert verified.payload is PayloadKind.UNSIGNED


def test_documented_chunk_signatures() -> None:
    """S3 API Reference, "Transferring Payload in Multiple Chunks": two chunks and the last."""
    headers = (
        (b"host", b"s3.amazonaws.com"),
        (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        (b"content-encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", b"66560"),
        (b"content-length", b"66824"),
    )
    made = sign(
        b"PUT",
        b"/examplebucket/chunkObject.txt",
        headers,
        EXAMPLE,
        region=b"us-east-1",
        now=EXAMPLE_TIME,
        payload_hash=b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        signed=[name for name, _ in headers],
    )
    assert made.context.signature == b"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    chain = ChunkSignatures(made.context)
    given_chunks = [
        (b"a" * 65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (b"a" * 1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (b"", b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ]
    for data, signature in given_chunks:
        assert chain.chunk(hashlib.sha256(data).hexdigest().encode()) == signature


def test_documented_trailer_signature() -> None:
    """S3 API Reference, "Transferring Payload in Multiple Chunks ... trailing headers"."""
    scope = Scope(b"20130524", b"us-east-1")
    seed = b"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    context = SigningContext(derive_key(EXAMPLE.secret_key, scope), b"20130524T000000Z", bytes(scope), seed)
    chain = ChunkSignatures(context)
    for data in (b"a" * 65536, b"a" * 1024, b""):
        last = chain.chunk(hashlib.sha256(data).hexdigest().encode())
    assert last == b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"
    trailer = chain.trailer(((b"x-amz-checksum-crc32c", b"sOO8/Q=="),))
    assert trailer == b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"


# What clients put into keys, queries and values.
key_text = st.text(
    st.one_of(st.sampled_from("abc/%+ ()~!'*&=?#:@,;$[]"), st.characters(exclude_categories=["Cs", "Cc"])), max_size=30
)
value_text = st.text(st.sampled_from("abc ,;=/\t\"'%+"), max_size=20).map(str.strip)
header_names = st.sampled_from(["x-amz-meta-a", "X-Amz-Meta-B", "range", "If-Match", "content-type", "x-amz-date-ish"])


def botocore_request(
    auth_class: type[S3SigV4Auth], method: str, key: str, query: list[tuple[str, str]], fields: list[tuple[str, str]]
) -> tuple[bytes, Pairs]:
    """The raw target and header of a request signed by botocore."""
    url = "http://origin.test:9000/bucket/" + quote(key, safe="/~")
    if query:
        url += "?" + "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    request = AWSRequest(method=method, url=url, headers={"Host": "origin.test:9000"})
    for name, value in fields:
        request.headers.add_header(name, value)
    request.context["payload_signing_enabled"] = True
    auth_class(BotocoreCredentials("access:key", SECRET), "s3", "eu-west-1").add_auth(request)
    parts = urlsplit(request.url)
    target = (parts.path + (f"?{parts.query}" if parts.query else "")).encode("ascii")
    return target, [(name.encode(), value.encode()) for name, value in request.headers.items()]


CREDENTIALS = Credentials(b"access:key", SECRET.encode())


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE"]),
    key=key_text,
    query=st.lists(st.tuples(key_text.filter(bool), key_text), max_size=4),
    fields=st.lists(st.tuples(header_names, value_text), max_size=5),
)
def test_whatever_botocore_signs_in_the_header_is_verified(
    method: str, key: str, query: list[tuple[str, str]], fields: list[tuple[str, str]]
) -> None:
    target, headers = botocore_request(S3SigV4Auth, method, key, query, fields)
    verified = check(method.encode(), target, headers, credentials=CREDENTIALS, now=time.time())
    assert verified.access_key == b"access:key"
    assert verified.payload_hash == EMPTY_SHA256
    assert {name.lower().encode() for name, _ in fields} <= verified.signed
    assert refused(method.encode(), target + b"x", headers, credentials=CREDENTIALS, now=time.time())[0] == 403


@given(key=key_text, query=st.lists(st.tuples(key_text.filter(bool), key_text), max_size=3))
def test_our_header_signature_is_botocores(key: str, query: list[tuple[str, str]]) -> None:
    target, headers = botocore_request(S3SigV4Auth, "GET", key, query, [("Range", "bytes=0-9")])
    fields = {name.lower(): value for name, value in headers}
    now = parse_timestamp(fields[b"x-amz-date"])
    own = ((b"host", fields[b"host"]), (b"range", fields[b"range"]))
    made = sign(b"GET", target, own, CREDENTIALS, region=b"eu-west-1", now=now, payload_hash=EMPTY_SHA256)
    assert dict(made.headers)[b"authorization"] == fields[b"authorization"]


@given(key=key_text, query=st.lists(st.tuples(key_text.filter(bool), key_text), max_size=3))
def test_whatever_botocore_presigns_is_verified(key: str, query: list[tuple[str, str]]) -> None:
    target, headers = botocore_request(S3SigV4QueryAuth, "GET", key, query, [])
    headers = [item for item in headers if item[0].lower() == b"host"]
    assert check(b"GET", target, headers, credentials=CREDENTIALS, now=time.time()).presigned
    assert refused(b"HEAD", target, headers, credentials=CREDENTIALS, now=time.time()) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        (b"/b/a%28b%29", b"/b/a(b)"),
        (b"/b/%C3%BC", b"/b/%c3%bc"),
        (b"/b/a%2Bb", b"/b/a+b"),
        (b"/b/k?prefix=a%20b", b"/b/k?prefix=a+b"),
        (b"/b/k?x=1&a=2", b"/b/k?a=2&x=1"),
        (b"/b/k?acl=", b"/b/k?acl"),
    ],
)
def test_spellings_of_one_request_have_one_signature(signed: bytes, sent: bytes) -> None:
    host = ((b"host", b"h"),)
    made = sign(b"GET", signed, host, EXAMPLE, region=b"r", now=EXAMPLE_TIME)
    check(b"GET", sent, [*host, *made.headers], credentials=EXAMPLE, now=EXAMPLE_TIME)


def signed_get(**options: float) -> Pairs:
    host = ((b"host", b"h"),)
    made = sign(b"GET", b"/b/k", host, EXAMPLE, region=b"us-east-1", now=options.get("now", EXAMPLE_TIME))
    return [*host, *made.headers]


@pytest.mark.parametrize("skew", [-901, 901])
def test_a_request_from_another_time_is_refused(skew: int) -> None:
    headers = signed_get()
    assert refused(b"GET", b"/b/k", headers, credentials=EXAMPLE, now=EXAMPLE_TIME + skew) == (
        403,
        "RequestTimeTooSkewed",
    )
    check(b"GET", b"/b/k", headers, credentials=EXAMPLE, now=EXAMPLE_TIME + (899 if skew > 0 else -899))


def test_presigned_requests_expire_and_do_not_begin_early() -> None:
    host = ((b"host", b"h"),)
    target = presign(b"GET", b"/b/k", host, EXAMPLE, region=b"r", now=EXAMPLE_TIME, expires=60)
    check(b"GET", target, list(host), credentials=EXAMPLE, now=EXAMPLE_TIME + 60)
    for now in (EXAMPLE_TIME + 61, EXAMPLE_TIME - 901):
        assert refused(b"GET", target, list(host), credentials=EXAMPLE, now=now) == (403, "AccessDenied")


def test_presigning_beyond_a_week_is_refused_on_both_sides() -> None:
    host = ((b"host", b"h"),)
    with pytest.raises(ValueError, match="604800"):
        presign(b"GET", b"/", host, EXAMPLE, region=b"r", now=EXAMPLE_TIME, expires=604_801)
    target = presign(b"GET", b"/", host, EXAMPLE, region=b"r", now=EXAMPLE_TIME, expires=604_800)
    longer = target.replace(b"X-Amz-Expires=604800", b"X-Amz-Expires=604801")
    error = (400, "AuthorizationQueryParametersError")
    assert refused(b"GET", longer, list(host), credentials=EXAMPLE, now=EXAMPLE_TIME) == error


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (b"authorization", None, "AccessDenied"),
        (b"authorization", b"AWS4-HMAC-SHA256 rubbish", "AuthorizationHeaderMalformed"),
        (b"authorization", b"AWS4-ECDSA-P256-SHA256 Credential=a", "NotImplemented"),
        (b"authorization", b"AWS4-HMAC-SHA512 Credential=a", "InvalidArgument"),
        (b"x-amz-content-sha256", None, "InvalidRequest"),
        (b"x-amz-content-sha256", b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"),
        (b"x-amz-content-sha256", b"something", "InvalidArgument"),
        (b"x-amz-content-sha256", EMPTY_SHA256, "SignatureDoesNotMatch"),
        (b"x-amz-date", b"yesterday", "AuthorizationHeaderMalformed"),
        (b"x-amz-date", b"20130524T000001Z", "SignatureDoesNotMatch"),
        (b"x-amz-meta-added", b"later", "AccessDenied"),
        (b"x-amz-security-token", b"token", "AccessDenied"),
        (b"host", b"other", "SignatureDoesNotMatch"),
        (b"host", None, "SignatureDoesNotMatch"),
    ],
)
def test_changed_requests_are_refused_by_name(name: bytes, value: bytes | None, code: str) -> None:
    headers = replaced(signed_get(), name, value)
    assert refused(b"GET", b"/b/k", headers, credentials=EXAMPLE, now=EXAMPLE_TIME)[1] == code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Signature=", b"Signature=0"),
        (b"us-east-1", b"us-east-2"),
        (b"/s3/", b"/sqs/"),
        (b"20130524/", b"20130525/"),
        (b"host;x-amz-content-sha256", b"x-amz-content-sha256"),
        (b"host;", b"host;host;"),
        (b"AKIAIOSFODNN7EXAMPLE", b"AKIAIOSFODNN7EXAMPLF"),
        (b"Credential=", b"Credential=,Credential="),
    ],
)
def test_no_altered_authorization_passes(old: bytes, new: bytes) -> None:
    headers = signed_get()
    authorization = dict(headers)[b"authorization"]
    assert old in authorization
    altered = replaced(headers, b"authorization", authorization.replace(old, new, 1))
    assert refused(b"GET", b"/b/k", altered, credentials=EXAMPLE, now=EXAMPLE_TIME)[0] in (400, 403)


def test_unknown_keys_and_wrong_regions_are_told_apart() -> None:
    headers = signed_get()
    other = Credentials(b"another", b"secret")
    assert refused(b"GET", b"/b/k", headers, credentials=other, now=EXAMPLE_TIME) == (403, "InvalidAccessKeyId")
    with pytest.raises(SignatureError, match="eu-west-1") as caught:
        check(b"GET", b"/b/k", headers, credentials=EXAMPLE, now=EXAMPLE_TIME, regions=frozenset((b"eu-west-1",)))
    assert caught.value.response_code == "AuthorizationHeaderMalformed"


def test_two_signatures_at_once_are_refused() -> None:
    target = b"/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"
    assert refused(b"GET", target, signed_get(), credentials=EXAMPLE, now=EXAMPLE_TIME) == (400, "InvalidArgument")


def test_repeated_signature_parameters_are_refused() -> None:
    host = ((b"host", b"h"),)
    target = presign(b"GET", b"/b/k", host, EXAMPLE, region=b"r", now=EXAMPLE_TIME, expires=60)
    twice = target + b"&X-Amz-Expires=604800"
    error = (400, "AuthorizationQueryParametersError")
    assert refused(b"GET", twice, list(host), credentials=EXAMPLE, now=EXAMPLE_TIME) == error


@pytest.mark.parametrize("presigned", [False, True])
def test_session_tokens_must_be_the_keys_own(presigned: bool) -> None:
    temporary = Credentials(b"ASIA", b"secret", b"token/+=")
    host = ((b"host", b"h"),)

    def request(credentials: Credentials) -> tuple[bytes, Pairs]:
        if presigned:
            target = presign(b"GET", b"/b/k", host, credentials, region=b"r", now=EXAMPLE_TIME, expires=60)
            return target, list(host)
        made = sign(b"GET", b"/b/k", host, credentials, region=b"r", now=EXAMPLE_TIME)
        return b"/b/k", [*host, *made.headers]

    check(b"GET", *request(temporary), credentials=temporary, now=EXAMPLE_TIME)
    for token in (None, b"token/+="[:-1]):
        wrong = Credentials(b"ASIA", b"secret", token)
        assert refused(b"GET", *request(wrong), credentials=temporary, now=EXAMPLE_TIME) == (400, "InvalidToken")
    permanent = Credentials(b"ASIA", b"secret")
    assert refused(b"GET", *request(temporary), credentials=permanent, now=EXAMPLE_TIME) == (400, "InvalidToken")


def test_key_cache_is_bounded_and_secrets_are_not_shown() -> None:
    keys = SigningKeys(limit=3)
    scopes = [Scope(b"20130524", b"region-%d" % number) for number in range(10)]
    for scope in scopes:
        assert keys.get(b"secret", scope) == derive_key(b"secret", scope)
    assert len(keys) == 3
    made = sign(b"GET", b"/", ((b"host", b"h"),), EXAMPLE, region=b"r", now=EXAMPLE_TIME, payload_hash=UNSIGNED_PAYLOAD)
    shown = repr(EXAMPLE) + repr(made.context)
    assert EXAMPLE.secret_key.decode() not in shown
    assert made.context.signature.decode() not in shown
