"""P-02, P-03: an object overwritten behind our back every few milliseconds, and many readers who compare notes.

Every answer is one generation from head to last byte, and none is older than one that anybody had seen in full when the
request was sent.
"""

from __future__ import annotations

import random
import threading
import time

import pytest
from tests.faults.conftest import Start
from tests.harness.raw import IncompleteResponseError, InvalidResponseError
from tests.reads.conftest import Reader, content

from fastcache.origin.pattern import pattern_etag

SIZE = 300_000
KEY = "o"
INTERVALS = ((0, SIZE), (0, 1), (0, 65_536), (65_536, 131_072), (100_000, 250_000), (SIZE - 700, SIZE), (5, 299_999))


class History:
    """What anybody has seen so far."""

    def __init__(self) -> None:
        self.newest = 1
        self.seen: set[int] = set()
        self.violations: list[str] = []
        self.answers = 0
        self.cut = 0
        self._lock = threading.Lock()
        self._generations = {pattern_etag(KEY.encode(), 1, SIZE): 1}

    def generation_of(self, etag: bytes) -> int:
        with self._lock:
            while etag not in self._generations:
                number = len(self._generations) + 1
                assert number < 1_000_000, f"an ETag of no generation: {etag!r}"
                self._generations[pattern_etag(KEY.encode(), number, SIZE)] = number
            return self._generations[etag]

    def note(self, generation: int, floor: int, what: str, *, whole: bool) -> None:
        with self._lock:
            self.answers += 1
            if not whole:
                self.violations.append(f"mixed: {what}")
            if generation < floor:
                self.violations.append(f"generation {generation} after {floor}: {what}")
            self.newest = max(self.newest, generation)
            self.seen.add(generation)

    def says_little(self, readers: int) -> bool:
        """Hardly anything was read so far, or the object did not change under the readers."""
        return not self.violations and (self.answers <= readers or len(self.seen) <= 3)


def read(r: Reader, history: History, chance: random.Random, over: threading.Event) -> None:
    while not over.is_set() and not history.violations:
        start, end = chance.choice(INTERVALS)
        plain = (start, end) == (0, SIZE)
        signed_range = chance.random() < 0.7
        floor = history.newest
        fields = {} if plain else {"Range": f"bytes={start}-{end - 1}"}
        try:
            answer = r.get(KEY, signed=fields) if signed_range else r.get(KEY, unsigned=fields)
        except IncompleteResponseError:
            history.cut += 1
            continue
        except InvalidResponseError as error:
            history.violations.append(str(error))
            continue
        what = f"{start}-{end} {answer.status} {answer.get(b'x-cache')!r}"
        etag = answer.get(b"etag")
        if answer.status not in (200, 206) or etag is None:
            history.violations.append(what)
            continue
        generation = history.generation_of(etag.strip(b'"'))
        history.note(generation, floor, what, whole=answer.body == content(KEY, start, end, generation))


def flipping(reader: Start, seconds: float, readers: int, pause: float, *flags: str) -> History:
    r = reader(*flags)
    r.origin.control.synthetic("bkt", KEY, SIZE)
    history, over = History(), threading.Event()
    threads = [threading.Thread(target=read, args=(r, history, random.Random(seed), over)) for seed in range(readers)]
    for thread in threads:
        thread.start()
    flips, began = 0, time.monotonic()
    try:
        while time.monotonic() < began + seconds or (history.says_little(readers) and time.monotonic() < began + 60):
            r.origin.control.flip("bkt", KEY)
            flips += 1
            time.sleep(pause)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert not history.violations, history.violations[:5]
    assert not history.says_little(readers), f"{history.answers} answers, of {len(history.seen)} generations"
    assert history.cut <= history.answers // 20, f"{history.cut} answers cut off, {history.answers} complete"
    assert r.get(KEY).body == content(KEY, 0, SIZE, flips + 1)
    return history


def test_sixteen_readers_see_whole_generations_and_never_an_older_one(reader: Start) -> None:
    flipping(reader, 5, 16, 0.02)


def test_changes_slow_enough_for_hits_are_seen_as_well(reader: Start) -> None:
    flipping(reader, 4, 8, 0.3)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_sixty_four_readers_for_two_minutes(reader: Start) -> None:
    flipping(reader, 120, 64, 0.02)
