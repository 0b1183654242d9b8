"""Zarr arrays that TensorStore writes and reads through the proxy: a chunk an object, or many in one.

Our own origin takes its conditional writes; Swift answers them with 501.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.clients.array_readers import TensorStore
from tests.clients.sites import Site
from tests.harness.tools import require_tool

SIDE, CHUNK = 192, 64
LAYOUTS: dict[str, dict[str, Any]] = {
    "zarr": {"chunk_shape": [CHUNK, CHUNK]},
    "zarr3": {"write_chunk_shape": [CHUNK, SIDE], "read_chunk_shape": [CHUNK, CHUNK]},
}
"""By driver. That of the second is sharded: readers ask for a suffix, and then for ranges with If-Match."""


def opened(store: TensorStore, driver: str, bucket: str, **options: Any) -> Any:
    """The array, by a context that has read nothing yet."""
    import tensorstore

    with store.spec(bucket, "array/") as spec:
        made = {"driver": driver, "kvstore": spec}
        return tensorstore.open(made, context=tensorstore.Context({}), **options).result()


def created(store: TensorStore, driver: str, bucket: str) -> Any:
    import tensorstore

    layout = tensorstore.ChunkLayout(**LAYOUTS[driver])
    options = {"dtype": tensorstore.uint32, "shape": [SIDE, SIDE], "chunk_layout": layout}
    return opened(store, driver, bucket, create=True, **options)


@pytest.mark.parametrize("driver", LAYOUTS)
def test_an_array_is_what_was_written_and_a_second_read_moves_no_byte(own_site: Site, driver: str) -> None:
    require_tool("tensorstore")
    import numpy

    site, bucket = own_site, own_site.new_bucket()
    through, direct = TensorStore(site), TensorStore(site, direct=True)
    data = numpy.arange(SIDE * SIDE, dtype=numpy.uint32).reshape(SIDE, SIDE)
    assert direct.whole(bucket, "array/nothing") == b"", "what is not there has no value"
    created(through, driver, bucket).write(data).result()
    assert (opened(direct, driver, bucket).read().result() == data).all()
    for _ in range(2):
        moved = site.moved(bucket)
        assert (opened(through, driver, bucket).read().result() == data).all()
        assert (opened(through, driver, bucket)[10:20, 70:80].read().result() == data[10:20, 70:80]).all()
    assert site.moved(bucket) == moved, "a second read moved body bytes"
    data[10:20, 70:80] += 1
    opened(through, driver, bucket)[10:20, 70:80].write(data[10:20, 70:80]).result()  # a chunk is read and put again
    for reader in (direct, through):
        assert (opened(reader, driver, bucket).read().result() == data).all()
    data[0:64, 0:64] += 7
    opened(direct, driver, bucket)[0:64, 0:64].write(data[0:64, 0:64]).result()
    if site.mode == "revalidate":
        assert (opened(through, driver, bucket).read().result() == data).all()
