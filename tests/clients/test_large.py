"""Objects far larger than any buffer: right to the last byte, and the proxy's memory does not grow with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.clients.conftest import MODES
from tests.clients.memory import watching
from tests.clients.sites import Site
from tests.clients.writes import pyarrow_filesystem
from tests.conftest import attach_log
from tests.harness.clients import obstore_store
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawConnection
from tests.harness.signing import signed_request

from fastcache.origin.pattern import PIECE, pattern, pattern_piece
from fastcache.origin.process import start_origin

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
GROWTH = 48 * MIB
"""More than a transfer's windows and buffers take, far less than any object whose transfer is watched."""
SPACE = 9 * GIB
"""On disk, for what is cached of a 5 GiB object and smaller ones."""

BACKLOG = ("--write-through-backlog", "16MiB")
"""What may wait for a disk that stalls, so that it is no more of GROWTH."""
NOTHING_TOO_LARGE = ("--cache-size", "24GiB")
"""A quarter of it takes the largest upload."""

Start = Callable[..., Site]


@pytest.fixture
def large_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """``large_site(mode, "--flag", ...)``: an origin that forgets uploads, so that their size costs it nothing, and a
    proxy whose cache is removed at the end."""
    with start_origin("--discard-uploads") as origin:
        started: list[FastcacheProcess] = []

        def start(mode: str, *flags: str) -> Site:
            proxy = FastcacheProcess(
                origin.endpoint, tmp_path / "cache", tmp_path / "log", arguments=(*MODES[mode], *flags)
            )
            started.append(proxy)
            attach_log(request, proxy.logs)
            return Site(
                *("own", mode, origin.endpoint, proxy, origin.access_key, origin.secret_key),
                origin.control.body_sent,
                control=origin.control,
            )

        yield start
        try:
            for proxy in started:
                proxy.stop()
        finally:
            for proxy in started:
                proxy.kill()
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def upload_is_flat(site: Site, size: int) -> None:
    bucket = site.new_bucket()
    piece = bytes(pattern_piece(b"upload", 1, 0, PIECE))
    head = signed_request(
        "PUT",
        f"{site.endpoint}/{bucket}/upload",
        site.access_key,
        site.secret_key,
        unsigned=(("Content-Length", str(size)),),
        payload_sha256="UNSIGNED-PAYLOAD",
    )
    with RawConnection(site.endpoint, timeout=120) as connection, watching(site.proxy.worker) as watch:
        connection.send(head)
        for _ in range(0, size, len(piece)):
            connection.send(piece)
        assert connection.read_response(b"PUT").status == 200
    print(f"upload of {size / GIB:g} GiB: {watch.most / MIB:.0f} MiB at most, {watch.grown / MIB:.0f} more than before")
    assert site.direct.head_object(Bucket=bucket, Key="upload")["ContentLength"] == size
    assert watch.grown < GROWTH


def test_an_upload_of_half_a_gibibyte_takes_no_memory(large_site: Start) -> None:
    upload_is_flat(large_site("revalidate", *BACKLOG), 512 * MIB)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_upload_of_five_gibibytes_takes_no_memory(large_site: Start) -> None:
    upload_is_flat(large_site("revalidate", *NOTHING_TOO_LARGE, *BACKLOG), 5 * GIB)


def parts_are_flat(site: Site, count: int) -> None:
    """All of them are kept, and become one object."""
    bucket = site.new_bucket()
    at = {"Bucket": bucket, "Key": "parts"}
    upload = site.through.create_multipart_upload(**at)["UploadId"]
    piece = bytes(pattern_piece(b"part", 1, 0, PIECE))
    body = (piece * (5 * MIB // len(piece) + 1))[: 5 * MIB]

    def kept(outcome: str) -> float:
        return site.proxy.metric("fastcache_uploads_kept_total", outcome=outcome)

    with watching(site.proxy.pid) as watch:
        parts = []
        for number in range(1, count + 1):
            put = site.through.upload_part(**at, UploadId=upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": put["ETag"]})
            if number % 4 == 0 or number == count:  # what waits for the disk is of another kind, and has its own bound
                wait_until(lambda: kept("part") == number, 60, "they are stored")  # noqa: B023 - at once
        site.through.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
        wait_until(lambda: kept("stored") == 1, 60, "the object is stored")
    print(f"{count} parts of 5 MiB: {watch.most / MIB:.0f} MiB at most, {watch.grown / MIB:.0f} more than before")
    assert kept("part") == count
    assert watch.grown < GROWTH


def test_thirty_parts_take_no_memory(large_site: Start) -> None:
    parts_are_flat(large_site("revalidate"), 30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_parts_take_no_memory(large_site: Start) -> None:
    parts_are_flat(large_site("revalidate", *NOTHING_TOO_LARGE), 1000)


def boto3_chunks(site: Site, bucket: str, key: str) -> Iterable[bytes]:
    chunks: Iterable[bytes] = site.through.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(MIB)
    return chunks


def obstore_chunks(site: Site, bucket: str, key: str) -> Iterable[bytes]:
    store = obstore_store(site.endpoint, bucket, site.access_key, site.secret_key)
    return (bytes(chunk) for chunk in store.get(key).stream(min_chunk_size=MIB))


def pyarrow_chunks(site: Site, bucket: str, key: str) -> Iterable[bytes]:
    """Ranges of 8 MiB, one after the other."""
    with pyarrow_filesystem(site).open_input_stream(f"{bucket}/{key}") as stream:
        while chunk := stream.read(8 * MIB):
            yield chunk


def assert_pattern(chunks: Iterable[bytes], key: str, size: int) -> None:
    """The chunks are the synthetic object ``key``, whole."""
    at = 0
    for chunk in chunks:
        assert chunk == pattern(key.encode(), 1, at, len(chunk)), f"a wrong byte in [{at}, {at + len(chunk)})"
        at += len(chunk)
    assert at == size


def reads_are_right_and_flat(
    site: Site, read: Callable[[Site, str, str], Iterable[bytes]], sizes: Iterable[int]
) -> None:
    bucket = site.new_bucket()
    for size in sizes:
        key = f"object-{size}"
        assert site.control is not None
        site.control.synthetic(bucket, key, size)
        with watching(site.proxy.worker) as watch:
            assert_pattern(read(site, bucket, key), key, size)
            assert site.moved(bucket) >= size
            before = site.moved(bucket)
            assert_pattern(read(site, bucket, key), key, size)
        print(f"{size / MIB:g} MiB, cold and warm: {watch.most / MIB:.0f} MiB at most, {watch.grown / MIB:.0f} more")
        assert site.moved(bucket) == before, "a warm read moved body bytes"
        assert watch.grown < GROWTH


CLIENTS = {"boto3": boto3_chunks, "obstore": obstore_chunks, "pyarrow": pyarrow_chunks}
LARGE_CACHE = ("--cache-size", "8GiB")


def test_a_quarter_of_a_gibibyte_is_read_without_memory(large_site: Start) -> None:
    reads_are_right_and_flat(large_site("revalidate", *LARGE_CACHE), boto3_chunks, [256 * MIB])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_size_up_to_five_gibibytes(large_site: Start, tmp_path: Path, client: str, mode: str) -> None:
    if shutil.disk_usage(tmp_path).free < SPACE:
        pytest.skip(f"needs {SPACE / GIB:g} GiB of free space")
    sizes = [KIB, MIB, 64 * MIB, GIB, 5 * GIB]
    reads_are_right_and_flat(large_site(mode, *LARGE_CACHE), CLIENTS[client], sizes)
