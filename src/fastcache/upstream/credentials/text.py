"""Credentials from text somebody wrote. No error repeats any of it."""

from __future__ import annotations

from fastcache.protocol.sigv4 import Credentials


def key_pair(access_key: str, secret_key: str, session_token: str = "") -> Credentials:
    """Credentials made of text; an empty token is none. ValueError for half of a pair or what no header can carry."""
    for part, text in (("access key", access_key), ("secret key", secret_key)):
        if not text:
            raise ValueError(f"the {part} is missing")
    for part, text in (("access key", access_key), ("secret key", secret_key), ("session token", session_token)):
        if not all("!" <= character <= "~" for character in text):
            raise ValueError(f"the {part} has a character that none has: a space, a line end or one beyond ASCII")
    if "/" in access_key:
        raise ValueError("the access key has a slash, which none has")
    token = session_token.encode("ascii") or None
    return Credentials(access_key.encode("ascii"), secret_key.encode("ascii"), token)
