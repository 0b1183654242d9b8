"""A secret planted anywhere a client can put it reaches no log, and no text can forge one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.observe.redaction import escape, masked_key_id, safe_header, safe_key, safe_target, safe_text

CANARY = "c4n4ryS3cr3tValue"

NAMES = (
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-Credential",
    "Signature",
    "AWSAccessKeyId",
    "X-Goog-Signature",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "Authorization",
    "X-Amz-S3session-Token",
)


@st.composite
def disguised(draw: st.DrawFn, name: str) -> str:
    """``name`` with any characters in another case or percent-encoded, once or more often."""
    out = []
    for character in name:
        character = draw(st.sampled_from((character.lower(), character.upper())))
        rounds = draw(st.sampled_from((0, 0, 0, 1, 2, 3)))
        if rounds:
            code = f"{ord(character):02X}"
            code = draw(st.sampled_from((code, code.lower())))
            character = "%" + "25" * (rounds - 1) + code
        out.append(character)
    return "".join(out)


names = st.sampled_from(NAMES).flatmap(disguised)
junk = st.binary(max_size=12).filter(lambda value: b"&" not in value)


@given(names, junk, junk, st.sampled_from((b"/b/k?", b"http://s3.test/b/k?a=b&", b"?", b"/b/k?&&=&")))
def test_no_secret_parameter_passes_a_target(name: str, before: bytes, after: bytes, start: bytes) -> None:
    shown = safe_target(start + name.encode() + b"=" + before + CANARY.encode() + after + b"&x-id=GetObject")
    assert CANARY not in shown
    assert shown.endswith("&x-id=GetObject")


@given(names, st.sampled_from(("=", "%3D", "%253d")), st.sampled_from(("/b/k%3F", "/b/k%3Fa%3Db%26", "/b/")))
def test_no_secret_passes_inside_a_path_or_a_nested_url(name: str, sign: str, start: str) -> None:
    planted = f"{start}{name}{sign}{CANARY}"
    assert CANARY not in safe_target(planted.encode())
    assert CANARY not in safe_target(f"/b/k?redirect={planted}".encode())
    assert CANARY not in safe_key(planted.encode())
    assert CANARY not in safe_header(b"Referer", f"https://page.test{planted}".encode())


@given(names)
def test_no_secret_passes_a_user_agent_or_referer(name: str) -> None:
    for header in (b"User-Agent", b"referer", b"x-other"):
        assert CANARY not in safe_header(header, f"https://h.test/b/k?{name}={CANARY}".encode())
        assert CANARY not in safe_header(header, f"agent ({name}: {CANARY})".encode())


@pytest.mark.parametrize(
    "name",
    [
        b"Authorization",
        b"authorization",
        b"PROXY-AUTHORIZATION",
        b"Cookie",
        b"Set-Cookie",
        b"X-Amz-Security-Token",
        b"x-amz-s3session-token",
        b"x-amz-server-side-encryption-customer-key",
        b"x-amz-copy-source-server-side-encryption-customer-key",
    ],
)
def test_a_secret_header_shows_nothing_of_its_value(name: bytes) -> None:
    assert safe_header(name, f"AWS4-HMAC-SHA256 Credential={CANARY}".encode()) == "***"
    assert safe_header(name, CANARY.encode()) == "***"


def test_user_information_in_a_url_is_masked() -> None:
    assert safe_target(f"http://user:{CANARY}@h.test/b?c=http://x:{CANARY}@y/".encode()) == (
        "http://***@h.test/b?c=http://***@y/"
    )
    assert CANARY not in safe_text(f"cannot reach https://user:{CANARY}@origin.test/ now")


def test_a_key_id_keeps_what_tells_its_kind() -> None:
    target = b"/b/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Expires=60"
    assert safe_target(target) == "/b/k?X-Amz-Credential=AKIA***&X-Amz-Expires=60"
    assert masked_key_id(b"short") == "***"
    assert masked_key_id(b"\xff\xfe\r\nlongenough") == "***"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/x, SignedHeaders=host, Signature={0}",
        "sent {{'Authorization': 'Bearer {0}'}}",
        "headers ((b'Host', b'h'), (b'X-Amz-Security-Token', b'{0}'))",
        'body {{"SecretAccessKey": "{0}", "SessionToken" : "{0}"}}',
        "authorization=Basic {0}",
        "got AWS AKIAIOSFODNN7EXAMPLE:{0}",
        "aws_secret_access_key = {0}",
        "GET /b/k?X%2DAmz%2DSignature={0}&a=b",
        "password: '{0} with spaces'",
        "Cookie: a=b; session={0}",
    ],
)
def test_no_secret_passes_prose(text: str) -> None:
    shown = safe_text(text.format(CANARY))
    assert CANARY not in shown
    assert "***" in shown
    assert "IOSFODNN7EXAMPLE" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "SignatureDoesNotMatch for GET /b/k",
        "authorization: revalidate on 0.0.0.0:8080",
        "https://origin.test/b/k?versionId=3 answered 200",
        "list continuation-token=abc",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert safe_text(text) == text


def test_an_ordinary_target_is_shown_as_it_came() -> None:
    target = "/bucket/a%20b/c+d?list-type=2&prefix=x%2F&X-Amz-SignedHeaders=host&versionId=abc"
    assert safe_target(target.encode()) == target


@given(st.binary(max_size=200))
def test_nothing_that_could_forge_a_line_is_left(value: bytes) -> None:
    for shown in (escape(value), safe_target(value), safe_header(b"User-Agent", value), safe_key(value)):
        assert shown.isascii()
        assert all(" " <= character <= "~" for character in shown)
        assert '"' not in shown
    assert " " not in safe_key(value)


def test_escapes_are_unambiguous() -> None:
    assert escape(b'a"\r\n\\x22\xff') == "a\\x22\\x0d\\x0a\\x5cx22\\xff"
