import enum
from typing import Final, Literal, NamedTuple

from fastcache.model import Interval

class Unsatisfiable(enum.Enum):
    UNSATISFIABLE = "unsatisfiable"

UNSATISFIABLE: Final[Literal[Unsatisfiable.UNSATISFIABLE]]

class RangeSpec(NamedTuple):
    first: int | None
    last: int | None
    suffix: int | None
    parts: tuple[RangeSpec, ...] = ()

    @property
    def is_multi(self) -> bool: ...
    def resolve(self, size: int) -> Interval | Literal[Unsatisfiable.UNSATISFIABLE]: ...
    def resolve_all(self, size: int) -> tuple[Interval, ...] | Literal[Unsatisfiable.UNSATISFIABLE]: ...

class ContentRange(NamedTuple):
    start: int
    end: int
    total: int | None

class UnsatisfiedRange(NamedTuple):
    total: int

def parse(value: bytes) -> RangeSpec | None: ...
def format_content_range(start: int, end: int, size: int) -> bytes: ...
def format_unsatisfied_range(size: int) -> bytes: ...
def parse_content_range(value: bytes) -> ContentRange | UnsatisfiedRange | None: ...
