"""Readers of arrays in chunks, each chunk an object or a part of one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.clients.reader import Reader
from tests.harness.clients import REGION


class TensorStore(Reader):
    """Its key-value store, on which its array formats rest."""

    needs = ("tensorstore",)

    @contextlib.contextmanager
    def spec(self, bucket: str, path: str = "") -> Iterator[dict[str, Any]]:
        """A store that is opened, and asked for the first time, in here: its keys come from the environment, which is
        everybody's, or from a file."""
        with tempfile.NamedTemporaryFile("w", prefix="tensorstore-") as file:
            file.write(f"[default]\naws_access_key_id = {self.site.access_key}\n")
            file.write(f"aws_secret_access_key = {self.site.secret_key}\n")
            file.flush()
            keys = {"type": "profile", "profile": "default", "credentials_file": file.name, "config_file": file.name}
            yield {
                "driver": "s3", "bucket": bucket, "path": path, "endpoint": self.endpoint, "aws_region": REGION,
                "aws_credentials": keys,
            }  # fmt: skip

    def whole(self, bucket: str, key: str) -> bytes:
        import tensorstore

        with self.spec(bucket) as spec:
            got: bytes = tensorstore.KvStore.open(spec).result().read(key).result().value
        return got


ARRAY_READERS: dict[str, type[Reader]] = {"TensorStore kvstore": TensorStore}
"""As docs/clients.md calls them."""
