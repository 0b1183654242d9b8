"""Turns on a core: they are as long as asked for, for the threads that follow too, and nothing else changes."""

from __future__ import annotations

import os
import threading

import pytest

from fastcache._core.scheduling import length_of_turns, take_turns_of


@pytest.fixture
def told() -> bool:
    if length_of_turns() == 0:
        pytest.skip("this kernel does not say how long turns are")
    return True


def in_a_thread(seen: list[object]) -> None:
    seen.append(take_turns_of(300_000))
    seen.append(length_of_turns())
    follower = threading.Thread(target=lambda: seen.append(length_of_turns()))
    follower.start()
    follower.join()


def test_a_thread_and_those_it_starts_take_turns_of_the_length_asked_for(told: bool) -> None:
    before = length_of_turns(), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[object] = []
    thread = threading.Thread(target=in_a_thread, args=(seen,))
    thread.start()
    thread.join()
    assert seen == [True, 300_000, 300_000]
    assert (length_of_turns(), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == before
