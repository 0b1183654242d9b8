from dataclasses import dataclass
from enum import IntEnum

from fastcache.model import Codec, FenceToken, HeadRecord

MAGIC: bytes
FORMAT_VERSION: int
BLOCK_SIZE: int
FIXED_SIZE: int
PAGE_ALIGNED_ABOVE: int
MAX_HEADER_SIZE: int

class Kind(IntEnum):
    HEAD = 1
    EXTENT = 2
    OBJECT = 3

@dataclass(frozen=True, slots=True)
class FileHeader:
    kind: Kind
    object_digest: bytes
    generation_tag: bytes
    object_size: int
    start: int
    length: int
    stored_length: int
    codec: Codec
    data_offset: int
    token: FenceToken
    blob: bytes
    blocks: tuple[int, ...]
    @property
    def file_size(self) -> int: ...

def block_count(stored_length: int) -> int: ...
def header_size(blob_length: int, stored_length: int) -> int: ...
def data_offset_for(blob_length: int, stored_length: int) -> int: ...
def pack(header: FileHeader) -> bytes: ...
def header_length(data: bytes) -> int: ...
def unpack(data: bytes) -> FileHeader: ...
def encode_head(record: HeadRecord) -> bytes: ...
def decode_head(blob: bytes) -> HeadRecord: ...
