"""A process that is run one instruction at a time: what it leaves behind if it is killed there, wherever that is.

What a killed process leaves of memory that it shares is what it had written up to then, so that each value that the
memory ever has stands for a death. No hook in the code is needed, and none of its writes can be forgotten.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterator, Sequence

from tests.harness.processes import ProcessError

from fastcache._core.shared import SharedMemory

_TRACE_ME = 0
_CONTINUE = 7
_SINGLE_STEP = 9
"""ptrace(2); the same on every Linux."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def claims_in(memory: SharedMemory) -> memoryview:
    """The counters and keys of the claims, and the first ones of them (shared.h, fill_claims.h)."""
    words = memoryview(memory).cast("B")
    offset, _ = struct.unpack_from("=QQ", words, 8 * 4 + 16 * 6)
    return words[offset : offset + 4096 + 8 * 1024 + 4 * 4096]


def writes(watched: memoryview, steps: Sequence[Callable[[], object]]) -> Iterator[int]:
    """Do ``steps`` one after the other in a process beside ours, which stands still after each instruction that has
    changed ``watched``, and at the end of each step: the number of the step. It is killed at the end."""
    child = os.fork()
    if child == 0:
        _work(steps)
    try:
        _await_stop(child)
        yield from _step_through(child, watched, len(steps))
    finally:
        _end(child)


def interrupted(look: Callable[[], object], change: Callable[[], object], *, every: int, times: int) -> None:
    """Do ``look`` so many ``times`` in a process beside ours, and ``change`` here in the middle of it, each time
    ``every`` instructions later. Raises ProcessError when ``look`` raises."""
    child = os.fork()
    if child == 0:
        _work([look] * times)
    try:
        _await_stop(child)
        for turn in range(times):
            for _ in range(turn * every):
                _ptrace(_SINGLE_STEP, child)
                assert _await_stop(child) == signal.SIGTRAP, "it was over before it was interrupted"
            change()
            _ptrace(_CONTINUE, child)
            assert _await_stop(child) == signal.SIGSTOP
    finally:
        _end(child)


def _work(steps: Sequence[Callable[[], object]]) -> None:
    """The process that is traced: it stops itself before the first step and after each."""
    try:
        _ptrace(_TRACE_ME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        for step in steps:
            step()
            os.kill(os.getpid(), signal.SIGSTOP)
    finally:
        os._exit(1)


def _step_through(child: int, watched: memoryview, count: int) -> Iterator[int]:
    before = watched.tobytes()
    step = 0
    while step < count:
        _ptrace(_SINGLE_STEP, child)
        stopped_by = _await_stop(child)
        if stopped_by == signal.SIGSTOP:
            yield step
            step += 1
        elif (now := watched.tobytes()) != before:
            before = now
            yield step


def _end(child: int) -> None:
    with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it has ended by itself, and that was told of
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _await_stop(child: int) -> int:
    """The signal that a traced process has stopped for."""
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise ProcessError(f"the process that was to be run step by step has ended: {status:#x}")
    return os.WSTOPSIG(status)


def _ptrace(request: int, pid: int) -> None:
    if _libc.ptrace(request, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
