"""What an origin's answer teaches about the stored head, beyond the answer itself."""

from __future__ import annotations

from fastcache.engine.asking import Asked
from fastcache.engine.context import Context
from fastcache.model import unquoted_etag
from fastcache.policy.freshness import Freshness, freshness
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import Verdict, judge_304
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store


def entry_freshness(ctx: Context, entry: Entry, read: ReadRequest) -> Freshness:
    """How fresh the entry's head is for this request."""
    proof = entry.validation
    if read.must_ask or entry.voided or (entry.head is not None and entry.head.is_headerless):
        return Freshness.EXPIRED
    ttls = ctx.ttls if entry.head is None else ctx.ttls.of_object(entry.head)
    return freshness(
        None if proof is None else proof.at,
        fences_current=proof is not None and ctx.fences.is_current(entry.object_id, proof.token),
        now=ctx.clock.boot(),
        ttl=ttls.of(read.method),
        ttls=ttls,
        mode=ctx.authorization,
    )


def learn_from_refusal(ctx: Context, store: Store, read: ReadRequest, asked: Asked) -> None:
    """404 means gone; a 304 to the client's own validator proves the head it names; anything else teaches nothing."""
    head = asked.response.head
    if head.status == 404:
        forget(ctx, store, read)
    elif head.status == 304:
        etag = head.get(b"etag")
        entry = store.peek(read.object_id)
        if etag is None or entry is None or entry.head is None:
            return
        if unquoted_etag(etag) != unquoted_etag(entry.head.generation.etag):
            ctx.fences.raise_object(read.object_id)  # nor may an older answer under way prove it again
            store.unvalidate(read.object_id)
        elif judge_304(head, entry.head) is Verdict.CURRENT:
            store.validate(read.object_id, asked.token, asked.sent, asked.at)


def forget_if_other(ctx: Context, store: Store, read: ReadRequest, etag: bytes | None) -> None:
    """The client saw an answer that is not stored: an older generation must not answer after it."""
    entry = store.peek(read.object_id)
    if entry is None or entry.head is None:
        store.forget_elsewhere(read.object_id)
        return
    if etag is None or unquoted_etag(etag) != unquoted_etag(entry.head.generation.etag):
        forget(ctx, store, read)


def forget(ctx: Context, store: Store, read: ReadRequest) -> None:
    """Drop what is stored; the raised fence keeps answers to older requests, still under way, from coming back."""
    ctx.fences.raise_object(read.object_id)
    store.drop(read.object_id)
