"""The file, the environment and the flags: precedence, places, unknown names."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config.conftest import Configure

from fastcache.errors import ConfigError
from fastcache.lifecycle.schema import SETTINGS
from fastcache.lifecycle.settings import load, render_effective

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 3000,
    "hosts": (),
    "virtual_host_suffixes": (),
    "workers": 0,
    "cache": True,
    "cache_size": 10 * 2**30,
    "upstream": "passthrough",
    "credentials": {"kind": "auto", "argument": ""},
    "gap_credentials": None,
    "region": "",
    "sts_endpoint": None,
    "mounts": (),
    "addressing": "auto",
    "authorization": "revalidate",
    "keys": None,
    "read_only": "auto",
    "ttl": 60.0,
    "head_ttl": 60.0,
    "stale_while_revalidate": 0.0,
    "stale_if_error": 0.0,
    "allow_from": (),
    "kms": "refuse",
    "multi_range": "whole",
    "write_through": True,
    "write_through_max": 8 * 2**30,
    "write_through_backlog": 32 * 2**20,
    "upload_expiry": 86400.0,
    "widen": 0,
    "read_ahead": 16 * 1024 * 1024,
    "aliases": (),
    "object_max_age": "ignore",
    "namespace": "global",
    "admin_host": "127.0.0.1",
    "admin_port": 8080,
    "access_log": "off",
    "access_log_file": "-",
    "log_level": "info",
    "log_format": "text",
    "ca_file": None,
    "durability": "none",
    "io_threads": 4,
    "index_memory": 1073741824,
    "tcp_congestion": "",
    "limits": {
        "max_connections": 4096,
        "head_bytes": 65536,
        "header_fields": 100,
        "target_bytes": 8192,
        "max_requests_in_flight": 1024,
        "min_client_rate": 1024,
    },
    "timeouts": {
        "connect": 5.0,
        "first_byte": 60.0,
        "origin_idle": 60.0,
        "pool_idle": 20.0,
        "head": 30.0,
        "keep_alive": 75.0,
        "client_stall": 60.0,
        "drain": 30.0,
    },
    "fill": {
        "lead": 256 * 2**20,
        "window": 4 * 2**20,
        "window_budget": 256 * 2**20,
        "linger_bytes": 8 * 2**20,
        "linger": 2.0,
        "follow_wait": 1.0,
        "detach_after": 0.1,
    },
    "hit": {
        "branch": True,
        "parser": "strict",
        "leases": 65_536,
        "memory": 128 * 2**20,
        "files": 8192,
    },
}


def test_defaults_are_what_is_documented_to_operators(configure: Configure) -> None:
    values = dataclasses.asdict(configure())
    assert values.keys() - DEFAULTS.keys() == {"endpoint", "cache_dir", "places", "notices"}
    assert {name: values[name] for name in DEFAULTS} == DEFAULTS


def test_a_setting_given_nowhere_is_not_explicit(configure: Configure) -> None:
    settings = configure()
    assert settings.explicit == {"endpoint"}
    assert settings.place("endpoint") == "variable ENDPOINT"
    assert settings.place("port") == "default"


@given(
    flag=st.none() | st.integers(10, 19),
    variable=st.none() | st.integers(20, 29),
    alias=st.none() | st.integers(30, 39),
    key=st.none() | st.integers(40, 49),
)
def test_flag_beats_variable_beats_alias_beats_file_beats_default(
    tmp_path_factory: pytest.TempPathFactory, flag: int | None, variable: int | None, alias: int | None, key: int | None
) -> None:
    configure = Configure(tmp_path_factory.mktemp("config"))
    settings = configure(
        "" if key is None else f"port: {key}\n",
        {name: str(value) for name, value in (("FASTCACHE_PORT", variable), ("PORT", alias)) if value is not None},
        {"port": flag},
    )
    candidates = [
        (flag, "flag --port"),
        (variable, "variable FASTCACHE_PORT"),
        (alias, "variable PORT"),
        (key, f"{configure.file}:1, key port"),
        (3000, "default"),
    ]
    value, place = next(candidate for candidate in candidates if candidate[0] is not None)
    assert settings.port == value
    assert settings.place("port") == place
    assert ("port" in settings.explicit) == (place != "default")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_can_be_given_in_all_three_ways_and_is_told_with_its_place(
    configure: Configure, setting: Any
) -> None:
    bad = "\x01"  # valid for nothing
    *groups, key = setting.path
    yaml = "".join(f"{group}:\n  " for group in groups) + f'{key}: "\\x01"\n'
    line = 1 + len(groups)
    assert configure.refusal(yaml).startswith(f"fastcache.yaml:{line}, key {setting.name}: ")
    assert configure.refusal(environ={setting.variable: bad}).startswith(f"variable {setting.variable}: ")
    assert configure.refusal(flags={setting.flag_name: bad}).startswith(f"flag --{setting.flag_name}: ")


def test_lists_come_from_yaml_lists_commas_and_repeated_flags(configure: Configure) -> None:
    expected = ("a.test", "b.test")
    assert configure("hosts:\n- a.test\n- b.test\n").hosts == expected
    assert configure("hosts: a.test, b.test\n").hosts == expected
    assert configure(environ={"FASTCACHE_HOSTS": "a.test,b.test,"}).hosts == expected
    assert configure(flags={"hosts": ("a.test", "b.test")}).hosts == expected
    assert configure("hosts: [c.test]", flags={"hosts": ["a.test", "b.test"]}).hosts == expected


def test_an_empty_list_in_the_file_is_a_value(configure: Configure) -> None:
    settings = configure("hosts: []\n")
    assert settings.hosts == ()
    assert "hosts" in settings.explicit


def test_an_empty_variable_counts_as_not_set(configure: Configure) -> None:
    settings = configure("port: 1234\n", {"FASTCACHE_PORT": "", "PORT": "", "FASTCACHE_HOSTS": ""})
    assert settings.port == 1234
    assert settings.place("hosts") == "default"


def test_the_file_can_be_named_by_a_variable(configure: Configure) -> None:
    configure.file.write_text("port: 1234\n")
    assert configure(environ={"FASTCACHE_CONFIG": str(configure.file)}).port == 1234


def test_a_missing_endpoint_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="endpoint is missing; give -e URL, FASTCACHE_ENDPOINT, or the key endpoint"):
        load({"cache-dir": tmp_path / "cache"}, {}, None)


def test_all_problems_are_told_at_once(configure: Configure) -> None:
    refusal = configure.refusal("prot: 1\nfill:\n  window: x\n", {"FASTCACHE_TLL": "5s"}, {"port": "x"})
    places = [line.split(":")[0] for line in refusal.splitlines()]
    assert sorted(places) == [
        "fastcache.yaml",
        "fastcache.yaml",
        "flag --port",
        "variable FASTCACHE_TLL is not known; did you mean FASTCACHE_TTL?",
    ]


@pytest.mark.parametrize(
    ("yaml", "refusal"),
    [
        ("prot: 1", "fastcache.yaml:1: unknown key prot; did you mean port?"),
        ("cache_dir: /x", "fastcache.yaml:1: unknown key cache_dir; did you mean cache-dir?"),
        ("\nfill:\n  windw: 4MiB", "fastcache.yaml:3: unknown key fill.windw; did you mean window?"),
        ("window: 4MiB", "fastcache.yaml:1: unknown key window; did you mean fill: window?"),
        ("fill-window: 4MiB", "fastcache.yaml:1: unknown key fill-window; did you mean fill: window?"),
        ("fill.window: 4MiB", "fastcache.yaml:1: unknown key fill.window; did you mean fill: window?"),
        ("fill:\n  port: 1", "fastcache.yaml:2: unknown key fill.port; did you mean port?"),
        ("timeout:\n  connect: 1s", "fastcache.yaml:1: unknown key timeout; did you mean timeouts?"),
        ("limits:\n  <<: {head-bytes: 8KiB}", "fastcache.yaml:2: unknown key limits.<<"),
        ("zzzzzz: 1", "fastcache.yaml:1: unknown key zzzzzz"),
        ("port: 1\nport: 2", "fastcache.yaml:2: port is already set at fastcache.yaml:1; keep one of the two"),
        (
            "fill: {lead: 1GiB, lead: 2GiB}",
            "fastcache.yaml:1: fill.lead is already set at fastcache.yaml:1; keep one of the two",
        ),
        ("? [a, b]\n: 1", "fastcache.yaml:1: a key is a plain word, not a list or mapping"),
        ("fill: 4MiB", "fastcache.yaml:1: fill is a group; write its keys below it, indented"),
        ("fill:", "fastcache.yaml:1: fill is a group; write its keys below it, indented"),
        ("port: [1, 2]", "fastcache.yaml:1, key port: takes one value, not a list"),
        (
            "port: {a: 1}",
            "fastcache.yaml:1, key port: has no value that can be used; write one value, or remove the key",
        ),
        ("port:", "fastcache.yaml:1, key port: has no value that can be used; write one value, or remove the key"),
        (
            "port: !!binary MQ==",
            "fastcache.yaml:1, key port: has no value that can be used; write one value, or remove the key",
        ),
        ("port: !!python/object/apply:os.getpid []", "fastcache.yaml:1, key port: takes one value, not a list"),
        ("hosts: [[a]]", "fastcache.yaml:1, key hosts: an item is one value, not a list, a mapping or nothing"),
        ("- port", "fastcache.yaml:1: not a mapping; write one `key: value` a line"),
        ("port 3000", "fastcache.yaml:1: not a mapping; write one `key: value` a line"),
        (
            "fill: &a\n  lead: *a",
            "fastcache.yaml:2, key fill.lead: has no value that can be used; write one value, or remove the key",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line_and_the_nearest_name(
    configure: Configure, yaml: str, refusal: str
) -> None:
    assert configure.refusal(yaml) == refusal


@pytest.mark.parametrize(
    ("yaml", "beginning"),
    [
        ("port: 1\nhost: 'x", "fastcache.yaml:"),
        ("port: 1\n  host: x\n", "fastcache.yaml:2: not valid YAML: "),
        ("port: *nowhere", "fastcache.yaml:1: not valid YAML: "),
        ("port: 1\n---\nport: 2\n", "fastcache.yaml:2: not valid YAML: "),
        ("port: \x00", "fastcache.yaml: not valid YAML: not UTF-8 text, or it holds control characters"),
        ("[" * 100_000, "fastcache.yaml: not valid YAML: nested too deeply"),
        ("#" * 1_048_577, "fastcache.yaml: larger than 1MiB"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(configure: Configure, yaml: str, beginning: str) -> None:
    assert configure.refusal(yaml).startswith(beginning)


def test_a_file_that_cannot_be_read_is_refused(configure: Configure, tmp_path: Path) -> None:
    for file, reason in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"{file}: cannot be read: {reason}; give the configuration file with -c"):
            load({}, {}, file)


def test_text_that_is_not_utf8_is_refused(configure: Configure) -> None:
    configure.file.write_bytes(b"host: \xff\xfe\n")
    assert "not valid YAML" in configure.refusal(environ={"FASTCACHE_CONFIG": str(configure.file)})


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "{}\n"])
def test_an_empty_file_sets_nothing(configure: Configure, content: str) -> None:
    assert configure(content).explicit == {"endpoint"}


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("FASTCACHE_PROT", "; did you mean FASTCACHE_PORT?"),
        ("FASTCACHE_FILL_WINDWO", "; did you mean FASTCACHE_FILL_WINDOW?"),
        ("FASTCACHE_CONFG", "; did you mean FASTCACHE_CONFIG?"),
        ("FASTCACHE_BUILDINGS", ""),
        ("FASTCACHE_QQQQQQQQQQQQQQQQQQQQQQQQ", ""),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(configure: Configure, variable: str, hint: str) -> None:
    assert configure.refusal(environ={variable: "secret"}) == f"variable {variable} is not known{hint}"


def test_an_unknown_flag_is_refused_with_the_nearest_name(configure: Configure) -> None:
    assert configure.refusal(flags={"fill-windo": "1"}) == "flag --fill-windo is not known; did you mean --fill-window?"


def test_variables_of_the_test_suite_and_the_build_are_left_alone(configure: Configure) -> None:
    settings = configure(environ={"FASTCACHE_TEST_ANYTHING": "1", "FASTCACHE_BUILD": "debug"})
    assert settings.notices == ()


SERVICE = {
    "FASTCACHE_SERVICE_HOST": "10.96.0.7",
    "FASTCACHE_SERVICE_PORT": "3000",
    "FASTCACHE_SERVICE_PORT_S3": "3000",
    "FASTCACHE_PORT": "tcp://10.96.0.7:3000",
    "FASTCACHE_PORT_3000_TCP": "tcp://10.96.0.7:3000",
    "FASTCACHE_PORT_3000_TCP_PROTO": "tcp",
    "FASTCACHE_PORT_3000_TCP_PORT": "3000",
    "FASTCACHE_PORT_3000_TCP_ADDR": "10.96.0.7",
}


def test_what_kubernetes_sets_for_a_service_named_fastcache_is_ignored_with_one_line(configure: Configure) -> None:
    settings = configure(environ=SERVICE)
    assert settings.port == 3000
    assert "port" not in settings.explicit
    (notice,) = settings.notices
    assert notice.startswith("ignored what Kubernetes sets for a Service (8, such as FASTCACHE_PORT); ")


def test_a_service_whose_name_only_begins_with_fastcache_is_ignored_too(configure: Configure) -> None:
    environ = {name.replace("FASTCACHE_", "FASTCACHE_ADMIN_", 1): value for name, value in SERVICE.items()}
    settings = configure(environ=environ)
    assert settings.admin_port == 8080
    assert len(settings.notices) == 1


def test_the_alias_still_counts_when_kubernetes_took_our_own_name(configure: Configure) -> None:
    assert configure(environ={**SERVICE, "PORT": "4000"}).port == 4000


def test_a_real_port_in_our_variable_is_a_setting(configure: Configure) -> None:
    assert configure(environ={**SERVICE, "FASTCACHE_PORT": "4000"}).port == 4000


def test_a_wrong_port_in_our_variable_is_an_error_and_not_taken_for_a_service(configure: Configure) -> None:
    assert configure.refusal(environ={"FASTCACHE_PORT": "http://x"}).startswith("variable FASTCACHE_PORT: ")


def test_what_is_printed_as_effective_loads_to_the_same(configure: Configure, tmp_path: Path) -> None:
    settings = configure(
        "authorization: none\nttl: 1500ms\nhosts: [a.test]\nfill:\n  window: 1MiB\n",
        flags={"allow-from": ["10.0.0.0/8", "::1/128"], "host": "::", "port": "0", "tcp-congestion": "bbr"},
    )
    (tmp_path / "again.yaml").write_text(render_effective(settings))
    again = load({}, {}, tmp_path / "again.yaml")
    assert again.but(places=settings.places, notices=settings.notices) == settings


def test_effective_defaults_load_to_the_same_and_name_no_ttl_that_would_be_refused(
    configure: Configure, tmp_path: Path
) -> None:
    settings = configure()
    text = render_effective(settings)
    (tmp_path / "again.yaml").write_text(text)
    again = load({}, {}, tmp_path / "again.yaml")
    assert again.but(places=settings.places, notices=settings.notices) == settings
    assert "endpoint: http://origin.test:9000  # variable ENDPOINT\n" in text
    assert "\n# ttl: 60s  (with authorization: none or verify)\n" in text


def test_settings_cannot_be_changed(configure: Configure) -> None:
    settings = configure()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.fill.window = 1  # type: ignore[misc]


def test_settings_travel_to_another_process_with_their_places(configure: Configure) -> None:
    settings = configure("port: 1234\n", SERVICE)
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.place("port") == settings.place("port") != "default"
    assert copy.notices == settings.notices != ()
