"""Edits of a keys file leave everything else in it as it is, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcache.errors import KeysFileError
from fastcache.lifecycle.keys_text import NEW_FILE, KeysText, rendered
from fastcache.policy.access import Action, AllowRule

PATH = Path("keys.yaml")
ITEM = rendered("NEW", "secret-of-new", [AllowRule.parse(["write", "read"], ["in/*", "b/#1: *"])])
COMMENTED = """\
# The keys of the reports.    Ask Ana before you touch them.

- access_key: AAA   # nightly
  secret_key: "secret-a#not-a-comment"   # rotated in May
  # what it may do
  allow:
    - actions: [read]       # only
      resources:
        - "sales/*"
        # - "salaries/*"
# --- the next one is for Bo ---

- secret_key: 'secret-b'
  access_key: "BBB"
  enabled: true # for now

-
  # a dash that stands alone
  access_key: CCC
  secret_key: |-
    secret-c

# the end
"""


def names(text: str) -> list[str]:
    return [entry["access_key"] for entry in yaml.safe_load(text)]


def edited(text: str) -> KeysText:
    return KeysText(PATH, text)


def test_a_key_is_added_at_the_end_and_nothing_else_changes() -> None:
    assert edited(COMMENTED).added(ITEM) == COMMENTED + ITEM
    assert edited(COMMENTED.rstrip()).added(ITEM) == COMMENTED.rstrip() + "\n" + ITEM


def test_the_first_key_takes_the_place_of_the_empty_list() -> None:
    text = KeysText.of(PATH, NEW_FILE).added(ITEM)
    assert text == NEW_FILE.decode().removesuffix("[]\n") + ITEM
    assert edited("# a\n[ ]  # nobody\n# b\n").added(ITEM) == f"# a\n{ITEM.rstrip()}  # nobody\n# b\n"
    assert names(edited("--- []\n").added(ITEM)) == ["NEW"]


@pytest.mark.parametrize("before", ["", "# a\n", "---\n", "%YAML 1.1\n---\n"])
def test_a_list_that_is_indented_stays_so(before: str) -> None:
    text = f"{before}  - access_key: AAA\n    secret_key: secret-a\n"
    added = edited(text).added(ITEM)
    assert added == text + "".join(f"  {line}\n" for line in ITEM.splitlines())
    assert names(added) == ["AAA", "NEW"]


@pytest.mark.parametrize("name", ["AAA", "BBB", "CCC"])
def test_a_key_is_disabled_and_enabled_again(name: str) -> None:
    off = edited(COMMENTED).switched(name, False)
    assert {entry.access_key: entry.enabled for entry in edited(off).entries}[name] is False
    assert sum(entry.enabled for entry in edited(off).entries) == 2
    changed = [line for line in off.splitlines() if line not in COMMENTED.splitlines()]
    assert changed in (["  enabled: off"], ["  enabled: off # for now"])
    on = edited(off).switched(name, True)
    assert on == off.replace("off", "on", 1)
    assert edited(on).switched(name, True) == on
    assert edited(COMMENTED).switched(name, True) == COMMENTED


@pytest.mark.parametrize(
    ("name", "gone"),
    [("AAA", range(2, 10)), ("BBB", range(12, 15)), ("CCC", range(16, 21))],
)
def test_a_key_is_removed_with_what_is_in_it_and_the_comments_around_it_stay(name: str, gone: range) -> None:
    lines = COMMENTED.splitlines(keepends=True)
    kept = "".join(line for number, line in enumerate(lines) if number not in gone)
    assert edited(COMMENTED).removed(name) == kept
    assert names(kept) == [other for other in ("AAA", "BBB", "CCC") if other != name]


def test_the_last_key_leaves_an_empty_list_and_the_comments() -> None:
    text = COMMENTED
    for name in ("BBB", "CCC", "AAA"):
        text = edited(text).removed(name)
    assert [line for line in text.splitlines() if line] == [
        "# The keys of the reports.    Ask Ana before you touch them.",
        "[]",
        "# --- the next one is for Bo ---",
        "# the end",
    ]
    assert names(edited(text).added(ITEM)) == ["NEW"]


def test_keys_written_in_braces_are_edited_too() -> None:
    text = "- {access_key: AAA, secret_key: secret-a} # a\n- {secret_key: secret-b, access_key: BBB, enabled: on}\n"
    off = edited(text).switched("AAA", False)
    assert off == text.replace("AAA,", "AAA, enabled: off,")
    assert edited(off).switched("BBB", False) == off.replace("enabled: on", "enabled: off")
    assert edited(text).removed("AAA") == text.splitlines()[1] + "\n"
    assert edited(text).added(ITEM) == text + ITEM


def test_line_ends_of_another_system_stay() -> None:
    text = COMMENTED.replace("\n", "\r\n")
    for changed in (
        edited(text).added(ITEM),
        edited(text).switched("AAA", False),
        edited(text).switched("CCC", False),
        edited(text).removed("BBB"),
    ):
        assert changed.count("\n") == changed.count("\r\n")
        edited(changed)


@pytest.mark.parametrize(
    "text",
    [
        "[{access_key: AAA, secret_key: secret-a}, {access_key: BBB, secret_key: secret-b}]\n",
        "- access_key: AAA\n  secret_key: secret-a\n...\n",
    ],
)
def test_a_layout_that_cannot_be_edited_is_refused(text: str) -> None:
    with pytest.raises(KeysFileError, match="edit it by hand"):
        edited(text).added(ITEM)


def test_an_edit_that_would_change_another_key_is_refused() -> None:
    shared = (
        "- {access_key: AAA, secret_key: secret-a, enabled: &e on}\n"
        "- {access_key: B_B, secret_key: secret-b, enabled: *e}\n"
    )
    for name in ("AAA", "B_B"):
        with pytest.raises(KeysFileError, match="edit it by hand"):
            edited(shared).switched(name, False)
    with pytest.raises(KeysFileError, match="edit it by hand"):
        edited(shared).removed("AAA")
    assert names(edited(shared).removed("B_B")) == ["AAA"]


def test_a_name_that_is_taken_or_unknown_is_told() -> None:
    with pytest.raises(KeysFileError, match=r"^keys.yaml:3: access_key AAA is already defined; choose another name$"):
        edited(COMMENTED).added(ITEM.replace("NEW", "AAA"))
    with pytest.raises(KeysFileError, match=r"^keys.yaml: has no such access_key; did you mean AAA\?$"):
        edited(COMMENTED).removed("AAAA")
    with pytest.raises(KeysFileError, match=r"^keys.yaml: has no such access_key$"):
        edited(COMMENTED).switched("zzz", True)


def test_what_is_no_text_is_not_edited() -> None:
    with pytest.raises(KeysFileError, match="is not UTF-8 text"):
        KeysText.of(PATH, "- {access_key: AAA, secret_key: secret-a}\n".encode("utf-16"))


RULES = st.lists(
    st.builds(
        AllowRule.parse,
        st.lists(st.sampled_from([action.value for action in Action]), min_size=1),
        st.lists(
            st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20).map(
                lambda key: f"bucket/{key}"
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    max_size=3,
)


@settings(max_examples=40)
@given(RULES, st.permutations(["AAA", "BBB", "CCC", "NEW"]), st.lists(st.booleans(), min_size=4, max_size=4))
def test_any_rules_survive_any_edits_of_other_keys(rules: list[AllowRule], order: list[str], on: list[bool]) -> None:
    text = edited(COMMENTED).added(rendered("NEW", "secret-of-new", rules))
    for name, enabled in zip(order, on, strict=True):
        text = edited(text).switched(name, enabled)
    text = edited(text).removed(next(name for name in order if name != "NEW"))
    (entry,) = (entry for entry in edited(text).entries if entry.access_key == "NEW")
    assert list(entry.rules) == rules
    assert entry.enabled == on[order.index("NEW")]
    assert "# The keys of the reports.    Ask Ana before you touch them.\n" in text
    assert text.rstrip().splitlines()[0] == COMMENTED.splitlines()[0]
