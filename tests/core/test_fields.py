"""Fields split, found by name and written: held against regular expressions that say the same."""

from __future__ import annotations

import random
import re

import pytest

from fastcache._core.collected import Collected
from fastcache._core.fields import is_token, render_fields, split_fields, values_by_name

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n]*?)[ \t]*")
_OCTETS = [bytes([octet]) for octet in range(256) if octet not in b"\r\n"]


def _read_by_expression(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...] | None:
    found = [_FIELD.fullmatch(line) for line in lines]
    return None if None in found else tuple((parts[1], parts[2]) for parts in found if parts is not None)


def test_random_lines_are_read_as_the_grammar_says() -> None:
    rng = random.Random(11)
    accepted = 0
    for _ in range(20_000):
        lines = []
        for _ in range(rng.randint(0, 3)):
            pool = _OCTETS if rng.random() < 0.2 else [b" ", b"\t", b":", b"a", b"Z", b"-", b"\xe9"]
            head = b"".join(rng.choices([b"x", b"Y", b"~"], k=2)) + b":" if rng.random() < 0.8 else b""
            lines.append(head + b"".join(rng.choices(pool, k=rng.randint(0, 12))))
        lines = [line for line in lines if line]  # an empty one would be the end of the head
        raw = b"GET / HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        expected = _read_by_expression(lines)
        assert split_fields(raw, 16) == expected, raw
        accepted += expected is not None
    assert accepted > 5000


@pytest.mark.parametrize("start", [-1, 3, 100])
def test_fields_begin_inside_the_head(start: int) -> None:
    with pytest.raises(ValueError, match="inside"):
        split_fields(b"\r\n\r\n", start)


def test_names_are_found_without_case_and_values_kept_in_order() -> None:
    headers = ((b"X-a", b"1"), (b"b", b"2"), (b"x-A", b"3"), (b"[@`{", b"4"))
    assert values_by_name(headers) == {b"x-a": [b"1", b"3"], b"b": [b"2"], b"[@`{": [b"4"]}


def test_every_octet_of_a_name() -> None:
    for octet in range(256):
        text = bytes([octet])
        expected = re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]", text) is not None
        assert is_token(text) is is_token(b"a" + text + b"b") is expected
    assert not is_token(b"")


def test_rendering() -> None:
    assert render_fields([]) == b""
    assert render_fields(iter([(b"A", b""), (b"b", b"\xff\t")])) == b"A: \r\nb: \xff\t\r\n"


@pytest.mark.parametrize("field", [(b"a", b"x\r"), (b"a", b"\ny"), (b"a", b"\0"), (b"", b"x"), (b"a:", b"x")])
def test_what_could_break_out_of_its_line_is_not_rendered(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header"):
        render_fields([(b"ok", b"ok"), field])


def test_a_target_in_stretches_is_put_together() -> None:
    collected = Collected()
    for stretch in (b"/a", b"b"):
        collected.on_url(stretch)
    collected.on_header(b"n", b" v\t")
    assert (collected.url, collected.fields) == (b"/ab", [(b"n", b"v")])
    assert not collected.head_complete
    assert not collected.complete
