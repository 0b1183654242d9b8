"""Sample objects of the demo: what users keep in S3, made from a fixed seed so that every run reads the same bytes."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

BUCKET = "demo"
MODEL = "models/encoder.safetensors"
SHARD = "models/decoder.safetensors"
ORDERS = "logs/orders.csv"
EVENTS = "logs/events.ndjson"

_KIB = 1024
_MIB = 1024 * _KIB
_SEED = 20_250_101
_START = datetime(2025, 1, 1, tzinfo=UTC)
_ZONES = 260
_PAYMENTS = ("card", "cash", "voucher", "dispute")
_ROW_GROUPS = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """One object."""

    key: str
    data: bytes
    content_type: str


def trip_keys() -> list[str]:
    """The Parquet files."""
    return [f"trips/2025-{month:02}.parquet" for month in range(1, 5)]


def samples(scale: float) -> Iterator[Sample]:
    """Every object, one after the other; at ``scale`` 1 about 270 of them with some 110 MiB."""
    rows = max(600, int(250_000 * scale))
    for month, key in enumerate(trip_keys()):
        yield Sample(key, _parquet(trips(rows, month)), "application/vnd.apache.parquet")
    yield Sample(ORDERS, _csv(trips(max(300, rows // 5), 11)), "text/csv")
    yield Sample(EVENTS, _events(max(300, int(20_000 * scale))), "application/x-ndjson")
    yield Sample(MODEL, _weights(max(1, int(64 * scale)), 1), "application/octet-stream")
    yield Sample(SHARD, _weights(max(1, int(16 * scale)), 2), "application/octet-stream")
    yield from _images(max(12, int(200 * scale)))


def trips(rows: int, month: int) -> pa.Table:
    """Taxi trips in the order they began."""
    draws = (pc.random(rows, initializer=_SEED + 100 * month + column) for column in range(8))
    start, duration, miles, fare, tip, pickup, dropoff, paid = draws
    began = pc.add(
        int((_START + timedelta(days=30 * month)).timestamp() * 1_000_000),
        _whole(pc.cumulative_sum(pc.multiply(start, 2 * 30 * 86_400 * 1e6 / rows)), pa.int64()),
    )
    distance = pc.round(pc.multiply(pc.power(miles, 3), 40.0), 2)
    amount = pc.round(pc.add(pc.multiply(distance, 2.5), pc.add(pc.multiply(fare, 4.0), 3.0)), 2)
    timestamp = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "trip_id": pa.array(range(month * rows, (month + 1) * rows), pa.int64()),
            "pickup_at": pc.cast(began, timestamp),
            "dropoff_at": pc.cast(pc.add(began, _whole(pc.multiply(duration, 3.6e9), pa.int64())), timestamp),
            "pickup_zone": _below(pickup, _ZONES),
            "dropoff_zone": _below(dropoff, _ZONES),
            "distance_miles": distance,
            "fare": amount,
            "tip": pc.round(pc.multiply(amount, pc.multiply(tip, 0.3)), 2),
            "payment": pc.take(pa.array(_PAYMENTS), _below(paid, len(_PAYMENTS))),
        }
    )


def _below(draw: Any, count: int) -> Any:
    """Whole numbers from 0 to ``count`` - 1, out of fractions."""
    return _whole(pc.multiply(draw, float(count)), pa.int32())


def _whole(numbers: Any, kind: Any) -> Any:
    return pc.cast(pc.floor(numbers), kind)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=-(-table.num_rows // _ROW_GROUPS), compression="zstd")
    return sink.getvalue()


def _csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink)
    return sink.getvalue()


def _events(lines: int) -> bytes:
    draw = random.Random(_SEED)
    made = []
    for number in range(lines):
        event = {
            "at": (_START + timedelta(seconds=3 * number)).isoformat(),
            "level": draw.choices(("info", "warning", "error"), (90, 8, 2))[0],
            "order": draw.randrange(10**9),
            "status": draw.choice(("placed", "paid", "packed", "shipped", "returned")),
            "milliseconds": draw.randrange(5, 900),
        }
        made.append(json.dumps(event))
    return "\n".join(made).encode("ascii") + b"\n"


def _weights(mebibytes: int, seed: int) -> bytes:
    """A safetensors file of one-MiB tensors: the length of a JSON header, the header, then the numbers."""
    header = {
        f"layer.{number}.weight": {
            "dtype": "F16",
            "shape": [512, 1024],
            "data_offsets": [number * _MIB, (number + 1) * _MIB],
        }
        for number in range(mebibytes)
    }
    text = json.dumps(header).encode("ascii")
    draw = random.Random(_SEED + seed)
    return b"".join([len(text).to_bytes(8, "little"), text, *(draw.randbytes(_MIB) for _ in range(mebibytes))])


def _images(count: int) -> Iterator[Sample]:
    """Objects of 4 to 64 KiB, and a small label beside every fourth."""
    draw = random.Random(_SEED + 3)
    for number in range(count):
        # JPEG's first and last marker around what stands for compressed pixels.
        picture = b"\xff\xd8\xff\xe0" + draw.randbytes(draw.randrange(4 * _KIB, 64 * _KIB)) + b"\xff\xd9"
        yield Sample(f"images/{number:05}.jpg", picture, "image/jpeg")
        if number % 4 == 0:
            label = {
                "image": f"images/{number:05}.jpg",
                "class": draw.randrange(1000),
                "box": draw.sample(range(640), 4),
            }
            yield Sample(f"labels/{number:05}.json", json.dumps(label).encode("ascii"), "application/json")
