from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.config.conftest import Configure

from fastcache.errors import CacheDirectoryError
from fastcache.lifecycle import cache_directory
from fastcache.lifecycle.cache_directory import check_usable, default_cache_directory, prepare

NOBODY = 65534


@pytest.mark.parametrize(
    ("environ", "uid", "directory", "variable"),
    [
        ({"CACHE_DIRECTORY": "/a:/b", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, 0, "/a", "CACHE_DIRECTORY"),
        ({"CACHE_DIRECTORY": "/a"}, 1000, "/a", "CACHE_DIRECTORY"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, 0, "/var/cache/fastcache", None),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, 1000, "/x/fastcache", "XDG_CACHE_HOME"),
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, 1000, "/h/.cache/fastcache", None),
        ({"XDG_CACHE_HOME": "", "HOME": "/h", "CACHE_DIRECTORY": ""}, 1000, "/h/.cache/fastcache", None),
        ({}, 3_999_999_999, "/.cache/fastcache", None),
    ],
)
def test_the_default_follows_systemd_root_and_xdg(
    environ: dict[str, str], uid: int, directory: str, variable: str | None
) -> None:
    assert default_cache_directory(environ, uid) == (Path(directory), variable)


def test_a_relative_directory_from_systemd_is_refused_with_the_variable(configure: Configure) -> None:
    refusal = configure.refusal(environ={"CACHE_DIRECTORY": "here"})
    assert refusal == "variable CACHE_DIRECTORY: 'here' is not an absolute path; write one that starts with /"


@pytest.fixture
def unprivileged() -> Iterator[int]:
    """The rest of the test runs as a user who may not write everywhere."""
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    os.seteuid(NOBODY)
    yield NOBODY
    os.seteuid(0)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A directory of somebody else."""
    if os.geteuid() != 0:
        return Path("/usr")
    directory = tmp_path / "foreign"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, -1)
    return directory


def test_a_missing_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    check_usable(directory)
    assert not directory.exists()
    prepare(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    prepare(directory)


def test_loading_makes_no_directory(configure: Configure) -> None:
    configure()
    assert not configure.cache_dir.exists()


def test_a_foreign_directory_is_refused_and_the_way_out_named(configure: Configure, foreign: Path) -> None:
    refusal = configure.refusal(flags={"cache-dir": foreign})
    owner = foreign.stat().st_uid
    assert f" belongs to uid {owner} and fastcache runs as uid {os.geteuid()}; choose a directory inside it" in refusal


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(CacheDirectoryError, match="can be written by others; chmod it to 0700, or choose"):
        check_usable(tmp_path)


def test_a_directory_others_can_only_read_is_accepted(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    check_usable(tmp_path)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheDirectoryError, match="is not a directory; choose another path"):
        check_usable(tmp_path / "file")


def test_our_own_link_to_a_directory_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    check_usable(tmp_path / "link")


def test_a_link_planted_by_somebody_else_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a link away")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    os.chown(tmp_path / "link", NOBODY, -1, follow_symlinks=False)
    with pytest.raises(CacheDirectoryError, match=f"is a link of uid {NOBODY}; give the directory it points to"):
        check_usable(tmp_path / "link")


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(CacheDirectoryError, match="is a link to nothing"):
        check_usable(tmp_path / "link")


def test_a_directory_that_cannot_be_made_is_refused(unprivileged: int) -> None:
    with pytest.raises(CacheDirectoryError, match=f"cannot be made: uid {unprivileged} cannot write to /usr; choose"):
        check_usable(Path("/usr/fastcache/store"))


def test_a_directory_of_ours_without_write_permission_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = Path("/tmp") / f"fastcache-test-{os.getpid()}"
    directory.mkdir(mode=0o500)
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(directory, NOBODY, -1)
            os.seteuid(NOBODY)
        with pytest.raises(CacheDirectoryError, match=f"cannot be written by uid {os.geteuid()}; make it writable"):
            check_usable(directory)
    finally:
        if root:
            os.seteuid(0)
        directory.rmdir()


def test_a_directory_that_cannot_even_be_looked_at_is_refused(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        with pytest.raises(CacheDirectoryError, match="cannot be used: Permission denied; choose another directory"):
            check_usable(locked / "cache")
    finally:
        if root:
            os.seteuid(0)
        locked.chmod(0o700)


def test_a_file_system_that_makes_no_directories_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_directory, "check_usable", lambda path: None)
    with pytest.raises(CacheDirectoryError, match="/proc/fastcache cannot be made: "):
        prepare(Path("/proc/fastcache"))
