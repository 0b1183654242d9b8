"""docs/keys.md shows a file that can be used, and has every operation in its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.harness.shown import page

from fastcache.cli.keys import keys
from fastcache.lifecycle.keys_file import KEY_FIELDS, parse_keys
from fastcache.policy import operations
from fastcache.policy.access import Action, Need, Resource

TEXT = page("keys.md")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE))


def test_the_file_that_is_shown_can_be_used() -> None:
    shown, of_a_role = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (entry,) = parse_keys(Path("keys.yaml"), of_a_role.encode()).entries
    assert entry.role_arn
    file = parse_keys(Path("keys.yaml"), shown.encode())
    assert [entry.access_key for entry in file.entries] == ["REPORTS", "SALES", "OPERATIONS"]
    assert [entry.enabled for entry in file.entries] == [True, True, False]
    assert {entry.secret_source for entry in file.entries} == {"secret_key", "secret_key_file", "secret_key_env"}


def test_every_field_is_explained() -> None:
    assert ROWS.keys() >= set(KEY_FIELDS)


def test_every_resource_that_is_shown_is_one() -> None:
    table = TEXT.partition("| resource |")[2].partition("\n\n")[0]
    shown = [text for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for text in re.findall("`(.+?)`", row)]
    assert len(shown) == 7
    for text in shown:
        Resource.parse(text)
    assert Resource.parse("bucket/a/*/b").covers(Need(Action.READ, b"bucket", b"a/x/y/b"))


@pytest.mark.parametrize("action", list(Action))
def test_every_operation_is_listed_under_what_it_needs(action: Action) -> None:
    tables = (operations.SERVICE, operations.BUCKET, operations.OBJECT)
    listed = set(re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", ROWS[action]))
    known = {operation.name for table in tables for operation in table.values() if operation.action is action}
    also = {other for name, other in operations.ALSO_CALLED.items() if name in known and other.endswith("Copy")}
    copies = {"CopyObject"} if "PutObject" in known else set()
    if action is Action.ADMIN:  # the configurations of buckets are not listed one by one
        bucket = {operation.name for operation in operations.BUCKET.values()}
        assert listed == (known - bucket) | {"CreateBucket", "DeleteBucket", "CreateSession"}
    else:
        assert listed == known | also | copies


def test_the_commands_that_are_shown_exist() -> None:
    (shown,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    assert {line.split()[2] for line in shown.splitlines()} == set(keys.commands)
