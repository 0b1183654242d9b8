"""Where bucket names belong to the caller, so do cached objects (SEMANTICS 4)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gateway.conftest import Key, write_keys
from tests.harness.clients import boto3_client
from tests.harness.proxy import FastcacheProcess
from tests.harness.swift import USERS, SwiftServer


def test_two_keys_never_share_an_entry(
    swift: SwiftServer, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path
) -> None:
    """Two accounts of Swift's, each with a bucket of one name."""
    owners = [(user.access_key, user.secret_key) for user in USERS[:2]]
    keys = write_keys(tmp_path / "keys.yaml", [Key(*owner) for owner in owners])
    flags = ("--authorization", "verify", "--namespace", "per-key", "--ttl", "1h", "--keys", str(keys))
    proxy = start_fastcache(swift.endpoint, *flags)
    at = {"Bucket": f"bucket-{uuid.uuid4().hex}", "Key": "k"}
    clients = [boto3_client(proxy.endpoint, *owner) for owner in owners]
    for number, client in enumerate(clients):
        client.create_bucket(Bucket=at["Bucket"])
        client.put_object(**at, Body=b"of owner %d" % number)
    for read in range(3):
        for number, client in enumerate(clients):
            answer = client.get_object(**at)
            assert answer["Body"].read() == b"of owner %d" % number
            assert read == 0 or answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "HIT"
    clients[0].delete_object(**at)
    with pytest.raises(clients[0].exceptions.NoSuchKey):
        clients[0].get_object(**at)
    assert clients[1].get_object(**at)["Body"].read() == b"of owner 1"
    clients[1].put_object(**at, Body=b"new")
    assert clients[1].get_object(**at)["Body"].read() == b"new"
    clients[1].delete_objects(Bucket=at["Bucket"], Delete={"Objects": [{"Key": "k"}]})
    with pytest.raises(clients[1].exceptions.NoSuchKey):
        clients[1].get_object(**at)
