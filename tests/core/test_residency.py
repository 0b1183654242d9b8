"""Residency: warm files are seen as warm, evicted ones as cold, by either way of asking."""

import os
import time
from pathlib import Path

import pytest

from fastcache._core.residency import BY_CACHESTAT, BY_READ, resident

SIZE = 1 << 20


@pytest.fixture
def warm(tmp_path: Path) -> int:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, os.urandom(SIZE))
    os.fsync(fd)
    return fd


def dropped(fd: int) -> bool:
    """Whether the file system lets pages go when told to (tmpfs does not)."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return not resident(fd, 0, SIZE)


@pytest.mark.parametrize("ways", [BY_CACHESTAT, BY_READ, BY_CACHESTAT | BY_READ])
def test_what_was_just_written_is_resident_and_what_was_dropped_is_not(warm: int, ways: int) -> None:
    if not resident(warm, 0, 1, ways):
        pytest.skip("this kernel or file system does not answer this way")
    assert resident(warm, 0, SIZE, ways)
    assert resident(warm, 12_345, 100_000, ways)
    # Asking by reading makes the kernel read ahead, and the next question would find what has arrived by then.
    os.posix_fadvise(warm, 0, 0, os.POSIX_FADV_RANDOM)
    if not dropped(warm):
        pytest.skip("this file system keeps its pages")
    assert not resident(warm, 0, SIZE, ways)
    os.pread(warm, 4096, 8192)
    assert resident(warm, 8192, 4096, ways)
    assert not resident(warm, 8192, 300_000, ways)
    os.close(warm)


def test_nothing_is_always_resident_and_nobody_to_ask_means_cold(warm: int) -> None:
    assert resident(warm, 0, 0)
    assert not resident(warm, 0, 100, 0)
    os.close(warm)
    with pytest.raises(OSError, match="Bad file descriptor"):
        resident(warm, 0, 100)


@pytest.mark.parametrize("interval", [(4097, (1 << 64) - 1), ((1 << 63) - 1, 1), (1 << 63, 1)])
def test_an_interval_no_file_can_have_is_an_error_and_not_resident(warm: int, interval: tuple[int, int]) -> None:
    """Beyond 2**64 it wrapped to no page at all, every one of which is in memory."""
    for ways in (BY_CACHESTAT, BY_READ):
        with pytest.raises(OSError, match="Invalid argument"):
            resident(warm, *interval, ways)


def test_what_a_disk_is_still_bringing_is_not_resident(tmp_path: Path) -> None:
    """The kernel puts pages into the cache before they are read; who sends them then waits for the disk."""
    size = 8 * SIZE
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, os.urandom(size))
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(30):
        if not dropped(fd):
            pytest.skip("this file system keeps its pages")
        os.posix_fadvise(fd, 0, size, os.POSIX_FADV_WILLNEED)  # returns while the disk is at it
        until = time.monotonic() + 20
        while not resident(fd, 0, size, BY_CACHESTAT):
            assert time.monotonic() < until, "the disk has not brought what it was told to"
        assert resident(fd, 0, size, BY_READ)
    os.close(fd)
