"""The client's request to the origin as it is, and the origin's answer to the client as it is, streaming both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.model import Headers, OriginId, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.requests import RequestHead, forward_headers, render_request_head
from fastcache.protocol.responses import ResponseHead, forward_response_headers, render_response_head
from fastcache.upstream.response import Response

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


async def ask(
    ctx: Context,
    exchange: Exchange,
    *,
    add: Headers = (),
    without: frozenset[bytes] = frozenset(),
    body: bytes | None = None,
) -> Response:
    """Send the client's request to the origin; returns when the final response head is there.

    Nothing signed is touched: the target goes out raw, every field as received (hop-by-hop ones aside). ``add`` holds
    only fields that the client did not send, or that ``without`` (lower-case names, never signed ones) took out.
    ``body`` replaces the streamed body by the same bytes, already read.
    """
    head = exchange.head
    chunked = head.framing.kind is Framing.CHUNKED
    rendered = _rendered(ctx, head, add, without)
    has_body = head.framing.kind is Framing.CHUNKED or head.framing.length > 0
    source = None
    if has_body:
        source = exchange.body() if body is None else _once(body)

    def interim(response: ResponseHead) -> None:
        if head.http_10:
            return  # RFC 9110 section 15.2: it does not know what a 1xx is
        exchange.channel.write_interim(
            render_response_head(response.status, response.reason, forward_response_headers(response))
        )

    ctx.metrics.origin_request(head.method)
    response = await ctx.pool.request(
        head.method,
        rendered,
        body=source,
        chunked=chunked,
        content_length=head.framing.length if head.framing.kind is Framing.LENGTH else None,
        on_informational=interim,
        retry_safe=head.method in SAFE_METHODS,
    )
    ctx.metrics.origin_response(response.head.status)
    exchange.origin_status = response.head.status
    return response


def _host_of(origin: OriginId) -> bytes:
    """RFC 9110 section 7.2: without the scheme's own port."""
    return str(origin).partition("://")[2].removesuffix(_DEFAULT_PORT.get(origin.scheme, "-")).encode("ascii")


async def ask_again_alone(ctx: Context, head: RequestHead, add: Headers) -> Response:
    """The request of a client that is being answered already, once more for the cache's sake: no body, nobody waits."""
    ctx.metrics.origin_request(head.method)
    response = await ctx.pool.request(head.method, _rendered(ctx, head, add, frozenset()), retry_safe=True)
    ctx.metrics.origin_response(response.head.status)
    return response


def _rendered(ctx: Context, head: RequestHead, add: Headers, without: frozenset[bytes]) -> bytes:
    fields = forward_headers(head)
    if without:
        fields = tuple((name, value) for name, value in fields if name.lower() not in without)
    fields += add
    if not head.host:
        fields = ((b"Host", _host_of(ctx.origin)), *fields)  # HTTP/1.0 may leave it out, HTTP/1.1 may not
    if head.framing.kind is Framing.CHUNKED:
        fields += ((b"Transfer-Encoding", b"chunked"),)
    return render_request_head(head.method, head.target, fields)


async def _once(body: bytes) -> AsyncIterator[bytes | memoryview]:
    yield body


async def relay(
    exchange: Exchange,
    response: Response,
    result: Result,
    *,
    detail: bytes | None = None,
    before_end: Callable[[], Awaitable[None]] | None = None,
    watch: Callable[[memoryview], None] | None = None,
) -> None:
    """Pass the origin's answer on; ``watch`` sees every piece of it first.

    With ``before_end`` the last byte of the answer (the head itself when there is no body) is held until it returned:
    nobody may learn of a write's outcome before its second fence is raised.
    """
    exchange.result = result
    try:
        await _relay(exchange, response, result, detail, before_end, watch)
    finally:
        exchange.origin_bytes += response.bytes_received
        response.abort()


async def _relay(
    exchange: Exchange,
    response: Response,
    result: Result,
    detail: bytes | None,
    before_end: Callable[[], Awaitable[None]] | None,
    watch: Callable[[memoryview], None] | None,
) -> None:
    head = response.head
    headers = forward_response_headers(head) + cache_status_headers(result, forward_status=head.status, detail=detail)
    framing = _client_framing(head)
    if framing is NO_BODY:
        if before_end is not None:
            await before_end()
        await exchange.send_head(head.status, headers, framing)
        await exchange.end()
        return
    held: bytes | memoryview | None = None
    if before_end is None or framing != BodyFraming(Framing.LENGTH, 0):
        await exchange.send_head(head.status, headers, framing)
    while piece := await response.read():
        if watch is not None:
            watch(piece)
        if before_end is None:
            await exchange.write(piece)
            continue
        if held is not None:
            await exchange.write(held)
        if len(piece) > 1:
            await exchange.write(piece[:-1])
        held = piece[-1:]
    if before_end is not None:
        await before_end()
    if not exchange.head_sent:
        await exchange.send_head(head.status, headers, framing)
    if held is not None:
        await exchange.write(held)
    await exchange.end()


def _client_framing(head: ResponseHead) -> BodyFraming:
    if head.framing.kind is Framing.CLOSE:
        return BodyFraming(Framing.CHUNKED)
    if head.framing.kind is Framing.NONE:
        return NO_BODY
    return head.framing
