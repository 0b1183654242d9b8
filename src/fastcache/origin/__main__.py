"""``python -m fastcache.origin``: run the origin until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import uvloop

from fastcache.errors import ConfigError
from fastcache.origin.accounts import Accounts
from fastcache.origin.addressing import Names
from fastcache.origin.identity import ACCOUNTS_VARIABLE, DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY, Account
from fastcache.origin.preload import preload
from fastcache.origin.server import OriginServer
from fastcache.origin.state import OriginState, Settings
from fastcache.protocol.sigv4 import Credentials


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and serve; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        state = _state(options)
        tls = _tls(options)
    except ConfigError as error:
        print(f"fastcache.origin: {error}", file=sys.stderr)
        return 2
    run = asyncio.run if options.asyncio else uvloop.run
    run(_serve(state, options, tls))
    return 0


async def _serve(state: OriginState, options: argparse.Namespace, tls: ssl.SSLContext | None) -> None:
    server = OriginServer(state)
    await server.start(options.host, options.port, control_port=options.control_port, tls=tls)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if options.until_eof:
        loop.add_reader(0, _stop_at_eof, stopped)
    # What was made until now lives as long as the process; the collector need not look at it again.
    gc.freeze()
    scheme = "https" if tls else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    ready = f"listening on {scheme}://{host}:{server.port} (control http://127.0.0.1:{server.control_port})"
    print(ready, flush=True)
    await stopped.wait()
    await server.stop()


def _stop_at_eof(stopped: asyncio.Event) -> None:
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stopped.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastcache.origin", description="A small S3 origin.")
    parser.add_argument("--host", default="127.0.0.1", help="address of the S3 port")
    parser.add_argument("--port", type=int, default=0, help="S3 port; 0 picks a free one")
    parser.add_argument("--control-port", type=int, default=0, help="control port on 127.0.0.1")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--strict-region", action="store_true", help="refuse signatures for another region")
    parser.add_argument("--no-auth", action="store_true", help="do not look at signatures")
    parser.add_argument("--quirks", choices=("none", "aws"), default="none", help="answer like AWS in every oddity")
    parser.add_argument("--host-name", action="append", default=[], help="a further path-style name")
    parser.add_argument("--domain", action="append", default=[], help="a suffix for virtual-hosted buckets")
    parser.add_argument("--bucket", action="append", default=[], help="create a bucket")
    parser.add_argument("--public-bucket", action="append", default=[], help="create a bucket that anybody may read")
    parser.add_argument("--data-dir", type=Path, help="load DIR/bucket/key... into memory")
    parser.add_argument(
        "--discard-uploads", action="store_true", help="forget uploaded bytes; reads give pattern bytes (benchmarks)"
    )
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--bandwidth", type=int, default=0, help="bytes per second of one connection")
    parser.add_argument("--total-bandwidth", type=int, default=0, help="bytes per second of all connections")
    parser.add_argument("--tls-certificate", type=Path, help="PEM file; serve TLS")
    parser.add_argument("--tls-key", type=Path, help="PEM file")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends (with the parent)")
    parser.add_argument("--asyncio", action="store_true", help="use asyncio's own loop instead of uvloop")
    return parser


def _state(options: argparse.Namespace) -> OriginState:
    region = options.region.encode()
    regions = frozenset((region,)) if options.strict_region else None
    own = {"localhost", socket.gethostname().lower(), *(name.lower() for name in options.host_name)}
    quirks = options.quirks == "aws"
    state = OriginState(
        Accounts(_accounts(), verify=not options.no_auth, regions=regions),
        Names(
            frozenset(name.encode("idna" if not name.isascii() else "ascii") for name in own),
            tuple(domain.lower().lstrip(".").encode() for domain in options.domain),
            quirks,
        ),
        quirks=quirks,
        discard_uploads=options.discard_uploads,
        region=region,
        settings=Settings(options.latency, options.bandwidth, options.total_bandwidth),
    )
    for name in (*options.bucket, *options.public_bucket):
        state.store.create(name.encode(), DEFAULT_ACCESS_KEY.encode(), state.now())
    for name in options.public_bucket:
        state.store.buckets[name.encode()].public_read = True
    if options.data_dir is not None:
        preload(state.store, options.data_dir, state.now())
    return state


def _accounts() -> list[Account]:
    text = os.environ.get(ACCOUNTS_VARIABLE)
    if not text:
        return [Account(Credentials(DEFAULT_ACCESS_KEY.encode(), DEFAULT_SECRET_KEY.encode()))]
    try:
        return [_account(item) for item in json.loads(text)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The text itself holds secrets and is not repeated.
        raise ConfigError(f"{ACCOUNTS_VARIABLE} is not a JSON list of accounts ({type(error).__name__})") from None


def _account(item: dict[str, str | list[str]]) -> Account:
    access, secret, token = item["access_key"], item["secret_key"], item.get("session_token")
    if not (isinstance(access, str) and isinstance(secret, str) and isinstance(token, str | None)):
        raise TypeError("keys and tokens must be strings")
    credentials = Credentials(access.encode(), secret.encode(), token.encode() if token else None)
    return Account(credentials, tuple(prefix.encode() for prefix in item.get("prefixes", ())))


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_certificate, options.tls_key)
    except OSError as error:
        raise ConfigError(f"--tls-certificate {options.tls_certificate}: {error}") from error
    return context


if __name__ == "__main__":
    sys.exit(main())
