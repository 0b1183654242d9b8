"""Signature V2 with botocore as the oracle: boto3 still presigns with it."""

from __future__ import annotations

import time
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.sigv2 import uses_sigv2, verify
from fastcache.protocol.sigv4 import Credentials, SignatureError

SECRET = Credentials(b"access:key", b"secret")

keys = st.text(st.one_of(st.sampled_from("ab/%+ ()"), st.characters(exclude_categories=["Cs", "Cc"])), max_size=20)
queries = st.sampled_from(["", "?acl", "?versionId=a%2Fb", "?tagging&versionId=1", "?response-content-type=a%20b"])
Signed = tuple[bytes, list[tuple[bytes, bytes]]]


def find(access_key: bytes) -> Credentials | None:
    return SECRET if access_key == SECRET.access_key else None


def by_botocore(auth: HmacV1Auth, key: str, query: str, token: str | None = None) -> Signed:
    url = f"http://h/bucket/{quote(key, safe='/~')}{query}"
    request = AWSRequest(method="GET", url=url, headers={"Host": "h", "x-amz-meta-b": "1", "X-Amz-Meta-A": "2"})
    auth.credentials = BotocoreCredentials("access:key", "secret", token)
    auth.add_auth(request)
    parts = urlsplit(request.url)
    target = (parts.path + (f"?{parts.query}" if parts.query else "")).encode()
    return target, [(name.encode(), str(value).encode()) for name, value in request.headers.items()]


@given(key=keys, query=queries)
def test_what_botocore_signs_in_the_header_is_verified(key: str, query: str) -> None:
    target, headers = by_botocore(HmacV1Auth(None), key, query)
    assert uses_sigv2(target, headers)
    assert verify(b"GET", target, headers, find=find, now=time.time()) == (b"access:key", False)
    with pytest.raises(SignatureError, match="does not match"):
        verify(b"PUT", target, headers, find=find, now=time.time())


@given(key=keys, query=queries)
def test_what_botocore_presigns_is_verified_until_it_expires(key: str, query: str) -> None:
    target, headers = by_botocore(HmacV1QueryAuth(None, expires=60), key, query)
    assert uses_sigv2(target, headers)
    assert verify(b"GET", target, headers, find=find, now=time.time()) == (b"access:key", True)
    with pytest.raises(SignatureError, match="expired"):
        verify(b"GET", target, headers, find=find, now=time.time() + 62)


def test_skewed_and_unknown_requests_are_refused() -> None:
    target, headers = by_botocore(HmacV1Auth(None), "k", "")
    with pytest.raises(SignatureError) as caught:
        verify(b"GET", target, headers, find=find, now=time.time() + 1000)
    assert caught.value.response_code == "RequestTimeTooSkewed"
    with pytest.raises(SignatureError) as caught:
        verify(b"GET", target, headers, find=lambda _: None, now=time.time())
    assert caught.value.response_code == "InvalidAccessKeyId"


def test_a_token_that_is_not_the_keys_own_is_refused() -> None:
    target, headers = by_botocore(HmacV1Auth(None), "k", "", token="token")
    with pytest.raises(SignatureError) as caught:
        verify(b"GET", target, headers, find=find, now=time.time())
    assert caught.value.response_code == "InvalidToken"
    temporary = Credentials(b"access:key", b"secret", b"token")
    verify(b"GET", target, headers, find=lambda _: temporary, now=time.time())
