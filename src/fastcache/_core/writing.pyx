"""Writing cache files: every step is one call without the GIL. Blocking; for I/O threads. All raise OSError."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EEXIST, ENOENT, ENOTDIR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

import os

from fastcache._core.crc32c cimport fc_crc32c, fc_crc32c_init
from fastcache._core.net cimport iovec

cdef extern from "writing.h" nogil:
    int fc_write_pieces(int fd, const iovec *pieces, size_t count, int64_t offset, uint64_t unit)

cdef extern from "<unistd.h>" nogil:
    int close(int)
    int ftruncate(int, int64_t)
    int fsync(int)

cdef extern from "<sys/stat.h>" nogil:
    cdef struct stat:
        int st_mode
    int fstatat(int, const char*, stat*, int)
    int mkdirat(int, const char*, int)
    bint S_ISDIR(int)

cdef extern from "<fcntl.h>" nogil:
    int openat(int, const char*, int, ...)
    enum:
        AT_SYMLINK_NOFOLLOW
        O_CLOEXEC
        O_CREAT
        O_EXCL
        O_NOFOLLOW
        O_RDWR

cdef enum:
    BLOCK = 262144
    MOST_NAMES = 8

fc_crc32c_init()


cdef class Views:
    """Buffers, held for the time of one call."""

    def __cinit__(self, views):
        cdef Py_ssize_t room = len(views)
        self.buffers = <Py_buffer *>calloc(max(room, 1), sizeof(Py_buffer))
        self.pieces = <iovec *>calloc(max(room, 1), sizeof(iovec))
        if self.buffers == NULL or self.pieces == NULL:
            raise MemoryError
        for view in views:
            if self.count == room:
                raise ValueError("the views changed while they were taken")
            PyObject_GetBuffer(view, &self.buffers[self.count], PyBUF_SIMPLE)
            self.pieces[self.count].iov_base = self.buffers[self.count].buf
            self.pieces[self.count].iov_len = <size_t>self.buffers[self.count].len
            self.length += self.buffers[self.count].len
            self.count += 1

    def __dealloc__(self):
        cdef Py_ssize_t at
        for at in range(self.count):
            PyBuffer_Release(&self.buffers[at])
        free(self.buffers)
        free(self.pieces)


cdef class Names:
    """Some paths, as system calls take them."""
    cdef list held
    cdef (const char *)[MOST_NAMES] raw
    cdef Py_ssize_t count

    def __cinit__(self, paths):
        self.held = [os.fsencode(path) for path in paths]
        if len(self.held) > MOST_NAMES:
            raise ValueError("too many names")
        for path in self.held:
            self.raw[self.count] = <bytes>path
            self.count += 1


# ---- without the GIL: 0, or an errno ----


cdef Py_ssize_t sum_pieces(
    const iovec *pieces, Py_ssize_t count, uint32_t *full, uint32_t *crc, int64_t *filled
) noexcept nogil:
    """How many blocks were completed: their sums are in ``full``, the open one's in ``crc``."""
    cdef Py_ssize_t piece, done = 0
    cdef size_t used, taken
    for piece in range(count):
        used = 0
        while used < pieces[piece].iov_len:
            taken = min(pieces[piece].iov_len - used, <size_t>(BLOCK - filled[0]))
            crc[0] = fc_crc32c(<char *>pieces[piece].iov_base + used, taken, crc[0])
            used += taken
            filled[0] += taken
            if filled[0] == BLOCK:
                full[done] = crc[0]
                done += 1
                crc[0] = 0
                filled[0] = 0
    return done


cdef int sync_and_close(int fd, int failed, bint durable) noexcept nogil:
    """Close in any case. A failed close is a failed write."""
    if not failed and durable and fsync(fd) < 0:
        failed = errno
    if close(fd) < 0 and not failed:
        failed = errno
    return failed


cdef int make_directory(int root, const char *path) noexcept nogil:
    """Make it if it is not there. ENOTDIR for anything else of that name, a link to a directory included."""
    cdef stat status
    if fstatat(root, path, &status, AT_SYMLINK_NOFOLLOW) < 0:
        if errno != ENOENT:
            return errno
        if mkdirat(root, path, 0o700) < 0 and errno != EEXIST:
            return errno
        if fstatat(root, path, &status, AT_SYMLINK_NOFOLLOW) < 0:
            return errno
    return 0 if S_ISDIR(status.st_mode) else ENOTDIR


cdef int raise_for(int failed) except -1:
    if failed:
        raise OSError(failed, os.strerror(failed))
    return 0


# ---- for Python ----


def write_views(int fd, views, int64_t offset, int64_t unit):
    """Write ``views`` one after another from ``offset``, in system calls that end where a multiple of ``unit`` does."""
    cdef Views held = Views(views)
    cdef int failed
    if unit <= 0 or offset < 0:
        raise ValueError("no file is written so")
    with nogil:
        failed = fc_write_pieces(fd, held.pieces, held.count, offset, unit)
    raise_for(failed)


def sum_views(views, uint32_t crc=0, int64_t filled=0):
    """The CRC32C of each block that ``views`` complete behind ``filled`` bytes of one with sum ``crc``, and those two
    for the block that stays open."""
    return _summed(Views(views), -1, 0, BLOCK, crc, filled)


def append_views(int fd, views, int64_t offset, int64_t unit, uint32_t crc, int64_t filled):
    """``write_views`` and ``sum_views`` in one."""
    if unit <= 0 or offset < 0:
        raise ValueError("no file is written so")
    return _summed(Views(views), fd, offset, unit, crc, filled)


cdef _summed(Views held, int fd, int64_t offset, int64_t unit, uint32_t crc, int64_t filled):
    cdef uint32_t *full
    cdef Py_ssize_t done = 0, at
    cdef int failed = 0
    if not 0 <= filled < BLOCK:
        raise ValueError("an open block is not full")
    full = <uint32_t *>malloc(<size_t>((held.length + filled) // BLOCK + 1) * sizeof(uint32_t))  # freed below
    if full == NULL:
        raise MemoryError
    try:
        with nogil:
            if fd >= 0:
                failed = fc_write_pieces(fd, held.pieces, held.count, offset, unit)
            if not failed:
                done = sum_pieces(held.pieces, held.count, full, &crc, &filled)
        raise_for(failed)
        return [full[at] for at in range(done)], crc, filled
    finally:
        free(full)


def write_new(int root, str path, header, views, int64_t data_offset, int64_t unit, bint fsync):
    """Create ``path``, which must not exist, below ``root`` with ``header`` at its beginning and ``views`` from
    ``data_offset`` on, durable if ``fsync``. After an error it may exist, with some of that."""
    cdef bytes name = os.fsencode(path)
    cdef const char *raw = name
    cdef Views head = Views((header,)), held = Views(views)
    cdef int failed = 0, fd
    if unit <= 0 or data_offset < 0:
        raise ValueError("no file is written so")
    with nogil:
        fd = openat(root, raw, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        if fd < 0:
            failed = errno
        else:
            failed = fc_write_pieces(fd, held.pieces, held.count, data_offset, unit)
            if not failed:
                failed = fc_write_pieces(fd, head.pieces, head.count, 0, unit)
            failed = sync_and_close(fd, failed, fsync)
    raise_for(failed)


def complete(int fd, header, int64_t size, bint fsync):
    """Write ``header`` at the beginning of a file that is to be ``size`` bytes long, durable if ``fsync``, and close
    it, whatever fails."""
    cdef Views head = Views((header,))
    cdef int failed
    with nogil:
        failed = fc_write_pieces(fd, head.pieces, head.count, 0, BLOCK)
        # A failed or cancelled write may have left bytes behind the last one that counts.
        if not failed and ftruncate(fd, size) < 0:
            failed = errno
        failed = sync_and_close(fd, failed, fsync)
    raise_for(failed)


def make_directories(int root, paths):
    """Make directories that are not there, outer ones first. NotADirectoryError for anything else of such a name, a
    link to a directory included. Nothing of this is made durable."""
    cdef Names names = Names(paths)
    cdef int failed = 0
    cdef Py_ssize_t at
    with nogil:
        for at in range(names.count):
            if not failed:
                failed = make_directory(root, names.raw[at])
    raise_for(failed)


def are_absent(int root, paths):
    """Whether nothing is there under any of these names. False also where that cannot be told."""
    cdef Names names = Names(paths)
    cdef stat status
    cdef Py_ssize_t at
    cdef bint absent = True
    with nogil:
        for at in range(names.count):
            absent = absent and fstatat(root, names.raw[at], &status, AT_SYMLINK_NOFOLLOW) < 0 and errno == ENOENT
    return absent
