"""Keys are read again when their file changes, and stay what they were when it cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.harness.reactor import until

from fastcache.errors import KeysFileError
from fastcache.lifecycle.key_ring import KeyRing
from fastcache.observe.metrics import Metrics
from fastcache.policy.access import KeySet

CANARY = "canary-0123456789"


def write(path: Path, *names: str, secret: str = CANARY) -> None:
    """Replace the file as an editor that is careful does, so that it changes in one step."""
    new = path.with_name(path.name + ".new")
    new.write_text("".join(f"- access_key: {name}\n  secret_key: {secret}\n" for name in names) or "[]\n")
    new.chmod(0o600)
    new.rename(path)


def put(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def names(keys: KeySet) -> list[str]:
    return [key.access_key.decode() for key in keys]


@contextlib.asynccontextmanager
async def watching(path: Path, metrics: Metrics | None = None) -> AsyncIterator[KeyRing]:
    ring = KeyRing(path, metrics or Metrics(), interval=0.02)
    ring.start()
    try:
        yield ring
    finally:
        await ring.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def reloads(metrics: Metrics, outcome: str) -> int:
    return metrics.value("fastcache_keys_reloads_total", outcome)


async def test_a_changed_file_is_read_and_its_keys_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcache")
    write(path, "AAA")
    metrics, told = Metrics(), []
    async with watching(path, metrics) as ring:
        ring.on_change(told.append)
        assert (names(ring.current), ring.current.serial) == (["AAA"], 1)
        write(path, "AAA", "BBB")
        await until(lambda: ring.current.serial == 2)
        assert names(ring.current) == ["AAA", "BBB"]
        assert told == [ring.current]
        assert reloads(metrics, "loaded") == 1
        assert b"\nfastcache_keys 2.0\n" in metrics.render()[0]
        write(path)
        await until(lambda: ring.current.serial == 3)
        assert names(ring.current) == []
        assert b"\nfastcache_keys 0.0\n" in metrics.render()[0]
    assert "canary" not in f"{caplog.text} {ring.current!r} {told} {metrics.render()}"
    assert [record.getMessage() for record in caplog.records] == [
        f"2 keys read from {path} (before: 1)",
        f"0 keys read from {path} (before: 2)",
    ]


def cut(path: Path, octets: int) -> None:
    os.truncate(path, path.stat().st_size - octets)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "open to others": lambda path: path.chmod(0o644),
    "missing": Path.unlink,
    "broken": lambda path: put(path, f"- access_key: *{CANARY}\n"),
    "empty": lambda path: os.truncate(path, 0),
    "half": lambda path: cut(path, len(CANARY) + 3),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
async def test_the_last_good_keys_stay_and_one_line_says_why(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    write(path, "AAA", "BBB")
    metrics = Metrics()
    async with watching(path, metrics) as ring:
        damage(path)
        await until(lambda: reloads(metrics, "failed") == 1)
        # Several looks later it is still one failure, told once.
        await asyncio.sleep(0.3)
        assert reloads(metrics, "failed") == 1
        assert (names(ring.current), ring.current.serial) == (["AAA", "BBB"], 1)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(f"the keys file cannot be used, 2 keys stay in effect: {path}")
        assert "canary" not in caplog.text
        write(path, "CCC")
        await until(lambda: names(ring.current) == ["CCC"])
        assert ring.current.serial == 2


async def test_a_file_that_says_the_same_changes_nothing(path: Path) -> None:
    write(path, "AAA")
    metrics = Metrics()
    async with watching(path, metrics) as ring:
        ring.on_change(lambda keys: pytest.fail("nothing has changed"))
        before = ring.current
        write(path, "AAA")
        await until(lambda: reloads(metrics, "unchanged") == 1)
        assert ring.current is before


async def test_another_secret_alone_is_a_change(path: Path) -> None:
    write(path, "AAA")
    async with watching(path) as ring:
        write(path, "AAA", secret="canary-another-one")
        await until(lambda: ring.current.serial == 2)
        assert ring.current.keys[0].secret_key == b"canary-another-one"


async def test_a_file_written_in_place_is_noticed(path: Path) -> None:
    write(path, "AAA")
    async with watching(path) as ring:
        put(path, "[{access_key: AAA, secret_key: canary-0123}, {access_key: BBB, secret_key: canary-0123}]")
        await until(lambda: names(ring.current) == ["AAA", "BBB"])


async def test_a_secret_as_kubernetes_mounts_it_is_followed_through_its_links(tmp_path: Path) -> None:
    """keys.yaml -> ..data/keys.yaml, ..data -> a directory with a time in its name, swapped by a rename."""
    for version, name in (("..1", "AAA"), ("..2", "BBB")):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "keys.yaml", name)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    async with watching(tmp_path / "keys.yaml") as ring:
        assert names(ring.current) == ["AAA"]
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await until(lambda: names(ring.current) == ["BBB"])


async def test_files_that_hold_secrets_are_watched_too(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    put(path, "- {access_key: AAA, secret_key_file: secret}\n")
    with pytest.raises(KeysFileError, match="secret cannot be read"):
        KeyRing(path, Metrics())
    put(secret, "canary-first\n")
    async with watching(path) as ring:
        put(secret, "canary-second\n")
        await until(lambda: ring.current.keys[0].secret_key == b"canary-second")


async def test_a_missing_secret_file_is_waited_for(path: Path, tmp_path: Path) -> None:
    write(path, "AAA")
    metrics = Metrics()
    async with watching(path, metrics) as ring:
        put(path, "- {access_key: BBB, secret_key_file: later}\n")
        await until(lambda: reloads(metrics, "failed") >= 1)
        assert names(ring.current) == ["AAA"]
        put(tmp_path / "later", "canary-later")
        await until(lambda: names(ring.current) == ["BBB"])


async def test_a_reload_can_be_asked_for(path: Path) -> None:
    write(path, "AAA")
    ring = KeyRing(path, Metrics(), environ={})
    write(path, "BBB")
    assert names(ring.current) == ["AAA"]
    assert await ring.reload()
    assert names(ring.current) == ["BBB"]
    os.truncate(path, 0)
    assert not await ring.reload()
    assert names(ring.current) == ["BBB"]
    await ring.close()


async def test_reloads_at_once_are_one_after_another(path: Path) -> None:
    write(path, "AAA")
    ring = KeyRing(path, Metrics())
    serials: list[int] = []
    ring.on_change(lambda keys: serials.append(keys.serial))
    for i in range(20):
        write(path, f"KEY{i}")
        await asyncio.gather(*(ring.reload() for _ in range(3)))
    assert names(ring.current) == ["KEY19"]
    assert serials == list(range(2, 22))


async def test_every_version_of_a_file_that_is_rewritten_all_the_time_is_whole(path: Path) -> None:
    """Reloads see one version or another, never a mixture or none."""
    write(path, "KEY0", "PAIR0")
    seen: list[list[str]] = []
    async with watching(path) as ring:
        ring.on_change(lambda keys: seen.append(names(keys)))
        for i in range(1, 200):
            write(path, f"KEY{i}", f"PAIR{i}")
            await asyncio.sleep(0.002)
        await until(lambda: names(ring.current) == ["KEY199", "PAIR199"])
    assert all(first.removeprefix("KEY") == second.removeprefix("PAIR") for first, second in seen)


def test_a_bad_file_at_start_is_refused(path: Path) -> None:
    with pytest.raises(KeysFileError, match="cannot be read"):
        KeyRing(path, Metrics())
