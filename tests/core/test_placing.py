"""A mark and a whole file, each made in one call: what they leave, and what a call that fails leaves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.processes import wait_until

from fastcache._core import shared
from fastcache._core.placing import Guards, mark_void, store_whole

DIGEST = bytes(range(32))
SAME_CLASS = DIGEST[:8] + bytes(24)
"""Of the same lock and the same counter."""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def memory() -> shared.SharedMemory:
    fd = shared.create(1, 8)
    made = shared.SharedMemory(fd)
    os.close(fd)
    return made


@pytest.fixture
def guards(tmp_path: Path, memory: shared.SharedMemory) -> Iterator[Guards]:
    (tmp_path / "LOCK").touch()
    fd = os.open(tmp_path / "LOCK", os.O_RDWR)
    yield Guards(fd, memory)
    os.close(fd)


def store(
    root: int, guards: Guards | None, header: bytes, data: list[memoryview], at: int, *, durable: bool = False,
    clear: bool = False,
) -> int:  # fmt: skip
    return store_whole(root, guards, DIGEST, "part", "o.obj", header, data, at, 1 << 18, durable, clear)


def files(path: Path) -> set[str]:
    return {one.name for one in path.iterdir()} - {"LOCK"}


@pytest.mark.parametrize("there", [(), ("o.obj",), ("o",), ("o.obj", "o")])
def test_what_is_there_is_marked_and_nothing_else(
    tmp_path: Path, root: int, guards: Guards, memory: shared.SharedMemory, there: tuple[str, ...]
) -> None:
    for name in there:
        (tmp_path / name).mkdir() if name == "o" else (tmp_path / name).touch()
    memory.changed(DIGEST)
    for times in range(1, 3):
        counted = memory.changes(DIGEST)
        assert mark_void(root, guards, DIGEST, "o.obj", "o", "o.void", times == 1) == (bool(there), counted)
        assert files(tmp_path) == {*there, *(["o.void"] if there else [])}
        assert memory.changes(DIGEST) == counted + bool(there)
    assert mark_void(root, None, DIGEST, "o.obj", "o", "o.void", False) == (bool(there), 0)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("before", [None, b"an older one, and longer than what comes"])
def test_a_whole_file_takes_the_place_of_the_one_before(
    tmp_path: Path, root: int, guards: Guards, memory: shared.SharedMemory, durable: bool, clear: bool,
    before: bytes | None,
) -> None:  # fmt: skip
    if before is not None:
        (tmp_path / "o.obj").write_bytes(before)
    pieces = [memoryview(b"da"), memoryview(b""), memoryview(b"ta")]
    assert store(root, guards, b"head", pieces, 8, durable=durable, clear=clear) == 0
    assert (tmp_path / "o.obj").read_bytes() == b"head\0\0\0\0data"
    assert files(tmp_path) == {"o.obj"}
    assert memory.changes(DIGEST) == 1
    assert store(root, None, b"alone", [], 5) == 0
    assert (tmp_path / "o.obj").read_bytes() == b"alone"


def test_pieces_without_number_are_one_file(tmp_path: Path, root: int) -> None:
    data = bytes(range(256)) * 20
    store(root, None, b"h", [memoryview(data)[at : at + 1] for at in range(len(data))], 1)
    assert (tmp_path / "o.obj").read_bytes() == b"h" + data


def test_a_call_that_fails_leaves_nothing_of_it_and_what_was_there(
    tmp_path: Path, root: int, memory: shared.SharedMemory
) -> None:
    (tmp_path / "o.obj").write_bytes(b"old")
    (tmp_path / "part").touch()
    with pytest.raises(FileExistsError):
        store(root, None, b"new", [], 3)
    (tmp_path / "part").unlink()
    with pytest.raises(BufferError):
        store(root, None, b"new", [memoryview(b"every other octet")[::2]], 3)
    with pytest.raises(OSError, match="Bad file descriptor"):
        store(root, Guards(1 << 20, memory), b"new", [], 3)
    assert (files(tmp_path), (tmp_path / "o.obj").read_bytes()) == ({"o.obj"}, b"old")
    with pytest.raises(FileNotFoundError):
        store_whole(root, None, DIGEST, "part", "nowhere/o.obj", b"new", [], 3, 1 << 18, False, True)
    assert files(tmp_path) == {"o.obj"}
    (tmp_path / "o.obj").unlink()
    (tmp_path / "o.obj").mkdir()
    with pytest.raises(IsADirectoryError):
        store(root, None, b"new", [], 3, clear=True)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        mark_void(root, None, DIGEST, "file/o.obj", "o", "o.void", False)
    assert files(tmp_path) == {"o.obj", "file"}


def test_the_lock_of_another_is_waited_for(tmp_path: Path, root: int, guards: Guards) -> None:
    other_fd = os.open(tmp_path / "LOCK", os.O_RDWR)
    other = Guards(other_fd, shared.SharedMemory(fd := shared.create(1, 8)))
    os.close(fd)
    other.enter(SAME_CLASS)
    storing = threading.Thread(target=store, args=(root, guards, b"head", [], 4))
    storing.start()
    wait_until(lambda: files(tmp_path) == {"part"}, 20, "it is written before the lock is needed")
    storing.join(0.3)
    assert storing.is_alive()
    assert files(tmp_path) == {"part"}, "it is not in place"
    other.leave(SAME_CLASS)
    storing.join(20)
    assert files(tmp_path) == {"o.obj"}
    os.close(other_fd)


@pytest.mark.parametrize("digest", [b"", b"short"])
def test_what_is_no_digest_is_refused(tmp_path: Path, root: int, guards: Guards, digest: bytes) -> None:
    with pytest.raises(ValueError, match="digest"):
        guards.enter(digest)
    with pytest.raises(ValueError, match="digest"):
        store_whole(root, guards, digest, "part", "o.obj", b"", [], 0, 1 << 18, False, False)
    assert files(tmp_path) == set()
