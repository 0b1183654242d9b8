"""Every way of reading that is tried, under the names of docs/clients.md."""

from __future__ import annotations

from tests.clients.array_readers import ARRAY_READERS
from tests.clients.program_readers import PROGRAM_READERS, Curl
from tests.clients.reader import RangeReader, Reader
from tests.clients.sdk_readers import SDK_READERS, Boto3, Minio, Obstore, Pyarrow
from tests.clients.table_readers import TABLE_READERS

READERS: dict[str, type[Reader]] = {**SDK_READERS, **PROGRAM_READERS, **TABLE_READERS, **ARRAY_READERS}

CLIENTS: dict[str, type[RangeReader]] = {
    "boto3": Boto3,
    "minio-py": Minio,
    "obstore": Obstore,
    "pyarrow": Pyarrow,
    "curl": Curl,
}
"""Quick enough for a sweep over sizes, origins and modes."""

OTHERS: dict[str, type[Reader]] = {name: make for name, make in READERS.items() if make not in CLIENTS.values()}
