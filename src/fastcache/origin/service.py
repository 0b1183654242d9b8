"""From a request's head to its response: addressing, authentication, permission, faults, operation."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from email.utils import formatdate

from fastcache.errors import RequestError
from fastcache.origin import faults
from fastcache.origin.accounts import authorize
from fastcache.origin.addressing import address
from fastcache.origin.body import RequestBody
from fastcache.origin.faults import CLEAN, Fault, Wire
from fastcache.origin.message import Response, S3Error, error_response
from fastcache.origin.operations import Operation, resolve
from fastcache.origin.operations.subresources import cors_fields
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState

_REASONS = {
    200: b"OK",
    204: b"No Content",
    206: b"Partial Content",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    411: b"Length Required",
    412: b"Precondition Failed",
    416: b"Requested Range Not Satisfiable",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Slow Down",
}
_GARBAGE = b"\x00\x01 this is no header field\r\n"


@dataclass(slots=True)
class Job:
    """A request on its way through the service."""

    request: Request
    operation: Operation | None = None
    refusal: Response | None = None
    faults: list[Fault] | None = None
    wire: Wire = CLEAN


class Service:
    """Answers requests; knows nothing of connections."""

    def __init__(self, state: OriginState) -> None:
        self.state = state
        self._ids = secrets.randbits(56)
        self._second = -1
        self._date = b""

    def begin(self, request: Request, has_body: bool) -> Job:
        """Everything that the head decides; a refusal is kept until it is the request's turn."""
        state = self.state
        job = Job(request)
        try:
            address(request, state.names, plus_is_space=state.quirks)
            request.account = identity = state.accounts.identify(request, state.now())
            job.operation = resolve(request)
            authorize(request, state.store.buckets.get(request.bucket))
            if has_body or request.method in (b"PUT", b"POST"):
                keep = not (state.discard_uploads and job.operation.name in ("PutObject", "UploadPart"))
                request.body = RequestBody(request.fields, identity, keep=keep)
        except RequestError as error:
            job.refusal = self._refusal(error, request)
        if state.faults.active:
            job.faults = state.faults.take(request)
            job.wire = faults.wire(job.faults)
        return job

    def malformed(self, message: str) -> Job:
        """The answer to bytes that are no request."""
        request = Request(b"GET", b"/", [], keep_alive=False)
        return Job(request, refusal=self._refusal(S3Error(400, "BadRequest", message), request))

    def answer(self, job: Job) -> Response:
        """Run the operation; the body is complete."""
        request = job.request
        made = faults.before(job.faults, request, self._request_id()) if job.faults else None
        response = made or job.refusal or self._run(job)
        if b"origin" in request.fields and request.method != b"OPTIONS":
            bucket = self.state.store.buckets.get(request.bucket)
            if bucket is not None and bucket.cors:
                response.headers += cors_fields(bucket, request, request.method)
        if job.faults:
            response = faults.after(job.faults, response)
        if request.body is not None:
            request.body.release()
        return response

    def head(self, request: Request, response: Response, *, close: bool, garbage: bool) -> bytes:
        """The response's head as it goes on the wire."""
        self._ids += 1
        status = response.status
        parts = [
            b"HTTP/1.1 %d %b\r\nx-amz-id-2: %048x\r\nx-amz-request-id: %016X\r\nDate: %b\r\n"
            % (status, _REASONS.get(status, b"Status"), self._ids, self._ids, self._http_date())
        ]
        lengthy = request.method != b"HEAD" and status not in (204, 304)
        for name, value in response.headers:
            parts.append(b"%b: %b\r\n" % (name, value))
            if lengthy and name.lower() == b"content-length":
                lengthy = False
        if response.framing == "chunked":
            parts.append(b"Transfer-Encoding: chunked\r\n")
        elif response.framing == "length" and lengthy:
            parts.append(b"Content-Length: %d\r\n" % response.length)
        if garbage:
            parts.append(_GARBAGE)
        parts.append(b"Server: AmazonS3\r\nConnection: close\r\n\r\n" if close else b"Server: AmazonS3\r\n\r\n")
        return b"".join(parts)

    def _run(self, job: Job) -> Response:
        operation = job.operation
        assert operation is not None, "a request that was not refused has an operation"
        try:
            return operation.run(self.state, job.request)
        except RequestError as error:
            return self._refusal(error, job.request)

    def _refusal(self, error: RequestError, request: Request) -> Response:
        return error_response(error, request.method, request.target, self._request_id())

    def _request_id(self) -> bytes:
        # The head of this answer gets the next number.
        return b"%016X" % (self._ids + 1)

    def _http_date(self) -> bytes:
        now = int(self.state.now())
        if now != self._second:
            self._second = now
            self._date = formatdate(now, usegmt=True).encode("ascii")
        return self._date
