"""Read-ahead: what follows reads that follow each other is fetched before it is asked for, in requests of our own.

``policy.readahead`` decides what. Each window is a fill that readers join when they get there; it is fetched only as
long as it is being stored, so that a write, another generation or a full disk ends it. At most MOST_FETCHES connections
are used for that, and the share of the cache that the policy counts. Whoever reads the object counts, so that several
workers of one job are one reader; nobody gets what was fetched ahead without being allowed to read it himself.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fastcache.engine.asking import Asked
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill import Fill
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import ask_again_alone
from fastcache.engine.gaps import not_under_way
from fastcache.engine.span_source import Ask, Request
from fastcache.errors import FastcacheError
from fastcache.model import Generation, Headers, HeadRecord, Interval
from fastcache.policy.read_request import CONDITION_FIELDS, ReadRequest
from fastcache.policy.readahead import ReadAhead, ReadAheadRule, Share
from fastcache.policy.widening import merged
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.ahead")

MOST_FETCHES = 8
"""Windows being fetched at a time; the others are not fetched ahead."""
MOST_OBJECTS = 1024
"""Objects whose reads are watched; the one that rests longest gives way."""
_FIRST = 256 * 1024
"""The least window. Neighbouring columns of a Parquet file look like a scan; this is what is lost by that at most."""
_MOST_ENDS = 256
"""Reads of an object that are remembered, so that those side by side are known."""
_WITHOUT = CONDITION_FIELDS | {b"range", b"x-amz-checksum-mode"}
"""What only the client's own read was about."""


@dataclass(slots=True)
class _Watched:
    generation: Generation
    ahead: ReadAhead
    touched: float
    ended: OrderedDict[int, float] = field(default_factory=OrderedDict)
    """When the reads that end at these offsets had been answered; those that are still being answered, never."""


class ReadingAhead:
    """One per worker, on the loop's thread."""

    def __init__(self, ctx: Context, store: Store, most: int, share: int) -> None:
        """``most`` bytes ahead of one reader, ``share`` of all together."""
        self._ctx = ctx
        self._store = store
        self._rule = ReadAheadRule(first=min(_FIRST, most), most=most)
        self._share = Share(share)
        self._objects: OrderedDict[bytes, _Watched] = OrderedDict()
        self._fetches = 0
        self._told = (0, 0)

    @contextlib.contextmanager
    def reading(
        self, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, asked: Iterable[Interval]
    ) -> Iterator[None]:
        """See ``Context.watcher``."""
        if (
            read.must_ask
            or read.part is not None
            or read.ranges is not None
            or interval.length == record.generation.size
        ):
            yield
            return
        now = self._ctx.clock.boot()
        watched = self._watched(read, record, now)
        # Whoever asks before the bytes in front of it have come reads in several places at once, and needs no help.
        alone = watched.ended.get(interval.start, 0.0) <= exchange.started
        wanted = watched.ahead.read(interval, now, lost=asked, alone=alone)
        if wanted is not None:
            self._begin(exchange, read, record, watched.ahead, wanted)
        self._tell()
        watched.ended[interval.end] = math.inf
        if len(watched.ended) > _MOST_ENDS:
            watched.ended.popitem(last=False)
        try:
            yield
        finally:
            watched.ended[interval.end] = time.perf_counter()

    def _watched(self, read: ReadRequest, record: HeadRecord, now: float) -> _Watched:
        """The object's scans; those of another generation, and of objects that rest, have ended."""
        digest = read.object_id.digest
        watched = self._objects.pop(digest, None)
        if watched is None or watched.generation != record.generation:
            if watched is not None:
                watched.ahead.close()
            watched = _Watched(record.generation, ReadAhead(record.generation.size, self._rule, self._share), now)
        watched.touched = now
        self._objects[digest] = watched
        while True:
            oldest = next(iter(self._objects.values()))
            if now - oldest.touched < self._rule.idle and len(self._objects) <= MOST_OBJECTS:
                return watched
            self._objects.popitem(last=False)[1].ahead.close()

    def _begin(
        self, exchange: Exchange, read: ReadRequest, record: HeadRecord, ahead: ReadAhead, wanted: Interval
    ) -> None:
        if self._fetches >= MOST_FETCHES:
            ahead.failed(wanted)
            return
        self._fetches += 1
        # Announced at once: the reader's next request may come before this one has been sent.
        leader = self._ctx.flights.lead(read.object_id, read.of(wanted), sent=True)
        self._ctx.flights.spawn(self._fetch(exchange, read, record, ahead, wanted, leader))

    async def _fetch(
        self,
        exchange: Exchange,
        read: ReadRequest,
        record: HeadRecord,
        ahead: ReadAhead,
        wanted: Interval,
        leader: Leader,
    ) -> None:
        """Fetch what of ``wanted`` is neither here nor on its way."""
        came = wanted.start
        try:
            with leader:
                spans = await self._spans(read, record, wanted, leader)
                came = spans[0].start if spans else wanted.end
                fill = await self._asked(exchange, read, record, spans[0]) if spans else None
                leader.land(followable=fill is not None or not spans)
            while fill is not None:
                await self._take(fill)
                came = fill.watermark
                if not fill.complete:
                    break
                del spans[0]
                came = spans[0].start if spans else wanted.end
                fill = await self._asked(exchange, read, record, spans[0]) if spans else None
        except FastcacheError as error:
            _log.info("nothing is fetched ahead: %s", error)
        finally:
            self._fetches -= 1
            if came < wanted.end:
                ahead.failed(Interval(came, wanted.end))

    async def _spans(self, read: ReadRequest, record: HeadRecord, wanted: Interval, leader: Leader) -> list[Interval]:
        """What is to be asked for, when those who asked before have their answers."""
        ctx = self._ctx
        while True:
            missing = self._store.missing(await self._store.lookup(read.object_id), wanted)
            spans = merged(not_under_way(ctx, read, record, missing))
            other = ctx.flights.asked_for(read.object_id, spans, before=leader)
            if other is None:
                return spans
            await other.head_within(ctx.follow_wait)
            if not other.landed:
                return []  # too slow to be waited for, and to be asked for beside it

    async def _asked(self, exchange: Exchange, read: ReadRequest, record: HeadRecord, span: Interval) -> Fill | None:
        """The fill of ``span``; None when the origin answers something else."""
        request = Request(self._ctx, self._store, exchange, read, record, self._ask(exchange, read))
        asked = await request.ask(span, record)
        fill = request.fill_of(span, asked, begun=False)
        if fill is None:
            asked.response.abort()
            if asked.response.head.status == 412:
                self._store.drop(read.object_id)
        return fill

    def _ask(self, exchange: Exchange, read: ReadRequest) -> Ask:
        async def ask(span: Interval, record: HeadRecord) -> Asked:
            ctx = self._ctx
            added: Headers = (
                (b"Range", b"bytes=%d-%d" % (span.start, span.end - 1)),
                (b"If-Match", record.generation.etag),
            )
            token, sent, at = ctx.fences.token(read.object_id), ctx.next_sent(), ctx.clock.boot()
            response = await ask_again_alone(ctx, exchange, added, _WITHOUT)
            return Asked(response, token, sent, at, added=True)

        return ask

    async def _take(self, fill: Fill) -> None:
        """Keep the fill going until its end, as long as what comes is stored for somebody."""
        follower = fill.attach(fill.interval)
        try:
            while await fill.until_readable(follower):
                if not fill.ended and not (fill.is_stored and self._ctx.fences.is_current(fill.object_id, fill.token)):
                    fill.stop()
                    return
                fill.advanced(follower, fill.watermark - follower.position)
        finally:
            fill.detach(follower)

    def _tell(self) -> None:
        used, wasted = self._share.used, self._share.wasted
        self._ctx.metrics.read_ahead(used - self._told[0], wasted - self._told[1])
        self._told = (used, wasted)
