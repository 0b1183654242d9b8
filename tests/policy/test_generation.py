"""One content is one generation, however its ETag is written."""

from __future__ import annotations

import pytest
from tests.policy.heads import ETAG, OTHER_ETAG, record

from fastcache.model import Generation
from fastcache.policy.storable import merge_known

BARE = ETAG.strip(b'"')


def test_quotes_make_no_other_generation() -> None:
    """SEMANTICS 23: ETags are compared unquoted; some servers quote them in one answer and not in the next."""
    assert Generation(ETAG, 10) == Generation(BARE, 10)
    assert hash(Generation(ETAG, 10)) == hash(Generation(BARE, 10))
    assert Generation(BARE, 10).etag == BARE


@pytest.mark.parametrize(
    "other", [Generation(ETAG, 11), Generation(OTHER_ETAG, 10), Generation(b'"' + ETAG + b'"', 10)]
)
def test_another_size_or_etag_is_another_generation(other: Generation) -> None:
    assert Generation(ETAG, 10) != other


def test_what_is_known_of_a_generation_survives_an_answer_that_quotes_differently() -> None:
    known = record(10)
    assert merge_known(record(10, etag=BARE), known).generation == known.generation
