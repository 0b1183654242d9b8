"""P-06: a file of the cache that was changed by anybody but us is a miss, counted, and answered from the origin."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import MIB, MODES, Start, assert_right, attempt, wait_until_stored
from tests.reads.conftest import Reader, content

from fastcache._core.extent_codec import header_length
from fastcache.model import ObjectId, OriginId
from fastcache.storage import layout

SMALL = 3000
LARGE = 200_000
BORDER = 100_000
"""Where the second extent of a large object begins."""

Damage = Callable[[Path], None]


def digest(r: Reader, key: str) -> bytes:
    host, _, port = r.origin.endpoint.removeprefix("http://").partition(":")
    return ObjectId(OriginId("http", host, int(port)), b"bkt", key.encode(), None).digest


def object_file(r: Reader, key: str) -> Path:
    return Path(r.proxy.cache_directory, layout.object_file(digest(r, key)))


def files_of_directory(r: Reader, key: str) -> tuple[Path, list[Path]]:
    """The head file and the extents of an object that is not one file."""
    directory = Path(r.proxy.cache_directory, layout.object_directory(digest(r, key)))
    return directory / layout.HEAD, sorted(directory.glob("*.ext"), key=lambda path: int(path.name.split("-")[1]))


def flip(at: int) -> Damage:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)

    return damage


def truncate(by: int) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[:-by])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_version(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] += 1
    path.write_bytes(data)


def header_bytes(path: Path) -> int:
    """Bytes in front of the data."""
    return header_length(path.read_bytes())


def warm_small(r: Reader, keys: list[str]) -> None:
    r.origin.control.synthetic("bkt", keys, SMALL)
    for key in keys:
        assert r.get(key).status == 200
    wait_until_stored(r)


def warm_large(r: Reader, keys: list[str]) -> None:
    """Two extents and a head file each."""
    r.origin.control.synthetic("bkt", keys, LARGE)
    for key in keys:
        for range_ in (f"bytes=0-{BORDER - 1}", f"bytes={BORDER}-"):
            assert r.get(key, range_).status == 206
    wait_until_stored(r)


def restarted(reader: Start, r: Reader, mode: tuple[str, ...], damage: Callable[[], None]) -> Reader:
    r.proxy.stop()
    damage()
    again = reader(*mode, cache_directory=r.proxy.cache_directory)
    again.origin.control.reset()
    return again


def assert_answered(r: Reader, keys: list[str], size: int) -> None:
    for key in keys:
        assert_right(r, key, size)
    failed = sum(r.proxy.metric("fastcache_requests_total", status=str(status)) for status in (500, 502, 503, 504))
    assert failed == 0


def header_sweep(reader: Start, mode: tuple[str, ...], step: int) -> None:
    r = reader(*mode)
    warm_small(r, ["probe", "untouched"])
    length = header_bytes(object_file(r, "probe"))
    offsets = {f"f{at:04d}": at for at in range(0, length, step)}
    warm_small(r, list(offsets))

    def damage() -> None:
        for key, at in offsets.items():
            flip(at)(object_file(r, key))

    r = restarted(reader, r, mode, damage)
    assert_answered(r, ["untouched", *offsets], SMALL)
    unnoticed = [at for key, at in offsets.items() if r.body_bytes(key) < SMALL]
    assert not unnoticed, "flipped bytes of the header that changed nothing"
    assert r.proxy.metric("fastcache_store_corrupt_files_total") == len(offsets)
    assert r.body_bytes("untouched") == 0


@MODES
def test_every_ninth_byte_of_a_header_flipped_is_a_miss(reader: Start, mode: tuple[str, ...]) -> None:
    header_sweep(reader, mode, 9)


@pytest.mark.slow
@pytest.mark.timeout(400)
@MODES
def test_every_byte_of_a_header_flipped_is_a_miss(reader: Start, mode: tuple[str, ...]) -> None:
    header_sweep(reader, mode, 1)


@MODES
def test_small_objects_damaged_in_any_other_way_are_misses(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    chance = random.Random(6)
    keys = [f"b{number}" for number in range(12)]
    others: dict[str, Damage] = {
        "shorter": truncate(1),
        "much-shorter": truncate(SMALL),
        "longer": lengthen,
        "zero": zero,
        "empty": empty,
        "version": another_version,
        "gone": Path.unlink,
    }
    warm_small(r, [*keys, *others, "one", "two", "fifo", "untouched"])

    def damage() -> None:
        for key in keys:
            path = object_file(r, key)
            flip(chance.randrange(header_bytes(path), path.stat().st_size))(path)
        for key, harm in others.items():
            harm(object_file(r, key))
        one, two = object_file(r, "one"), object_file(r, "two")
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        planted = object_file(r, "fifo")
        planted.unlink()
        planted.symlink_to(object_file(r, "untouched"))

    r = restarted(reader, r, mode, damage)
    harmed = [*keys, *others, "one", "two", "fifo"]
    assert_answered(r, [*harmed, "untouched"], SMALL)
    for key in harmed:
        assert r.body_bytes(key) >= SMALL, key
    assert r.body_bytes("untouched") == 0
    # One is gone, and the link may have been swept away before anybody asked for it.
    assert r.proxy.metric("fastcache_store_corrupt_files_total") in (len(harmed) - 2, len(harmed) - 1)


@MODES
def test_damaged_extents_and_heads_of_large_objects_are_misses(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    chance = random.Random(7)
    heads: dict[str, Damage] = {"h-flip": flip(70), "h-cut": truncate(1), "h-zero": zero, "h-gone": Path.unlink}
    extents: dict[str, Damage] = {
        **{f"e-header-{at}": flip(at) for at in (0, 9, 40, 61, 77, 99, 120, 159)},
        **{f"e-body-{n}": flip(chance.randrange(5000, 99_000)) for n in range(4)},
        "e-shorter": truncate(1),
        "e-half": truncate(50_000),
        "e-longer": lengthen,
        "e-zero": zero,
        "e-empty": empty,
        "e-gone": Path.unlink,
    }
    warm_large(r, [*heads, *extents, "swapped", "other", "untouched"])

    def damage() -> None:
        for key, harm in heads.items():
            harm(files_of_directory(r, key)[0])
        for number, (key, harm) in enumerate(extents.items()):
            harm(files_of_directory(r, key)[1][number % 2])
        first, second = files_of_directory(r, "swapped")[1]
        theirs = files_of_directory(r, "other")[1][0]
        mine, foreign = first.read_bytes(), theirs.read_bytes()
        first.write_bytes(foreign)
        theirs.write_bytes(mine)
        second.write_bytes(mine)  # the first extent under the name of the second

    r = restarted(reader, r, mode, damage)
    harmed = [*heads, *extents, "swapped", "other"]
    assert_answered(r, [*harmed, "untouched"], LARGE)
    for key in harmed:
        assert r.body_bytes(key) >= BORDER, key
    assert r.body_bytes("untouched") == 0


@MODES
def test_files_damaged_while_we_run_are_misses_at_their_first_touch(reader: Start, mode: tuple[str, ...]) -> None:
    """Before anything of them was read in this life, and between two reads of different blocks."""
    r = reader(*mode)
    warm_small(r, ["small"])
    r.origin.control.synthetic("bkt", "o", MIB)
    assert r.get("o").status == 200
    wait_until_stored(r)
    r = restarted(reader, r, mode, lambda: None)
    assert r.get("o", "bytes=0-99").body == content("o", 0, 100)
    assert r.body_bytes("o") == 0
    flip(2000)(object_file(r, "small"))
    path = object_file(r, "o")
    with path.open("r+b") as file:
        file.seek(header_bytes(path) + 700_000)
        file.write(b"not what was stored")
    assert_answered(r, ["small"], SMALL)
    assert_answered(r, ["o"], MIB)
    assert r.body_bytes("small") >= SMALL
    assert r.body_bytes("o") > 0
    assert r.proxy.metric("fastcache_store_corrupt_files_total") == 2


@MODES
def test_a_file_cut_short_under_a_reader_ends_no_answer_early(reader: Start, mode: tuple[str, ...]) -> None:
    """Its bytes were checked before; the rest comes from the origin, or the connection is cut: never a short answer."""
    r = reader(*mode)
    r.origin.control.synthetic("bkt", "o", MIB)
    for _ in range(2):
        assert r.get("o").body == content("o", 0, MIB)
    wait_until_stored(r)
    assert r.get("o").body == content("o", 0, MIB)
    with object_file(r, "o").open("r+b") as file:
        file.truncate(MIB // 2)
    answer = attempt(r, "o")
    assert answer is None or answer.body == content("o", 0, MIB)
    assert_answered(r, ["o"], MIB)
