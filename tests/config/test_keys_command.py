"""``fastcache keys`` as its users call it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastcache.cli.main import main
from fastcache.errors import ConfigError
from fastcache.lifecycle.keys_file import read_keys_file
from fastcache.lifecycle.private_edits import edit_private
from fastcache.policy.access import Action, KeySet, Need


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def run(command: str, file: Path, *arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["keys", command, str(file), *arguments])
    assert result.exit_code == status, result.output
    return result


def key_set(file: Path) -> KeySet:
    return read_keys_file(file).key_set({}, 1)


def test_a_key_is_created_with_a_random_secret_that_is_printed_once(file: Path) -> None:
    result = run("create", file, "--allow", "read,list=sales/2026/*", "--allow", "write=sales/in/*")
    told = re.fullmatch(r"access_key: (FC[A-Z2-7]{18})\nsecret_key: ([A-Za-z0-9]{40})\n", result.stdout)
    assert told is not None
    (key,) = key_set(file)
    assert (key.access_key.decode(), key.secret_key.decode()) == told.groups()
    assert key.allows(Need(Action.READ, b"sales", b"2026/x"))
    assert key.allows(Need(Action.WRITE, b"sales", b"in/x"))
    assert not key.allows(Need(Action.WRITE, b"sales", b"2026/x"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = run("create", file, "--allow", "read=sales/*").stdout
    assert not set(other.split()[1::2]) & set(told.groups())
    assert len(key_set(file)) == 2
    listed = run("list", file).output
    assert told[1] in listed
    assert told[2] not in listed


def test_a_key_may_be_named_and_may_have_no_rules_yet(file: Path) -> None:
    result = run("create", file, "--access-key", "REPORTS")
    assert result.stdout.startswith("access_key: REPORTS\nsecret_key: ")
    assert result.stderr == "fastcache: note: this key may do nothing yet; add what it may do under allow\n"
    assert run("list", file).output == "REPORTS  enabled   secret_key ***  may do nothing\n"


def test_keys_are_listed_without_secrets(file: Path) -> None:
    file.write_text(
        """\
- access_key: AAA
  secret_key: canary-of-aaa
  session_token: canary-of-aaa-2
  allow:
    - {actions: [list, read], resources: ["a/*", "b/\\e[2J"]}
    - {actions: [admin], resources: ["*"]}
- {access_key: BBBBBB, secret_key_file: /run/secret, enabled: off}
- {access_key: CCC, secret_key_env: MY_SECRET}
- {access_key: DDD, secret_key: canary-of-ddd, role_arn: "arn:aws:iam::123456789012:role/d", web_identity_token_file: t}
"""
    )
    file.chmod(0o600)
    assert run("list", file).output.splitlines() == [
        "AAA     enabled   secret_key ***  read,list=a/*  read,list=b/?[2J  admin=*",
        "BBBBBB  disabled  secret_key_file /run/secret  may do nothing",
        "CCC     enabled   secret_key_env MY_SECRET  may do nothing",
        "DDD     enabled   secret_key ***  role_arn arn:aws:iam::123456789012:role/d  may do nothing",
    ]


def test_a_key_is_disabled_enabled_and_removed(file: Path) -> None:
    for name in ("AAA", "BBB"):
        run("create", file, "--access-key", name, "--allow", "read=b/*")
    assert run("disable", file, "AAA").output == ""
    assert key_set(file).find(b"AAA") is None
    assert key_set(file).find(b"BBB") is not None
    run("disable", file, "AAA")
    run("enable", file, "AAA")
    assert key_set(file).find(b"AAA") is not None
    run("remove", file, "AAA")
    assert [key.access_key for key in key_set(file)] == [b"BBB"]
    run("remove", file, "BBB")
    assert len(key_set(file)) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("remove", "AAAA"), "keys.yaml: has no such access_key; did you mean AAA?"),
        (("disable", "zzz"), "keys.yaml: has no such access_key"),
        (("create", "--access-key", "AAA"), "keys.yaml:2: access_key AAA is already defined; choose another name"),
    ],
)
def test_a_problem_is_one_line_on_stderr_and_the_status_2(file: Path, arguments: tuple[str, ...], problem: str) -> None:
    run("create", file, "--access-key", "AAA")
    before = file.read_bytes()
    command, *others = arguments
    result = run(command, file, *others, status=2)
    assert (result.stdout, result.stderr) == ("", f"fastcache: {file.parent}/{problem}\n")
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", ["list", "disable", "enable", "remove"])
def test_a_missing_file_is_told_and_not_made(file: Path, command: str) -> None:
    result = run(command, file, *([] if command == "list" else ["AAA"]), status=2)
    assert result.stderr.startswith(f"fastcache: {file} ")
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--allow", "raed=b/*"), "action raed is not known; did you mean read?"),
        (("--allow", "read"), "'read' is no rule; write ACTIONS=RESOURCE, such as read,list=bucket/prefix/*"),
        (("--allow", "read=s3://b/*"), "'s3://b/*' is not a resource; write it as bucket, bucket/* or bucket/prefix/*"),
        (("--access-key", "a b"), "'a b' cannot name a key; write 3 to 128 letters, digits and . _ : @ + -"),
    ],
)
def test_a_wrong_option_says_what_to_write(file: Path, arguments: tuple[str, ...], problem: str) -> None:
    result = run("create", file, *arguments, status=2)
    assert f"Error: Invalid value for '{arguments[0]}': {problem}\n" in result.stderr
    assert not file.exists()


def test_a_file_that_others_can_reach_is_not_edited(file: Path) -> None:
    run("create", file)
    file.chmod(0o640)
    before = file.read_bytes()
    result = run("create", file, status=2)
    assert (
        result.stderr == f"fastcache: {file} has mode 0640, so that others can get at its secrets; chmod it to 0600\n"
    )
    assert file.read_bytes() == before


def test_mode_link_and_neighbours_stay_as_they_are(file: Path, tmp_path: Path) -> None:
    run("create", file, "--access-key", "AAA")
    file.chmod(0o400)
    link = tmp_path / "link"
    link.symlink_to(file.name)
    run("create", link, "--access-key", "BBB")
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert [key.access_key for key in key_set(file)] == [b"AAA", b"BBB"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.yaml", "link"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(file: Path) -> None:
    run("create", file, "--access-key", "AAA")
    os.chown(file, 0, 12345)
    run("disable", file, "AAA")
    status = file.stat()
    assert (status.st_uid, status.st_gid) == (0, 12345)


def test_a_change_that_fails_leaves_the_file_and_nothing_else(file: Path) -> None:
    run("create", file)
    before = file.read_bytes()

    def fails(content: bytes | None) -> bytes:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match=r"^no$"):
        edit_private(file, fails)
    with pytest.raises(ConfigError, match=r"^no$"):
        edit_private(file.with_name("other"), fails)
    with pytest.raises(ConfigError, match="cannot be replaced: No such file or directory"):
        edit_private(file.parent / "missing" / "keys.yaml", lambda content: b"[]\n")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_keys_created_at_the_same_time_are_all_there(file: Path) -> None:
    """Processes that find no file at first, then one that is replaced under them again and again."""
    count = 6
    command = [sys.executable, "-m", "fastcache", "keys", "create", str(file), "--access-key"]
    with ThreadPoolExecutor(4) as pool:
        done = list(
            pool.map(lambda i: subprocess.run([*command, f"KEY{i}"], capture_output=True, timeout=60), range(count))
        )
    assert [result.returncode for result in done] == [0] * count
    assert {key.access_key.decode() for key in key_set(file)} == {f"KEY{i}" for i in range(count)}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_edits_by_threads_lose_none(file: Path) -> None:
    def append(i: int) -> None:
        edit_private(file, lambda content: (content or b"") + b"%d\n" % i)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(100)))
    assert sorted(map(int, file.read_bytes().split())) == list(range(100))
