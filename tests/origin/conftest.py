"""Origins as processes, one of each kind for the whole run; tests make buckets of their own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.origin.accounts import ACCOUNTS, client_of

from fastcache.origin.process import OriginProcess, start_origin


@pytest.fixture(scope="session")
def plain_origin() -> Iterator[OriginProcess]:
    with start_origin("--domain", "s3.test", accounts=ACCOUNTS) as process:
        yield process


@pytest.fixture(scope="session")
def quirky_origin() -> Iterator[OriginProcess]:
    with start_origin(accounts=ACCOUNTS, quirks="aws") as process:
        yield process


@pytest.fixture(scope="session")
def open_origin() -> Iterator[OriginProcess]:
    """Signatures are not looked at, so that raw requests stay readable."""
    with start_origin(auth=False) as process:
        yield process


@pytest.fixture
def origin(plain_origin: OriginProcess) -> Iterator[OriginProcess]:
    yield plain_origin
    plain_origin.control.reset()


@pytest.fixture
def aws(quirky_origin: OriginProcess) -> Iterator[OriginProcess]:
    yield quirky_origin
    quirky_origin.control.reset()


@pytest.fixture
def anyone(open_origin: OriginProcess) -> Iterator[OriginProcess]:
    yield open_origin
    open_origin.control.reset()
    open_origin.control.settings(latency=0, bandwidth_connection=0, bandwidth_total=0, clock_offset=0)


@pytest.fixture
def bucket() -> str:
    """A name no other test uses."""
    return f"b-{uuid.uuid4().hex}"


@pytest.fixture
def s3(origin: OriginProcess, bucket: str) -> Any:
    """boto3 as the first account; ``bucket`` exists."""
    client = client_of(origin)
    client.create_bucket(Bucket=bucket)
    return client
