"""What a window shows, drops and counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcache.engine.fill_limits import WindowBudget
from fastcache.engine.window import Window

lengths = st.lists(st.integers(1, 20), min_size=1, max_size=20)


@given(lengths, st.integers(0, 100), st.integers(0, 200), st.data())
def test_it_shows_what_it_holds_and_nothing_else(sizes: list[int], keep: int, safe: int, data: st.DataObject) -> None:
    budget = WindowBudget(1 << 20)
    window = Window(budget)
    content = bytes(index % 251 for index in range(sum(sizes)))
    at = 0
    for size in sizes:
        window.append(at, memoryview(content)[at : at + size])
        at += size
    window.trim(keep, safe)
    start = window.start
    assert budget.used == window.size == (0 if start is None else at - start)
    position = data.draw(st.integers(0, at + 3))
    end = data.draw(st.integers(position + 1, at + 5))
    view = window.view(position, end)
    if start is None or position < start or position >= at:
        assert view is None
    else:
        assert view is not None
        assert len(view) > 0
        assert view == content[position : position + len(view)]
        assert position + len(view) <= end
    window.clear()
    assert budget.used == window.size == 0
    assert window.start is None
    assert window.view(0, 1) is None


def test_it_keeps_what_is_not_safe_to_drop() -> None:
    window = Window(WindowBudget(1 << 20))
    for number in range(4):
        window.append(10 * number, memoryview(bytes(10)))
    window.trim(0, 25)
    assert window.start == 20
    window.trim(15, 40)
    assert window.start == 30
