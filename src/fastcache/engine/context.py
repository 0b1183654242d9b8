"""What every exchange of one worker shares."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from fastcache._core.fences import Fences
from fastcache._core.ordering import Numbers
from fastcache.clock import Clock
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill_limits import FillLimits, WindowBudget
from fastcache.engine.flights import Flights
from fastcache.engine.forgetting import Forgetting
from fastcache.engine.gateway import Gateway
from fastcache.engine.leasing import Lessor
from fastcache.engine.signing import Signer
from fastcache.model import HeadRecord, Interval, ObjectId, OriginId
from fastcache.observe.access_log import AccessLog
from fastcache.observe.metrics import Metrics
from fastcache.policy.admission import Admission, owned_bucket
from fastcache.policy.freshness import Authorization, Ttls
from fastcache.policy.mounts import Mounts
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.request_class import IdentityOf
from fastcache.policy.widening import Widening
from fastcache.protocol.targets import Addressing
from fastcache.storage.store import Store
from fastcache.upstream.pool import Pool

_REFUSAL_REMEMBERED = 600.0
"""Seconds for which an origin that refused an added validator gets none."""


class Watcher(Protocol):
    """Is told of every read while it is being answered."""

    def reading(
        self, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, asked: Iterable[Interval]
    ) -> AbstractContextManager[None]:
        """``interval`` is sent; ``asked`` is what of it the origin had to be asked for."""
        ...


@dataclass(slots=True)
class Context:
    """One per worker, on the loop's thread. ``store`` is None with ``cache: off``: a pure transparent proxy."""

    origin: OriginId
    addressing: Addressing
    pool: Pool
    store: Store | None
    fences: Fences
    clock: Clock
    metrics: Metrics
    access_log: AccessLog
    authorization: Authorization
    ttls: Ttls
    follow_wait: float
    fill_limits: FillLimits
    window_budget: WindowBudget
    max_requests: int
    gateway: Gateway | None = None
    """Who is let in, and in whose name the origin is asked; None where everybody's own request goes to the origin."""
    lessor: Lessor | None = None
    """Tells the hit branch what it may answer; None where it answers nothing."""
    allow_kms: bool = False
    """Whether objects encrypted with a KMS key are stored and served (SEMANTICS 24)."""
    aliases: Mapping[bytes, bytes] = field(default_factory=dict)
    """Other names of buckets, as requests name them, and the bucket each one is (SEMANTICS 2)."""
    gap_signer: Signer | None = None
    """Asks for what is missing of an object once a client's own request has proved that it may have it; None where
    every request to the origin is a client's own, or ours."""
    mounts: Mounts | None = None
    """Buckets that are elsewhere, or have another name there (SEMANTICS 37)."""
    multi_range: bool = False
    """Whether a hit answers several ranges as ``multipart/byteranges`` (SEMANTICS 27)."""
    write_through_max: int = 0
    """Bytes of the largest upload that is kept on its way to the origin; 0 keeps none (SEMANTICS 32)."""
    write_through_backlog: int = 0
    """Bytes of one upload that may wait for the disk before it goes on without being kept."""
    widening: Widening | None = None
    """Which reads are widened to which blocks, where the request to the origin is ours to choose (SEMANTICS 28)."""
    unwidened: Forgetting = field(default_factory=Forgetting)
    """Objects whose widened answers are of no use."""
    watcher: Watcher | None = None
    """Fetches ahead of readers; None where nothing may be asked that no client asked for."""
    flights: Flights = field(default_factory=Flights)
    heads_behind: int = 0
    """Requests of ours for what describes uploads, under way behind their answers."""
    draining: bool = False
    succeeded: bool = False
    """While draining: another process goes on with the connections that are idle."""
    requests_in_flight: int = 0
    additions_break_parts: set[OriginId] = field(default_factory=set)
    """Origins that answer ``partNumber`` with nonsense beside a validator that matches (SEMANTICS 26)."""
    _additions_refused_at: dict[OriginId, float] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)
    """Of requests to the origin, the hit branch's among them; those of several workers are drawn from one source."""
    _request_ids: random.Random = field(default_factory=random.Random)
    """Seeded by the system. An id names a request in logs and is no secret, and asking the system for each one gives
    the interpreter lock away, which on a busy cache costs far more than the call."""

    def refuses_additions(self, origin: OriginId) -> bool:
        """Whether an origin lately answered 400 or 501 to a validator that we added, and something else without it
        (SEMANTICS 13). Tried again after a while: such an answer may have been a passing one."""
        refused = self._additions_refused_at.get(origin)
        return refused is not None and self.clock.boot() - refused < _REFUSAL_REMEMBERED

    @property
    def signs(self) -> bool:
        """Whether what goes to the origin goes in our name."""
        return self.gateway is not None and self.gateway.signer is not None

    def note_refused_addition(self, origin: OriginId) -> None:
        """Remember that an origin refused an addition of ours."""
        self._additions_refused_at[origin] = self.clock.boot()
        if self.lessor is not None:
            self.lessor.revoke_all()  # the hit branch may ask with nothing but such additions

    @property
    def cuts_off(self) -> bool:
        """Whether a connection ends with the answer under way, although its head did not say so."""
        return self.draining and not self.succeeded

    def next_sent(self) -> int:
        """Sequence number of an origin request, taken just before it is sent; later requests have greater ones."""
        return self.numbers.next()

    def next_request_id(self) -> str:
        """An ``x-amz-request-id`` of our own: 16 hexadecimal digits, as S3's are."""
        return f"{self._request_ids.getrandbits(64):016X}"

    def identity_for(self, admission: Admission | None) -> IdentityOf:
        """Identities as this caller means them, by its key too where every key has buckets of its own (SEMANTICS 4)."""
        owner = None if admission is None else admission.owner
        if owner is None:
            return self.object_id
        return lambda bucket, key, version: self.object_id(owned_bucket(owner, bucket), key, version)

    def object_id(self, bucket: bytes, key: bytes, version: bytes | None = None) -> ObjectId:
        """Identity of an object of the bucket that clients call so: what it is there, by whatever name it is asked for.
        Aliases are names at the endpoint."""
        origin = self.origin
        if self.mounts is not None:
            place = self.mounts.place(bucket)
            assert place.bucket is not None, "a bucket is mounted on a bucket"
            origin, bucket = place.origin, place.bucket
        if origin == self.origin:
            bucket = self.aliases.get(bucket, bucket)
        return ObjectId(origin, bucket, key, version)
