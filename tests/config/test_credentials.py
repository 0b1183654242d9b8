"""The settings ``credentials`` and ``region``, and what ``fastcache check`` tells of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.config.conftest import Configure

from fastcache.lifecycle.token_service import token_service
from fastcache.upstream.credentials.aws import STS_VARIABLE
from fastcache.upstream.credentials.choosing import Choice

CANARY = "canarySecret0123456789"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIACANARYKEY", "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_SESSION_TOKEN": CANARY}


def test_credentials_and_region_are_read_from_any_source(configure: Configure) -> None:
    settings = configure("\ncredentials: profile:nightly\n", environ={"FASTCACHE_REGION": "eu-west-1"})
    assert (settings.credentials, settings.region) == (Choice("profile", "nightly"), "eu-west-1")


def test_credentials_for_gaps_have_the_same_forms_and_may_be_none(configure: Configure) -> None:
    assert configure(flags={"gap-credentials": "file:/run/gaps"}).gap_credentials == Choice("file", "/run/gaps")
    assert configure("gap-credentials: ''\n").gap_credentials is None
    refusal = configure.refusal(
        flags={"gap-credentials": "instance", "authorization": "verify", "namespace": "per-key"}
        | {"keys": str(configure.keys_file)}
    )
    assert refusal.startswith("flag --gap-credentials: with per-key a bucket name would mean a bucket of this cache's")


def test_no_error_repeats_credentials_written_in_the_wrong_place(configure: Configure) -> None:
    refusal = configure.refusal(flags={"credentials": f"AKIACANARYKEY:{CANARY}"})
    assert refusal.startswith("flag --credentials: not one of auto | environment | profile:NAME | file:PATH")
    assert "canary" not in refusal.lower()


@pytest.mark.parametrize("region", ["eu west", "eu/west", "x" * 65])
def test_what_no_signature_can_hold_is_no_region(configure: Configure, region: str) -> None:
    assert "is not a region" in configure.refusal(flags={"region": region})


@pytest.mark.parametrize(
    ("endpoint", "region", "refused"),
    [
        ("https://s3.amazonaws.com", "eu-west-1", False),
        ("https://s3.us-east-1.amazonaws.com", "eu-west-1", False),
        ("https://s3.us-east-1.amazonaws.com", "cn-north-1", True),
        ("https://s3.us-gov-west-1.amazonaws.com", "us-east-1", True),
        ("https://s3.amazonaws.com", "garage", True),
        ("https://s3.example.com", "garage", False),
    ],
)
def test_a_region_must_be_one_of_the_same_part_of_aws(
    configure: Configure, endpoint: str, region: str, refused: bool
) -> None:
    flags = {"endpoint": endpoint, "region": region}
    if refused:
        assert configure.refusal(flags=flags).startswith(f"flag --region: {endpoint}:443 has no region {region}")
    else:
        assert configure(flags=flags).region == region


def check(tmp_path: Path, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FASTCACHE_"))}
    mine = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **(environ or {})}
    command = ["check", "-e", "http://origin.test", "--cache-dir", str(tmp_path / "cache"), *arguments]
    return subprocess.run(
        [sys.executable, "-m", "fastcache", *command],
        env={**inherited, **mine},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load(result.stdout)["port"] == 3000
    assert CANARY not in result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("# credentials: ")]
    return "\n".join(lines).removeprefix("# credentials: ")


def test_check_tells_where_credentials_come_from_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[nightly]\naws_access_key_id = ASIANIGHTLYKEY\naws_secret_access_key = {CANARY}\n"
    )
    found = told(check(tmp_path, "--credentials", "auto", environ=KEYS))
    assert found == "environment, access key AKIA***"
    found = told(check(tmp_path, "--credentials", "profile:nightly"))
    assert found == "profile nightly, access key ASIA***"


def test_check_tells_how_long_credentials_are_good(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.touch(0o600)
    expires = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
    path.write_text(
        json.dumps({"Version": 1, "AccessKeyId": "ASIAFILEKEY", "SecretAccessKey": CANARY, "Expiration": expires})
    )
    found = told(check(tmp_path, "--credentials", f"file:{path}"))
    assert found.startswith(f"file {path}, access key ASIA***, good for 3")
    path.chmod(0o644)
    result = check(tmp_path, "--credentials", f"file:{path}")
    assert result.returncode == 2
    assert (
        result.stderr == f"fastcache: {path} has mode 0644, so that others can get at its secrets; chmod it to 0600\n"
    )


def test_check_tells_that_there_are_none_where_that_may_change(tmp_path: Path) -> None:
    result = check(tmp_path, "--credentials", "instance")
    assert told(result) == "the instance's role, none at the moment"
    assert "it has none" in result.stderr


def test_check_tells_those_for_gaps_too(tmp_path: Path) -> None:
    result = check(tmp_path, "--gap-credentials", "environment", environ=KEYS)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "# gap-credentials: environment, access key AKIA***"


def test_check_asks_for_no_credentials_where_nothing_is_signed(tmp_path: Path) -> None:
    assert told(check(tmp_path, environ={"AWS_ACCESS_KEY_ID": "AKIAHALFOFAPAIR"})) == ""


@pytest.mark.parametrize(
    ("flags", "environ", "found"),
    [
        ({"endpoint": "https://s3.eu-west-1.amazonaws.com"}, {}, "https://sts.eu-west-1.amazonaws.com:443"),
        (
            {"endpoint": "https://s3.amazonaws.com", "region": "ap-south-1"},
            {},
            "https://sts.ap-south-1.amazonaws.com:443",
        ),
        (
            {"endpoint": "https://s3.cn-north-1.amazonaws.com.cn"},
            {},
            "https://sts.cn-north-1.amazonaws.com.cn:443",
        ),
        ({"endpoint": "https://s3.example.com"}, {}, None),
        ({"endpoint": "https://s3.example.com"}, {STS_VARIABLE: "http://sts.example.com"}, "http://sts.example.com:80"),
        (
            {"endpoint": "https://s3.example.com", "sts-endpoint": "https://s3.example.com:9000"},
            {STS_VARIABLE: "http://sts.example.com"},
            "https://s3.example.com:9000",
        ),
    ],
)
def test_the_token_service_is_aws_own_in_the_region_unless_one_is_named(
    configure: Configure, flags: dict[str, str], environ: dict[str, str], found: str | None
) -> None:
    service = token_service(configure(flags=flags), environ)
    assert (None if service is None else str(service)) == found


def test_roles_need_our_own_requests_and_a_token_service(configure: Configure) -> None:
    keys = configure.keys_file
    keys.write_text(
        f"- access_key: REPORTS\n  secret_key: {CANARY}\n"
        "  role_arn: arn:aws:iam::123456789012:role/reports\n  web_identity_token_file: /run/token\n"
    )
    flags = {"authorization": "verify", "keys": str(keys), "endpoint": "https://s3.example.com"}
    refused = "flag --keys: keys.yaml:3: role_arn: "
    assert configure.refusal(flags=flags).startswith(f"{refused}with upstream: passthrough the origin knows clients")
    flags["upstream"] = "sign"
    assert configure.refusal(flags=flags) == (
        f"{refused}no token service is known for https://s3.example.com:443; name it with sts-endpoint"
    )
    assert configure(flags=flags | {"sts-endpoint": "https://sts.example.com"}).sts_endpoint is not None
