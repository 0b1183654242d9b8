"""Credentials per client: its identity token exchanged for a session of the role that its access key stands for.

A client goes on signing with the key that this cache knows; what it may do at the origin is then what the role may do,
and the origin's logs name the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from fastcache.clock import Clock
from fastcache.errors import ConfigError, CredentialsError, RoleRefusedError, UpstreamError
from fastcache.policy.allow_rules import Role
from fastcache.protocol import sts
from fastcache.protocol.requests import render_request_head
from fastcache.upstream.credentials.off_the_loop import in_thread
from fastcache.upstream.credentials.private_file import read_any
from fastcache.upstream.credentials.provider import CredentialProvider
from fastcache.upstream.credentials.refreshed import RefreshedCredentials
from fastcache.upstream.credentials.secret_file import expiration
from fastcache.upstream.credentials.source import Obtained
from fastcache.upstream.credentials.text import key_pair
from fastcache.upstream.pool import Pool

PATIENCE = 30.0
"""Seconds for one exchange once it is its turn, waiting for a connection included."""
_LARGEST_ANSWER = 256 * 1024
_AT_ONCE = 16
"""Exchanges at a time: a start with thousands of keys is no flood for the service."""


class TokenService:
    """One STS, reached by a pool of its own: an AWS region's, or that of an S3 service which has one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._host = str(pool.origin).partition("://")[2].encode("ascii")

    async def assume_role(self, role: str, session: str, token: str) -> Obtained:
        """A new session of ``role``. CredentialsError when it is not to be had."""
        body = sts.render_assume_role(role, session, token)
        try:
            async with self._turns, asyncio.timeout(PATIENCE):
                status, answer = await self._post(body)
            assumed = sts.parse_assumed(status, answer)
            pair = key_pair(assumed.access_key, assumed.secret_key, assumed.session_token)
            return Obtained(pair, expiration(assumed.expiration))
        except TimeoutError:
            raise CredentialsError(f"no answer from the token service within {PATIENCE:.0f} s") from None
        except UpstreamError as error:
            raise CredentialsError(f"the token service: {error}") from None
        except sts.RefusedError as error:
            raise RoleRefusedError(str(error)) from None
        except ValueError as error:
            raise CredentialsError(str(error)) from None

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        fields = (
            (b"Host", self._host),
            (b"Content-Type", sts.CONTENT_TYPE),
            (b"Content-Length", b"%d" % len(body)),
            (b"Accept", b"text/xml"),
        )
        head = render_request_head(b"POST", b"/", fields)
        response = await self._pool.request(b"POST", head, body=_once(body), content_length=len(body), retry_safe=False)
        answer = bytearray()
        try:
            while piece := await response.read():
                answer += piece
                if len(answer) > _LARGEST_ANSWER:
                    raise CredentialsError("the answer of the token service is too long")
        finally:
            response.abort()
        return response.head.status, bytes(answer)


async def _once(body: bytes) -> AsyncIterator[bytes | memoryview]:
    yield body


class RoleSource:
    """Sessions of one role for one client."""

    look_every = None

    def __init__(self, service: TokenService, role: Role, client: str) -> None:
        self.name = f"role {role.arn}"
        self._service = service
        self._role = role
        self._session = sts.session_name(f"fastcache-{client}")

    async def changed(self) -> bool:
        return False

    async def load(self) -> Obtained:
        token = await in_thread(self._read_token)
        return await self._service.assume_role(self._role.arn, self._session, token)

    def _read_token(self) -> str:
        data, _ = read_any(self._role.token_file)
        try:
            token = data.decode("ascii").strip()
        except UnicodeDecodeError:
            token = ""
        if not token:
            raise ConfigError(f"{self._role.token_file} holds no token")
        return token


class RoleSessions:
    """The sessions of all clients whose keys stand for roles. All on the loop's thread."""

    def __init__(
        self, service: TokenService, clock: Clock, *, on_refresh: Callable[[str], None] = lambda outcome: None
    ) -> None:
        self._service = service
        self._clock = clock
        self._on_refresh = on_refresh
        self._roles: dict[bytes, Role] = {}
        self._sessions: dict[bytes, RefreshedCredentials] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def update(self, roles: Mapping[bytes, Role]) -> None:
        """The roles by access key from now on; sessions of others end here, those of new ones begin.

        Returns at once. Until a new session is there its key has no credentials.
        """
        for access_key in [key for key, role in self._roles.items() if roles.get(key) != role]:
            del self._roles[access_key]
            self._end(self._sessions.pop(access_key))
        for access_key, role in roles.items():
            if access_key not in self._roles:
                self._roles[access_key] = role
                source = RoleSource(self._service, role, access_key.decode("ascii", "replace"))
                session = RefreshedCredentials(source, self._clock, on_refresh=self._on_refresh)
                self._sessions[access_key] = session
                session.begin()

    def provider(self, access_key: bytes) -> CredentialProvider | None:
        """What to sign a client's requests with; None for a key that stands for no role."""
        return self._sessions.get(access_key)

    async def ready(self) -> None:
        """Returns when each session has been asked for once, however that went, or has taken too long."""
        await asyncio.gather(*(session.tried() for session in self._sessions.values()))

    async def close(self) -> None:
        self.update({})
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, session: RefreshedCredentials) -> None:
        task = asyncio.get_running_loop().create_task(session.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
