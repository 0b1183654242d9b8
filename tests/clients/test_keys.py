"""A key is the path decoded once, and nothing else: whoever encodes it how, it is one object, and never another."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from tests.clients.sites import Site, status_of

KEYS = (
    "plain",
    "a b",
    "a+b",
    "a%20b",
    "a(b)'c!*",
    "ünïcödé/日本/🙂",
    "a//b",
    "a/",
    "/leading",
    ".leading",
    "a/./b",
    "a?b=c&d",
    "a#b",
    "a;b=c,d:e@f$g",
    "~a_b-c.d",
    'a\\b"c<d>e|f^g`{h}',
    "x" * 1024,
    "%2e%2e/%2F",
)


def test_every_key_is_its_own_object(fewer_sites: Site) -> None:
    """Written through the proxy, read cold and warm, listed, overwritten, deleted: no key is taken for another."""
    bucket = fewer_sites.new_bucket()
    client = fewer_sites.through
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for _ in range(2):
        for key in KEYS:
            assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode(), key
    listed = {item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == set(KEYS)
    for number, key in enumerate(KEYS):
        if number % 2:
            client.delete_object(Bucket=bucket, Key=key)
        else:
            client.put_object(Bucket=bucket, Key=key, Body=b"new " + key.encode())
        for other_number, other in enumerate(KEYS):
            if abs(other_number - number) > 1:
                continue
            if other_number > number:
                assert client.get_object(Bucket=bucket, Key=other)["Body"].read() == other.encode()
            elif other_number % 2:
                assert status_of(client.get_object, Bucket=bucket, Key=other) == 404
            else:
                assert client.get_object(Bucket=bucket, Key=other)["Body"].read() == b"new " + other.encode()


@pytest.mark.parametrize(
    ("warm", "write"),
    [
        ("a%28b%29", "a(b)"),
        ("a(b)", "a%28b%29"),
        ("%61b", "ab"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a%2Fb"),
        ("%C3%BC", "%c3%bc"),
        ("a%2Bb", "a%2bb"),
        ("a%7Eb", "a~b"),
    ],
)
def test_spellings_of_one_key_are_one_object(own_site: Site, warm: str, write: str) -> None:
    """Read in one spelling, written or deleted in the other: the next read in either knows."""
    bucket = own_site.new_bucket()
    read_at, write_at = f"/{bucket}/{warm}", f"/{bucket}/{write}"
    assert own_site.raw("PUT", write_at, body=b"one").status == 200
    for _ in range(2):
        assert own_site.raw("GET", read_at).body == b"one"
    assert own_site.raw("GET", write_at).get(b"x-cache") != b"MISS", "two entries for one object"
    assert own_site.raw("PUT", write_at, body=b"two").status == 200
    assert own_site.raw("GET", read_at).body == b"two"
    assert own_site.raw("DELETE", write_at).status == 204
    assert own_site.raw("GET", read_at).status == 404
    assert own_site.raw("GET", write_at).status == 404


@pytest.mark.parametrize("raw", ["a+b", "a%zzb", "a%", "a%2"])
def test_what_servers_read_in_two_ways_is_never_cached_and_its_writes_reach_both(own_site: Site, raw: str) -> None:
    bucket = own_site.new_bucket()
    for reading in {raw, raw.replace("+", " ")}:
        own_site.direct.put_object(Bucket=bucket, Key=reading, Body=b"old " + reading.encode())
        at = f"/{bucket}/{quote(reading, safe='')}"
        for _ in range(2):
            assert own_site.raw("GET", at).body == b"old " + reading.encode()
    for _ in range(2):
        answer = own_site.raw("GET", f"/{bucket}/{raw}")
        assert answer.get(b"x-cache") == b"PASS"
        assert answer.status == own_site.raw("GET", f"/{bucket}/{raw}", direct=True).status
    own_site.raw("DELETE", f"/{bucket}/{raw}")
    for reading in {raw, raw.replace("+", " ")}:
        at = f"/{bucket}/{quote(reading, safe='')}"
        through, direct = own_site.raw("GET", at), own_site.raw("GET", at, direct=True)
        assert (through.status, through.status == 404 or through.body) == (
            direct.status,
            direct.status == 404 or direct.body,
        )
