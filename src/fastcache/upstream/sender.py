"""Sending a request body while the answer may already be on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastcache.errors import RequestError

if TYPE_CHECKING:
    from fastcache.upstream.connection import Connection
    from fastcache.upstream.exchange import Exchange

RequestBody = AsyncIterator[bytes | memoryview]
"""Pieces of a request body. A piece must not change after it was handed over: it may wait unsent behind others."""


async def send_body(
    connection: Connection, exchange: Exchange, body: RequestBody, *, chunked: bool, content_length: int | None
) -> None:
    """Send ``body`` until it ends or a final answer makes the rest pointless.

    RequestError when it is not as long as ``content_length`` says; whatever ``body`` raises passes through. The
    iterator is read to its end but never closed: it is the caller's.
    """
    sent = 0
    while (piece := await _next_piece(connection, exchange, body)) is not None:
        if not piece:
            continue
        size = len(piece)
        sent += size
        if content_length is not None and sent > content_length:
            raise RequestError("the body is longer than its Content-Length", code="IncompleteBody")
        if exchange.final:
            return
        if chunked:
            connection.write(exchange, b"%x\r\n" % size, piece, b"\r\n")
        else:
            connection.write(exchange, piece, last=sent == content_length)
        await connection.drained(exchange)
    if content_length is not None and sent != content_length:
        raise RequestError("the body is shorter than its Content-Length", code="IncompleteBody")
    if exchange.final:
        return
    if chunked:
        connection.write(exchange, b"0\r\n\r\n", last=True)
    elif not exchange.request_complete:
        connection.write(exchange, last=True)


async def _next_piece(connection: Connection, exchange: Exchange, body: RequestBody) -> bytes | memoryview | None:
    exchange.awaiting_client = True
    try:
        return await anext(body, None)
    finally:
        exchange.awaiting_client = False
        connection.restart_patience(exchange)
