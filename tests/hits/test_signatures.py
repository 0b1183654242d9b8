"""Compiled verification beside the engine's: what it accepts the engine accepts too, and plain requests it accepts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.harness.signing import presigned_url, signed_request
from tests.hits.signatures import (
    CREDENTIALS,
    LONG_LIVED,
    NOW,
    SLASHED,
    TEMPORARY,
    Opinions,
    opinions,
    resigned,
    verifier,
)

from fastcache._core.access_keys import AccessKeys
from fastcache._core.sha256 import IMPLEMENTATIONS, implementation, use
from fastcache._core.sigv4 import Verifier
from fastcache.load.heads import CLIENTS, Signer, request_head
from fastcache.protocol import sigv4
from fastcache.protocol.sigv4 import EMPTY_SHA256, Credentials, presign, sign

ONE = verifier()
HOST = b"127.0.0.1:3000"
URL = "http://127.0.0.1:3000"
_ENCODED = re.compile(rb"%[0-9a-fA-F]{2}")


@pytest.fixture(params=IMPLEMENTATIONS, autouse=True, scope="module")
def used(request: pytest.FixtureRequest) -> Iterator[str]:
    """The implementation of SHA-256 in use."""
    before = implementation()
    use(request.param)
    yield request.param
    use(before)


def signed(
    client: str = "boto3", target: bytes = b"/bkt/key", credentials: Credentials = LONG_LIVED, *, now: float = NOW,
    method: bytes = b"GET", interval: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    by = Signer(credentials, b"us-east-1", now)
    return request_head(client, HOST, target, method=method, interval=interval, signer=by)


def presigned(
    target: bytes = b"/bkt/key", credentials: Credentials = LONG_LIVED, *, method: bytes = b"GET", expires: int = 600,
    now: float = NOW, more: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:  # fmt: skip
    """A presigned request all of whose fields but the last is signed."""
    fields = ((b"Host", HOST), *more)
    made = presign(method, target, fields, credentials, region=b"eu-west-3", now=now, expires=expires)
    return head(method, made, (*fields, (b"Accept-Language", b"any")))


def head(method: bytes, target: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(b"%b: %b\r\n" % field for field in fields))


def made(
    fields: tuple[tuple[bytes, bytes], ...], *, target: bytes = b"/b/k", listed: list[bytes] | None = None
) -> bytes:
    """A GET whose ``fields`` are all signed, or only those that are ``listed``."""
    names = [name.lower() for name, _ in fields] if listed is None else listed
    by = sign(
        b"GET", target, fields, LONG_LIVED, region=b"us-east-1", now=NOW, payload_hash=EMPTY_SHA256, signed=names
    )  # fmt: skip
    return head(b"GET", target, (*fields, *by.headers))


# --- what is accepted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("interval", [None, (0, 100)], ids=["whole", "range"])
@pytest.mark.parametrize("credentials", CREDENTIALS, ids=lambda c: c.access_key.decode())
def test_what_clients_sign_in_a_header_is_accepted(
    client: str, method: bytes, interval: tuple[int, int] | None, credentials: Credentials
) -> None:
    one = signed(client, b"/bkt/some/key%20(1)%2B", credentials, method=method, interval=interval)
    assert opinions(ONE, one) == (credentials.access_key, credentials.access_key)


@pytest.mark.parametrize("credentials", CREDENTIALS, ids=lambda c: c.access_key.decode())
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("more", [(), ((b"range", b"bytes=0-9"), (b"x-amz-checksum-mode", b"ENABLED"))])
def test_presigned_requests_are_accepted(
    credentials: Credentials, method: bytes, more: tuple[tuple[bytes, bytes], ...]
) -> None:
    one = presigned(b"/bkt/some/key%20(1)", credentials, method=method, more=more)
    assert opinions(ONE, one) == (credentials.access_key, credentials.access_key)


@pytest.mark.parametrize("target", [b"/bkt/key?x-id=GetObject", b"/?x-id=GetObject"])
def test_the_operation_in_the_query_is_signed_with_it(target: bytes) -> None:
    assert ONE.verified(signed(target=target), NOW) == LONG_LIVED.access_key
    assert ONE.verified(presigned(target), NOW) == LONG_LIVED.access_key
    bare, _, _ = target.partition(b"?")
    assert opinions(ONE, signed(target=target).replace(target, bare)) == (None, None)
    assert opinions(ONE, signed(target=bare).replace(bare, target, 1)) == (None, None)


@pytest.mark.parametrize("path", ["/b/k", "/b/a%20b", "/b/%C3%A9%281%29", "/b//x/../y", "/b/a%2Bb", "/b/~-._"])
@pytest.mark.parametrize("token", [None, TEMPORARY.session_token])
def test_what_botocore_signs_is_accepted(path: str, token: bytes | None) -> None:
    """Its clock is the system's."""
    credentials = replace(LONG_LIVED, session_token=token)
    access_key, secret = credentials.access_key.decode(), credentials.secret_key.decode()
    one = verifier(credentials)
    raw = signed_request(
        "GET", URL + path, access_key, secret, token=None if token is None else token.decode(),
        signed=(("Range", "bytes=0-9"), ("x-amz-checksum-mode", "ENABLED")),
        unsigned=(("User-Agent", "Boto3/1.44  a b"), ("amz-sdk-request", "attempt=1")),
    )  # fmt: skip
    assert one.verified(raw, time.time()) == credentials.access_key
    if token is None:
        parts = urlsplit(presigned_url("GET", URL + path, access_key, secret))
        raw = head(b"GET", f"{parts.path}?{parts.query}".encode(), ((b"Host", HOST), (b"Range", b"bytes=0-9")))
        assert one.verified(raw, time.time()) == credentials.access_key


def test_values_are_trimmed_and_their_spaces_folded() -> None:
    one = made(((b"Host", b"h"), (b"user-agent", b"a   b c    d"), (b"accept", b"")))
    assert opinions(ONE, one) == (LONG_LIVED.access_key, LONG_LIVED.access_key)
    folded = one.replace(b"a   b c    d", b"   a b  c d ")
    assert opinions(ONE, folded) == (LONG_LIVED.access_key, LONG_LIVED.access_key)
    assert opinions(ONE, one.replace(b"a   b c    d", b"a b cd")) == (None, None)


def test_signing_keys_of_more_days_and_regions_than_are_kept_are_right_all_the_same() -> None:
    one = verifier()
    for _ in range(2):
        for day in range(3):
            for region in (b"us-east-1", b"eu-west-3", b"x", b"a" * 32):
                now = NOW + 86_400 * day
                made = request_head("curl", HOST, b"/b/k", signer=Signer(LONG_LIVED, region, now))
                assert one.verified(made, now) == LONG_LIVED.access_key
                assert one.verified(made.replace(b"/b/k", b"/b/l", 1), now) is None
    long = request_head("curl", HOST, b"/b/k", signer=Signer(LONG_LIVED, b"a" * 33, NOW))
    assert opinions(one, long) == (None, LONG_LIVED.access_key)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_another_secret_an_unknown_key_and_none_at_all_are_refused() -> None:
    for client in CLIENTS:
        assert opinions(ONE, signed(client, credentials=replace(LONG_LIVED, secret_key=b"x"))) == (None, None)
        assert opinions(ONE, signed(client, credentials=Credentials(b"AKIDX", b"x"))) == (None, None)
    assert opinions(ONE, presigned(credentials=replace(LONG_LIVED, secret_key=b"x"))) == (None, None)
    assert opinions(ONE, request_head("boto3", HOST, b"/bkt/key")) == (None, None)
    assert opinions(Verifier(AccessKeys()), signed()).compiled is None


@pytest.mark.parametrize("early", [-901, -900, -1, 0, 899, 900, 901])
def test_a_header_is_good_for_a_quarter_of_an_hour_either_way(early: int) -> None:
    known = LONG_LIVED.access_key if abs(early) <= 900 else None
    assert opinions(ONE, signed(now=NOW + early)) == (known, known)


@pytest.mark.parametrize("later", [-901, -900, 0, 599, 600, 601])
def test_a_presigned_request_is_good_until_it_expires(later: int) -> None:
    known = LONG_LIVED.access_key if -900 <= later <= 600 else None
    assert opinions(ONE, presigned(expires=600), NOW + later) == (known, known)


def test_a_fraction_of_a_second_is_rounded_against_the_request() -> None:
    assert ONE.verified(signed(now=NOW), NOW + 899.9) == LONG_LIVED.access_key
    assert ONE.verified(signed(now=NOW), NOW + 900.1) is None
    assert ONE.verified(presigned(expires=1), NOW + 1.1) is None
    assert ONE.verified(presigned(expires=1), NOW - 900.1) is None


@pytest.mark.parametrize("stamp", [b"99991231T235959Z", b"00010101T000000Z", b"20260230T000000Z", b"20260921T2413Z000"])
def test_times_at_the_end_of_the_calendar_and_no_times_are_refused(stamp: bytes) -> None:
    one = signed("curl")
    was = one.partition(b"X-Amz-Date: ")[2][:16]
    one = one.replace(was, stamp).replace(b"/" + was[:8] + b"/", b"/" + stamp[:8] + b"/")
    assert opinions(ONE, resigned(one)) == (None, None)


def test_a_session_token_is_that_of_the_key_or_the_request_is_refused() -> None:
    token = TEMPORARY.session_token
    assert token is not None
    for wrong in (None, token[:-1], token + b"A", token[:-1] + b"B", b"x" * len(token)):
        credentials = replace(TEMPORARY, session_token=wrong)
        assert opinions(ONE, signed(credentials=credentials)) == (None, None)
        assert opinions(ONE, presigned(credentials=credentials)) == (None, None)
    added = replace(LONG_LIVED, session_token=token)
    assert opinions(ONE, signed(credentials=added)) == (None, None)
    assert opinions(ONE, presigned(credentials=added)) == (None, None)


@pytest.mark.parametrize("name", [b"x-amz-checksum-mode", b"X-AMZ-user-agent", b"x-amz-api-version", b"x-amz-acl"])
def test_an_x_amz_field_that_was_added_is_refused(name: bytes) -> None:
    for one in (signed("curl"), presigned()):
        assert ONE.verified(one, NOW) is not None
        assert opinions(ONE, one.replace(b"\r\n\r\n", b"\r\n" + name + b": enabled\r\n\r\n")) == (None, None)


def test_a_scope_of_another_day_than_the_requests_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    yesterday = sigv4.format_timestamp(NOW - 86400)[:8]
    with monkeypatch.context() as patch:
        scope = sigv4.Scope
        patch.setattr(sigv4, "Scope", lambda date, *rest: scope(yesterday, *rest))
        wrong = made(((b"Host", b"h"),)), presigned()
    for one in wrong:
        assert yesterday in one
        assert opinions(ONE, one) == (None, None)


def test_names_that_are_not_in_order_or_not_there_or_not_all_are_refused() -> None:
    fields = ((b"Host", b"h"), (b"accept", b"x"), (b"range", b"bytes=0-1"))
    right = b"accept;host;range;x-amz-content-sha256;x-amz-date"
    one = made(fields)
    assert right in one
    assert ONE.verified(one, NOW) is not None
    for wrong in (
        b"host;accept;range;x-amz-content-sha256;x-amz-date",
        b"accept;host;host;range;x-amz-content-sha256;x-amz-date",
        b"accept;host;if-match;range;x-amz-content-sha256;x-amz-date",
        b"accept;range;x-amz-content-sha256;x-amz-date",
        b"accept;host;range;x-amz-date",
        b"accept;;host;range;x-amz-content-sha256;x-amz-date",
        b"accept;host;range;x-amz-content-sha256;x-amz-date;",
        b"Accept;host;range;x-amz-content-sha256;x-amz-date",
    ):
        assert opinions(ONE, resigned(one.replace(right, wrong))) == (None, None), wrong
    fewer = resigned(one.replace(right, b"host;x-amz-content-sha256;x-amz-date"))
    assert opinions(ONE, fewer) == (LONG_LIVED.access_key, LONG_LIVED.access_key)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        pytest.param(b"Range: bytes=0-9", b"Accept: a\r\nAccept: b", id="a signed field twice"),
        pytest.param(b"/b/k ", b"/b/%zz ", id="a bad percent-encoding"),
        pytest.param(b"/s3/", b"/s3express/", id="another service"),
        pytest.param(b", Signature", b" , Signature", id="other spaces"),
    ],
)
def test_what_is_not_in_the_one_form_is_left_to_the_engine(was: bytes, now: bytes) -> None:
    one = signed_request(
        "GET", f"{URL}/b/k", "AKIDEXAMPLE", LONG_LIVED.secret_key.decode(), signed=(("Range", "bytes=0-9"),)
    )
    assert ONE.verified(one, time.time()) is not None
    changed = one.replace(was, now)
    if b"Accept" in now:
        changed = changed.replace(b"host;range;", b"accept;host;")
    assert changed != one
    assert opinions(ONE, resigned(changed), time.time()) == (None, LONG_LIVED.access_key)


def test_a_body_is_nothing_that_a_hit_could_check() -> None:
    one = signed("curl").replace(b"UNSIGNED-PAYLOAD", b"0" * 64)
    assert opinions(ONE, resigned(one)) == (None, LONG_LIVED.access_key)


@pytest.mark.parametrize(
    "query",
    [
        b"", b"x-id=PutObject", b"X-Id=GetObject", b"versionId=1", b"x-id=GetObject&x-id=GetObject", b"uploads",
        b"response-content-type=a", b"partNumber=1", b"X-Amz-Foo=1", b"X-Amz-Signature=1",
    ],
)  # fmt: skip
def test_no_query_but_the_neutral_one_is_taken_beside_a_signature_in_a_header(query: bytes) -> None:
    assert ONE.verified(resigned(signed(target=b"/b/k?" + query)), NOW) is None


@pytest.mark.parametrize(
    "query", [b"versionId=1", b"response-content-type=a", b"partNumber=1", b"x-amz-request-payer=r"]
)
def test_no_parameter_that_changes_the_answer_is_taken_in_a_presigned_request(query: bytes) -> None:
    one = presigned(b"/b/k?" + query)
    assert opinions(ONE, one) == (None, LONG_LIVED.access_key)


def test_a_payload_hash_in_the_query_is_signed_like_the_rest() -> None:
    for payload in (b"UNSIGNED-PAYLOAD", EMPTY_SHA256):
        one = resigned(presigned(b"/b/k?X-Amz-Content-Sha256=" + payload))
        assert opinions(ONE, one) == (LONG_LIVED.access_key, LONG_LIVED.access_key)


# --- both readers ---------------------------------------------------------------------------------------------------

MUTATED = (
    signed("curl", b"/b/a%20b"), signed("boto3", credentials=TEMPORARY, interval=(0, 9)),
    signed("crt", b"/b/k?x-id=GetObject"), presigned(b"/b/a%20b"), presigned(credentials=TEMPORARY),
)  # fmt: skip


def unsigned_parts(one: bytes) -> set[int]:
    """Where in a head lie octets that no signature covers: whole lines of other fields, and how names are written."""
    request_line, *lines = one.split(b"\r\n")
    listed = (one.partition(b"ignedHeaders=")[2].replace(b"%3B", b";").partition(b",")[0]).partition(b"&")[0]
    names = set(listed.partition(b" ")[0].lower().split(b";"))
    free: set[int] = set()
    at = len(request_line) + 2
    for line in lines:
        name, _, _ = line.partition(b":")
        covered = name.lower() in names or name.lower() == b"authorization"
        free |= set(range(at, at + (len(name) + 2 if covered else len(line))))
        at += len(line) + 2
    return free


@pytest.mark.parametrize("one", MUTATED, ids=["curl", "boto3", "crt", "presigned", "presigned with a token"])
def test_no_octet_that_is_signed_can_be_another(one: bytes) -> None:
    free = unsigned_parts(one)
    assert ONE.verified(one, NOW) is not None
    for at in range(len(one)):
        for octet in {one[at] ^ 1, one[at] ^ 0x20, one[at] ^ 0x80, ord("a"), ord("%"), ord(" "), ord(";"), ord("0")} - {
            one[at]
        }:
            changed = one[:at] + bytes([octet]) + one[at + 1 :]
            seen = opinions(ONE, changed)
            assert seen.compiled is None or seen.compiled == seen.python, (at, changed)
            if seen.compiled is not None and at not in free:
                # How a percent-encoding is written means nothing.
                assert _ENCODED.sub(lambda found: found[0].upper(), changed) == one, (at, changed)


@pytest.mark.parametrize("one", MUTATED, ids=["curl", "boto3", "crt", "presigned", "presigned with a token"])
def test_no_octet_can_be_added_or_taken_away(one: bytes) -> None:
    free = unsigned_parts(one)
    for at in range(len(one)):
        for changed in (one[:at] + one[at + 1 :], *(one[:at] + extra + one[at:] for extra in (b"0", b" ", b"%", b"/"))):
            seen = opinions(ONE, changed)
            assert seen.compiled is None or seen.compiled == seen.python, (at, changed)
            if seen.compiled is not None and not {at - 1, at} & free:
                # Spaces around a value, and around the pieces of Authorization, mean nothing.
                assert changed.replace(b" ", b"") == one.replace(b" ", b""), (at, changed)


segment = st.text("abyz09-._~/ +%&=?#()é\"<>'", max_size=12).map(lambda text: text.encode())
value = st.text('ab  ,;:="%+/', max_size=12).map(lambda text: text.strip().encode())


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    path=segment,
    raw=st.booleans(),
    fields=st.lists(
        st.tuples(st.sampled_from([b"Range", b"Accept", b"If-Match", b"User-Agent", b"x-amz-user-agent"]), value)
    ),
    credentials=st.sampled_from(CREDENTIALS),
    method=st.sampled_from([b"GET", b"HEAD"]),
    in_query=st.booleans(),
)
def test_any_path_and_fields_are_read_as_the_engine_reads_them(
    path: bytes, raw: bool, fields: list[tuple[bytes, bytes]], credentials: Credentials, method: bytes, in_query: bool
) -> None:
    spelled = path if raw else b"".join(b"%%%02x" % octet if octet not in b"ab/" else bytes([octet]) for octet in path)
    target = b"/bkt/" + spelled
    once = tuple(dict(fields).items())
    if in_query:
        one = presigned(target, credentials, method=method, more=once)
    else:
        headers = ((b"Host", HOST), *once)
        by = sign(
            method, target, headers, credentials, region=b"us-east-1", now=NOW, payload_hash=EMPTY_SHA256,
            signed=[name.lower() for name, _ in headers],
        )  # fmt: skip
        one = head(method, target, (*headers, *by.headers))
    seen = opinions(ONE, one)
    assert seen.compiled is None or seen.compiled == seen.python
    if not raw:
        assert seen == Opinions(credentials.access_key, credentials.access_key)


# --- the keys -------------------------------------------------------------------------------------------------------


def test_a_load_makes_a_new_generation_and_knows_its_keys_only() -> None:
    keys = AccessKeys()
    one = Verifier(keys)
    assert (len(keys), keys.slot_of(LONG_LIVED.access_key, 0)) == (0, -1)
    keys.load(7, CREDENTIALS)
    first = keys.generation
    assert len(keys) == len(CREDENTIALS)
    assert sorted(keys.slot_of(known.access_key, 7) for known in CREDENTIALS) == list(range(len(CREDENTIALS)))
    assert keys.slot_of(LONG_LIVED.access_key, 6) == -1
    assert one.verified(signed(), NOW) == LONG_LIVED.access_key
    keys.load(8, [SLASHED])
    assert keys.generation == first + 1
    assert (len(keys), keys.slot_of(SLASHED.access_key, 8), keys.slot_of(LONG_LIVED.access_key, 8)) == (1, 0, -1)
    assert one.verified(signed(), NOW) is None
    assert one.verified(signed(credentials=SLASHED), NOW) == SLASHED.access_key
    keys.load(9, [replace(SLASHED, secret_key=b"rotated")])
    assert one.verified(signed(credentials=SLASHED), NOW) is None
    keys.load(10, [])
    assert one.verified(signed(credentials=SLASHED), NOW) is None
    assert len(keys) == 0


@pytest.mark.parametrize("wrong", [[LONG_LIVED, SLASHED, LONG_LIVED], [SLASHED, Credentials(b"", b"x")]])
def test_keys_that_are_no_set_are_refused_and_none_of_them_is_known(wrong: list[Credentials]) -> None:
    keys = AccessKeys()
    keys.load(1, [TEMPORARY])
    with pytest.raises(ValueError, match="empty, or there twice"):
        keys.load(2, wrong)
    assert len(keys) == 0
    for known in CREDENTIALS:
        assert keys.slot_of(known.access_key, 1) == keys.slot_of(known.access_key, 2) == -1


def test_thousands_of_keys_are_told_apart() -> None:
    many = [Credentials(b"AKID%d" % number, b"secret%d" % number) for number in range(3000)]
    one = verifier(*many)
    for number in (0, 1, 1499, 2999):
        assert one.verified(signed(credentials=many[number]), NOW) == many[number].access_key
        other = replace(many[number], secret_key=many[number - 1].secret_key)
        assert one.verified(signed(credentials=other), NOW) is None
