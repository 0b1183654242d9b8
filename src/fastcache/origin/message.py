"""Responses and refusals as the operations make them, and S3's error documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fastcache.errors import RequestError
from fastcache.origin.content import Content, Literal
from fastcache.origin.documents import error_document

Field = tuple[bytes, bytes]


class S3Error(RequestError):
    """An S3 error answer with its further header fields and XML elements."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: tuple[Field, ...] = (),
        details: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message, status=status, code=code, close=False)
        self.headers = headers
        self.details = details


class Late(NamedTuple):
    """A document that starts at once and is finished later.

    The XML declaration and a space, a space every ``interval`` seconds, then the rest (S3 API Reference,
    CompleteMultipartUpload).
    """

    seconds: float
    interval: float
    payload: bytes


@dataclass(slots=True)
class Response:
    """A status, fields and at most one body: ``content[start:start + length]`` or ``late``.

    Content-Length is added when the head is written, unless ``headers`` has one (HEAD, and lies).
    """

    status: int
    headers: list[Field] = field(default_factory=list)
    content: Content | None = None
    start: int = 0
    length: int = 0
    late: Late | None = None
    framing: str = "length"
    """``length``, ``chunked`` or ``close``."""
    close: bool = False

    def replace(self, name: bytes, value: bytes | None) -> None:
        """Set a field, or remove it with None; ``name`` is lower case."""
        self.headers = [item for item in self.headers if item[0].lower() != name]
        if value is not None:
            self.headers.append((name, value))

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name`` (lower case)."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


def xml_response(document: bytes, status: int = 200, headers: tuple[Field, ...] = ()) -> Response:
    """A response whose body is an XML document."""
    return Response(status, [*headers, (b"Content-Type", b"application/xml")], Literal(document), 0, len(document))


def late_response(response: Response, seconds: float) -> Response:
    """``response`` with its document finished ``seconds`` later; chunked, because its length is not known before."""
    content = response.content
    if content is None:
        return response
    late = Late(seconds, max(0.01, min(1.0, seconds / 10)), bytes(content.read(0, content.size)))
    return Response(response.status, response.headers, late=late, framing="chunked")


def error_response(error: RequestError, method: bytes, target: bytes, request_id: bytes) -> Response:
    """The S3 answer to a refusal; a HEAD request gets its headers only."""
    headers: tuple[Field, ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    if isinstance(error, S3Error):
        headers, details = error.headers, error.details
    resource = target.partition(b"?")[0].decode("latin-1")
    document = error_document(
        error.response_code, str(error), resource=resource, request_id=request_id.decode("ascii"), details=details
    )
    response = xml_response(document, error.response_status, headers)
    if error.response_status == 304:
        return Response(304, list(headers))
    if method == b"HEAD":
        response.content = None
        response.length = 0
        response.headers.append((b"Content-Length", b"0"))
    return response
