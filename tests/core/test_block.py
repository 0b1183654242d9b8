"""Memory for what is received: whose it is, and for how long."""

from __future__ import annotations

import pytest

from fastcache._core.block import USUAL_SIZE, Block


@pytest.mark.parametrize("size", [1, 4096, USUAL_SIZE, USUAL_SIZE + 1])
def test_a_block_is_writable_memory_of_its_size(size: int) -> None:
    view = memoryview(Block(size))
    assert len(view) == len(view.obj) == size
    assert not view.readonly
    view[-1] = 7
    assert view[-1] == 7


@pytest.mark.parametrize("size", [0, -1])
def test_no_block_is_empty(size: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Block(size)


def test_views_keep_their_memory_from_the_next_block() -> None:
    """Given back in any order: nobody writes into what somebody still sees."""
    views = []
    for number in range(40):
        view = memoryview(Block(USUAL_SIZE))
        view[:] = bytes([number]) * USUAL_SIZE
        views.append((number, view[1000:2000]))
        if number % 3 == 2:
            del views[number % len(views)]
    assert len(views) > 16
    for number, view in views:
        assert view == bytes([number]) * 1000
