"""Credentials by botocore: other programs, single sign-on, roles, web identity, containers and instances.

botocore knows dozens of variables and services and waits for them; each attempt is made in a thread of its own, with a
session of its own, so that what it returns was asked for now.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastcache.errors import ConfigError, CredentialsError
from fastcache.upstream.credentials.off_the_loop import in_thread
from fastcache.upstream.credentials.source import Obtained
from fastcache.upstream.credentials.text import key_pair

HOW_TO_GET_IT = "install it with: pip install 'fastcache-s3[aws]'"
PATIENCE = 60.0
"""Seconds for one attempt; a program that has not answered by then is waited for by the next one."""

_NOT_OF_A_PROFILE = ("ec2-credentials-file", "boto-config", "container-role", "iam-role")
"""Where botocore looks when a profile has nothing; whoever names a profile means that profile."""
_WORD = re.compile(r"[A-Za-z0-9.]{1,64}")


def has_botocore() -> bool:
    """Whether it is installed; nothing is imported."""
    return importlib.util.find_spec("botocore") is not None


class AwsSource:
    """What botocore finds: by its whole chain, or by the one ``method`` of it, as its resolver calls them.

    ``profile`` leaves the environment's keys and roles of the machine aside. ``region`` is that of STS where nothing
    else names one. ConfigError without botocore.
    """

    look_every = None

    def __init__(self, name: str, region: str, *, method: str | None = None, profile: str | None = None) -> None:
        if not has_botocore():
            raise ConfigError(f"credentials from {name} need botocore; {HOW_TO_GET_IT}")
        self.name = name
        self._region = region
        self._method = method
        self._profile = profile
        self._running: asyncio.Future[Obtained | None] | None = None

    async def changed(self) -> bool:
        return False

    async def load(self) -> Obtained:
        if self._running is None:
            self._running = in_thread(self._ask)
        running = self._running
        await asyncio.wait({running}, timeout=PATIENCE)
        if not running.done():
            raise CredentialsError(f"no answer within {PATIENCE:.0f} s")
        self._running = None
        error = running.exception()
        if error is not None:
            raise CredentialsError(_reason(error)) from None
        obtained = running.result()
        if obtained is None:
            raise CredentialsError("it has none")
        return obtained

    def _ask(self) -> Obtained | None:
        from botocore.session import Session  # type: ignore[import-untyped]  # optional, and slow to import

        # It logs each failure with the answer it got, which may hold a secret; what went wrong is told here, once.
        logging.getLogger("botocore").setLevel(logging.CRITICAL)
        session = Session(profile=self._profile)
        if session.get_config_variable("region") is None:
            session.set_config_variable("region", self._region)
        found = self._finder(session.get_component("credential_provider"))()
        if found is None:
            return None
        # Roles are taken only here; before that there is no end either.
        frozen = found.get_frozen_credentials()
        expires: datetime | None = getattr(found, "_expiry_time", None)
        pair = key_pair(frozen.access_key, frozen.secret_key, frozen.token or "")
        return Obtained(pair, None if expires is None else expires.timestamp())

    def _finder(self, resolver: Any) -> Callable[[], Any]:
        if self._method is not None:
            find: Callable[[], Any] = resolver.get_provider(self._method).load
            return find
        if self._profile is not None:
            for name in _NOT_OF_A_PROFILE:
                resolver.remove(name)
        chain: Callable[[], Any] = resolver.load_credentials
        return chain


def _reason(error: BaseException) -> str:
    """What can be told of a failure. Its own text cannot: botocore puts answers and other programs' output into it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        return f"refused with {code}" if _WORD.fullmatch(code) else "refused"
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__
