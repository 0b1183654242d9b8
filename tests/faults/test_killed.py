"""P-04: SIGKILL at any moment of reading, storing and writing loses no byte and leaves nothing behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import MIB, NONE, Start, wait_until_stored
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import IncompleteResponseError, InvalidResponseError, RawConnection
from tests.reads.conftest import Reader, content

from fastcache.origin.process import OriginProcess

SIZES = {"tiny": 100, "small": 60_000, "one-call": 700_000, "extents": 3 * MIB, "large": 9 * MIB}
READERS = 4


class Load:
    """Readers of random ranges who check every byte, until their proxy is gone."""

    def __init__(self, r: Reader, seed: int) -> None:
        self._r = r
        self._ended = False
        self.wrong: list[str] = []
        self.right = 0
        self._threads = [threading.Thread(target=self._read, args=(random.Random(seed + n),)) for n in range(READERS)]
        for thread in self._threads:
            thread.start()

    def _read(self, chance: random.Random) -> None:
        while not self._ended:
            key = chance.choice(list(SIZES))
            size = SIZES[key]
            start = chance.randrange(size)
            end = min(size, start + chance.choice((1, 5000, 300_000, size)))
            whole = chance.random() < 0.3
            if whole:
                start, end = 0, size
            try:
                answer = self._r.get(key, None if whole else f"bytes={start}-{end - 1}")
            except (OSError, IncompleteResponseError):
                # Cut or refused: the proxy was killed, or is not there yet. Wrong bytes would have come complete.
                continue
            except InvalidResponseError as error:
                self.wrong.append(str(error))
                continue
            if answer.status != (200 if whole else 206) or answer.body != content(key, start, end):
                self.wrong.append(f"{key} {start}-{end}: {answer.status}")
            self.right += 1

    def end(self) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join(30)


def kills(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], directory: Path, count: int, seed: int
) -> None:
    origin.control.bucket("bkt")
    for key, size in SIZES.items():
        origin.control.synthetic("bkt", key, size)
    chance = random.Random(seed)
    # Small enough that the evictor is killed as well.
    flags = (*NONE, "--cache-size", "12MiB")
    right = 0
    for number in range(count):
        proxy = start_fastcache(origin.endpoint, *flags, cache_directory=directory)
        assert not list(directory.glob("fills/*")), "left behind by the life before"
        load = Load(Reader(origin, proxy), seed + number)
        if number % 2:  # the others may be killed before anything was read
            wait_until(lambda load=load: load.right > 1 or bool(load.wrong), 60, "something was read")  # type: ignore[misc]
        time.sleep(chance.uniform(0.02, 0.5))
        proxy.kill()
        load.end()
        assert not load.wrong
        right += load.right
    assert right >= count, "nothing was read"
    r = Reader(origin, start_fastcache(origin.endpoint, *flags, cache_directory=directory))
    for _ in range(2):
        for key, size in SIZES.items():
            assert r.get(key).body == content(key, 0, size), key
            assert r.get(key, f"bytes=-{size // 2}").body == content(key, size - size // 2, size), key
    assert r.proxy.metric("fastcache_store_corrupt_files_total") == 0, "a kill leaves no half file under a name"
    r.proxy.stop()
    assert not list(directory.glob("fills/*"))


def test_eight_kills_under_load(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path
) -> None:
    kills(origin, start_fastcache, tmp_path / "cache", 8, seed=4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills_under_load(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path
) -> None:
    kills(origin, start_fastcache, tmp_path / "cache", 200, seed=5)


def test_what_was_stored_before_a_kill_is_a_hit_after_it(reader: Start) -> None:
    """Committed bytes are not lost with the process: only their proof is."""
    r = reader(*NONE)
    for key, size in SIZES.items():
        r.origin.control.synthetic("bkt", key, size)
        assert r.get(key).status == 200
    wait_until_stored(r)
    r.proxy.kill()
    again = reader(*NONE, cache_directory=r.proxy.cache_directory)
    again.origin.control.reset()
    for key, size in SIZES.items():
        assert again.get(key).body == content(key, 0, size)
        assert again.body_bytes(key) == 0, key


def test_a_fill_killed_in_the_middle_leaves_no_file_in_progress(reader: Start) -> None:
    r = reader(*NONE)
    size = 9 * MIB
    r.origin.control.synthetic("bkt", "o", size)
    r.origin.control.fault("stall", after=5 * MIB, seconds=3600, key="o")
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(r.request("o"))
        head = connection.read_head()
        connection.read_exactly(5 * MIB, head)
        wait_until(lambda: any(r.proxy.cache_directory.glob("fills/*.part")), 20, "it is being stored")
        r.proxy.kill()
    again = reader(*NONE, cache_directory=r.proxy.cache_directory)
    assert not list(r.proxy.cache_directory.glob("fills/*"))
    assert again.get("o").body == content("o", 0, size)
