"""The requests of AWS's published test suite for Signature Version 4, their signatures computed here and by botocore.

The suite signs for a service that is not S3: paths with dot segments or doubled slashes are left out, because S3 alone
does not tidy them up.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import unquote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from fastcache._core.fields import values_by_name
from fastcache.protocol.sigv4 import Scope, derive_key, hex_hmac
from fastcache.protocol.sigv4_canonical import canonical_request, string_to_sign

ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
WHEN = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
TIMESTAMP = b"20150830T123600Z"
SCOPE = Scope(b"20150830", b"us-east-1", b"service")
Fields = tuple[tuple[str, str], ...]

# name: method, target, further fields, body, and the signature where AWS prints it
SUITE: dict[str, tuple[str, str, Fields, bytes, str]] = {
    "get-vanilla": (
        "GET",
        "/",
        (),
        b"",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        "GET",
        "/?Param2=value2&Param1=value1",
        (),
        b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-order-value": ("GET", "/?Param1=value2&Param1=value1", (), b"", ""),
    "get-vanilla-empty-query-key": ("GET", "/?Param1=value1", (), b"", ""),
    "get-vanilla-query-unreserved": (
        "GET",
        "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
        "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        (),
        b"",
        "",
    ),
    "get-vanilla-utf8-query": ("GET", "/?%E1%88%B4=bar", (), b"", ""),
    "get-unreserved": (
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        (),
        b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-utf8": (
        "GET",
        "/%E1%88%B4",
        (),
        b"",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-space": (
        "GET",
        "/example%20space/",
        (),
        b"",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    "get-header-value-trim": ("GET", "/", (("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')), b"", ""),
    "get-header-value-order": (
        "GET",
        "/",
        (("My-Header1", "value4"), ("My-Header1", "value1"), ("My-Header1", "value3"), ("My-Header1", "value2")),
        b"",
        "",
    ),
    "post-vanilla": (
        "POST",
        "/",
        (),
        b"",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-vanilla-query": ("POST", "/?Param1=value1", (), b"", ""),
    "post-header-key-sort": ("POST", "/", (("My-Header1", "value1"),), b"", ""),
    "post-header-value-case": ("POST", "/", (("My-Header1", "VALUE1"),), b"", ""),
    "post-x-www-form-urlencoded": (
        "POST",
        "/",
        (("Content-Type", "application/x-www-form-urlencoded"),),
        b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded-parameters": (
        "POST",
        "/",
        (("Content-Type", "application/x-www-form-urlencoded; charset=utf8"),),
        b"Param1=value1",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
    "post-sts-header-before": ("POST", "/", (("X-Amz-Security-Token", "AQoDYXdzEPT//////////wEXAMPLE"),), b"", ""),
}


def botocores(method: str, target: str, fields: Fields, body: bytes) -> str:
    path, question_mark, query = target.partition("?")
    # For services other than S3 it escapes the path that it is given once more.
    url = "https://example.amazonaws.com" + unquote(path) + question_mark + query
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in fields:
        request.headers.add_header(name, value)
    with mock.patch("botocore.auth.get_current_datetime", return_value=WHEN.replace(tzinfo=None)):
        SigV4Auth(BotocoreCredentials(ACCESS_KEY, SECRET_KEY), "service", "us-east-1").add_auth(request)
    return str(request.headers["Authorization"]).rpartition("Signature=")[2]


@pytest.mark.parametrize("name", SUITE)
def test_the_signature_is_the_suites(name: str) -> None:
    method, target, fields, body, published = SUITE[name]
    headers = [(field.encode(), value.encode()) for field, value in fields]
    headers += [(b"Host", b"example.amazonaws.com"), (b"X-Amz-Date", TIMESTAMP)]
    signed = sorted({field.lower() for field, _ in headers})
    digest = hashlib.sha256(body).hexdigest().encode()
    request = canonical_request(method.encode(), target.encode(), values_by_name(tuple(headers)), signed, digest)
    text = string_to_sign(TIMESTAMP, bytes(SCOPE), request)
    made = hex_hmac(derive_key(SECRET_KEY.encode(), SCOPE), text).decode()
    assert made == botocores(method, target, fields, body)
    assert published in ("", made)
