"""Synthetic bytes: position-dependent, and the same however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcache.origin.content import Literal, Segments, Slice, Synthetic, read_all
from fastcache.origin.pattern import BLOCK, PIECE, pattern, pattern_etag

offsets = st.one_of(st.integers(0, 20_000), st.integers(0, 5 << 30), st.integers((1 << 32) - 9000, (1 << 32) + 9000))


@given(start=offsets, length=st.integers(0, 20_000), cut=st.integers(0, 20_000))
def test_a_range_is_the_same_bytes_however_it_is_cut(start: int, length: int, cut: int) -> None:
    whole = pattern(b"key", 3, start, length)
    cut = min(cut, length)
    assert len(whole) == length
    assert pattern(b"key", 3, start, cut) + pattern(b"key", 3, start + cut, length - cut) == whole


def test_every_block_is_different_from_every_other() -> None:
    blocks = pattern(b"key", 1, 0, 64 << 20)
    assert len({blocks[at : at + BLOCK] for at in range(0, len(blocks), BLOCK)}) == (64 << 20) // BLOCK


def test_blocks_tell_keys_and_generations_apart() -> None:
    blocks = {pattern(key, generation, 0, BLOCK) for key in (b"a", b"b", b"1a") for generation in range(50)}
    assert len(blocks) == 150
    etags = {pattern_etag(key, generation, size) for key in (b"a", b"b") for generation in (1, 2) for size in (1, 2)}
    assert len(etags) == 8


def test_pieces_longer_than_one_copy_join_without_a_seam() -> None:
    start = PIECE - 5000
    assert pattern(b"k", 1, start, 10_000) == pattern(b"k", 1, 0, 2 * PIECE)[start : start + 10_000]


@given(start=st.integers(0, 5000), length=st.integers(0, 5000))
def test_segments_and_slices_are_the_bytes_they_stand_for(start: int, length: int) -> None:
    contents = [
        Literal(b"abc" * 100),
        Literal(b""),
        Synthetic(b"k", 1, 3000),
        Slice(Synthetic(b"k", 2, 9000), 77, 1700),
    ]
    joined = b"abc" * 100 + pattern(b"k", 1, 0, 3000) + pattern(b"k", 2, 77, 1700)
    segments = Segments(contents)
    length = max(0, min(length, segments.size - start))
    assert segments.size == len(joined)
    if length:
        assert read_all(segments, start, length) == joined[start : start + length]
