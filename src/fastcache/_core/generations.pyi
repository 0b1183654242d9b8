import enum

from fastcache._core.shared import SharedMemory

class Lesson(enum.Enum):
    KNOWN = "known"
    CHANGED = "changed"
    OUTDATED = "outdated"

class Generations:
    def __init__(self, memory: SharedMemory) -> None: ...
    def next_sent(self) -> int: ...
    def learn(self, digest: bytes, tag: bytes, sent: int, outdated_others: bool = False) -> Lesson: ...
