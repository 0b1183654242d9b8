"""CRC32C of buffers and of file blocks, without the GIL."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, errno
from libc.stdint cimport INT64_MAX, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from posix.types cimport off_t
from posix.unistd cimport pread

cdef extern from "<sched.h>" nogil:
    int sched_yield()

import os

from fastcache._core.crc32c cimport fc_crc32c, fc_crc32c_by_tables, fc_crc32c_chosen_name, fc_crc32c_init

BLOCK_SIZE = 262_144

# Below this the two atomic operations of giving the GIL away and taking it back cost more than the sum itself.
cdef enum:
    KEEP_GIL_BELOW = 8192
    READ_SIZE = 65536

fc_crc32c_init()
IMPLEMENTATION = fc_crc32c_chosen_name.decode("ascii")


def crc32c(data, uint32_t seed=0):
    """The CRC32C of ``data``; ``seed`` is the CRC of the bytes before it."""
    cdef Py_buffer view
    cdef uint32_t crc
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if view.len < KEEP_GIL_BELOW:
            crc = fc_crc32c(view.buf, <size_t>view.len, seed)
        else:
            with nogil:
                crc = fc_crc32c(view.buf, <size_t>view.len, seed)
    finally:
        PyBuffer_Release(&view)
    return crc


def crc32c_portable(data, uint32_t seed=0):
    """The same sum by tables alone: what machines without the instruction compute."""
    cdef Py_buffer view
    cdef uint32_t crc
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            crc = fc_crc32c_by_tables(view.buf, <size_t>view.len, seed)
    finally:
        PyBuffer_Release(&view)
    return crc


def crc_blocks(data, size_t block_size=262144):
    """The CRC32C of each block of ``data``, the last one being as short as it is."""
    cdef Py_buffer view
    cdef size_t at = 0, total, length
    cdef uint32_t crc
    cdef list sums = []
    if block_size == 0:
        raise ValueError("a block has at least one byte")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        total = <size_t>view.len
        while at < total:
            length = min(block_size, total - at)
            with nogil:
                crc = fc_crc32c(<uint8_t *>view.buf + at, length, 0)
            sums.append(crc)
            at += length
    finally:
        PyBuffer_Release(&view)
    return sums


def crc_file(int fd, off_t offset, off_t length, off_t block_size=262144):
    """The CRC32C of each block of ``length`` bytes of an open file from ``offset``, the last one being as short as it
    is; read here: never call it on the loop thread. Gives way to other threads of this core after each READ_SIZE.

    Raises OSError as ``pread`` does and EOFError when the file ends earlier.
    """
    cdef uint8_t *scratch
    cdef uint32_t *sums
    cdef Py_ssize_t count, block
    cdef ssize_t got = 1
    cdef off_t end, block_end
    if offset < 0 or length < 0 or length > <off_t>INT64_MAX - offset or offset == <off_t>INT64_MAX:
        raise ValueError("no file has this offset and length")
    if block_size <= 0:
        raise ValueError("a block has at least one byte")
    end = offset + length
    count = <Py_ssize_t>(length // block_size + (length % block_size != 0))
    scratch = <uint8_t *>malloc(READ_SIZE)  # both are owned here, and freed below
    sums = <uint32_t *>malloc(<size_t>max(count, 1) * sizeof(uint32_t))
    try:
        if scratch == NULL or sums == NULL:
            raise MemoryError
        with nogil:
            for block in range(count):
                sums[block] = 0
                block_end = min(offset + block_size, end)
                while offset < block_end:
                    got = pread(fd, scratch, <size_t>min(<off_t>READ_SIZE, block_end - offset), offset)
                    if got < 0 and errno == EINTR:
                        continue
                    if got <= 0:
                        break
                    sums[block] = fc_crc32c(scratch, <size_t>got, sums[block])
                    offset += got
                    sched_yield()  # to the loop, where it wants this core: whose answers are in memory must not wait
                if offset < block_end:
                    break
        if got < 0:
            raise OSError(errno, os.strerror(errno))
        if offset < end:
            raise EOFError(f"file ends {end - offset} bytes early")
        return [sums[block] for block in range(count)]
    finally:
        free(scratch)
        free(sums)
