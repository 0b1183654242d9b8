"""Opening a cache directory: what is refused and in which words, what is cleaned, and that no path leaves it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core.extent_codec import FORMAT_VERSION
from fastcache.errors import CacheDirectoryError
from fastcache.model import Interval, ObjectId, OriginId
from fastcache.storage import layout
from fastcache.storage.directory import acquire

from .conftest import Bench, MakeBench, pattern


def test_a_new_directory_is_made_private_and_keeps_its_id(cache: Path) -> None:
    held = acquire(cache)
    store_id = held.store_id
    held.release()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    for name in (layout.FORMAT, layout.LOCK):
        assert stat.S_IMODE((cache / name).stat().st_mode) == 0o600
    assert (
        cache.joinpath(layout.FORMAT)
        .read_text()
        .startswith(f"fastcache cache directory\nversion {FORMAT_VERSION}\nstore ")
    )
    again = acquire(cache)
    assert again.store_id == store_id
    again.release()


def test_a_directory_in_use_is_refused_to_another_process(cache: Path) -> None:
    held = acquire(cache)
    imports = "import sys; from pathlib import Path; from fastcache.storage.directory import acquire"
    run = [sys.executable, "-c", f"{imports}; acquire(Path(sys.argv[1]))", str(cache)]
    other = subprocess.run(run, capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "in use by another process" in other.stderr
    held.release()
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0


def test_a_directory_with_other_things_in_it_is_refused_and_not_touched(cache: Path) -> None:
    cache.mkdir()
    (cache / "thesis.tex").write_text("x")
    with pytest.raises(CacheDirectoryError, match=r"holds 'thesis\.tex' but no FORMAT file"):
        acquire(cache)
    assert os.listdir(cache) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fastcache cache directory\nversion 9\nstore " + "0" * 32 + "\n", "has format version 9"),
        ("something else\n", "not one of fastcache"),
        ("", "not one of fastcache"),
    ],
)
def test_another_format_is_refused(cache: Path, text: str, said: str) -> None:
    acquire(cache).release()
    (cache / layout.FORMAT).write_text(text)
    with pytest.raises(CacheDirectoryError, match=said):
        acquire(cache)


def test_links_and_files_in_place_of_directories_are_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    cache.symlink_to(tmp_path / "real")
    with pytest.raises(CacheDirectoryError, match="symbolic link"):
        acquire(cache)
    cache.unlink()
    cache.write_text("x")
    with pytest.raises(CacheDirectoryError, match="not a directory"):
        acquire(cache)
    cache.unlink()
    acquire(cache).release()
    (cache / layout.FILLS).rmdir()
    (cache / layout.FILLS).symlink_to(tmp_path / "real")
    with pytest.raises(CacheDirectoryError, match="fills in it is not a directory"):
        acquire(cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a directory of somebody else")
def test_a_directory_of_somebody_else_is_refused(cache: Path) -> None:
    cache.mkdir()
    os.chown(cache, 12_345, 12_345)
    with pytest.raises(CacheDirectoryError, match="belongs to user 12345"):
        acquire(cache)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheDirectoryError, match=r"cannot be used|not writable|read-only"):
        acquire(Path("/proc/fastcache"))


async def test_what_was_in_progress_is_removed_at_the_start(bench: Bench, cache: Path) -> None:
    await bench.fill("k", 5000)
    await bench.store.close()
    for name in ("0-1.part", "3-77.part", "0-2.part.head"):
        (cache / "fills" / name).write_bytes(b"x" * 10_000)
    await bench.start()
    assert list((cache / "fills").iterdir()) == []
    await bench.scanned()
    assert await bench.read("k", Interval(0, 5000)) == pattern("k", 5000)


def everything_in(directory: Path) -> list[Path]:
    return list(directory.rglob("*"))


async def test_all_files_and_directories_are_private(bench: Bench, cache: Path) -> None:
    await bench.fill("small", 5000)
    await bench.fill("big", 2_000_000)
    for path in everything_in(cache):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


async def test_orphans_of_an_interrupted_life_are_removed_by_the_scan(make_bench: MakeBench, cache: Path) -> None:
    bench = await make_bench()
    await bench.fill("big", 2_000_000)
    await bench.store.close()
    (directory,) = [path for path in everything_in(cache / "objects") if len(path.name) == 64]
    (directory / "head").unlink()
    stray = cache / layout.void_file(b"\xab" * 32)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"")
    await bench.start()
    await bench.scanned()
    await bench.settled()
    assert not directory.exists()
    assert [path for path in everything_in(cache / "objects") if path.is_file()] == []
    assert bench.store.stats().used == 0


SAFE = re.compile(r"(objects|fills)(/[0-9a-f]{2}){0,2}/[0-9a-f]{64}(\.obj|\.void|/[0-9a-f]{16}-[0-9]+-[0-9]+\.ext)?")
NASTY = st.binary(max_size=80) | st.sampled_from([b"..", b"../../etc/passwd", b"/", b"\0", b"a/../b", b"%2e%2e"])


@given(
    NASTY,
    NASTY,
    NASTY | st.none(),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 1 << 63),
    st.integers(1, 1 << 40),
)
def test_no_client_bytes_reach_a_path(
    bucket: bytes, key: bytes, version: bytes | None, tag: bytes, start: int, length: int
) -> None:
    digest = ObjectId(OriginId("http", "h", 80), bucket, key, version).digest
    name = layout.extent_name(tag, start, start + length)
    paths = [
        layout.object_file(digest),
        layout.object_directory(digest),
        layout.void_file(digest),
        f"{layout.object_directory(digest)}/{name}",
    ]
    for path in paths:
        assert SAFE.fullmatch(path)
    assert layout.parse_extent_name(name) == (tag[:8].hex(), start, start + length)
    assert layout.parse_object_name(os.path.basename(paths[0])) == (digest, ".obj")


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f]{16}-[0-9]{1,25}-[0-9]{1,25}\.ext\n?"))
def test_only_names_this_program_writes_are_read_back(name: str) -> None:
    parsed = layout.parse_extent_name(name)
    if parsed is not None:
        assert name == f"{parsed.generation}-{parsed.start}-{parsed.end}.ext"
    staged = layout.parse_staged_name(name)
    if staged is not None:
        assert name == "-".join(map(str, staged)) + ".staged"
