"""What goes up through one worker is a hit in every other, whichever of them its parts went through (SEMANTICS 32)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from tests.clients.comparison import differences, documented
from tests.faults.conftest import asked, until_asked, wait_until_stored
from tests.faults.test_unsafe_requests import signed
from tests.harness.processes import wait_until
from tests.writes.conftest import KIB, MIB, NONE, Start, data_of, nothing_staged, straight, uploads
from tests.writes.test_multipart import PART, Multipart, joined, parts_of
from tests.writes.uploads import FRAMINGS, upload
from tests.writes.workers import Workers, each_worker

CACHE = ("--cache-size", "96MiB")
"""A quarter of it is less than goes up in parts here."""


@pytest.fixture(params=[2, 4])
def workers(reader: Start, request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Two that answer without asking, four that ask."""
    mode = NONE if request.param == 2 else ()
    with each_worker(reader("--workers", str(request.param), *mode, *CACHE, own=True)) as made:
        assert len(made) == request.param
        yield made


def assert_here(w: Workers, key: str, data: bytes, writer: int, *, moved: int = 0) -> None:
    """Every worker answers with ``data`` and as the origin does, and ``moved`` bytes of it come from there at most."""
    wait_until_stored(w.r)
    before = w.r.body_bytes(key)
    for worker in w.others(writer):
        for method, range_ in (("HEAD", None), ("GET", None), ("GET", "bytes=3-9"), ("GET", None)):
            got = w.ask(worker, w.r.request(key, method=method, signed={"Range": range_} if range_ else {}))
            expected = b"" if method == "HEAD" else data if range_ is None else data[3:10]
            assert got.body == expected, (key, worker, method, range_)
            if range_ is None:
                assert got.status == 200
                seen = w.r.body_bytes(key)
                found = differences(straight(w.r, key, method), got)
                before += w.r.body_bytes(key) - seen
                assert [one for one in found if not any(row.explains(one) for row in documented())] == []
    assert w.r.body_bytes(key) - before <= moved, key


class Spread(Multipart):
    """A multipart upload each request of which goes through another worker."""

    def __init__(self, w: Workers, key: str) -> None:
        super().__init__(w.r, key)
        self._workers = w
        self._turn = 0

    def _ask(self, request: bytes) -> None:
        self._turn += 1
        answer = self._workers.ask(self._turn, request)
        assert answer.status in (200, 204), answer
        self.answer = answer

    def put_spread(self, number: int, data: bytes) -> None:
        self._ask(signed(self.r, "PUT", self.target(number), data))
        self.etags[number] = self.answer.get(b"etag") or b""

    def copy_spread(self, number: int, source: str, range_: str) -> None:
        copied = {"x_amz_copy_source": source, "x_amz_copy_source_range": range_}
        self._ask(signed(self.r, "PUT", self.target(number), **copied))
        found = re.search(rb"<ETag>(?:&quot;|\")?([0-9a-f]+)", self.answer.body)
        assert found is not None, self.answer
        self.etags[number] = found[1]

    def complete_spread(self) -> None:
        """When all parts are stored: a completion looks again for those that others store, but not for long."""
        wait_until_stored(self.r)
        self._ask(self.completion(sorted(self.etags)))

    def abort_spread(self) -> None:
        self._ask(signed(self.r, "DELETE", self.target()))


def test_what_one_worker_kept_is_a_hit_in_all(workers: Workers) -> None:
    w, stored = workers, 0
    for number, (framing, make) in enumerate(FRAMINGS.items()):
        for size in (5 * KIB, 2 * MIB + 77):
            key, old, new = f"{framing}-{size}", data_of(framing, size, 1), data_of(framing, size + 1, 2)
            for writer, data in ((number, old), (number + 1, new)):
                assert w.ask(writer, bytes(make(w.r, key, data))).status == 200
                assert_here(w, key, data, writer)
                stored += 1
    assert uploads(w.r, "stored") == stored


def test_parts_that_went_through_different_workers_are_one_object_in_all(workers: Workers) -> None:
    """More uploads than a worker may stage at once, none of which it completes alone."""
    w, count = workers, 6
    for number in range(count):
        key, parts = f"o{number}", parts_of(f"o{number}", 3)
        made = Spread(w, key)
        for part, data in parts.items():
            made.put_spread(part, data)
        made.complete_spread()
        assert_here(w, key, joined(parts), made._turn)
        assert uploads(w.r, "stored") == number + 1
        wait_until(lambda: nothing_staged(w.r), 20, "nothing of it stays")


def test_what_one_worker_aborts_the_others_have_not_either(workers: Workers) -> None:
    w = workers
    for _ in range(4):
        made = Spread(w, "o")
        for part, data in parts_of("o", 3).items():
            made.put_spread(part, data)
        made.abort_spread()  # while some of the parts may not be staged yet
        wait_until(lambda: nothing_staged(w.r), 20, "the parts are gone")
    wait_until(lambda: w.r.proxy.metric("fastcache_cache_bytes") == 0, 20, "nothing is counted any more")
    assert w.r.get("o").status == 404


def test_a_part_on_its_way_while_another_worker_aborts_its_upload_does_not_stay(workers: Workers) -> None:
    w = workers
    made = Spread(w, "o")
    w.r.origin.control.fault("latency", seconds=3, method="PUT", key="o")
    before = asked(w.r, "PUT")
    answer = w.begin(1, signed(w.r, "PUT", made.target(1), data_of("o", MIB)))
    until_asked(w.r, "PUT", before)
    assert w.ask(0, signed(w.r, "DELETE", made.target())).status == 204
    assert answer.read_response(b"PUT").status == 200, "the origin took it before the abort"
    wait_until(lambda: uploads(w.r, "lost") == 1, 20, "the part was not kept")
    wait_until(lambda: nothing_staged(w.r), 20, "nothing of it stays")
    wait_until(lambda: w.r.proxy.metric("fastcache_cache_bytes") == 0, 20, "nothing is counted any more")


def test_what_was_copied_is_read_as_the_origin_has_it_through_all(workers: Workers) -> None:
    w, size = workers, 300 * KIB
    source, old = data_of("source", size), data_of("o", size)
    assert w.ask(0, bytes(upload(w.r, "source", source))).status == 200
    assert w.ask(0, bytes(upload(w.r, "o", old))).status == 200
    assert_here(w, "o", old, 0)
    assert w.ask(1, signed(w.r, "PUT", "/bkt/o", x_amz_copy_source="/bkt/source")).status == 200
    assert_here(w, "o", source, 1, moved=size)


def test_parts_that_were_copied_through_different_workers_are_one_object_in_all(workers: Workers) -> None:
    """Of copies nothing passes here: the first reader of all brings the object, and everybody has it from then on."""
    w, key, size = workers, "o", PART + 300 * KIB
    source, own, old = data_of("source", size), data_of("own", PART), data_of("old", 5 * KIB)
    assert w.ask(0, bytes(upload(w.r, "source", source))).status == 200
    assert w.ask(0, bytes(upload(w.r, key, old))).status == 200
    assert_here(w, key, old, 0)
    made = Spread(w, key)
    made.copy_spread(1, "/bkt/source", f"bytes=7-{PART + 6}")
    made.put_spread(2, own)
    made.copy_spread(3, "/bkt/source", f"bytes={PART}-{size - 1}")
    made.complete_spread()
    whole = source[7 : PART + 7] + own + source[PART:]
    for worker in range(len(w)):
        told = w.ask(worker, w.r.request(key, method="HEAD"))
        assert (told.status, told.get(b"content-length")) == (200, b"%d" % len(whole)), worker
    assert_here(w, key, whole, made._turn, moved=len(whole))
    wait_until(lambda: nothing_staged(w.r), 20, "nothing of it stays")


def test_a_worker_killed_in_the_middle_of_a_write_leaves_no_old_hit_in_another(workers: Workers) -> None:
    """Nobody is left who could raise the fence again when the origin has answered."""
    w, old, new = workers, data_of("o", 5 * KIB), data_of("o", 6 * KIB, 2)
    assert w.ask(0, bytes(upload(w.r, "o", old))).status == 200
    assert_here(w, "o", old, 0)
    w.r.origin.control.fault("latency", seconds=30, method="PUT")
    before = asked(w.r, "PUT")
    w.begin(1, bytes(upload(w.r, "o", new)))
    until_asked(w.r, "PUT", before)
    os.kill(w.r.proxy.workers()[1], signal.SIGKILL)
    for worker in range(len(w)):
        if worker != 1:
            assert w.ask(worker, w.r.request("o")).body == new, worker
