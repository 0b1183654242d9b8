"""The checker of histories finds what it is there for, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.history.checker import STAMP, By, Read, Write, content_of, stamps_in, violations


def put(version: int, begun: float, acknowledged: float | None, by: By = By.PROXY) -> Write:
    return Write("k", version, begun, acknowledged, by, f"etag-{version}")


def deletion(version: int, begun: float, acknowledged: float | None) -> Write:
    return Write("k", version, begun, acknowledged, By.PROXY, None)


def read(version: int | None, begun: float, ended: float, stamps: set[int] | None = None) -> Read:
    etag = None if version is None else f"etag-{version}"
    return Read("k", begun, ended, etag, None if stamps is None else frozenset(stamps), "GET")


WRITES = [put(1, 0, 1), put(2, 10, 11), put(3, 20, None), put(4, 30, 31, By.ORIGIN)]


@pytest.mark.parametrize(
    "answer",
    [
        read(None, -2, -1),
        read(None, -1, 0.5),
        read(1, 0.5, 0.9, {1}),
        read(1, 2, 3, {1}),
        read(1, 9, 12),
        read(2, 9, 12),
        read(2, 10.5, 25),
        read(3, 10.5, 25),
        read(2, 25, 26),
        read(3, 25, 26, {3}),
        read(4, 32, 33),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_can_be_explained_is_no_violation(answer: Read, strict: bool) -> None:
    assert list(violations(WRITES, [answer], all_writes_are_seen=strict)) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (read(None, 2, 3), "not there"),
        (read(1, 12, 13), "version 1, not 2 to 2"),
        (read(1, 25, 26), "version 1, not 2 to 3"),
        (read(2, 5, 9), "version 2, not 1 to 1"),
        (read(7, 5, 9), "no version"),
        (read(1, 5, 6, {1, 2}), "mixed"),
        (read(1, 5, 6, {2}), "mixed"),
        (read(1, 5, 6, {1, -1}), "mixed"),
    ],
)
def test_what_cannot_be_is_one(answer: Read, why: str) -> None:
    for strict in (True, False):
        (found,) = violations(WRITES, [answer], all_writes_are_seen=strict)
        assert why in found


def test_a_write_behind_the_back_binds_readers_who_are_asked_for_and_those_who_saw_it() -> None:
    late = read(3, 40, 41)
    assert len(list(violations(WRITES, [late], all_writes_are_seen=True))) == 1
    assert list(violations(WRITES, [late], all_writes_are_seen=False)) == []
    seen = read(4, 35, 36)
    assert len(list(violations(WRITES, [seen, late], all_writes_are_seen=False))) == 1
    assert list(violations(WRITES, [read(4, 35, 40.5), late], all_writes_are_seen=False)) == [], "side by side"


def test_after_a_deletion_nothing_is_there_until_the_next_version() -> None:
    writes = [put(1, 0, 1), deletion(2, 10, 11), put(3, 20, 21)]
    assert list(violations(writes, [read(None, 12, 13), read(None, 10.5, 15)], all_writes_are_seen=True)) == []
    assert len(list(violations(writes, [read(1, 12, 13)], all_writes_are_seen=True))) == 1
    assert len(list(violations(writes, [read(None, 22, 23)], all_writes_are_seen=True))) == 1
    assert len(list(violations(writes, [read(None, 5, 6)], all_writes_are_seen=True))) == 1


@given(st.integers(0, 1 << 40), st.integers(0, 200), st.integers(1, 300))
def test_the_content_of_a_version_tells_its_number(version: int, start: int, length: int) -> None:
    body = content_of(version, start, start + length)
    assert len(body) == length
    assert stamps_in(body, start) <= {version}
    if length >= 2 * STAMP:
        assert stamps_in(body, start) == {version}


@given(st.integers(1, 100), st.integers(101, 200), st.integers(0, 50), st.integers(16, 100), st.integers(16, 100))
def test_a_mixture_is_seen_wherever_it_begins(one: int, two: int, start: int, first: int, second: int) -> None:
    middle = start + first
    body = content_of(one, start, middle) + content_of(two, middle, middle + second)
    assert len(stamps_in(body, start)) > 1
