"""No request smuggling: the case table, and a second opinion from h11 on everything that is accepted."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.harness.oracles import assert_h11_agrees
from tests.protocol.heads import head

from fastcache.errors import RequestError
from fastcache.protocol.requests import RequestHead, parse_request_head

PUT = b"PUT /b/k HTTP/1.1"
LINE = b"GET /b/k HTTP/1.1\r\nHost: a\r\n"

REFUSED: list[tuple[str, bytes, int]] = [
    # Line ends, folding and controls.
    ("bare LF ends a field", LINE + b"a: b\n\r\n", 400),
    ("bare LF hides a field", LINE + b"a: b\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("bare LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("bare CR in a value", LINE + b"a: b\rc\r\n\r\n", 400),
    ("bare CR before CRLF", LINE + b"a: b\r\r\n\r\n", 400),
    ("LF CR", LINE + b"a: b\n\r\r\n\r\n", 400),
    ("folded with a space", LINE + b"a: b\r\n c\r\n\r\n", 400),
    ("folded with a tab", LINE + b"a: b\r\n\tc\r\n\r\n", 400),
    ("folded first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("NUL in a value", LINE + b"a: b\0c\r\n\r\n", 400),
    ("NUL in a name", LINE + b"a\0: b\r\n\r\n", 400),
    ("control in a value", LINE + b"a: \x01\r\n\r\n", 400),
    ("DEL in a value", LINE + b"a: \x7f\r\n\r\n", 400),
    ("vertical tab", LINE + b"Transfer-Encoding:\x0bchunked\r\n\r\n", 400),
    ("two empty lines before", b"\r\n\r\n" + LINE + b"\r\n", 400),
    ("bytes after the head", LINE + b"\r\nGET / HTTP/1.1\r\n\r\n", 400),
    ("head cut", LINE, 400),
    ("nothing", b"", 400),
    ("only an empty line", b"\r\n\r\n", 400),
    # Field syntax.
    ("space before the colon", head(b"Content-Length : 5"), 400),
    ("tab before the colon", head(b"Transfer-Encoding\t: chunked"), 400),
    ("no colon", head(b"Content-Length 5"), 400),
    ("no name", head(b": chunked"), 400),
    ("quoted name", head(b'"Content-Length": 5'), 400),
    ("non-ASCII name", head(b"Content-L\xe9ngth: 5"), 400),
    # Request line.
    ("HTTP/2.0", head(line=b"GET / HTTP/2.0"), 505),
    ("HTTP/1.2", head(line=b"GET / HTTP/1.2"), 505),
    ("HTTP/0.9", head(line=b"GET / HTTP/0.9"), 505),
    ("HTTP/1", head(line=b"GET / HTTP/1"), 505),
    ("HTTP/11.1", head(line=b"GET / HTTP/11.1"), 505),
    ("HTTP/01.1", head(line=b"GET / HTTP/01.1"), 505),
    ("lower-case version", head(line=b"GET / http/1.1"), 400),
    ("another protocol", head(line=b"OPTIONS / RTSP/1.0"), 400),
    ("no version", head(line=b"GET /"), 400),
    ("two spaces", head(line=b"GET  / HTTP/1.1"), 400),
    ("two spaces before the version", head(line=b"GET /  HTTP/1.1"), 400),
    ("space in the target", head(line=b"GET /a b HTTP/1.1"), 400),
    ("space after the version", head(line=b"GET / HTTP/1.1 "), 400),
    ("space before the method", head(line=b" GET / HTTP/1.1"), 400),
    ("tab in the line", head(line=b"GET\t/\tHTTP/1.1"), 400),
    ("method is no token", head(line=b"G(T / HTTP/1.1"), 400),
    ("method unknown", head(line=b"FOO / HTTP/1.1"), 405),
    ("lower-case method", head(line=b"get / HTTP/1.1"), 405),
    ("HTTP/2 preface", head(line=b"PRI * HTTP/2.0"), 505),
    # Targets.
    ("fragment", head(line=b"GET /b/k#f HTTP/1.1"), 400),
    ("non-ASCII target", head(line=b"GET /b/\xc3\xa9 HTTP/1.1"), 400),
    ("relative target", head(line=b"GET b/k HTTP/1.1"), 400),
    ("empty target", head(line=b"GET  HTTP/1.1"), 400),
    ("asterisk without OPTIONS", head(line=b"GET * HTTP/1.1"), 400),
    ("CONNECT", head(line=b"CONNECT a:443 HTTP/1.1", host=b"a:443"), 405),
    ("absolute URI of another host", head(line=b"GET http://b/k HTTP/1.1", host=b"a"), 400),
    ("absolute URI of another port", head(line=b"GET http://a:81/k HTTP/1.1", host=b"a"), 400),
    ("absolute URI with the other scheme's port", head(line=b"GET https://a:80/k HTTP/1.1", host=b"a"), 400),
    ("absolute URI with userinfo", head(line=b"GET http://u@a/k HTTP/1.1", host=b"a"), 400),
    ("absolute URI without a host", head(line=b"GET http:///k HTTP/1.1", host=b"a"), 400),
    ("absolute URI of another scheme", head(line=b"GET ftp://a/k HTTP/1.1", host=b"a"), 400),
    # Host.
    ("no Host", head(host=None), 400),
    ("two Hosts", head(b"Host: b", host=b"a"), 400),
    ("the same Host twice", head(b"host: a", host=b"a"), 400),
    ("two Hosts in HTTP/1.0", head(b"Host: b", line=b"GET / HTTP/1.0"), 400),
    ("empty Host", head(host=b""), 400),
    ("empty Host in HTTP/1.0", head(line=b"GET / HTTP/1.0", host=b""), 400),
    ("list of Hosts", head(host=b"a, b"), 400),
    ("Host with a path", head(host=b"a/b"), 400),
    ("Host with userinfo", head(host=b"u@a"), 400),
    ("Host with a space", head(host=b"a b"), 400),
    ("Host with a bad port", head(host=b"a:b"), 400),
    ("Host with two ports", head(host=b"a:1:2"), 400),
    ("Host that is non-ASCII", head(host=b"\xe9"), 400),
    # Transfer-Encoding.
    ("both framings", head(b"Transfer-Encoding: chunked", b"Content-Length: 5", line=PUT), 400),
    ("both framings, the other order", head(b"Content-Length: 5", b"transfer-encoding: chunked", line=PUT), 400),
    ("chunked in HTTP/1.0", head(b"Transfer-Encoding: chunked", line=b"PUT / HTTP/1.0"), 400),
    ("identity", head(b"Transfer-Encoding: identity", line=PUT), 501),
    ("identity, chunked", head(b"Transfer-Encoding: identity, chunked", line=PUT), 501),
    ("chunked, identity", head(b"Transfer-Encoding: chunked, identity", line=PUT), 501),
    ("gzip, chunked", head(b"Transfer-Encoding: gzip, chunked", line=PUT), 501),
    ("gzip and chunked in two fields", head(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", line=PUT), 501),
    ("xchunked", head(b"Transfer-Encoding: xchunked", line=PUT), 501),
    ("quoted chunked", head(b'Transfer-Encoding: "chunked"', line=PUT), 501),
    ("chunked with a parameter", head(b"Transfer-Encoding: chunked;q=1", line=PUT), 501),
    ("chunked twice", head(b"Transfer-Encoding: chunked, chunked", line=PUT), 400),
    ("chunked in two fields", head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", line=PUT), 400),
    ("empty coding", head(b"Transfer-Encoding:", line=PUT), 400),
    ("empty list member", head(b"Transfer-Encoding: ,chunked", line=PUT), 400),
    # Content-Length.
    ("two lengths", head(b"Content-Length: 5", b"Content-Length: 6", line=PUT), 400),
    ("the same length twice", head(b"Content-Length: 5", b"content-length: 5", line=PUT), 400),
    ("list of lengths", head(b"Content-Length: 5, 5", line=PUT), 400),
    ("signed length", head(b"Content-Length: +5", line=PUT), 400),
    ("negative length", head(b"Content-Length: -5", line=PUT), 400),
    ("hexadecimal length", head(b"Content-Length: 0x5", line=PUT), 400),
    ("length with a space", head(b"Content-Length: 5 5", line=PUT), 400),
    ("length with an underscore", head(b"Content-Length: 1_0", line=PUT), 400),
    ("length in other digits", head("Content-Length: \u0665".encode(), line=PUT), 400),
    ("empty length", head(b"Content-Length:", line=PUT), 400),
    ("length 2**63", head(b"Content-Length: 9223372036854775808", line=PUT), 400),
    ("length 2**64", head(b"Content-Length: 18446744073709551616", line=PUT), 400),
    ("length of 5000 digits", head(b"Content-Length: " + b"9" * 5000, line=PUT), 400),
    # Connection and what it must not name.
    *[
        (f"Connection names {name.decode()}", head(b"Connection: close, " + name), 400)
        for name in (
            b"Host",
            b"AUTHORIZATION",
            b"Range",
            b"Content-Length",
            b"Transfer-Encoding",
            b"Expect",
            b"x-amz-date",
            b"X-Amz-Content-Sha256",
            b"If-Match",
            b"if-none-match",
            b"Content-MD5",
        )
    ],
    # Single-value fields.
    *[
        (f"two {name.decode()}", head(name + b": a", name.swapcase() + b": a"), 400)
        for name in (
            b"Authorization",
            b"Range",
            b"If-Range",
            b"X-Amz-Date",
            b"x-amz-content-sha256",
            b"If-Modified-Since",
            b"If-Unmodified-Since",
        )
    ],
    ("two Expects", head(b"Expect: 100-continue", b"Expect: 100-continue", line=PUT), 400),
    ("another expectation", head(b"Expect: 200-ok", line=PUT), 417),
    ("an empty expectation", head(b"Expect:", line=PUT), 417),
]


@pytest.mark.parametrize(("raw", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_an_ambiguous_head_is_refused_and_the_connection_closed(raw: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request_head(raw)
    assert caught.value.response_status == status
    assert caught.value.closes


def test_a_refusal_shows_no_value_of_the_request() -> None:
    for _, raw, _ in REFUSED:
        with pytest.raises(RequestError) as caught:
            parse_request_head(raw.replace(b"\r\n\r\n", b"\r\nAuthorization: SECRET\r\n\r\n"))
        assert "SECRET" not in str(caught.value)


def accepts(raw: bytes) -> RequestHead | None:
    try:
        return parse_request_head(raw)
    except RequestError:
        return None


# --- h11 as a second opinion: it accepts much of REFUSED, and must read what we accept as we do.

METHODS = [b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"GET ", b"get", b"FOO"]
TARGETS = [b"/", b"/b/k", b"/b/k?x-id=GetObject", b"*", b"http://a/b", b"//", b"/%zz+", b"/a b", b"", b'/\\^{|}"<>`']
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/1.01"]
NAMES = [
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Connection",
    b"Expect",
    b"Upgrade",
    b"Range",
    b"x-amz-meta-a",
    b"a",
    b"Content-Length ",
    b" a",
    b"",
    b"Trailer",
    b"Keep-Alive",
]
VALUES = [
    b"a",
    b"5",
    b"0",
    b"00",
    b"+5",
    b"5,5",
    b"chunked",
    b"Chunked",
    b"identity, chunked",
    b"chunked, chunked",
    b"close",
    b"keep-alive",
    b"upgrade",
    b"h2c",
    b"100-continue",
    b"",
    b" \t ",
    b"\xff\xc3\xa9",
    b"x\x00",
    b"\x0b5",
    b"9223372036854775807",
    b"9223372036854775808",
]
ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"\r\r\n"]
fields = st.builds(
    lambda name, colon, value, space, end: name + colon + value + space + end,
    st.sampled_from(NAMES),
    st.sampled_from([b": ", b": ", b":", b":\t", b" : ", b""]),
    st.sampled_from(VALUES),
    st.sampled_from([b"", b"", b" ", b"\t"]),
    st.sampled_from(ENDS),
)
plain_fields = st.sampled_from(
    [
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"content-length:\t007 \r\n",
        b"Transfer-Encoding: Chunked\r\n",
        b"Connection: keep-alive, close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"X-Amz-Meta-A:\r\n",
        b"a: \xff\t\xc3\xa9 b \r\n",
        b"Range: bytes=0-5\r\n",
        b"Keep-Alive: 5\r\n",
    ]
)
likely_heads = st.builds(
    lambda before, method, target, version, host, rest: (
        before + method + b" " + target + b" " + version + b"\r\n" + host + b"".join(rest) + b"\r\n"
    ),
    st.sampled_from([b"", b"", b"", b"\r\n"]),
    st.one_of(st.just(b"PUT"), st.just(b"GET"), st.sampled_from(METHODS)),
    st.one_of(st.just(b"/b/k"), st.sampled_from(TARGETS)),
    st.one_of(st.just(b"HTTP/1.1"), st.just(b"HTTP/1.1"), st.sampled_from(VERSIONS)),
    st.sampled_from([b"Host: a\r\n", b"Host: a\r\n", b"host:a:80 \r\n", b"Host: a\r\n", b""]),
    st.lists(st.one_of(plain_fields, plain_fields, fields), max_size=3),
)


@settings(max_examples=1500)
@given(likely_heads)
def test_h11_reads_whatever_is_accepted_in_the_same_way(raw: bytes) -> None:
    request = accepts(raw)
    event("accepted" if request else "refused")
    if request is not None:
        assert_h11_agrees(raw, request)


@settings(max_examples=1000)
@given(st.data())
def test_a_good_head_with_one_byte_changed_is_read_like_h11_or_refused(data: st.DataObject) -> None:
    raw = bytearray(
        head(b"Range: bytes=0-5", b"Content-Length: 12", b"x-amz-meta-a: b", b"Connection: keep-alive", line=PUT)
    )
    position = data.draw(st.integers(0, len(raw) - 1))
    what = data.draw(st.sampled_from(["change", "insert", "remove"]))
    octet = data.draw(st.one_of(st.sampled_from(b"\r\n\0 \t:,;#/"), st.integers(0, 255)))
    if what == "change":
        raw[position] = octet
    elif what == "insert":
        raw.insert(position, octet)
    else:
        del raw[position]
    request = accepts(bytes(raw))
    event("accepted" if request else "refused")
    if request is not None:
        assert_h11_agrees(bytes(raw), request)


@pytest.mark.parametrize("field", [(), (b"Content-Length: 5",), (b"Transfer-Encoding: chunked",)])
def test_the_generated_heads_are_of_a_kind_that_is_accepted(field: tuple[bytes, ...]) -> None:
    raw = head(*field, line=PUT)
    request = accepts(raw)
    assert request is not None
    assert_h11_agrees(raw, request)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_a_request_error(junk: bytes) -> None:
    for raw in (junk, junk + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n" + junk + b"\r\n\r\n"):
        request = accepts(raw)
        if request is not None:
            assert_h11_agrees(raw, request)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (head(b"a: b"), head(b"a: c")),
        (head(b"a: b"), head(b"a: b", b"c: d")),
        (head(b"a: b", b"c: d"), head(b"a: b")),
        (head(), head(line=b"GET /bucket/other HTTP/1.1")),
        (head(), head(line=b"PUT /bucket/key HTTP/1.1")),
        (head(), head(line=b"GET /bucket/key HTTP/1.0")),
        (head(), head()[:-2]),
        (head(b"Content-Length: 5"), head(b"Content-Length: 0")),
        (head(b"Upgrade: h2c", b"Connection: upgrade"), head(b"Upgrade:  h2c", b"Connection: upgrade")),
    ],
)
def test_a_head_that_the_framing_authority_reads_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch, ours: bytes, theirs: bytes
) -> None:
    class Otherwise(httptools.HttpRequestParser):
        def feed_data(self, data: bytes) -> None:
            super().feed_data(theirs if data == ours else data)

    parse_request_head(ours)
    monkeypatch.setattr(httptools, "HttpRequestParser", Otherwise)
    with pytest.raises(RequestError, match="ambiguous"):
        parse_request_head(ours)
    parse_request_head(head(b"x: y"))
