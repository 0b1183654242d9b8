"""Heads and bodies of HTTP messages."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.harness.oracles import assert_h11_agrees, chunked_by_h11, chunked_by_httptools

from fastcache._core.chunked import ChunkedDecoder
from fastcache.errors import RequestError, UpstreamProtocolError
from fastcache.protocol.aws_chunked import AwsChunkedDecoder, AwsChunkedError, ChunkData, ChunkHead, End
from fastcache.protocol.framing import Framing
from fastcache.protocol.requests import forward_headers, parse_request_head
from fastcache.protocol.responses import forward_response_headers, parse_response_head, render_response_head

_HEAD_TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\r\n ", b": ", b":", b" ", b"\t", b"\0", b"\x7f", b"\xff", b",", b";", b"/", b"*", b"#"),
    *(b"GET ", b"PUT ", b"HEAD ", b"POST ", b" HTTP/1.1", b" HTTP/1.0", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 304 \r\n"),
    *(b"Host: a\r\n", b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"identity", b"gzip", b"Connection: "),
    *(b"close", b"keep-alive", b"upgrade", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Range: bytes=0-1\r\n"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"0", b"-1", b"+5", b"http://a/b"),
)


def request_head(data: bytes) -> None:
    """Refused, or read as h11 reads it and fit to be sent on."""
    try:
        head = parse_request_head(data)
    except RequestError:
        return
    assert_h11_agrees(data, head)
    names = {name.lower() for name, _ in forward_headers(head)}
    assert not names & {b"connection", b"transfer-encoding", b"upgrade", b"keep-alive"}
    assert head.path.startswith(b"/") or head.path == b"*"


def response_head(data: bytes) -> None:
    """Refused, or what is sent on of it says the same when it is read again. The first byte picks the method."""
    method = (b"GET", b"HEAD", b"PUT")[data[0] % 3] if data else b"GET"
    try:
        head = parse_response_head(data[1:], method)
    except UpstreamProtocolError:
        return
    if head.status == 101:
        return  # refused by its status wherever it arrives: we never ask for another protocol
    assert not (method == b"HEAD" and head.framing.kind is not Framing.NONE)
    fields = forward_response_headers(head)
    again = parse_response_head(render_response_head(head.status, head.reason, fields), method)
    assert (again.status, again.reason, again.headers) == (head.status, head.reason, fields)
    if head.framing.kind is Framing.LENGTH:
        assert again.framing == head.framing


def _chunked(data: bytes, step: int) -> tuple[bytes, bytes, object] | None:
    decoder = ChunkedDecoder()
    body = bytearray()
    try:
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            slices, consumed = decoder.feed(piece)
            for offset, length in slices:
                assert 0 <= offset <= offset + length <= consumed <= len(piece)
                body += piece[offset : offset + length]
            if decoder.done:
                return bytes(body), data[start + consumed :], decoder.trailers
            assert consumed == len(piece)
    except ValueError:
        return None
    return None


def chunked(data: bytes) -> None:
    """The same however it is cut, moved together or not, and as h11 and httptools read it where they accept it."""
    ours = _chunked(data, max(1, len(data)))
    for step in (1, 3):
        assert _chunked(data, step) == ours
    moved = bytearray(data)
    decoder = ChunkedDecoder()
    try:
        offset, length, consumed = decoder.compact(moved)
    except ValueError:
        assert ours is None
        return
    assert offset + length <= consumed <= len(data)
    if ours is None:
        assert not decoder.done
        return
    assert (bytes(moved[offset : offset + length]), data[consumed:]) == ours[:2]
    for theirs in (chunked_by_httptools(data), chunked_by_h11(data)):
        assert theirs in (ours[0], None)


def _aws_chunked(data: bytes, step: int, expected: int | None) -> tuple[bytes, End] | None:
    decoder = AwsChunkedDecoder(expected)
    body, announced, end = bytearray(), 0, None
    try:
        for start in range(0, len(data), step):
            for event in decoder.feed(data[start : start + step]):
                if isinstance(event, ChunkHead):
                    assert len(body) == announced
                    announced += event.size
                elif isinstance(event, ChunkData):
                    body += event.data
                elif isinstance(event, End):
                    end = event
        decoder.finish()
    except AwsChunkedError:
        return None
    assert end is not None
    assert decoder.complete
    assert len(body) == announced == decoder.decoded
    return bytes(body), end


def aws_chunked(data: bytes) -> None:
    """The same however it is cut, and as long as was declared, or refused."""
    ours = _aws_chunked(data, max(1, len(data)), None)
    for step in (1, 7) if len(data) <= 256 else (61,):  # byte by byte a long input takes milliseconds
        assert _aws_chunked(data, step, None) == ours
    if ours is not None:
        length = len(ours[0])
        assert _aws_chunked(data, 5, length) == ours
        assert _aws_chunked(data, 5, length + 1) is None
        assert length == 0 or _aws_chunked(data, 5, length - 1) is None


_CHUNK_TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"0\r\n\r\n",
        b"0\r\n",
        b"1\r\nx\r\n",
        b"3\r\nabc\r\n",
        b"f",
        b"A",
        b";",
        b"a=b",
        b'="',
        b'"',
    ),
    *(
        b"\\",
        b" ",
        b"\t",
        b"A: b\r\n",
        b":",
        b"7fffffffffffffff",
        b"8000000000000000",
        b"10000000000000000",
        b"-",
        b"0x",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"\0",
        b"\x80",
        b";chunk-signature=" + b"a" * 64,
        b"x-amz-trailer-signature:" + b"0" * 64,
    ),
    *(b"x-amz-checksum-crc32c:AAAA==", b"\n\r\n"),
)
_SIGNED = b";chunk-signature=" + b"0" * 64

TARGETS = {
    "request_head": Target(
        request_head,
        (
            b"GET /bucket/key HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nRange: bytes=0-5\r\nx-amz-meta-a: b\r\n\r\n",
            b"PUT /b/k?uploadId=x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
            b"PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-amz-checksum-crc32c\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"\r\nGET http://a:80/b HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        ),
        _HEAD_TOKENS,
    ),
    "response_head": Target(
        response_head,
        (
            b'\0HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 12\r\n\r\n',
            b"\1HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\n",
            b"\2HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x , close\r\nx: y\r\n\r\n",
            b'\0HTTP/1.0 304 \r\nETag: "a"\r\nConnection: Keep-Alive\r\n\r\n',
            b"\0HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        ),
        _HEAD_TOKENS,
    ),
    "chunked": Target(
        chunked,
        (
            b"5\r\nhello\r\n1\r\n \r\n6\r\nworld!\r\n0\r\n\r\n",
            b'1 ; a = b ;c="d;\\"e"\r\nx\r\n0;z=1\r\nA: b\r\nB:\r\n\r\nGET',
        ),
        _CHUNK_TOKENS,
    ),
    "aws_chunked": Target(
        aws_chunked,
        (
            b"5" + _SIGNED + b"\r\nhello\r\n0" + _SIGNED + b"\r\n\r\n",
            b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:AAAA==\n\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n",
        ),
        _CHUNK_TOKENS,
    ),
}
