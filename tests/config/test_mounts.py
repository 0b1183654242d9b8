"""The setting ``mounts``: its form, what it is refused for, and by which credentials each mount is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tests.config.conftest import Configure
from tests.config.test_credentials import CANARY, KEYS, check
from tests.harness.shown import page

from fastcache.clock import ManualClock
from fastcache.engine.context import Context
from fastcache.lifecycle.kinds import Mount
from fastcache.lifecycle.mounting import Access, accesses, mounts_of
from fastcache.lifecycle.settings import Settings, render_effective
from fastcache.model import ObjectId, OriginId
from fastcache.policy.mounts import Place
from fastcache.upstream.credentials.choosing import Choice

ENDPOINT = OriginId("http", "origin.test", 9000)
OTHER = OriginId("https", "other.test", 443)
SIGN = {"authorization": "none", "upstream": "sign"}


def mounted(configure: Configure, *mounts: str, **flags: str) -> Settings:
    return configure(flags={**SIGN, **flags, "mounts": list(mounts)})


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("data=https://other.test/real", Mount("data", OTHER, "real", None, "")),
        ("data=https://other.test/real/", Mount("data", OTHER, "real", None, "")),
        ("Old_1=http://h:81/UPPER.x", Mount("Old_1", OriginId("http", "h", 81), "UPPER.x", None, "")),
        (
            "data=https://other.test/real  region=eu-west-1 credentials=file:/run/x=y",
            Mount("data", OTHER, "real", Choice("file", "/run/x=y"), "eu-west-1"),
        ),
        (
            "d-1=http://[::1]:9/b1 credentials=instance",
            Mount("d-1", OriginId("http", "::1", 9), "b1", Choice("instance"), ""),
        ),
    ],
)
def test_a_mount_is_a_name_a_place_and_options(configure: Configure, text: str, mount: Mount) -> None:
    settings = mounted(configure, text)
    assert settings.mounts == (mount,)
    assert configure(render_effective(settings)).mounts == (mount,)
    assert configure(f"authorization: none\nupstream: sign\nmounts:\n  - {text}\n").mounts == (mount,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data", "not a mount; write NAME=URL/BUCKET"),
        ("data=real", "not a mount"),
        ("data=https://other.test", "not a mount"),
        ("data=https://other.test/", "not a mount"),
        ("data=https://other.test//real", "not a mount"),
        ("d/a=https://other.test/real", "not a mount"),
        ("data=https://other.test/re%61l", "not a mount"),
        ("data=https://other.test/a/real", "the mount data: has a path or a query"),
        ("data=s3://other/real", "the mount data: not an S3 endpoint"),
        (f"data=https://me:{CANARY}@other.test/real", "the mount data: holds credentials"),
        ("data=https://other.test/real prefix=x", "the mount data has options that are not known"),
        ("data=https://other.test/real region=a region=b", "the mount data has options that are not known, or one"),
        ("data=https://other.test/real region=a/b", "the mount data: 'a/b' is not a region"),
        (f"data=https://other.test/real credentials={CANARY}", "the mount data: not one of auto | environment | "),
    ],
)
def test_what_is_no_mount_is_refused_and_not_repeated(configure: Configure, text: str, reason: str) -> None:
    refusal = configure.refusal(flags={**SIGN, "mounts": text})
    assert refusal.startswith(f"flag --mounts: {reason}")
    assert CANARY not in refusal


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        ({"upstream": "passthrough"}, "passthrough sends every request to the endpoint as it was signed; use upstream"),
        (
            {"mounts": "one=http://x.test/bb,one=http://x.test/cc"},
            "one is mounted twice; give one of the two another name",
        ),
        ({"aliases": "data=other"}, "data is an alias too; give the mount another name"),
        (
            {"mounts": "one=https://s3.amazonaws.com/bb region=garage"},
            "https://s3.amazonaws.com:443 has no region garage",
        ),
        ({"mounts": "one=http://127.0.0.1:3000/bb"}, "http://127.0.0.1:3000 is this cache itself; give the S3 service"),
        (
            {"mounts": "one=http://127.0.0.1:8080/bb"},
            "http://127.0.0.1:8080 is the admin port of this cache; give the S3",
        ),
    ],
)
def test_mounts_that_cannot_be_are_refused(configure: Configure, flags: dict[str, str], refusal: str) -> None:
    given = {**SIGN, "mounts": "data=https://other.test/real", **flags}
    assert configure.refusal(flags=given).startswith(f"flag --mounts: {refusal}")


def test_a_mount_is_asked_for_with_the_credentials_of_its_own_or_of_the_endpoint(configure: Configure) -> None:
    settings = mounted(
        configure,
        "bucket-a=https://other.test/real-a",
        "bucket-b=http://origin.test:9000/real-b",
        "bucket-c=http://origin.test:9000/real-c credentials=instance",
        "bucket-d=https://other.test/real-d credentials=instance region=eu-west-1",
        "bucket-e=https://other.test/real-e",
        credentials="profile:own",
        region="us-west-2",
    )
    own, instance = Choice("profile", "own"), Choice("instance")
    assert list(accesses(settings).values()) == [
        Access(ENDPOINT, own, "us-west-2"),
        Access(OTHER, own, ""),
        Access(ENDPOINT, instance, "us-west-2"),
        Access(OTHER, instance, "eu-west-1"),
    ]
    mounts = mounts_of(settings)
    assert mounts is not None
    assert mounts.place(b"bucket-b") == Place(ENDPOINT, b"real-b")
    assert (
        mounts.place(b"bucket-a").credentials
        == mounts.place(b"bucket-e").credentials
        != mounts.place(b"bucket-d").credentials
    )
    assert {
        (place.origin, place.credentials)
        for place in map(mounts.place, (b"bucket-a", b"bucket-b", b"bucket-c", b"bucket-d", None))
    } == set(accesses(settings))
    assert mounts_of(configure()) is None


def test_an_object_is_filed_under_what_it_is_there(configure: Configure) -> None:
    """By whatever name it is asked for (SEMANTICS 2); aliases are names at the endpoint."""
    settings = mounted(
        configure, "data=https://other.test/real", "mine=http://origin.test:9000/ap-1", "ap-2=https://other.test/ap-1"
    )
    anything = cast(Any, None)
    ctx = Context(
        ENDPOINT, anything, anything, None, anything, ManualClock(), anything, anything, anything, anything, 1.0,
        anything, anything, 1, mounts=mounts_of(settings), aliases={b"ap-1": b"bucket"},
    )  # fmt: skip
    assert ctx.object_id(b"data", b"k", b"v") == ObjectId(OTHER, b"real", b"k", b"v")
    assert ctx.object_id(b"real", b"k") == ObjectId(ENDPOINT, b"real", b"k")
    for name in (b"mine", b"ap-1", b"bucket"):
        assert ctx.object_id(name, b"k") == ObjectId(ENDPOINT, b"bucket", b"k")
    assert ctx.object_id(b"ap-2", b"k") == ObjectId(OTHER, b"ap-1", b"k")


def test_check_tells_the_credentials_of_each_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.touch(0o600)
    path.write_text(f"[default]\naws_access_key_id = ASIAMOUNTKEY\naws_secret_access_key = {CANARY}\n")
    mount = f"data=https://other.test/real credentials=file:{path}"
    flags = ("--authorization", "none", "--upstream", "sign", "--credentials", "environment", "--mounts", mount)
    result = check(tmp_path, *flags, environ=KEYS)
    assert result.returncode == 0, result.stderr
    assert CANARY not in result.stdout + result.stderr
    assert [line for line in result.stdout.splitlines() if line.startswith("# credentials")] == [
        "# credentials: environment, access key AKIA***",
        f"# credentials for https://other.test:443: file {path}, access key ASIA***",
    ]


def test_the_example_of_the_documentation_loads(configure: Configure) -> None:
    text = page("mounts.md").partition("```yaml\n")[2].partition("```")[0]
    settings = configure(text.replace("/etc/fastcache/keys.yaml", str(configure.keys_file)))
    assert [mount.name for mount in settings.mounts] == ["lake", "models", "archive"]
    assert settings.mounts[2].credentials == Choice("file", "/etc/fastcache/swift")
