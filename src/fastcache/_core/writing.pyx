"""Writing cache files: every step is one call without the GIL. Blocking; for I/O threads. All raise OSError."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EEXIST, EINTR, EIO, ENOENT, ENOTDIR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

import os

from fastcache._core.crc32c cimport fc_crc32c, fc_crc32c_init
from fastcache._core.fences cimport checked, fc_raise, fc_stripe
from fastcache._core.net cimport iovec
from fastcache._core.shared cimport SharedMemory

cdef extern from "<sys/uio.h>" nogil:
    ssize_t pwritev(int, const iovec*, int, int64_t)

cdef extern from "<unistd.h>" nogil:
    int close(int)
    int ftruncate(int, int64_t)
    int fsync(int)
    enum:
        SEEK_SET

cdef extern from "<stdio.h>" nogil:
    int renameat(int, const char*, int, const char*)

cdef extern from "<sys/stat.h>" nogil:
    cdef struct stat:
        int st_mode
    int fstatat(int, const char*, stat*, int)
    int mkdirat(int, const char*, int)
    bint S_ISDIR(int)

cdef extern from "<fcntl.h>" nogil:
    cdef struct flock:
        short l_type
        short l_whence
        int64_t l_start
        int64_t l_len
        int l_pid
    int openat(int, const char*, int, ...)
    int fcntl(int, int, ...)
    enum:
        AT_SYMLINK_NOFOLLOW
        F_OFD_SETLKW
        F_UNLCK
        F_WRLCK
        O_CLOEXEC
        O_CREAT
        O_EXCL
        O_NOFOLLOW
        O_RDWR

cdef enum:
    BATCH = 512
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


# ---- without the GIL: 0, or an errno ----


cdef int write_pieces(int fd, const iovec *pieces, Py_ssize_t count, int64_t offset, int64_t unit) noexcept nogil:
    cdef iovec[BATCH] batch
    cdef Py_ssize_t piece = 0, ahead
    cdef size_t used = 0, skip, taken
    cdef int64_t room
    cdef ssize_t written
    cdef int filled
    while True:
        while piece < count and used == pieces[piece].iov_len:
            piece += 1
            used = 0
        if piece == count:
            return 0
        room = unit - offset % unit
        filled, ahead, skip = 0, piece, used
        while filled < BATCH and room > 0 and ahead < count:
            taken = min(pieces[ahead].iov_len - skip, <size_t>room)
            if taken:
                batch[filled].iov_base = <char *>pieces[ahead].iov_base + skip
                batch[filled].iov_len = taken
                filled += 1
                room -= taken
            ahead += 1
            skip = 0
        written = pwritev(fd, batch, filled, offset)
        if written < 0:
            if errno == EINTR:
                continue
            return errno
        if written == 0:
            return EIO  # no regular file takes nothing
        offset += written
        while written > 0:
            taken = min(pieces[piece].iov_len - used, <size_t>written)
            written -= taken
            used += taken
            if used == pieces[piece].iov_len:
                piece += 1
                used = 0


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


cdef int lock_byte(int fd, short kind, int64_t at) noexcept nogil:
    cdef flock lock
    lock.l_type = kind
    lock.l_whence = SEEK_SET
    lock.l_start = at
    lock.l_len = 1
    lock.l_pid = 0
    while fcntl(fd, F_OFD_SETLKW, &lock) < 0:
        if errno != EINTR:
            return errno
    return 0


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
        failed = write_pieces(fd, held.pieces, held.count, offset, unit)
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
                failed = write_pieces(fd, held.pieces, held.count, offset, unit)
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
            failed = write_pieces(fd, held.pieces, held.count, data_offset, unit)
            if not failed:
                failed = write_pieces(fd, head.pieces, head.count, 0, unit)
            failed = sync_and_close(fd, failed, fsync)
    raise_for(failed)


def complete(int fd, header, int64_t size, bint fsync):
    """Write ``header`` at the beginning of a file that is to be ``size`` bytes long, durable if ``fsync``, and close
    it, whatever fails."""
    cdef Views head = Views((header,))
    cdef int failed
    with nogil:
        failed = write_pieces(fd, head.pieces, head.count, 0, BLOCK)
        # A failed or cancelled write may have left bytes behind the last one that counts.
        if not failed and ftruncate(fd, size) < 0:
            failed = errno
        failed = sync_and_close(fd, failed, fsync)
    raise_for(failed)


def rename_counted(
    int root, str source, str target, directories, int lock, int64_t at, SharedMemory memory, bytes digest
):
    """Rename under the lock of byte ``at`` of the file ``lock``, and count the change of ``digest``'s files before it is
    given back; how many changes there were before. ``directories`` above the target, outer ones first, are made or
    found to be directories before; nothing of this is made durable."""
    cdef bytes source_name = os.fsencode(source), target_name = os.fsencode(target)
    cdef const char *old = source_name
    cdef const char *new = target_name
    cdef list names = [os.fsencode(path) for path in directories]
    cdef (const char *)[MOST_NAMES] above
    cdef Py_ssize_t number, count = len(names)
    cdef bytes known = checked(digest)
    cdef uint64_t *changes = &memory.change_counters[fc_stripe(<const uint8_t *>known)]
    cdef uint64_t before = 0
    cdef int failed = 0
    if count > MOST_NAMES:
        raise ValueError("too many names")
    for number in range(count):
        above[number] = names[number]
    with nogil:
        for number in range(count):
            if not failed:
                failed = make_directory(root, above[number])
        if not failed:
            failed = lock_byte(lock, F_WRLCK, at)
        if not failed:
            if renameat(root, old, root, new) < 0:
                failed = errno
            else:
                before = fc_raise(changes)
            lock_byte(lock, F_UNLCK, at)
    raise_for(failed)
    return before


def are_absent(int root, paths):
    """Whether nothing is there under any of these names. False also where that cannot be told."""
    cdef list names = [os.fsencode(path) for path in paths]
    cdef (const char *)[MOST_NAMES] raw
    cdef stat status
    cdef Py_ssize_t at, count = len(names)
    cdef bint absent = True
    if count > MOST_NAMES:
        raise ValueError("too many names")
    for at in range(count):
        raw[at] = names[at]
    with nogil:
        for at in range(count):
            absent = absent and fstatat(root, raw[at], &status, AT_SYMLINK_NOFOLLOW) < 0 and errno == ENOENT
    return absent
