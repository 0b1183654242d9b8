"""CRC32C against another implementation, in every length and alignment where lanes and slices meet."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core import crc32c

LANES = (0, 1, 7, 8, 9, 63, 767, 768, 769, 8191, 8192, 24575, 24576, 24577, 25344, 49152, 262_143, 262_144, 300_001)


def test_the_check_value_of_the_polynomial() -> None:
    assert crc32c.crc32c(b"123456789") == 0xE3069283
    assert crc32c.crc32c_portable(b"123456789") == 0xE3069283


@pytest.mark.parametrize("length", LANES)
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_equals_the_oracle_at_lane_borders_and_alignments(length: int, shift: int) -> None:
    data = memoryview(os.urandom(length + shift))[shift:]
    expected = google_crc32c.value(bytes(data))
    assert crc32c.crc32c(data) == expected
    assert crc32c.crc32c_portable(data) == expected


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_a_seed_continues_a_sum(left: bytes, right: bytes) -> None:
    assert crc32c.crc32c(right, crc32c.crc32c(left)) == google_crc32c.value(left + right)
    assert crc32c.crc32c_portable(right, crc32c.crc32c_portable(left)) == google_crc32c.value(left + right)


@pytest.mark.parametrize("length", [0, 1, 262_143, 262_144, 262_145, 800_000])
def test_blocks_are_summed_one_by_one(length: int) -> None:
    data = os.urandom(length)
    expected = [google_crc32c.value(data[at : at + 262_144]) for at in range(0, length, 262_144)]
    assert crc32c.crc_blocks(data) == expected


def test_a_file_is_summed_from_its_offset(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        assert crc32c.crc_file(fd, 100, 200_000) == [google_crc32c.value(data[100:200_100])]
        blocks = [google_crc32c.value(data[at : min(at + 70_000, 299_000)]) for at in range(100, 299_000, 70_000)]
        assert crc32c.crc_file(fd, 100, 298_900, 70_000) == blocks
        assert crc32c.crc_file(fd, 0, 140_000, 70_000) == crc32c.crc_blocks(data[:140_000], 70_000)
        assert crc32c.crc_file(fd, 300_000, 0) == []
        with pytest.raises(ValueError, match="at least one byte"):
            crc32c.crc_file(fd, 0, 1, 0)
        with pytest.raises(EOFError):
            crc32c.crc_file(fd, 299_000, 1001)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        crc32c.crc_file(fd, 0, 10)


def test_reading_gives_the_core_away_after_each_64_kib(tmp_path: Path, require_tool: Callable[..., None]) -> None:
    """Else one who reads from the disk takes half a core from all whose answers are in memory."""
    require_tool("strace")
    (tmp_path / "f").write_bytes(bytes(1 << 20))
    code = "import os, sys; from fastcache._core.crc32c import crc_file; crc_file(os.open(sys.argv[1], 0), 0, 1 << 20)"
    command = ["strace", "-f", "-e", "trace=sched_yield", "-o", str(tmp_path / "calls"), sys.executable, "-c", code]
    subprocess.run([*command, str(tmp_path / "f")], check=True, timeout=60)
    assert (tmp_path / "calls").read_text().count("sched_yield()") == 16


@pytest.mark.parametrize("interval", [(-1, 1), (0, -1), (1 << 62, 1 << 62), ((1 << 63) - 1, 1)])
def test_an_interval_no_file_can_have_is_refused_and_not_summed_as_nothing(
    tmp_path: Path, interval: tuple[int, int]
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with (tmp_path / "f").open("rb") as file, pytest.raises(ValueError, match="offset"):
        crc32c.crc_file(file.fileno(), *interval)
