"""Settings that contradict each other, or the machine, end the start with one sentence each."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.config.conftest import Configure

from fastcache.lifecycle import addresses
from fastcache.lifecycle.rules import mode_combinations

# SEMANTICS 4, 7 and 9, written out by hand: what a start with each combination does.
STARTS = {
    ("revalidate", "passthrough", "global", False),
    ("none", "passthrough", "global", False),
    ("none", "passthrough", "global", True),
    ("none", "sign", "global", False),
    ("none", "sign", "global", True),
    ("verify", "passthrough", "global", False),
    ("verify", "passthrough", "global", True),
    ("verify", "passthrough", "per-key", False),
    ("verify", "passthrough", "per-key", True),
    ("verify", "sign", "global", False),
    ("verify", "sign", "global", True),
}
COMBINATIONS = [
    (authorization, upstream, namespace, ttl)
    for authorization in ("revalidate", "none", "verify")
    for upstream in ("passthrough", "sign")
    for namespace in ("global", "per-key")
    for ttl in (False, True)
]


@pytest.mark.parametrize(("authorization", "upstream", "namespace", "ttl"), COMBINATIONS)
def test_every_combination_of_modes_starts_or_is_refused_as_the_table_says(
    configure: Configure, authorization: str, upstream: str, namespace: str, ttl: bool
) -> None:
    flags = {"authorization": authorization, "upstream": upstream, "namespace": namespace}
    if authorization == "verify":
        flags["keys"] = str(configure.keys_file)
    if ttl:
        flags["ttl"] = "60s"
    if (authorization, upstream, namespace, ttl) in STARTS:
        assert configure(flags=flags).authorization == authorization
        return
    refusal = configure.refusal(flags=flags)
    if (authorization, upstream) == ("revalidate", "sign"):
        assert refusal.startswith("flag --upstream: sign with revalidate would take the origin's word to this cache ")
    elif namespace == "per-key" and authorization != "verify":
        assert refusal.startswith("flag --namespace: per-key needs to know whose key a request has; use authorization")
    elif namespace == "per-key":
        assert refusal.startswith("flag --namespace: per-key makes no sense with sign, which asks for everybody with ")
    else:
        assert refusal.startswith("flag --ttl: revalidate asks the origin each time, so a ttl has no effect; remove it")


def test_the_documented_table_has_every_combination_once_and_agrees() -> None:
    rows = list(mode_combinations())
    assert sorted(row[:4] for row in rows) == sorted(COMBINATIONS)
    assert {row[:4] for row in rows if row[4] is None} == STARTS


Flags = Mapping[str, str]


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        (
            {"aliases": "ap-1=data,ap-1=other"},
            "flag --aliases: ap-1 is said to be other and data; name one bucket",
        ),
        (
            {"aliases": "ap-1=data,ap-2=ap-1"},
            "flag --aliases: ap-2 is said to be ap-1, which is an alias itself; name the bucket behind it",
        ),
        (
            {"gap-credentials": "environment", "authorization": "none"},
            "flag --gap-credentials: none lets everybody read, with no word of the origin to go by; use revalidate or",
        ),
        (
            {"gap-credentials": "environment", "authorization": "none", "upstream": "sign"},
            "flag --gap-credentials: with sign everything is asked for with credentials; remove it",
        ),
        (
            {"authorization": "verify"},
            "flag --authorization: verify needs the clients' keys; name their file with keys",
        ),
        (
            {"keys": "/etc/fastcache/keys.yaml"},
            "flag --keys: only authorization: verify knows clients by keys, this is revalidate; remove it",
        ),
        (
            {"object-max-age": "honour"},
            "flag --object-max-age: revalidate asks the origin each time, so a ttl has no effect; remove it",
        ),
        (
            {"port": "8080"},
            "flag --port: port and admin-port are both 8080 on 127.0.0.1; give one of them another number",
        ),
        (
            {"admin-port": "3000"},
            "flag --admin-port: port and admin-port are both 3000 on 127.0.0.1; give one of them another number",
        ),
        ({"port": "8080", "host": "0.0.0.0"}, "flag --port: port and admin-port are both 8080 on 0.0.0.0; "),
        ({"port": "8080", "host": "::"}, "flag --port: port and admin-port are both 8080 on ::; "),
        ({"port": "8080", "host": "localhost"}, "flag --port: port and admin-port are both 8080 on localhost; "),
        ({"port": "8080", "admin-host": "0.0.0.0"}, "flag --port: port and admin-port are both 8080 on 127.0.0.1; "),
        (
            {"endpoint": "http://127.0.0.1:3000"},
            "flag --endpoint: http://127.0.0.1:3000 is this cache itself; give the S3 service behind it",
        ),
        ({"endpoint": "http://localhost:3000"}, "flag --endpoint: http://localhost:3000 is this cache itself; "),
        ({"endpoint": "http://0.0.0.0:3000"}, "flag --endpoint: http://0.0.0.0:3000 is this cache itself; "),
        ({"endpoint": "http://[::ffff:127.0.0.1]:3000"}, "flag --endpoint: "),
        ({"endpoint": "https://127.5.5.5:3000", "host": "0.0.0.0"}, "flag --endpoint: https://127.5.5.5:3000 is this "),
        ({"endpoint": "http://[::1]:3000", "host": "::"}, "flag --endpoint: http://[::1]:3000 is this cache itself; "),
        ({"endpoint": "http://127.0.0.1:3000", "host": "::"}, "flag --endpoint: http://127.0.0.1:3000 is this cache "),
        (
            {"endpoint": "http://127.0.0.1:80", "port": "80"},
            "flag --endpoint: http://127.0.0.1:80 is this cache itself",
        ),
        (
            {"endpoint": "http://127.0.0.1:8080"},
            "flag --endpoint: http://127.0.0.1:8080 is the admin port of this cache",
        ),
        (
            {"authorization": "none", "host": "0.0.0.0"},
            "flag --authorization: none on 0.0.0.0 gives cached objects to ",
        ),
        ({"authorization": "none", "host": "::"}, "flag --authorization: none on :: gives cached objects to whoever"),
        ({"authorization": "none", "host": "192.0.2.1"}, "flag --authorization: none on 192.0.2.1 gives cached "),
        ({"authorization": "none", "host": "cache.test"}, "flag --authorization: none on cache.test gives cached "),
        (
            {"fill-window": "512MiB"},
            "flag --fill-window: fill.window 512MiB is more than fill.lead 256MiB: "
            "a fill cannot keep more in memory than it may be ahead; change it or fill.lead",
        ),
        ({"fill-window-budget": "2MiB"}, "flag --fill-window-budget: fill.window 4MiB is more than fill.window-budget"),
        (
            {"fill-linger-bytes": "1GiB"},
            "flag --fill-linger-bytes: fill.linger-bytes 1GiB is more than fill.lead 256MiB",
        ),
        (
            {"limits-head-bytes": "4KiB"},
            "flag --limits-head-bytes: limits.target-bytes 8KiB is more than limits.head-bytes 4KiB: "
            "the target is a part of the head; change it or limits.target-bytes",
        ),
        ({"ca-file": "/nowhere/ca.pem"}, "flag --ca-file: /nowhere/ca.pem cannot be read: No such file or directory; "),
        ({"cache-dir": "/dev/null"}, "flag --cache-dir: /dev/null is not a directory; choose another path"),
        ({"cache-dir": "/dev/null/x"}, "flag --cache-dir: /dev/null/x cannot be used: Not a directory; choose another"),
    ],
)
def test_a_contradiction_is_refused_with_place_reason_and_what_instead(
    configure: Configure, flags: Flags, refusal: str
) -> None:
    assert configure.refusal(flags=flags).startswith(refusal)


@pytest.mark.parametrize(
    "flags",
    [
        {"port": "0", "admin-port": "0"},
        {"port": "8080", "admin-host": "127.0.0.2"},
        {"port": "8080", "host": "::1"},
        {"endpoint": "http://127.0.0.2:3000"},
        {"endpoint": "http://127.0.0.1:3001"},
        {"endpoint": "http://192.0.2.1:3000", "host": "0.0.0.0"},
        {"endpoint": "http://other.test:3000", "host": "0.0.0.0"},
        {"endpoint": "http://[::1]:3000", "host": "0.0.0.0"},
        {"authorization": "none"},
        {"authorization": "none", "host": "localhost"},
        {"authorization": "none", "host": "::1"},
        {"authorization": "none", "host": "0.0.0.0", "allow-from": "10.0.0.0/8"},
        {"authorization": "revalidate", "host": "0.0.0.0"},
        {"authorization": "none", "ttl": "0"},
        {"cache": "off", "cache-dir": "/dev/null", "cache-size": "5GiB"},
        {"cache-size": "1MiB"},
        {"fill-window": "256MiB", "fill-linger-bytes": "0", "fill-linger": "0"},
    ],
)
def test_what_only_looks_like_a_contradiction_starts(configure: Configure, flags: Flags) -> None:
    configure(flags=flags)


def test_both_sides_of_a_contradiction_may_come_from_different_sources(configure: Configure) -> None:
    refusal = configure.refusal("\nauthorization: none\n", environ={"FASTCACHE_HOST": "0.0.0.0"})
    assert refusal.startswith("fastcache.yaml:2, key authorization: none on 0.0.0.0 ")


def test_the_name_of_this_machine_is_this_machine(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Cache-7")
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]
    )
    assert addresses.reaches("cache-7", "0.0.0.0")
    assert addresses.reaches("cache-7", "127.0.1.1")
    assert not addresses.reaches("cache-7", "127.0.0.1")
    refusal = configure.refusal(flags={"endpoint": "http://cache-7:3000", "host": "0.0.0.0"})
    assert "is this cache itself" in refusal


def test_no_other_name_is_looked_up(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise AssertionError("a start must not wait for DNS")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    configure(flags={"endpoint": "http://slow.test:3000", "host": "0.0.0.0"})


def test_amazon_in_passthrough_is_told_in_one_line(configure: Configure) -> None:
    (notice,) = configure(flags={"endpoint": "https://s3.eu-west-1.amazonaws.com"}).notices
    assert "by DNS or HTTP_PROXY, not by endpoint_url, or use upstream: sign" in notice


def test_the_global_namespace_is_told_where_nobody_is_asked(configure: Configure) -> None:
    verifies = {"authorization": "verify", "keys": str(configure.keys_file)}
    for flags in ({"authorization": "none"}, verifies):
        (notice,) = configure(flags=flags).notices
        assert notice.startswith("namespace is global")
        assert configure(flags={**flags, "upstream": "sign"}).notices == ()
    assert configure(flags={**verifies, "namespace": "per-key"}).notices == ()
    assert configure().notices == ()


def test_a_ca_file_that_can_be_read_is_accepted(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    assert configure(flags={"ca-file": tmp_path / "ca.pem"}).ca_file == tmp_path / "ca.pem"
