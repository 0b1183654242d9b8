"""An origin with a proxy in front of it, and the two ways to talk to it: straight and through."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from botocore.exceptions import ClientError
from tests.harness.clients import boto3_client
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import presigned_url, signed_request

if TYPE_CHECKING:
    from fastcache.origin.control import OriginControl

LONG_TTL = "1h"


@dataclass(frozen=True, eq=False)
class Site:
    """One origin and one proxy. ``kind`` is ``swift`` or ``own``, ``mode`` the proxy's ``--authorization``.

    ``body_sent`` tells how many object bytes of a bucket the origin sent, where the origin can tell, and ``control``
    makes it do things.
    """

    kind: str
    mode: str
    origin_endpoint: str
    proxy: FastcacheProcess
    access_key: str
    secret_key: str
    body_sent: Callable[[str], int] | None = None
    control: OriginControl | None = None

    @property
    def endpoint(self) -> str:
        """The proxy's."""
        return self.proxy.endpoint

    @functools.cached_property
    def direct(self) -> Any:
        """boto3 straight to the origin: what it writes is written behind the proxy's back."""
        return boto3_client(self.origin_endpoint, self.access_key, self.secret_key)

    @functools.cached_property
    def through(self) -> Any:
        """boto3 through the proxy."""
        return boto3_client(self.endpoint, self.access_key, self.secret_key)

    def new_bucket(self) -> str:
        """A bucket that no test and no cache has seen."""
        name = f"bucket-{uuid.uuid4().hex[:20]}"
        self.direct.create_bucket(Bucket=name)
        return name

    def moved(self, bucket: str) -> int:
        """Body bytes that came from the origin so far: its own count for ``bucket``, or the proxy's of everything."""
        if self.body_sent is not None:
            return self.body_sent(bucket)
        return int(self.proxy.metric("fastcache_origin_received_bytes_total"))

    def raw(
        self,
        method: str,
        target: str,
        *,
        direct: bool = False,
        secret: str | None = None,
        signed: dict[str, str] | None = None,
        unsigned: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> RawResponse:
        """One signed request for ``target`` (as it goes on the wire, with a slash in front) and its answer.

        Servers decode the path and encode it anew to verify a signature, so that is what is signed.
        """
        endpoint = self.origin_endpoint if direct else self.endpoint
        path, question_mark, query = target.partition("?")
        canonical = quote(unquote_to_bytes(path), safe="/~") + question_mark + query
        request = signed_request(
            method,
            endpoint + canonical,
            self.access_key,
            secret or self.secret_key,
            signed=tuple((signed or {}).items()),
            unsigned=tuple((unsigned or {}).items()),
            body=body,
            payload_sha256="UNSIGNED-PAYLOAD",
        )
        return exchange(endpoint, request.replace(f" {canonical} ".encode(), f" {target} ".encode(), 1))

    def presigned(self, method: str, target: str, *, direct: bool = False, expires: int = 600) -> str:
        endpoint = self.origin_endpoint if direct else self.endpoint
        return presigned_url(method, endpoint + target, self.access_key, self.secret_key, expires=expires)


def status_of(call: Callable[..., Any], **arguments: Any) -> int:
    """HTTP status of what a boto3 call got, error or not."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])
