"""What the origin was asked and what it sent: the tests' evidence of what reached it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

from fastcache.origin.request import Request

LOG_LENGTH = 10_000
"""Requests remembered."""


@dataclass(slots=True)
class Entry:
    """One request. Header *names* only, and never the query: both may hold credentials."""

    number: int
    method: str
    path: str
    bucket: str
    key: str
    params: list[str]
    headers: list[str]
    covered: list[str]
    """Names of the header fields that the signature covers."""
    range: str
    conditions: dict[str, str]
    auth: str
    payload: str
    """What ``x-amz-content-sha256`` promised of the body: ``hash``, or the value itself."""
    account: str
    status: int = 0
    body_received: int = 0
    body_sent: int = 0
    complete: bool = False
    """Whether the answer was written whole."""


class Stats:
    """Counters and the ring of the last requests."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.number = 0
        self.body_total = 0
        self.connections = 0
        self._methods: Counter[bytes] = Counter()
        self._statuses: Counter[tuple[bytes, int]] = Counter()
        self._sent: Counter[tuple[bytes, bytes]] = Counter()
        self._log: deque[tuple[Request, Record]] = deque(maxlen=LOG_LENGTH)

    def begin(self, request: Request, status: int) -> Record:
        """Count a request when its answer begins."""
        self.number += 1
        self._methods[request.method] += 1
        self._statuses[request.method, status] += 1
        record = Record(self.number, status)
        self._log.append((request, record))
        return record

    def sent(self, request: Request, record: Record, count: int) -> None:
        """Body bytes handed to the kernel or its queue; those of objects are counted for each, errors are not."""
        record.body_sent += count
        self.body_total += count
        if request.key and request.method == b"GET" and record.status in (200, 206):
            self._sent[request.bucket, request.key] += count

    def snapshot(self, last: int = LOG_LENGTH) -> dict[str, Any]:
        """Everything as JSON; the newest ``last`` requests."""
        log = list(self._log)[-last:] if last else []
        return {
            "requests": self.number,
            "connections": self.connections,
            "methods": {_text(method): count for method, count in self._methods.items()},
            "statuses": {f"{_text(method)} {status}": count for (method, status), count in self._statuses.items()},
            "body_total": self.body_total,
            "body_by_object": [
                {"bucket": _text(bucket), "key": _text(key), "bytes": count}
                for (bucket, key), count in self._sent.items()
                if count
            ],
            "log": [asdict(_entry(request, record)) for request, record in log],
        }


class Record:
    """The part of an entry that changes while the answer is sent."""

    __slots__ = ("body_sent", "complete", "number", "status")

    def __init__(self, number: int, status: int) -> None:
        self.number = number
        self.status = status
        self.body_sent = 0
        self.complete = False


def _entry(request: Request, record: Record) -> Entry:
    fields = request.fields
    conditions = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range")
    return Entry(
        number=record.number,
        method=_text(request.method),
        path=_text(request.target.partition(b"?")[0]),
        bucket=_text(request.bucket),
        key=_text(request.key),
        params=sorted(_text(name) for name in request.params),
        headers=[_text(name) for name, _ in request.headers],
        covered=sorted(_text(name) for name in request.account.covered) if request.account else [],
        range=_text(fields.get(b"range", b"")),
        conditions={_text(name): _text(fields[name]) for name in conditions if name in fields},
        auth=request.account.how if request.account else "refused",
        payload=request.account.payload.value if request.account else "",
        account=_text(request.account.name) if request.account else "",
        status=record.status,
        body_received=request.body.size if request.body else 0,
        body_sent=record.body_sent,
        complete=record.complete,
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
