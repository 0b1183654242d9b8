"""Who a request is let in as: for all of an answer, and for the rest of one that was begun under a lease."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastcache.errors import RequestError
from fastcache.policy.access import AccessKey, AllowRule, KeySet, Role
from fastcache.policy.admission import Admission, Rules, admit, admit_rest
from fastcache.policy.freshness import Authorization
from fastcache.protocol.requests import HeadLimits, RequestHead, parse_request_head
from fastcache.protocol.sigv4 import Credentials, SigningKeys, presign, sign
from fastcache.protocol.targets import Addressing, S3Target, parse_target

NOW = 1_700_000_000.0
HOST = ((b"Host", b"127.0.0.1"),)
KEY = AccessKey(
    b"CLIENT", b"secret", rules=(AllowRule.parse(["read"], ["bkt/*"]), AllowRule.parse(["list"], ["bkt/a b/*"]))
)
WITH_ROLE = replace(KEY, role=Role("arn:aws:iam::123456789012:role/reader", Path("/run/token")))
SIGNS = Rules(Authorization.VERIFY, signs=True, read_only=False)
PASSES = Rules(Authorization.VERIFY, signs=False, read_only=False)
PER_KEY = replace(PASSES, per_key=True)


def received(target: bytes, *, presigned: bool = False) -> tuple[RequestHead, S3Target]:
    by = Credentials(KEY.access_key, KEY.secret_key)
    fields = HOST
    if presigned:
        target = presign(b"GET", target, HOST, by, region=b"us-east-1", now=NOW, expires=600)
    else:
        fields += sign(b"GET", target, HOST, by, region=b"us-east-1", now=NOW).headers
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    head = parse_request_head(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, lines), HeadLimits())
    return head, parse_target(head, Addressing())


def let_in(rules: Rules, *keys: AccessKey, target: bytes = b"/bkt/k", presigned: bool = False) -> Admission:
    return admit(rules, KeySet(keys), SigningKeys(), *received(target, presigned=presigned), NOW)


def test_permission_is_looked_up_for_the_form_that_goes_out() -> None:
    """A plus in a query is the space that the origin is sent, and no second reading that would need a rule too."""
    admission = let_in(SIGNS, KEY, target=b"/bkt?list-type=2&prefix=a+b/")
    assert b"prefix=a%20b/" in admission.target.raw_query
    with pytest.raises(RequestError, match="Access Denied"):
        let_in(SIGNS, KEY, target=b"/bkt?list-type=2&prefix=a%2Bb/")


@pytest.mark.parametrize("presigned", [False, True])
@pytest.mark.parametrize(
    ("rules", "keys", "owner", "session"),
    [
        (SIGNS, (KEY,), None, None),
        (SIGNS, (WITH_ROLE,), None, b"CLIENT"),
        (PASSES, (KEY,), None, None),
        (PER_KEY, (KEY,), b"CLIENT", None),
    ],
)
def test_the_rest_of_an_answer_is_asked_for_as_all_of_it_would_be(
    rules: Rules, keys: tuple[AccessKey, ...], owner: bytes | None, session: bytes | None, presigned: bool
) -> None:
    whole = let_in(rules, *keys, presigned=presigned)
    rest = admit_rest(rules, KeySet(keys), *received(b"/bkt/k", presigned=presigned))
    for admission in (whole, rest):
        assert (admission.owner, admission.session, admission.trusted) == (owner, session, True)
    assert (rest.head, rest.target) == (whole.head, whole.target)


@pytest.mark.parametrize("left", [(), (replace(WITH_ROLE, enabled=False),)])
def test_for_a_key_that_is_gone_there_is_a_session_no_more_and_never_our_own_credentials(
    left: tuple[AccessKey, ...],
) -> None:
    """Nobody knows whether it stood for a role."""
    assert admit_rest(SIGNS, KeySet(left), *received(b"/bkt/k")).session == b"CLIENT"


def test_where_nobody_is_verified_the_rest_is_everybodys() -> None:
    rules = Rules(Authorization.NONE, signs=True, read_only=True)
    rest = admit_rest(rules, None, *received(b"/bkt/k"))
    assert (rest.owner, rest.session) == (None, None)
