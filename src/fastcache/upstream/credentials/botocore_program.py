"""A program that asks botocore for credentials once and prints them, as a ``credential_process`` does.

``python -m fastcache.upstream.credentials.botocore_program QUESTION``, a JSON object of ``method``, ``profile`` and
``region``. Prints the credentials (Version 1), or an object with ``Error``, which holds no secret.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_NOT_OF_A_PROFILE = ("ec2-credentials-file", "boto-config", "container-role", "iam-role")
"""Where botocore looks when a profile has nothing; whoever names a profile means that profile."""
_WORD = re.compile(r"[A-Za-z0-9.]{1,64}")


def answer(method: str | None, profile: str | None, region: str) -> dict[str, Any]:
    """What is to be printed."""
    try:
        found = _ask(method, profile, region)
    except Exception as error:  # noqa: BLE001 - botocore raises many kinds; whoever started this program tells of it
        return {"Error": _reason(error)}
    return {"Error": "it has none"} if found is None else found


def _ask(method: str | None, profile: str | None, region: str) -> dict[str, Any] | None:
    from botocore.session import Session  # type: ignore[import-untyped]  # optional

    session = Session(profile=profile)
    if session.get_config_variable("region") is None:
        session.set_config_variable("region", region)
    resolver = session.get_component("credential_provider")
    if profile is not None:
        for name in _NOT_OF_A_PROFILE:
            resolver.remove(name)
    found = resolver.load_credentials() if method is None else resolver.get_provider(method).load()
    if found is None:
        return None
    # Roles are taken only here; before that there is no end either.
    frozen = found.get_frozen_credentials()
    expires = getattr(found, "_expiry_time", None)
    return {
        "Version": 1,
        "AccessKeyId": frozen.access_key,
        "SecretAccessKey": frozen.secret_key,
        "SessionToken": frozen.token,
        "Expiration": None if expires is None else expires.isoformat(),
    }


def _reason(error: Exception) -> str:
    """What can be told of a failure. Its own text cannot: botocore puts answers and other programs' output into it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        return f"refused with {code}" if _WORD.fullmatch(code) else "refused"
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


if __name__ == "__main__":
    print(json.dumps(answer(**json.loads(sys.argv[1]))))
