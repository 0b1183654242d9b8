"""As long as nothing of an answer has been sent its client gets another answer, whatever becomes of the bytes of the
first; it is never reset."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.engine.conftest import Embed, Embedded, read_answer, until

from fastcache.engine import dispatch, sources
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill import Fill
from fastcache.engine.follower import Follower
from fastcache.engine.sources import AbortedAnswerError, FillSource
from fastcache.model import Interval
from fastcache.origin.pattern import pattern
from fastcache.storage.reader import RangeReader

SIZE = 100_000
MODES = pytest.mark.parametrize(
    "mode", [{"authorization": "none", "ttl": "1h"}, {"authorization": "revalidate"}], ids=["none", "revalidate"]
)
Mode = dict[str, str]


def change(proxy: Embedded) -> None:
    """A write through another worker: the fence is raised, the origin has another generation."""
    ctx = proxy.worker.ctx
    ctx.fences.raise_object(ctx.object_id(b"bkt", b"o"))
    proxy.origin.control.synthetic("bkt", "o", SIZE, generation=2)


def check(answer: tuple[bytes, bytes], generation: int) -> None:
    head, body = answer
    assert head.startswith(b"HTTP/1.1 200"), head
    assert body == pattern(b"o", generation, 0, SIZE)


def followers(proxy: Embedded) -> set[Follower]:
    """Who reads behind the fill of the object; nobody as long as there is not exactly one."""
    ctx = proxy.worker.ctx
    fills = [fill for fill in ctx.flights.fills_of(ctx.object_id(b"bkt", b"o")) if isinstance(fill, Fill)]
    return fills[0]._followers if len(fills) == 1 else set()


async def stored_by_a_read(proxy: Embedded) -> None:
    proxy.origin.control.synthetic("bkt", "o", SIZE)
    check(await proxy.get("o"), 1)


async def stored_by_a_write(proxy: Embedded) -> None:
    """Its first reader brings what describes it."""
    reader, writer = await proxy.connect()
    writer.write(proxy.request("o", method="PUT", body=pattern(b"o", 1, 0, SIZE)))
    head, _ = await read_answer(reader)
    assert head.startswith(b"HTTP/1.1 200"), head
    writer.close()


@MODES
@pytest.mark.parametrize("stored", [stored_by_a_read, stored_by_a_write])
async def test_extents_that_cannot_be_read_after_a_write(
    embed: Embed, monkeypatch: pytest.MonkeyPatch, mode: Mode, stored: Callable[[Embedded], Awaitable[None]]
) -> None:
    send, broken = sources.send_extents, []

    async def breaks_once(exchange: Exchange, reader: RangeReader, interval: Interval) -> None:
        if not broken:
            broken.append(interval)
            await asyncio.to_thread(change, proxy)
            raise AbortedAnswerError("a cached byte could not be read any more")
        await send(exchange, reader, interval)

    async with embed(**mode, hit_branch="off") as proxy:
        await stored(proxy)
        await until(lambda: not proxy.worker.ctx.flights.active(), "the fill is stored")
        monkeypatch.setattr(sources, "send_extents", breaks_once)
        check(await proxy.get("o"), 2)
        assert broken


@MODES
async def test_a_fill_that_is_followed_no_further_after_a_write(
    embed: Embed, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """As one does that left the window before the first byte was taken out of it."""
    send, followers = FillSource.send, []

    async def breaks_for_followers(source: FillSource, exchange: Exchange, interval: Interval) -> None:
        followers.append(source)
        if len(followers) == 2:
            await asyncio.to_thread(change, proxy)
            raise AbortedAnswerError("bytes that were followed are gone from the cache")
        await send(source, exchange, interval)

    monkeypatch.setattr(FillSource, "send", breaks_for_followers)
    async with embed(**mode) as proxy:
        proxy.origin.control.synthetic("bkt", "o", SIZE)
        proxy.origin.control.fault("stall", after=SIZE // 2, seconds=3600, key="o")
        first = asyncio.create_task(proxy.get("o"))
        await until(lambda: len(followers) == 1, "the first one is sent what comes")
        check(await proxy.get("o"), 2)
        assert len(followers) >= 2
        first.cancel()


@MODES
async def test_a_transfer_that_is_cut_before_its_first_byte_and_the_object_changed(embed: Embed, mode: Mode) -> None:
    async with embed(**mode) as proxy:
        control = proxy.origin.control
        control.synthetic("bkt", "o", SIZE)
        control.fault("stall", after=0, seconds=3600, key="o")
        readers = [asyncio.create_task(proxy.get("o")) for _ in range(3)]
        await until(lambda: len(followers(proxy)) == 3, "all wait for the first byte of one transfer")
        # Cut before that, their questions would have no answer.
        asking = 2 if mode["authorization"] == "revalidate" else 0
        counted = proxy.worker.ctx.metrics.value
        await until(lambda: counted("fastcache_origin_responses_total", "304") == asking, "they may have it")
        control.flip("bkt", "o")
        control.drop_connections()
        for reader in readers:
            check(await reader, 2)


@MODES
async def test_transfers_that_are_all_cut_before_their_first_byte_are_an_error_that_is_told(
    embed: Embed, mode: Mode
) -> None:
    async with embed(**mode) as proxy:
        proxy.origin.control.synthetic("bkt", "o", SIZE)
        proxy.origin.control.fault("cut-body", after=0, count=-1, key="o")
        head, body = await proxy.get("o")
        assert head.startswith(b"HTTP/1.1 502"), head
        assert b"<Code>BadGateway</Code>" in body
        asked = proxy.origin.control.requests("GET", "o")
        assert asked <= 4, "it is not asked for ever"
        proxy.origin.control.clear_faults()
        check(await proxy.get("o"), 1)


async def test_a_bug_is_an_error_that_is_told_and_ends_the_connection(
    embed: Embed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def has_a_bug(*_: object) -> None:
        raise ZeroDivisionError("found by nobody")

    async with embed() as proxy:
        proxy.origin.control.synthetic("bkt", "o", SIZE)
        with monkeypatch.context() as patched:
            patched.setattr(dispatch, "handle_read", has_a_bug)
            head, body = await proxy.get("o")
        assert head.startswith(b"HTTP/1.1 500"), head
        assert b"\r\nConnection: close\r\n" in head
        assert b"<Code>InternalError</Code>" in body
        assert b"found by nobody" not in body
        assert "ZeroDivisionError: found by nobody" in caplog.text
        check(await proxy.get("o"), 1)
