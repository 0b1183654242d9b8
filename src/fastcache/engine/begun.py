"""Reads that the hit branch has sent to the origin, and whose answer is not plainly the 304 that it hoped for.

From here on they are requests like any other: what has come of the answer is read again by those who read all answers,
and what was true before the request was sent (fences, number, time) is what the hit branch noted then.
"""

from __future__ import annotations

from fastcache._core.proving import Question
from fastcache.engine.asking import Asked, ask_again
from fastcache.engine.basis import Basis, find_basis
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.forwarding import go_on
from fastcache.engine.reads import answered, handle_read, settle
from fastcache.engine.taking import take_answer
from fastcache.model import FenceToken, unquoted_etag
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import REFUSES_ADDITION, validator_to_add
from fastcache.storage.store import Store
from fastcache.upstream.connection import Connection


class Begun:
    """A request on its way, and the connection to the origin that carries it until somebody goes on or closes it."""

    __slots__ = ("_connection", "question")

    def __init__(self, connection: Connection, question: Question) -> None:
        self._connection: Connection | None = connection
        self.question = question

    async def asked(self, ctx: Context, exchange: Exchange) -> Asked:
        """The final head of the answer. Raises as ``ask_origin`` does."""
        connection, question = self._connection, self.question
        assert connection is not None, "asked once"
        self._connection = None
        response = await go_on(ctx, exchange, connection, question, ((b"If-None-Match", question.etag),))
        return Asked(response, FenceToken(*question.token), question.number, question.at, added=True)

    def close(self) -> None:
        """Drop the connection, unless somebody has gone on with it."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


async def handle_begun(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, begun: Begun) -> None:
    """Answer a GET as ``handle_read`` does after it has asked."""
    entry = await store.lookup(read.object_id)
    basis = await find_basis(ctx, store, entry, read)
    try:
        asked = await begun.asked(ctx, exchange)
        if basis is not None and _is_asked_about(basis, read, begun.question.etag):
            if await answered(settle(ctx, store, exchange, read, entry, basis, asked)):
                return
        else:
            await _take(ctx, store, exchange, read, asked, basis)
            return
    finally:
        if basis is not None:
            basis.close()
    await handle_read(ctx, store, exchange, read)


def _is_asked_about(basis: Basis, read: ReadRequest, etag: bytes) -> bool:
    """Whether a 304 to our ``etag`` can prove the basis, as it is now."""
    wanted = validator_to_add(read.conditions, basis.record)
    return basis.answer.interval is not None and wanted is not None and unquoted_etag(wanted) == unquoted_etag(etag)


async def _take(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, asked: Asked, basis: Basis | None
) -> None:
    """What was asked about is not here any more."""
    if asked.response.head.status == 304 or asked.response.head.status in REFUSES_ADDITION:
        remember = asked.response.head.status != 304
        asked = await ask_again(ctx, exchange, read, asked, remember=remember)
    try:
        await take_answer(ctx, store, exchange, read, asked, basis, None)
    except BaseException:
        asked.response.abort()
        raise
