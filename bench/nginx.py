"""nginx, as the server to compare with: with every setting that may be its best one, each on a port of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.congestion import set_congestion_of_listener
from bench.servers import Server, child, free_port, wait_for_port

STATIC: Mapping[str, str] = {
    "sendfile, nopush": "sendfile on; tcp_nopush on;",
    "sendfile": "sendfile on; tcp_nopush off;",
    "copying": "sendfile off;",
    "copying, one large buffer": "sendfile off; output_buffers 1 128k;",
}
"""What is tried for files; which one is best depends on their size."""

_CONFIGURATION = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr crit; user {user};
events {{ worker_connections 4096; }}
http {{
  access_log off; aio off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  {rest}
}}
"""
_SLICES = """
  proxy_cache_path {directory}/slices levels=1:2 keys_zone=slices:16m max_size=10g inactive=1d use_temp_path=off;
  upstream behind {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; {settings} slice 1m;
    location / {{
      proxy_cache slices; proxy_cache_key $uri$slice_range; proxy_cache_valid 200 206 1d; proxy_cache_lock on;
      proxy_set_header Range $slice_range; proxy_set_header Connection ""; proxy_http_version 1.1;
      proxy_pass {scheme}://behind;
    }}
  }}
"""


def nginx_program() -> str | None:
    """nginx, if it is installed."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def static_files(core: int, program: str, root: Path, directory: Path) -> Iterator[dict[str, Server]]:
    """The files below ``root``, served with each of STATIC by one process without a log, descriptors kept open."""
    ports = {name: free_port() for name in STATIC}
    sites = "\n".join(
        f"  server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; {STATIC[name]} }}"
        for name, port in ports.items()
    )
    with _process(core, program, directory, sites, ports) as servers:
        yield servers


@contextlib.contextmanager
def slice_cache(
    core: int, program: str, origin: tuple[str, int], directory: Path, *, scheme: str = "http"
) -> Iterator[Server]:
    """A cache of slices of 1 MiB in front of ``origin``, each fetched once for all who ask for it."""
    port = free_port()
    settings = STATIC["sendfile, nopush"]
    behind = f"{origin[0]}:{origin[1]}"
    site = _SLICES.format(directory=directory, port=port, settings=settings, origin=behind, scheme=scheme)
    with _process(core, program, directory, site, {"slice cache": port}) as servers:
        yield servers["slice cache"]


@contextlib.contextmanager
def _process(
    core: int, program: str, directory: Path, rest: str, ports: Mapping[str, int]
) -> Iterator[dict[str, Server]]:
    directory.mkdir()
    user = "root" if os.geteuid() == 0 else "nobody"  # ignored by nginx unless it is root
    configuration = directory / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(directory=directory, user=user, rest=rest))
    with child(core, [program, "-p", str(directory), "-c", str(configuration)]) as process:
        servers = {}
        for name, port in ports.items():
            wait_for_port(process, port)
            congestion = set_congestion_of_listener(process.pid, port)
            servers[name] = Server("nginx", process.pid, ("127.0.0.1", port), congestion)
        yield servers
