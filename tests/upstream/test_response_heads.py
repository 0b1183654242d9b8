"""Response heads: what is accepted, how the body is framed, what is forwarded and rendered."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.errors import UpstreamProtocolError
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.responses import (
    REASONS,
    ResponseHead,
    forward_response_headers,
    parse_response_head,
    render_response_head,
)


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ResponseHead:
    return parse_response_head(b"\r\n".join((status, *lines, b"", b"")), method)


def test_every_part_of_a_head() -> None:
    parsed = head(b'ETag: "a"', b"x-AMZ-meta-a:  b  c \t", b"Empty:", b'etag: "b"', b"Content-Length: 12")
    assert parsed.status == 200
    assert parsed.reason == b"OK"
    assert not parsed.http_10
    assert parsed.headers == (
        (b"ETag", b'"a"'),
        (b"x-AMZ-meta-a", b"b  c"),
        (b"Empty", b""),
        (b"etag", b'"b"'),
        (b"Content-Length", b"12"),
    )
    assert parsed.get(b"etag") == b'"a"'
    assert parsed.get_all(b"etag") == [b'"a"', b'"b"']
    assert parsed.get(b"date") is None
    assert parsed.keep_alive


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK \xe9", b"HTTP/1.1 299 A b\tc"])
def test_status_lines_that_are_fine(line: bytes) -> None:
    assert head(b"Content-Length: 0", status=line).status in (200, 299)


FRAMINGS = [
    (b"GET", b"200", (b"Content-Length: 0",), BodyFraming(Framing.LENGTH, 0)),
    (b"GET", b"206", (b"Content-Length: 00012",), BodyFraming(Framing.LENGTH, 12)),
    (b"GET", b"200", (b"Content-Length: 9223372036854775807",), BodyFraming(Framing.LENGTH, 2**63 - 1)),
    (b"GET", b"200", (b"Transfer-Encoding: Chunked",), BodyFraming(Framing.CHUNKED)),
    (b"GET", b"403", (), BodyFraming(Framing.CLOSE)),
    (b"PUT", b"200", (), BodyFraming(Framing.CLOSE)),
    (b"HEAD", b"200", (b"Content-Length: 12",), NO_BODY),
    (b"HEAD", b"200", (b"Transfer-Encoding: chunked",), NO_BODY),
    (b"HEAD", b"404", (), NO_BODY),
    (b"GET", b"204", (b"Content-Length: 12",), NO_BODY),
    (b"GET", b"304", (b"Content-Length: 12",), NO_BODY),
    (b"GET", b"304", (), NO_BODY),
    (b"PUT", b"100", (), NO_BODY),
    (b"GET", b"101", (b"Connection: upgrade", b"Upgrade: h2c"), NO_BODY),
]


@pytest.mark.parametrize(("method", "status", "lines", "framing"), FRAMINGS)
def test_how_a_body_is_framed(method: bytes, status: bytes, lines: tuple[bytes, ...], framing: BodyFraming) -> None:
    assert head(*lines, status=b"HTTP/1.1 %b X" % status, method=method).framing == framing


KEEP_ALIVE = [
    (b"HTTP/1.1", (), True),
    (b"HTTP/1.1", (b"Connection: close",), False),
    (b"HTTP/1.1", (b"Connection: x , CLOSE",), False),
    (b"HTTP/1.1", (b"Connection: keep-alive", b"Connection: close"), False),
    (b"HTTP/1.1", (b"Connection: closed",), True),
    (b"HTTP/1.0", (), False),
    (b"HTTP/1.0", (b"Connection: Keep-Alive",), True),
    (b"HTTP/1.0", (b"Connection: Keep-Alive, close",), False),
]


@pytest.mark.parametrize(("version", "lines", "keep_alive"), KEEP_ALIVE)
def test_what_keeps_a_connection_alive(version: bytes, lines: tuple[bytes, ...], keep_alive: bool) -> None:
    assert head(*lines, b"Content-Length: 0", status=version + b" 200 OK").keep_alive is keep_alive


def test_a_body_ended_by_close_keeps_nothing_alive() -> None:
    assert not head(b"Connection: keep-alive").keep_alive


SMUGGLING = [
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5, 5",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 0x5",
    b"Content-Length: 5 5",
    b"Content-Length: ",
    b"Content-Length: 9223372036854775808",
    b"Content-Length: 18446744073709551621",
    b"Content-Length: 99999999999999999999999999999999",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding:",
    b" Content-Length: 5",
    b"A: b\r\n\tc",
    b"A: b\nContent-Length: 5",
    b"A: b\rContent-Length: 5",
    b"A: b\x00c",
    b"A\x00: b",
    b"A b: c",
    b"\xe9: b",
    b": b",
    b"no colon",
    b"Connection: Content-Length\r\nContent-Length: 5",
    b"Connection: etag",
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("lines", SMUGGLING)
def test_what_could_be_read_in_two_ways_is_refused(lines: bytes, method: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        head(lines, method=method)


def test_a_transfer_coding_in_http_10_is_refused() -> None:
    with pytest.raises(UpstreamProtocolError):
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    "line",
    [b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK"]
    + [b"HTTP/1.1 2000 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 2x0 OK", b"ICY 200 OK", b""]
    + [b" HTTP/1.1 200 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\x7fK", b"HTTP/1.1 -20 OK", b"HTTP/1.1 200OK"],
)
def test_other_status_lines_are_refused(line: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        head(b"Content-Length: 0", status=line)


def test_a_head_is_exactly_one() -> None:
    raw = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    for wrong in (raw[:-2], raw[:-1], raw + b"x", raw + raw, b"\r\n" + raw, b""):
        with pytest.raises(UpstreamProtocolError):
            parse_response_head(wrong, b"GET")


def test_fields_are_bounded() -> None:
    assert len(head(*[b"A: b"] * 100).headers) == 100
    with pytest.raises(UpstreamProtocolError, match="100"):
        head(*[b"A: b"] * 101)


def test_errors_never_show_what_the_origin_sent() -> None:
    for lines in SMUGGLING:
        with pytest.raises(UpstreamProtocolError) as raised:
            head(b"X-Amz-Security-Token: sesame", lines)
        assert "sesame" not in str(raised.value)
        assert raised.value.__cause__ is None


def test_hop_by_hop_fields_stay_behind_and_the_rest_is_untouched() -> None:
    parsed = head(
        b"X-Amz-Request-Id: 1",
        b"Connection: X-Named, keep-alive",
        b"x-named: secret",
        b"Keep-Alive: timeout=5",
        b"Proxy-Authenticate: Basic",
        b"proxy-connection: close",
        b"TE: trailers",
        b"Trailer: x-amz-checksum-crc32",
        b"Upgrade: h2c",
        b"Transfer-Encoding: chunked",
        b'eTaG: "a"',
        b"Set-Cookie: a",
        b"Set-Cookie: b",
    )
    assert forward_response_headers(parsed) == (
        (b"X-Amz-Request-Id", b"1"),
        (b"eTaG", b'"a"'),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
    )


def test_a_rendered_head() -> None:
    assert render_response_head(206, REASONS[206], [(b"ETag", b'"a"'), (b"X", b"")]) == (
        b'HTTP/1.1 206 Partial Content\r\nETag: "a"\r\nX: \r\n\r\n'
    )


@pytest.mark.parametrize("bad", [b"a\r\nB: c", b"a\nb", b"a\rb", b"a\x00b"])
def test_nothing_can_be_injected_into_a_rendered_head(bad: bytes) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        render_response_head(200, b"OK", [(b"A", bad)])
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        render_response_head(200, bad, [])
    with pytest.raises(ValueError, match="token"):
        render_response_head(200, b"OK", [(bad, b"x")])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"\xe9", b"a\t"])
def test_a_rendered_name_is_a_token(name: bytes) -> None:
    with pytest.raises(ValueError, match="token"):
        render_response_head(200, b"OK", [(name, b"x")])


TOKEN = st.text("abcXYZ019-_!#.", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=30).map(lambda raw: bytes(o for o in raw if o == 9 or (o >= 32 and o != 127)).strip(b" \t"))


@given(st.integers(200, 599), st.lists(st.tuples(TOKEN, VALUE), max_size=20))
def test_what_is_rendered_is_parsed_back_by_us_and_by_h11(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    raw = render_response_head(status, b"Some Reason", fields)
    parsed = parse_response_head(raw, b"GET")
    assert (parsed.status, parsed.reason, parsed.headers) == (status, b"Some Reason", tuple(fields))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.receive_data(raw)
    event = client.next_event()
    assert isinstance(event, h11.Response)
    assert [(name, value) for name, value in event.headers.raw_items()] == fields


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_in_any_other_way(noise: bytes) -> None:
    for raw in (noise, b"HTTP/1.1 200 OK\r\n" + noise + b"\r\n\r\n"):
        try:
            parsed = parse_response_head(raw, b"GET")
        except UpstreamProtocolError:
            continue
        assert raw.endswith(b"\r\n\r\n")
        assert render_response_head(parsed.status, parsed.reason, parsed.headers)
