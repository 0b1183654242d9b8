"""The load generator: many keep-alive connections in one thread, driven by an epoll of its own without the GIL.

Connections are made in *crowds* and stay open between runs. A run gives crowds their tasks (``load_task``); what one
connection does with its own is in ``load_peer``. Here is the loop: events, turns, pace, replacement of connections
that ended.

A loop that sleeps has to be woken, and on one machine the server pays for that. ``spinning`` asks for events without
ever sleeping; then the server is measured and not the scheduler.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset
from posix.time cimport timespec
from posix.unistd cimport close

from fastcache._core.connection cimport monotonic_ns
from fastcache._core.load_net cimport POLLIN, pollfd, ppoll
from fastcache._core.load_peer cimport (
    COPY_STEP,
    ENDED,
    MORE,
    Peer,
    Progress,
    ask,
    flush,
    forget,
    lose,
    prepare,
    receive,
    under_way,
)
from fastcache._core.load_task cimport Task, TaskState, has_more
from fastcache._core.net cimport (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLLERR,
    EPOLLET,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
)

import os

cdef enum:
    EVENTS = 64              # taken at once
    PAUSE_NS = 50000000      # between two looks at signals
    SLEEP_NS = 50000000


class StalledError(Exception):
    """No byte came for the time that was set, while answers were due."""


cdef void* _resized(void* memory, size_t size) except NULL:
    cdef void* moved = realloc(memory, size)
    if moved == NULL:
        raise MemoryError
    return moved


cdef class Load:
    """Connections and the loop that drives them. One thread at a time may call."""

    def __cinit__(self):
        self.epfd = -1
        self._crowds = []
        self._tasks = []
        self.turn.scratch = <unsigned char*>malloc(COPY_STEP)
        if self.turn.scratch == NULL:
            raise MemoryError
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        self.close()
        free(self.turn.scratch)
        free(self.peers)
        free(self.queue)
        free(self.broken)
        free(self.parts)

    def close(self):
        """Close all connections; nothing can be run afterwards."""
        cdef uint32_t i
        for i in range(self.count):
            forget(&self.peers[i])
            free(self.peers[i].ring)
            free(self.peers[i].buffer)
        self.count = 0
        if self.epfd >= 0:
            close(self.epfd)
            self.epfd = -1

    def add(self, opener, uint32_t count):
        """Open ``count`` connections and keep them; the number of the crowd they make.

        ``opener()`` returns a connected non-blocking socket, which is taken over; it is called again whenever a
        connection has ended and is wanted. What it raises comes out of here and of ``run``.
        """
        cdef uint32_t i, total = self.count + count
        cdef Peer* peer
        if self.running or self.epfd < 0:
            raise RuntimeError("not while it runs, and not when it is closed")
        self._reserve(total)
        self._crowds.append((opener, self.count, count))
        for i in range(self.count, total):
            peer = &self.peers[i]
            memset(peer, 0, sizeof(Peer))
            peer.fd = -1
            peer.crowd = len(self._crowds) - 1
            self.count = i + 1
            self._connect(peer)
        return len(self._crowds) - 1

    def _reserve(self, uint32_t total):
        if total > self.capacity:
            self.peers = <Peer*>_resized(self.peers, total * sizeof(Peer))
            self.queue = <uint32_t*>_resized(self.queue, total * sizeof(uint32_t))
            self.broken = <uint32_t*>_resized(self.broken, total * sizeof(uint32_t))
            self.capacity = total

    cdef int _connect(self, Peer* peer) except -1:
        cdef epoll_event event
        peer.fd = self._crowds[peer.crowd][0]().detach()
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
        event.data.u64 = <uint32_t>(peer - self.peers)
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, peer.fd, &event) != 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    # ---- a run ----

    def run(self, tasks, *, seconds=None, spinning=False, double stall=20.0):
        """Let crowds do their tasks (crowd → Task); returns when every answer is complete that was asked for.

        No more is asked when ``seconds`` have passed, or when the tasks that have a count have all their answers.
        Returns for how many seconds there was nothing to do but to wait for the servers.

        Raises StalledError when no byte came for ``stall`` seconds, and what openers raise; the connections are closed
        then, because answers may be under way on them, and opened again by the next run.
        """
        cdef Outcome outcome
        if self.running or self.epfd < 0:
            raise RuntimeError("not while it runs, and not when it is closed")
        if seconds is None and not any(task.bounded for task in tasks.values()):
            raise ValueError("neither a time nor a count bounds the run")
        self.running = True
        try:
            self.turn.now = self.turn.moved = monotonic_ns()
            self.deadline = self.turn.now + <int64_t>((seconds if seconds is not None else 1e8) * 1e9)
            self.stall = <int64_t>(stall * 1e9)
            self.spinning = spinning
            self.idle = 0
            self.idled = False
            self._begin(tasks)
            while True:
                with nogil:
                    outcome = self._loop()
                if outcome == DONE:
                    return self.idle / 1e9
                if outcome == STALLED:
                    raise StalledError(f"no byte for {stall:g} s")
                if outcome == POLLING:
                    raise OSError(errno, os.strerror(errno))
                PyErr_CheckSignals()
                self._reconnect()
        except BaseException:
            self._abandon()
            raise
        finally:
            self._end()

    cdef int _begin(self, tasks) except -1:
        cdef Part* part
        self.turn.stopping = 0
        self.queue_count = self.broken_count = self.part_count = 0
        self.paced = False
        free(self.parts)
        self.parts = <Part*>calloc(max(1, len(tasks)), sizeof(Part))
        if self.parts == NULL:
            raise MemoryError
        for crowd, task in tasks.items():
            if not 0 <= crowd < len(self._crowds):
                raise ValueError(f"there is no crowd {crowd}")
            _, first, size = self._crowds[crowd]
            part = &self.parts[self.part_count]
            part.first = first
            part.size = size
            self._begin_part(part, task)
            self.part_count += 1
        return 0

    cdef int _begin_part(self, Part* part, Task task) except -1:
        cdef uint32_t i
        part.task = task.begin(self.turn.now)
        self._tasks.append(task)
        self.paced = self.paced or part.task.interval != 0.0
        for i in range(part.first, part.first + part.size):
            if not prepare(&self.peers[i], part.task):
                raise MemoryError
            self.peers[i].listed = 0
            self._enqueue(&self.peers[i])  # all have their turn as soon as the loop begins
        return 0

    def _reconnect(self):
        """New connections for those that ended, as long as anything is asked on them."""
        cdef Peer* peer
        while self.broken_count:
            self.broken_count -= 1
            peer = &self.peers[self.broken[self.broken_count]]
            peer.listed = 0
            if self.turn.stopping or not has_more(peer.task):
                continue
            self._connect(peer)
            self._enqueue(peer)

    def _abandon(self):
        """Close what may have answers under way: they are our fault, not failures."""
        cdef uint32_t i
        for i in range(self.count):
            if self.peers[i].task != NULL:
                forget(&self.peers[i])

    cdef void _end(self) noexcept:
        cdef uint32_t i
        for i in range(self.count):
            self.peers[i].task = NULL
            self.peers[i].queued = 0
        self._tasks.clear()
        self.part_count = 0
        self.running = False

    # ---- the loop ----

    cdef Outcome _loop(self) noexcept nogil:
        cdef int64_t pause = self.turn.now + PAUSE_NS
        cdef uint32_t i, count
        while True:
            if self._is_over():
                return DONE
            if self.broken_count and not self.turn.stopping:
                return BROKEN
            if self.turn.now > pause:
                return PAUSE
            if self.turn.now - self.turn.moved > self.stall:
                if self._is_due():
                    return STALLED
                self.turn.moved = self.turn.now  # a pause that an open loop makes
            if self.paced:
                self._keep_pace()
            if self._poll() != 0:
                return POLLING
            count = self.queue_count
            self.queue_count = 0
            for i in range(count):  # one that has more goes to the front of the list, where all have been served
                self.peers[self.queue[i]].queued = 0
                self._serve(&self.peers[self.queue[i]])

    cdef bint _is_due(self) noexcept nogil:
        """Whether any answer is."""
        cdef uint32_t i
        for i in range(self.part_count):
            if self.parts[i].task.outstanding:
                return True
        return False

    cdef bint _is_over(self) noexcept nogil:
        """Whether all is answered; decides first whether more is to be asked."""
        cdef uint32_t i
        cdef const TaskState* task
        cdef bint bounded = False, unfinished = False
        if not self.turn.stopping:
            for i in range(self.part_count):
                task = self.parts[i].task
                if task.left >= 0:
                    bounded = True
                    unfinished = unfinished or task.left > 0 or task.outstanding != 0
            self.turn.stopping = self.turn.now >= self.deadline or (bounded and not unfinished)
        return self.turn.stopping and not self._is_due()

    cdef int _poll(self) noexcept nogil:
        """Wait for events unless there is something else to do, and put their connections on the list."""
        cdef epoll_event[EVENTS] events
        cdef int i, n
        cdef bint waits = self.queue_count == 0
        cdef int64_t before = self.turn.now if self.spinning else monotonic_ns()
        n = epoll_wait(self.epfd, events, EVENTS, self._timeout())
        if n < 0:
            return 0 if errno == EINTR else -1
        self.turn.now = monotonic_ns()
        # Spinning, `now` was before the last send: only from one empty poll to the next was there nothing to do.
        if waits and (self.idled or not self.spinning):
            self.idle += self.turn.now - before
        self.idled = waits and n == 0
        for i in range(n):
            self._note(<uint32_t>events[i].data.u64, events[i].events)
        return 0

    cdef int _timeout(self) noexcept nogil:
        """Milliseconds for epoll_wait. A request that is due sooner than they can say is waited for here."""
        cdef pollfd ready
        cdef timespec wait
        cdef int64_t left
        if self.spinning or self.queue_count:
            return 0
        left = SLEEP_NS if self.turn.stopping else max(<int64_t>0, min(<int64_t>SLEEP_NS, self.deadline - self.turn.now))
        if not self.paced or self.turn.stopping:
            return <int>((left + 999999) // 1000000)
        left = min(left, self._until_due())
        wait.tv_sec = 0
        wait.tv_nsec = left
        ready.fd = self.epfd
        ready.events = POLLIN
        ppoll(&ready, 1, &wait, NULL)
        return 0

    cdef int64_t _until_due(self) noexcept nogil:
        """Nanoseconds until the next request of an open loop is due; one that waits for a connection is not counted."""
        cdef uint32_t i
        cdef const TaskState* task
        cdef int64_t least = SLEEP_NS
        for i in range(self.part_count):
            task = self.parts[i].task
            if task.interval and has_more(task) and task.due > self.turn.now:
                least = min(least, <int64_t>(task.due - self.turn.now))
        return least

    cdef void _note(self, uint32_t slot, uint32_t flags) noexcept nogil:
        cdef Peer* peer = &self.peers[slot]
        if peer.fd < 0:
            return
        if flags & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            peer.readable = 1
        if flags & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            peer.eof = 1
        if peer.task != NULL:
            self._enqueue(peer)
        elif peer.eof:
            forget(peer)  # opened again when it has something to do

    cdef void _enqueue(self, Peer* peer) noexcept nogil:
        if not peer.queued:
            peer.queued = 1
            self.queue[self.queue_count] = <uint32_t>(peer - self.peers)
            self.queue_count += 1

    cdef void _serve(self, Peer* peer) noexcept nogil:
        cdef Progress progress = ENDED if peer.fd < 0 else receive(peer, &self.turn)
        if progress == ENDED:
            self._break(peer)
        elif progress == MORE:
            self._enqueue(peer)

    cdef void _break(self, Peer* peer) noexcept nogil:
        lose(peer)
        if not peer.listed:
            peer.listed = 1
            self.broken[self.broken_count] = <uint32_t>(peer - self.peers)
            self.broken_count += 1

    cdef void _keep_pace(self) noexcept nogil:
        """Ask what is due in an open loop, on connections that are free."""
        cdef uint32_t i
        cdef TaskState* task
        cdef Peer* peer
        if self.turn.stopping:
            return
        for i in range(self.part_count):
            task = self.parts[i].task
            while task.interval and task.due <= self.turn.now and has_more(task):
                peer = self._free_peer(&self.parts[i])
                if peer == NULL:
                    break
                ask(peer, <int64_t>task.due)
                task.due += task.interval
                if not flush(peer):
                    self._break(peer)

    cdef Peer* _free_peer(self, Part* part) noexcept nogil:
        """A connection that may ask, in turn; NULL when all have as much under way as they may."""
        cdef uint32_t i
        cdef Peer* peer
        if part.task.outstanding >= part.size * part.task.depth:
            return NULL
        for i in range(part.size):
            peer = &self.peers[part.first + part.cursor]
            part.cursor = part.cursor + 1 if part.cursor + 1 < part.size else 0
            if peer.fd >= 0 and under_way(peer) < part.task.depth:
                return peer
        return NULL
