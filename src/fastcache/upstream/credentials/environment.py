"""Credentials in environment variables, by the names that all AWS tools use."""

from __future__ import annotations

from collections.abc import Mapping

from fastcache.errors import ConfigError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials.text import key_pair

ACCESS_KEY = "AWS_ACCESS_KEY_ID"
SECRET_KEY = "AWS_SECRET_ACCESS_KEY"
SESSION_TOKEN = "AWS_SESSION_TOKEN"


def environment_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """What the variables hold, None when neither key is set; ConfigError for half of a pair.

    They cannot change while the process runs, so temporary ones end with their time.
    """
    names = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "session_token": SESSION_TOKEN}
    values = {part: environ.get(name, "").strip() for part, name in names.items()}
    if not values["access_key"] and not values["secret_key"]:
        return None
    try:
        return key_pair(**values)
    except ValueError as error:
        raise ConfigError(f"variables {ACCESS_KEY} and {SECRET_KEY}: {error}") from None
