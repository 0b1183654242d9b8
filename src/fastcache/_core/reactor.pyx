"""The client side of the proxy: every plain connection, from accept to close, on one epoll of our own.

The epoll is nested in the event loop (``loop.add_reader(reactor.fileno(), reactor.drain)``) and drained without the
GIL. What needs Python - a complete request head, body bytes an engine waits for, finished output, a peer that left -
is collected in C queues and handed over after the nogil part, in order. A connection is parked while its request is
with the engine, so pipelined requests are answered in order without a queue of their own.

Engine to core: ``recv``, ``unread``, ``write``, ``send_file``, ``finish``, ``close``, ``abort``.
Core to engine (methods of ``handler``): ``on_request(id, head)``, ``on_bad_head(id, status)``, ``on_readable(id)``,
``on_writable(id, ok)``, ``on_abort(id)``; with a hit branch ``on_takeover(id, head, lease, request id, body bytes sent, seconds)`` and
``on_leases_released()``, and where it asks the origin ``on_question(id, head, question)`` and ``on_origins_ended()``; with
others to share connections with ``on_surplus()``. A handler method that raises costs its own connection only
(``on_callback_error(id, exception)`` is told).
"""
cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport read

from fastcache._core.answering cimport ANSWERS_PER_TURN
from fastcache._core.connection cimport (
    ANSWERING,
    FREE,
    HEAD,
    LINGERING,
    PARKED,
    PROVING,
    PUMP_AGAIN,
    PUMP_DEAD,
    PUMP_DONE,
    PUMP_TURN,
    TURN_BYTES,
    Connection,
    connection_id,
    head_end,
    monotonic_ns,
    pump,
    release_output,
    release_rbuf,
    reserve,
    skip_empty_lines,
)
from fastcache._core.lease cimport lease_id
from fastcache._core.net cimport *
from fastcache._core.origins cimport EVENT_ORIGIN
from fastcache._core.slots cimport queue_length, queue_pop, queue_push
from fastcache._core.table cimport EVENT_LISTENER, EVENT_WAKE

from functools import partial

from fastcache._core.streams import OUT_DEAD, OUT_DONE, OUT_FILE, OUT_PENDING  # noqa: F401 - the engine's names


@cython.final
cdef class Reactor(ConnectionStreams):
    """All plain client connections of one event loop. Not thread-safe: every call is made on the loop's thread.

    Times are seconds. ``head_timeout`` bounds a head from its first byte to its last (a dripped head gains nothing),
    ``idle_timeout`` a kept-alive connection without one, ``stall_timeout`` progress in either direction while the
    engine waits for the client. ``half_closed_timeout`` is how long a peer that ended its side is waited for without a
    byte of the answer: a FIN alone does not tell a client that left from one that has nothing more to say. ``surplus``
    connections beyond ``max_connections`` are accepted to be refused (:meth:`overloaded`). ``min_rate`` (bytes a
    second, 0 for none) cuts off who moves less during ``rate_window`` while nobody else is waited for. ``networks``
    are (packed address, prefix length) pairs; empty admits everyone.
    """

    def drain(self):
        """Do what is ready, within the budget, then hand over to the engine. Callable anywhere on the loop's thread."""
        if self.draining:
            return
        self.draining = True
        try:
            with nogil:
                self.drain_events()
        finally:
            self.draining = False
        self.dispatch()

    def sweep(self):
        """Enforce the timeouts and look again at a full table or a lack of descriptors; call it about twice a second."""
        cdef uint32_t i
        cdef Connection* c
        cdef int64_t now = monotonic_ns()
        self.now = now
        if not self.accepting and self.listener_count and self.free_count:
            self.set_accepting(True)
        for i in range(self.used_slots):
            c = self.table[i]
            if c == NULL or c.state == FREE:
                continue
            if (c.deadline == 0 or c.deadline > now or self.drained_meanwhile(c)) and not self.is_too_slow(c):
                continue
            if c.state == PROVING:
                self.pass_on(c)  # to whoever knows how long an origin may take
                continue
            self.timed_out += 1
            if c.state == HEAD and c.rn > c.rpos:
                c.state = PARKED
                self.parked_count += 1
                c.deadline = 0
                self._call(self.handler.on_bad_head, connection_id(c), 408)
            elif c.state == PARKED:
                self.lose(c)
            elif c.state == ANSWERING:
                self.reset(c)
            else:
                self.free_connection(c)
        if self.hits is not None and self.hits.origins is not None:
            self.hits.origins.expire(now)
        self.dispatch()

    cdef void step(self, Connection* c) noexcept nogil:
        if c.state == HEAD:
            self.read_head(c)
        elif c.state == PARKED:
            if c.out_pending == 1 and not c.dead:
                self.advance_output(c)
        elif c.state == ANSWERING:
            if self.advance_answer(c):
                self.read_head(c)
        elif c.state == PROVING:
            if self.advance_proof(c):
                self.read_head(c)
        elif c.state == LINGERING:
            self.discard(c)

    cdef void advance_output(self, Connection* c) noexcept nogil:
        cdef uint64_t before = c.sent
        cdef int result = pump(c)
        if c.sent != before:
            c.deadline = self.now + self.stall_ns
        if result == PUMP_AGAIN:
            return
        if result == PUMP_TURN:
            self.enqueue_run(c)
            return
        if result == PUMP_DEAD:
            self.lose(c)
            return
        c.out_pending = 2 if result == PUMP_DONE else 3  # finished: the engine is told with the GIL
        c.deadline = 0
        queue_push(&self.writable, c)

    cdef void read_head(self, Connection* c) noexcept nogil:
        cdef Py_ssize_t end
        cdef ssize_t r
        cdef int answers = 0
        while True:
            if c.rn > c.rpos:
                skip_empty_lines(c)
                if c.scan < c.rpos:
                    c.scan = c.rpos
                # A head that came in one piece, as nearly all do, is read once: by the hit branch.
                end = 0 if self.hits is not None and c.scan == c.rpos else head_end(c)
                if self.hits is not None and (end or c.scan == c.rpos):
                    if answers == ANSWERS_PER_TURN:
                        self.enqueue_run(c)
                        return
                    if self.answer(c):
                        answers += 1
                        continue
                    if c.state != HEAD:
                        return
                    end = end or head_end(c)
                if end or c.rn - c.rpos >= self.head_limit:
                    self.park(c, end)
                    return
            if c.rn == c.rpos and c.rbuf != NULL and not c.readable:
                release_rbuf(c)
            if not c.readable:
                return
            if not reserve(c, 1, self.head_limit):
                self.free_connection(c)
                return
            r = recv(c.fd, c.rbuf + c.rn, c.rcap - c.rn, 0)
            if r < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN:
                    c.readable = 0
                    continue
            if r <= 0:
                self.free_connection(c)
                return
            if c.rn == c.rpos:
                c.deadline = self.now + self.head_ns  # counted from a head's first byte
            if r < c.rcap - c.rn and not c.eof:
                c.readable = 0
            c.rn += r

    cdef void discard(self, Connection* c) noexcept nogil:
        cdef char[16384] sink
        cdef ssize_t r
        cdef int64_t turn = TURN_BYTES
        while c.readable or c.eof:
            if turn <= 0:
                self.enqueue_run(c)  # a fast sender must not keep the loop to itself
                return
            r = recv(c.fd, sink, sizeof(sink), 0)
            if r < 0 and errno == EINTR:
                continue
            if r < 0 and errno == EAGAIN:
                c.readable = 0
                if c.eof:
                    self.free_connection(c)
                return
            if r <= 0:
                self.free_connection(c)
                return
            c.linger_left -= r
            turn -= r
            if c.linger_left <= 0:
                self.free_connection(c)
                return

    cdef void drain_events(self) noexcept nogil:
        cdef epoll_event[BUDGET_EVENTS] events
        cdef int n, i, listener
        cdef uint64_t mark
        cdef uint32_t flags, waiting
        cdef Connection* c
        cdef bint parked = self.parked_count > 0
        cdef int64_t budget = BUDGET_NS_PARKED if parked else BUDGET_NS
        cdef int64_t start
        start = self.now = monotonic_ns()
        if self.hits is not None:
            self.hits.begin_turn()
        n = epoll_wait(self.epfd, events, BUDGET_EVENTS_PARKED if parked else BUDGET_EVENTS, 0)
        for i in range(n):
            mark = events[i].data.u64
            if mark == EVENT_WAKE:
                continue
            if (mark & EVENT_ORIGIN) == EVENT_ORIGIN:
                self.origin_event(mark)
                continue
            if (mark & EVENT_LISTENER) == EVENT_LISTENER:
                listener = <int>(mark & 0xFF)
                if listener < self.listener_count:
                    self.accept_all(self.listeners[listener])
                continue
            c = self.find(mark)
            if c == NULL:
                continue
            flags = events[i].events
            if flags & (EPOLLIN | EPOLLRDHUP):
                c.readable = 1
            if flags & EPOLLRDHUP:
                c.eof = 1
            if flags & (EPOLLHUP | EPOLLERR):
                if c.state == PARKED:
                    self.lose(c)
                else:
                    self.free_connection(c)
                continue
            if c.state == PARKED:
                if c.want_read and c.readable:
                    c.want_read = 0
                    queue_push(&self.readable, c)
                elif flags & EPOLLRDHUP and not c.out_pending:
                    # While we wait for the origin; while output flows, sending finds out.
                    if not self.half_closed_ns:
                        self.lose(c)
                        continue
                    if c.deadline == 0:
                        c.deadline = self.now + self.half_closed_ns
                if c.out_pending == 1 and flags & EPOLLOUT:
                    self.advance_output(c)
                continue
            if c.state == PROVING or (c.state == ANSWERING and not flags & EPOLLOUT):
                continue  # what comes in waits for the end of the answer
            queue_push(&self.run, c)  # in line behind those who had to wait in the last turn: nobody overtakes
        waiting = queue_length(&self.run)
        while waiting and self.now - start <= budget:
            waiting -= 1
            c = queue_pop(&self.run, self.table)
            self.step(c)
            self.now = monotonic_ns()
        if self.balance is not None:
            self.balance.publish(self.capacity - self.free_count)
        if queue_length(&self.run):
            self.arm()
        elif self.armed:
            self.armed = False
            read(self.evfd, &mark, 8)

    cdef void dispatch(self):
        if self.dispatching:
            self.arm()  # a callback drained or swept: what came up is handed over by the loop, not by recursion
            return
        self.dispatching = True
        try:
            self._hand_over()
        finally:
            self.dispatching = False
            if (self.surplus_count or queue_length(&self.aborted) or queue_length(&self.writable) or queue_length(&self.readable)
                    or queue_length(&self.requests)):
                self.arm()

    cdef void _hand_over(self):
        cdef uint32_t n
        cdef Connection* c
        cdef uint64_t cid
        cdef bint ok
        cdef Py_ssize_t end
        # Lengths are taken first: callbacks append. What they append is seen by the next drain, which is armed then.
        n = queue_length(&self.aborted)
        while n and queue_length(&self.aborted):
            n -= 1
            c = queue_pop(&self.aborted, self.table)
            if c.state == PARKED and c.dead:
                cid = connection_id(c)
                release_output(c)
                self._call(self.handler.on_abort, cid, None)
        n = queue_length(&self.writable)
        while n and queue_length(&self.writable):
            n -= 1
            c = queue_pop(&self.writable, self.table)
            if c.state == PARKED and c.out_pending >= 2:
                ok = c.out_pending == 2
                cid = connection_id(c)
                self.wait_on(c)
                release_output(c)
                self._call(self.handler.on_writable, cid, ok)
        n = queue_length(&self.readable)
        while n and queue_length(&self.readable):
            n -= 1
            c = queue_pop(&self.readable, self.table)
            if c.state == PARKED:
                self._call(self.handler.on_readable, connection_id(c), None)
        n = queue_length(&self.requests)
        while n and queue_length(&self.requests):
            n -= 1
            c = queue_pop(&self.requests, self.table)
            if c.state != PARKED or not c.head_waits:
                continue  # the entry was that of the slot's connection before this one
            c.head_waits = 0
            cid = connection_id(c)
            end = c.scan
            c.scan = 0
            if end == 0:
                self._call(self.handler.on_bad_head, cid, 431)
                continue
            head = PyBytes_FromStringAndSize(c.rbuf + c.rpos, end - c.rpos)
            question = None
            if c.lease != NULL:
                if not c.lease.must_prove or c.proved:
                    self._hand_over_answer(c, cid, head, end)
                    continue
                question = self.take_question(c)
            c.rpos = end
            if c.rpos == c.rn:
                release_rbuf(c)
            if question is None:
                self._call(self.handler.on_request, cid, head)
            else:
                self._call(partial(self.handler.on_question, question=question), cid, head)
        if self.surplus_count:
            self.handler.on_surplus()
        if self.hits is None:
            return
        if self.hits.leases.released_count:
            self.handler.on_leases_released()
        if self.hits.origins is not None and self.hits.origins.ended_count:
            self.handler.on_origins_ended()

    cdef void _hand_over_answer(self, Connection* c, uint64_t cid, bytes head, Py_ssize_t end):
        """The engine goes on with an answer whose head is out. The lease is let go, but is known until it is collected."""
        cdef uint64_t lease = lease_id(c.lease), request_id = c.request_id
        cdef int64_t sent = c.body_at - c.body_start, elapsed = monotonic_ns() - c.began
        self.hits.hand_over(c)
        c.rpos = end
        if c.rpos == c.rn:
            release_rbuf(c)
        try:
            self.handler.on_takeover(cid, head, lease, request_id, sent, elapsed / 1e9)
        except Exception as error:
            self.abort(cid)
            self.handler.on_callback_error(cid, error)

    cdef void _call(self, method, uint64_t cid, argument):
        """A callback's exception must cost its own connection and nothing else."""
        try:
            if argument is None:
                method(cid)
            else:
                method(cid, argument)
        except Exception as error:
            self.abort(cid)
            self.handler.on_callback_error(cid, error)
