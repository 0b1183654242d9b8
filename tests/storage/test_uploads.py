"""Parts of uploads in a directory that several processes share: any of them completes, each counts its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storage.conftest import MIB, Bench, eventually, oid, pattern
from tests.storage.test_shared import Host, make_host
from tests.storage.test_staging import headerless, read

from fastcache.errors import StorageError
from fastcache.model import Generation, Interval
from fastcache.storage.recovery import UploadsThere
from fastcache.storage.uploads import NamedPart, upload_digest

__all__ = ["make_host"]

SIZE = 5 * MIB
UPLOAD = upload_digest(oid("k"), b"an upload")


async def keep(bench: Bench, number: int, size: int = SIZE) -> NamedPart:
    body = bench.store.staging.begin(size)
    assert body is not None
    await body.write([memoryview(pattern(f"part {number}", size))])
    etag = b"etag-%d" % number
    assert await bench.store.uploads.keep(UPLOAD, number, Generation(etag, size), body)
    return NamedPart(number, etag)


def uploads_in(path: Path) -> list[Path]:
    """Those of which parts are there."""
    return [one for one in (path / "fills").iterdir() if one.is_dir()]


def ended_in(path: Path) -> list[Path]:
    """Those that are remembered to have ended."""
    return [one for one in (path / "fills").iterdir() if not one.is_dir()]


async def test_what_two_staged_a_third_completes_and_nobody_goes_on_counting_it(make_host: Callable[..., Host]) -> None:
    host = make_host()
    one, two, three = (host.worker(place) for place in (1, 2, 3))
    named = [await keep(one, 1), await keep(two, 2), await keep(one, 3)]
    assert one.store.staging.used == 2 * SIZE
    assembly = await three.store.uploads.find(UPLOAD, named)
    assert assembly is not None
    token = three.fences.raise_object(oid("k"))
    made = headerless("k", assembly.size)
    entry = three.store.staging.publish(oid("k"), made, token, next(three.sent))
    assert entry is not None
    assert await three.store.uploads.commit(assembly, entry, made.generation.tag, token)
    whole = b"".join(pattern(f"part {number}", SIZE) for number in (1, 2, 3))
    assert await read(one, "k", len(whole)) == whole
    assert uploads_in(host.settings.directory) == []
    await eventually(lambda: one.store.staging.used == two.store.staging.used == 0)
    await eventually(lambda: host.answered_for(1) == host.answered_for(2) == 0)


async def test_uploads_through_all_workers_together_take_a_quarter_of_the_cache(make_host: Callable[..., Host]) -> None:
    host = make_host(capacity=8 * SIZE)
    one, two = host.worker(1), host.worker(2)
    await keep(one, 1)
    assert two.store.staging.begin(SIZE + 1) is None
    body = two.store.staging.begin(None)
    assert body is not None
    with pytest.raises(StorageError, match="too much is being written"):
        await body.write([memoryview(pattern("long", SIZE + 1))])
    await body.discard()
    await keep(two, 2)
    assert one.store.staging.begin(1) is None
    await one.store.uploads.discard(UPLOAD)
    assert two.store.staging.begin(SIZE) is not None


async def test_only_what_is_here_whole_under_its_etag_and_in_order_is_found(make_host: Callable[..., Host]) -> None:
    one = make_host().worker(1)
    first, second = [await keep(one, number) for number in (1, 2)]
    find = one.store.uploads.find
    for named in (
        [second, first],
        [first, first],
        [first, NamedPart(2, first.etag)],
        [first, second, NamedPart(3, b"etag-3")],
        [],
    ):
        assert await find(UPLOAD, named) is None, named
    found = await find(UPLOAD, [first, second])
    assert found is not None
    assert [part.interval for part in found.parts] == [Interval(0, SIZE), Interval(SIZE, 2 * SIZE)]
    pieces = [path for path in uploads_in(one.settings.directory)[0].iterdir() if path.name.startswith("2-")]
    assert len(pieces) == 2
    for piece in pieces:
        held = piece.read_bytes()
        piece.unlink()
        assert await find(UPLOAD, [first, second]) is None, "a piece of the part is gone"
        piece.write_bytes(held)


async def test_what_is_staged_again_while_it_is_looked_around_stays_counted(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that found an upload gone must not forget a part that came meanwhile."""
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    look_at, listed, go_on = one.store._disk.files.uploads, threading.Event(), threading.Event()

    def slowly() -> UploadsThere:
        found = look_at()
        listed.set()
        assert go_on.wait(20)
        return found

    await keep(one, 1, 4096)
    await two.store.uploads.discard(UPLOAD)
    two.store._disk.files.forget_upload(UPLOAD)  # nothing keeps parts from coming again
    monkeypatch.setattr(one.store._disk.files, "uploads", slowly)
    looking = one.store._disk.spawn(one.store.uploads._look_around(), "look")
    await asyncio.to_thread(listed.wait)
    await keep(one, 2, 4096)
    go_on.set()
    await looking
    assert one.store.staging.used >= 4096
    await one.store.uploads.discard(UPLOAD)
    assert one.store.staging.used == 0


@pytest.mark.parametrize("before", [True, False])
async def test_a_part_that_comes_after_the_end_of_its_upload_is_not_kept(
    make_host: Callable[..., Host], before: bool
) -> None:
    """Through whichever process it comes, and whether that had others of it or not."""
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    await keep(one, 1)
    if before:
        await keep(two, 2)
    await one.store.uploads.discard(UPLOAD)
    for late in (two, one):
        body = late.store.staging.begin(SIZE)
        assert body is not None
        await body.write([memoryview(pattern("late", SIZE))])
        assert not await late.store.uploads.keep(UPLOAD, 3, Generation(b"late", SIZE), body)
    assert uploads_in(host.settings.directory) == []
    assert len(ended_in(host.settings.directory)) == 1
    await eventually(lambda: one.store.staging.used == two.store.staging.used == 0)
    await eventually(lambda: host.answered_for(1) == host.answered_for(2) == 0)
    assert await one.store.uploads.find(UPLOAD, [NamedPart(3, b"late")]) is None


async def test_an_upload_that_ends_while_a_part_is_put_among_the_others_does_not_get_it(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    mkdir = os.mkdir

    def ended_at_once(path: str, mode: int, *, dir_fd: int) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        one.store._disk.files.end_upload(UPLOAD)

    body = two.store.staging.begin(SIZE)
    assert body is not None
    await body.write([memoryview(pattern("late", SIZE))])
    with monkeypatch.context() as disturbed:
        disturbed.setattr(os, "mkdir", ended_at_once)
        assert not await two.store.uploads.keep(UPLOAD, 3, Generation(b"late", SIZE), body)
    assert uploads_in(host.settings.directory) == []
    assert two.store.staging.used == 0


async def test_a_part_that_comes_while_its_upload_ends_is_removed_with_the_others(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host()
    one = host.worker(1)
    await keep(one, 1)
    rmdir, late = os.rmdir, ["1-0123456789abcdef-1-0-1.staged"]

    def with_a_late_part(path: str, *, dir_fd: int) -> None:
        if late:
            (host.settings.directory / path / late.pop()).touch()
        rmdir(path, dir_fd=dir_fd)

    with monkeypatch.context() as disturbed:
        disturbed.setattr(os, "rmdir", with_a_late_part)
        await one.store.uploads.discard(UPLOAD)
    assert late == []
    assert uploads_in(host.settings.directory) == []
    assert len(ended_in(host.settings.directory)) == 1


async def test_the_keeper_forgets_what_has_ended_when_no_part_can_be_on_its_way(
    make_host: Callable[..., Host],
) -> None:
    host = make_host(upload_expiry=2.0)
    keeper, one = host.keeper(), host.worker(1)
    ended = keeper.store.uploads._ended
    assert ended is not None
    await keep(one, 1)
    await one.store.uploads.discard(UPLOAD)
    await eventually(lambda: UPLOAD in ended._seen)
    keeper.clock.advance(1.9)
    await keeper.store.uploads._look_around()
    assert len(ended_in(host.settings.directory)) == 1
    keeper.clock.advance(0.2)
    await eventually(lambda: ended_in(host.settings.directory) == [])
    await keep(one, 1)


@pytest.mark.parametrize("alive", [True, False])
async def test_the_keeper_removes_what_nobody_goes_on_with(make_host: Callable[..., Host], alive: bool) -> None:
    """Whoever staged it, and whether that process lives or not."""
    host = make_host(upload_expiry=2.0)
    keeper, one = host.keeper(), host.worker(1)
    unused = keeper.store.uploads._unused
    assert unused is not None
    await keep(one, 1)
    if not alive:
        await one.store.close()
    await eventually(lambda: UPLOAD in unused._seen)
    keeper.clock.advance(1.9)
    await keep(host.worker(2), 2)
    changed = keeper.store._disk.files.uploads().staged[UPLOAD]
    await eventually(lambda: unused._seen[UPLOAD][0] == changed)
    keeper.clock.advance(1.9)
    await keeper.store.uploads._look_around()
    assert uploads_in(host.settings.directory) != [], "something came meanwhile"
    keeper.clock.advance(0.2)
    await eventually(lambda: uploads_in(host.settings.directory) == [])
    if alive:
        await eventually(lambda: one.store.staging.used == 0)
