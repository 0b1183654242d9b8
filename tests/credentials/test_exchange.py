"""An identity token exchanged for a session of a role, one for each client, by a token service that checks it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.credentials.services import CANARY, Service, Sts, running, token_file
from tests.harness.reactor import until

from fastcache.clock import ManualClock, SystemClock
from fastcache.errors import ConfigError, CredentialsError
from fastcache.model import OriginId
from fastcache.policy.access import Role
from fastcache.protocol.sigv4 import Credentials
from fastcache.protocol.sts import parse_assumed, session_name
from fastcache.upstream.credentials import exchange
from fastcache.upstream.credentials.exchange import RoleSessions, RoleSource, TokenService
from fastcache.upstream.credentials.refreshed import RefreshedCredentials
from fastcache.upstream.pool import Pool
from fastcache.upstream.settings import UpstreamSettings

TOKEN = "canaryHeader.payload+/=.signature"


@dataclass
class Exchange:
    service: Service
    handler: Any
    client: TokenService
    role: Role


@pytest.fixture
async def sts(tmp_path: Path) -> AsyncIterator[Exchange]:
    service = Service()
    with running(Sts, service) as handler:
        handler.identity = TOKEN
        pool = Pool(OriginId("http", "127.0.0.1", int(service.url.rpartition(":")[2])), UpstreamSettings())
        try:
            yield Exchange(service, handler, TokenService(pool), Role(Sts.ROLE, token_file(tmp_path, TOKEN + "\n")))
        finally:
            await pool.close()


async def test_a_token_becomes_a_session_of_the_role(sts: Exchange) -> None:
    obtained = await RoleSource(sts.client, sts.role, "AKIACLIENT").load()
    (issued,) = sts.service.issued.values()
    token = issued.token.encode()
    assert obtained.credentials == Credentials(issued.access_key.encode(), issued.secret_key.encode(), token)
    assert obtained.expires == int(issued.expires)
    assert sts.service.refused == []


async def test_requests_across_renewals_meet_no_failure(sts: Exchange) -> None:
    clock = ManualClock()
    sts.service.wall = clock.wall
    sts.service.life = 900.0
    outcomes: list[str] = []
    source = RoleSource(sts.client, sts.role, "AKIACLIENT")
    provider = RefreshedCredentials(source, clock, on_refresh=outcomes.append, nap=lambda seconds: asyncio.sleep(0.002))
    await provider.start()
    used: set[str] = set()
    try:
        async with asyncio.timeout(60):
            while len(used) < 5:
                key = provider.current().access_key.decode()
                assert sts.service.issued[key].expires > clock.wall()
                used.add(key)
                if provider.seconds_left() > 200.0:
                    clock.advance(10.0)
                await asyncio.sleep(0)
    finally:
        await provider.close()
    assert set(outcomes) == {"renewed"}


async def test_a_token_that_was_written_anew_is_used_and_an_old_one_refused(sts: Exchange) -> None:
    source = RoleSource(sts.client, sts.role, "AKIACLIENT")
    await source.load()
    sts.handler.identity = "the.second.token"
    with pytest.raises(CredentialsError, match=r"^the token service refused with ExpiredTokenException$"):
        await source.load()
    sts.role.token_file.write_text("the.second.token")
    assert (await source.load()).credentials.access_key == b"ASIAISSUED000002"


async def test_a_role_that_the_token_may_not_take_is_refused(sts: Exchange) -> None:
    with pytest.raises(CredentialsError, match="refused with AccessDenied"):
        await sts.client.assume_role(Sts.ROLE + "s", "session", TOKEN)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, f"<html>{CANARY}", "answered 500 with something else than XML"),
        (200, f"<a>{CANARY}", "answered 200 with something else than XML"),
        (403, f"<ErrorResponse><Error><Code>{CANARY} x</Code></Error></ErrorResponse>", "refused with 403"),
        (200, f"<R><Credentials><AccessKeyId>{CANARY}</AccessKeyId></Credentials></R>", "has no SecretAccessKey"),
        (200, "<R/>", "has no AccessKeyId"),
        (200, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "something else than XML"),
    ],
)
async def test_an_answer_that_is_none_is_told_without_its_text(
    sts: Exchange, status: int, body: str, told: str
) -> None:
    sts.service.failing = (status, body)
    with pytest.raises(CredentialsError, match=told) as caught:
        await RoleSource(sts.client, sts.role, "AKIACLIENT").load()
    assert CANARY not in str(caught.value)


async def test_a_service_that_is_silent_or_gone_fails_in_bounded_time(
    sts: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PATIENCE", 0.2)
    sts.service.may_answer.clear()
    with pytest.raises(CredentialsError, match="no answer from the token service"):
        await RoleSource(sts.client, sts.role, "AKIACLIENT").load()
    gone = Pool(OriginId("http", "127.0.0.1", 1), UpstreamSettings())
    with pytest.raises(CredentialsError, match="the token service: "):
        await RoleSource(TokenService(gone), sts.role, "AKIACLIENT").load()
    await gone.close()


@pytest.mark.parametrize("content", ["", " \n", "ä"])
async def test_a_file_without_a_token_is_told(sts: Exchange, content: str) -> None:
    sts.role.token_file.write_text(content)
    with pytest.raises(ConfigError, match="holds no token"):
        await RoleSource(sts.client, sts.role, "AKIACLIENT").load()


def _key_of(sessions: RoleSessions, access_key: bytes) -> bytes | None:
    provider = sessions.provider(access_key)
    assert provider is not None
    try:
        return provider.current().access_key
    except CredentialsError:
        return None


async def test_each_client_has_a_session_of_its_own_as_long_as_its_key_stands_for_the_role(sts: Exchange) -> None:
    sessions = RoleSessions(sts.client, SystemClock())
    try:
        sessions.update({b"AKIAFIRST": sts.role, b"AKIASECOND": sts.role})
        assert sessions.provider(b"AKIAOTHER") is None
        assert _key_of(sessions, b"AKIAFIRST") is None, "a new session is not waited for"
        await until(lambda: _key_of(sessions, b"AKIAFIRST") is not None)
        await until(lambda: _key_of(sessions, b"AKIASECOND") is not None)
        first = _key_of(sessions, b"AKIAFIRST")
        assert first != _key_of(sessions, b"AKIASECOND")
        sessions.update({b"AKIAFIRST": sts.role, b"AKIASECOND": Role(Sts.ROLE + "s", sts.role.token_file)})
        assert _key_of(sessions, b"AKIAFIRST") == first, "what did not change goes on"
        assert _key_of(sessions, b"AKIASECOND") is None, "a session of the old role is never used for the new one"
        await until(lambda: "AccessDenied" in sts.service.refused)
        assert _key_of(sessions, b"AKIASECOND") is None
        sessions.update({b"AKIASECOND": sts.role})
        assert sessions.provider(b"AKIAFIRST") is None
        await until(lambda: _key_of(sessions, b"AKIASECOND") is not None)
    finally:
        await sessions.close()
    assert sessions.provider(b"AKIASECOND") is None


async def test_no_token_and_no_secret_is_shown(sts: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastcache")
    source = RoleSource(sts.client, sts.role, "AKIACLIENT")
    obtained = await source.load()
    assert CANARY in obtained.credentials.secret_key.decode()
    sts.handler.identity = "another"
    provider = RefreshedCredentials(source, SystemClock())
    await provider.start()
    await provider.close()
    assert "ExpiredTokenException" in caplog.text
    shown = caplog.text + repr(obtained) + repr(source) + repr(provider) + repr(sts.role)
    assert CANARY not in shown
    assert TOKEN not in shown
    parts = [f"<{name}>{CANARY}</{name}>" for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")]
    assert CANARY not in repr(parse_assumed(200, f"<R>{''.join(parts[:3])}<Expiration>2030</Expiration></R>".encode()))


@given(st.text())
def test_a_session_has_a_name_that_the_service_takes(client: str) -> None:
    name = session_name(f"fastcache-{client}")
    assert 2 <= len(name) <= 64
    assert name.isascii()
    assert name.startswith("fastcache")
