"""Which of several places credentials are taken from, and what is said when one has none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastcache.clock import SystemClock
from fastcache.errors import ConfigError
from fastcache.upstream.credentials.choosing import FORMS, Choice, open_credentials, parse_choice

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT", "AWS_SECRET_ACCESS_KEY": "secret"}
PROFILES = """\
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = secret
[other]
aws_access_key_id = AKIAOTHER
aws_secret_access_key = secret
"""


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", Choice("auto")),
        ("environment", Choice("environment")),
        ("profile:a:b c", Choice("profile", "a:b c")),
        ("file:/run/secrets/s3", Choice("file", "/run/secrets/s3")),
        ("web-identity", Choice("web-identity")),
        ("container", Choice("container")),
        ("instance", Choice("instance")),
    ],
)
def test_every_form_is_read_and_written_alike(text: str, choice: Choice) -> None:
    assert parse_choice(text) == choice
    assert str(choice) == text


@pytest.mark.parametrize(
    "text", ["", "env", "profile", "profile:", "file:", "auto:", "instance:x", "AUTO", "static:a:b"]
)
def test_anything_else_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        parse_choice(text)
    assert str(caught.value) == f"not one of {FORMS}"


def test_a_file_is_named_by_its_absolute_path() -> None:
    with pytest.raises(ValueError, match="absolute"):
        parse_choice("file:secrets")


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    (tmp_path / ".aws").mkdir(exist_ok=True)
    (tmp_path / ".aws/credentials").write_text(PROFILES)
    return {"HOME": str(tmp_path), **more}


@pytest.mark.parametrize(
    ("choice", "more", "key", "name"),
    [
        ("auto", KEYS, b"AKIAENVIRONMENT", "environment"),
        ("auto", {}, b"AKIADEFAULT", "profile default"),
        ("auto", {"AWS_PROFILE": "other"}, b"AKIAOTHER", "profile other"),
        ("auto", {**KEYS, "AWS_PROFILE": "other"}, b"AKIAENVIRONMENT", "environment"),
        ("environment", KEYS, b"AKIAENVIRONMENT", "environment"),
        ("profile:other", KEYS, b"AKIAOTHER", "profile other"),
    ],
)
async def test_keys_are_taken_in_the_order_of_the_aws_tools_and_need_no_botocore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, more: dict[str, str], key: bytes, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    provider = open_credentials(parse_choice(choice), environ(tmp_path, **more), SystemClock(), region="us-east-1")
    await provider.start()
    try:
        assert (provider.current().access_key, provider.name) == (key, name)
    finally:
        await provider.close()


def test_web_identity_goes_before_a_profiles_keys_as_with_botocore(tmp_path: Path) -> None:
    found = open_credentials(
        parse_choice("auto"),
        environ(tmp_path, AWS_WEB_IDENTITY_TOKEN_FILE="/token", AWS_ROLE_ARN="arn"),
        SystemClock(),
        region="us-east-1",
    )
    assert found.name == "AWS's usual places"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("environment", "variable AWS_ACCESS_KEY_ID is not set"),
        ("profile:absent", "profile absent is neither in"),
    ],
)
def test_a_place_without_any_is_told_at_once(tmp_path: Path, choice: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_credentials(parse_choice(choice), environ(tmp_path), SystemClock(), region="us-east-1")
