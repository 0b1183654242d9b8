"""The load generator: many keep-alive connections in one thread, driven by an epoll of its own without the GIL.

Connections are made in *crowds* and stay open between runs. A run gives crowds their tasks (``load_task``); what one
connection does with its own is in ``load_peer``, and ``load_loop`` drives them. Here is what needs Python: opening
connections, and replacing those that ended.

A loop that sleeps has to be woken, and on one machine the server pays for that. ``spinning`` asks for events without
ever sleeping; then the server is measured and not the scheduler.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset
from posix.unistd cimport close

from fastcache._core.connection cimport monotonic_ns
from fastcache._core.load_loop cimport DONE, POLLING, STALLED, Outcome
from fastcache._core.load_peer cimport COPY_STEP, forget, prepare
from fastcache._core.load_task cimport has_more
from fastcache._core.net cimport (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLLET,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    epoll_create1,
    epoll_ctl,
    epoll_event,
)

import os


class StalledError(Exception):
    """No byte came for the time that was set, while answers were due."""


cdef void* _resized(void* memory, size_t size) except NULL:
    cdef void* moved = realloc(memory, size)
    if moved == NULL:
        raise MemoryError
    return moved


cdef class Load(LoadLoop):
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
        if self.running:
            raise RuntimeError("not while it runs")
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
                    outcome = self.loop()
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
            self.enqueue(&self.peers[i])  # all have their turn as soon as the loop begins
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
            self.enqueue(peer)

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
