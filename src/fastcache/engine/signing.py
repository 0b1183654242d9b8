"""Asking the origin in our own name: the client's request under our signature, and what must not come back of that.

An origin that refuses *us* says so in terms of our access key and of what we signed. That is for the log; the client is
told that the fault is on this side.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from fastcache.clock import Clock
from fastcache.engine.carriage import Carriage, body_source, carriage, carriage_of_bytes
from fastcache.engine.payload import ClientPayload
from fastcache.errors import CredentialsError, RequestError, UpstreamError
from fastcache.model import Headers, OriginId
from fastcache.policy.admission import Admission
from fastcache.policy.own_request import BucketPlace, OriginNames, host_of, own_fields, own_target
from fastcache.policy.redirection import LARGEST_ERROR
from fastcache.protocol.aws_hosts import parse_aws_host
from fastcache.protocol.framing import NO_BODY
from fastcache.protocol.query import classify_query
from fastcache.protocol.requests import render_request_head
from fastcache.protocol.responses import ResponseHead
from fastcache.protocol.s3xml import error_elements
from fastcache.protocol.sigv4 import Credentials, SigningContext, SigningKeys, sign
from fastcache.upstream.credentials.provider import CredentialProvider
from fastcache.upstream.endpoints import Endpoints
from fastcache.upstream.pool import Pool
from fastcache.upstream.regions import Regions
from fastcache.upstream.response import Response
from fastcache.upstream.sender import RequestBody

_log = logging.getLogger("fastcache.engine.signing")

ATTEMPTS = 3
"""Requests per question: one may teach the region, one the time."""
_SAME_TIME = 60.0
"""Seconds: a smaller difference to the origin's time is not what it complains of."""
_REFUSALS = frozenset({400, 401, 403})
_ELSEWHERE = frozenset({301, 307, 400})
"""What a bucket of another region is answered with."""
_ABOUT_US = frozenset(
    {
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "InvalidToken",
        "ExpiredToken",
        "TokenRefreshRequired",
        "RequestTimeTooSkewed",
        "RequestExpired",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "InvalidSecurity",
        "NotSignedUp",
        "AccountProblem",
        "CredentialsNotSupported",
    }
)
"""Errors about who signed and how: that was us."""


class OriginRefusesUsError(UpstreamError):
    """The origin does not take our credentials or our signature: nothing that a client could repair."""

    status = 500
    code = "InternalError"
    log_level = logging.ERROR
    kind = "credentials"

    @property
    def told(self) -> str:
        return "We encountered an internal error. Please try again."


class OwnRequest(NamedTuple):
    """A request of ours, ready to be sent."""

    method: bytes
    head: bytes
    carried: Carriage
    context: SigningContext | None
    """The seed of its chunks' signatures; None for one that is not signed."""
    pool: Pool
    """Where it is to be sent."""


class Sessions(Protocol):
    """Credentials of the roles that clients' keys stand for."""

    def provider(self, access_key: bytes) -> CredentialProvider | None:
        """None for a key that stands for no role, or does not any more."""
        ...


class Signer:
    """Makes requests of our own out of admitted ones, and judges their answers."""

    def __init__(
        self,
        origin: OriginId,
        place: BucketPlace,
        credentials: CredentialProvider,
        endpoints: Endpoints,
        clock: Clock,
        *,
        region: str = "",
        sessions: Sessions | None = None,
    ) -> None:
        """``region`` is the configured one, empty where the endpoint's own name or its answers tell. ``credentials``
        sign but for clients whose keys stand for roles: that is ``sessions``', None where those may not come."""
        self._place = place
        self._credentials = credentials
        self._sessions = sessions
        self._regions = Regions(origin, region)
        self._endpoints = endpoints
        self._names: dict[OriginId, OriginNames] = {}
        self._clock = clock
        self._tls = origin.scheme == "https"
        self._keys = SigningKeys()
        self._ahead = 0.0
        """Seconds by which the origin's clock is ahead of ours, once it has complained."""

    @property
    def has_sessions(self) -> bool:
        """Whether clients whose keys stand for roles can be asked for."""
        return self._sessions is not None

    def _credentials_for(self, admission: Admission) -> Credentials:
        """Never our own in the place of a session that cannot be had: CredentialsError."""
        if admission.session is None:
            return self._credentials.current()
        found = None if self._sessions is None else self._sessions.provider(admission.session)
        if found is None:
            raise CredentialsError("the access key stands for no role any more")
        return found.current()

    async def own_request(
        self,
        admission: Admission,
        *,
        add: Headers = (),
        without: frozenset[bytes] = frozenset(),
        payload: ClientPayload | None = None,
        body: bytes | None = None,
    ) -> OwnRequest:
        """The request to send. ``add`` and ``without`` change the client's fields; ``body`` stands for ``payload``."""
        head, target = admission.head, admission.target
        if body is not None:
            carried = carriage_of_bytes(body, () if payload is None else payload.trailers)
        else:
            carried = carriage(head, target, payload, tls=self._tls)
            if carried.has_body and carried.length == 0 and payload is not None:
                # An empty body is complete with the head, so that it has to be proved first.
                carried = carriage_of_bytes(await payload.whole(0), payload.trailers)
        endpoint = self._regions.endpoint_of(target.bucket)
        host, request_target = own_target(target, self._names_of(endpoint))
        fields: Headers = (
            (b"Host", host),
            *own_fields(head, without=without | carried.without),
            *add,
            *carried.add,
        )
        context = None
        if not admission.unsigned:
            signed = sign(
                head.method,
                request_target,
                fields,
                self._credentials_for(admission),
                region=self._regions.region_of(target.bucket),
                now=self._clock.wall() + self._ahead,
                payload_hash=carried.payload_hash,
                keys=self._keys,
            )
            fields, context = fields + signed.headers, signed.context
        if carried.has_body and carried.length is None:
            fields += ((b"Transfer-Encoding", b"chunked"),)
        rendered = render_request_head(head.method, request_target, fields)
        return OwnRequest(head.method, rendered, carried, context, self._endpoints.pool(endpoint))

    def _names_of(self, endpoint: OriginId) -> OriginNames:
        names = self._names.get(endpoint)
        if names is None:
            is_aws = parse_aws_host(endpoint.host) is not None
            names = self._names[endpoint] = OriginNames(host_of(endpoint), self._place, is_aws)
        return names

    async def bucket_head(self, admission: Admission) -> OwnRequest:
        """HEAD of the bucket that a request is about: its answer tells the region, where one to an object need not."""
        target = replace(admission.target, key=None, raw_path=b"")
        return await self.own_request(bare_head(replace(admission, target=target)))

    def source(self, own: OwnRequest, payload: ClientPayload | None, body: bytes | None) -> RequestBody | None:
        """The body that goes with ``own``."""
        if not own.carried.has_body:
            return None
        if body is not None:
            return once(body)
        assert payload is not None
        assert own.context is not None
        return body_source(own.carried, payload, own.context)

    async def judge(self, admission: Admission, response: Response, *, repeatable: bool) -> bool:
        """Whether the request is to be sent again; False: the answer can be passed on.

        Raises OriginRefusesUsError or RequestError in the place of answers that speak of us; the response is aborted
        then, and when True is returned.
        """
        head = response.head
        status = head.status
        if status not in _REFUSALS and status not in _ELSEWHERE:
            return False
        try:
            again = await self._judge(admission, response, repeatable)
        except BaseException:
            response.abort()
            raise
        if again:
            response.abort()
        return again

    async def _judge(self, admission: Admission, response: Response, repeatable: bool) -> bool:
        head = response.head
        text = await response.peek(LARGEST_ERROR)
        learnt = head.status in _ELSEWHERE and self.learns_region(admission, head, text)
        code = error_elements(text).get("Code")
        if code == "RequestTimeTooSkewed":
            learnt = self._learn_time(head)
        if learnt:
            if repeatable:
                return True
            raise RequestError("Please try again.", status=503, code="SlowDown", close=False)
        if head.status not in _REFUSALS or not text:
            return False
        access_key = self._credentials_for(admission).access_key
        if code in _ABOUT_US or access_key in text:
            raise OriginRefusesUsError(f"the origin does not take our request: {head.status}, code {code}")
        if code == "AccessDenied":
            # Its text names the principal that we are.
            raise RequestError("Access Denied", status=head.status, code=code, close=False)
        return False

    def learns_region(self, admission: Admission, head: ResponseHead, text: bytes = b"") -> bool:
        """Whether an answer has told where the bucket is, and it is not where it was thought to be."""
        target = admission.target
        if target.bucket is None or (admission.head.method == b"PUT" and target.key is None):
            return False  # CreateBucket is refused for the region that it asks for
        return self._regions.learn(target.bucket, head, text)

    def _learn_time(self, head: ResponseHead) -> bool:
        """Take the origin's time from its answer; False when that is the one we sign by already."""
        date = head.get(b"date")
        try:
            there = parsedate_to_datetime((date or b"").decode("latin-1")).timestamp()
        except (ValueError, OverflowError):
            return False
        ahead = there - self._clock.wall()
        if abs(ahead - self._ahead) < _SAME_TIME:
            return False
        self._ahead = ahead
        _log.warning("the origin's clock is %.0f s ahead of ours; requests are signed by its time", ahead)
        return True


def bare_head(admission: Admission) -> Admission:
    """HEAD of what a request is about, with nothing else of what its client said."""
    target = replace(admission.target, raw_query=b"", query=classify_query(b""))
    head = replace(admission.head, method=b"HEAD", headers=(), by_name={}, framing=NO_BODY)
    return replace(admission, head=head, target=target)


async def once(body: bytes) -> AsyncIterator[bytes | memoryview]:
    """A body that is here already, as one that arrives."""
    yield body
