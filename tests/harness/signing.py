"""SigV4 for raw requests: botocore computes the signature, the caller chooses what is signed.

SDKs sign ``Range``; curl, DuckDB and presigned URLs do not. Both kinds come from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

HeaderPairs = Sequence[tuple[str, str]]


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def signed_headers(
    method: str,
    url: str,
    access_key: str,
    secret_key: str,
    *,
    signed: HeaderPairs = (),
    unsigned: HeaderPairs = (),
    token: str | None = None,
    region: str = "us-east-1",
    payload_sha256: str = EMPTY_SHA256,
) -> list[tuple[str, str]]:
    """Header fields of a request for ``url`` (its path already percent-encoded as it goes on the wire).

    Host, X-Amz-Date, X-Amz-Content-SHA256 and ``signed`` are in SignedHeaders; ``unsigned`` follow them and are not.
    """
    host = urlsplit(url).netloc
    request = AWSRequest(method=method, url=url, headers={"Host": host, **dict(signed)})
    # botocore takes the hash from here instead of reading a body.
    request.headers["X-Amz-Content-SHA256"] = payload_sha256
    request.context["payload_signing_enabled"] = True
    auth = _PayloadHashGiven(BotocoreCredentials(access_key, secret_key, token), "s3", region, payload_sha256)
    auth.add_auth(request)
    return [*request.headers.items(), *unsigned]


class _PayloadHashGiven(S3SigV4Auth):
    def __init__(self, credentials: BotocoreCredentials, service: str, region: str, payload_sha256: str) -> None:
        super().__init__(credentials, service, region)
        self._payload_sha256 = payload_sha256

    def payload(self, request: AWSRequest) -> str:
        return self._payload_sha256


def signed_request(
    method: str,
    url: str,
    access_key: str,
    secret_key: str,
    *,
    body: bytes = b"",
    **options: object,
) -> bytes:
    """A whole request as bytes, ready for a socket; ``options`` are those of ``signed_headers``."""
    fields = signed_headers(method, url, access_key, secret_key, **options)  # type: ignore[arg-type]
    if body:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {_target(url)} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def presigned_url(
    method: str, url: str, access_key: str, secret_key: str, *, expires: int = 600, region: str = "us-east-1"
) -> str:
    """``url`` with a SigV4 signature in its query, good for ``expires`` seconds; only Host is signed."""
    request = AWSRequest(method=method, url=url)
    S3SigV4QueryAuth(BotocoreCredentials(access_key, secret_key), "s3", region, expires=expires).add_auth(request)
    return request.url
