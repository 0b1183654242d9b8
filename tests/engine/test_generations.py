"""One answer, one generation: also when the origin has a new one between two steps of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.engine.conftest import Embed, until

from fastcache.engine.gaps import find_gaps
from fastcache.policy.read_request import Conditions, ReadRequest

MIB = 1024 * 1024


async def test_extents_on_both_sides_of_a_gap_are_of_one_generation(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first side was opened, then another client's answer brought a new generation and its bytes."""
    async with embed() as proxy:
        ctx = proxy.worker.ctx
        store = ctx.store
        assert store is not None
        proxy.origin.control.synthetic("bkt", "o", 8 * MIB)
        await proxy.get("o", signed={"Range": f"bytes=0-{2 * MIB - 1}"})
        await proxy.get("o", signed={"Range": f"bytes={6 * MIB}-"})
        await until(lambda: ctx.flights.active() == 0, "both ranges are stored")
        read = ReadRequest(b"GET", ctx.object_id(b"bkt", b"o"), None, Conditions(), False, False, may_ask_for_part=True)
        open_range = store.open_range
        opened: list[Any] = []

        async def open_then_overtake(entry: Any, interval: Any) -> Any:
            reader = await open_range(entry, interval)
            if not opened:
                opened.append(reader)
                proxy.origin.control.flip("bkt", "o")
                await proxy.get("o", signed={"Range": f"bytes={6 * MIB}-"})
                await until(lambda: ctx.flights.active() == 0, "the new generation's range is stored")
                opened.clear()
                monkeypatch.undo()
            return reader

        monkeypatch.setattr(store, "open_range", open_then_overtake)
        gaps = await find_gaps(ctx, store, await store.lookup(read.object_id), read)
        try:
            assert gaps is None, "its two ends are of different generations"
        finally:
            if gaps is not None:
                gaps.close()


async def test_an_answer_without_etag_does_not_prove_what_is_served_stale(embed: Embed) -> None:
    async with embed(authorization="none", ttl="1s", stale_while_revalidate="60s") as proxy:
        control = proxy.origin.control
        control.synthetic("bkt", "o", 1000)
        head, old = await proxy.get("o")
        modified = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"last-modified:"))
        await asyncio.sleep(1.1)
        control.flip("bkt", "o")
        control.fault(kind="ignore-conditions")
        control.fault(kind="etag", value="missing")
        control.fault(kind="headers", headers={"Last-Modified": modified.partition(b":")[2].strip().decode()})
        before = control.requests("GET", "o")
        assert (await proxy.get("o"))[1] == old, "served stale, and asked about behind it"
        await until(lambda: control.requests("GET", "o") > before, "the origin was asked")
        await until(lambda: not proxy.worker.ctx.flights._provers, "its answer was looked at")
        assert (await proxy.get("o"))[1] != old


async def test_a_head_renewed_by_the_same_content_meanwhile_proves_what_was_opened(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another range of the object was answered while a hit was being opened: that is no reason to ask the origin."""
    async with embed(authorization="none", ttl="1h", hit_branch="off") as proxy:
        ctx = proxy.worker.ctx
        store = ctx.store
        assert store is not None
        proxy.origin.control.synthetic("bkt", "o", 8 * MIB)
        first, other = {"Range": "bytes=0-99"}, {"Range": f"bytes={4 * MIB}-{4 * MIB + 99}"}
        await proxy.get("o", signed=first)
        await until(lambda: ctx.flights.active() == 0, "the range is stored")
        open_range = store.open_range

        async def open_then_renew(entry: Any, interval: Any) -> Any:
            monkeypatch.undo()
            reader = await open_range(entry, interval)
            await proxy.get("o", signed=other)
            return reader

        monkeypatch.setattr(store, "open_range", open_then_renew)
        proxy.origin.control.reset()
        head, _ = await proxy.get("o", signed=first)
        assert b"\r\nX-Cache: HIT\r\n" in head
        assert proxy.origin.control.requests("GET", "o") == 1, "the other range"
