from fastcache._core.generations import Generations

class Numbers:
    shared: Generations | None
    def __init__(self, shared: Generations | None = None) -> None: ...
    def next(self) -> int: ...

class Latest:
    number: int
    def __init__(self, number: int = 0) -> None: ...
