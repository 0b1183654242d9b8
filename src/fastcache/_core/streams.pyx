"""What the engine does with a connection whose request it holds: take body bytes, send, finish, end it."""
from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memcpy

from fastcache._core.connection cimport (
    HEAD,
    LINGERING,
    PARKED,
    PUMP_AGAIN,
    PUMP_DONE,
    PUMP_FILE,
    PUMP_TURN,
    Connection,
    monotonic_ns,
    pump,
    release_output,
    release_rbuf,
    reserve,
    taken,
)
from fastcache._core.handles cimport held
from fastcache._core.net cimport *

cdef enum:
    DEF_OUT_DONE = 1
    DEF_OUT_PENDING = 0
    DEF_OUT_DEAD = -1
    DEF_OUT_FILE = -2

OUT_DONE = DEF_OUT_DONE
"""Everything was handed to the kernel."""
OUT_PENDING = DEF_OUT_PENDING
"""``on_writable`` will be called once."""
OUT_DEAD = DEF_OUT_DEAD
"""The peer is gone, or the id is stale."""
OUT_FILE = DEF_OUT_FILE
"""The file failed or is shorter than asked for; the connection itself is alive."""


cdef class ConnectionStreams(PatientTable):
    """The engine's side of the reactor. A stale id is answered as a dead connection, never as an error."""

    cdef Connection* with_engine(self, uint64_t cid) noexcept nogil:
        """The connection if the engine has been handed its present request, else NULL.

        All requests of a connection have one id: whoever is late with an exchange that is over must not reach the next
        one, whose head is still here.
        """
        cdef Connection* c = self.find(cid)
        return c if c != NULL and c.state == PARKED and not c.head_waits else NULL

    def recv(self, uint64_t cid, Py_ssize_t limit):
        """Up to ``limit`` bytes of the current request's body.

        Returns None when there are none yet (``on_readable`` is then called once), b"" when the client will send no
        more. The caller knows the framing: with a Content-Length it never asks for more than is left of the body.
        """
        cdef Connection* c = self.with_engine(cid)
        cdef Py_ssize_t have, more
        cdef ssize_t r
        cdef char* target
        if limit <= 0:
            raise ValueError("the limit is at least one byte")  # a read of none looks like the end of the stream
        if c == NULL or c.dead:
            return b""
        have = min(c.rn - c.rpos, limit)
        if have == 0 and not c.readable:
            return self._want_read(c)
        # What came with the head, and what has come since, is one piece.
        more = limit - have if c.readable else 0
        whole = PyBytes_FromStringAndSize(NULL, have + more)
        target = PyBytes_AS_STRING(whole)
        if have:
            memcpy(target, c.rbuf + c.rpos, have)
            c.rpos += have
            if c.rpos == c.rn:
                release_rbuf(c)
        r = 0
        while more:
            r = recv(c.fd, target + have, more, 0)
            if r >= 0 or errno != EINTR:
                break
        if r < 0 and errno != EAGAIN:
            self.lose(c)
            self.arm()
            return b""
        if r < 0:
            c.readable = 0
            if not have:
                return self._want_read(c)
            r = 0
        elif r == 0 and more:
            if not have:
                c.eof = 1
                c.readable = 0
            # Else the end is met by whoever receives next, for this request or for the next one.
        elif r < more and not c.eof:
            c.readable = 0  # a short read drained the socket; an edge comes with the next byte
        c.deadline = 0
        c.received += have + r
        return whole if r == more else whole[:have + r]

    def has_input(self, uint64_t cid):
        """Whether bytes of the current request's body, or behind it, have come and can be received at once."""
        cdef Connection* c = self.with_engine(cid)
        cdef char octet
        if c == NULL or c.dead:
            return False
        return c.rn > c.rpos or recv(c.fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0

    cdef object _want_read(self, Connection* c):
        if c.eof:
            return b""
        c.want_read = 1
        c.deadline = monotonic_ns() + self.stall_ns
        return None

    def unread(self, uint64_t cid, const unsigned char[::1] data):
        """Give back bytes behind the end of a body: the beginning of the next pipelined request."""
        cdef Connection* c = self.with_engine(cid)
        cdef Py_ssize_t n = data.shape[0]
        cdef Py_ssize_t have
        if c == NULL or n == 0:
            return
        have = c.rn - c.rpos
        if not reserve(c, n, (have + n) * 2 + self.head_limit):
            raise MemoryError
        if have:
            from_start = PyBytes_FromStringAndSize(c.rbuf + c.rpos, have)
            memcpy(c.rbuf + c.rpos + n, PyBytes_AS_STRING(from_start), have)
        memcpy(c.rbuf + c.rpos, &data[0], n)
        c.rn += n
        c.scan = 0

    def write(self, uint64_t cid, data, bint more=False) -> int:
        """Queue ``data`` and hand what fits to the kernel at once. Returns OUT_DONE, OUT_PENDING or OUT_DEAD.

        One output operation at a time: after OUT_PENDING wait for ``on_writable``. ``data`` is kept, not copied.
        ``more`` (MSG_MORE) only if the next call follows immediately, or the bytes wait 200 ms in the kernel.
        """
        cdef Connection* c
        cdef Py_buffer out
        PyObject_GetBuffer(data, &out, PyBUF_SIMPLE)  # first: it may run Python code, and that may end the connection
        c = self.with_engine(cid)
        if c == NULL or c.dead:
            PyBuffer_Release(&out)
            return DEF_OUT_DEAD
        if c.out_pending:
            PyBuffer_Release(&out)
            raise RuntimeError("output is still pending on this connection")
        c.out = out
        c.out_held = 1
        held.outputs += 1
        c.out_more = more
        c.out_pos = 0
        return self._start_output(c)

    def send_file(self, uint64_t cid, int fd, int64_t offset, int64_t count) -> int:
        """Send ``count`` bytes of ``fd`` from ``offset`` on. Returns as :meth:`write`, or OUT_FILE.

        ``fd`` stays the caller's and must stay open until the operation is done. The pages should be resident: a cold
        page would block the loop.
        """
        cdef Connection* c = self.with_engine(cid)
        if offset < 0 or count < 0 or count > INT64_MAX - offset:
            raise ValueError("not an interval of a file")
        if c == NULL or c.dead:
            return DEF_OUT_DEAD
        if c.out_pending:
            raise RuntimeError("output is still pending on this connection")
        c.file_fd = fd
        c.file_off = offset
        c.file_left = count
        return self._start_output(c)

    cdef int _start_output(self, Connection* c):
        cdef int result
        with nogil:
            result = pump(c)
        if result == PUMP_AGAIN or result == PUMP_TURN:
            c.out_pending = 1
            c.deadline = monotonic_ns() + self.stall_ns
            c.stall_mark = taken(c)
            if result == PUMP_TURN:
                self.enqueue_run(c)
            return DEF_OUT_PENDING
        self.wait_on(c)
        if result != PUMP_DONE and result != PUMP_FILE:
            self.lose(c)
            self.arm()
        release_output(c)
        if result == PUMP_DONE:
            return DEF_OUT_DONE
        return DEF_OUT_FILE if result == PUMP_FILE else DEF_OUT_DEAD

    cdef void wait_on(self, Connection* c) noexcept nogil:
        """Output is through, and the engine may have more later. A client that has ended its side, of which nothing
        more will be told, is not waited for longer than for a first byte."""
        c.deadline = monotonic_ns() + self.half_closed_ns if c.eof and self.half_closed_ns else 0

    def sent(self, uint64_t cid) -> int:
        """Bytes of the current exchange's response that the kernel took so far."""
        cdef Connection* c = self.find(cid)
        return 0 if c == NULL else c.sent

    def finish(self, uint64_t cid, bint keep_alive):
        """The response is complete: take the connection back for its next request, or end it with a lingering close."""
        cdef Connection* c = self.with_engine(cid)
        if c == NULL:
            return
        if c.dead or c.out_pending:
            self.abort(cid)
            return
        self.parked_count -= 1
        self.sent_total += c.sent
        c.sent = c.received = 0
        c.rate_since = 0
        c.want_read = 0
        c.requests += 1
        c.scan = 0
        if keep_alive:
            c.state = HEAD
            c.deadline = monotonic_ns() + self.idle_ns
            if c.rn > c.rpos or c.readable or c.eof:
                self.enqueue_run(c)
            elif c.rbuf != NULL:
                release_rbuf(c)
            return
        # RFC 9112 section 9.6: a full close while input is unread becomes a reset that can destroy the response.
        release_rbuf(c)
        shutdown(c.fd, SHUT_WR)
        c.state = LINGERING
        c.linger_left = self.linger_bytes
        c.deadline = monotonic_ns() + self.linger_ns
        self.enqueue_run(c)

    def close(self, uint64_t cid):
        """Close without ceremony."""
        cdef Connection* c = self.find(cid)
        if c != NULL:
            self.free_connection(c)
            release_output(c)

    def abort(self, uint64_t cid):
        """Reset the connection: the peer must not take what it got for a whole response."""
        cdef Connection* c = self.find(cid)
        if c != NULL:
            self.reset(c)
            release_output(c)
