"""Writes through a proxy in front of our own origin, and what their first readers cost."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from tests.faults.conftest import MODES, NONE, Start
from tests.harness.processes import wait_until
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request
from tests.reads.conftest import STORED, Reader, _proxies, alone, shared

from fastcache.origin.pattern import pattern
from fastcache.storage.layout import is_upload_name

__all__ = ["MODES", "NONE", "Start", "_proxies", "alone", "shared"]

KIB, MIB = 1024, 1024 * 1024
PATIENT = (*STORED, "--fill-follow-wait", "30s", "--write-through-backlog", "256MiB")
"""How fast this machine's disk is at the moment is not what is tested: what is being stored is waited for."""
SHORT = ("--timeouts-first-byte", "3s")
"""For an origin that says nothing; a machine that stalls says something in time."""


@pytest.fixture
def reader(shared: Start, alone: Start) -> Start:
    """``reader("--flag", ...)``: a reader of a new bucket through the module's proxy with these flags; with
    ``own=True`` of bucket ``bkt`` through a proxy that nobody else uses."""

    def start(*flags: str, own: bool = False, **options: Any) -> Reader:
        return (alone if own else shared)(*PATIENT, *flags, **options)

    return start


def data_of(key: str, size: int, version: int = 1) -> bytes:
    """Bytes that are no other object's, nor another version's."""
    return pattern(key.encode(), version, 0, size)


def straight(r: Reader, key: str, method: str = "GET", **signed: str) -> RawResponse:
    """The object as the origin itself gives it."""
    request = signed_request(
        method,
        f"{r.origin.endpoint}/{r.bucket}/{key}",
        r.origin.access_key,
        r.origin.secret_key,
        signed=[(name.replace("_", "-"), value) for name, value in signed.items()],
    )
    return exchange(r.origin.endpoint, request, method=method.encode())


def uploads(r: Reader, outcome: str) -> float:
    """How many uploads ended so."""
    return r.counted("fastcache_uploads_kept_total", outcome=outcome)


def nothing_staged(r: Reader) -> bool:
    """What is left is the memory of uploads that have ended."""
    fills = (r.proxy.cache_directory / "fills").iterdir()
    return all(path.is_file() and is_upload_name(path.name) and path.stat().st_size == 0 for path in fills)


def staged_bytes(r: Reader) -> int:
    """On disk; files may be removed meanwhile."""
    found = 0
    for directory, _, names in os.walk(r.proxy.cache_directory / "fills"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += os.stat(os.path.join(directory, name)).st_size if name.endswith(".staged") else 0
    return found


def wait_until_nothing_is_left(r: Reader) -> None:
    """No file in progress, those included that are thrown away behind an answer."""
    fills = r.proxy.cache_directory / "fills"
    wait_until(lambda: not any(fills.iterdir()), 20, "no file in progress is left")


def wait_for_uploads(r: Reader, outcome: str, count: int) -> None:
    wait_until(lambda: uploads(r, outcome) == count, 20, f"{count} uploads ended as {outcome}")
