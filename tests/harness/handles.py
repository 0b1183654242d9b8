"""What the compiled core holds open in this process, and that nothing of it stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from fastcache._core.handles import held_now


@contextmanager
def nothing_stays() -> Iterator[None]:
    """AssertionError unless what happens inside gives back every connection, buffer, descriptor and queue entry.

    A reactor that nobody refers to is gone all the same, even if only a collection finds that out.
    """
    before = held_now()
    yield
    if held_now() != before:
        gc.collect()
    stays = {kind: count - before[kind] for kind, count in held_now().items() if count != before[kind]}
    assert not stays, f"the compiled core still holds: {stays}"
