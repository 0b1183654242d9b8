"""The client's request to the origin as it is, and the origin's answer to the client as it is, streaming both ways."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

from fastcache._core.proving import Question
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.gateway import Gateway
from fastcache.engine.signing import ATTEMPTS, Signer, once
from fastcache.engine.translating import told_here
from fastcache.errors import RequestError
from fastcache.model import Headers, Result
from fastcache.policy.admission import Admission
from fastcache.policy.cache_status import cache_status_headers
from fastcache.policy.own_request import host_of
from fastcache.policy.redirection import may_be_elsewhere
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.requests import RequestHead, forward_headers, render_request_head
from fastcache.protocol.responses import ResponseHead, forward_response_headers, render_response_head
from fastcache.upstream.connection import Connection
from fastcache.upstream.pool import Pool
from fastcache.upstream.response import Response
from fastcache.upstream.sender import RequestBody

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_SMALL_BODY = 64 * 1024
"""Bytes of a request's body up to which it may be copied behind its head."""


async def ask(
    ctx: Context,
    exchange: Exchange,
    *,
    add: Headers = (),
    without: frozenset[bytes] = frozenset(),
    body: bytes | None = None,
) -> Response:
    """Send the client's request to the origin; returns when the final response head is there.

    In the client's name nothing signed is touched: the target goes out raw, every field as received (hop-by-hop ones
    aside). ``add`` holds only fields that the client did not send, or that ``without`` (lower-case names, in the
    client's name never signed ones) took out. ``body`` replaces the streamed body by the same bytes, already read.
    """
    if body is None:
        body = exchange.collected
    gateway = ctx.gateway
    if gateway is None or gateway.signer is None:
        response = await _ask_as_client(ctx, exchange, add, without, body)
    else:
        response = await _ask_in_our_name(ctx, gateway, exchange, add, without, body)
    exchange.origin_status = response.head.status
    return response


async def _ask_as_client(
    ctx: Context, exchange: Exchange, add: Headers, without: frozenset[bytes], body: bytes | None
) -> Response:
    head = exchange.head
    chunked = head.framing.kind is Framing.CHUNKED
    length = head.framing.length if head.framing.kind is Framing.LENGTH else None
    rendered, source = _rendered(ctx, head, add, without), None
    if chunked or head.framing.length > 0:
        source = exchange.watched(exchange.body()) if body is None else once(body)
    if source is not None and length is not None and length <= _SMALL_BODY and exchange.channel.has_input():
        # What is here already goes out with the head, and where it is all, nobody is needed to send more.
        first = await anext(source)
        rendered += first
        length -= len(first)
        if length == 0:
            await _see_end(source)
            source, length = None, None
    return await _send(ctx, exchange, ctx.pool, rendered, source, chunked=chunked, length=length)


async def _see_end(source: RequestBody) -> None:
    """Whoever watches a body sees its end."""
    async for _ in source:
        raise RequestError("the body is longer than its Content-Length", code="IncompleteBody")


async def _ask_in_our_name(
    ctx: Context, gateway: Gateway, exchange: Exchange, add: Headers, without: frozenset[bytes], body: bytes | None
) -> Response:
    assert exchange.admission is not None, "what was not admitted asks nothing"
    signer, admission = gateway.way(exchange.admission)
    payload = exchange.payload
    attempt = 0
    while True:
        attempt += 1
        own = await signer.own_request(admission, add=add, without=without, payload=payload, body=body)
        carried = own.carried
        response = await _send(
            ctx,
            exchange,
            own.pool,
            own.head,
            signer.source(own, payload, body),
            chunked=carried.has_body and carried.length is None,
            length=carried.length,
        )
        unread = body is not None or payload is None or not payload.started
        if await signer.judge(admission, response, repeatable=unread and attempt < ATTEMPTS):
            continue
        if not may_be_elsewhere(own.method, response.head.status) or attempt > 1:
            return response
        if not await _learns_from_bucket(ctx, signer, admission):
            return response
        response.abort()


async def _learns_from_bucket(ctx: Context, signer: Signer, admission: Admission) -> bool:
    """Whether HEAD of the bucket tells that it is elsewhere."""
    own = await signer.bucket_head(admission)
    told = await _send_alone(ctx, own.method, own.head, own.pool)
    told.abort()
    return signer.learns_region(admission, told.head)


async def _send(
    ctx: Context,
    exchange: Exchange,
    pool: Pool,
    rendered: bytes,
    source: RequestBody | None,
    *,
    chunked: bool,
    length: int | None,
) -> Response:
    head = exchange.head
    ctx.metrics.origin_request(head.method)
    response = await pool.request(
        head.method,
        rendered,
        body=source,
        chunked=chunked,
        content_length=length,
        on_informational=_interim(exchange),
        retry_safe=head.method in SAFE_METHODS,
    )
    ctx.metrics.origin_response(response.head.status)
    return response


async def go_on(ctx: Context, exchange: Exchange, connection: Connection, question: Question, add: Headers) -> Response:
    """As ``ask``, for a request without a body that the hit branch has sent already, with ``add``."""
    head = exchange.head
    response = await ctx.pool.go_on(
        connection,
        head.method,
        _rendered(ctx, head, add, frozenset()),
        unsent=question.kept if question.unsent else b"",
        received=b"" if question.unsent else question.kept,
        seconds=question.seconds,
        on_informational=_interim(exchange),
    )
    ctx.metrics.origin_response(response.head.status)
    exchange.origin_status = response.head.status
    return response


def _interim(exchange: Exchange) -> Callable[[ResponseHead], None]:
    def pass_on(response: ResponseHead) -> None:
        if exchange.head.http_10 or exchange.head_sent:
            return  # RFC 9110 section 15.2: it does not know what a 1xx is, or is in the middle of the answer
        exchange.channel.write_interim(
            render_response_head(response.status, response.reason, forward_response_headers(response))
        )

    return pass_on


async def ask_in_our_name_alone(ctx: Context, signer: Signer, admission: Admission, add: Headers) -> Response:
    """A request without a body that is no client's. Answers that speak of us are raised, as ``Signer.judge`` does."""
    for attempt in itertools.count(1):
        own = await signer.own_request(admission, add=add)
        response = await _send_alone(ctx, own.method, own.head, own.pool)
        if not await signer.judge(admission, response, repeatable=attempt < ATTEMPTS):
            break
    return response


async def ask_again_alone(
    ctx: Context, exchange: Exchange, add: Headers, without: frozenset[bytes] = frozenset()
) -> Response:
    """The request of a client that is being answered already, once more for the cache's sake: no body, nobody waits.
    Only what the exchange was begun with is looked at, because it may be over."""
    head, gateway = exchange.head, ctx.gateway
    if gateway is None or gateway.signer is None:
        return await _send_alone(ctx, head.method, _rendered(ctx, head, add, without), ctx.pool)
    assert exchange.admission is not None, "what was not admitted asks nothing"
    signer, admission = gateway.way(exchange.admission)
    own = await signer.own_request(admission, add=add, without=without)
    return await _send_alone(ctx, own.method, own.head, own.pool)


async def _send_alone(ctx: Context, method: bytes, rendered: bytes, pool: Pool) -> Response:
    ctx.metrics.origin_request(method)
    response = await pool.request(method, rendered, retry_safe=True)
    ctx.metrics.origin_response(response.head.status)
    return response


def _rendered(ctx: Context, head: RequestHead, add: Headers, without: frozenset[bytes]) -> bytes:
    fields = forward_headers(head)
    if without:
        fields = tuple((name, value) for name, value in fields if name.lower() not in without)
    fields += add
    if not head.host:
        fields = ((b"Host", host_of(ctx.origin)), *fields)  # HTTP/1.0 may leave it out, HTTP/1.1 may not
    if head.framing.kind is Framing.CHUNKED:
        fields += ((b"Transfer-Encoding", b"chunked"),)
    return render_request_head(head.method, head.target, fields)


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
    headers, framing, body = await told_here(exchange, response)
    headers += cache_status_headers(result, forward_status=head.status, detail=detail)
    if framing is NO_BODY:
        if before_end is not None:
            await before_end()
        await exchange.send_head(head.status, headers, framing)
        await exchange.end()
        return
    held: bytes | memoryview | None = None
    if before_end is None or framing != BodyFraming(Framing.LENGTH, 0):
        await exchange.send_head(head.status, headers, framing)
    while piece := await body.read():
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
