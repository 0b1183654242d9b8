"""How an instance is: what ``/health`` tells."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.StrEnum):
    """What ``/health`` says; only OK is answered 200."""

    STARTING = "starting"
    OK = "ok"
    DRAINING = "draining"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Health:
    """State of this instance and, when it is not OK, why; the reasons are shown to whoever asks."""

    status: Status
    reasons: tuple[str, ...] = ()
    processes: tuple[dict[str, object], ...] = ()
    """What this instance consists of, one by one."""
