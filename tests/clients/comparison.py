"""What may differ between an answer through the proxy and the origin's own: ``docs/differences.md``, read as data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.harness.raw import RawResponse
from tests.harness.tools import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "differences.md"

_ROW = re.compile(r"^\| `([\w.*-]+)` \| (added|missing|changed) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_OF_ONE_REQUEST = re.compile(
    rb"<(RequestId|HostId|UploadId|StringToSign|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes"
    rb"|SignatureProvided|LastModified)>[^<]*</\1>"
)
_BOUNDARY = re.compile(rb"\bboundary=\"?([\w'()+,./:=?-]+)")

# Their values belong to one answer: two answers straight from the origin differ in them too.
_OF_ONE_ANSWER = frozenset({b"date", b"x-amz-request-id", b"x-amz-id-2", b"x-trans-id", b"x-openstack-request-id"})


@dataclass(frozen=True, order=True)
class Difference:
    """One way in which an answer differed. ``what`` is a header's lower-case name, ``status`` or ``body``; ``result``
    is the answer's X-Cache, ``status`` its status."""

    what: str
    how: str
    result: str
    status: int


@dataclass(frozen=True)
class Documented:
    """One row of the document. No ``results`` or ``statuses`` means all of them; ``what`` may end in ``*``."""

    what: str
    how: str
    results: frozenset[str]
    statuses: frozenset[int]

    def explains(self, difference: Difference) -> bool:
        return (
            fnmatchcase(difference.what, self.what)
            and difference.how == self.how
            and (not self.results or difference.result in self.results)
            and (not self.statuses or difference.status in self.statuses)
        )


def documented() -> list[Documented]:
    """The rows of the document."""
    rows = []
    for name, how, when, why in _ROW.findall(DOCUMENT.read_text()):
        assert why.strip(), f"no reason is given for {name}"
        results = frozenset(re.findall(r"`([A-Z]+)`", when))
        assert results or "every answer" in when, f"{name}: {when!r} names no result"
        rows.append(Documented(name.lower(), how, results, frozenset(map(int, re.findall(r"\b[1-5]\d\d\b", when)))))
    assert rows, "the document has no table"
    return rows


def differences(direct: RawResponse, proxied: RawResponse) -> Iterator[Difference]:
    """How ``proxied`` differs from ``direct``: status, every header with every value, trailers and body."""
    result = (proxied.get(b"x-cache") or b"-").decode()
    if direct.status != proxied.status:
        yield Difference("status", "changed", result, proxied.status)
    if _body(direct) != _body(proxied):
        yield Difference("body", "changed", result, proxied.status)
    ours, theirs = _fields(proxied), _fields(direct)
    for name in sorted(ours.keys() | theirs.keys()):
        how = "added" if name not in theirs else "missing" if name not in ours else "changed"
        if how != "changed" or ours[name] != theirs[name]:
            yield Difference(name.decode(), how, result, proxied.status)


def _fields(response: RawResponse) -> dict[bytes, Counter[bytes]]:
    fields: dict[bytes, Counter[bytes]] = {}
    for name, value in (*response.headers, *response.trailers):
        lower = name.lower()
        if lower == b"content-type":
            value = _BOUNDARY.sub(b"boundary", value)
        fields.setdefault(lower, Counter())[b"any" if lower in _OF_ONE_ANSWER else value] += 1
    return fields


def _body(response: RawResponse) -> bytes:
    boundary = _BOUNDARY.search(response.get(b"content-type") or b"")
    body = response.body if boundary is None else response.body.replace(boundary[1], b"boundary")
    return _OF_ONE_REQUEST.sub(rb"<\1/>", body)
