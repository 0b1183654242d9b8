"""What stands before a hit: the recogniser of heads, the origin's consent, the index of leases, and the records of the
access log."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.fuzz.target import Target
from tests.hits import signatures
from tests.hits import test_proof_heads as proofs
from tests.hits import test_recogniser as recognisers
from tests.hits.test_leases import NOW, ORIGIN, publish

from fastcache._core.extents import ExtentState
from fastcache._core.fences import Fences
from fastcache._core.hit_log import LoggedHit, records
from fastcache._core.leases import Leases
from fastcache.load.heads import Signer, request_head
from fastcache.model import ObjectId
from fastcache.protocol.sigv4 import presign

_RECORD = struct.Struct("=5qQIHHBB16s6x")
_CAPACITY, _MEMO_BYTES, _EXTENTS = 5, 40, 9
_VERIFIER = signatures.verifier()
_NAMES = tuple((b"h%d" % (i % 3), b"/b/%d" % i) for i in range(12))


def recogniser(data: bytes) -> None:
    """Recognised as httptools and the grammar of requests read it, or not at all."""
    assert recognisers.agree(data)
    assert recognisers.agree(data, any_query=True)


def signature(data: bytes) -> None:
    """A signature that compiled code accepts is one for the engine; that it is right is no reason to be refused."""
    for head in (data, signatures.resigned(data)):
        seen = signatures.opinions(_VERIFIER, head)
        assert seen.compiled is None or seen.compiled == seen.python


def consent(data: bytes) -> None:
    """A proof as ``protocol`` reads it and ``policy`` judges it, or none."""
    assert proofs.agree(data)


def hit_records(data: bytes) -> None:
    """Read as they were laid down; ValueError for one that is cut short, behind those before it."""
    read: list[LoggedHit] = []
    cut = False
    try:
        for record in records(data):
            read.append(record)  # noqa: PERF402 - those before an error count
    except ValueError:
        cut = True
    expected = list(_laid_down(data))
    assert [tuple(record) for record in read] == expected
    assert cut == (sum(_RECORD.size + len(record[-1]) for record in expected) != len(data))


def _laid_down(data: bytes) -> Iterator[tuple[object, ...]]:
    at = 0
    while at + _RECORD.size <= len(data):
        *times, sent, size, request_id, length, status, asked, complete, family, peer = _RECORD.unpack_from(data, at)
        wall, total, first_byte = (time / 1e9 for time in times)
        at += _RECORD.size + length
        if at > len(data):
            return
        yield (
            wall,
            total,
            None if first_byte < 0 else first_byte,
            sent,
            None if size < 0 else size,
            request_id,
            status,
            bool(complete),
            asked or None,
            peer[: {4: 4, 6: 16}.get(family, 0)],
            data[at - length : at],
        )


class _Index:
    """The index beside a dictionary; one call for each operation."""

    def __init__(self) -> None:
        self.fences = Fences()
        self.leases = Leases(self.fences, _CAPACITY, _MEMO_BYTES, _EXTENTS)
        self.extents = [ExtentState(start, start + 3) for start in range(16)]
        self.known: dict[tuple[bytes, bytes], int] = {}
        self.until: dict[int, float] = {}
        self.bytes: dict[int, set[int] | None] = {}
        """What a lease covers; None: all, from memory."""
        self.voided: set[int] = set()
        self.released: list[int] = []

    def chosen(self, a: int, b: int) -> list[ExtentState]:
        return self.extents[a % 16 : a % 16 + b % 5]

    def publish(self, name: tuple[bytes, bytes], a: int, b: int) -> None:
        memo = bytes(b % 20) if a & 1 else None
        extents = [] if memo is not None else self.chosen(a >> 1, b)
        size = 18 if memo is None else len(memo)
        until = NOW + 1 + b % 7
        lease = publish(
            self.leases, self.fences, name, until=until, memo=memo, size=size, extents=extents,
        )  # fmt: skip
        self.known.pop(name, None)
        if lease:
            assert lease not in self.until
            self.known[name] = lease
            self.until[lease] = until
            self.bytes[lease] = None if memo is not None else _bytes_of(extents)
        self._forget_evicted()

    def extend(self, name: tuple[bytes, bytes], a: int, b: int) -> None:
        lease = self.known.get(name, 0)
        more = self.chosen(a, b)
        extended = self.leases.extend(lease, more)
        covered = self.bytes.get(lease, set())
        assert not extended or (lease and covered is not None)
        if extended and covered is not None:
            covered |= _bytes_of(more)
        self._forget_evicted()

    def revoke(self, name: tuple[bytes, bytes], a: int, b: int) -> None:
        lease = self.known.get(name, 0)
        if lease and a and b & 1:
            self.leases.revoke(lease ^ a << 32)  # of another generation of the slot
        else:
            self.leases.revoke(lease)
            self.known.pop(name, None)

    def expire(self, name: tuple[bytes, bytes], a: int, b: int) -> None:
        now = NOW + a % 10
        self.leases.expire(now, _CAPACITY)
        self.known = {
            name: lease for name, lease in self.known.items() if now < self.until[lease] and lease not in self.voided
        }

    def fence(self, name: tuple[bytes, bytes], a: int, b: int) -> None:
        self.fences.raise_object(ObjectId(ORIGIN, b"b", name[1]))
        self.voided |= {self.known[name]} if name in self.known else set()

    def take(self, name: tuple[bytes, bytes], a: int, b: int) -> None:
        self.released += self.leases.take_released()
        assert len(self.leases) == len(self.known)

    def agrees(self, a: int, b: int) -> None:
        """Every name, whether it holds, and whether an interval is covered."""
        for name in _NAMES:
            lease = self.known.get(name, 0)
            assert self.leases.lookup(*name) == lease
            now = NOW + a % 10
            good = lease != 0 and lease not in self.voided and now < self.until[lease]
            assert self.leases.holds(lease, now) == good
            if lease:
                covered = self.bytes[lease]
                wanted = set(range(a % 18, a % 18 + b % 9))
                assert self.leases.covers(lease, a % 18, a % 18 + b % 9) == (covered is None or wanted <= covered)
        assert self.leases.memo_bytes <= _MEMO_BYTES
        assert self.leases.open_extents <= _EXTENTS

    def end(self) -> None:
        """Every lease there was is given back once, and nothing is left."""
        self.leases.revoke_all()
        self.released += self.leases.take_released()
        assert sorted(self.released) == sorted(self.until)
        assert (len(self.leases), self.leases.memo_bytes, self.leases.open_extents) == (0, 0, 0)

    def _forget_evicted(self) -> None:
        self.known = {name: lease for name, lease in self.known.items() if self.leases.lookup(*name)}


def _bytes_of(extents: list[ExtentState]) -> set[int]:
    return {byte for extent in extents for byte in range(extent.start, extent.end)}


def leases(data: bytes) -> None:
    """Three octets are an operation, its name, and two numbers."""
    index = _Index()
    operations = (index.publish, index.publish, index.extend, index.revoke, index.expire, index.fence, index.take)
    for at in range(0, min(len(data), 600) - 2, 3):
        what, a, b = data[at : at + 3]
        operations[what % 7](_NAMES[what // 7 % len(_NAMES)], a, b)
        index.agrees(a, b)
    index.end()


def _operation(what: int, name: int, a: int, b: int) -> bytes:
    return bytes((what + 7 * name, a, b))


_SEEDS_OF_LEASES = (
    b"".join(_operation(0, name, 2 * name, 3) for name in range(8)) + _operation(6, 0, 0, 0),
    b"".join(_operation(1, name, 1, 9) for name in range(12)) + _operation(4, 0, 3, 0) + _operation(6, 0, 0, 0),
    _operation(0, 1, 4, 2) + _operation(2, 1, 6, 3) + _operation(2, 1, 3, 4) + _operation(3, 1, 0, 0),
    _operation(0, 2, 1, 5) + _operation(5, 2, 0, 0) + _operation(0, 2, 8, 4) + _operation(3, 2, 1, 1),
)
_SEEDS_OF_RECORDS = tuple(
    _RECORD.pack(10**18, 10**6, first, 4096, size, 7, len(head), 200, asked, 1, family, bytes(range(16))) + head
    for first, size, asked, family, head in (
        (5, 9, 0, 4, b""),
        (-1, -1, 304, 6, b"GET / HTTP/1.1\r\n\r\n"),
        (0, 0, 0, 0, b"x" * 100),
    )
)


def _signed_heads() -> Iterator[bytes]:
    now = signatures.NOW
    for client, credentials in zip(("boto3", "crt", "curl", "curl"), signatures.CREDENTIALS, strict=True):
        signer = Signer(credentials, b"us-east-1", now)
        yield request_head(client, b"h:1", b"/b/a%20b?x-id=GetObject", interval=(0, 9), signer=signer)
        fields = ((b"Host", b"h:1"), (b"Range", b"bytes=0-9"), (b"x-amz-user-agent", b"a b"))
        target = presign(b"HEAD", b"/b/k", fields, credentials, region=b"x", now=now, expires=60)
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        yield b"HEAD %b HTTP/1.1\r\n%b\r\n" % (target, lines)


TARGETS = {
    "recogniser": Target(
        recogniser,
        (recognisers.BOTO3, recognisers.CRT),
        (
            *(name.encode() + b": " for name in recognisers.NAMES),
            *(value.encode("latin-1") for value in recognisers.VALUES if value),
            *(line.encode() for line in recognisers.LINES),
            *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" HTTP/1.1\r\n", b"?x-id=GetObject", b" ", b"\0", b"\x80"),
        ),
    ),
    "signature": Target(
        signature,
        tuple(_signed_heads()),
        (
            *(
                b"AWS4-HMAC-SHA256",
                b"Credential=",
                b"SignedHeaders=",
                b"Signature=",
                b"host",
                b";",
                b"/",
                b"aws4_request",
            ),
            *(b"X-Amz-Date=", b"X-Amz-Expires=", b"X-Amz-Content-Sha256=UNSIGNED-PAYLOAD", b"&", b"?", b"=", b", "),
            *(b"%2f", b"%", b"+", b"  ", b"range", b"x-amz-user-agent", b"X-Amz-Security-Token: ", b"x-id=GetObject"),
        ),
    ),
    "consent": Target(
        consent,
        (*proofs.CURRENT.values(), *proofs.OTHER.values()),
        (
            *(name + b": " for name in proofs.NAMES),
            *filter(None, proofs.VALUES),
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b"\t",
        ),
    ),
    "leases": Target(leases, _SEEDS_OF_LEASES, tuple(_operation(what, 1, 6, 3) for what in range(7))),
    "hit_records": Target(
        hit_records,
        (*_SEEDS_OF_RECORDS, b"".join(_SEEDS_OF_RECORDS)),
        (b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\xff", b"\x48\0\0\0", b"\x7f", _SEEDS_OF_RECORDS[0]),
    ),
}
