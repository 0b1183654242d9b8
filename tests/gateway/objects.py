"""Ranges of one object through a gateway, and what the origin was asked for them."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from tests.clients.sites import Site
from tests.harness.raw import RawResponse
from tests.harness.signing import signed_request

from fastcache.origin.control import OriginControl
from fastcache.origin.pattern import pattern

KEY = "kept"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
WITHIN = 60.0
"""Seconds for what takes milliseconds on an idle machine."""

Remotes = Callable[[int], "Remote"]
Span = tuple[int, int]
"""Start and end of a stretch of bytes."""


@dataclass(frozen=True)
class Remote:
    """A synthetic object at our own origin, in a bucket that no cache has seen."""

    gate: Site
    bucket: str
    size: int

    @property
    def control(self) -> OriginControl:
        assert self.gate.control is not None
        return self.gate.control

    @property
    def target(self) -> str:
        return f"/{self.bucket}/{KEY}"

    @classmethod
    def make(cls, gate: Site, size: int, **headers: str) -> Remote:
        made = cls(gate, f"b-{uuid.uuid4().hex[:20]}", size)
        made.control.synthetic(made.bucket, KEY, size, headers=headers)
        return made

    @property
    def request(self) -> bytes:
        """A read of the whole object, as it goes on the wire."""
        return signed_request("GET", self.gate.endpoint + self.target, self.gate.access_key, self.gate.secret_key)

    def get(self, span: Span | None = None, **fields: str) -> RawResponse:
        """A read of ``span``, or of the whole object."""
        if span is not None:
            fields["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        return self.gate.raw("GET", self.target, signed=fields)

    def content(self, span: Span | None = None, generation: int = 1) -> bytes:
        start, end = span or (0, self.size)
        return pattern(KEY.encode(), generation, start, end - start)

    def check(self, span: Span | None = None, generation: int = 1) -> RawResponse:
        """Read, and compare every byte."""
        answer = self.get(span)
        assert answer.status == (200 if span is None else 206), answer
        assert answer.body == self.content(span, generation), f"{span} of generation {generation}"
        return answer

    def hold(self, *spans: Span) -> None:
        """Have just these bytes in the cache, and the origin's counters at nothing."""
        for span in spans:
            self.check(span)
        self.settle()
        self.control.reset()

    def settle(self) -> None:
        """Wait until everything that is being fetched is stored."""
        deadline = time.monotonic() + WITHIN
        while self.gate.proxy.metric("fastcache_fills_active"):
            assert time.monotonic() < deadline, "a fill does not end"
            time.sleep(0.01)

    @property
    def asked(self) -> list[Span | None]:
        """What the origin was asked for since ``hold``, in the order of the object; None for the whole of it."""
        entries = [entry for entry in self.control.log() if entry["method"] == "GET" and entry["bucket"] == self.bucket]
        found = [_RANGE.fullmatch(entry["range"]) for entry in entries]
        spans = [None if match is None else (int(match[1]), int(match[2]) + 1) for match in found]
        return sorted(spans, key=lambda span: span or (-1, -1))

    @property
    def conditions(self) -> list[dict[str, str]]:
        return [entry["conditions"] for entry in self.control.log() if entry["method"] == "GET"]

    @property
    def moved(self) -> int:
        """Body bytes since ``hold``."""
        return self.control.body_sent(self.bucket)
