"""Keys come and go under load: the next request is judged by the new set, and nobody else notices."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import ClientError
from tests.gateway.conftest import FULL, MODES, PATIENT, Key, upstream_environment, write_keys
from tests.harness import processes
from tests.harness.clients import boto3_client
from tests.harness.proxy import FastcacheProcess

from fastcache.origin.process import OriginProcess

GUEST = Key("GATEGUEST", "guest-secret", ("bkt/*",), ("read",))


def test_keys_are_rotated_under_load(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path
) -> None:
    origin.control.bucket("bkt")
    origin.control.put("bkt", "k", b"content" * 100)
    keys, next_keys = tmp_path / "keys.yaml", tmp_path / "next.yaml"
    write_keys(keys, [FULL, GUEST])
    proxy = start_fastcache(
        origin.endpoint,
        *(*MODES["verify-sign"], *PATIENT, "--keys", str(keys)),
        environment=upstream_environment(origin.access_key, origin.secret_key),
    )
    failures: list[BaseException] = []
    reads, stop = [0], threading.Event()

    def read_on() -> None:
        client = boto3_client(proxy.endpoint, FULL.access_key, FULL.secret_key)
        try:
            while not stop.is_set():
                assert client.get_object(Bucket="bkt", Key="k")["Body"].read() == b"content" * 100
                reads[0] += 1
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test fails with it below
            failures.append(error)

    def install(*known: Key, text: str | None = None, outcome: str = "loaded") -> None:
        before = proxy.metric("fastcache_keys_reloads_total", outcome=outcome)
        write_keys(next_keys, list(known))
        if text is not None:
            next_keys.write_text(text)
        os.replace(next_keys, keys)
        changed = lambda: proxy.metric("fastcache_keys_reloads_total", outcome=outcome) > before  # noqa: E731
        processes.wait_until(changed, 20, f"the keys file was looked at: {outcome}", step=0.05)

    def outcome_of(key: Key) -> str:
        try:
            boto3_client(proxy.endpoint, key.access_key, key.secret_key).get_object(Bucket="bkt", Key="k")[
                "Body"
            ].read()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "read"

    readers = [threading.Thread(target=read_on) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(3):
            assert outcome_of(GUEST) == "read"  # from a lease, the third time
        renewed, narrowed = replace(GUEST, secret_key="renewed-secret"), replace(GUEST, resources=("other/*",))
        install(FULL, renewed)
        assert outcome_of(GUEST) == "SignatureDoesNotMatch"
        assert outcome_of(renewed) == "read"
        install(FULL, narrowed)
        assert outcome_of(narrowed) == "AccessDenied"
        install(FULL, replace(GUEST, enabled=False))
        assert outcome_of(GUEST) == "InvalidAccessKeyId"
        install(text="- access_key: [", outcome="failed")
        assert outcome_of(GUEST) == "InvalidAccessKeyId", "the last good set stays"
        install(FULL, GUEST)
        assert outcome_of(GUEST) == "read"
        processes.wait_until(lambda: reads[0] > 10 or bool(failures), 60, "others have read meanwhile")
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert not failures
    assert origin.control.body_sent("bkt", "k") == 700
