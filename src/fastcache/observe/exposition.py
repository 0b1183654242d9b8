"""Snapshots as Prometheus text: prometheus_client renders, the numbers are ours.

The supervisor adds the snapshots of its workers with ``merged`` and renders the sum.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from fastcache import __version__
from fastcache._core.counters import HISTOGRAM_WORDS, cumulative
from fastcache.observe import catalogue
from fastcache.observe.catalogue import Merge
from fastcache.observe.snapshot import GaugeSample, Snapshot

# 4 µs to 69 s by powers of two: exact bucket borders, and few enough for 7 results times 2 families.
BOUNDS_NS = tuple(1 << exponent for exponent in range(12, 37))
_LE = tuple(repr(bound / 1e9) for bound in BOUNDS_NS)


def render(snapshot: Snapshot) -> tuple[bytes, str]:
    """The text exposition (format 0.0.4) of ``snapshot`` and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot for several processes: counters and histograms added, gauges as their ``merge`` says.

    Include the last snapshot of a process that ended (without its gauges, see ``final``), or its counts would be taken
    back and a rate over them be wrong.
    """
    counters: dict[tuple[str, tuple[str, ...]], int] = {}
    histograms: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    gauges: dict[str, GaugeSample] = {}
    for snapshot in snapshots:
        for counter in snapshot["counters"]:
            key = (counter["name"], tuple(counter["labels"]))
            counters[key] = counters.get(key, 0) + counter["value"]
        for histogram in snapshot["histograms"]:
            key = (histogram["name"], tuple(histogram["labels"]))
            before = histograms.setdefault(key, [0] * HISTOGRAM_WORDS)
            histograms[key] = [a + b for a, b in zip(before, histogram["words"], strict=True)]
        for gauge in snapshot["gauges"]:
            known = gauges.get(gauge["name"])
            gauges[gauge["name"]] = _merge_gauge(known, gauge) if known else gauge
    return {
        "counters": [{"name": name, "labels": list(labels), "value": v} for (name, labels), v in counters.items()],
        "histograms": [{"name": name, "labels": list(labels), "words": w} for (name, labels), w in histograms.items()],
        "gauges": list(gauges.values()),
    }


def final(snapshot: Snapshot) -> Snapshot:
    """What still counts of a process that has ended: everything but its gauges."""
    return {"counters": snapshot["counters"], "histograms": snapshot["histograms"], "gauges": []}


def _merge_gauge(a: GaugeSample, b: GaugeSample) -> GaugeSample:
    merge = _MERGES[Merge(a["merge"])]
    value = merge((a["value"], b["value"]))
    return {"name": a["name"], "help": a["help"], "merge": a["merge"], "value": value}


_MERGES: Mapping[Merge, Callable[[tuple[float, float]], float]] = {Merge.SUM: sum, Merge.MAX: max, Merge.MIN: min}


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        yield from self._histograms()
        for gauge in self._snapshot["gauges"]:
            yield GaugeMetricFamily(gauge["name"], gauge["help"], value=gauge["value"])
        build = GaugeMetricFamily(catalogue.BUILD_INFO, catalogue.BUILD_INFO_HELP, labels=("version", "python_version"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build

    def _counters(self) -> Iterator[Metric]:
        families = {
            name: CounterMetricFamily(name, counter.help, labels=counter.labels)
            for name, counter in catalogue.COUNTERS.items()
        }
        for sample in self._snapshot["counters"]:
            families[sample["name"]].add_metric(sample["labels"], sample["value"])
        yield from families.values()

    def _histograms(self) -> Iterator[Metric]:
        families = {
            name: HistogramMetricFamily(name, family.help, labels=family.labels)
            for name, family in catalogue.HISTOGRAMS.items()
        }
        for sample in self._snapshot["histograms"]:
            families[sample["name"]].add_metric(
                sample["labels"], _buckets(sample["words"]), sum_value=sample["words"][-1] / 1e9
            )
        yield from families.values()


def _buckets(words: Sequence[int]) -> list[tuple[str, float]]:
    counts = cumulative(words, BOUNDS_NS)
    return list(zip((*_LE, "+Inf"), counts, strict=True))
