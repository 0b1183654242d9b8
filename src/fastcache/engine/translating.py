"""An origin's answer in the names that the client knows its bucket by, while it streams (SEMANTICS 37)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastcache.engine.exchange import Exchange
from fastcache.errors import UpstreamProtocolError
from fastcache.model import Headers
from fastcache.policy.mounted_answers import (
    bucket_list_here,
    headers_here,
    lists_buckets,
    names_the_bucket,
    replacements,
)
from fastcache.policy.mounts import Translation
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.responses import ResponseHead, forward_response_headers
from fastcache.protocol.xml_rewriting import RewriteError, TextRewriter
from fastcache.upstream.response import Response

_LARGEST_LIST = 16 * 1024 * 1024
"""Bytes of a list of buckets: 10,000 of them, the most on a page, are some 2 MiB."""


class Body(Protocol):
    """What a response's body is read by."""

    async def read(self) -> memoryview:
        """The next piece; an empty one at its proper end."""
        ...


class Told(NamedTuple):
    """An answer as the client gets it."""

    headers: Headers
    framing: BodyFraming
    body: Body


async def told_here(exchange: Exchange, response: Response) -> Told:
    """The answer in the client's names; as it is where it has no others."""
    head = response.head
    told = Told(forward_response_headers(head), client_framing(head), response)
    translation = None if exchange.admission is None else exchange.admission.translation
    if translation is None:
        return told
    told = told._replace(headers=headers_here(translation, told.headers))
    method = exchange.head.method
    if not _is_document(head):
        return told
    if lists_buckets(translation, method, head.status):
        document = await _bucket_list(translation, response)
        headers = (*_without_length(told.headers), (b"Content-Length", b"%d" % len(document)))
        return Told(headers, BodyFraming(Framing.LENGTH, len(document)), _Whole(document))
    if not names_the_bucket(translation, method, head.status):
        return told
    texts = replacements(translation, b"http", exchange.head.host)
    return Told(_without_length(told.headers), BodyFraming(Framing.CHUNKED), _Rewritten(response, TextRewriter(texts)))


def client_framing(head: ResponseHead) -> BodyFraming:
    """How the client is told where the body ends."""
    if head.framing.kind is Framing.CLOSE:
        return BodyFraming(Framing.CHUNKED)
    if head.framing.kind is Framing.NONE:
        return NO_BODY
    return head.framing


def _is_document(head: ResponseHead) -> bool:
    """Whether there is a body that can be read as S3's XML: an error page of something in between cannot."""
    if head.framing in (NO_BODY, BodyFraming(Framing.LENGTH, 0)):
        return False
    return b"xml" in (head.get(b"content-type") or b"xml").lower() and head.get(b"content-encoding") is None


def _without_length(headers: Headers) -> Headers:
    return tuple(field for field in headers if field[0].lower() != b"content-length")


async def _bucket_list(translation: Translation, response: Response) -> bytes:
    body = bytearray()
    while piece := await response.read():
        body += piece
        if len(body) > _LARGEST_LIST:
            raise UpstreamProtocolError("the origin's list of buckets is too long to be translated")
    try:
        return bucket_list_here(translation, bytes(body))
    except ValueError as error:
        raise UpstreamProtocolError(f"the origin's list of buckets cannot be translated: {error}") from None


class _Whole:
    """A body that is here already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> memoryview:
        body, self._body = self._body, b""
        return memoryview(body)


class _Rewritten:
    """A response's body with its texts replaced."""

    def __init__(self, response: Response, rewriter: TextRewriter) -> None:
        self._response = response
        self._rewriter = rewriter
        self._ended = False

    async def read(self) -> memoryview:
        """As ``Response.read``; UpstreamProtocolError for a document that is not understood."""
        try:
            while not self._ended:
                piece = await self._response.read()
                self._ended = not piece
                settled = self._rewriter.feed(bytes(piece)) if piece else self._rewriter.finish()
                if settled:
                    return memoryview(settled)
        except RewriteError as error:
            raise UpstreamProtocolError(f"the origin's answer cannot be translated: {error}") from None
        return memoryview(b"")
