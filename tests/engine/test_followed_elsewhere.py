"""What is read of another worker's fill is of the generation that was promised, whatever comes in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.storage.conftest import oid, pattern
from tests.storage.test_shared import BIG, Host, make_host, record

from fastcache.engine.sources import open_committed
from fastcache.model import Interval
from fastcache.storage.entry import Entry

__all__ = ["make_host"]


async def test_a_generation_that_comes_while_committed_bytes_are_opened_is_not_taken_for_the_followed_one(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    followed = record("k", BIG)
    assert one.store.publish_head(oid("k"), followed, one.fences.token(oid("k")), next(one.sent))
    entry = await one.store.lookup(oid("k"))

    async def looked_up_before(_: object) -> Entry:
        return entry

    monkeypatch.setattr(one.store, "lookup", looked_up_before)
    await two.fill("k", BIG, generation=1)
    assert entry.head == followed
    assert await open_committed(one.store, oid("k"), followed, Interval(0, 100)) is None
    assert entry.head is not None
    reader = await open_committed(one.store, oid("k"), entry.head, Interval(0, 100))
    assert reader is not None
    reader.close()
    assert await one.read("k", Interval(0, 100)) == pattern("k", BIG, 1)[:100]
