"""``fastcache demo``."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from fastcache.cli.demo_processes import (
    Child,
    DemoError,
    scratch_directory,
    start_origin,
    start_proxy,
    usable_port,
    wait_for_an_end,
)
from fastcache.cli.options import Parsed
from fastcache.lifecycle import units

_PACKAGES = ("boto3", "pyarrow")
_INSTALL = "pip install 'fastcache-s3[demo]'"

# Keys of an origin that listens on the loopback address and dies with the demo: they open nothing else.
_ACCESS_KEY = "FASTCACHEDEMO"
_SECRET_KEY = "not-a-secret-only-the-demo"

_SETTINGS_OF_CLIENTS = ("AWS_", "BOTO", "http_proxy", "https_proxy", "all_proxy")


class _StoppedError(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@click.command()
@click.option("--once", is_flag=True, help="Exit after the table.")
@click.option("--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="Port for clients.")
@click.option("--admin-port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of /metrics.")
@click.option(
    "--latency",
    type=Parsed("duration", units.parse_duration),
    default="20ms",
    show_default=True,
    help="How far away the demo's origin is: the time before each of its answers.",
)
@click.option(
    "--bandwidth",
    type=Parsed("size", units.parse_size),
    default="100MB",
    show_default=True,
    help="Bytes per second of one connection to the demo's origin; 0 for no limit.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, 10, min_open=True),
    default=1.0,
    envvar="FASTCACHE_TEST_DEMO_SCALE",
    hidden=True,
    help="How much sample data there is.",
)
def demo(once: bool, port: int, admin_port: int, latency: float, bandwidth: int, scale: float) -> None:
    """Show the cache at work: an S3 origin, sample data, real clients, everything on this machine.

    Starts a small S3 service that verifies signatures and is as slow as a remote one, uploads sample data to it, starts
    fastcache in front of it, reads the data twice and compares. Then stays up, for clients of your own.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        click.echo(f"fastcache: the demo needs {' and '.join(missing)}, a part of:\n  {_INSTALL}", err=True)
        sys.exit(2)
    _forget_settings_of_clients()
    try:
        with _signals():
            _run(once, (port, admin_port), latency, bandwidth, scale)
    except _StoppedError as stopped:
        sys.exit(128 + stopped.number)
    except DemoError as error:
        click.echo(f"fastcache: {error}", err=True)
        sys.exit(1)


def _run(once: bool, ports: tuple[int, int], latency: float, bandwidth: int, scale: float) -> None:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch_directory())
        origin = stack.enter_context(start_origin(directory, _ACCESS_KEY, _SECRET_KEY, bandwidth))
        proxy = stack.enter_context(_proxy(directory, origin.addresses[0], ports))
        # Only now, because this loads libraries that start threads, and a process with threads should not fork.
        session = importlib.import_module("fastcache.cli.demo_session")
        session.run((_ACCESS_KEY, _SECRET_KEY), origin, proxy, directory, latency, bandwidth, scale, once)
        if once:
            return
        # From here on being stopped is the normal end.
        with contextlib.suppress(_StoppedError):
            wait_for_an_end([origin, proxy])
        click.echo("\nstopping")


def _proxy(directory: Path, endpoint: str, wanted: tuple[int, int]) -> Child:
    ports = []
    for port in wanted:
        usable, notice = usable_port(port)
        if notice:
            click.echo(notice)
        ports.append(usable)
    return start_proxy(directory, endpoint, *ports)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """The first signal that asks for the end raises _StoppedError; those after it do not disturb the clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _StoppedError(number)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forget_settings_of_clients() -> None:
    """The demo's clients must find its own origin whatever profile, proxy or endpoint this user has configured."""
    for name in list(os.environ):
        if name.startswith(_SETTINGS_OF_CLIENTS) or name.lower() in _SETTINGS_OF_CLIENTS:
            del os.environ[name]
    os.environ |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
