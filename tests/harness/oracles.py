"""Second opinions on what our parsers read: other people's parsers, and the RFCs written down once more for reading.

Nothing here shares code with what it judges.
"""

from __future__ import annotations

import datetime
import re

import h11
import httptools

from fastcache.model import Interval
from fastcache.protocol.framing import Framing
from fastcache.protocol.requests import RequestHead

# --- request heads. What we accept and h11 does not, or not in the same way:
#  - one empty line before the request line: h11 refuses it, RFC 9112 section 2.2 asks servers to skip it;
#  - names and the value of Transfer-Encoding: h11 lower-cases them, raw_items() has the names as received.


def assert_h11_agrees(raw: bytes, request: RequestHead) -> None:
    """h11 reads the same method, target, version, fields and presence of a body."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=128 * 1024)
    connection.receive_data(raw.removeprefix(b"\r\n"))
    other = connection.next_event()
    assert isinstance(other, h11.Request)
    following = connection.next_event()
    assert following is h11.NEED_DATA or isinstance(following, h11.EndOfMessage)
    empty = request.framing.kind is Framing.NONE or request.framing == (Framing.LENGTH, 0)
    assert (following is h11.NEED_DATA) == (not empty)
    assert bytes(other.method) == request.method
    assert bytes(other.target) == request.target
    assert bytes(other.http_version) == (b"1.0" if request.http_10 else b"1.1")
    assert [(bytes(name), bytes(value)) for name, value in other.headers.raw_items()] == [
        (name, value.lower() if name.lower() == b"transfer-encoding" else value) for name, value in request.headers
    ]


# --- chunked bodies


def chunked_by_h11(wire: bytes) -> bytes | None:
    """h11's reading of ``wire`` as a chunked response body, or None when it refuses it or it has no end."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    body = bytearray()
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return None
            if isinstance(event, h11.Data):
                body += event.data
            if isinstance(event, h11.EndOfMessage):
                return bytes(body)
    except h11.RemoteProtocolError:
        return None


class _Collected:
    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def chunked_by_httptools(wire: bytes) -> bytes | None:
    """httptools' reading of ``wire``, as above; an error behind the end does not count."""
    collected = _Collected()
    parser = httptools.HttpResponseParser(collected)
    try:
        parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    except httptools.HttpParserError:
        if not collected.complete:
            return None
    return bytes(collected.body) if collected.complete else None


# --- ranges

_SPEC = re.compile(rb"(\d*)-(\d*)", re.ASCII)
_CONTENT_RANGE = re.compile(rb"(?i:bytes) (?:([0-9]+)-([0-9]+)|(\*))/([0-9]+|\*)")


def ranges(value: bytes, size: int) -> list[Interval] | None:
    """RFC 9110 section 14: None to ignore, [] for 416."""
    unit, equals, listed = value.partition(b"=")
    if unit.lower() != b"bytes" or not equals or listed[:1] in (b" ", b"\t"):
        return None
    members = [member.strip(b" \t") for member in listed.split(b",")]
    members = [member for member in members if member]
    if not members or len(members) > 100:
        return None
    found = []
    for member in members:
        match = _SPEC.fullmatch(member)
        if match is None or member == b"-":
            return None
        first, last = match.groups()
        if first and last and int(last) < int(first):
            return None
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if start < end:
            found.append(Interval(start, end))
    return found


def content_range(value: bytes) -> tuple[int | None, int | None, int | None] | None:
    """RFC 9110 section 14.4: (start, end, total) with None for what ``*`` stands for; None when it is not valid."""
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last, _, total = match.groups()
    numbers = [None if text in (None, b"*") else int(text) for text in (first, last, total)]
    if any(number is not None and number >= 2**63 - 1 for number in numbers):
        return None
    start, end, whole = numbers
    if start is None or end is None:
        return None if whole is None else (None, None, whole)
    if end < start or (whole is not None and end >= whole):
        return None
    return start, end + 1, whole


# --- dates, entity tags, preconditions

_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_DAY = rb"(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat)"
_LONG_DAY = rb"(?:Sunday|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday)"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_CLOCK = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = [
    re.compile(_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _CLOCK + rb" GMT"),
    re.compile(_LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<short>[0-9]{2}) " + _CLOCK + rb" GMT"),
    re.compile(_DAY + rb" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _CLOCK + rb" (?P<year>[0-9]{4})"),
]
_TAG = re.compile(rb'(W/)?(?:"([^"]*)"?|([^,]*))')
_CYCLE = 146_097 * 86_400
"""Seconds in the 400 years after which the calendar repeats: the datetime module knows no year 0."""


def http_date(value: bytes) -> int | None:
    """Seconds since the epoch of a date in one of the forms of RFC 9110 section 5.6.7, else None."""
    for form in _DATES:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    parts = match.groupdict()
    year = (
        int(parts["year"]) if parts.get("year") else int(parts["short"]) + (1900 if parts["short"] >= b"69" else 2000)
    )
    second = int(parts["second"])
    if second > 60:
        return None
    before = 400 if year == 0 else 0
    try:
        moment = datetime.datetime(
            year + before,
            _MONTHS.index(parts["month"]) + 1,
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            min(second, 59),
            tzinfo=datetime.UTC,
        )
    except ValueError:
        return None
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    passed = moment - epoch
    return passed.days * 86_400 + passed.seconds + (second == 60) - (_CYCLE if before else 0)


Tag = tuple[bool, bytes]
"""Whether it is weak, and the text without quotes."""


def entity_tag(value: bytes | None) -> Tag | None:
    """A value that is exactly one entity tag, quoted or not (SEMANTICS 23)."""
    if not value:
        return None
    match = _TAG.match(value)
    assert match is not None
    return _tag(match) if match.end() == len(value) else None


def listed_tags(value: bytes) -> list[Tag]:
    """The members of a list of entity tags."""
    found, at = [], 0
    while at < len(value):
        if value[at] in b" \t,":
            at += 1
            continue
        match = _TAG.match(value, at)
        assert match is not None
        found.append(_tag(match))
        at = match.end()
    return found


def _tag(match: re.Match[bytes]) -> Tag:
    quoted, bare = match[2], match[3]
    return match[1] is not None, bare.rstrip(b" \t") if quoted is None else quoted


def names_current(listed: bytes, current: bytes | None, *, strong: bool) -> bool:
    """RFC 9110 section 13.1.1 and 13.1.2: whether a list or ``*`` names the current tag."""
    have = entity_tag(current)
    if have is None:
        return False
    if listed == b"*":
        return True
    return any(tag[1] == have[1] and not (strong and (tag[0] or have[0])) for tag in listed_tags(listed))


def precondition_steps(
    safe: bool,
    match: bool | None,
    none_match: bool | None,
    modified: int | None,
    modified_since: int | None,
    unmodified_since: int | None,
) -> int:
    """RFC 9110 section 13.2.2 step by step: 0, 304 or 412.

    ``match`` and ``none_match`` say whether the field's list names the current representation, None without the field.
    """
    if match is not None:
        if not match:
            return 412
    elif modified is not None and unmodified_since is not None and modified > unmodified_since:
        return 412
    if none_match is not None:
        if none_match:
            return 304 if safe else 412
    elif safe and modified is not None and modified_since is not None and modified <= modified_since:
        return 304
    return 0


def if_range_holds(value: bytes, current: bytes | None, modified: bytes | None) -> bool:
    """RFC 9110 section 13.1.5."""
    date = http_date(value)
    if date is not None:
        return modified is not None and http_date(modified) == date
    asked, have = entity_tag(value), entity_tag(current)
    return asked is not None and asked == have and not asked[0]
