"""What happened, counted: the object every layer reports to, and that compiled code reports to without Python.

Nothing here can grow without bound or be made to by a client: labels come from closed or capped sets.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from fastcache._core.counters import HISTOGRAM_WORDS, Counters, Histogram
from fastcache._core.names import Names
from fastcache.model import Result
from fastcache.observe import catalogue
from fastcache.observe.catalogue import Merge
from fastcache.observe.snapshot import CounterSample, GaugeSample, HistogramSample, Snapshot

log = logging.getLogger("fastcache.metrics")

METHODS: Final = {
    method: method.decode() for method in (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"CONNECT")
}
OTHER_METHOD: Final = "OTHER"
OTHER_STATUS: Final = "other"
OTHER_WORD: Final = "other"

HIT_METHODS: Final = (b"GET", b"HEAD")
HIT_STATUSES: Final = (200, 206, 304, 412, 416)

SLOTS: Final = 4096
_WORD_BYTES: Final = 8
NUMBER_BYTES: Final = _WORD_BYTES * (SLOTS + HISTOGRAM_WORDS * (2 * len(Result) + 1))
"""What the counters and histograms of one process take of shared memory."""
_BETWEEN: Final = "\x1f"
WORDS_PER_FAMILY: Final = 64
"""Distinct values of a free label (reason, kind, outcome) before the rest is counted as ``other``."""

_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_GAUGE_NAME = re.compile(rf"{catalogue.PREFIX}[a-z][a-z0-9_]{{0,59}}\Z")
_PLAIN_SLOT: Final = {counter.name: slot for slot, counter in enumerate(catalogue.PLAIN_COUNTERS)}

SENT_BYTES_SLOT: Final = _PLAIN_SLOT[catalogue.SENT_BYTES.name]
CLIENT_OPENED_SLOT: Final = _PLAIN_SLOT[catalogue.CLIENT_OPENED.name]
CLIENT_CLOSED_SLOT: Final = _PLAIN_SLOT[catalogue.CLIENT_CLOSED.name]


@dataclass(frozen=True, slots=True)
class _Gauge:
    help: str
    merge: Merge
    read: Callable[[], float]


class Metrics:
    """The counters, histograms and gauges of one process. Every method may be called from any thread.

    Compiled code takes ``counters`` with ``hit_slots()``, ``proof_slots()``, ``SENT_BYTES_SLOT``,
    ``CLIENT_OPENED_SLOT`` and ``CLIENT_CLOSED_SLOT``, and ``request_seconds`` and ``first_byte_seconds`` of a hit's
    result and of ERROR.
    """

    def __init__(self, numbers: memoryview | None = None, names: Names | None = None) -> None:
        """``numbers`` and ``names``: where the values and the labels of their slots are kept, to be shared with other
        processes; values that are there already are added to. Without, both are this process's own."""
        pieces = _pieces(numbers)
        self.counters = Counters(SLOTS, next(pieces))
        self.request_seconds = {result: Histogram(next(pieces)) for result in Result}
        self.first_byte_seconds = {result: Histogram(next(pieces)) for result in Result}
        self.loop_lag = Histogram(next(pieces))
        self._names = names
        self._twins: dict[int, tuple[str, tuple[str, ...]]] = {}
        """Further slots of labels that two processes named at the same moment."""
        self._lock = threading.Lock()
        self._gauges: dict[str, _Gauge] = {}
        # (family, label values) by slot. A dict is read without the lock; only ``_allocate`` adds to it.
        self._labelled: dict[tuple[str, tuple[str, ...]], int] = {}
        self._requests: dict[tuple[bytes, int, Result], int] = {}
        self._words: dict[tuple[str, str], int] = {}
        self._word_count: dict[str, int] = {}
        self._next_slot = len(_PLAIN_SLOT)
        # What is left when the table is full: allocated now, so that it can never be missing.
        self._full: dict[str, int] = {}
        for family in catalogue.LABELLED_COUNTERS:
            if family is not catalogue.REQUESTS:
                self._full[family.name] = self._allocate(family.name, self._overflow_labels(family.name))
        self._full_requests = {
            result: self._allocate(catalogue.REQUESTS.name, (OTHER_METHOD, OTHER_STATUS, result.value))
            for result in Result
        }

    # -- requests

    def hit_slots(self, result: Result) -> list[list[int]]:
        """The slots of ``fastcache_requests_total`` for each of HIT_METHODS with each of HIT_STATUSES."""
        return [[self._request_slot(method, status, result) for status in HIT_STATUSES] for method in HIT_METHODS]

    def proof_slots(self) -> tuple[int, int, int]:
        """The slots of a GET to an origin, of a 304 from there, and of a GET whose client left before its answer."""
        return (
            self._allocate(catalogue.ORIGIN_REQUESTS.name, ("GET",)),
            self._allocate(catalogue.ORIGIN_RESPONSES.name, ("304",)),
            self._request_slot(b"GET", 499, Result.ERROR),
        )

    def request_done(
        self,
        method: bytes,
        status: int,
        result: Result,
        seconds: float,
        first_byte_seconds: float | None,
        bytes_sent: int,
    ) -> None:
        """A request ended; ``status`` is 0 when no head was sent, ``first_byte_seconds`` None when no byte was."""
        slot = self._requests.get((method, status, result))
        if slot is None:
            slot = self._request_slot(method, status, result)
        self.counters.add(slot)
        if bytes_sent > 0:
            self.counters.add(SENT_BYTES_SLOT, bytes_sent)
        self.request_seconds[result].record(seconds)
        if first_byte_seconds is not None:
            self.first_byte_seconds[result].record(first_byte_seconds)

    def refused(self, reason: str) -> None:
        """A request or connection was turned away without asking the origin."""
        self._count_word(catalogue.REFUSED.name, reason)

    def hit_branch(self, outcome: str, n: int) -> None:
        """So many requests more fared like this in the compiled hit branch."""
        if n > 0:
            self.counters.add(self._word_slot(catalogue.HIT_BRANCH.name, outcome), n)

    def client_connections(self, opened: int, closed: int) -> None:
        """So many client connections were accepted and closed since the last call."""
        self._add(catalogue.CLIENT_OPENED.name, opened)
        self._add(catalogue.CLIENT_CLOSED.name, closed)

    # -- origin

    def origin_request(self, method: bytes) -> None:
        """A request was sent to an origin."""
        self._count(catalogue.ORIGIN_REQUESTS.name, METHODS.get(method, OTHER_METHOD))

    def origin_response(self, status: int) -> None:
        """A response head arrived from an origin."""
        self._count(catalogue.ORIGIN_RESPONSES.name, _status_label(status))

    def origin_bytes(self, n: int) -> None:
        """``n`` body bytes arrived from an origin."""
        self._add(catalogue.ORIGIN_BYTES.name, n)

    def origin_connection_opened(self) -> None:
        self._add(catalogue.ORIGIN_OPENED.name)

    def origin_error(self, kind: str) -> None:
        """A request to an origin failed; ``kind`` is a word such as ``connect``, ``timeout``, ``protocol``."""
        self._count_word(catalogue.ORIGIN_ERRORS.name, kind)

    def credentials_refreshed(self, outcome: str) -> None:
        """An attempt to renew our own credentials ended; ``outcome`` is ``renewed``, ``same`` or ``failed``."""
        self._count_word(catalogue.CREDENTIALS.name, outcome)

    # -- fills

    def fill_started(self) -> None:
        self._add(catalogue.FILLS_STARTED.name)

    def fill_finished(self, outcome: str) -> None:
        """A fill ended; ``outcome`` is a word such as ``complete``, ``prefix``, ``abandoned``, ``failed``."""
        self._count_word(catalogue.FILLS.name, outcome)

    def follower_joined(self) -> None:
        self._add(catalogue.FOLLOWERS.name)

    def fill_detached(self) -> None:
        self._add(catalogue.FILLS_DETACHED.name)

    def upload_kept(self, outcome: str) -> None:
        """An upload that was to be kept ended; ``outcome`` is ``stored`` or a word for why not."""
        self._count_word(catalogue.UPLOADS_KEPT.name, outcome)

    def read_ahead(self, used: int, wasted: int) -> None:
        """What became of so many bytes more that were fetched ahead."""
        self._add(catalogue.AHEAD_USED.name, used)
        self._add(catalogue.AHEAD_WASTED.name, wasted)

    # -- storage

    def store_commit(self, n: int) -> None:
        """One extent or small object of ``n`` object bytes was committed."""
        self._add(catalogue.STORE_COMMITS.name)
        self._add(catalogue.STORE_COMMIT_BYTES.name, n)

    def store_evicted(self, extents: int, n: int) -> None:
        """``extents`` extents holding ``n`` bytes on disk were evicted."""
        self._add(catalogue.STORE_EVICTED.name, extents)
        self._add(catalogue.STORE_EVICTED_BYTES.name, n)

    def store_corrupt_file(self) -> None:
        self._add(catalogue.STORE_CORRUPT.name)

    def store_io_error(self) -> None:
        self._add(catalogue.STORE_IO_ERRORS.name)

    def store_write_dropped(self) -> None:
        self._add(catalogue.STORE_DROPPED.name)

    def claim_refused(self) -> None:
        self._add(catalogue.CLAIMS_REFUSED.name)

    # -- access keys, access log

    def keys_reloaded(self, outcome: str) -> None:
        """The keys file was read again: ``loaded``, ``unchanged``, or ``failed`` and the keys before it stay."""
        self._count_word(catalogue.KEYS_RELOADS.name, outcome)

    def access_log_lines(self, n: int) -> None:
        self._add(catalogue.LOG_LINES.name, n)

    def access_log_dropped(self, n: int = 1) -> None:
        self._add(catalogue.LOG_DROPPED.name, n)

    def access_log_error(self) -> None:
        self._add(catalogue.LOG_ERRORS.name)

    # -- processes

    def process_died(self, role: str) -> None:
        """A process ended without being told to."""
        self._count_word(catalogue.PROCESS_DEATHS.name, role)

    def reloaded(self, outcome: str) -> None:
        """The settings were read again."""
        self._count_word(catalogue.RELOADS.name, outcome)

    # -- gauges

    def gauge(self, name: str, help: str, fn: Callable[[], float], merge: Merge | None = None) -> None:
        """Read ``fn`` at every exposition; a second registration of a name replaces the first.

        ``fn`` must not block. An OSError of its leaves the gauge out of that exposition and is counted; any other
        exception is a mistake in the program and is raised. ``merge`` is the catalogue's, SUM for other names.
        Raises ValueError for a name that is not ``fastcache_`` and lower case, or is another metric's.
        """
        if not _GAUGE_NAME.match(name) or name in catalogue.COUNTERS or name in catalogue.HISTOGRAMS:
            raise ValueError(f"{name!r} cannot be a gauge's name")
        if merge is None:
            known = catalogue.GAUGES.get(name)
            merge = known.merge if known else Merge.SUM
        with self._lock:
            self._gauges[name] = _Gauge(help, merge, fn)

    # -- reading

    def value(self, name: str, *labels: str) -> int:
        """A counter's value, 0 when it was never counted; KeyError for a name that is not in the catalogue."""
        family = catalogue.COUNTERS[name]
        slot = self._labelled.get((name, labels)) if family.labels else _PLAIN_SLOT[name]
        return 0 if slot is None else self.counters.get(slot)

    def snapshot(self) -> Snapshot:
        """All values now. Labelled counters that are still 0 are left out."""
        with self._lock:
            labelled = [*self._labelled.items(), *((key, slot) for slot, key in self._twins.items())]
            gauges = list(self._gauges.items())
        # Gauges first: one that fails is then in the counters of the same snapshot.
        gauge_samples = [sample for name, gauge in gauges if (sample := self._read_gauge(name, gauge)) is not None]
        values = self.counters.snapshot()
        counters: list[CounterSample] = [
            {"name": name, "labels": [], "value": values[slot]} for name, slot in _PLAIN_SLOT.items()
        ]
        counters += [
            {"name": name, "labels": list(labels), "value": values[slot]}
            for (name, labels), slot in labelled
            if values[slot]
        ]
        return {"counters": counters, "histograms": self._histogram_samples(), "gauges": gauge_samples}

    def render(self) -> tuple[bytes, str]:
        """The Prometheus text exposition of this process and its content type."""
        # Here: it brings prometheus_client, and of all the processes that count only the supervisor shows its numbers.
        from fastcache.observe.exposition import render

        return render(self.snapshot())

    # -- inside

    def _histogram_samples(self) -> list[HistogramSample]:
        samples: list[HistogramSample] = [
            {"name": family.name, "labels": [result.value], "words": histogram.snapshot().tolist()}
            for family, histograms in (
                (catalogue.REQUEST_SECONDS, self.request_seconds),
                (catalogue.FIRST_BYTE_SECONDS, self.first_byte_seconds),
            )
            for result, histogram in histograms.items()
            if histogram.count
        ]
        lag = self.loop_lag.snapshot().tolist()
        samples.append({"name": catalogue.LOOP_LAG_SECONDS.name, "labels": [], "words": lag})
        return samples

    def _read_gauge(self, name: str, gauge: _Gauge) -> GaugeSample | None:
        try:
            value = float(gauge.read())
        except OSError as error:
            self._add(catalogue.GAUGE_ERRORS.name)
            log.warning("gauge %s cannot be read: %s", name, error)
            return None
        return {"name": name, "help": gauge.help, "merge": gauge.merge.value, "value": value}

    def _add(self, name: str, n: int = 1) -> None:
        if n > 0:
            self.counters.add(_PLAIN_SLOT[name], n)

    def _count(self, family: str, *labels: str) -> None:
        slot = self._labelled.get((family, labels))
        self.counters.add(self._allocate(family, labels) if slot is None else slot)

    def _count_word(self, family: str, word: str) -> None:
        slot = self._words.get((family, word))
        self.counters.add(self._word_slot(family, word) if slot is None else slot)

    def _word_slot(self, family: str, word: str) -> int:
        with self._lock:
            full = self._word_count.get(family, 0) >= WORDS_PER_FAMILY
        if full or not _WORD.match(word):
            return self._full[family]
        slot = self._allocate(family, (word,))
        with self._lock:
            if (family, word) not in self._words:
                self._words[family, word] = slot
                self._word_count[family] = self._word_count.get(family, 0) + 1
        return slot

    def _request_slot(self, method: bytes, status: int, result: Result) -> int:
        label = METHODS.get(method)
        slot = self._allocate(
            catalogue.REQUESTS.name, (label or OTHER_METHOD, _status_label(status), result.value), result
        )
        # Only known methods are remembered under what the client sent, or this table would be the client's to fill.
        if label is not None and (100 <= status <= 599 or status == 0):
            with self._lock:
                self._requests[method, status, result] = slot
        return slot

    def _allocate(self, family: str, labels: tuple[str, ...], result: Result | None = None) -> int:
        with self._lock:
            slot = self._labelled.get((family, labels))
            if slot is not None:
                return slot
            slot = self._new_slot(family, labels)
            if slot is not None and slot < SLOTS:
                self._labelled[family, labels] = slot
                return slot
        return self._full[family] if result is None else self._full_requests[result]

    def _new_slot(self, family: str, labels: tuple[str, ...]) -> int | None:
        if self._names is None:
            self._next_slot += 1
            return self._next_slot - 1
        named = self._names.slot_of(_BETWEEN.join((family, *labels)).encode())
        return None if named is None else len(_PLAIN_SLOT) + named

    def adopt_names(self) -> None:
        """Know the labels that other processes have given values to; for who reads their numbers."""
        if self._names is None:
            return
        with self._lock:
            for slot, name in self._names.all():
                family, *labels = name.decode().split(_BETWEEN)
                slot += len(_PLAIN_SLOT)
                key = family, tuple(labels)
                if self._labelled.setdefault(key, slot) != slot and slot < SLOTS:
                    self._twins[slot] = key

    @staticmethod
    def _overflow_labels(family: str) -> tuple[str, ...]:
        if family == catalogue.ORIGIN_REQUESTS.name:
            return (OTHER_METHOD,)
        if family == catalogue.ORIGIN_RESPONSES.name:
            return (OTHER_STATUS,)
        return (OTHER_WORD,)


def _status_label(status: int) -> str:
    return str(status) if 100 <= status <= 599 else OTHER_STATUS


def _pieces(numbers: memoryview | None) -> Iterator[memoryview | None]:
    """Where the counters, then each histogram, lie in ``numbers``."""
    at = 0
    for words in (SLOTS, *repeat(HISTOGRAM_WORDS, 2 * len(Result) + 1)):
        yield None if numbers is None else numbers[at : at + words * _WORD_BYTES]
        at += words * _WORD_BYTES
