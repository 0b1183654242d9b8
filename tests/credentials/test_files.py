"""Credentials in AWS's shared files and in a file of their own: what is read, what is refused, what is read again."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.session import Session
from tests.harness.reactor import until

from fastcache.clock import SystemClock
from fastcache.errors import ConfigError, FastcacheError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials import private_file, profiles, secret_file
from fastcache.upstream.credentials.profiles import ProfileSource, SharedFiles, is_plain, profile_credentials
from fastcache.upstream.credentials.refreshed import RefreshedCredentials
from fastcache.upstream.credentials.secret_file import FileSource

SECRET = "canary/Secret+Key=0123456789"
TOKEN = "canaryToken//=="

CREDENTIALS = f"""\
# the administrator's own comment
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key={SECRET}

[temporary]
aws_access_key_id: ASIATEMPORARY
aws_secret_access_key = {SECRET}%(x)s
aws_session_token = {TOKEN}

[both]
aws_access_key_id = AKIAINCREDENTIALS
aws_secret_access_key = {SECRET}
"""
CONFIG = f"""\
[default]
region = eu-west-1
s3 =
    addressing_style = path
[profile both]
aws_access_key_id = AKIAINCONFIG
aws_secret_access_key = other
[profile "with space"]
aws_access_key_id = AKIASPACE
aws_secret_access_key = {SECRET}
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = default
[profile process]
credential_process = /bin/true
[sso-session corporate]
sso_start_url = https://corporate.example
[profile region-only]
region = eu-west-1
"""


@pytest.fixture
def files(tmp_path: Path) -> SharedFiles:
    found = SharedFiles(tmp_path / "credentials", tmp_path / "config")
    found.credentials.write_text(CREDENTIALS)
    found.config.write_text(CONFIG)
    return found


@pytest.mark.parametrize("name", ["default", "temporary", "both", "with space"])
def test_a_profile_with_keys_is_read_as_botocore_reads_it(
    files: SharedFiles, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files.credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(files.config))
    theirs = Session(profile=name).get_credentials().get_frozen_credentials()
    profile = files.profile(name)
    assert profile is not None
    assert is_plain(profile)
    ours = profile_credentials(profile)
    assert ours.access_key.decode() == theirs.access_key
    assert ours.secret_key.decode() == theirs.secret_key
    assert (ours.session_token or b"").decode() == (theirs.token or "")


@pytest.mark.parametrize("name", ["role", "process", "region-only"])
def test_a_profile_that_says_more_or_less_than_keys_is_not_plain(files: SharedFiles, name: str) -> None:
    profile = files.profile(name)
    assert profile is not None
    assert not is_plain(profile)


@pytest.mark.parametrize("name", ["absent", "corporate", "sso-session corporate", "profile both", ""])
def test_what_is_no_profile_is_not_found(files: SharedFiles, name: str) -> None:
    assert files.profile(name) is None


def test_files_that_do_not_exist_say_nothing(tmp_path: Path) -> None:
    assert SharedFiles(tmp_path / "a", tmp_path / "b").profile("default") is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/home/me"}, ("/home/me/.aws/credentials", "/home/me/.aws/config")),
        ({"HOME": "/home/me", "AWS_CONFIG_FILE": "/etc/aws"}, ("/home/me/.aws/credentials", "/etc/aws")),
        ({"HOME": "/home/me", "AWS_SHARED_CREDENTIALS_FILE": "~/c"}, ("/home/me/c", "/home/me/.aws/config")),
        ({}, ("/.aws/credentials", "/.aws/config")),
    ],
)
def test_the_files_are_where_every_aws_tool_looks(environ: dict[str, str], expected: tuple[str, str]) -> None:
    found = SharedFiles.of_environment(environ)
    assert (str(found.credentials), str(found.config)) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[default]\naws_access_key_id = A\ncanary\n", "not in the format of AWS's shared files"),
        (f"aws_secret_access_key = {SECRET}\n", "not in the format of AWS's shared files, line 1"),
        (f"[default]\na = {SECRET}\n[default]\na = b\n", "not in the format of AWS's shared files, line 3"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_repeated(files: SharedFiles, text: str, told: str) -> None:
    files.credentials.write_text(text)
    with pytest.raises(ConfigError) as caught:
        files.profile("default")
    assert str(caught.value) == f"{files.credentials}: {told}"
    files.credentials.write_bytes(b"[default]\n\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        files.profile("default")


def _json(expiration: str | None = None, **changes: object) -> str:
    document = {"Version": 1, "AccessKeyId": "ASIAJSON", "SecretAccessKey": SECRET, "SessionToken": TOKEN}
    return json.dumps({**document, **({"Expiration": expiration} if expiration else {}), **changes})


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


async def test_a_file_of_its_own_is_a_section_or_the_json_of_a_credential_process(tmp_path: Path) -> None:
    section = await FileSource(private(tmp_path / "a", CREDENTIALS)).load()
    assert (section.credentials, section.expires) == (Credentials(b"AKIADEFAULT", SECRET.encode()), None)
    document = await FileSource(private(tmp_path / "b", _json("2030-01-02T03:04:05Z"))).load()
    assert document.credentials == Credentials(b"ASIAJSON", SECRET.encode(), TOKEN.encode())
    assert document.expires == 1893553445.0
    endless = await FileSource(private(tmp_path / "c", _json(SessionToken=None))).load()
    assert (endless.credentials.session_token, endless.expires) == (None, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no section [default]"),
        ("[other]\naws_access_key_id = A\n", "there is no section [default]"),
        ("[default]\naws_access_key_id = A\n", "the secret key is missing"),
        ('{"Version": 1,\n "SecretAccessKey": "canary', "not JSON, line 2"),
        (_json(Version=2), "Version is not 1"),
        (_json(SecretAccessKey=["canary"]), "SecretAccessKey is not a text"),
        (_json(AccessKeyId=""), "the access key is missing"),
        (_json("yesterday"), "the expiration is not an ISO 8601 time"),
        (_json("2030-01-02T03:04:05"), "the expiration has no time zone"),
    ],
)
async def test_what_is_wrong_with_a_file_is_told_without_its_content(tmp_path: Path, text: str, told: str) -> None:
    path = private(tmp_path / "secrets", text)
    with pytest.raises(ConfigError) as caught:
        await FileSource(path).load()
    assert str(caught.value) == f"{path}: {told}"


async def test_json_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        await FileSource(private(tmp_path / "secrets", '{"a":' * 100_000)).load()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o601, 0o777])
async def test_a_file_that_others_can_get_at_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "secrets", _json())
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod it to 0600"):
        await FileSource(path).load()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
async def test_a_file_that_only_its_owner_can_get_at_is_read(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "secrets", _json())
    path.chmod(mode)
    assert (await FileSource(path).load()).credentials.access_key == b"ASIAJSON"


async def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private(tmp_path / "secrets", _json())
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert (await FileSource(path).load()).credentials.access_key == b"ASIAJSON"
        os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to uid"):
        await FileSource(path).load()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: None], ids=["directory", "pipe", "nothing"])
async def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "secrets")
    with pytest.raises(ConfigError, match=r"is not a file|cannot be read"):
        await asyncio.wait_for(FileSource(tmp_path / "secrets").load(), 30)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_leaves_no_descriptor_behind(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "secrets")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(ConfigError):
            private_file.read_private(tmp_path / "secrets")
    assert os.listdir("/proc/self/fd") == before


async def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_file, "LARGEST", 100)
    with pytest.raises(ConfigError, match="more than 100 bytes"):
        await FileSource(private(tmp_path / "secrets", _json() + " " * 100)).load()


def _replace(path: Path, text: str) -> None:
    private(path.with_suffix(".new"), text).rename(path)


def _in_place(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("write", [_replace, _in_place])
async def test_a_file_is_read_again_when_it_changes_and_a_bad_one_leaves_the_old_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, str], None]
) -> None:
    monkeypatch.setattr(secret_file.FileSource, "look_every", 0.05)
    path = private(tmp_path / "secrets", _json())
    outcomes: list[str] = []
    provider = RefreshedCredentials(FileSource(path), SystemClock(), on_refresh=outcomes.append)
    await provider.start()
    try:
        write(path, _json(AccessKeyId="ASIASECOND"))
        await until(lambda: provider.current().access_key == b"ASIASECOND")
        write(path, "{")
        await until(lambda: "failed" in outcomes)
        assert provider.current().access_key == b"ASIASECOND"
        write(path, _json(AccessKeyId="ASIATHIRD"))
        await until(lambda: provider.current().access_key == b"ASIATHIRD")
        assert outcomes[:2] == ["renewed", "renewed"]
        assert outcomes[-1] == "renewed"
    finally:
        await provider.close()


async def test_a_profile_is_read_again_when_either_file_changes(
    files: SharedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles.ProfileSource, "look_every", 0.05)
    provider = RefreshedCredentials(ProfileSource(files, "both"), SystemClock())
    await provider.start()
    try:
        assert provider.current().access_key == b"AKIAINCREDENTIALS"
        _replace(files.credentials, f"[both]\naws_access_key_id = AKIANEW\naws_secret_access_key = {SECRET}\n")
        await until(lambda: provider.current().access_key == b"AKIANEW")
        files.credentials.unlink()
        await until(lambda: provider.current().access_key == b"AKIAINCONFIG")
    finally:
        await provider.close()


async def test_a_profile_that_loses_its_keys_is_told(files: SharedFiles) -> None:
    source = ProfileSource(files, "default")
    await source.load()
    files.credentials.write_text("")
    assert await source.changed()
    with pytest.raises(FastcacheError, match="has no keys of its own any more"):
        await source.load()
