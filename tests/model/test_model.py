"""A model of one bucket says what every read must return, whatever happened before: reads of any shape (whole, in one
range or several, on conditions, HEAD), overwrites behind our back, writes through us, transfers that fail, evictions,
restarts. Bytes, ETag and status are the model's.

In ``revalidate`` a read returns what the origin holds now. In ``none`` the same holds as long as all writes go through
the proxy, however long the TTL: its fences see to that.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.harness.multipart import body_parts
from tests.harness.origin import running_origin
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import IncompleteResponseError, InvalidResponseError, RawResponse
from tests.reads.conftest import Reader

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

KIB = 1024
SIZES = st.one_of(
    st.sampled_from([0, 1, 4096, 65536, 256 * KIB, 1024 * KIB, 1024 * KIB + 1]), st.integers(0, 1500 * KIB)
)
FAULTS = ("cut", "cut-head", "cut-body", "reset", "status", "garbage-head", "ignore-conditions", "ignore-range")
_serial = itertools.count()


class Held(NamedTuple):
    """What the origin holds of a key."""

    content: bytes
    etag: bytes
    """Quoted."""


class Site:
    """The proxy that runs now, on the cache directory that all of its lives share."""

    def __init__(self, start: Callable[[], FastcacheProcess]) -> None:
        self._start = start
        self.proxy = start()

    def restart(self, *, kill: bool) -> None:
        if kill:
            self.proxy.kill()
        else:
            self.proxy.stop()
        self.proxy = self._start()


class Bucket(RuleBasedStateMachine):
    """Three keys of their own in each run. ``contents`` is the model: what a read must return, None for nothing."""

    origin: ClassVar[OriginProcess]
    site: ClassVar[Site]
    behind_our_back: ClassVar[bool]

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, Held | None] = {}
        self.generations = itertools.count(1)
        self.faulty = False

    @property
    def reader(self) -> Reader:
        return Reader(self.origin, self.site.proxy)

    @initialize(target=keys)
    def first(self) -> str:
        return self._key()

    @rule(target=keys)
    def another(self) -> str:
        return self._key()

    def _key(self) -> str:
        key = f"run/{next(_serial)}"
        self.contents[key] = None
        return key

    # ---- what happens to objects

    @precondition(lambda self: self.behind_our_back)
    @rule(key=keys, size=SIZES)
    def is_overwritten_behind_our_back(self, key: str, size: int) -> None:
        generation = next(self.generations)
        made = self.origin.control.synthetic("bkt", key, size, generation=generation)
        self.contents[key] = Held(pattern(key.encode(), generation, 0, size), quoted(made["etag"].encode()))

    @rule(key=keys, size=SIZES)
    def is_written_through_us(self, key: str, size: int) -> None:
        data = (next(self.generations)).to_bytes(4, "big") * (size // 4 + 1)
        self._without_faults()
        body = data[: size or 1]
        written = self.reader.get(key, method="PUT", body=body)
        assert written.status == 200
        self.contents[key] = Held(body, quoted(written.get(b"etag") or b""))

    @rule(key=keys)
    def is_deleted_through_us(self, key: str) -> None:
        self._without_faults()
        assert self.reader.get(key, method="DELETE").status == 204
        self.contents[key] = None

    @rule(kind=st.sampled_from(FAULTS), after=st.integers(0, 300_000))
    def the_next_transfer_fails(self, kind: str, after: int) -> None:
        more: dict[str, Any] = {"status": 503} if kind == "status" else {}
        self.origin.control.fault(kind, after=after, count=1, method="GET", **more)
        self.faulty = True

    def _without_faults(self) -> None:
        self.origin.control.clear_faults()
        self.faulty = False

    @rule(chance=st.integers(0, 5))
    def the_proxy_restarts(self, chance: int) -> None:
        if chance < 2:  # it takes a second: most of the time something else may happen
            self.site.restart(kill=chance == 1)

    # ---- what readers see

    @rule(key=keys)
    def is_read_whole(self, key: str) -> None:
        self._read(key, None)

    @rule(key=keys, first=st.integers(0, 1600 * KIB), length=st.integers(1, 700 * KIB))
    def is_read_in_part(self, key: str, first: int, length: int) -> None:
        self._read(key, (first, first + length))

    @rule(key=keys, length=st.integers(1, 300 * KIB))
    def its_end_is_read(self, key: str, length: int) -> None:
        held = self.contents[key]
        content = b"" if held is None else held.content
        self._read(key, (max(0, len(content) - length), None), f"bytes=-{length}")

    @rule(key=keys)
    def its_head_is_asked_for(self, key: str) -> None:
        self._without_faults()
        held = self.contents[key]
        head = self.reader.get(key, method="HEAD")
        assert head.status == (404 if held is None else 200)
        if held is not None:
            assert head.get(b"content-length") == b"%d" % len(held.content)
            assert head.get(b"etag") == held.etag

    @rule(
        key=keys,
        name=st.sampled_from(["If-None-Match", "If-Match", "If-Range"]),
        same=st.booleans(),
        ranged=st.booleans(),
    )
    def is_read_on_a_condition(self, key: str, name: str, same: bool, ranged: bool) -> None:
        self._without_faults()
        held = self.contents[key]
        if held is None or not held.content:
            return
        tag = held.etag.decode() if same else '"another"'
        answer = self.reader.get(key, "bytes=0-0" if ranged else None, signed={name: tag})
        if name == "If-None-Match" and same:
            assert answer.status == 304
        elif name == "If-Match" and not same:
            assert answer.status == 412
        else:
            sliced = ranged and (name != "If-Range" or same)
            self._expect(answer, held, 206 if sliced else 200, held.content[:1] if sliced else held.content)

    @rule(
        key=keys, firsts=st.lists(st.integers(0, 1600 * KIB), min_size=2, max_size=4), length=st.integers(1, 60 * KIB)
    )
    def is_read_in_several_parts(self, key: str, firsts: list[int], length: int) -> None:
        """A hit is those ranges, a miss the whole object, as the origin answers."""
        self._without_faults()
        held = self.contents[key]
        answer = self.reader.get(key, "bytes=" + ",".join(f"{first}-{first + length - 1}" for first in firsts))
        if held is None:
            assert answer.status == 404
            return
        kind = answer.get(b"content-type") or b""
        wanted = [(first, min(first + length, len(held.content))) for first in firsts if first < len(held.content)]
        if answer.status == 416:
            assert not wanted
        elif answer.status == 200:
            self._expect(answer, held, 200, held.content)
        elif len(wanted) == 1:
            self._expect(answer, held, 206, held.content[slice(*wanted[0])])
        else:
            parts = body_parts(kind, answer.body)
            assert answer.get(b"etag") == held.etag
            assert [part.content_range for part in parts] == [
                f"bytes {start}-{end - 1}/{len(held.content)}" for start, end in wanted
            ]
            assert [_digest(part.content) for part in parts] == [
                _digest(held.content[start:end]) for start, end in wanted
            ]

    def _read(self, key: str, span: tuple[int, int | None] | None, field: str | None = None) -> None:
        if span is not None and field is None:
            field = f"bytes={span[0]}-{span[1] - 1}" if span[1] is not None else f"bytes={span[0]}-"
        try:
            answer = self.reader.get(key, field)
        except (IncompleteResponseError, InvalidResponseError):
            assert self.faulty, "a read failed although nothing was broken"
            self._without_faults()
            return
        held = self.contents[key]
        if self.faulty and answer.status in (502, 503, 504):
            self._without_faults()
            return
        if held is None:
            assert answer.status == 404
            return
        content = held.content
        if span is None or (answer.status == 200 and self.faulty):
            self._expect(answer, held, 200, content)
            return
        if span[0] >= len(content):
            assert answer.status == 416
            return
        end = len(content) if span[1] is None else min(span[1], len(content))
        self._expect(answer, held, 206, content[span[0] : end])
        assert answer.get(b"content-range") == b"bytes %d-%d/%d" % (span[0], end - 1, len(content))

    def _expect(self, answer: RawResponse, held: Held, status: int, body: bytes) -> None:
        found = (answer.status, _digest(answer.body), answer.get(b"etag"))
        assert found == (status, _digest(body), held.etag)

    def teardown(self) -> None:
        self._without_faults()


def quoted(etag: bytes) -> bytes:
    return etag if etag.startswith(b'"') else b'"%b"' % etag


def _digest(data: bytes) -> tuple[int, str]:
    """A failure shows lengths and hashes, not a megabyte."""
    return len(data), hashlib.blake2b(data, digest_size=8).hexdigest()


@pytest.fixture(scope="module")
def model_origin() -> Iterator[OriginProcess]:
    with running_origin() as origin:
        origin.control.bucket("bkt")
        yield origin


def run(
    origin: OriginProcess, start: Callable[..., FastcacheProcess], cache: Path, flags: tuple[str, ...], examples: int
) -> None:
    """Run the machine against a proxy whose cache is so small that most of what is read is evicted soon."""

    def started() -> FastcacheProcess:
        return start(
            origin.endpoint, "--cache-size", "4MiB", "--multi-range", "multipart", *flags, cache_directory=cache
        )

    class Run(Bucket):
        pass

    Run.origin, Run.site, Run.behind_our_back = origin, Site(started), "none" not in flags
    run_state_machine_as_test(
        Run,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


MODES = pytest.mark.parametrize(
    "flags", [(), ("--authorization", "none", "--ttl", "1h", "--head-ttl", "1h")], ids=["revalidate", "none"]
)


@MODES
def test_every_read_returns_what_the_model_says(
    model_origin: OriginProcess,
    start_fastcache: Callable[..., FastcacheProcess],
    tmp_path: Path,
    flags: tuple[str, ...],
) -> None:
    run(model_origin, start_fastcache, tmp_path / "cache", flags, 6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MODES
def test_every_read_returns_what_the_model_says_for_long(
    model_origin: OriginProcess,
    start_fastcache: Callable[..., FastcacheProcess],
    tmp_path: Path,
    flags: tuple[str, ...],
) -> None:
    run(model_origin, start_fastcache, tmp_path / "cache", flags, 60)
