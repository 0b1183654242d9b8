"""No octet of what was signed can be changed: whatever botocore signs is verified, and nothing that differs from it."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.origin.test_sigv4 import (
    CREDENTIALS,
    Pairs,
    botocore_request,
    check,
    header_names,
    key_text,
    refused,
    value_text,
)

from fastcache.protocol.sigv4 import SignatureError

query_pairs = st.lists(st.tuples(key_text.filter(bool), key_text), max_size=3)
fields = st.lists(st.tuples(header_names, value_text), max_size=4)
octets = st.integers(0x21, 0x7E).map(lambda code: bytes((code,)))


def replaced(value: bytes, at: int, octet: bytes) -> bytes:
    at %= len(value)
    assume(value[at : at + 1] != octet)
    return value[:at] + octet + value[at + 1 :]


def meaning(target: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """What urllib reads in a target: S3 signs meanings, so that another spelling of one is no forgery."""
    path, _, query = target.partition(b"?")
    # A blank name without a value is no parameter to S3 nor to botocore.
    pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, encoding="latin-1")
    return unquote_to_bytes(path), sorted(pair for pair in pairs if pair != ("", ""))


def refuses(method: bytes, target: bytes, headers: Pairs) -> bool:
    try:
        check(method, target, headers, credentials=CREDENTIALS, now=time.time())
    except SignatureError:
        return True
    return False


@given(st.data(), st.sampled_from(["GET", "PUT", "POST"]), key_text, query_pairs, fields)
def test_a_changed_octet_of_a_signed_request_is_refused(
    data: st.DataObject, method: str, key: str, query: list[tuple[str, str]], sent: list[tuple[str, str]]
) -> None:
    target, headers = botocore_request(S3SigV4Auth, method, key, query, sent)
    check(method.encode(), target, headers, credentials=CREDENTIALS, now=time.time())
    at, octet = data.draw(st.integers(0, 10_000)), data.draw(octets)

    assert refuses(replaced(method.encode(), at, octet), target, headers)

    other = replaced(target, at, octet)
    assert refuses(method.encode(), other, headers) is (meaning(other) != meaning(target))

    index = data.draw(st.integers(0, len(headers) - 1))
    name, value = headers[index]
    if value.strip():
        changed = replaced(value, at, octet)
        assume(changed.split() != value.split())
        assert refuses(method.encode(), target, [*headers[:index], (name, changed), *headers[index + 1 :]])


@given(st.data(), key_text, query_pairs)
def test_a_changed_octet_of_a_presigned_url_is_refused(
    data: st.DataObject, key: str, query: list[tuple[str, str]]
) -> None:
    target, headers = botocore_request(S3SigV4QueryAuth, "GET", key, query, [])
    host = [field for field in headers if field[0].lower() == b"host"]
    check(b"GET", target, host, credentials=CREDENTIALS, now=time.time())
    other = replaced(target, data.draw(st.integers(0, 10_000)), data.draw(octets))
    assert refuses(b"GET", other, host) is (meaning(other) != meaning(target))


@given(key_text, st.sampled_from([b"X-Amz-Meta-Late", b"x-amz-acl", b"X-AMZ-Security-Token"]))
def test_nothing_of_amazons_can_be_added(key: str, name: bytes) -> None:
    for auth in (S3SigV4Auth, S3SigV4QueryAuth):
        target, headers = botocore_request(auth, "PUT", key, [], [])
        if auth is S3SigV4QueryAuth:
            headers = [field for field in headers if field[0].lower() == b"host"]
        added = [*headers, (name, b"value")]
        assert refused(b"PUT", target, added, credentials=CREDENTIALS, now=time.time()) == (403, "AccessDenied")


@pytest.mark.parametrize("algorithm", [b"AWS4-ECDSA-P256-SHA256"])
def test_a_presigned_url_of_version_4a_is_not_implemented(algorithm: bytes) -> None:
    target, headers = botocore_request(S3SigV4QueryAuth, "GET", "k", [], [])
    other = target.replace(b"AWS4-HMAC-SHA256", algorithm)
    assert refused(b"GET", other, headers, credentials=CREDENTIALS, now=time.time()) == (501, "NotImplemented")
