"""Writes through a proxy in front of our own origin, and what their first readers cost."""

from __future__ import annotations

from typing import Any

import pytest
from tests.faults.conftest import MODES, NONE, Start
from tests.harness.processes import wait_until
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request
from tests.reads.conftest import Reader, _proxies, alone, shared

from fastcache.origin.pattern import pattern

__all__ = ["MODES", "NONE", "Start", "_proxies", "alone", "shared"]

KIB, MIB = 1024, 1024 * 1024
PATIENT = ("--fill-follow-wait", "30s", "--write-through-backlog", "256MiB")
"""How fast this machine's disk is at the moment is not what is tested: what is being stored is waited for."""


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


def wait_for_uploads(r: Reader, outcome: str, count: int) -> None:
    wait_until(lambda: uploads(r, outcome) == count, 20, f"{count} uploads ended as {outcome}")
