"""P-10, P-11: a cache directory that fails costs hits, never requests; and hits come back with the disk."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import MIB, MODES, NONE, Start, wait_until_stored
from tests.harness.processes import wait_until
from tests.reads.conftest import Reader, content

SIZES = {"small": 1000, "one-file": 300_000, "extents": 3 * MIB}
"""A small object, one stored in a single call, one written piece by piece."""

Require = Callable[..., None]


def assert_answered(r: Reader, prefix: str, generation: int = 1) -> None:
    """Objects nobody read before: whole, again, and a range; each as if there were no cache."""
    for name, size in SIZES.items():
        key = f"{prefix}-{name}"
        r.origin.control.synthetic("bkt", key, size, generation=generation)
        for _ in range(2):
            whole = r.get(key)
            assert (whole.status, whole.body) == (200, content(key, 0, size, generation)), key
        part = r.get(key, "bytes=5-700")
        assert (part.status, part.body) == (206, content(key, 5, 701, generation)), key
    assert r.get(f"{prefix}-new", method="PUT", body=b"written").status == 200
    assert r.get(f"{prefix}-new").body == b"written"
    assert r.get(f"{prefix}-missing").status == 404


def assert_warm_is_right(r: Reader) -> None:
    """What was stored before is still answered, from wherever."""
    for name, size in SIZES.items():
        key = f"warm-{name}"
        assert r.get(key).body == content(key, 0, size), key
        assert r.get(key, "bytes=5-700").body == content(key, 5, 701), key


def assert_hits_resume(r: Reader, prefix: str, within: float = 20.0) -> None:
    """A new object is stored and hit again, soon after the disk is well: liveness bound, not the target."""
    attempts = iter(range(1000))

    def hit() -> bool:
        key = f"{prefix}-{next(attempts)}"
        r.origin.control.synthetic("bkt", key, MIB)
        assert r.get(key).body == content(key, 0, MIB)
        wait_until_stored(r)
        assert r.get(key).body == content(key, 0, MIB)
        return r.body_bytes(key) == MIB

    wait_until(hit, within, "an object is stored and served again", step=0.2)


@contextlib.contextmanager
def injected(r: Reader, *rules: str) -> Iterator[None]:
    """``strace`` changes system calls of the running proxy for as long as the block lasts."""
    calls = ",".join(rule.split(":")[0] for rule in rules)
    trace = r.proxy.stdout.with_name("strace")
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-p", str(r.proxy.worker), "-o", str(trace), "-e", f"trace={calls}"]
        + [part for rule in rules for part in ("-e", f"inject={rule}")],
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: _traced(r.proxy.worker), 20, "strace is attached")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        _, errors = tracer.communicate(timeout=20)
    assert b"rror" not in errors, errors
    assert re.search(r"\((INJECTED|DELAYED)\)", trace.read_text(errors="replace")), "nothing was disturbed"


def _traced(pid: int) -> bool:
    tracers = [
        line.split()[1]
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("TracerPid:")
    ]
    return bool(tracers) and "0" not in tracers


FAILING = [
    ("pwrite64,pwritev,pwritev2,write", "EIO"),
    ("pwrite64,pwritev,pwritev2,write", "ENOSPC"),
    ("rename,renameat,renameat2", "EIO"),
    ("rename,renameat,renameat2", "ENOSPC"),
    ("mkdir,mkdirat", "EROFS"),
    ("openat", "EMFILE"),
    ("openat", "EIO"),
    ("openat", "ESTALE"),
    ("pread64,preadv,preadv2", "EIO"),
    ("unlink,unlinkat", "EIO"),
    ("ftruncate", "EIO"),
    ("newfstatat,fstat,statx", "ESTALE"),
]


@pytest.mark.parametrize(
    ("calls", "error"), FAILING, ids=[f"{calls.split(',')[0]}-{error}" for calls, error in FAILING]
)
def test_failing_system_calls_cost_hits_and_no_request(
    reader: Start, require_tool: Require, calls: str, error: str
) -> None:
    require_tool("strace")
    # Sockets and wake-ups of the loop use write() as well: only what goes to files is to fail.
    calls = ",".join(call for call in calls.split(",") if call != "write")
    r = reader(*NONE)
    assert_answered(r, "warm")
    r.origin.control.synthetic("bkt", "overwritten", MIB)
    assert r.get("overwritten").status == 200
    wait_until_stored(r)
    with injected(r, f"{calls}:error={error}"):
        assert_answered(r, "during")
        assert r.get("overwritten", method="PUT", body=b"other bytes").status == 200
        assert r.get("overwritten").body == b"other bytes"
        assert_warm_is_right(r)
    assert_hits_resume(r, "after", within=70)


def test_every_third_file_operation_failing_mixes_nothing_up(reader: Start, require_tool: Require) -> None:
    require_tool("strace")
    r = reader()
    rules = [
        f"{call}:error=EIO:when=2+3"
        for call in ("openat", "pwrite64,pwritev,pwritev2", "renameat,rename", "unlinkat,mkdirat")
    ]
    with injected(r, *rules):
        for turn in range(5):
            assert_answered(r, f"t{turn}")
    assert_hits_resume(r, "after", within=70)


def test_a_slow_disk_detaches_the_fill_and_the_client_gets_every_byte(reader: Start, require_tool: Require) -> None:
    """DESIGN section 2, detach: what a throttled write would cost is not the client's to pay."""
    require_tool("strace")
    r = reader(*NONE, "--fill-window", "1MiB", "--fill-detach-after", "100ms")
    size = 24 * MIB
    r.origin.control.synthetic("bkt", "o", size)
    with injected(r, "pwrite64,pwritev,pwritev2:delay_enter=1500000"):
        began = time.monotonic()
        answer = r.get("o")
        took = time.monotonic() - began
        wait_until_stored(r)  # the write that was under way may return long after the answer
    assert (answer.status, answer.body) == (200, content("o", 0, size))
    assert r.proxy.metric("fastcache_fills_detached_total") == 1
    # 24 MiB in pieces of 256 KiB would take 144 s at this disk.
    assert took < 30
    assert r.get("o").body == content("o", 0, size)


@MODES
def test_a_directory_emptied_under_us_is_used_again(reader: Start, mode: tuple[str, ...]) -> None:
    """``rm -rf /var/cache/fastcache/*`` is what operators do."""
    r = reader(*mode)
    assert_answered(r, "warm")
    wait_until_stored(r)
    for path in r.proxy.cache_directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_warm_is_right(r)
    assert_answered(r, "during")
    assert_hits_resume(r, "after")
    r.proxy.stop()
    restarted = reader(*mode, cache_directory=r.proxy.cache_directory)
    restarted.origin.control.reset()
    assert restarted.get("after-0").status == 200
    assert_warm_is_right(restarted)
    assert_hits_resume(restarted, "restarted")


@MODES
def test_a_directory_removed_or_replaced_under_us_fails_no_request(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    assert_answered(r, "warm")
    wait_until_stored(r)
    away = r.proxy.cache_directory.with_name("moved")
    r.proxy.cache_directory.rename(away)
    assert_warm_is_right(r)
    assert_answered(r, "moved")
    shutil.rmtree(away)
    assert_warm_is_right(r)
    assert_answered(r, "removed")
    r.proxy.cache_directory.mkdir()
    assert_answered(r, "replaced")


def mounted(directory: Path, *arguments: str | Path) -> contextlib.ExitStack:
    directory.mkdir()
    subprocess.run(["mount", *map(str, arguments), str(directory)], check=True)
    stack = contextlib.ExitStack()
    stack.callback(subprocess.run, ["umount", "-l", str(directory)], check=True)
    return stack


def test_a_file_system_that_turns_read_only_after_an_error_costs_no_request(
    reader: Start, require_tool: Require, tmp_path: Path
) -> None:
    """What ext4 does by itself when the disk under it fails (``errors=remount-ro``)."""
    require_tool("root", "loopmount")
    image, directory = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(directory, "-o", "loop,errors=remount-ro", image):
        directory.chmod(0o700)
        r = reader(*NONE, cache_directory=directory)
        assert_answered(r, "warm")
        wait_until_stored(r)
        found = subprocess.run(["findmnt", "-no", "SOURCE", directory], check=True, capture_output=True, text=True)
        device = Path(found.stdout.strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test")
        with pytest.raises(OSError, match="Read-only"):
            (directory / "probe").touch()
        r.origin.control.reset()
        assert_warm_is_right(r)
        assert r.origin.control.body_sent("bkt") == 0, "hits of stored bytes need no writing"
        assert_answered(r, "during")
        assert_warm_is_right(r)
        r.proxy.stop()


def test_a_directory_that_takes_no_writes_costs_no_request_and_hits_come_back(
    reader: Start, require_tool: Require
) -> None:
    """Immutable, which stops root too: what a lost permission is for other users."""
    require_tool("root", "chattr")
    r = reader(*NONE)
    assert_answered(r, "warm")
    wait_until_stored(r)
    subprocess.run(["chattr", "-R", "+i", r.proxy.cache_directory], check=True)
    try:
        r.origin.control.reset()
        assert_warm_is_right(r)
        assert r.origin.control.body_sent("bkt") == 0, "hits of stored bytes need no writing"
        assert_answered(r, "during")
        assert_warm_is_right(r)
    finally:
        subprocess.run(["chattr", "-R", "-i", r.proxy.cache_directory], check=True)
    assert_hits_resume(r, "after", within=70)


def test_a_full_disk_fails_no_request_and_fills_resume(reader: Start, require_tool: Require, tmp_path: Path) -> None:
    """P-11: 16 MiB filled ten times over, by a cache that was told it had more, and by somebody else."""
    require_tool("root", "tmpfs")
    directory = tmp_path / "mount"
    with mounted(directory, "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"):
        r = reader(*NONE, "--cache-size", "12MiB", cache_directory=directory)
        for number in range(40):
            key = f"o{number}"
            r.origin.control.synthetic("bkt", key, 4 * MIB)
            for _ in range(2):
                answer = r.get(key)
                assert (answer.status, answer.body) == (200, content(key, 0, 4 * MIB))
        filler = directory / "somebody-elses"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))
        assert_answered(r, "full")
        filler.unlink()
        assert_hits_resume(r, "after")
        r.proxy.stop()
    failed = sum(r.origin.control.stats(0)["statuses"].get(f"GET {status}", 0) for status in (500, 503))
    assert failed == 0


def test_a_disk_smaller_than_the_cache_was_told_fails_no_request(
    reader: Start, require_tool: Require, tmp_path: Path
) -> None:
    require_tool("root", "tmpfs")
    directory = tmp_path / "mount"
    with mounted(directory, "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"):
        r = reader(*NONE, "--cache-size", "64MiB", cache_directory=directory)
        for number in range(80):
            key = f"o{number}"
            r.origin.control.synthetic("bkt", key, 2 * MIB)
            for _ in range(2):
                answer = r.get(key)
                assert (answer.status, answer.body) == (200, content(key, 0, 2 * MIB))
        assert_answered(r, "during")
        assert_hits_resume(r, "after")
        r.proxy.stop()
