"""The values of one process as plain JSON types, which is how a worker's reach the supervisor."""

from __future__ import annotations

from typing import TypedDict


class CounterSample(TypedDict):
    name: str
    labels: list[str]
    value: int


class HistogramSample(TypedDict):
    name: str
    labels: list[str]
    words: list[int]


class GaugeSample(TypedDict):
    name: str
    help: str
    merge: str
    value: float


class Snapshot(TypedDict):
    """All values of one process at one moment."""

    counters: list[CounterSample]
    histograms: list[HistogramSample]
    gauges: list[GaugeSample]
