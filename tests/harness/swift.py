"""OpenStack Swift with s3api and tempauth on this machine: an S3 server that verifies every signature.

It checks SigV4 strictly (path, host, range, payload hash, chunk signatures, presigned URLs and their expiry, clock
skew), which is why what passes through fastcache is judged by it. It has no tags, no stored checksums, and ignores
If-Match on PUT. A hundred requests a second is what it does: it is no place to measure anything.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness import processes
from tests.harness.processes import ProcessError
from tests.harness.tools import SWIFT_PYTHON, xattr_directory

REGION = "us-east-1"


@dataclass(frozen=True)
class Credentials:
    """An S3 user. Swift's access keys hold a colon, which a client that joins both with one cannot carry."""

    access_key: str
    secret_key: str


USERS = (Credentials("test:tester", "testing"), Credentials("test2:tester2", "testing2"))
"""Two users of two accounts: each sees its own buckets, whatever they are called."""


@dataclass(frozen=True)
class SwiftServer:
    """A running Swift. ``endpoint`` is its S3 address, path-style."""

    endpoint: str
    directory: Path
    user: Credentials = USERS[0]
    other_user: Credentials = USERS[1]
    region: str = REGION

    def logs(self) -> str:
        """What its servers complained about."""
        return "\n".join(f"--- {log.name}\n{processes.tail(log)}" for log in sorted(self.directory.glob("*.log")))


_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = fastcache
swift_hash_path_suffix = tests

[storage-policy:0]
name = gold
default = yes
"""

# s3api answers an S3 request itself and asks the middlewares right of it; slo makes multipart uploads.
_PROXY_FILTERS = ("catch_errors", "bulk", "s3api", "tempauth", "copy", "slo", "dlo", "versioned_writes", "symlink")

_FILTER_OPTIONS = {
    "s3api": [f"location = {REGION}"],
    "tempauth": ["user_{}_{} = {} .admin".format(*user.access_key.split(":"), user.secret_key) for user in USERS],
    "versioned_writes": ["allow_versioned_writes = true", "allow_object_versioning = true"],
}


def _section(name: str, *lines: str) -> str:
    return "\n".join([f"[{name}]", *lines, ""])


def _defaults(directory: Path, port: int, *lines: str) -> str:
    # workers = 0: the process that was started serves by itself, no child can be left behind.
    return _section(
        "DEFAULT",
        "bind_ip = 127.0.0.1",
        f"bind_port = {port}",
        "workers = 0",
        f"user = {pwd.getpwuid(os.geteuid()).pw_name}",
        f"swift_dir = {directory}",
        "log_level = WARNING",
        *lines,
    )


def _proxy_configuration(directory: Path, port: int) -> str:
    return "\n".join(
        [
            _defaults(directory, port),
            _section("pipeline:main", f"pipeline = {' '.join(_PROXY_FILTERS)} proxy-server"),
            _section(
                "app:proxy-server",
                "use = egg:swift#proxy",
                "account_autocreate = true",
                "allow_account_management = true",
            ),
            *(
                _section(f"filter:{name}", f"use = egg:swift#{name}", *_FILTER_OPTIONS.get(name, []))
                for name in _PROXY_FILTERS
            ),
        ]
    )


def _storage_configuration(directory: Path, kind: str, port: int) -> str:
    return "\n".join(
        [
            _defaults(
                directory,
                port,
                f"devices = {directory / 'srv'}",
                "mount_check = false",
                f"recon_cache_path = {directory / 'recon'}",
            ),
            _section("pipeline:main", f"pipeline = {kind}-server"),
            _section(f"app:{kind}-server", f"use = egg:swift#{kind}"),
        ]
    )


def _write_configuration(directory: Path, ports: dict[str, int]) -> None:
    (directory / "srv" / "d1").mkdir(parents=True)
    (directory / "recon").mkdir()
    (directory / "swift.conf").write_text(_SWIFT_CONF)
    for kind, port in ports.items():
        text = (
            _proxy_configuration(directory, port) if kind == "proxy" else _storage_configuration(directory, kind, port)
        )
        (directory / f"{kind}-server.conf").write_text(text)
    storage_ports = [str(ports[kind]) for kind in ("object", "container", "account")]
    made = subprocess.run(
        # -P: this directory has a swift.py too.
        [SWIFT_PYTHON, "-P", Path(__file__).with_name("swift_rings.py"), directory, *storage_ports],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if made.returncode != 0:
        raise ProcessError(f"Swift's rings were not made:\n{made.stderr}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


@contextlib.contextmanager
def _running(directory: Path) -> Iterator[SwiftServer]:
    kinds = ("account", "container", "object", "proxy")
    ports = dict(zip(kinds, processes.free_ports(len(kinds)), strict=True))
    _write_configuration(directory, ports)
    server = SwiftServer(f"http://127.0.0.1:{ports['proxy']}", directory)
    with contextlib.ExitStack() as stack:
        children = []
        for kind in kinds:
            log = directory / f"{kind}.log"
            program = SWIFT_PYTHON.with_name(f"swift-{kind}-server")
            child = processes.start([program, directory / f"{kind}-server.conf"], stdout=log, stderr=log)
            stack.callback(processes.kill_group, child)
            children.append(child)

        def ready() -> bool:
            if any(child.poll() is not None for child in children):
                raise ProcessError(f"a server of Swift ended at once:\n{server.logs()}")
            return all(_answers(port) for port in ports.values())

        try:
            processes.wait_until(ready, 120, "Swift answers", step=0.05)
        except ProcessError as error:
            raise ProcessError(f"{error}\n{server.logs()}") from error
        yield server


@contextlib.contextmanager
def running_swift(attempts: int = 3) -> Iterator[SwiftServer]:
    """Swift, up and answering; everything it wrote is removed at the end.

    Tried again with other ports when it does not start, because a port that was free may be taken meanwhile.
    """
    parent = xattr_directory()
    if parent is None:
        raise ProcessError("Swift needs a directory with user extended attributes")
    with contextlib.ExitStack() as stack:
        for attempt in range(1, attempts + 1):
            directory = Path(tempfile.mkdtemp(prefix="swift-", dir=parent))
            stack.callback(shutil.rmtree, directory)
            try:
                server = stack.enter_context(_running(directory))
            except ProcessError:
                if attempt == attempts:
                    raise
            else:
                break
        yield server
