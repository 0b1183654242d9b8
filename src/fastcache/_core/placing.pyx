"""Files of objects around a write: marked, written whole and put in place, each in one call without the interpreter lock.

From Python each of the system calls in them would give the lock away and wait for it again, while the loop is busy with
the next request: that was 260 futex calls for one upload of 4 KiB, and most of its CPU time. placing.h has the calls.
"""

from libc.stdint cimport uint8_t, uint64_t

import os

from fastcache._core.fences cimport checked, fc_stripe
from fastcache._core.net cimport iovec
from fastcache._core.writing cimport Views

cdef uint64_t PLACES = (<uint64_t>1 << 62) - 1
"""Where in the LOCK file an object's byte may lie; no byte needs to exist to be locked."""


cdef class Guards:
    """The locks of a directory that several processes use, and the counters of its changes.

    A lock is one byte of the LOCK file for each object, taken as an open file description lock (fcntl(2)) by the
    descriptor ``fd``, whose description must be this process's alone: else the locks would be everybody's.
    """

    def __init__(self, int fd, SharedMemory memory not None):
        self.fd = fd
        self.memory = memory

    cdef int guard(self, bytes digest, fc_guard *made) except -1:
        cdef bytes known = checked(digest)
        cdef const uint8_t *octets = <const uint8_t *>known
        cdef uint64_t at = 0
        cdef int octet
        for octet in range(8):
            at |= <uint64_t>octets[octet] << (8 * octet)
        made.fd = self.fd
        made.at = <off_t>(at & PLACES)
        made.changes = &self.memory.change_counters[fc_stripe(octets)]
        return 0

    def enter(self, bytes digest):
        """Take the lock of an object; waits for whoever has it. Raises OSError."""
        cdef fc_guard guard
        cdef int error
        self.guard(digest, &guard)
        with nogil:
            error = fc_enter(&guard)
        if error:
            raise failure(error, "LOCK")

    def leave(self, bytes digest):
        """Give it back."""
        cdef fc_guard guard
        self.guard(digest, &guard)
        with nogil:
            fc_leave(&guard)


cdef object failure(int error, str path):
    return OSError(error, os.strerror(error), path)


cdef int guard_of(Guards guards, bytes digest, fc_guard *made) except -1:
    """``None`` guards nothing: the directory is this process's alone."""
    if guards is not None:
        return guards.guard(digest, made)
    made.fd = -1
    made.changes = NULL
    return 0


def mark_void(int root, Guards guards, bytes digest, str object_file, str directory, str mark, bint durable):
    """Make the file ``mark`` if ``object_file`` or ``directory`` is there, under the object's lock.

    Whether one of them is, and how many changes of such objects had been counted before; a mark counts as one. Raises
    OSError.
    """
    cdef fc_guard guard
    cdef bytes object_path = os.fsencode(object_file), directory_path = os.fsencode(directory)
    cdef bytes mark_path = os.fsencode(mark)
    cdef const char *its_file = object_path
    cdef const char *its_directory = directory_path
    cdef const char *its_mark = mark_path
    cdef uint64_t changes = 0
    cdef int error, there = 0
    guard_of(guards, digest, &guard)
    with nogil:
        error = fc_mark_void(root, &guard, its_file, its_directory, its_mark, durable, &there, &changes)
    if error:
        raise failure(error, mark)
    return there != 0, changes


def store_whole(
    int root, Guards guards, bytes digest, str part, str target, bytes header, data, long long data_offset,
    uint64_t unit, bint durable, bint clear,
):
    """Write a file as ``part``, ``header`` at its beginning and ``data`` from ``data_offset`` on, and rename it to
    ``target``, whoever has that name, under the object's lock. ``clear``: who has it is removed first.

    How many changes of such objects had been counted before this one. Raises OSError, and nothing is left of ``part``.
    """
    cdef fc_guard guard
    cdef bytes part_path = os.fsencode(part), target_path = os.fsencode(target)
    cdef const char *its_part = part_path
    cdef const char *its_target = target_path
    cdef Views views = Views(data)
    cdef iovec head
    cdef uint64_t before = 0
    cdef int error
    head.iov_base = <char *>header
    head.iov_len = <size_t>len(header)
    guard_of(guards, digest, &guard)
    with nogil:
        error = fc_write_whole(root, its_part, &head, views.pieces, views.count, data_offset, unit, durable)
        if error == 0:
            error = fc_put_in_place(root, &guard, its_part, its_target, clear, &before)
    if error:
        raise failure(error, target)
    return before
