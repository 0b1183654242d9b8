"""The newest bytes of a transfer, in memory for those who read right behind it."""

from __future__ import annotations

from collections import deque

from fastcache.engine.fill_limits import WindowBudget


class Window:
    """Pieces one behind the other, without gaps. Their memory counts in the budget of all windows."""

    __slots__ = ("_budget", "_pieces", "size")

    def __init__(self, budget: WindowBudget) -> None:
        self._budget = budget
        self._pieces: deque[tuple[int, memoryview]] = deque()
        self.size = 0
        """Bytes."""

    @property
    def start(self) -> int | None:
        """Absolute offset of the oldest byte; None when there is none."""
        return self._pieces[0][0] if self._pieces else None

    def append(self, offset: int, piece: memoryview) -> None:
        """Take the next piece, which begins at ``offset``."""
        self._pieces.append((offset, piece))
        self.size += len(piece)
        self._budget.used += len(piece)

    def trim(self, keep: int, safe: int) -> None:
        """Drop the oldest pieces while more than ``keep`` bytes are here, none that reaches beyond ``safe``."""
        while self._pieces and self.size > keep:
            offset, piece = self._pieces[0]
            if offset + len(piece) > safe:
                break
            self._pieces.popleft()
            self.size -= len(piece)
            self._budget.used -= len(piece)

    def clear(self) -> None:
        """Drop everything."""
        self._budget.used -= self.size
        self._pieces.clear()
        self.size = 0

    def view(self, position: int, end: int) -> memoryview | None:
        """Bytes from ``position`` on, as far as their piece reaches, ``end`` at most; None when they are not here."""
        if not self._pieces or position < self._pieces[0][0]:
            return None
        # Readers are usually at one of the two ends; a window holds some tens of pieces.
        newest_offset, newest = self._pieces[-1]
        if position >= newest_offset:
            return newest[position - newest_offset : end - newest_offset] or None
        for offset, piece in self._pieces:
            if offset <= position < offset + len(piece):
                return piece[position - offset : end - offset]
        return None
