"""Steps of writing cache files: what lies in the file afterwards, which system calls made it, and what fails how."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache._core.crc32c import crc32c, crc_blocks
from fastcache._core.writing import (
    append_views,
    are_absent,
    complete,
    make_directories,
    sum_views,
    write_new,
    write_views,
)

BLOCK = 262_144
views = st.lists(st.binary(max_size=300), max_size=40)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
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


def test_directories_are_made_unless_they_are_there(root: int, tmp_path: Path) -> None:
    make_directories(root, ["a", "a/b"])
    make_directories(root, ["a", "a/b", "a/c"])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "c"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_what_was_planted_in_place_of_a_directory_is_none(root: int, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(NotADirectoryError):
            make_directories(root, [name, f"{name}/b"])
    with pytest.raises(FileNotFoundError):
        make_directories(root, ["gone/b"])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_is_absent(root: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert are_absent(root, ["one", "two", "gone/three"])
    assert not are_absent(root, ["one", "file"])
    assert not are_absent(root, ["link", "one"])
    assert not are_absent(root, ["file/below"])  # ENOTDIR: nobody can tell
