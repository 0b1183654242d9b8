"""One line of the access log: "Amazon S3 server access log format" (S3 user guide), with fastcache's fields behind it.

Fields that S3 has and a proxy does not know are ``-``. The appended ones, in order: result, origin status, origin
bytes, coalesced (``Yes`` or ``-``). Readers of S3's format skip what follows the fields they know.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastcache.model import Result
from fastcache.observe.redaction import escape, safe_header, safe_key, safe_target

MAX_FIELD: Final = 8192
"""Characters of one field; longer ones end in ``...``."""

_BARE_ESCAPES: Final = {ord(character): f"\\x{ord(character):02x}" for character in " []"}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# S3's resource types by the query key that names the sub-resource; of an object and of a bucket.
_OBJECT_TYPES: Final = {
    b"acl": "ACL",
    b"tagging": "OBJECT_TAGGING",
    b"uploads": "UPLOADS",
    b"attributes": "OBJECT_ATTRIBUTES",
    b"legal-hold": "LEGAL_HOLD",
    b"retention": "RETENTION",
    b"torrent": "TORRENT",
    b"restore": "RESTORE",
    b"select": "SELECT",
}
_BUCKET_TYPES: Final = {
    b"acl": "ACL",
    b"uploads": "UPLOADS",
    b"versions": "BUCKETVERSIONS",
    b"delete": "MULTI_OBJECT_DELETE",
    b"location": "LOCATION",
    b"versioning": "VERSIONING",
    b"policy": "BUCKETPOLICY",
    b"logging": "LOGGING_STATUS",
    b"lifecycle": "LIFECYCLE",
    b"cors": "CORS",
    b"tagging": "TAGGING",
    b"notification": "NOTIFICATION",
    b"website": "WEBSITE",
    b"encryption": "ENCRYPTION",
    b"session": "SESSION",
}


@dataclass(slots=True)
class AccessRecord:
    """One finished request. Texts are as the client sent them: nothing is masked before ``line`` does it."""

    time: float
    """Wall-clock seconds when the request's head was complete."""
    remote: str
    """The client's address without its port."""
    request_id: str
    method: bytes
    target: bytes
    """The request target as it came, any form."""
    status: int
    """Of the answer; 0 when no head was sent."""
    result: Result
    bytes_sent: int
    """Body bytes."""
    total_seconds: float
    """Head complete to last byte sent."""
    turnaround_seconds: float | None = None
    """Head complete to first byte sent; None when there was none."""
    bucket: bytes | None = None
    key: bytes | None = None
    """Decoded once."""
    version_id: bytes | None = None
    error_code: str | None = None
    object_size: int | None = None
    referer: bytes | None = None
    user_agent: bytes | None = None
    host: bytes | None = None
    requester: str | None = None
    """Who was authenticated by fastcache itself; a claimed access key id does not belong here."""
    host_id: bytes | None = None
    """The origin's x-amz-id-2."""
    signature_version: str | None = None
    """``SigV4`` or ``SigV2``."""
    cipher: str | None = None
    auth_type: str | None = None
    """``AuthHeader`` or ``QueryString``."""
    tls_version: str | None = None
    http_version: str = "HTTP/1.1"
    copy: bool = False
    """The request had x-amz-copy-source."""
    origin_status: int | None = None
    origin_bytes: int = 0
    """Body bytes received from the origin for this request."""
    coalesced: bool = False
    """It followed a fill that another request had started."""


def line(record: AccessRecord) -> bytes:
    """``record`` as one line, line end included: ASCII, secrets masked, nothing in it can forge a field or a line."""
    request = f"{escape(record.method)} {safe_target(record.target)} {escape(record.http_version.encode())}"
    fields = (
        "-",  # bucket owner
        _bare(record.bucket),
        _time(int(record.time)),
        _text(record.remote),
        _text(record.requester),
        _text(record.request_id),
        operation(record),
        _cut(safe_key(record.key)) if record.key else "-",
        f'"{_cut(request)}"',
        str(record.status) if record.status else "-",
        _text(record.error_code),
        str(record.bytes_sent) if record.bytes_sent else "-",
        "-" if record.object_size is None else str(record.object_size),
        _milliseconds(record.total_seconds),
        _milliseconds(record.turnaround_seconds),
        _quoted(b"referer", record.referer),
        _quoted(b"user-agent", record.user_agent),
        _bare(record.version_id),
        _bare(record.host_id),
        _text(record.signature_version),
        _text(record.cipher),
        _text(record.auth_type),
        _bare(record.host),
        _text(record.tls_version),
        "-",  # access point ARN
        "-",  # aclRequired
        record.result.value,
        "-" if record.origin_status is None else str(record.origin_status),
        str(record.origin_bytes) if record.origin_bytes else "-",
        "Yes" if record.coalesced else "-",
    )
    return (" ".join(fields) + "\n").encode("ascii")


def operation(record: AccessRecord) -> str:
    """S3's name of the operation: ``REST.method.resource_type``."""
    method = escape(record.method).translate(_BARE_ESCAPES)
    names = {parameter.partition(b"=")[0] for parameter in record.target.partition(b"?")[2].split(b"&")}
    if not record.bucket:
        return f"REST.{method}.SERVICE"
    if not record.key:
        kind = next((kind for name, kind in _BUCKET_TYPES.items() if name in names), "BUCKET")
        return f"REST.{method}.{kind}"
    if b"uploadId" in names:
        part = "PART" if b"partNumber" in names else "UPLOAD"
        return f"REST.{'COPY' if record.copy else method}.{part}"
    if record.copy:
        return "REST.COPY.OBJECT"
    kind = next((kind for name, kind in _OBJECT_TYPES.items() if name in names), "OBJECT")
    return f"REST.{method}.{kind}"


def _bare(value: bytes | None) -> str:
    """A field outside quotes: white space would end it, an empty one shift the rest, a bracket look like the time."""
    return _cut(safe_target(value).translate(_BARE_ESCAPES)) if value else "-"


def _text(value: str | None) -> str:
    return _bare(value.encode("utf-8", "backslashreplace")) if value else "-"


def _quoted(name: bytes, value: bytes | None) -> str:
    return f'"{_cut(safe_header(name, value))}"' if value else '"-"'


def _cut(text: str) -> str:
    # After masking, so that the cut cannot part a secret from its name.
    return text if len(text) <= MAX_FIELD else text[: MAX_FIELD - 3] + "..."


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else str(max(0, int(seconds * 1000)))


@lru_cache(maxsize=4)
def _time(second: int) -> str:
    # Not %b: month names follow the locale.
    t = time.gmtime(second)
    return f"[{t.tm_mday:02d}/{_MONTHS[t.tm_mon - 1]}/{t.tm_year}:{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000]"
