"""Memory that was freed is taken again without the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastcache._core.allocator import keep_freed

KIB, MIB = 1024, 1024 * 1024
ROUNDS = 50
PIECES = 16
TAKEN_AGAIN_AND_AGAIN = f"""
import resource
from fastcache._core.allocator import keep_freed
print(keep_freed({8 * MIB}, {4 * MIB}) if {{keeping}} else True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    del [bytearray(range(256)) * {KIB} for _ in range({PIECES})][:]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keeping: bool) -> int:
    """Pages that a process had to be given while it took and gave back 4 MiB over and over."""
    script = TAKEN_AGAIN_AND_AGAIN.format(keeping=keeping)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told, count = done.stdout.split()
    if told == "False":
        pytest.skip("the allocator is not glibc's")
    return int(count)


def test_what_is_taken_again_and_again_comes_from_the_kernel_once() -> None:
    pages = PIECES * 256 * KIB // 4096
    assert faults(keeping=True) < 4 * pages
    assert faults(keeping=False) > ROUNDS // 4 * pages, "it makes no difference here"


@pytest.mark.parametrize("sizes", [(-1, 0), (0, -1)])
def test_a_size_is_not_negative(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        keep_freed(*sizes)
