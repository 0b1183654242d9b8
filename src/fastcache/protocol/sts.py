"""AssumeRoleWithWebIdentity (STS API Reference): an identity token for temporary credentials. Nothing is signed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

CONTENT_TYPE: Final = b"application/x-www-form-urlencoded"
_VERSION = "2011-06-15"
_SESSION = re.compile(r"[A-Za-z0-9_=,.@-]{2,64}")
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_FIELDS = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
_REFUSALS = frozenset({"AccessDenied", "ExpiredTokenException", "IDPRejectedClaim", "InvalidIdentityToken"})
"""Codes that say no to the role or to the token. Others are about the request, or about the service at that moment."""


class RefusedError(ValueError):
    """The role is not given for this token."""


class Assumed(NamedTuple):
    """Temporary credentials as the answer writes them."""

    access_key: str
    secret_key: str
    session_token: str
    expiration: str

    def __repr__(self) -> str:
        return f"Assumed(expiration={self.expiration!r})"


def session_name(wanted: str) -> str:
    """``wanted`` where STS takes it as the name of a session, for its logs; else one of ours."""
    return wanted if _SESSION.fullmatch(wanted) else "fastcache"


def render_assume_role(role: str, session: str, token: str) -> bytes:
    """The body of the request, a form."""
    form: Mapping[str, str] = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": _VERSION,
        "RoleArn": role,
        "RoleSessionName": session,
        "WebIdentityToken": token,
    }
    return urlencode(form).encode("ascii")


def parse_assumed(status: int, body: bytes) -> Assumed:
    """The credentials in an answer; ValueError, whose text is never the answer's but for its code, when it has none,
    RefusedError where the service means that."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError):
        raise ValueError(f"the token service answered {status} with something else than XML") from None
    if status != 200:
        code = _text(root, "Code")
        kind = RefusedError if code in _REFUSALS else ValueError
        raise kind(f"the token service refused with {code if _CODE.fullmatch(code) else status}")
    found = {name: _text(root, name) for name in _FIELDS}
    missing = [name for name, text in found.items() if not text]
    if missing:
        raise ValueError(f"the answer of the token service has no {missing[0]}")
    return Assumed(*found.values())


def _text(root: Element, name: str) -> str:
    """The text of the one element called ``name``, in whatever namespace; empty when there is none or several."""
    found = [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == name]
    return found[0].strip() if len(found) == 1 else ""
