"""What a test needs from the machine: skipped visibly where it is missing, a failure where it must be there.

``FASTCACHE_TEST_REQUIRE=root,strace,...`` (set by ``.ci/run``) names what must be there. A name that is not in
``TOOLS`` is refused when the run starts, because it would silently require nothing.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"
"""Things the tests make once and keep between runs; ignored by git, on the file system of the checkout."""
SWIFT_PYTHON = CACHE / "swift-venv" / "bin" / "python"
VARIABLE = "FASTCACHE_TEST_REQUIRE"


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not running as root"


def _program(name: str) -> Callable[[], str | None]:
    def check() -> str | None:
        return None if shutil.which(name) else f"there is no program {name}"

    return check


def _packages(*modules: str) -> Callable[[], str | None]:
    """Of the dependency group ``clients``."""

    def check() -> str | None:
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        return f"this Python has no {' and no '.join(absent)}" if absent else None

    return check


def _strace() -> str | None:
    """A container may have the program and forbid ptrace."""
    if not shutil.which("strace"):
        return "there is no program strace"
    traced = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return None if traced.returncode == 0 else f"strace cannot trace here: {traced.stderr.strip()}"


def _ptrace() -> str | None:
    """What a process needs to be run one instruction at a time; some containers forbid it."""
    ask_to_be_traced = "import ctypes; raise SystemExit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)"
    traced = subprocess.run([sys.executable, "-c", ask_to_be_traced], capture_output=True, check=False)
    return None if traced.returncode == 0 else "processes cannot be traced here"


def _fuse() -> str | None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    if not (shutil.which("fusermount") or shutil.which("fusermount3")):
        return "there is no program fusermount"
    return None


def _loop_mount(mkfs: str, size: int) -> str | None:
    """Tried for real: CAP_SYS_ADMIN, loop devices and the file system are each missing in some containers."""
    if os.geteuid() != 0:
        return "mounting needs root"
    for program in (mkfs, "mount", "umount"):
        if not shutil.which(program):
            return f"there is no program {program}"
    with tempfile.TemporaryDirectory() as directory:
        image, mount_point = Path(directory, "image"), Path(directory, "mount")
        mount_point.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        for command in ([mkfs, "-q", image], ["mount", "-o", "loop", image, mount_point]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"{command[0]} fails here: {done.stderr.strip()}"
        subprocess.run(["umount", mount_point], check=True)
    return None


def _tmpfs_mount() -> str | None:
    if os.geteuid() != 0:
        return "mounting needs root"
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"mounting a tmpfs fails here: {done.stderr.strip()}"
        subprocess.run(["umount", directory], check=True)
    return None


def _swift() -> str | None:
    if not SWIFT_PYTHON.exists():
        return "OpenStack Swift is not installed (make test installs it)"
    if not shutil.which("setpriv"):
        return "there is no program setpriv (util-linux)"
    return None if xattr_directory() else "no directory here takes user extended attributes"


TOOLS: Mapping[str, Callable[[], str | None]] = {
    "root": _root,
    "strace": _strace,
    "ptrace": _ptrace,
    "fuse": _fuse,
    "loopmount": functools.partial(_loop_mount, "mkfs.ext4", 8 << 20),
    "xfs": functools.partial(_loop_mount, "mkfs.xfs", 320 << 20),
    "tmpfs": _tmpfs_mount,
    "swift": _swift,
    "chattr": _program("chattr"),
    "curl": _program("curl"),
    "awscli": _packages("awscli"),
    "awscrt": _packages("awscrt"),
    "duckdb": _packages("duckdb", "duckdb_extension_httpfs"),
    "polars": _packages("polars"),
    "s3fs": _packages("s3fs"),
    "s3torchconnector": _packages("s3torchconnectorclient"),
    "s5cmd": _packages("s5cmd"),
    "tensorstore": _packages("tensorstore"),
    "faketime": _program("faketime"),
    "nginx": _program("nginx"),
    "setpriv": _program("setpriv"),
    "unshare": _program("unshare"),
    "valgrind": _program("valgrind"),
    "cc": _program("cc"),
}
"""Name → what is wrong with it here, or None."""


def required(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The tools whose absence is a failure; raises ``pytest.UsageError`` for a name nobody knows."""
    names = frozenset(name.strip() for name in environment.get(VARIABLE, "").split(",") if name.strip())
    unknown = sorted(names - TOOLS.keys())
    if unknown:
        raise pytest.UsageError(f"{VARIABLE}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(TOOLS))}")
    return names


@functools.cache
def absence(name: str) -> str | None:
    """Why ``name`` cannot be used on this machine, or None; found out once per process."""
    return TOOLS[name]()


def require_tool(*names: str) -> None:
    """Skip the calling test unless this machine has ``names``; fail it where ``FASTCACHE_TEST_REQUIRE`` has one."""
    for name in names:
        reason = absence(name)
        if reason is None:
            continue
        if name in required():
            pytest.fail(f"{VARIABLE} names {name}, but: {reason}", pytrace=False)
        pytest.skip(f"needs {name}: {reason}")


def takes_user_xattrs(directory: Path) -> bool:
    """Whether files in ``directory`` take user extended attributes (tmpfs does since Linux 6.6)."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        try:
            os.setxattr(file.fileno(), "user.fastcache.test", b"x" * 1024)
        except OSError:
            return False
    return True


def xattr_directory() -> Path | None:
    """A directory whose files take user extended attributes: the usual one for temporary files, else ours."""
    CACHE.mkdir(exist_ok=True)
    for directory in (Path(tempfile.gettempdir()), CACHE):
        if os.access(directory, os.W_OK) and takes_user_xattrs(directory):
            return directory
    return None
