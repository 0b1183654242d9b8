"""What one process has learnt of an object, no other contradicts: modelled as steps of several processes, each of which
may be the last before its process is killed."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastcache._core import shared
from fastcache._core.generations import Generations, Lesson
from fastcache._core.shared import SharedMemory
from fastcache.model import FenceToken, ObjectId, OriginId

ONE = ObjectId(OriginId("http", "origin", 80), b"bucket", b"one")
TWO = ObjectId(OriginId("http", "origin", 80), b"bucket", b"two")


@dataclass
class Asked:
    """A request under way in a process, and how far its answer has been taken."""

    process: int
    token: FenceToken
    sent: int
    generation: int = -1
    step: int = 0
    lesson: Lesson | None = None


class Host(RuleBasedStateMachine):
    """Three processes, each with a mapping of its own, and an origin whose object is changed behind their backs."""

    def __init__(self) -> None:
        super().__init__()
        self.fd = shared.create(1, 8)
        self.memories = [SharedMemory(self.fd) for _ in range(3)]
        self.fences = [memory.fences() for memory in self.memories]
        self.learnt = [Generations(memory) for memory in self.memories]
        self.current = 0
        self.asked: list[Asked] = []
        self.proofs: dict[int, Asked] = {}
        self.seen = -1
        """The newest generation that a client has got."""

    def teardown(self) -> None:
        os.close(self.fd)

    @rule()
    def change(self) -> None:
        self.current += 1

    @rule(process=st.integers(0, 2))
    def ask(self, process: int) -> None:
        token = self.fences[process].token(ONE)
        self.asked.append(Asked(process, token, self.learnt[process].next_sent()))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), steps=st.integers(1, 5))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        """Some steps of one answer, nobody else's between them."""
        asked = data.draw(st.sampled_from(self.asked))
        for _ in range(min(steps, 5 - asked.step)):
            self._step(asked)

    def _step(self, asked: Asked) -> None:
        """The origin answers, it is learnt, others are outdated, that is settled, it counts."""
        fences, learnt = self.fences[asked.process], self.learnt[asked.process]
        asked.step += 1
        if asked.step == 1:
            asked.generation = self.current
        elif asked.step == 2:
            asked.lesson = learnt.learn(ONE.digest, b"%d" % asked.generation, asked.sent)
            if asked.lesson is Lesson.OUTDATED:
                fences.raise_object(ONE)  # the origin may have answered in another order than it was asked
        elif asked.step == 3 and asked.lesson is Lesson.CHANGED:
            renewed = fences.raise_if_current(ONE, asked.token)
            if renewed is None:
                asked.lesson = Lesson.OUTDATED
                fences.raise_object(ONE)
            else:
                asked.token = renewed
        elif asked.step == 4 and asked.lesson is Lesson.CHANGED:
            asked.lesson = learnt.learn(ONE.digest, b"%d" % asked.generation, asked.sent, True)
        elif asked.step == 5:
            self.asked.remove(asked)
            if asked.lesson is Lesson.KNOWN and fences.is_current(ONE, asked.token):
                self.proofs[asked.process] = asked
            elif asked.lesson is Lesson.KNOWN:
                fences.raise_object(ONE)
            self.seen = max(self.seen, asked.generation)  # its client gets the answer, whether or not it is kept

    @precondition(lambda self: self.asked)
    @rule(process=st.integers(0, 2))
    def kill(self, process: int) -> None:
        self.asked = [asked for asked in self.asked if asked.process != process]
        self.proofs.pop(process, None)

    @rule(process=st.integers(0, 2))
    def write(self, process: int) -> None:
        """A write through one of them, from its first fence to its last."""
        self.fences[process].raise_object(ONE)
        self.current += 1
        self.fences[process].raise_object(ONE)
        self.seen = self.current

    @invariant()
    def whoever_answers_without_asking_answers_alike(self) -> None:
        told = {
            asked.generation
            for process, asked in self.proofs.items()
            if self.fences[process].is_current(ONE, asked.token)
        }
        assert len(told) <= 1, "two processes hold different generations for current"
        for generation in told:
            assert generation >= self.seen, "one that a client has seen replaced"


Host.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestHost = Host.TestCase


@pytest.fixture
def learnt() -> Generations:
    return Generations(SharedMemory(shared.create(1, 8)))


def test_numbers_grow_over_all_processes() -> None:
    fd = shared.create(1, 8)
    one, two = Generations(SharedMemory(fd)), Generations(SharedMemory(fd))
    assert [one.next_sent(), two.next_sent(), one.next_sent()] == [1, 2, 3]
    os.close(fd)


def test_the_same_generation_is_known_in_any_order(learnt: Generations) -> None:
    for sent in (5, 3, 9, 1):
        assert learnt.learn(ONE.digest, b"g", sent) is Lesson.KNOWN
    assert learnt.learn(ONE.digest, b"h", 8) is Lesson.OUTDATED
    assert learnt.learn(ONE.digest, b"h", 10) is Lesson.CHANGED
    assert learnt.learn(ONE.digest, b"h", 10) is Lesson.CHANGED, "until the others are outdated"
    assert learnt.learn(ONE.digest, b"h", 10, True) is Lesson.KNOWN
    assert learnt.learn(ONE.digest, b"g", 9) is Lesson.OUTDATED


def test_objects_do_not_disturb_each_other(learnt: Generations) -> None:
    assert learnt.learn(ONE.digest, b"g", 1) is Lesson.KNOWN
    assert learnt.learn(TWO.digest, b"h", 2) is Lesson.KNOWN
    assert learnt.learn(ONE.digest, b"g", 3) is Lesson.KNOWN


@given(st.integers(1 << 40, (1 << 64) - 1))
def test_numbers_that_do_not_fit_any_more_outdate_others_each_time(sent: int) -> None:
    fd = shared.create(1, 8)
    learnt = Generations(SharedMemory(fd))
    assert learnt.learn(ONE.digest, b"g", sent) is Lesson.CHANGED
    assert learnt.learn(ONE.digest, b"g", sent, True) is Lesson.KNOWN
    os.close(fd)
