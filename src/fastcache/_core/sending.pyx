"""Sending an answer under a lease: a rendered head and bytes from memory or from extents, as far as the socket takes them."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t

from fastcache._core.connection cimport (
    PUMP_AGAIN,
    PUMP_DEAD,
    PUMP_DONE,
    PUMP_FILE,
    PUMP_TURN,
    SENDFILE_WINDOW,
    TURN_BYTES,
    release_kept_head,
)
from fastcache._core.extents cimport ExtentData, blocks_verified, extent_ready, extent_used
from fastcache._core.lease cimport lease_extent
from fastcache._core.net cimport MSG_MORE, MSG_NOSIGNAL, iovec, send, sendfile, writev


cdef int send_answer(Connection* c, int64_t now) noexcept nogil:
    cdef Lease* lease = c.lease
    cdef ExtentData* extent
    cdef iovec[2] pieces
    cdef ssize_t taken
    cdef int64_t window, offset
    cdef int64_t turn = TURN_BYTES
    cdef uint32_t now_ms = <uint32_t>(now // 1000000)
    while c.head_left:
        if lease.memo != NULL and c.body_at < c.body_end:
            pieces[0].iov_base = <void*>c.head_at
            pieces[0].iov_len = c.head_left
            pieces[1].iov_base = lease.memo + c.body_at
            pieces[1].iov_len = c.body_end - c.body_at
            taken = writev(c.fd, pieces, 2)
        else:
            taken = send(c.fd, c.head_at, c.head_left, MSG_NOSIGNAL | (MSG_MORE if c.body_at < c.body_end else 0))
        if taken < 0:
            if errno == EINTR:
                continue
            return PUMP_AGAIN if errno == EAGAIN else PUMP_DEAD
        c.sent += taken
        turn -= taken
        if taken < c.head_left:
            c.head_at += taken
            c.head_left -= taken
            continue
        c.body_at += taken - c.head_left
        c.head_left = 0
        release_kept_head(c)
    while c.body_at < c.body_end:
        if turn <= 0:
            return PUMP_TURN
        if lease.memo != NULL:
            taken = send(c.fd, lease.memo + c.body_at, c.body_end - c.body_at, MSG_NOSIGNAL)
        else:
            extent = lease_extent(lease, c.body_at)
            if extent == NULL:
                return PUMP_FILE
            window = min(min(c.body_end, extent.end) - c.body_at, <int64_t>SENDFILE_WINDOW)
            if not extent_ready(extent, c.body_at, c.body_at + window, now_ms):
                return PUMP_FILE
            offset = extent.data_offset + (c.body_at - extent.start)
            taken = sendfile(c.fd, extent.fd, &offset, window)
            if taken == 0:
                return PUMP_FILE  # the file ended early: never pad, never end cleanly
        if taken < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                return PUMP_AGAIN
            # Whose fault an EIO is nobody says; the engine finds out.
            return PUMP_DEAD if lease.memo != NULL else PUMP_FILE
        c.body_at += taken
        c.sent += taken
        turn -= taken
    return PUMP_DONE


cdef bint is_covered(const Lease* lease, int64_t start, int64_t end, uint32_t now_ms) noexcept nogil:
    """Whether all of the interval is in open extents, its beginning checked, and its first window in memory."""
    cdef ExtentData* extent
    cdef int64_t at = start, until
    cdef int64_t ahead = start + min(end - start, <int64_t>AHEAD_BYTES)
    while at < end:
        extent = lease_extent(lease, at)
        if extent == NULL or extent.fd < 0:
            return False
        until = min(extent.end, ahead)
        if at < ahead and not blocks_verified(extent, at, until):
            return False
        if at == start:
            if not extent_ready(extent, at, at + min(min(end, extent.end) - at, <int64_t>SENDFILE_WINDOW), now_ms):
                return False
        at = extent.end
    return True


cdef void count_uses(const Lease* lease, int64_t start, int64_t end) noexcept nogil:
    cdef ExtentData* extent
    while start < end:
        extent = lease_extent(lease, start)
        if extent == NULL:
            return
        extent_used(extent)
        start = extent.end
