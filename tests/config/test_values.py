"""What each kind of value accepts, and that errors name what is accepted and keep secrets."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from tests.config.conftest import Configure

from fastcache.model import OriginId


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://s3.test", OriginId("http", "s3.test", 80)),
        ("https://s3.test", OriginId("https", "s3.test", 443)),
        ("https://s3.test/", OriginId("https", "s3.test", 443)),
        ("http://s3.test:9000", OriginId("http", "s3.test", 9000)),
        ("HTTP://S3.Test:09000", OriginId("http", "s3.test", 9000)),
        ("http://s3.test.", OriginId("http", "s3.test", 80)),
        ("http://10.1.2.3:80", OriginId("http", "10.1.2.3", 80)),
        ("https://[2001:DB8::0:1]:8443", OriginId("https", "2001:db8::1", 8443)),
        ("http://minio_1:9000", OriginId("http", "minio_1", 9000)),
    ],
)
def test_an_endpoint_is_scheme_host_and_port(configure: Configure, url: str, origin: OriginId) -> None:
    assert configure(flags={"endpoint": url}).endpoint == origin


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3.test", "not an S3 endpoint"),
        ("s3.test:9000", "not an S3 endpoint"),
        ("s3://bucket", "not an S3 endpoint"),
        ("ftp://s3.test", "not an S3 endpoint"),
        ("http:s3.test", "not an S3 endpoint"),
        ("http://", "has no host"),
        ("http://:9000", "has no host"),
        ("http://s3.test:0", "port 0"),
        ("http://s3.test:65536", "not a valid URL"),
        ("http://s3.test:x", "not a valid URL"),
        ("http://[::1", "not a valid URL"),
        ("http://s3.test/bucket", "has a path"),
        ("http://s3.test//", "has a path"),
        ("http://s3.test?", "a query"),
        ("http://s3.test/?x=1", "a query"),
        ("http://s3.test/#top", "a query"),
        ("http://s3 .test", "not a URL"),
        ("http://s3\t.test", "not a URL"),
        ("http://b\u00fccher.test", "international names as xn--"),
        ("http://127.1", "not an IP address"),
        ("http://0177.0.0.1", "not an IP address"),
        ("http://-s3.test", "not a host name"),
        ("http://s3..test", "not a host name"),
        ("http://%733.test", "not a host name"),
        ("http://user@s3.test", "holds credentials"),
        ("http://@s3.test", "holds credentials"),
    ],
)
def test_what_is_no_endpoint_is_refused(configure: Configure, url: str, reason: str) -> None:
    refusal = configure.refusal(flags={"endpoint": url})
    assert refusal.startswith("flag --endpoint: ")
    assert reason in refusal


@pytest.mark.parametrize(
    "url",
    [
        "http://AKIAKEY:hunter2@s3.test",
        "http://s3.test/?X-Amz-Signature=hunter2",
        "http://hunter2:s3.test:1",
        "hunter2://s3.test",
        "http://hunter2 @s3.test",
        "http://hunter2..s3.test",
        "http://s3.test/hunter2",
    ],
)
def test_no_error_repeats_an_endpoint_that_may_hold_a_secret(configure: Configure, url: str) -> None:
    for refusal in (
        configure.refusal(flags={"endpoint": url}),
        configure.refusal(environ={"ENDPOINT": url}),
        configure.refusal(yaml=f'endpoint: "{url}"'),
    ):
        assert "hunter2" not in refusal


@pytest.mark.parametrize(
    ("text", "host"),
    [("0.0.0.0", "0.0.0.0"), ("::", "::"), ("[::1]", "::1"), ("LocalHost", "localhost"), ("0:0::1", "::1")],
)
def test_a_host_is_an_address_or_a_name(configure: Configure, text: str, host: str) -> None:
    assert configure(flags={"host": text}).host == host


@pytest.mark.parametrize("text", ["127.0.0.1:80", "http://localhost", "a b", "256.1.1.1", "*", "x" * 64])
def test_what_is_no_host_is_refused(configure: Configure, text: str) -> None:
    assert configure.refusal(flags={"host": text}).startswith("flag --host: not a")


def test_names_are_lower_case_and_suffixes_lose_their_dot(configure: Configure) -> None:
    settings = configure("hosts: [Cache.Test, b.test]\nvirtual-host-suffixes: [.S3.test]\n")
    assert settings.hosts == ("cache.test", "b.test")
    assert settings.virtual_host_suffixes == ("s3.test",)


def test_aliases_are_pairs_of_bucket_names(configure: Configure) -> None:
    settings = configure("aliases: [ap-1-s3alias=Data, ap.s3-accesspoint.eu-west-1.amazonaws.com=other]\n")
    assert settings.aliases == (("ap-1-s3alias", "Data"), ("ap.s3-accesspoint.eu-west-1.amazonaws.com", "other"))


@pytest.mark.parametrize("text", ["data", "=data", "a=data", "ap=", "ap=da ta", "ap/x=data", "ap=data=more"])
def test_what_is_no_alias_is_refused(configure: Configure, text: str) -> None:
    assert configure.refusal(flags={"aliases": text}) == f"flag --aliases: {text!r} is no alias; write NAME=BUCKET"


def test_networks_are_networks(configure: Configure) -> None:
    settings = configure(flags={"allow-from": ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7")})
    assert settings.allow_from == tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network; write an address or CIDR such as 10.0.0.0/8"),
        ("lan", "'lan' is not a network"),
        ("10.0.0.7/8", "has bits set behind its prefix; write 10.0.0.0/8 or the single address"),
    ],
)
def test_a_bad_network_is_refused_at_its_own_line(configure: Configure, text: str, reason: str) -> None:
    refusal = configure.refusal(f"allow-from:\n  - 10.0.0.0/8\n  - {text}\n")
    assert refusal.startswith("fastcache.yaml:3, key allow-from: ")
    assert reason in refusal


@pytest.mark.parametrize(("text", "value"), [("on", True), ("true", True), ("off", False), ("no", False)])
def test_the_cache_is_switched_in_words(configure: Configure, text: str, value: bool) -> None:
    assert configure(f"cache: {text}").cache is value
    assert configure(flags={"cache": text}).cache is value


def test_another_word_for_a_switch_is_refused(configure: Configure) -> None:
    assert configure.refusal(flags={"cache": "of"}) == "flag --cache: 'of' is neither on nor off"


@pytest.mark.parametrize(
    "text", ["-1", "65536", "3000.0", "0x50", "+80", "1_000", "\u0663", "http", "99999999999999999999"]
)
@pytest.mark.parametrize("name", ["port", "admin-port"])
def test_a_port_out_of_range_is_refused(configure: Configure, name: str, text: str) -> None:
    assert configure.refusal(flags={name: text}).startswith(f"flag --{name}: {text!r} is ")


@pytest.mark.parametrize(
    ("name", "text", "bounds"),
    [
        ("cache-size", "1023KiB", "1MiB to 1048576TiB"),
        ("fill.window", "1KiB", "64KiB to 1GiB"),
        ("timeouts.connect", "0s", "1ms to 604800s"),
        ("timeouts.connect", "8d", "1ms to 604800s"),
        ("limits.header-fields", "15", "16 to 1000"),
        ("io-threads", "0", "1 to 256"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_range(
    configure: Configure, name: str, text: str, bounds: str
) -> None:
    flag = name.replace(".", "-")
    assert configure.refusal(flags={flag: text}) == f"flag --{flag}: '{text}' is out of range; write {bounds}"


@pytest.mark.parametrize("name", ["access-log", "log-level", "log-format", "durability", "authorization", "upstream"])
def test_an_unknown_choice_is_refused_with_the_choices(configure: Configure, name: str) -> None:
    assert configure.refusal(flags={name: "maybe"}).startswith(f"flag --{name}: 'maybe' is not one of ")


@pytest.mark.parametrize("name", ["cache-dir", "ca-file", "access-log-file"])
def test_a_relative_path_is_refused(configure: Configure, name: str) -> None:
    refusal = configure.refusal(flags={name: "here/it"})
    assert refusal == f"flag --{name}: 'here/it' is not an absolute path; write one that starts with /"


def test_paths_are_paths(configure: Configure, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("")
    settings = configure(flags={"ca-file": ca_file, "access-log-file": "/var/log/fastcache/access"})
    assert settings.cache_dir == configure.cache_dir
    assert settings.ca_file == ca_file
    assert settings.access_log_file == "/var/log/fastcache/access"


@pytest.mark.parametrize("text", ["Cubic", "a" * 16, "bbr;x"])
def test_a_bad_congestion_control_name_is_refused(configure: Configure, text: str) -> None:
    assert "is not a congestion control algorithm" in configure.refusal(flags={"tcp-congestion": text})
