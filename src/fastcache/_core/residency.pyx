"""Whether bytes of a file can be sent without waiting for a disk."""

from libc.errno cimport errno
from libc.stdint cimport uint64_t

import os

from fastcache._core.residency cimport FC_BY_CACHESTAT, FC_BY_READ, fc_resident

BY_CACHESTAT = FC_BY_CACHESTAT
BY_READ = FC_BY_READ

cdef int ways_left = FC_BY_CACHESTAT | FC_BY_READ


cdef bint is_resident(int fd, uint64_t offset, uint64_t length) noexcept nogil:
    return fc_resident(fd, offset, length, &ways_left) == 1


def resident(int fd, uint64_t offset, uint64_t length, int ways=FC_BY_CACHESTAT | FC_BY_READ):
    """Whether all of ``[offset, offset + length)`` is in the page cache.

    ``cachestat`` answers without touching the data; where it is refused (old kernel, seccomp, file system), a read with
    RWF_NOWAIT does. Where nobody can tell the answer is False: a wait in an I/O thread is cheap, one on the loop is not.
    ``ways`` restricts what is asked. Raises OSError for any other failure (EBADF, EIO).
    """
    global ways_left
    cdef int answer
    cdef int allowed = ways & ways_left
    cdef int before = allowed
    with nogil:
        answer = fc_resident(fd, offset, length, &allowed)
    if answer < 0:
        raise OSError(errno, os.strerror(errno))
    ways_left &= ~(before & ~allowed)
    return answer == 1
