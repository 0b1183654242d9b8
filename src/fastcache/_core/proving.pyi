from typing import NamedTuple

from fastcache._core.answering import AnsweringTable

class Question(NamedTuple):
    origin: int
    kept: bytes
    unsent: bool
    etag: bytes
    token: tuple[int, int, int]
    number: int
    at: float
    seconds: float

class ProvingTable(AnsweringTable): ...
