"""The client's request on its way to the origin, and what was true before it was sent."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.forwarding import ask
from fastcache.model import FenceToken, Headers
from fastcache.policy.read_request import ReadRequest
from fastcache.upstream.response import Response

_log = logging.getLogger("fastcache.engine.asking")


@dataclass(slots=True)
class Asked:
    """An answer of the origin with what was true before its request was sent."""

    response: Response
    token: FenceToken
    sent: int
    at: float
    added: bool


async def ask_origin(
    ctx: Context, exchange: Exchange, read: ReadRequest, added: Headers, without: frozenset[bytes] = frozenset()
) -> Asked:
    """Send the client's request with ``added`` and, where its signature allows, ``without`` some of its own fields."""
    token = ctx.fences.token(read.object_id)
    sent = ctx.next_sent()
    at = ctx.clock.boot()
    response = await ask(ctx, exchange, add=added, without=without)
    return Asked(response, token, sent, at, bool(added))


async def ask_again(ctx: Context, exchange: Exchange, read: ReadRequest, asked: Asked, *, remember: bool) -> Asked:
    """Send the client's request unchanged after one that we added to."""
    refused = asked.response.head.status
    asked.response.abort()
    again = await ask_origin(ctx, exchange, read, ())
    if remember and again.response.head.status != refused:
        ctx.note_refused_addition(read.object_id.origin)
        _log.warning("the origin answers %d to an added If-None-Match; none is added for a while", refused)
    return again
