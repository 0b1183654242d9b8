"""Credentials by botocore, from servers that check what AWS's check: had, renewed, and nothing told of them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.credentials.services import CANARY, Container, Handler, Instance, Service, Sts, running, token_file
from tests.harness.reactor import until

from fastcache.clock import ManualClock, SystemClock
from fastcache.errors import ConfigError, CredentialsError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials import aws
from fastcache.upstream.credentials.aws import AwsSource
from fastcache.upstream.credentials.choosing import open_credentials, parse_choice
from fastcache.upstream.credentials.refreshed import RefreshedCredentials

REGION = "eu-central-1"


@dataclass
class Place:
    """A service that runs, and the choice of credentials that finds it."""

    choice: str
    service: Service
    handler: Any
    token: Path

    def change_token(self, attribute: str, value: str) -> None:
        setattr(self.handler, attribute, value)
        self.token.write_text(value)

    def source(self) -> AwsSource:
        provider = open_credentials(parse_choice(self.choice), {}, SystemClock(), region=REGION)
        assert isinstance(provider, RefreshedCredentials)
        assert isinstance(provider._source, AwsSource)
        return provider._source


class Places:
    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self._stack = stack
        self._set = monkeypatch.setenv
        self._unset = monkeypatch.delenv
        self._directory = directory

    def _run(self, choice: str, handler: type[Handler], **attributes: str) -> Place:
        service = Service()
        own = self._stack.enter_context(running(handler, service))
        for name, value in attributes.items():
            setattr(own, name, value)
        return Place(choice, service, own, token_file(self._directory, next(iter(attributes.values()), "")))

    def instance(self) -> Place:
        place = self._run("instance", Instance)
        self._unset("AWS_EC2_METADATA_DISABLED")
        self._set("AWS_EC2_METADATA_SERVICE_ENDPOINT", place.service.url)
        return place

    def container(self) -> Place:
        place = self._run("container", Container, authorization="first token of the container")
        self._set("AWS_CONTAINER_CREDENTIALS_FULL_URI", place.service.url + Container.PATH)
        self._set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(place.token))
        return place

    def web_identity(self) -> Place:
        place = self._run("web-identity", Sts, identity="header.payload.signature")
        self._set("AWS_ENDPOINT_URL_STS", place.service.url)
        self._set("AWS_ROLE_ARN", Sts.ROLE)
        self._set("AWS_WEB_IDENTITY_TOKEN_FILE", str(place.token))
        return place


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Places]:
    with ExitStack() as stack:
        yield Places(stack, monkeypatch, tmp_path)


KINDS = ("instance", "container", "web_identity")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["name", "search"])
async def test_credentials_are_had_from_where_they_are(places: Places, kind: str, by: str) -> None:
    place: Place = getattr(places, kind)()
    if by == "search":
        place.choice = "auto"
    obtained = await place.source().load()
    issued = place.service.issued[obtained.credentials.access_key.decode()]
    token = issued.token.encode()
    assert obtained.credentials == Credentials(issued.access_key.encode(), issued.secret_key.encode(), token)
    assert obtained.expires == int(issued.expires)
    assert place.service.refused == []


@pytest.mark.parametrize("kind", KINDS)
async def test_requests_across_renewals_meet_no_failure_and_wait_for_none(places: Places, kind: str) -> None:
    clock = ManualClock()
    place: Place = getattr(places, kind)()
    clock.set_wall(SystemClock().wall())  # botocore looks at the machine's own clock
    place.service.wall = clock.wall
    outcomes: list[str] = []
    provider = RefreshedCredentials(
        place.source(), clock, on_refresh=outcomes.append, nap=lambda seconds: asyncio.sleep(0.005)
    )
    await provider.start()
    used: set[str] = set()
    try:
        async with asyncio.timeout(60):
            while len(used) < 3:
                for _ in range(20):
                    key = provider.current().access_key.decode()
                    assert place.service.issued[key].expires > clock.wall()
                    used.add(key)
                if provider.seconds_left() > 400.0:
                    clock.advance(30.0)
                await asyncio.sleep(0.001)
    finally:
        await provider.close()
    assert set(outcomes) == {"renewed"}
    assert place.service.refused == []


async def test_an_answer_that_takes_long_holds_up_nothing(places: Places) -> None:
    place = places.container()
    source = place.source()
    await source.load()
    place.service.may_answer.clear()
    slow = asyncio.ensure_future(source.load())
    turns = 0
    for _ in range(1000):
        await asyncio.sleep(0)
        turns += 1
    assert not slow.done()
    assert turns == 1000
    place.service.may_answer.set()
    assert (await slow).credentials.access_key == b"ASIAISSUED000002"


@pytest.mark.parametrize(("kind", "attribute"), [("container", "authorization"), ("web_identity", "identity")])
async def test_a_token_that_was_changed_is_read_again_for_each_renewal(
    places: Places, kind: str, attribute: str
) -> None:
    place: Place = getattr(places, kind)()
    source = place.source()
    await source.load()
    place.change_token(attribute, "the.second.token")
    await source.load()
    assert place.service.refused == []


CUT = f'{{"SecretAccessKey": "{CANARY}"'


@pytest.mark.parametrize(
    ("kind", "failing"),
    [
        ("instance", (500, f"{CANARY} broke")),
        ("instance", (200, CUT + "}")),
        ("container", (200, CUT + "}")),
        ("web_identity", (403, f"<ErrorResponse><Error><Code>{CANARY} x</Code></Error></ErrorResponse>")),
        ("web_identity", (200, CUT)),
    ],
)
async def test_a_service_that_fails_gives_a_typed_error_and_no_text_of_its_answer(
    places: Places,
    kind: str,
    failing: tuple[int, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    caplog.set_level(logging.DEBUG, "fastcache")
    place: Place = getattr(places, kind)()
    place.service.failing = failing
    provider = RefreshedCredentials(place.source(), SystemClock())
    await provider.start()
    try:
        with pytest.raises(CredentialsError) as caught:
            provider.current()
        assert len([record for record in caplog.records if record.name == "fastcache.credentials"]) == 1
    finally:
        await provider.close()
    assert CANARY not in caplog.text + str(caught.value) + repr(provider)
    place.service.failing = None
    assert (await place.source().load()).credentials.access_key.startswith(b"ASIAISSUED")


async def test_no_secret_of_a_working_service_is_logged(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastcache")
    for kind in KINDS:
        place: Place = getattr(places, kind)()
        obtained = await place.source().load()
        assert obtained.credentials.secret_key.decode().startswith(CANARY)
        assert CANARY not in repr(obtained) + str(obtained)
    assert CANARY not in caplog.text


def _profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def _program(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return path


PRINTS = f"""\
echo '{{"Version": 1, "AccessKeyId": "ASIAPROGRAM", "SecretAccessKey": "{CANARY}", "SessionToken": "{CANARY}",
"Expiration": "2099-01-01T00:00:00Z"}}'"""


async def test_another_program_gives_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _profile(tmp_path, monkeypatch, f"[profile p]\ncredential_process = {_program(tmp_path, PRINTS)}\n")
    provider = open_credentials(parse_choice("profile:p"), dict(_environ(tmp_path)), SystemClock(), region=REGION)
    await provider.start()
    try:
        assert provider.current() == Credentials(b"ASIAPROGRAM", CANARY.encode(), CANARY.encode())
        assert provider.seconds_left() > 1e9
    finally:
        await provider.close()


def _environ(tmp_path: Path) -> Iterator[tuple[str, str]]:
    yield "AWS_CONFIG_FILE", str(tmp_path / "config")
    yield "HOME", str(tmp_path)


@pytest.mark.parametrize(
    "body",
    [f"echo {CANARY} >&2; exit 1", f"echo {CANARY}", f'echo \'{{"Version": 9, "SecretAccessKey": "{CANARY}"}}\''],
)
async def test_a_program_that_fails_is_told_without_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    caplog.set_level(logging.DEBUG, "fastcache")
    _profile(tmp_path, monkeypatch, f"[profile p]\ncredential_process = {_program(tmp_path, body)}\n")
    with pytest.raises(CredentialsError) as caught:
        await AwsSource("profile p", REGION, profile="p").load()
    assert CANARY not in str(caught.value) + caplog.text


async def test_a_program_that_does_not_end_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "PATIENCE", 4.0)
    body = f"echo $$ > {tmp_path}/pid\nsleep 1000"
    _profile(tmp_path, monkeypatch, f"[profile p]\ncredential_process = {_program(tmp_path, body)}\n")
    with pytest.raises(CredentialsError, match="no answer within"):
        await AwsSource("profile p", REGION, profile="p").load()
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: _is_gone(pid))


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_a_profile_that_was_named_is_never_replaced_by_the_machines_role(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.instance()
    _profile(tmp_path, monkeypatch, "[profile p]\nregion = eu-west-1\n")
    with pytest.raises(CredentialsError, match="it has none"):
        await AwsSource("profile p", REGION, profile="p").load()
    assert place.service.issued == {}


async def test_a_role_of_a_profile_is_taken_with_web_identity(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.web_identity()
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    monkeypatch.delenv("AWS_ROLE_ARN")
    _profile(
        tmp_path,
        monkeypatch,
        f"[profile p]\nrole_arn = {Sts.ROLE}\nweb_identity_token_file = {place.token}\nrole_session_name = nightly\n",
    )
    obtained = await AwsSource("profile p", REGION, profile="p").load()
    assert obtained.credentials.access_key == b"ASIAISSUED000001"


NEEDS: dict[str, Callable[[Path], str]] = {
    "instance": lambda path: (
        "credentials from the instance's role need botocore; install it with: pip install 'fastcache-s3[aws]'"
    ),
    "container": lambda path: "credentials from the container's role need botocore",
    "web-identity": lambda path: "credentials from the web identity need botocore",
    "profile:p": lambda path: "credentials from profile p need botocore",
    "auto": lambda path: "no keys in the environment or in profile default; other sources",
}


@pytest.mark.parametrize("choice", NEEDS)
def test_without_botocore_whoever_needs_it_is_told_how_to_get_it(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    _profile(tmp_path, monkeypatch, "[profile p]\ncredential_process = /bin/true\n")
    with pytest.raises(ConfigError) as caught:
        open_credentials(parse_choice(choice), dict(_environ(tmp_path)), SystemClock(), region=REGION)
    assert str(caught.value).startswith(NEEDS[choice](tmp_path))
    assert "pip install 'fastcache-s3[aws]'" in str(caught.value)


async def test_a_token_service_that_is_named_goes_before_the_variable(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.web_identity()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    choice = parse_choice("web-identity")
    provider = open_credentials(choice, {}, SystemClock(), region=REGION, sts=place.service.url)
    await provider.start()
    try:
        assert provider.current().access_key.decode() in place.service.issued
    finally:
        await provider.close()
