"""Allow rules: what a pattern matches, what a rule covers, and what a set of keys gives to whom."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastcache.policy.access import AccessKey, Action, AllowRule, Glob, KeySet, Need, Resource

PATTERN = st.text("ab/*", max_size=12).map(str.encode)
KEY = st.text("ab/", max_size=14).map(str.encode)
ANY_KEY = st.binary(max_size=40)


def key_set(*rules: tuple[str, str], **key: object) -> KeySet:
    """One key called AK with a rule for each ("actions", "resources"), both separated by spaces."""
    parsed = tuple(AllowRule.parse(actions.split(), resources.split()) for actions, resources in rules)
    return KeySet([AccessKey(b"AK", b"secret", rules=parsed, **key)])


def allows(keys: KeySet, action: Action, bucket: bytes | None, key: bytes | None) -> bool:
    return keys.allows(b"AK", (Need(action, bucket, key),))


def oracle(pattern: bytes, octets: bytes) -> bool:
    expression = b".*".join(re.escape(piece) for piece in pattern.split(b"*"))
    return re.fullmatch(expression, octets, re.DOTALL) is not None


@given(PATTERN, KEY)
@example(b"a*a", b"a")
@example(b"*ab*b", b"ab")
def test_a_star_is_any_octets_and_everything_else_is_itself(pattern: bytes, octets: bytes) -> None:
    assert Glob(pattern).matches(octets) == oracle(pattern, octets)


@given(ANY_KEY, st.lists(st.integers(0, 40)))
def test_what_a_pattern_was_made_from_matches_it(octets: bytes, places: list[int]) -> None:
    pattern = bytearray(octets)
    for place in sorted(places, reverse=True):
        pattern[place : place + 2] = b"*"
    assert Glob(bytes(pattern)).matches(octets)


@given(ANY_KEY.filter(lambda key: b"*" not in key), ANY_KEY)
def test_without_a_star_only_the_very_octets_match(pattern: bytes, octets: bytes) -> None:
    assert Glob(pattern).matches(octets) == (pattern == octets)


@pytest.mark.parametrize("pattern", [b"a?c", b"a[b]c", b"a.c", b"a\\bc", b"a%62c", b"a{b}c", b"ABC"])
def test_nothing_but_the_star_stands_for_something_else(pattern: bytes) -> None:
    assert not Glob(pattern).matches(b"abc")
    assert Glob(pattern).matches(pattern)


@given(PATTERN, KEY, KEY)
def test_a_prefix_is_within_a_pattern_when_everything_below_it_is(pattern: bytes, prefix: bytes, rest: bytes) -> None:
    if Glob(pattern).matches_all_below(prefix):
        assert oracle(pattern, prefix + rest)
    else:
        # "c" is in no pattern, so that only a star can have matched it.
        assert not oracle(pattern, prefix) or not oracle(pattern, prefix + b"c")


def test_a_pattern_of_many_stars_stays_cheap() -> None:
    """What makes an expression that backtracks run for years ends while a request is waiting."""
    hopeless = Glob(b"*a" * 500 + b"*b*c")
    key = b"a" * 100_000
    for _ in range(100):
        assert not hopeless.matches(key)
    assert Glob(b"*a" * 500 + b"*").matches(key)


@pytest.mark.parametrize(
    ("resource", "bucket", "key", "covered"),
    [
        ("bucket/*", b"bucket", b"key", True),
        ("bucket/*", b"bucket", b"a/b/c", True),
        ("bucket/*", b"bucket", b"\xff\x00", True),
        ("bucket/*", b"bucket2", b"key", False),
        ("bucket/*", b"Bucket", b"key", False),
        ("bucket/*", b"bucket", None, False),
        ("bucket", b"bucket", b"key", False),
        ("bucket", b"bucket", b"", False),
        ("bucket/data/*", b"bucket", b"data/x", True),
        ("bucket/data/*", b"bucket", b"data", False),
        ("bucket/data/*", b"bucket", b"Data/x", False),
        ("bucket/data/*", b"bucket", b"data2/x", False),
        ("bucket/caf\u00e9/*", b"bucket", "caf\u00e9/x".encode(), True),
        ("bucket/caf\u00e9/*", b"bucket", "cafe\u0301/x".encode(), False),
        ("bucket/*.csv", b"bucket", b"a/b.csv", True),
        ("bucket/*.csv", b"bucket", b"a/b.csv.gz", False),
        ("logs-*/2024/*", b"logs-eu", b"2024/x", True),
        ("logs-*/2024/*", b"logs-eu", b"x/2024/x", False),
        ("*", b"bucket", b"key", True),
        ("*", b"bucket", None, True),
        ("*/*", b"bucket", b"key", True),
        ("*/*", b"bucket", None, False),
        ("*/public/*", b"bucket", b"x/public/y", False),
    ],
)
def test_what_a_resource_covers(resource: str, bucket: bytes, key: bytes | None, covered: bool) -> None:
    keys = key_set(("read write delete admin", resource))
    action = Action.ADMIN if key is None else Action.READ
    assert allows(keys, action, bucket, key) == covered


@pytest.mark.parametrize(
    ("resource", "prefix", "covered"),
    [
        ("bucket/*", b"", True),
        ("bucket/*", b"data/", True),
        ("bucket/data/*", b"data/", True),
        ("bucket/data/*", b"data/2024/", True),
        ("bucket/data/*", b"data", False),
        ("bucket/data/*", b"", False),
        ("bucket/data/*", b"other/", False),
        ("bucket/data/*.csv", b"data/", False),
        ("bucket/data/x", b"data/x", False),
        ("bucket", b"", False),
        ("*", b"", True),
    ],
)
def test_a_list_needs_all_that_its_prefix_can_name(resource: str, prefix: bytes, covered: bool) -> None:
    assert allows(key_set(("list", resource)), Action.LIST, b"bucket", prefix) == covered
    assert not allows(key_set(("read write delete admin", resource)), Action.LIST, b"bucket", prefix)


@pytest.mark.parametrize("actions", [[action.value] for action in Action])
@pytest.mark.parametrize("resource", ["bucket", "bucket/*", "bucket/data/*", "buck*/x", "*"])
def test_whoever_may_do_anything_in_a_bucket_may_learn_that_it_is_there(actions: list[str], resource: str) -> None:
    keys = key_set((" ".join(actions), resource))
    assert allows(keys, Action.LIST, b"bucket", None)
    assert allows(keys, Action.LIST, b"other", None) == (resource == "*")


def test_only_the_resource_of_everything_is_the_service() -> None:
    assert allows(key_set(("list", "*")), Action.LIST, None, None)
    for resource in ("*/*", "bucket", "bucket/*"):
        assert not allows(key_set(("list", resource)), Action.LIST, None, None)
    assert not allows(key_set(("read write delete admin", "*")), Action.LIST, None, None)


@pytest.mark.parametrize("action", list(Action))
def test_no_action_gives_another(action: Action) -> None:
    keys = key_set((action.value, "bucket/*"))
    for needed in Action:
        assert allows(keys, needed, b"bucket", b"key") == (needed is action)


def test_every_need_has_to_be_covered_and_each_may_be_by_another_rule() -> None:
    keys = key_set(("write", "mine/*"), ("read", "theirs/public/*"))
    write, read = Need(Action.WRITE, b"mine", b"k"), Need(Action.READ, b"theirs", b"public/k")
    assert keys.allows(b"AK", (write, read))
    assert not keys.allows(b"AK", (write, Need(Action.READ, b"theirs", b"private/k")))
    assert not keys.allows(b"AK", (write, read, Need(Action.READ, b"mine", b"k")))


def test_who_needs_nothing_is_not_allowed_everything() -> None:
    assert not key_set(("read", "*")).allows(b"AK", ())


def test_keys_that_are_unknown_disabled_or_without_rules_may_do_nothing() -> None:
    keys = key_set(("read", "*"))
    need = (Need(Action.READ, b"bucket", b"key"),)
    assert keys.find(b"AK") is not None
    assert keys.allows(b"AK", need)
    for name in (b"ak", b"AK ", b"", b"AK\0"):
        assert keys.find(name) is None
        assert not keys.allows(name, need)
    assert not key_set().allows(b"AK", need)
    disabled = key_set(("read", "*"), enabled=False)
    assert disabled.find(b"AK") is None
    assert not disabled.allows(b"AK", need)
    assert len(disabled) == 1


def test_two_keys_of_one_name_make_no_set() -> None:
    with pytest.raises(ValueError, match="two keys"):
        KeySet([AccessKey(b"AK", b"1"), AccessKey(b"AK", b"2", enabled=False)])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "begin with a bucket"),
        ("bucket/", r"write bucket \(the bucket\) or bucket/\* \(its keys\)"),
        ("/bucket/*", "write it as bucket"),
        ("s3://bucket/*", "write it as bucket"),
        ("arn:aws:s3:::bucket/*", "write it as bucket"),
        ("buck et/*", "begin with a bucket"),
        ("b\u00fccket/*", "begin with a bucket"),
        ("bucket/" + "x" * 1025, "longer than 1024"),
        ("b" * 256, "begin with a bucket"),
    ],
)
def test_what_is_no_resource_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Resource.parse(text)


def test_secrets_stay_out_of_repr() -> None:
    keys = key_set(("read", "bucket/*"), session_token=b"token-canary")
    shown = repr([*keys, keys.find(b"AK")])
    assert "AK" in shown
    assert "secret" not in shown.replace("secret_key", "")
    assert "canary" not in shown
