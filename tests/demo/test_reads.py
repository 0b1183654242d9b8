"""The demo's sample data is the same each time, and its reads notice a byte that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastcache.cli.demo_data import BUCKET, samples, trip_keys
from fastcache.cli.demo_processes import DemoError
from fastcache.cli.demo_reads import Access, WrongBytesError, client_errors, reads, upload
from fastcache.origin.process import OriginProcess, start_origin

SCALE = 0.02


@pytest.fixture(scope="module")
def origin() -> Iterator[OriginProcess]:
    with start_origin() as process:
        yield process


@pytest.fixture(scope="module")
def uploaded(origin: OriginProcess) -> dict[str, bytes]:
    counted: list[int] = []
    objects = upload(access(origin), samples(SCALE), counted.append)
    assert sum(counted) == sum(map(len, objects.values()))
    return objects


def access(origin: OriginProcess) -> Access:
    return Access(origin.endpoint, origin.access_key, origin.secret_key)


def test_two_runs_make_the_same_objects() -> None:
    assert list(samples(SCALE)) == list(samples(SCALE))


def test_parquet_files_have_several_row_groups() -> None:
    made = {sample.key: sample.data for sample in samples(SCALE)}
    for key in trip_keys():
        assert pq.ParquetFile(pa.BufferReader(made[key])).metadata.num_row_groups > 3


def test_reads_of_what_was_uploaded_pass(origin: OriginProcess, uploaded: dict[str, bytes], tmp_path: Path) -> None:
    done = reads(access(origin), uploaded, tmp_path)
    assert len(done) == 6
    for read in done:
        read.check(read.run())


def test_every_read_notices_an_object_that_differs(
    origin: OriginProcess, uploaded: dict[str, bytes], tmp_path: Path
) -> None:
    different = {key: bytes([data[0] ^ 1]) + data[1:] for key, data in uploaded.items()}
    # A Parquet file with a flipped byte cannot be opened at all, so these two are exchanged.
    first, second, *_ = trip_keys()
    different |= {first: uploaded[second], second: uploaded[first]}
    pairs = zip(reads(access(origin), uploaded, tmp_path), reads(access(origin), different, tmp_path), strict=True)
    for read, expecting_something_else in pairs:
        outcome = read.run()
        with pytest.raises(WrongBytesError, match="wrong bytes"):
            expecting_something_else.check(outcome)


def test_one_flipped_byte_is_wrong(origin: OriginProcess, uploaded: dict[str, bytes], tmp_path: Path) -> None:
    flipped = dict(uploaded)
    key = "images/00003.jpg"
    flipped[key] = uploaded[key][:-1] + bytes([uploaded[key][-1] ^ 1])
    small = reads(access(origin), flipped, tmp_path)[-1]
    with pytest.raises(WrongBytesError, match=key):
        small.check(small.run())


def test_a_refusal_of_the_service_is_told_in_words(origin: OriginProcess) -> None:
    stranger = Access(origin.endpoint, origin.access_key, "another-key")
    with pytest.raises(DemoError, match=r"^reading: .*SignatureDoesNotMatch") as raised, client_errors("reading"):
        stranger.boto3().get_object(Bucket=BUCKET, Key="images/00000.jpg")
    assert "another-key" not in str(raised.value)
