"""What to fetch before it is asked for: the continuation of reads that follow each other.

A scan is recognised by reads that begin where the one before ended; then a window ahead of it is fetched, which doubles
as long as the reader goes on. A read that begins somewhere in what was fetched ahead goes on with its scan as well: who
answered what lies between does not have to tell. What is ahead of all readers together is bounded, and what nobody came
for is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from fastcache.model import Interval

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReadAheadRule:
    """When and how far. Sizes are bytes, times seconds."""

    adjacent: int = 2
    """Reads that have to follow each other before anything is fetched ahead of them."""
    first: int = MIB
    """The least window."""
    most: int = 64 * MIB
    """The greatest one."""
    scans: int = 8
    """Scans of one object followed at once; the one that has not moved for longest gives way."""
    idle: float = 30.0
    """A scan that has not moved for so long has ended."""


class Share:
    """What all scans together may have fetched ahead, and what became of it. Bytes."""

    __slots__ = ("ahead", "fetched", "limit", "used", "wasted")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.ahead = 0
        """Fetched, or being fetched, and not reached by its reader."""
        self.fetched = 0
        self.used = 0
        self.wasted = 0
        """Fetched for a scan that ended before, or gone from the cache when its reader came."""

    def take(self, wanted: int) -> int:
        granted = max(0, min(wanted, self.limit - self.ahead))
        self.ahead += granted
        self.fetched += granted
        return granted

    def use(self, count: int) -> None:
        self.ahead -= count
        self.used += count

    def waste(self, count: int) -> None:
        self.ahead -= count
        self.wasted += count

    def give_back(self, count: int) -> None:
        """What was taken was not fetched after all."""
        self.ahead -= count
        self.fetched -= count


@dataclass(slots=True)
class _Scan:
    position: int
    """Where its last read ended, and the next one is expected."""
    reach: int
    """Where what was fetched ahead ends; ``position`` when nothing is."""
    moved_at: float
    reads: int = 1
    window: int = 0

    @property
    def ahead(self) -> int:
        return self.reach - self.position


class ReadAhead:
    """The scans of one generation of one object of ``size`` bytes."""

    __slots__ = ("_rule", "_scans", "_share", "_size")

    def __init__(self, size: int, rule: ReadAheadRule, share: Share) -> None:
        self._size = size
        self._rule = rule
        self._share = share
        self._scans: OrderedDict[int, _Scan] = OrderedDict()
        """By position; the one that moved last at the end."""

    def __len__(self) -> int:
        return len(self._scans)

    def read(
        self, wanted: Interval, now: float, *, lost: Iterable[Interval] = (), alone: bool = True
    ) -> Interval | None:
        """Somebody reads ``wanted``, not empty: what to have fetched beyond it now, if anything.

        What of that is here already is the caller's to leave out. ``lost`` (ascending, apart) is what had to be asked
        for although it may have been fetched ahead. A reader that is not ``alone``, because the read before this one is
        still being answered, is ahead of itself: nothing is fetched for it.
        """
        self._end_idle(now)
        scan = self._scans.pop(self._position_of(wanted.start), None)
        if scan is None:
            self._keep(_Scan(wanted.end, wanted.end, now))
            return None
        self._advance(scan, wanted.end, now, lost)
        self._keep(scan)
        if not alone or scan.reads < self._rule.adjacent or 2 * scan.ahead > scan.window > 0:
            return None
        return self._extend(scan, wanted.length)

    def failed(self, ahead: Interval) -> None:
        """What ``read`` said to fetch did not come, from ``ahead.start`` on; what follows it is given up too."""
        for scan in self._scans.values():
            if scan.position < ahead.end <= scan.reach:
                kept = max(scan.position, ahead.start)
                self._share.give_back(scan.reach - kept)
                scan.reach = kept
                scan.window = 0
                return

    def close(self) -> None:
        """All scans have ended: the object is gone, or another generation is current."""
        while self._scans:
            self._end(self._scans.popitem(last=False)[1])

    def _position_of(self, start: int) -> int:
        """Where the scan is that a read from ``start`` goes on with; ``start`` when there is none."""
        if start not in self._scans:
            for scan in self._scans.values():
                if scan.position < start <= scan.reach:
                    return scan.position
        return start

    def _advance(self, scan: _Scan, end: int, now: float, lost: Iterable[Interval]) -> None:
        reached = min(end, scan.reach)
        wasted = sum(max(0, min(gap.end, reached) - max(gap.start, scan.position)) for gap in lost)
        self._share.use(reached - scan.position - wasted)
        self._share.waste(wasted)
        scan.position = end
        scan.reach = max(scan.reach, end)
        scan.moved_at = now
        scan.reads += 1

    def _extend(self, scan: _Scan, length: int) -> Interval | None:
        """Twice the window, or twice the read for the first one; as much of it as the share has."""
        window = min(self._rule.most, max(self._rule.first, 2 * (scan.window or length)))
        wanted = min(self._size, scan.position + window) - scan.reach
        granted = self._share.take(wanted)
        if granted <= 0:
            return None
        start = scan.reach
        scan.reach += granted
        scan.window = window if granted == wanted else max(1, scan.ahead)
        return Interval(start, scan.reach)

    def _keep(self, scan: _Scan) -> None:
        replaced = self._scans.pop(scan.position, None)
        if replaced is not None:
            self._end(replaced)
        self._scans[scan.position] = scan
        if len(self._scans) > self._rule.scans:
            self._end(self._scans.popitem(last=False)[1])

    def _end_idle(self, now: float) -> None:
        while self._scans:
            oldest = next(iter(self._scans.values()))
            if now - oldest.moved_at < self._rule.idle:
                return
            self._end(self._scans.pop(oldest.position))

    def _end(self, scan: _Scan) -> None:
        self._share.waste(scan.ahead)
