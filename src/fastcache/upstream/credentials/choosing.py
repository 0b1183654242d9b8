"""From the setting ``credentials`` to what provides them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastcache.clock import Clock
from fastcache.errors import ConfigError
from fastcache.upstream.credentials.aws import HOW_TO_GET_IT, AwsSource, has_botocore
from fastcache.upstream.credentials.environment import ACCESS_KEY, environment_credentials
from fastcache.upstream.credentials.profiles import ProfileSource, SharedFiles, is_plain
from fastcache.upstream.credentials.provider import CredentialProvider, StaticCredentials
from fastcache.upstream.credentials.refreshed import RefreshedCredentials
from fastcache.upstream.credentials.secret_file import FileSource
from fastcache.upstream.credentials.source import Source

_METHODS = {
    "web-identity": ("the web identity", "assume-role-with-web-identity"),
    "container": ("the container's role", "container-role"),
    "instance": ("the instance's role", "iam-role"),
}
"""Single links of botocore's chain: their names for people and for its resolver."""
_ALONE = ("auto", "environment", *_METHODS)
_WITH_ARGUMENT = ("profile", "file")
AskAws = Callable[..., AwsSource]
"""Makes an AwsSource, with what all of them have in common."""
FORMS = " | ".join((*_ALONE[:2], "profile:NAME", "file:PATH", *_ALONE[2:]))


@dataclass(frozen=True, slots=True)
class Choice:
    """Where credentials are to be looked for."""

    kind: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


def parse_choice(text: str) -> Choice:
    """One of ``FORMS``; ValueError for anything else, which is not repeated: people write keys into it."""
    kind, colon, argument = text.partition(":")
    if kind in _ALONE and not colon:
        return Choice(kind)
    if kind not in _WITH_ARGUMENT or not argument:
        raise ValueError(f"not one of {FORMS}")
    if kind == "file" and not argument.startswith("/"):
        raise ValueError("file: needs an absolute path; write one that starts with /")
    return Choice(kind, argument)


def open_credentials(
    choice: Choice,
    environ: Mapping[str, str],
    clock: Clock,
    *,
    region: str,
    sts: str = "",
    on_refresh: Callable[[str], None] = lambda outcome: None,
) -> CredentialProvider:
    """The provider for ``choice``, not started; ``region`` and ``sts`` as AwsSource has them. ConfigError when it is
    sure that there can be none.

    Reads files, so not for a loop that serves already. botocore looks at the process's own environment.
    """
    found = _find(choice, environ, functools.partial(AwsSource, region=region, sts=sts))
    if isinstance(found, StaticCredentials):
        return found
    return RefreshedCredentials(found, clock, on_refresh=on_refresh)


def _find(choice: Choice, environ: Mapping[str, str], ask_aws: AskAws) -> StaticCredentials | Source:
    if choice.kind == "file":
        return FileSource(Path(choice.argument))
    if choice.kind == "profile":
        return _of_profile(choice.argument, environ, ask_aws)
    if choice.kind in _METHODS:
        name, method = _METHODS[choice.kind]
        return ask_aws(name, method=method)
    credentials = environment_credentials(environ)
    if credentials is not None:
        return StaticCredentials(credentials, "environment")
    if choice.kind == "environment":
        raise ConfigError(f"variable {ACCESS_KEY} is not set; set it, or choose other credentials")
    return _by_search(environ, ask_aws)


def _of_profile(name: str, environ: Mapping[str, str], ask_aws: AskAws) -> Source:
    files = SharedFiles.of_environment(environ)
    profile = files.profile(name)
    if profile is None:
        raise ConfigError(f"profile {name} is neither in {files.credentials} nor in {files.config}")
    if is_plain(profile):
        return ProfileSource(files, name)
    return ask_aws(f"profile {name}", profile=name)


def _by_search(environ: Mapping[str, str], ask_aws: AskAws) -> Source:
    """What the AWS tools would take when the environment has no keys: botocore's chain decides, except that it is not
    needed for the keys of a profile."""
    name = environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or "default"
    if not environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        files = SharedFiles.of_environment(environ)
        profile = files.profile(name)
        if profile is not None and is_plain(profile):
            return ProfileSource(files, name)
    if not has_botocore():
        raise ConfigError(
            f"no keys in the environment or in profile {name}; other sources (single sign-on, roles of containers and "
            f"instances, web identity) need botocore; {HOW_TO_GET_IT}"
        )
    return ask_aws("AWS's usual places")
