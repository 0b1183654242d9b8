"""How a message's body is delimited (RFC 9112 section 6): decided from the head, once, for both directions."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Framing(enum.Enum):
    """The four ways a body can end."""

    NONE = "none"
    """No body at all."""
    LENGTH = "length"
    """After ``length`` bytes."""
    CHUNKED = "chunked"
    """With the last chunk and its trailer section."""
    CLOSE = "close"
    """When the peer closes; responses only, and never worth storing: a cut cannot be told from an end."""


class BodyFraming(NamedTuple):
    """A framing and, for LENGTH, the number of bytes."""

    kind: Framing
    length: int = 0


NO_BODY = BodyFraming(Framing.NONE)
