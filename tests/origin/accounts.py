"""The accounts of the suite's origins, and boto3 as one of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError
from tests.harness.clients import boto3_client

from fastcache.origin.process import AccountSpec, OriginProcess

ACCOUNTS = (
    AccountSpec(),
    AccountSpec("narrow:key", "narrow-secret", prefixes=("shared/public/",)),
    AccountSpec("temporary", "temporary-secret", session_token="a session/token+="),
)


@lru_cache(maxsize=64)
def client_of(origin: OriginProcess, account: int = 0, **settings: Any) -> Any:
    """boto3 as one of the origin's accounts; shared, so a test that registers event handlers makes its own."""
    return own_client_of(origin, account, **settings)


def own_client_of(origin: OriginProcess, account: int = 0, **settings: Any) -> Any:
    """A client of the test's own."""
    spec = origin.accounts[account]
    return boto3_client(origin.endpoint, spec.access_key, spec.secret_key, **settings)


def error_of(call: Any, **arguments: Any) -> tuple[int, str]:
    """Status and code of the error that a boto3 call raises."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    raise AssertionError("the call succeeded")
