"""AWS's shared files, as far as they hold keys: ``~/.aws/credentials`` and ``~/.aws/config``.

AWS SDKs and Tools Reference Guide, "Shared config and credentials files". What else a profile can say (another program,
single sign-on, a role to take) is botocore's to follow.
"""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastcache.errors import ConfigError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials.off_the_loop import in_thread
from fastcache.upstream.credentials.private_file import Stamp, current_stamp, read_any
from fastcache.upstream.credentials.source import Obtained
from fastcache.upstream.credentials.text import key_pair

Profile = Mapping[str, str]

LOOK_EVERY = 5.0
"""Seconds between two looks at whether a file has changed."""

_RICHER = (
    "role_arn",
    "web_identity_token_file",
    "credential_process",
    "credential_source",
    "source_profile",
    "sso_session",
    "sso_start_url",
    "login_session",
)


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """Where both files are."""

    credentials: Path
    config: Path

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> SharedFiles:
        """By the variables that all AWS tools use, else below the home directory."""
        home = Path(environ.get("HOME") or "/")
        names = ("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")
        paths = [environ.get(variable) or f"~/.aws/{name}" for variable, name in names]
        return cls(*(home / path[2:] if path.startswith("~/") else Path(path) for path in paths))

    def profile(self, name: str) -> Profile | None:
        """What both files say of a profile, the credentials file first; None when neither knows it.

        ConfigError for a file that cannot be read. One that is not there says nothing.
        """
        said = [_by_profile(self.config).get(name), _sections(self.credentials).get(name)]
        known = [section for section in said if section is not None]
        return {key: value for section in known for key, value in section.items()} if known else None

    def stamps(self) -> tuple[Stamp | None, Stamp | None]:
        return current_stamp(self.credentials), current_stamp(self.config)


def is_plain(profile: Profile) -> bool:
    """Whether a profile's keys are all there is to it."""
    return "aws_access_key_id" in profile and not any(name in profile for name in _RICHER)


def profile_credentials(profile: Profile) -> Credentials:
    """The keys of a profile; ValueError, which repeats none of it, when they are no pair."""
    token = profile.get("aws_session_token") or profile.get("aws_security_token") or ""
    return key_pair(profile.get("aws_access_key_id", ""), profile.get("aws_secret_access_key", ""), token)


def parse_sections(text: str) -> dict[str, dict[str, str]]:
    """The sections of an INI text as the AWS tools read it. ValueError, which repeats none of it, when it is none."""
    parser = configparser.RawConfigParser(default_section="", interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        raise ValueError("not in the format of AWS's shared files" + (f", line {line}" if line else "")) from None
    return {name: dict(parser[name]) for name in parser.sections()}


class ProfileSource:
    """A profile with keys of its own, read again when a file has changed."""

    look_every = LOOK_EVERY

    def __init__(self, files: SharedFiles, profile: str) -> None:
        self.name = f"profile {profile}"
        self._files = files
        self._profile = profile
        self._stamps: tuple[Stamp | None, Stamp | None] | None = None

    async def changed(self) -> bool:
        return await in_thread(self._files.stamps) != self._stamps

    async def load(self) -> Obtained:
        return await in_thread(self._read)

    def _read(self) -> Obtained:
        # Before the reading, so that a change in its middle is one more at the next look.
        self._stamps = self._files.stamps()
        profile = self._files.profile(self._profile)
        if profile is None or not is_plain(profile):
            raise ConfigError(f"profile {self._profile} has no keys of its own any more; restart to look for others")
        try:
            return Obtained(profile_credentials(profile))
        except ValueError as error:
            raise ConfigError(f"profile {self._profile}: {error}") from None


def _sections(path: Path) -> dict[str, dict[str, str]]:
    if current_stamp(path) is None:
        return {}
    data, _ = read_any(path)
    try:
        return parse_sections(data.decode())
    except ValueError as error:  # UnicodeDecodeError is one, and its text has only an octet of the file
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ConfigError(f"{path}: {reason}") from None


def _by_profile(path: Path) -> dict[str, dict[str, str]]:
    """The sections of the config file by profile; their titles are ``default`` and ``profile NAME``, quoted or not."""
    found: dict[str, dict[str, str]] = {}
    for title, section in _sections(path).items():
        try:
            words = shlex.split(title)
        except ValueError:
            continue
        if words == ["default"]:
            found.setdefault("default", section)
        elif len(words) == 2 and words[0] == "profile":
            found[words[1]] = section
    return found
