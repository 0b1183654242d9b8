"""The processes that are compared, each on the core it is told to use."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.congestion import WANTED, is_allowed, set_congestion_of_listener
from fastcache.origin.control import OriginControl
from fastcache.origin.process import start_origin

READY = 20.0
"""Seconds until a server must listen."""
_QUIET = 0.05
"""Seconds without CPU use after which a server is taken to have finished its work; several ticks of its clock."""
_TICK = os.sysconf("SC_CLK_TCK")
_LISTENING = re.compile(r"^listening on http://([^:\s]+):(\d+) ", re.MULTILINE)


class ServerError(Exception):
    """A server did not start, or did not come to rest."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running process and where it listens."""

    name: str
    pid: int
    address: tuple[str, int]
    congestion: bool
    """Whether WANTED is in force for its connections."""

    def cpu(self) -> float:
        """CPU seconds, user and system, of all its threads so far; in steps of a clock tick (proc(5))."""
        text = Path(f"/proc/{self.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def settle(self) -> float:
        """Wait for what it does behind its answers (storing, writing); its CPU seconds then. Raises ServerError."""
        deadline = time.monotonic() + READY
        last = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            now = self.cpu()
            if now == last:
                return now
            last = now
        raise ServerError(f"{self.name} did not come to rest")


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on ``core``, with all its threads; we go back to where we were."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


@contextlib.contextmanager
def origin(core: int, *, auth: bool) -> Iterator[tuple[Server, OriginControl]]:
    """Our own S3 origin and its control."""
    with on_core(core):
        process = start_origin(auth=auth)
    with process:
        congestion = set_congestion_of_listener(process.pid, process.port)
        yield Server("origin", process.pid, ("127.0.0.1", process.port), congestion), process.control


@contextlib.contextmanager
def fastcache(core: int, behind: Server, directory: Path, *flags: str) -> Iterator[Server]:
    """``fastcache serve`` in front of ``behind``, its cache in a directory of its own below ``directory``."""
    host, port = behind.address
    command = [sys.executable, "-m", "fastcache", "serve", "-e", f"http://{host}:{port}", "-p", "0"]
    command += ["--admin-port", "0", "--cache-dir", str(directory / "cache"), "--log-level", "warning", *flags]
    allowed = is_allowed()
    if allowed:
        command += ["--tcp-congestion", WANTED]  # its connections to the origin too
    with _child(core, command, stdout=subprocess.PIPE) as process:
        found = _LISTENING.search(_first_output(process))
        if found is None:
            raise ServerError(f"fastcache did not start: {' '.join(flags)}")
        yield Server("fastcache", process.pid, (found[1], int(found[2])), allowed)


def _first_output(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None, "started with a pipe"
    ready, _, _ = select.select([process.stdout], [], [], READY)
    return process.stdout.readline().decode() if ready else ""


def nginx_program() -> str | None:
    """nginx, if it is installed."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


_NGINX = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr crit; user {user};
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextlib.contextmanager
def nginx(core: int, program: str, root: Path, directory: Path) -> Iterator[Server]:
    """nginx serving the files below ``root``: one process, no log, descriptors kept, sendfile."""
    directory.mkdir()
    port = _free_port()
    user = "root" if os.geteuid() == 0 else "nobody"  # ignored by nginx unless it is root
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, root=root, port=port, user=user))
    with _child(core, [program, "-p", str(directory), "-c", str(configuration)]) as process:
        _wait_for_port(process, port)
        yield Server("nginx", process.pid, ("127.0.0.1", port), set_congestion_of_listener(process.pid, port))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise ServerError(f"{process.args!r} did not start")


@contextlib.contextmanager
def _child(core: int, command: list[str], stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process on ``core`` that the kernel ends with us, however we end."""
    with on_core(core):
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], stdout=stdout)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(READY)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
