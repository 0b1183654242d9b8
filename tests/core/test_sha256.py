"""Every SHA-256 that this machine can run, against Python's own, for whole messages and for messages in pieces."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastcache._core.sha256 import IMPLEMENTATIONS, hmac_sha256, implementation, sha256, use

PATTERN = bytes(range(251)) * 9
EDGES = (0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 503, 504, 511, 512, 513, 575, 576, 577, 1024, 2048)
"""Around what fills a block, a block with its padding, and all that is gathered before it is compressed."""
anything = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(params=IMPLEMENTATIONS)
def used(request: pytest.FixtureRequest) -> Iterator[str]:
    """The implementation in use during the test."""
    before = implementation()
    use(request.param)
    yield implementation()
    use(before)


def test_the_examples_of_the_standard_come_out(used: str) -> None:
    """FIPS 180-2, appendix B."""
    assert used in IMPLEMENTATIONS
    for message, digest in (
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ):
        assert sha256([message]).hex() == digest


@pytest.mark.parametrize("length", EDGES)
def test_every_length_at_the_edges_is_python_s_digest(used: str, length: int) -> None:
    message = PATTERN[:length]
    expected = hashlib.sha256(message).digest()
    assert sha256([message]) == expected
    for cut in EDGES:
        if cut <= length:
            assert sha256([message[:cut], b"", message[cut:]]) == expected


@anything
@given(st.lists(st.binary(max_size=1500), max_size=12))
def test_pieces_are_the_message_they_make(used: str, pieces: list[bytes]) -> None:
    assert sha256(pieces) == hashlib.sha256(b"".join(pieces)).digest()


@anything
@given(st.binary(max_size=200), st.lists(st.binary(max_size=700), max_size=6))
def test_codes_are_python_s_for_keys_of_any_length(used: str, key: bytes, pieces: list[bytes]) -> None:
    assert hmac_sha256(key, pieces) == hmac.digest(key, b"".join(pieces), "sha256")


def test_an_implementation_that_is_not_there_is_refused_and_nothing_changes() -> None:
    before = implementation()
    with pytest.raises(ValueError, match="no SHA-256 by 'mine'"):
        use("mine")
    assert implementation() == before == IMPLEMENTATIONS[0]
    assert IMPLEMENTATIONS[-1] == "portable"
