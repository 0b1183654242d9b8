"""A worker in this process whose hit branch checks signatures, in front of our own origin.

What the engine decides by its keys and rules is decided here by a test: who may read what, in ``Rules``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.engine.conftest import Embed, Embedded

from fastcache._core.access_keys import AccessKeys
from fastcache._core.hit_log import HitLog
from fastcache._core.hits import Hits
from fastcache._core.leases import Leases
from fastcache._core.sigv4 import Verifier
from fastcache.engine.context import Context
from fastcache.engine.leasing import GRANTS, Lessor
from fastcache.errors import RequestError
from fastcache.lifecycle import worker
from fastcache.lifecycle.settings import Settings
from fastcache.model import HeadRecord, Interval
from fastcache.protocol.requests import HeadLimits, RequestHead
from fastcache.protocol.sigv4 import Credentials, SigningKeys
from fastcache.protocol.sigv4_verify import verify
from fastcache.server.hit_branch import build_hits
from fastcache.storage.entry import Entry


class Rules:
    """Keys, and those of them that may read nothing."""

    def __init__(self, *credentials: Credentials) -> None:
        self.serial = 0
        self.keys = AccessKeys()
        self.known: dict[bytes, Credentials] = {}
        self.shut_out: set[bytes] = set()
        self.load(*credentials)

    def load(self, *credentials: Credentials) -> None:
        """As a reload of the keys file does."""
        self.serial += 1
        self.known = {one.access_key: one for one in credentials}
        self.keys.load(self.serial, credentials)


class VerifyingLessor(Lessor):
    """Verifies and decides, as the engine does before it answers."""

    rules: Rules

    def offer(
        self, head: RequestHead, entry: Entry, record: HeadRecord, interval: Interval | None, *,
        access_key: bytes | None = None, key_serial: int = 0,
    ) -> None:  # fmt: skip
        try:
            made = verify(
                head.method, head.target, head.headers, find=self.rules.known.get, now=time.time(), keys=SigningKeys()
            )  # fmt: skip
        except RequestError:
            return
        if made.access_key not in self.rules.shut_out:
            serial = self.rules.serial
            super().offer(head, entry, record, interval, access_key=made.access_key, key_serial=serial)


@asynccontextmanager
async def verifying(
    embed: Embed, monkeypatch: pytest.MonkeyPatch, rules: Rules, **flags: str
) -> AsyncIterator[Embedded]:
    """``embed``, with a hit branch that answers those only whom ``rules`` know and let in."""

    def hit_branch(settings: Settings, ctx: Context, limits: HeadLimits, _: int) -> tuple[Hits, HitLog | None]:
        assert ctx.store is not None
        leases = Leases(ctx.fences, settings.hit.leases, settings.hit.memory, settings.hit.files, GRANTS)
        lessor = VerifyingLessor(leases, ctx.store, ctx.clock, ctx.ttls, rules.keys)
        lessor.rules = rules
        ctx.lessor = lessor
        parser = settings.hit.parser
        return build_hits(
            leases, ctx.metrics, ctx.access_log, limits, parser=parser, verifier=Verifier(rules.keys)
        )  # fmt: skip

    monkeypatch.setattr(worker, "_hit_branch", hit_branch)
    async with embed(authorization="none", ttl="1h", head_ttl="1h", **flags) as proxy:
        yield proxy
