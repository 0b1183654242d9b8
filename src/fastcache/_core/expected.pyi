from typing_extensions import Buffer

class Expected:
    def first_difference(self, offset: int, data: Buffer) -> int | None: ...

class ExpectedBytes(Expected):
    def __init__(self, data: Buffer) -> None: ...

class ExpectedPattern(Expected):
    def __init__(self, table: Buffer, *, period: int, rotation: int, salt: int, block: int, stamp: int) -> None: ...
