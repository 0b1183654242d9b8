"""docs/aws.md says what there is: every kind of credentials, a policy that can be pasted, settings that load."""

from __future__ import annotations

import json
import re

import yaml
from tests.harness.shown import page

from fastcache.lifecycle.rules import mode_refusal
from fastcache.lifecycle.schema import BY_PATH
from fastcache.upstream.credentials.choosing import FORMS, parse_choice

PAGE = page("aws.md")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_table_of_credentials_has_every_form_once() -> None:
    section = PAGE.partition("### Credentials")[2].partition("### Policy")[0]
    first_cells = re.findall(r"^\| `([a-z-]+(?::[A-Z]+)?)` \|", section, re.MULTILINE)
    assert first_cells == ["credentials", *FORMS.split(" | ")]


def test_the_policy_is_json_with_what_reading_and_writing_take() -> None:
    (policy,) = map(json.loads, blocks("json"))
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"} <= actions


def test_the_example_has_settings_that_exist_and_go_together() -> None:
    (text,) = blocks("yaml")
    example = yaml.safe_load(text)
    parse_choice(example["credentials"])
    assert {name for name in example if (name,) not in BY_PATH} == set()
    assert mode_refusal(example["authorization"], example["upstream"], "global", explicit_ttl=False) is None


def test_the_page_is_linked_from_the_readme() -> None:
    assert "(docs/aws.md)" in page("../README.md")
