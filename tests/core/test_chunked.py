"""The chunked decoder: every case whole, byte by byte, with bytes behind it, and against h11 and httptools."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.oracles import chunked_by_h11, chunked_by_httptools

from fastcache._core.chunked import ChunkedDecoder

GOOD = [
    pytest.param(b"0\r\n\r\n", b"", (), id="empty"),
    pytest.param(b"000\r\n\r\n", b"", (), id="long zero"),
    pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", (), id="one chunk"),
    pytest.param(b"5\r\nhello\r\n1\r\n \r\n6\r\nworld!\r\n0\r\n\r\n", b"hello world!", (), id="three chunks"),
    pytest.param(b"0000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", (), id="leading zeros"),
    pytest.param(b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", (), id="upper-case size"),
    pytest.param(b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", (), id="payload that looks like framing"),
    pytest.param(b"1;a\r\nx\r\n0\r\n\r\n", b"x", (), id="extension"),
    pytest.param(b'1 ; a = b ;c="d;\\"e"\r\nx\r\n0;z=1\r\n\r\n', b"x", (), id="extensions with blanks and quotes"),
    pytest.param(b"1\r\nx\r\n0\r\nA: b\r\n\r\n", b"x", ((b"A", b"b"),), id="trailer"),
    pytest.param(
        b"0\r\nx-amz-checksum-crc32c:  AAAA== \t\r\nB:\r\n\r\n",
        b"",
        ((b"x-amz-checksum-crc32c", b"AAAA=="), (b"B", b"")),
        id="two trailers, one empty",
    ),
]

BAD = [
    pytest.param(b"5\nhello\r\n0\r\n\r\n", id="bare LF behind a size"),
    pytest.param(b"5\rhello\r\n0\r\n\r\n", id="bare CR behind a size"),
    pytest.param(b"5\r\nhello\n0\r\n\r\n", id="bare LF behind data"),
    pytest.param(b"5\r\nhello!\r\n0\r\n\r\n", id="data longer than its size"),
    pytest.param(b"5\r\nhell\r\n0\r\n\r\n", id="data shorter than its size"),
    pytest.param(b"\r\n0\r\n\r\n", id="no size"),
    pytest.param(b" 5\r\nhello\r\n0\r\n\r\n", id="blank before the size"),
    pytest.param(b"5 \r\nhello\r\n0\r\n\r\n", id="blank behind the size"),
    pytest.param(b"+5\r\nhello\r\n0\r\n\r\n", id="sign"),
    pytest.param(b"-1\r\nhello\r\n0\r\n\r\n", id="negative"),
    pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="0x"),
    pytest.param(b"5_0\r\nhello\r\n0\r\n\r\n", id="underscore"),
    pytest.param(b"g\r\n", id="no hex digit"),
    pytest.param(b"8000000000000000\r\n", id="2^63"),
    pytest.param(b"ffffffffffffffff\r\n", id="2^64 - 1"),
    pytest.param(b"10000000000000005\r\nhello\r\n0\r\n\r\n", id="5 after wrapping at 2^64"),
    pytest.param(b"5;\r\nhello\r\n0\r\n\r\n", id="empty extension name"),
    pytest.param(b"5;a=\r\nhello\r\n0\r\n\r\n", id="empty extension value"),
    pytest.param(b"5;a\nhello\r\n0\r\n\r\n", id="bare LF behind an extension"),
    pytest.param(b"5;a=\x00\r\nhello\r\n0\r\n\r\n", id="NUL in an extension"),
    pytest.param(b'5;a="b\r\n"\r\nhello\r\n0\r\n\r\n', id="line end in a quoted value"),
    pytest.param(b'5;a="b"c\r\nhello\r\n0\r\n\r\n', id="text behind a quoted value"),
    pytest.param(b"5;a=b=c\r\nhello\r\n0\r\n\r\n", id="two values"),
    pytest.param(b"0\r\n\n", id="bare LF at the end"),
    pytest.param(b"0\r\n\rx", id="bare CR at the end"),
    pytest.param(b"0\r\nA b: c\r\n\r\n", id="blank in a trailer name"),
    pytest.param(b"0\r\nA : c\r\n\r\n", id="blank behind a trailer name"),
    pytest.param(b"0\r\n: c\r\n\r\n", id="empty trailer name"),
    pytest.param(b"0\r\nA\r\n\r\n", id="trailer without colon"),
    pytest.param(b"0\r\nA: b\r\n c\r\n\r\n", id="folded trailer"),
    pytest.param(b"0\r\nA: b\nC: d\r\n\r\n", id="bare LF behind a trailer"),
    pytest.param(b"0\r\nA: b\rC: d\r\n\r\n", id="bare CR in a trailer"),
    pytest.param(b"0\r\nA: \x00\r\n\r\n", id="NUL in a trailer"),
    pytest.param(b"0\r\nA: \x7f\r\n\r\n", id="DEL in a trailer"),
    pytest.param(b"0\r\nContent-Length: 5\r\n\r\n", id="Content-Length as trailer"),
    pytest.param(b"0\r\ntransfer-encoding: chunked\r\n\r\n", id="Transfer-Encoding as trailer"),
    pytest.param(b"0\r\nHOST: evil\r\n\r\n", id="Host as trailer"),
]


def payload(data: bytes, slices: list[tuple[int, int]]) -> bytes:
    return b"".join(data[offset : offset + length] for offset, length in slices)


def decode(decoder: ChunkedDecoder, data: bytes, step: int) -> tuple[bytes, bytes]:
    """The payload, and what was left behind the end, when ``data`` comes in pieces of ``step`` bytes."""
    out = bytearray()
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        slices, consumed = decoder.feed(piece)
        out += payload(piece, slices)
        if decoder.done:
            return bytes(out), data[start + consumed :]
        assert consumed == len(piece)
    return bytes(out), b""


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(("wire", "body", "trailers"), GOOD)
def test_good_bodies_in_pieces_of_any_size(wire: bytes, body: bytes, trailers: object, step: int) -> None:
    decoder = ChunkedDecoder()
    assert decode(decoder, wire, step) == (body, b"")
    assert decoder.done
    assert decoder.trailers == trailers


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize(("wire", "body", "trailers"), GOOD)
def test_bytes_behind_the_end_are_left_alone(wire: bytes, body: bytes, trailers: object, step: int) -> None:
    decoder = ChunkedDecoder()
    behind = b"HTTP/1.1 200 OK\r\n"
    assert decode(decoder, wire + behind, step) == (body, behind)
    assert decoder.trailers == trailers
    assert decoder.feed(behind) == ([], 0)


@pytest.mark.parametrize(("wire", "body", "trailers"), GOOD)
def test_a_cut_body_is_never_done(wire: bytes, body: bytes, trailers: object) -> None:
    for cut in range(len(wire)):
        decoder = ChunkedDecoder()
        decoder.feed(wire[:cut])
        assert not decoder.done
        assert decoder.trailers == ()


@pytest.mark.parametrize("step", [1, 2, 10_000])
@pytest.mark.parametrize("wire", BAD)
def test_anything_off_is_an_error_and_stays_one(wire: bytes, step: int) -> None:
    decoder = ChunkedDecoder()
    with pytest.raises(ValueError, match=r"^[a-zA-Z0-9^ ]+$"):
        decode(decoder, wire, step)
    assert not decoder.done
    with pytest.raises(ValueError, match=r"^[a-zA-Z0-9^ ]+$"):
        decoder.feed(b"0\r\n\r\n")


def test_the_largest_size_is_accepted() -> None:
    slices, consumed = ChunkedDecoder().feed(b"7fffffffffffffff\r\nabc")
    assert (slices, consumed) == ([(18, 3)], 21)


def test_sizes_beyond_32_bits_keep_counting() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"100000001\r\n")
    block = bytes(2**24)
    for _ in range(2**8):
        assert decoder.feed(block) == ([(0, len(block))], len(block))
    assert decoder.feed(b"x\r\n0\r\n\r\n") == ([(0, 1)], 8)
    assert decoder.done


def test_a_line_is_bounded() -> None:
    line = b"1;" + b"a" * 96
    assert len(line) == 98
    ChunkedDecoder(max_line=100).feed(line + b"\r\n")
    with pytest.raises(ValueError, match="too long"):
        ChunkedDecoder(max_line=100).feed(b"1;" + b"a" * 97 + b"\r\n")
    with pytest.raises(ValueError, match="too long"):
        ChunkedDecoder(max_line=100).feed(b"0" * 101)


def test_trailers_are_bounded() -> None:
    field = b"A: " + b"x" * 95 + b"\r\n"
    decoder = ChunkedDecoder(max_trailer=1000)
    decoder.feed(b"0\r\n" + field * 10 + b"\r\n")
    assert len(decoder.trailers) == 10
    with pytest.raises(ValueError, match="too long"):
        ChunkedDecoder(max_trailer=1000).feed(b"0\r\n" + field * 10 + b"B: c\r\n\r\n")


def test_tiny_chunks_are_fine_and_tiny_chunks_with_long_extensions_are_not() -> None:
    decoder = ChunkedDecoder()
    slices, _ = decoder.feed(b"1\r\nx\r\n" * 50_000)
    assert len(slices) == 50_000
    with pytest.raises(ValueError, match="framing"):
        ChunkedDecoder().feed((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 50)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 400), st.binary(max_size=20))
def test_compacting_gives_the_same_bytes_in_one_piece(chunks: list[bytes], step: int, behind: bytes) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nA: b\r\n\r\n" + behind
    decoder = ChunkedDecoder()
    out = bytearray()
    for start in range(0, len(wire), step):
        piece = bytearray(wire[start : start + step])
        offset, length, consumed = decoder.compact(memoryview(piece))
        assert offset + length <= consumed <= len(piece)
        out += piece[offset : offset + length]
        if decoder.done:
            assert wire[start + consumed :] == behind
            break
        assert consumed == len(piece)
    assert decoder.done
    assert bytes(out) == b"".join(chunks)
    assert decoder.trailers == ((b"A", b"b"),)


def test_compacting_needs_a_writable_buffer() -> None:
    with pytest.raises(BufferError):
        ChunkedDecoder().compact(b"0\r\n\r\n")  # type: ignore[arg-type]


def by_ours(wire: bytes, step: int) -> bytes | None:
    decoder = ChunkedDecoder()
    try:
        body, _ = decode(decoder, wire, step)
    except ValueError:
        return None
    return body if decoder.done else None


@pytest.mark.parametrize(("wire", "body", "trailers"), GOOD)
def test_the_oracles_agree_about_the_good_ones(wire: bytes, body: bytes, trailers: object) -> None:
    # Neither knows the blanks that the grammar allows around an extension's semicolon and equals sign.
    expected = None if b" ;" in wire else body
    assert chunked_by_httptools(wire) == expected
    assert chunked_by_h11(wire) == expected


# Pieces of framing put together at random reach the corners that random bytes never do.
FRAGMENTS = st.sampled_from(
    [b"0", b"1", b"3", b"a", b"A", b"f", b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b";", b"a=b", b'"', b" ", b"\t", b"x"]
    + [b"xyz", b"0\r\n\r\n", b"1\r\nx\r\n", b"A: b", b":", b"-", b"\0", b"\x80", b"10000000000000000", b"3\r\nabc\r\n"]
)


@settings(max_examples=1500)
@given(st.lists(FRAGMENTS, max_size=12).map(b"".join), st.integers(1, 9))
def test_what_we_accept_both_oracles_read_the_same(wire: bytes, step: int) -> None:
    ours = by_ours(wire, step)
    assert by_ours(wire, 10_000) == ours
    if ours is None:
        return
    for theirs in (chunked_by_httptools(wire), chunked_by_h11(wire)):
        assert theirs in (ours, None)
        if b";" not in wire and b"\x80" not in wire:
            assert theirs == ours


@pytest.mark.parametrize("limits", [{"max_line": 1 << 31}, {"max_trailer": 1 << 31}, {"max_trailer": (1 << 32) - 1}])
def test_limits_that_counting_in_32_bits_would_run_over_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="limit"):
        ChunkedDecoder(**limits)
