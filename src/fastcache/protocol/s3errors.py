"""Error answers in the form S3 clients understand (S3 API reference, "Error responses" and "List of error codes")."""

from __future__ import annotations

import html
import re
from types import MappingProxyType
from typing import Final

CONTENT_TYPE: Final = b"application/xml"

CODE_OF_STATUS: Final = MappingProxyType(
    {
        304: "NotModified",
        400: "InvalidRequest",
        401: "AccessDenied",
        403: "AccessDenied",
        404: "NoSuchKey",
        405: "MethodNotAllowed",
        408: "RequestTimeout",
        409: "OperationAborted",
        411: "MissingContentLength",
        412: "PreconditionFailed",
        413: "EntityTooLarge",
        414: "URITooLong",
        416: "InvalidRange",
        417: "ExpectationFailed",
        431: "RequestHeaderSectionTooLarge",
        500: "InternalError",
        501: "NotImplemented",
        502: "BadGateway",
        503: "SlowDown",
        504: "GatewayTimeout",
        505: "HTTPVersionNotSupported",
    }
)
"""The S3 code for a status when no more exact one is known; those without one in S3 have a name in its style."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 forbids even as references (section 2.2, Char)."""


def code_for_status(status: int) -> str:
    """The S3 error code for an HTTP status; a class-wide one for a status of its own."""
    return CODE_OF_STATUS.get(status) or ("InvalidRequest" if 400 <= status < 500 else "InternalError")


def render_error(
    code: str,
    message: str,
    *,
    resource: bytes | str,
    request_id: bytes | str,
    host_id: bytes | str,
) -> bytes:
    """The XML body of an S3 error. Any input gives well-formed UTF-8 XML: what XML cannot hold becomes U+FFFD.

    A response to HEAD has no body; that is the caller's to know.
    """
    elements = (
        ("Code", code),
        ("Message", message),
        ("Resource", resource),
        ("RequestId", request_id),
        ("HostId", host_id),
    )
    inner = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in elements)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def error_pieces(code: str, message: str, host: str) -> tuple[bytes, bytes, bytes, bytes]:
    """``render_error`` with its texts cut out: what stands before the resource, between it and the request id, between
    that and the request id in the host id (``host`` and the request id), and behind it. The resource goes in as
    ``xml_text`` writes it."""
    mark = "\ue000"
    whole = render_error(code, message, resource=mark, request_id=mark, host_id=host + mark)
    before, between, after, end = whole.split(mark.encode())
    return before, between, after, end


def xml_text(value: bytes) -> bytes:
    """``value`` as text of an element."""
    return _text(value).encode()


def _text(value: bytes | str) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    # A parser would turn a literal CR into LF, so it is written as a reference.
    return html.escape(_NOT_XML.sub("\ufffd", text), quote=False).replace("\r", "&#13;").replace('"', "&quot;")
