"""Leases: what the engine tells the hit branch after it has answered a read (DESIGN section 5).

The hit branch decides nothing. Here it is decided, right after an answer that the rules of ``policy`` allowed without
asking the origin, that the same request may be answered so until the TTL has passed: with the very header blocks that
the engine would render, and the extents that it has just sent from. Where the origin is to be asked about each answer,
a lease says what the answer will be once the origin has said that it may be given. A lease rests on the entry as it is;
the store ends it with any change (``storage.entry.Entry``), a raised fence ends it at once in every process.

Where signatures are checked here, a lease is for those access keys only to which it was granted, each after the engine
has verified and allowed a request of it; whenever the set of keys changes all of them have to be granted anew.
"""

from __future__ import annotations

from fastcache._core.access_keys import AccessKeys
from fastcache._core.fields import render_fields
from fastcache._core.generations import Generations, Knowledge
from fastcache._core.leases import Leases
from fastcache.clock import Clock
from fastcache.engine.exchange import Exchange
from fastcache.model import ChecksumState, Headers, HeadRecord, Interval
from fastcache.policy.freshness import Ttls
from fastcache.policy.stored_headers import not_modified_headers, replay_changes_in, replayed_headers
from fastcache.protocol.query import classify_query
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.s3errors import xml_text
from fastcache.storage.entry import Entry, Validation
from fastcache.storage.pins import Pins
from fastcache.storage.store import Store

MEMO_BYTES = 16 * 1024
"""Objects up to this size are answered from memory (DESIGN section 5: below it one ``writev`` beats ``sendfile``)."""
_NOTHING = Interval(0, 0)
_LOOKS = 4096
"""Leases looked at each time for ended ones."""
_NO_TTLS = Ttls(0.0, 0.0)
_PROVED_FOR = 3600.0
"""Seconds for which the hit branch may ask about an object; no matter of freshness, but of what it holds open."""
_NEUTRAL_QUERY = b"?x-id=GetObject"
GRANTS = 16
"""Access keys that a lease can be granted to at a time, where signatures are checked; more take turns at the engine."""


class HeldLease:
    """A lease as the engine knows it, from its publication until nobody sends under it any more."""

    __slots__ = ("_lessor", "entry", "id", "name", "pins", "proved_at", "record")

    def __init__(
        self, lessor: Lessor, lease_id: int, name: tuple[bytes, bytes], entry: Entry, record: HeadRecord,
        proof: Validation, pins: Pins,
    ) -> None:  # fmt: skip
        self._lessor = lessor
        self.id = lease_id
        self.name = name
        """Host and path, as the client wrote them."""
        self.entry = entry
        self.record = record
        self.proved_at = proof.at
        self.pins = pins

    def revoke(self) -> None:
        self._lessor.revoke(self)


class Lessor:
    """Publishes leases, and lets go what they held when they are through. Loop thread only.

    ``keys`` are those whose signatures the hit branch checks; None where it checks none and answers anybody.
    ``must_prove``: it asks the origin about each answer, with the request that it answers, and notes what it learns in
    ``generations``, if there are other workers.
    """

    def __init__(
        self, leases: Leases, store: Store, clock: Clock, ttls: Ttls, keys: AccessKeys | None = None, *,
        must_prove: bool = False, generations: Generations | None = None,
    ) -> None:  # fmt: skip
        self._generations = generations
        self._keys = keys
        self._leases = leases
        self._store = store
        self._clock = clock
        self._ttls = ttls
        self._must_prove = must_prove
        self._held: dict[int, HeldLease] = {}

    @property
    def leases(self) -> Leases:
        """The index that the hit branch reads."""
        return self._leases

    def offer(
        self, head: RequestHead, entry: Entry, record: HeadRecord, interval: Interval | None, *,
        access_key: bytes | None = None, key_serial: int = 0,
    ) -> None:  # fmt: skip
        """Lease what was just answered to requests like ``head``: ``interval`` of the object, or None for an answer
        without stored bytes.

        The answer rested on the entry's proof alone; had the request demanded more, it would not be recognised. Where
        signatures are checked here, ``access_key`` made this one and may read the object by the set of keys that has
        ``key_serial``; nothing is leased to anybody else, or once that set is not in force any more.
        """
        if self._keys is None:
            self._lease(_name(head), entry, record, interval)
            return
        slot = -1 if access_key is None else self._keys.slot_of(access_key, key_serial)
        if slot >= 0:
            lease_id = self._lease(_signed_name(head), entry, record, interval)
            self._leases.grant(lease_id, self._keys.generation, slot)

    def _lease(
        self, name: tuple[bytes, bytes] | None, entry: Entry, record: HeadRecord, interval: Interval | None
    ) -> int:
        """The id of a lease that answers for what was asked, 0 when there is none."""
        proof = entry.validation
        if name is None or proof is None or entry.head is not record or entry.voided:
            return 0
        # Not by a look at the entry's leases: a client may spell a name in as many ways as there is room for leases.
        former = self._held.get(self._leases.lookup(*name))
        if former is not None and former.entry is not entry:
            former = None
        if former is not None and self._suffices(former, proof, interval):
            return former.id
        pins = self._store.pin(entry, interval or _NOTHING)
        if pins is None or not pins.raw:
            return 0
        lease_id = self._publish(name, entry, record, proof, pins, former)
        self.collect()
        return lease_id

    def record_of(self, lease_id: int) -> HeadRecord | None:
        """What a lease answers with; None when it is not known any more."""
        lease = self._held.get(lease_id)
        return None if lease is None else lease.record

    def revoke(self, lease: HeldLease) -> None:
        """End a lease."""
        self._leases.revoke(lease.id)
        self.collect()

    def collect(self) -> None:
        """Let go what was held for leases that are through."""
        for lease_id in self._leases.take_released():
            lease = self._held.pop(lease_id, None)
            if lease is not None:
                lease.entry.leases.discard(lease)
                lease.pins.release()

    def expire(self) -> None:
        """Look for leases whose time is up; to be called about twice a second."""
        self._leases.expire(self._clock.boot(), _LOOKS)
        self.collect()

    def revoke_all(self) -> None:
        """End every lease."""
        self._leases.revoke_all()
        self.collect()

    def _suffices(self, lease: HeldLease, proof: Validation, interval: Interval | None) -> bool:
        """Whether a lease is as good as a new one would be, or can be made so by adding extents."""
        if not self._leases.holds(lease.id, self._clock.boot()):
            return False
        if lease.proved_at != proof.at and not self._must_prove:
            return False
        if interval is None or self._leases.covers(lease.id, interval.start, interval.end):
            return True
        if lease.record.generation.size <= MEMO_BYTES:
            return False
        pins = self._store.pin(lease.entry, interval)
        if pins is None or not pins.raw:
            return True
        if not self._leases.extend(lease.id, list(pins.extents)):
            pins.release()
            return False
        lease.pins.take(pins)
        return True

    def _publish(
        self, name: tuple[bytes, bytes], entry: Entry, record: HeadRecord, proof: Validation, pins: Pins,
        former: HeldLease | None,
    ) -> int:  # fmt: skip
        if former is not None:
            pins.add(former.pins.extents)
        extents = sorted(pins.extents, key=lambda extent: extent.start)
        size = record.generation.size
        memo = pins.read_whole(size) if 0 < size <= MEMO_BYTES else b"" if not size else None
        if memo is not None:
            pins.release()
        age = max(0.0, self._clock.wall() - record.stored_at)
        headers = replayed_headers(record, age=0.0, whole_object=False, checksum_mode=False, stored_for=age)
        changes_in = replay_changes_in(record, stored_for=age)
        ttls = _NO_TTLS if self._must_prove else self._ttls.of_object(record)
        until = proof.at + (_PROVED_FOR if self._must_prove else max(ttls.get, ttls.head))
        lease_id = 0
        try:
            lease_id = self._leases.publish(
                *name,
                entry.object_id,
                proof.token,
                proved_at=proof.at,
                get_ttl=ttls.get,
                head_ttl=ttls.head,
                until=until if changes_in is None else min(until, self._clock.boot() + changes_in),
                etag=record.generation.etag,
                size=size,
                last_modified=record.last_modified,
                headers=render_fields(headers),
                checksums=render_fields(record.checksums),
                not_modified=render_fields(not_modified_headers(headers)),
                resource=xml_text(name[1]),
                checksums_known=record.checksum_state is not ChecksumState.UNKNOWN,
                memo=memo,
                extents=extents,
                latest=entry.latest if self._must_prove else None,
                knowledge=self._knowledge(entry, record),
                version=record.version_id,
                headers_without_vary=_without_vary(headers),
            )
        finally:
            if not lease_id:
                pins.release()
        if lease_id:
            lease = HeldLease(self, lease_id, name, entry, record, proof, pins)
            self._held[lease_id] = lease
            entry.leases.add(lease)
        return lease_id

    def _knowledge(self, entry: Entry, record: HeadRecord) -> Knowledge | None:
        if self._generations is None or not self._must_prove:
            return None
        return self._generations.knowledge(entry.object_id.digest, record.generation.tag)


def offer_to(lessor: Lessor, exchange: Exchange, entry: Entry, record: HeadRecord, interval: Interval | None) -> None:
    """Offer what was just answered to whoever the exchange has let in."""
    admission = exchange.admission
    if admission is None or admission.verified is None or not admission.trusted:
        lessor.offer(exchange.head, entry, record, interval)
        return
    verified, serial = admission.verified, admission.key_serial
    lessor.offer(exchange.head, entry, record, interval, access_key=verified.access_key, key_serial=serial)


def _name(head: RequestHead) -> tuple[bytes, bytes] | None:
    """Host and path under which the hit branch may find the object again; None for a request it does not recognise."""
    target = head.target
    if head.method == b"GET":
        target = target.removesuffix(_NEUTRAL_QUERY)
    if head.http_10 or not target.startswith(b"/") or b"?" in target:
        return None
    return head.host, target


def _signed_name(head: RequestHead) -> tuple[bytes, bytes] | None:
    """The same, where the query may hold what signs the request beside what is neutral."""
    path, _, query = head.target.partition(b"?")
    if head.http_10 or not path.startswith(b"/") or not classify_query(query).is_plain_or_presigned:
        return None
    return head.host, path


def _without_vary(headers: Headers) -> bytes | None:
    """Rendered without Vary, which a 304 may bring anew; None where there is none."""
    kept = tuple((name, value) for name, value in headers if name.lower() != b"vary")
    return None if len(kept) == len(headers) else render_fields(kept)
