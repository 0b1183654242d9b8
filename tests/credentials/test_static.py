"""Credentials from text and from the environment."""

from __future__ import annotations

import math

import pytest

from fastcache.errors import ConfigError, CredentialsError, UpstreamError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials.environment import environment_credentials
from fastcache.upstream.credentials.provider import StaticCredentials

SECRET = "canary/Secret+Key=0123456789"
TOKEN = "canaryToken//=="
BOTH = {"AWS_ACCESS_KEY_ID": "AKIACANARY", "AWS_SECRET_ACCESS_KEY": SECRET}


def test_the_environments_keys_are_read_with_and_without_a_token() -> None:
    assert environment_credentials(BOTH) == Credentials(b"AKIACANARY", SECRET.encode())
    with_token = environment_credentials({**BOTH, "AWS_SESSION_TOKEN": f" {TOKEN}\n"})
    assert with_token == Credentials(b"AKIACANARY", SECRET.encode(), TOKEN.encode())


@pytest.mark.parametrize("environ", [{}, {"AWS_SESSION_TOKEN": TOKEN}, dict.fromkeys(BOTH, "")])
def test_an_environment_without_keys_has_no_credentials(environ: dict[str, str]) -> None:
    assert environment_credentials(environ) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "access key is missing"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "secret key is missing"),
        ({"AWS_SECRET_ACCESS_KEY": SECRET + " x"}, "the secret key has a character"),
        ({"AWS_SECRET_ACCESS_KEY": SECRET + "é"}, "the secret key has a character"),
        ({"AWS_SESSION_TOKEN": TOKEN + "\r\nX-Evil: 1"}, "the session token has a character"),
        ({"AWS_ACCESS_KEY_ID": "AKIA/20300101"}, "the access key has a slash"),
    ],
)
def test_half_of_a_pair_or_what_no_header_can_carry_is_refused_without_being_repeated(
    change: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        environment_credentials({**BOTH, **change})
    assert named in str(caught.value)
    assert "canary" not in str(caught.value).lower()


async def test_static_credentials_are_the_same_for_ever() -> None:
    credentials = Credentials(b"AKIACANARY", SECRET.encode(), TOKEN.encode())
    provider = StaticCredentials(credentials)
    await provider.start()
    assert provider.current() is credentials
    assert provider.seconds_left() == math.inf
    await provider.close()
    assert provider.current() is credentials
    assert "canary" not in repr(credentials)


def test_no_credentials_is_a_503_of_its_own_kind_before_anything_was_sent() -> None:
    error = CredentialsError("no credentials")
    assert isinstance(error, UpstreamError)
    assert (error.status, error.code, error.kind, error.sent) == (503, "ServiceUnavailable", "credentials", False)
