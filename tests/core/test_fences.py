"""Fences: what a raise makes outdated, and for whom."""

import os
from collections.abc import Iterator

import pytest

from fastcache._core import fences
from fastcache._core.fences import Fences
from fastcache.model import FenceToken, ObjectId, OriginId

ORIGIN = OriginId("http", "origin", 80)
ONE = ObjectId(ORIGIN, b"bucket", b"one")
TWO = ObjectId(ORIGIN, b"bucket", b"two")
ELSEWHERE = ObjectId(ORIGIN, b"other", b"one")


def test_a_token_is_current_until_its_object_is_raised() -> None:
    subject = Fences()
    one, two = subject.token(ONE), subject.token(TWO)
    assert subject.is_current(ONE, one)
    subject.raise_object(ONE)
    assert not subject.is_current(ONE, one)
    assert subject.is_current(TWO, two)
    assert subject.is_current(ONE, subject.token(ONE))


def test_a_raise_tells_the_token_that_it_made() -> None:
    subject = Fences()
    mine = subject.raise_object(ONE)
    assert subject.is_current(ONE, mine)
    theirs = subject.raise_object(ONE)
    assert not subject.is_current(ONE, mine)
    assert subject.is_current(ONE, theirs)


def test_a_write_raises_again_only_if_nothing_else_has() -> None:
    subject = Fences()
    mine = subject.raise_object(ONE)
    after = subject.raise_if_current(ONE, mine)
    assert after is not None
    assert subject.is_current(ONE, after)
    assert subject.raise_if_current(ONE, mine) is None, "it is raised already"
    assert subject.is_current(ONE, after), "what failed has raised nothing"
    subject.raise_bucket(ONE)
    assert subject.raise_if_current(ONE, after) is None
    assert Fences().raise_if_current(ONE, FenceToken(0, 0, 0)) is None


@pytest.mark.parametrize("bucket", [ONE, ONE.bucket_digest])
def test_raising_a_bucket_outdates_all_its_objects_and_no_others(bucket: ObjectId | bytes) -> None:
    subject = Fences()
    tokens = {oid: subject.token(oid) for oid in (ONE, TWO, ELSEWHERE)}
    subject.raise_bucket(bucket)
    assert [subject.is_current(oid, token) for oid, token in tokens.items()] == [False, False, True]


def test_a_token_of_another_life_is_never_current() -> None:
    first, second = Fences(), Fences()
    assert first.epoch != second.epoch
    assert not second.is_current(ONE, first.token(ONE))
    assert not first.is_current(ONE, FenceToken(0, 0, 0))


@pytest.fixture
def shared() -> Iterator[int]:
    fd = os.memfd_create("fences")
    os.ftruncate(fd, fences.SIZE)
    yield fd
    os.close(fd)


def test_processes_that_inherit_the_memory_see_each_others_raises(shared: int) -> None:
    mine = Fences(shared)
    token = mine.token(ONE)
    child = os.fork()
    if child == 0:
        theirs = Fences(shared)
        ok = theirs.epoch == mine.epoch and theirs.is_current(ONE, token)
        theirs.raise_object(ONE)
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not mine.is_current(ONE, token)


def test_memory_of_another_size_or_content_is_refused(shared: int) -> None:
    os.pwrite(shared, b"something else", 0)
    with pytest.raises(ValueError, match="does not hold fences"):
        Fences(shared)
    os.ftruncate(shared, 4096)
    with pytest.raises(ValueError, match="bytes of the file"):
        Fences(shared)


def test_a_bucket_digest_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Fences().raise_bucket(b"short")


class Impostor:
    """What is no ObjectId, although it has the names."""

    def __init__(self, digest: bytes, bucket_digest: bytes) -> None:
        self.digest = digest
        self.bucket_digest = bucket_digest


@pytest.mark.parametrize("digests", [(b"", bytes(32)), (bytes(32), b"\0")])
def test_an_object_whose_digests_have_another_length_is_refused(digests: tuple[bytes, bytes]) -> None:
    """The stripe is read from the first two bytes, there or not."""
    subject, odd = Fences(), Impostor(*digests)
    for use in (subject.token, lambda odd: subject.is_current(odd, FenceToken(subject.epoch, 0, 0))):
        with pytest.raises(ValueError, match="32 bytes"):
            use(odd)  # type: ignore[arg-type,operator]
    with pytest.raises(ValueError, match="32 bytes"):
        subject.raise_object(Impostor(b"", b""))  # type: ignore[arg-type]
