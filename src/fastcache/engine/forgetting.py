"""Objects of which something was learnt that may change: remembered for some seconds, and never too many of them."""

from __future__ import annotations

from collections import OrderedDict

from fastcache.model import ObjectId

_SECONDS = 600.0
_MOST = 10_000


class Forgetting:
    """A set of objects whose members are forgotten with time, the oldest first when there are many."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def add(self, object_id: ObjectId, now: float) -> None:
        """``now`` in seconds of a clock that is never set."""
        self._until[object_id.digest] = now + _SECONDS
        self._until.move_to_end(object_id.digest)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def holds(self, object_id: ObjectId, now: float) -> bool:
        if not self._until:  # as nearly always
            return False
        until = self._until.get(object_id.digest)
        return until is not None and now < until
