"""Our own S3 origin for tests: fast, with faults, and it tells what reached it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastcache.origin.process import OriginProcess


@contextlib.contextmanager
def running_origin(**options: Any) -> Iterator[OriginProcess]:
    """An origin with the options of ``start_origin``; asserts that it ends cleanly."""
    # Here, so that tests that need no origin run where fastcache is not compiled.
    from fastcache.origin.process import start_origin

    process = start_origin(**options)
    try:
        yield process
    finally:
        status = process.stop()
    assert status == 0, f"the origin ended with {status}"


def make_clean(process: OriginProcess) -> None:
    """No buckets, faults, counters or connections, and every setting off, as in an origin just started."""
    process.control.drop_connections()
    process.control.settings(**dict.fromkeys(process.control.settings(), 0))
    process.control.reset(store=True)
