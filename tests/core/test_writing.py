"""Steps of writing cache files: what lies in the file afterwards, which system calls made it, and what fails how."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache._core.crc32c import crc32c, crc_blocks
from fastcache._core.shared import SharedMemory, create
from fastcache._core.writing import (
    append_views,
    are_absent,
    complete,
    rename_counted,
    sum_views,
    write_new,
    write_views,
)

BLOCK = 262_144
DIGEST = bytes(range(32))
views = st.lists(st.binary(max_size=300), max_size=40)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    fd = create(2, 4096)
    yield SharedMemory(fd)
    os.close(fd)


@settings(deadline=None)
@given(views, st.integers(0, 3), st.sampled_from([64, 128, 4096]))
def test_what_was_given_lies_one_behind_the_other(given: list[bytes], at: int, unit: int) -> None:
    fd = os.memfd_create("part")
    try:
        write_views(fd, [memoryview(view) for view in given], at * 50, unit)
        whole = b"".join(given)
        assert os.pread(fd, len(whole) + 1, at * 50) == whole
    finally:
        os.close(fd)


def test_more_pieces_than_one_system_call_takes(tmp_path: Path) -> None:
    pieces = [b"%05d" % number for number in range(3000)]
    path = tmp_path / "many"
    with path.open("wb") as file:
        write_views(file.fileno(), pieces, 7, 1 << 20)
    assert path.read_bytes()[7:] == b"".join(pieces)


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"", b"a" * 100, b"b" * BLOCK, b"c" * (BLOCK - 1), b"d" * 70_000]), max_size=6))
def test_sums_are_those_of_the_blocks_however_the_bytes_were_cut(given: list[bytes]) -> None:
    full: list[int] = []
    crc, filled = 0, 0
    for view in given:
        more, crc, filled = sum_views([view], crc, filled)
        full += more
    whole = b"".join(given)
    assert [*full, *([crc] if filled else [])] == crc_blocks(whole, BLOCK)
    assert filled == len(whole) % BLOCK
    assert (full, crc, filled) == sum_views(given)


def test_appending_writes_and_sums(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with path.open("wb") as file:
        first = append_views(file.fileno(), [b"x" * 1000], 0, BLOCK, 0, 0)
        second = append_views(file.fileno(), [b"y" * BLOCK], 1000, BLOCK, *first[1:])
    assert path.read_bytes() == b"x" * 1000 + b"y" * BLOCK
    assert first == ([], crc32c(b"x" * 1000), 1000)
    assert second[0] == [crc32c(b"x" * 1000 + b"y" * (BLOCK - 1000))]
    assert second[1:] == (crc32c(b"y" * 1000), 1000)


def test_a_file_that_takes_less_than_it_is_given_says_why(tmp_path: Path) -> None:
    """A partial write is followed by the rest of it, which the limit refuses."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "limited"
    with path.open("wb") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large") as raised:
                append_views(file.fileno(), [b"z" * 6000, b"z" * 6000], 0, BLOCK, 0, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b"z" * 10_000


@pytest.mark.parametrize("fsync", [False, True])
def test_a_new_file_has_its_header_and_its_data(root: int, tmp_path: Path, fsync: bool) -> None:
    write_new(root, "new", b"HEAD", [b"one", memoryview(b"two")], 16, BLOCK, fsync)
    assert (tmp_path / "new").read_bytes() == b"HEAD" + bytes(12) + b"onetwo"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_new_file_is_no_file_that_was_there_and_no_link(root: int, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("old", "link"):
        with pytest.raises(FileExistsError):
            write_new(root, name, b"HEAD", [], 16, BLOCK, False)
    with pytest.raises(FileNotFoundError):
        write_new(root, "gone/new", b"HEAD", [], 16, BLOCK, False)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert not (tmp_path / "elsewhere").exists()


def test_completing_cuts_off_what_does_not_count_and_closes(root: int, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"....data and what a failed write left")
    fd = os.open("part", os.O_RDWR, dir_fd=root)
    complete(fd, b"HEAD", 8, fsync=True)
    assert (tmp_path / "part").read_bytes() == b"HEADdata"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_completing_closes_also_what_cannot_be_written(root: int, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"")
    fd = os.open("part", os.O_RDONLY, dir_fd=root)
    with pytest.raises(OSError, match="Bad file descriptor"):
        complete(fd, b"HEAD", 8, fsync=False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class Renaming:
    """A directory with a file ``part``, and the lock beside it."""

    def __init__(self, root: int, tmp_path: Path, memory: SharedMemory) -> None:
        self.root, self.path, self.memory = root, tmp_path, memory
        (tmp_path / "part").write_bytes(b"new")
        (tmp_path / "lock").touch()
        self.lock = os.open("lock", os.O_RDWR, dir_fd=root)

    def rename(self, target: str, *directories: str) -> int:
        return rename_counted(self.root, "part", target, directories, self.lock, 5, self.memory, DIGEST)


@pytest.fixture
def renaming(root: int, tmp_path: Path, memory: SharedMemory) -> Iterator[Renaming]:
    made = Renaming(root, tmp_path, memory)
    yield made
    os.close(made.lock)


def test_a_rename_makes_the_directories_and_counts_the_change(renaming: Renaming) -> None:
    assert renaming.rename("a/b/target", "a", "a/b") == 0
    assert (renaming.path / "a/b/target").read_bytes() == b"new"
    assert renaming.memory.changes(DIGEST) == 1
    assert (renaming.path / "a").stat().st_mode & 0o777 == 0o700
    (renaming.path / "part").write_bytes(b"newer")
    assert renaming.rename("a/b/target", "a", "a/b") == 1
    assert (renaming.path / "a/b/target").read_bytes() == b"newer"


def test_a_rename_that_fails_counts_nothing_and_gives_the_lock_back(renaming: Renaming) -> None:
    (renaming.path / "elsewhere").mkdir()
    (renaming.path / "link").symlink_to("elsewhere")
    with pytest.raises(NotADirectoryError):
        renaming.rename("link/target", "link")
    with pytest.raises(FileNotFoundError):
        renaming.rename("missing/target")
    assert renaming.memory.changes(DIGEST) == 0
    assert list((renaming.path / "elsewhere").iterdir()) == []
    other = os.open("lock", os.O_RDWR, dir_fd=renaming.root)
    fcntl.fcntl(other, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 5, 1, 0))
    os.close(other)


def test_a_rename_waits_for_who_holds_the_lock(renaming: Renaming) -> None:
    other = os.open("lock", os.O_RDWR, dir_fd=renaming.root)
    fcntl.fcntl(other, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 5, 1, 0))
    thread = threading.Thread(target=renaming.rename, args=("target",))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()  # and without the interpreter, or we would not be here
    assert not (renaming.path / "target").exists()
    os.close(other)
    thread.join(20)
    assert (renaming.path / "target").exists()


def test_what_is_absent(root: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert are_absent(root, ["one", "two", "gone/three"])
    assert not are_absent(root, ["one", "file"])
    assert not are_absent(root, ["link", "one"])
    assert not are_absent(root, ["file/below"])  # ENOTDIR: nobody can tell
