"""The entry of every request: parse, classify, hand to its state machine, account for it, never leave it unanswered."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import NamedTuple

from fastcache.engine.begun import Begun, handle_begun
from fastcache.engine.channel import Channel, ClientGoneError
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.forwarding import ask, relay
from fastcache.engine.reads import handle_read
from fastcache.engine.resuming import resume_read
from fastcache.engine.sources import AbortedAnswerError
from fastcache.engine.unsafe import handle_unsafe
from fastcache.errors import FastcacheError, RequestError, StorageError, UpstreamError
from fastcache.model import HeadRecord, Result
from fastcache.observe.access_line import AccessRecord
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.request_class import Classified, UnsafeRequest, classify
from fastcache.protocol.framing import NO_BODY
from fastcache.protocol.requests import HeadLimits, RequestHead, parse_request_head
from fastcache.protocol.targets import S3Target, parse_target

_log = logging.getLogger("fastcache.engine")

_UNPARSED = RequestHead(
    method=b"GET",
    target=b"/",
    http_10=False,
    headers=(),
    framing=NO_BODY,
    keep_alive=False,
    expect_continue=False,
    host=b"",
)
"""Stands for a request whose head could not be read; its answer closes the connection."""
_RETRY_AFTER = ((b"Retry-After", b"1"),)
_INTERNAL_ERROR = 500, "InternalError", "We encountered an internal error. Please try again."


async def serve_request(
    ctx: Context, channel: Channel, raw: bytes, limits: HeadLimits, begun: Begun | None = None
) -> bool:
    """Answer one request. True: the connection may carry another; False: it must be ended, its answer is complete.

    ``begun``: the hit branch has sent it to the origin already; what is not needed of that stays the caller's to close.
    Raises ClientGoneError or AbortedAnswerError when the answer is not complete: the connection is to be reset.
    """
    request_id = ctx.next_request_id()
    try:
        head = parse_request_head(raw, limits)
    except RequestError as error:
        return await refuse(ctx, channel, error, raw, request_id)
    exchange = Exchange(channel, head, request_id, ctx.clock)
    if ctx.draining:
        exchange.keep_alive = False
    if begun is not None:
        exchange.started -= begun.question.seconds
    try:
        await _answer(ctx, exchange, begun)
    finally:
        _account(ctx, exchange)
    return exchange.keep_alive and exchange.body_read and not ctx.cuts_off


class BegunAnswer(NamedTuple):
    """An answer of the hit branch whose head is out."""

    record: HeadRecord
    """What it answers with."""
    request_id: str
    sent: int
    """Body bytes."""
    seconds: float
    """Since its request was complete."""


async def resume_answer(ctx: Context, channel: Channel, raw: bytes, limits: HeadLimits, begun: BegunAnswer) -> bool:
    """Go on with an answer of the hit branch. As ``serve_request``."""
    head = parse_request_head(raw, limits)
    exchange = Exchange(channel, head, begun.request_id, ctx.clock)
    exchange.resume(begun.sent, begun.seconds)
    ctx.requests_in_flight += 1
    try:
        target = parse_target(head, ctx.addressing)
        exchange.bucket, exchange.key, exchange.version = target.bucket, target.key, target.version
        if ctx.gateway is not None:
            exchange.admission = admission = ctx.gateway.resumed(head, target)
            exchange.head, target = admission.head, admission.target
        read = classify(exchange.head, target, ctx.identity_for(exchange.admission), in_our_name=ctx.signs)
        if not isinstance(read, ReadRequest) or ctx.store is None:
            raise AbortedAnswerError("the hit branch answered what it should not have")
        result = Result.HIT if ctx.authorization.has_ttl else Result.REVALIDATED
        await resume_read(ctx, ctx.store, exchange, read, begun.record, result)
    except (RequestError, StorageError, UpstreamError) as error:
        raise AbortedAnswerError(str(error)) from error
    finally:
        ctx.requests_in_flight -= 1
        _account(ctx, exchange)
    return exchange.keep_alive and not ctx.cuts_off


async def refuse(
    ctx: Context, channel: Channel, error: RequestError, raw: bytes = b"", request_id: str | None = None
) -> bool:
    """Answer a request that is not read, or could not be; ``raw`` is what there is of its head."""
    # A body behind the answer to a HEAD would be taken for the next answer.
    head = replace(_UNPARSED, method=b"HEAD") if raw.startswith(b"HEAD ") else _UNPARSED
    exchange = Exchange(channel, head, request_id or ctx.next_request_id(), ctx.clock)
    exchange.keep_alive = False
    extra = _RETRY_AFTER if error.response_status == 503 else ()
    try:
        await exchange.send_error(error.response_status, error.response_code, str(error), extra=extra)
    finally:
        _account(ctx, exchange)
    return False


async def _answer(ctx: Context, exchange: Exchange, begun: Begun | None) -> None:
    if ctx.requests_in_flight >= ctx.max_requests:
        ctx.metrics.refused("requests")
        exchange.keep_alive = exchange.keep_alive and exchange.body_read
        await exchange.send_error(503, "SlowDown", "Please reduce your request rate.", extra=_RETRY_AFTER)
        return
    ctx.requests_in_flight += 1
    try:
        await _route(ctx, exchange, begun)
    except (ClientGoneError, AbortedAnswerError):
        raise
    except RequestError as error:
        if exchange.head_sent:
            raise AbortedAnswerError(str(error)) from error
        if error.closes:
            exchange.keep_alive = False
        await exchange.send_error(error.response_status, error.response_code, str(error))
    except UpstreamError as error:
        ctx.metrics.origin_error(error.kind)
        _log.log(error.log_level, "request %s: %s", exchange.request_id, error)
        if exchange.head_sent:
            raise AbortedAnswerError(str(error)) from error
        await exchange.send_error(error.status, error.code, error.told)
    except FastcacheError as error:
        _log.log(error.log_level, "request %s: %s", exchange.request_id, error)
        if exchange.head_sent:
            raise AbortedAnswerError(str(error)) from error
        await exchange.send_error(*_INTERNAL_ERROR)
    except Exception:  # a bug costs its own request, is logged whole, and the client is told if that can still be
        if exchange.head_sent:
            raise
        _log.exception("request %s failed in an unexpected way", exchange.request_id)
        exchange.keep_alive = False
        await exchange.send_error(*_INTERNAL_ERROR)
    finally:
        ctx.requests_in_flight -= 1


async def _route(ctx: Context, exchange: Exchange, begun: Begun | None) -> None:
    target = parse_target(exchange.head, ctx.addressing)
    exchange.bucket, exchange.key, exchange.version = target.bucket, target.key, target.version
    classified = await _classified(ctx, exchange, target)
    if isinstance(classified, UnsafeRequest):
        await handle_unsafe(ctx, exchange, exchange.admission.target if exchange.admission else target, classified)
        return
    if isinstance(classified, ReadRequest):
        if ctx.store is not None:
            try:
                if begun is not None:
                    await handle_begun(ctx, ctx.store, exchange, classified, begun)
                else:
                    await handle_read(ctx, ctx.store, exchange, classified)
            except StorageError as error:
                # A broken cache never fails a request that the origin would answer.
                if exchange.head_sent:
                    raise AbortedAnswerError(str(error)) from error
                _log.warning("request %s goes on without the cache: %s", exchange.request_id, error)
            else:
                return
        reason = b"off"
    else:
        reason = classified.reason
    response = await ask(ctx, exchange)
    await relay(exchange, response, Result.PASS, detail=reason)


async def _classified(ctx: Context, exchange: Exchange, target: S3Target) -> Classified:
    """What the request is, when the gateway has let it in."""
    gateway = ctx.gateway
    if gateway is None:
        return classify(exchange.head, target, ctx.object_id, multi_range=ctx.multi_range)
    admission = await gateway.admit(exchange, target)
    classified = classify(
        admission.head,
        admission.target,
        ctx.identity_for(admission),
        multi_range=ctx.multi_range,
        in_our_name=gateway.signer is not None,
    )
    if isinstance(classified, ReadRequest) and not admission.trusted:
        return replace(classified, must_ask=True)
    return classified


def _account(ctx: Context, exchange: Exchange) -> None:
    """Metrics and access log, once per request, whatever became of it."""
    now = time.perf_counter()
    head = exchange.head
    seconds = now - exchange.started
    first = None if exchange.first_byte_at is None else exchange.first_byte_at - exchange.started
    sent = exchange.body_sent()
    # 499: the client left before an answer began; the number is nginx's, no RFC has one.
    status = exchange.status or 499
    result = exchange.result if exchange.ended else Result.ERROR
    ctx.metrics.request_done(head.method, status, result, seconds, first, sent)
    if not ctx.access_log.wants(status, result, exchange.error_code or None):
        return
    ctx.access_log.write(
        AccessRecord(
            time=ctx.clock.wall(),
            remote=exchange.channel.peer[0],
            request_id=exchange.request_id,
            method=head.method,
            target=head.target,
            bucket=exchange.bucket,
            key=exchange.key,
            version_id=exchange.version,
            status=status,
            error_code=exchange.error_code or None,
            bytes_sent=sent,
            object_size=exchange.object_size,
            total_seconds=seconds,
            turnaround_seconds=first,
            referer=head.get(b"referer"),
            user_agent=head.get(b"user-agent"),
            host=head.host,
            result=result,
            origin_status=exchange.origin_status,
            origin_bytes=exchange.origin_bytes,
            coalesced=result is Result.COALESCED,
            http_version="HTTP/1.0" if head.http_10 else "HTTP/1.1",
        )
    )
