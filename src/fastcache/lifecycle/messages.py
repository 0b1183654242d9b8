"""What the supervisor and its processes say to each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fastcache.lifecycle.schema import Settings
from fastcache.observe.snapshot import GaugeSample


class Role(enum.StrEnum):
    """What a process is for."""

    WORKER = "worker"
    KEEPER = "keeper"


@dataclass(frozen=True, slots=True)
class Birth:
    """Which process is to begin. Its descriptors come with the message, in the order of ``descriptors``."""

    role: Role
    incarnation: int
    """Never used twice in a supervisor's life."""
    place: int
    """In the shared memory."""
    slot: int
    """Of a worker: which of the listening sockets is its."""
    workers: int
    settings: Settings
    store_id: str
    descriptors: tuple[str, ...]


# From the supervisor.


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept no more, finish what is under way, end. ``succeeded``: another process goes on with this one's socket."""

    succeeded: bool


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open log files again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Tell the gauges."""

    number: int


@dataclass(frozen=True, slots=True)
class Died:
    """To the keeper: what this process had in progress is nobody's any more.

    ``crashed``: it may have stored what it has not told of.
    """

    incarnation: int
    crashed: bool


# To the supervisor.


@dataclass(frozen=True, slots=True)
class Ready:
    """It accepts connections, or keeps."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot begin, for a reason that the operator can do something about."""

    reason: str


@dataclass(frozen=True, slots=True)
class Draining:
    """It accepts no more."""


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to ``Ask``."""

    number: int
    gauges: list[GaugeSample]


# From the nursery.


@dataclass(frozen=True, slots=True)
class Warm:
    """Everything is imported: from now on a process begins within milliseconds."""


@dataclass(frozen=True, slots=True)
class Born:
    """A process began; its pidfd comes with the message."""

    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: an exit status, or the negative number of the signal that killed it."""

    incarnation: int
    status: int
