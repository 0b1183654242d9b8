"""A proxy of several workers, each of which can be spoken to by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.harness.processes import wait_until
from tests.harness.raw import RawConnection, RawResponse
from tests.reads.conftest import Reader


class Workers:
    """A connection to each worker of ``r.proxy``."""

    def __init__(self, r: Reader, connections: list[RawConnection]) -> None:
        self.r = r
        self._connections = connections

    def __len__(self) -> int:
        return len(self._connections)

    def ask(self, worker: int, request: bytes) -> RawResponse:
        """One request through that worker; numbers go round."""
        return self.begin(worker, request).read_response(request.partition(b" ")[0])

    def begin(self, worker: int, request: bytes) -> RawConnection:
        """Send one request through that worker; the answer is to come on this connection."""
        connection = self._connections[worker % len(self)]
        connection.send(request)
        return connection

    def others(self, worker: int) -> list[int]:
        """Every worker but that one, and it last."""
        return [(worker + step) % len(self) for step in range(1, len(self) + 1)]


@contextlib.contextmanager
def each_worker(r: Reader) -> Iterator[Workers]:
    """Connections are opened until every worker has one; what is too many is closed again."""
    with contextlib.ExitStack() as stack:
        found: dict[int, RawConnection] = {}
        before = _connections_of(r)
        while len(found) < len(before):
            connection = stack.enter_context(RawConnection(r.proxy.endpoint))
            slot = _grown(r, before)
            before[slot] += 1
            found.setdefault(slot, connection)
        yield Workers(r, [found[slot] for slot in sorted(found)])


def _connections_of(r: Reader) -> dict[int, int]:
    return {one["slot"]: one["connections"] for one in r.proxy.family("worker")}


def _grown(r: Reader, before: dict[int, int]) -> int:
    """The worker that has one connection more."""
    grown: list[int] = []

    def found() -> bool:
        grown[:] = [slot for slot, count in _connections_of(r).items() if count > before[slot]]
        return bool(grown)

    wait_until(found, 20, "a worker has taken the connection")
    (slot,) = grown
    return slot
