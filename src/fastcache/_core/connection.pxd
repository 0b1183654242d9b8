# One plain-HTTP client connection as a C struct, and what can be done to it without the GIL.
#
# Ownership. A Connection belongs to exactly one Reactor from accept to close: its fd is in the reactor's epoll and in
# no other, registered once (edge-triggered, IN|OUT|RDHUP), so that no request costs an epoll_ctl and a parked
# connection cannot spin the outer loop. The engine never sees the struct, only an id `generation << 32 | slot`; a
# stale id is recognised by its generation.
#
# Lifetimes. `rbuf` is malloc'ed when bytes of a head arrive and freed when the connection is idle, so that ten
# thousand idle connections cost their structs alone. `out` holds a Python buffer: it is taken and released with the
# GIL only; while `out_held` is set, `out.buf` may be read without it.
from cpython.buffer cimport Py_buffer, PyBuffer_Release
from libc.errno cimport EAGAIN, EBADF, EINTR, EINVAL, EIO, ESTALE, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastcache._core.handles cimport held
from fastcache._core.lease cimport Lease
from fastcache._core.origin cimport Origin
from fastcache._core.net cimport MSG_MORE, MSG_NOSIGNAL, SIOCOUTQ, ioctl, recv, send, sendfile

cdef enum ConnState:
    FREE      # the slot is on the free list
    HEAD      # waiting for, or collecting, a request head
    PROVING   # the hit branch has asked the origin whether it may answer under a lease; the head is still in rbuf
    ANSWERING # the hit branch sends an answer under a lease; the request's head is still in rbuf
    PARKED    # the head is with the engine; order of pipelined requests needs no queue
    LINGERING # answered for good; input is discarded until the peer is done or the limit is reached

cdef enum PumpResult:
    PUMP_DONE   # everything queued has been handed to the kernel
    PUMP_AGAIN  # the socket is full; an EPOLLOUT edge will come
    PUMP_TURN   # this connection had its share of this turn; more can be sent at once
    PUMP_DEAD  # the peer is gone
    PUMP_FILE  # the file failed or is shorter than it was said to be; the peer is still there

cdef enum:
    RBUF_FIRST = 1024         # most heads fit, and malloc keeps pieces of this size at hand
    RBUF_LARGE = 4096         # on a connection whose heads did not
    TURN_BYTES = 2097152      # per connection and turn of the loop
    SENDFILE_WINDOW = 1048576
    EMPTY_LINES = 4           # skipped before a head

cdef struct Connection:
    int fd
    uint32_t slot
    uint32_t gen
    uint8_t state
    uint8_t readable      # an IN edge came and recv has not said EAGAIN since
    uint8_t eof           # RDHUP seen, or recv returned 0
    uint8_t dead          # the engine was told (or will be) that the peer is gone
    uint8_t queued        # QueueMark bits: the queues that hold the slot
    uint8_t want_read     # the engine waits for on_readable
    uint8_t out_held      # `out` holds a buffer
    uint8_t out_more      # more bytes follow at once: MSG_MORE
    uint8_t out_pending   # the engine waits for on_writable
    uint8_t empty_lines   # skipped before the present head
    uint8_t large_heads   # one did not fit into RBUF_FIRST
    uint8_t allowed       # the peer's address passed allow-from
    uint8_t surplus       # accepted when max_connections were open already
    uint8_t head_waits    # its head is in `requests`: the engine has not been told of this exchange
    uint8_t peer_family   # 4, 6 or 0
    uint8_t peer[16]
    uint16_t peer_port
    # head collecting: bytes rpos..rn of rbuf are unread, those before `scan` hold no head end
    char* rbuf
    Py_ssize_t rcap, rn, rpos, scan
    # output of the current exchange: memory first, then a file interval
    Py_buffer out
    Py_ssize_t out_pos
    int file_fd
    int64_t file_off, file_left
    # an answer of the hit branch, while `lease` is not NULL: the connection then holds one reference to it
    Lease* lease
    Origin* origin        # that was asked first; not NULL while PROVING, and until the engine has the exchange
    char* head_kept       # owned: what the kernel has not taken of a rendered head, else NULL
    const char* head_at   # `head_left` bytes of the head are to be sent from here
    Py_ssize_t head_left
    Py_ssize_t head_body  # bytes of the body that stand behind the head in the same text (errors)
    Py_ssize_t asked      # octets of the request head at `rpos`
    int64_t body_start, body_at, body_end  # offsets in the object
    int64_t began, first_byte              # CLOCK_MONOTONIC ns; 0: none yet
    uint64_t request_id
    uint16_t status
    uint8_t is_head
    uint8_t ranged        # Content-Range goes out
    uint8_t checksums     # x-amz-checksum-mode: enabled
    uint8_t proved        # by a 304 to this request
    uint8_t corked        # TCP_CORK is set
    # accounting
    int64_t deadline      # CLOCK_MONOTONIC ns, 0 = none
    int64_t linger_left
    int64_t rate_since    # CLOCK_MONOTONIC ns since which the client alone has been waited for, 0 = it is not
    int64_t rate_mark     # `taken` then
    int64_t stall_mark    # `taken` when the stall limit was last looked at
    uint64_t received     # body bytes taken from the current exchange's request
    uint64_t sent         # bytes handed to the kernel for the current exchange
    uint64_t requests


cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef inline uint64_t connection_id(const Connection* c) noexcept nogil:
    return (<uint64_t>c.gen << 32) | c.slot


cdef inline bint is_sending(const Connection* c) noexcept nogil:
    """Whether output waits for the client to take it."""
    return c.state == ANSWERING or (c.state == PARKED and c.out_pending == 1)


cdef inline int64_t taken(const Connection* c) noexcept nogil:
    """Bytes the peer moved in the current exchange: acknowledged ones of the answer, and those of its body.

    What the kernel took says little about a slow reader: with megabytes of socket buffers it takes the next byte only
    after a third of them has drained.
    """
    cdef int queued = 0
    ioctl(c.fd, SIOCOUTQ, &queued)
    return <int64_t>(c.sent + c.received) - queued


cdef inline void release_rbuf(Connection* c) noexcept nogil:
    if c.rbuf != NULL:
        held.head_buffers -= 1
    free(c.rbuf)
    c.rbuf = NULL
    c.rcap = c.rn = c.rpos = c.scan = 0


cdef inline void release_kept_head(Connection* c) noexcept nogil:
    if c.head_kept != NULL:
        held.kept_heads -= 1
    free(c.head_kept)
    c.head_kept = NULL


cdef inline void release_output(Connection* c):
    """Forget what is queued for sending.

    Giving a buffer back may run Python code (a finalizer of what held it) that ends this very connection: it comes
    last, and a caller reads nothing of `c` afterwards that it has not looked up again.
    """
    cdef Py_buffer out
    cdef bint was_held = c.out_held
    c.out_pos = 0
    c.file_left = 0
    c.out_pending = 0
    c.out_more = 0
    if was_held:
        out = c.out
        c.out_held = 0
        held.outputs -= 1
        PyBuffer_Release(&out)


cdef inline bint reserve(Connection* c, Py_ssize_t room, Py_ssize_t limit) noexcept nogil:
    """Make room for `room` more bytes (at most `limit` unread in all); False when that cannot be."""
    cdef Py_ssize_t used = c.rn - c.rpos
    cdef Py_ssize_t want
    cdef char* grown
    if c.rpos:
        memmove(c.rbuf, c.rbuf + c.rpos, used)
        c.scan = c.scan - c.rpos if c.scan > c.rpos else 0
        c.rn = used
        c.rpos = 0
    if c.rcap - c.rn >= room:
        return True
    want = c.rcap * 2 if c.rcap else RBUF_LARGE if c.large_heads else RBUF_FIRST
    if c.rcap:
        c.large_heads = 1
    while want - used < room:
        want *= 2
    if want > limit:
        want = limit
    if want - used < room:
        return False
    grown = <char*>realloc(c.rbuf, want)
    if grown == NULL:
        return False
    if c.rbuf == NULL:
        held.head_buffers += 1
    c.rbuf = grown
    c.rcap = want
    return True


cdef inline Py_ssize_t head_end(Connection* c) noexcept nogil:
    """Index after the head's empty line, or 0 when it is not there yet. Linear over the life of a head.

    A bare-LF line end also ends the search: httptools then refuses the head, instead of us waiting for a CRLF that
    never comes.
    """
    cdef const char* p
    cdef Py_ssize_t i = c.scan if c.scan > c.rpos else c.rpos
    while i < c.rn:
        p = <const char*>memchr(c.rbuf + i, c'\n', c.rn - i)
        if p == NULL:
            c.scan = c.rn
            return 0
        i = p - c.rbuf
        if i + 1 < c.rn and c.rbuf[i + 1] == c'\n':
            return i + 2
        if i + 2 < c.rn and c.rbuf[i + 1] == c'\r' and c.rbuf[i + 2] == c'\n':
            return i + 3
        if i + 1 >= c.rn or (c.rbuf[i + 1] == c'\r' and i + 2 >= c.rn):
            c.scan = i  # the line end is here, what follows it is not: look at it again
            return 0
        i += 1
    c.scan = i
    return 0


cdef inline void skip_empty_lines(Connection* c) noexcept nogil:
    """RFC 9112 section 2.2: a server should ignore at least one empty line before the request-line.

    A few only: who sends nothing else would keep the loop busy for as long as it likes.
    """
    while (c.empty_lines < EMPTY_LINES and c.rpos + 1 < c.rn
           and c.rbuf[c.rpos] == c'\r' and c.rbuf[c.rpos + 1] == c'\n'):
        c.rpos += 2
        c.empty_lines += 1


cdef inline int pump(Connection* c) noexcept nogil:
    """Hand queued output to the kernel: memory by send, then the file interval by sendfile.

    Never past `file_left` (the watermark the engine gave), at most TURN_BYTES a turn.
    """
    cdef ssize_t r
    cdef int64_t offset
    cdef int64_t turn = TURN_BYTES
    cdef size_t window
    cdef int flags
    while c.out_held and c.out_pos < c.out.len:
        if turn <= 0:
            return PUMP_TURN
        flags = MSG_NOSIGNAL | (MSG_MORE if c.out_more or c.file_left else 0)
        r = send(c.fd, <char*>c.out.buf + c.out_pos, c.out.len - c.out_pos, flags)
        if r < 0:
            if errno == EINTR:
                continue
            return PUMP_AGAIN if errno == EAGAIN else PUMP_DEAD
        c.out_pos += r
        c.sent += r
        turn -= r
    while c.file_left:
        if turn <= 0:
            return PUMP_TURN
        offset = c.file_off
        window = <size_t>(c.file_left if c.file_left < SENDFILE_WINDOW else SENDFILE_WINDOW)
        r = sendfile(c.fd, c.file_fd, &offset, window)
        if r < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                return PUMP_AGAIN
            return PUMP_FILE if errno == EIO or errno == ESTALE or errno == EBADF or errno == EINVAL else PUMP_DEAD
        if r == 0:
            return PUMP_FILE  # the file ended early: never pad, never end cleanly
        c.file_off += r
        c.file_left -= r
        c.sent += r
        turn -= r
    return PUMP_DONE
