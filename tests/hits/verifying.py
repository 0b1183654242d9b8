"""A worker in this process that checks signatures, in front of our own origin, which knows none of its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from tests.engine.conftest import Embed, Embedded

from fastcache.lifecycle.key_ring import KeyRing
from fastcache.protocol.sigv4 import Credentials


class KeysFile:
    """A file of access keys; those of ``shut_out`` may read nothing here."""

    def __init__(self, path: Path, *credentials: Credentials, shut_out: Iterable[Credentials] = ()) -> None:
        self.path = path
        path.touch(mode=0o600)
        self.write(*credentials, shut_out=shut_out)

    def write(self, *credentials: Credentials, shut_out: Iterable[Credentials] = ()) -> None:
        rows = [(one, "bkt/*") for one in credentials] + [(one, "elsewhere/*") for one in shut_out]
        self.path.write_text(yaml.safe_dump([self._row(one, resource) for one, resource in rows]))

    async def reload(self, proxy: Embedded) -> None:
        """As the worker does when it sees that the file has changed."""
        gateway = proxy.worker.ctx.gateway
        assert gateway is not None
        ring = gateway._keys
        assert isinstance(ring, KeyRing)
        assert await ring.reload()

    @staticmethod
    def _row(one: Credentials, resource: str) -> dict[str, object]:
        row: dict[str, object] = {
            "access_key": one.access_key.decode(),
            "secret_key": one.secret_key.decode(),
            "allow": [{"actions": ["read"], "resources": [resource]}],
        }
        return row if one.session_token is None else {**row, "session_token": one.session_token.decode()}


@asynccontextmanager
async def verifying(embed: Embed, keys: KeysFile, **flags: str) -> AsyncIterator[Embedded]:
    """``embed`` with ``verify``: what its keys may not, and what no key of it has signed, the origin judges."""
    async with embed(authorization="verify", keys=str(keys.path), ttl="1h", head_ttl="1h", **flags) as proxy:
        yield proxy
