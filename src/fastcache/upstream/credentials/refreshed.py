"""Credentials that are renewed in the background, before they end, by a task that no request waits for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Awaitable, Callable

from fastcache.clock import Clock
from fastcache.errors import ConfigError, CredentialsError, RoleRefusedError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials.schedule import LONGEST_NAP, back_off, renewal_time
from fastcache.upstream.credentials.source import Obtained, Source

_log = logging.getLogger("fastcache.credentials")

FIRST_WAIT = 10.0
"""Seconds for which a start waits for the first credentials."""
_PRECISION = 0.05
"""The shortest nap: what falls due is never waited for in a busy loop."""


class RefreshedCredentials:
    """A CredentialProvider over one source.

    Those at hand are used until they end, whatever becomes of the attempts to renew them. ``on_refresh`` is told the
    outcome of each attempt: ``renewed``, ``same`` or ``failed``. ``nap`` waits for so many seconds of ``clock``.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        on_refresh: Callable[[str], None] = lambda outcome: None,
        nap: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = source.name
        self._source = source
        self._clock = clock
        self._on_refresh = on_refresh
        self._nap = nap
        self._chance = chance
        self._obtained: Obtained | None = None
        self._problem: ConfigError | CredentialsError | None = None
        """What was the matter with the newest attempt."""
        self._tried = asyncio.Event()
        self._failures = 0
        self._renew_at = -math.inf
        """Wall clock, as the end of credentials is; the other times are on the clock that is never set."""
        self._not_before = -math.inf
        self._next_look = math.inf
        self._told_expired = False
        self._task: asyncio.Task[None] | None = None

    def current(self) -> Credentials:
        obtained = self._obtained
        if obtained is None or (obtained.expires is not None and self._clock.wall() >= obtained.expires):
            if isinstance(self._problem, RoleRefusedError):
                raise RoleRefusedError(str(self._problem))
            raise CredentialsError("this cache has no valid credentials of its own at the moment")
        return obtained.credentials

    def seconds_left(self) -> float:
        if self._obtained is None:
            return 0.0
        expires = self._obtained.expires
        return math.inf if expires is None else max(0.0, expires - self._clock.wall())

    async def start(self) -> None:
        """Begin to keep them fresh; returns with the first ones, or without any when that fails or takes too long."""
        loop = asyncio.get_running_loop()
        first: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._keep_fresh(first))
        await asyncio.wait({first}, timeout=FIRST_WAIT)
        if first.done():
            first.result()
        else:
            first.cancel()
            _log.warning("no credentials from %s after %.0f s; still trying", self.name, FIRST_WAIT)

    def begin(self) -> None:
        """Begin to keep them fresh, without a wait for the first ones; a source that can never give any only fails."""
        self._task = asyncio.get_running_loop().create_task(self._keep_fresh(None))

    async def tried(self) -> None:
        """Returns when the first attempt has ended, however that went, or has taken too long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), FIRST_WAIT)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep_fresh(self, first: asyncio.Future[None] | None) -> None:
        problem = await self._refresh()
        self._tried.set()
        if first is not None and not first.done():
            if isinstance(problem, ConfigError):
                first.set_exception(problem)
                return
            first.set_result(None)
        self._tell(problem)
        while True:
            await self._nap(max(_PRECISION, min(LONGEST_NAP, self._seconds_to_renewal(), self._seconds_to_look())))
            if await self._is_due():
                self._tell(await self._refresh())
            self._tell_when_expired()

    def _seconds_to_renewal(self) -> float:
        return max(self._renew_at - self._clock.wall(), self._not_before - self._clock.boot())

    def _seconds_to_look(self) -> float:
        return self._next_look - self._clock.boot()

    async def _is_due(self) -> bool:
        if self._seconds_to_renewal() <= 0.0:
            return True
        if self._seconds_to_look() > 0.0:
            return False
        self._look_later()
        return await self._source.changed()

    def _look_later(self) -> None:
        every = self._source.look_every
        self._next_look = math.inf if every is None else self._clock.boot() + every

    async def _refresh(self) -> ConfigError | CredentialsError | None:
        """Try once; what was the matter, if something was."""
        self._look_later()
        try:
            obtained = await self._source.load()
            self._check(obtained)
        except (ConfigError, CredentialsError) as error:
            self._failed(error)
            return error
        self._succeeded(obtained)
        return None

    def _check(self, obtained: Obtained) -> None:
        if obtained.expires is not None and obtained.expires <= self._clock.wall():
            raise CredentialsError("what it gives has expired; is this machine's clock right?")

    def _succeeded(self, obtained: Obtained) -> None:
        now = self._clock.wall()
        same = self._obtained is not None and obtained.credentials == self._obtained.credentials
        if self._failures:
            _log.info("credentials from %s again, after %d failures", self.name, self._failures)
        self._obtained = obtained
        self._problem = None
        self._failures = 0
        self._told_expired = False
        self._not_before = -math.inf
        self._renew_at = math.inf if obtained.expires is None else renewal_time(now, obtained.expires, self._chance())
        self._on_refresh("same" if same else "renewed")

    def _failed(self, problem: ConfigError | CredentialsError) -> None:
        self._problem = problem
        self._failures += 1
        self._renew_at = -math.inf
        self._not_before = self._clock.boot() + back_off(self._failures, self._chance())
        self._on_refresh("failed")

    def _tell(self, problem: ConfigError | CredentialsError | None) -> None:
        """Once for all failures in a row."""
        if problem is not None and self._failures == 1:
            _log.warning("no new credentials from %s: %s; %s", self.name, problem, self._at_hand())

    def _at_hand(self) -> str:
        left = self.seconds_left()
        if left == 0.0:
            return "there are none at hand"
        return "those at hand do not end" if left == math.inf else f"those at hand are good for {left:.0f} s"

    def _tell_when_expired(self) -> None:
        if self._obtained is not None and not self._told_expired and self.seconds_left() == 0.0:
            self._told_expired = True
            _log.error("the credentials from %s have expired: what has to be signed is answered with 503", self.name)
