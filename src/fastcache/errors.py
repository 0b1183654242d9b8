"""One root for every error fastcache raises on purpose.

Each error says what a client is told (HTTP status, S3 code), whether its connection can go on, and how loudly to log
it; nothing else in the code decides these again.
"""

from __future__ import annotations

import logging
from typing import ClassVar


class FastcacheError(Exception):
    """Root of all errors raised on purpose. ``str(error)`` is safe to show: it never holds a secret."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "InternalError"
    close: ClassVar[bool] = True
    log_level: ClassVar[int] = logging.ERROR


class ConfigError(FastcacheError):
    """A setting cannot be used; the text names the place (flag, variable, file:line) and the nearest valid name."""


class KeysFileError(ConfigError):
    """The file of access keys cannot be used; the text has a line for each problem and no word of a secret."""


class RequestError(FastcacheError):
    """The client's request is refused before anything is sent to the origin.

    The S3 error codes are those of the S3 API reference, "List of error codes".
    """

    log_level: ClassVar[int] = logging.INFO

    def __init__(self, message: str, *, status: int = 400, code: str = "InvalidRequest", close: bool = True) -> None:
        super().__init__(message)
        self.response_status = status
        self.response_code = code
        self.closes = close


class UpstreamError(FastcacheError):
    """The origin could not be asked or did not answer. ``sent`` tells whether any request byte may have reached it."""

    status: ClassVar[int] = 502
    code: ClassVar[str] = "BadGateway"
    log_level: ClassVar[int] = logging.WARNING
    kind: ClassVar[str] = "failed"
    """The word it is counted under."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent

    @property
    def told(self) -> str:
        """What the client is told of it."""
        return f"The origin did not answer: {self}"


class UpstreamConnectError(UpstreamError):
    """No connection: refused, unreachable, name unknown, TLS not verified."""

    kind: ClassVar[str] = "connect"

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)


class CredentialsError(UpstreamError):
    """There are no credentials of our own to sign with now; it may pass, and nothing was sent."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "ServiceUnavailable"
    log_level: ClassVar[int] = logging.DEBUG
    """What keeps credentials fresh says once what is wrong, not each request that meets it."""
    kind: ClassVar[str] = "credentials"

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)

    @property
    def told(self) -> str:
        return "This cache cannot ask the origin at the moment. Please try again."


class RoleRefusedError(CredentialsError):
    """The token service does not give a client the role that its key stands for; trying again mends nothing."""

    status: ClassVar[int] = 403
    code: ClassVar[str] = "AccessDenied"

    @property
    def told(self) -> str:
        return "Access Denied"


class UpstreamTimeoutError(UpstreamError):
    """Connecting, the first byte or progress took longer than configured."""

    status: ClassVar[int] = 504
    code: ClassVar[str] = "GatewayTimeout"
    kind: ClassVar[str] = "timeout"


class UpstreamProtocolError(UpstreamError):
    """The origin's answer is not well-formed HTTP/1.1, or ended before its declared length."""

    kind: ClassVar[str] = "protocol"


class UpstreamSurplusError(UpstreamProtocolError):
    """The origin sent more than it announced: nobody can tell which of the two is wrong, so neither is believed."""


class StorageError(FastcacheError):
    """The cache directory failed. Never shown to a client: the engine goes on without the cache."""

    log_level: ClassVar[int] = logging.WARNING


class CorruptFileError(StorageError):
    """A cache file is not what it should be, in any field or byte: a miss, a counter and a log line."""


class CacheDirectoryError(ConfigError):
    """The cache directory cannot be used at all: not ours, not writable, in use, of another format."""
