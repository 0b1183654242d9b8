"""Answer a read from bytes that are here: committed extents, or a fill that is under way."""

from __future__ import annotations

import contextlib
import logging
from contextlib import AbstractContextManager

from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.forwarding import ask
from fastcache.engine.lessons import forget
from fastcache.engine.sources import AbortedAnswerError, NotBegunError, PiecedSource, Source
from fastcache.engine.span_source import OtherGenerationError, Request, SpanSource, own_ask
from fastcache.errors import FastcacheError, UpstreamError
from fastcache.model import Headers, HeadRecord, Interval, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.policy.local_answer import LocalAnswer
from fastcache.policy.overrides import with_overrides
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, judge_body
from fastcache.policy.stored_headers import cors_headers, not_modified_headers, replayed_headers
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing

_log = logging.getLogger("fastcache.engine.serving")

_REPEAT_LIMIT = 64 * 1024 * 1024
"""Bytes of an answer that the origin is made to send once more so that the rest behind them can be had."""
REFUSALS = {
    412: ("PreconditionFailed", "At least one of the preconditions you specified did not hold."),
    416: ("InvalidRange", "The requested range is not satisfiable"),
}
"""Code and message of what a stored head alone refuses."""
_SAYS_OTHER = frozenset({200, 206, 404, 412, 416})
"""Statuses that speak of the object; a 403 or a 503 says nothing about it."""


async def send_body(
    ctx: Context,
    exchange: Exchange,
    read: ReadRequest,
    record: HeadRecord,
    interval: Interval,
    source: Source | None,
    *,
    asked: bool = False,
) -> None:
    """Send the body behind a head that is out or held. What the source cannot give any more is asked of the origin;
    where the signature forbids to ask for the rest alone, the request is repeated as long as little of it was sent.
    Otherwise AbortedAnswerError: the connection is reset, never ended cleanly.

    As long as the head is held, nothing is lost: NotBegunError says that it is withdrawn, because the body cannot be
    given, and that another answer may be possible. Where the origin was ``asked`` for these very bytes just now it is
    asked for them once more first, and UpstreamError says that it does not give them.
    """
    if source is not None and interval.length:
        with _watched(ctx, exchange, read, record, interval, source):
            try:
                await source.send(exchange, interval)
            except OtherGenerationError as error:
                if exchange.head_sent:
                    raise
                raise _withdrawn(exchange, error) from error
            except (AbortedAnswerError, UpstreamError) as error:
                if not (exchange.head_sent or asked):
                    raise _withdrawn(exchange, error) from error
                await _continue(ctx, exchange, read, record, interval, error)
    await exchange.end()


async def _continue(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, error: FastcacheError
) -> None:
    try:
        await continue_if_allowed(ctx, exchange, read, record, interval, error)
    except AbortedAnswerError as gone:
        if exchange.head_sent:
            raise
        raise _withdrawn(exchange, gone) from gone


def _withdrawn(exchange: Exchange, error: FastcacheError) -> NotBegunError:
    exchange.withdraw_head()
    return NotBegunError(str(error))


def _watched(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, source: Source
) -> AbstractContextManager[None]:
    if ctx.watcher is None:
        return contextlib.nullcontext()
    if isinstance(source, PiecedSource):
        asked = source.asked
    else:
        asked = [interval] if exchange.result is Result.MISS else []
    return ctx.watcher.reading(exchange, read, record, interval, asked)


async def continue_if_allowed(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, error: FastcacheError
) -> None:
    """Have the origin asked for what ``error`` kept from being sent, if that may be asked for; else AbortedAnswerError.

    The rest alone, where it may be: then it is stored, and those who lack it at the same time ask once. Else the
    client's own request again, for all of it.
    """
    sent = exchange.body_sent()
    store = ctx.store
    if read.may_ask_for_part and store is not None:
        _log.warning("the rest of an answer is asked for after %d bytes: %s", sent, error)
        await _send_rest(Request(ctx, store, exchange, read, record, own_ask(ctx, exchange, read)), interval, sent)
        return
    if sent > _REPEAT_LIMIT:
        raise AbortedAnswerError(str(error)) from error
    _log.warning("an answer is repeated from the origin after %d bytes: %s", sent, error)
    await _repeat(ctx, exchange, read, record, interval, sent)


async def _send_rest(request: Request, interval: Interval, sent: int) -> None:
    rest = Interval(interval.start + sent, interval.end)
    source = SpanSource(request, rest, rest)
    try:
        source.begin()
        await source.send(request.exchange, rest)
    except OtherGenerationError as error:
        raise AbortedAnswerError(str(error)) from error
    finally:
        source.close()


async def _repeat(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, sent: int
) -> None:
    """The client's own request as it came, for exactly this generation (SEMANTICS 28), streamed past the cache from
    where the answer stopped."""
    response = await ask(ctx, exchange)
    try:
        judged = judge_body(
            response.head,
            requested=interval,
            range_asked=read.range_field_sent,
            checksum_mode=False,
            at=ctx.clock.wall(),
            honour_no_store=False,
            allow_kms=True,  # nothing of it is stored
        )
        if (
            isinstance(judged, NotStorable)
            or judged.interval != interval
            or judged.record.generation != record.generation
            or response.head.status not in (200, 206)
        ):
            if ctx.store is not None and response.head.status in _SAYS_OTHER:
                # It was overwritten, or never had the size that its head announced: either way not to be served again.
                forget(ctx, ctx.store, read)
            raise AbortedAnswerError("the origin does not have the rest of this generation any more")
        skip = sent
        while piece := await response.read():
            wanted = piece[skip:]
            skip -= len(piece) - len(wanted)
            if wanted:
                await exchange.write(wanted)
    finally:
        exchange.origin_bytes += response.bytes_received
        response.abort()


async def send_stored(
    ctx: Context,
    exchange: Exchange,
    read: ReadRequest,
    record: HeadRecord,
    answer: LocalAnswer,
    source: Source | None,
    result: Result,
    *,
    age: float,
    validation: Headers | None,
    ttl: float | None = None,
    asked: bool = False,
) -> None:
    """Send head and body of an answer that is known to be current. Raises as ``send_body`` does; the head goes out
    with the first byte of the body.

    ``validation`` holds the headers of the origin's answer to this very request, None when there was none: then the
    request ids are ours.
    """
    exchange.result = result
    exchange.object_size = record.generation.size
    whole = answer.status == 200
    headers: Headers = (
        replayed_headers(
            record,
            age=age,
            whole_object=whole,
            checksum_mode=read.checksum_mode,
            validation=validation or (),
            stored_for=max(0.0, ctx.clock.wall() - record.stored_at),
        )
        if answer.status != 412 and answer.status != 416
        else ()
    )
    if answer.interval is not None and read.overrides:
        headers = with_overrides(headers, read.overrides)
    if answer.status == 304:
        headers = not_modified_headers(headers)
    if validation is None or not any(name.lower() == b"x-amz-request-id" for name, _ in validation):
        headers += exchange.request_ids()
    headers += ((b"Age", b"%d" % max(0, int(age))),)
    status = cache_status_headers(
        result,
        forward_status=exchange.origin_status,
        ttl=None if ttl is None else max(0, int(ttl - age)),
    )
    if answer.status in (412, 416):
        await _send_refusal(exchange, answer, cors_headers(validation or ()), result)
        return
    if answer.interval is None or read.method == b"HEAD":
        length = answer.headers if read.method == b"HEAD" and answer.interval is not None else ()
        await exchange.send_head(answer.status, headers + length + exchange.now_headers() + status, NO_BODY)
        await exchange.end()
        return
    framing = BodyFraming(Framing.LENGTH, answer.interval.length)
    fields = headers + answer.headers + exchange.now_headers() + status
    await exchange.send_head(answer.status, fields, framing, hold=True)
    await send_body(ctx, exchange, read, record, answer.interval, source, asked=asked)


async def _send_refusal(exchange: Exchange, answer: LocalAnswer, cors: Headers, result: Result) -> None:
    """``cors`` comes from the origin's answer to this very request: without it a browser hides even the status."""
    code, message = REFUSALS[answer.status]
    await exchange.send_error(answer.status, code, message, extra=answer.headers + cors, result=result)
