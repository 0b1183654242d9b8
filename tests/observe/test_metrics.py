"""What the engine reports is what is rendered; labels stay bounded; the docs name every metric."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastcache._core import shared
from fastcache._core.names import Names
from fastcache._core.shared import SharedMemory
from fastcache.model import Result
from fastcache.observe import catalogue, exposition
from fastcache.observe.metrics import (
    HIT_METHODS,
    HIT_STATUSES,
    NUMBER_BYTES,
    SENT_BYTES_SLOT,
    SLOTS,
    WORDS_PER_FAMILY,
    Metrics,
)

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(metrics: Metrics) -> Samples:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    return parsed(body)


def parsed(body: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def with_everything() -> Metrics:
    metrics = Metrics()
    metrics.request_done(b"GET", 200, Result.HIT, 0.002, 0.001, 4096)
    metrics.origin_request(b"GET")
    metrics.origin_response(206)
    metrics.origin_bytes(1000)
    metrics.origin_connection_opened()
    metrics.origin_error("timeout")
    metrics.credentials_refreshed("renewed")
    metrics.fill_started()
    metrics.fill_finished("complete")
    metrics.upload_kept("stored")
    metrics.follower_joined()
    metrics.fill_detached()
    metrics.read_ahead(700, 30)
    metrics.store_commit(500)
    metrics.store_evicted(2, 800)
    metrics.store_corrupt_file()
    metrics.store_io_error()
    metrics.store_write_dropped()
    metrics.claim_refused()
    metrics.client_connections(2, 1)
    metrics.refused("host")
    metrics.hit_branch("answered", 5)
    metrics.keys_reloaded("loaded")
    metrics.process_died("worker")
    metrics.reloaded("done")
    metrics.access_log_lines(3)
    metrics.access_log_dropped()
    metrics.access_log_error()
    for gauge in catalogue.GAUGES.values():
        metrics.gauge(gauge.name, gauge.help, lambda: 7.0)
    return metrics


def test_every_report_is_rendered_with_its_value() -> None:
    values = samples(with_everything())
    request = (("method", "GET"), ("result", "HIT"), ("status", "200"))
    assert values["fastcache_requests_total", request] == 1
    assert values["fastcache_sent_bytes_total", ()] == 4096
    assert values["fastcache_hit_branch_total", (("outcome", "answered"),)] == 5
    assert values["fastcache_request_seconds_count", (("result", "HIT"),)] == 1
    assert values["fastcache_request_seconds_sum", (("result", "HIT"),)] == pytest.approx(0.002)
    assert values["fastcache_first_byte_seconds_sum", (("result", "HIT"),)] == pytest.approx(0.001)
    assert values["fastcache_origin_requests_total", (("method", "GET"),)] == 1
    assert values["fastcache_origin_responses_total", (("status", "206"),)] == 1
    assert values["fastcache_origin_received_bytes_total", ()] == 1000
    assert values["fastcache_origin_errors_total", (("kind", "timeout"),)] == 1
    assert values["fastcache_credentials_refreshes_total", (("outcome", "renewed"),)] == 1
    assert values["fastcache_fills_total", (("outcome", "complete"),)] == 1
    assert values["fastcache_read_ahead_used_bytes_total", ()] == 700
    assert values["fastcache_read_ahead_wasted_bytes_total", ()] == 30
    assert values["fastcache_store_commit_bytes_total", ()] == 500
    assert values["fastcache_store_evicted_extents_total", ()] == 2
    assert values["fastcache_store_evicted_bytes_total", ()] == 800
    assert values["fastcache_client_connections_opened_total", ()] == 2
    assert values["fastcache_process_deaths_total", (("role", "worker"),)] == 1
    assert values["fastcache_reloads_total", (("outcome", "done"),)] == 1
    assert values["fastcache_refused_total", (("reason", "host"),)] == 1
    assert values["fastcache_keys_reloads_total", (("outcome", "loaded"),)] == 1
    assert values["fastcache_access_log_lines_total", ()] == 3
    assert values["fastcache_open_connections", ()] == 7
    once = (
        "origin_connections_opened fills_started followers fills_detached store_commits store_corrupt_files "
        "store_io_errors store_dropped_writes fill_claims_refused client_connections_closed "
        "access_log_dropped access_log_errors"
    )
    assert {name: values[f"fastcache_{name}_total", ()] for name in once.split()} == dict.fromkeys(once.split(), 1)


def test_histogram_buckets_are_cumulative_and_end_at_the_count() -> None:
    metrics = Metrics()
    for seconds in (1e-7, 0.003, 0.003, 2.0, 500.0):
        metrics.request_done(b"GET", 200, Result.MISS, seconds, None, 0)
    values = samples(metrics)
    buckets = [value for (name, _), value in values.items() if name == "fastcache_request_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-2], buckets[-1]) == (1, 4, 5)
    assert ("fastcache_first_byte_seconds_count", (("result", "MISS"),)) not in values


def test_the_docs_list_exactly_what_is_rendered() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) ?\| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    documented = {
        name: (kind, tuple(filter(None, labels.strip().split(", "))), text) for name, kind, labels, text in rows
    }
    assert len(documented) == len(rows)
    body, _ = with_everything().render()
    rendered = {}
    for family in text_string_to_metric_families(body.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert name.startswith(catalogue.PREFIX)
        rendered[name] = (family.type, labels, family.documentation)
    assert {name: (kind, set(labels), text) for name, (kind, labels, text) in documented.items()} == rendered


def test_unknown_methods_and_statuses_share_one_label() -> None:
    metrics = Metrics()
    for method in (b"BREW", b"get", b'X"\n', b"G" * 8000):
        metrics.request_done(method, 200, Result.PASS, 0.0, None, 0)
        metrics.origin_request(method)
    for status in (0, 99, 600, -5):
        metrics.request_done(b"GET", status, Result.ERROR, 0.0, None, 0)
    assert metrics.value("fastcache_requests_total", "OTHER", "200", "PASS") == 4
    assert metrics.value("fastcache_origin_requests_total", "OTHER") == 4
    assert metrics.value("fastcache_requests_total", "GET", "other", "ERROR") == 4
    assert metrics.value("fastcache_requests_total", "PUT", "200", "HIT") == 0


def test_free_words_are_capped_and_none_is_lost() -> None:
    metrics = Metrics()
    for i in range(WORDS_PER_FAMILY + 20):
        metrics.refused(f"reason_{i}")
    metrics.refused('evil"} 1\n')
    labels = {key[1] for key in samples(metrics) if key[0] == "fastcache_refused_total"}
    assert len(labels) == WORDS_PER_FAMILY + 1
    assert metrics.value("fastcache_refused_total", "other") == 21


def test_a_full_table_counts_on_under_other() -> None:
    metrics = Metrics()
    total = 0
    for status in range(100, 600):
        for result in Result:
            for method in (b"GET", b"PUT", b"POST"):
                metrics.request_done(method, status, result, 0.0, None, 0)
                total += 1
    assert total > SLOTS
    counted = sum(value for (name, _), value in samples(metrics).items() if name == "fastcache_requests_total")
    assert counted == total
    assert metrics.value("fastcache_requests_total", "OTHER", "other", "HIT") > 0
    metrics.refused("late")
    assert metrics.value("fastcache_refused_total", "other") == 1


def test_compiled_code_and_python_share_the_slots_of_hits() -> None:
    metrics = Metrics()
    slots = {result: metrics.hit_slots(result) for result in (Result.HIT, Result.REVALIDATED, Result.ERROR)}
    assert len({slot for methods in slots.values() for statuses in methods for slot in statuses}) == 30
    metrics.counters.add(slots[Result.HIT][HIT_METHODS.index(b"HEAD")][HIT_STATUSES.index(304)], 5)
    metrics.request_done(b"HEAD", 304, Result.HIT, 0.0, None, 0)
    metrics.counters.add(SENT_BYTES_SLOT, 11)
    assert metrics.value("fastcache_requests_total", "HEAD", "304", "HIT") == 6
    assert metrics.value("fastcache_sent_bytes_total") == 11
    asked, consented, gone = metrics.proof_slots()
    for slot in (asked, consented, gone):
        metrics.counters.add(slot)
    metrics.origin_request(b"GET")
    metrics.origin_response(304)
    metrics.request_done(b"GET", 499, Result.ERROR, 0.0, None, 0)
    assert metrics.value("fastcache_origin_requests_total", "GET") == 2
    assert metrics.value("fastcache_origin_responses_total", "304") == 2
    assert metrics.value("fastcache_requests_total", "GET", "499", "ERROR") == 2


@pytest.mark.parametrize("name", ["other_name", "fastcache_Upper", "fastcache_sent_bytes_total", "fastcache_x\n"])
def test_a_gauge_cannot_take_a_wrong_name(name: str) -> None:
    with pytest.raises(ValueError, match="gauge"):
        Metrics().gauge(name, "help", lambda: 0.0)


def test_a_gauge_that_cannot_be_read_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    def broken() -> float:
        raise OSError(5, "Input/output error")

    metrics.gauge("fastcache_cache_bytes", "help", broken)
    values = samples(metrics)
    assert ("fastcache_cache_bytes", ()) not in values
    assert values["fastcache_gauge_errors_total", ()] == 1
    assert "fastcache_cache_bytes" in caplog.text


def test_snapshots_of_workers_survive_json_and_add_up() -> None:
    a, b = with_everything(), with_everything()
    b.request_done(b"PUT", 500, Result.PASS, 1.0, 0.5, 10)
    a.gauge("fastcache_credentials_expiry_seconds", "help", lambda: float("inf"))
    sent = [json.loads(json.dumps(metrics.snapshot())) for metrics in (a, b)]
    values = parsed(exposition.render(exposition.merged(sent))[0])
    assert values["fastcache_sent_bytes_total", ()] == 2 * 4096 + 10
    assert values["fastcache_request_seconds_count", (("result", "HIT"),)] == 2
    assert values["fastcache_request_seconds_count", (("result", "PASS"),)] == 1
    assert values["fastcache_open_connections", ()] == 14
    assert values["fastcache_cache_bytes", ()] == 7, "all workers see the same cache"
    assert values["fastcache_credentials_expiry_seconds", ()] == 7, "the worker that runs out first is the one to know"
    ended = exposition.merged([exposition.final(sent[0]), sent[1]])
    assert parsed(exposition.render(ended)[0])["fastcache_open_connections", ()] == 7


class TestSharedNumbers:
    """Several processes count in shared memory, each in its place; who reads them finds every label and every count."""

    @pytest.fixture
    def memory(self) -> Iterator[SharedMemory]:
        fd = shared.create(3, NUMBER_BYTES)
        yield SharedMemory(fd)
        os.close(fd)

    def metrics(self, memory: SharedMemory, place: int) -> Metrics:
        return Metrics(memory.numbers(place), Names(memory.names()))

    def test_a_reader_adds_up_what_two_counted_under_labels_of_their_own(self, memory: SharedMemory) -> None:
        one, two = self.metrics(memory, 0), self.metrics(memory, 1)
        for metrics, reason in ((one, "host"), (two, "address"), (two, "host")):
            metrics.refused(reason)
            metrics.request_done(b"GET", 299, Result.MISS, 0.002, 0.001, 100)
        reader = [self.metrics(memory, place) for place in range(3)]
        for metrics in reader:
            metrics.adopt_names()
        total = exposition.merged(metrics.snapshot() for metrics in reader)
        found = parsed(exposition.render(total)[0])
        assert found["fastcache_refused_total", (("reason", "host"),)] == 2
        assert found["fastcache_refused_total", (("reason", "address"),)] == 1
        labels = (("method", "GET"), ("result", "MISS"), ("status", "299"))
        assert found["fastcache_requests_total", labels] == 3
        assert found["fastcache_request_seconds_count", (("result", "MISS"),)] == 3
        assert found["fastcache_sent_bytes_total", ()] == 300

    def test_one_that_takes_a_place_over_counts_on(self, memory: SharedMemory) -> None:
        self.metrics(memory, 1).refused("host")
        successor = self.metrics(memory, 1)
        successor.refused("host")
        assert successor.value("fastcache_refused_total", "host") == 2

    def test_a_label_that_two_named_at_once_counts_once_for_each(self, memory: SharedMemory) -> None:
        one, two = self.metrics(memory, 0), self.metrics(memory, 0)
        one.refused("race")
        record = next(slot for slot, name in Names(memory.names()).all() if name.endswith(b"race"))
        names = memory.names()
        at = 128 * (record + 1)
        twin = Names(names).slot_of(b"fastcache_refused_total\x1frace-")  # the next record, made the same name
        assert twin == record + 1
        names[at + 128 : at + 256] = names[at : at + 128]
        two.counters.add(one._labelled["fastcache_refused_total", ("race",)] + 1, 5)
        two.adopt_names()
        found = parsed(exposition.render(exposition.merged([two.snapshot()]))[0])
        assert found["fastcache_refused_total", (("reason", "race"),)] == 6
