"""Response heads as the load generator reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core.answers import Answer, parse_answer

HEAD = (
    b"HTTP/1.1 206 Partial Content\r\nX-Cache:\tHIT \r\nx-cache-more: 1\r\ncontent-LENGTH: 123 \r\n"
    b"Content-Type: text/plain\r\nConnection: Close\r\n\r\n"
)


def test_what_framing_and_counting_need_is_read() -> None:
    assert parse_answer(HEAD + b"body\r\n\r\n") == Answer(len(HEAD), 206, 123, False, True, b"HIT")


def test_fields_that_are_not_there_are_told() -> None:
    head = b"HTTP/1.1 304 \r\nContent-Lengths: 1\r\nConnection: keep-alive\r\n\r\n"
    assert parse_answer(head) == Answer(len(head), 304, None, False, False, None)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert parse_answer(head) == Answer(len(head), 200, None, True, False, None)


@given(end=st.integers(0, len(HEAD) - 1))
def test_a_head_without_its_end_is_not_there_yet(end: int) -> None:
    assert parse_answer(HEAD[:end]) is None


@pytest.mark.parametrize(
    "text",
    [
        b"GARBAGE\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 99\r\n\r\n",
        b"HTTP/1.1 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
    ],
)
def test_what_is_no_head_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not the head"):
        parse_answer(text)
