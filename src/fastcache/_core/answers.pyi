from typing import NamedTuple

class Answer(NamedTuple):
    size: int
    status: int
    length: int | None
    chunked: bool
    closes: bool
    result: bytes | None

def parse_answer(data: bytes) -> Answer | None: ...
