"""The loop of the load generator: events, turns, and the pace of open loops, all without the GIL."""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from posix.time cimport timespec

from fastcache._core.connection cimport monotonic_ns
from fastcache._core.load_net cimport POLLIN, pollfd, ppoll
from fastcache._core.load_peer cimport ENDED, MORE, Peer, Progress, ask, flush, forget, lose, receive, under_way
from fastcache._core.load_task cimport TaskState, has_more
from fastcache._core.net cimport EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLRDHUP, epoll_event, epoll_wait

cdef enum:
    EVENTS = 64              # taken at once
    PAUSE_NS = 50000000      # between two looks at signals
    SLEEP_NS = 50000000


cdef class LoadLoop:
    """What drives the connections of a run. Base of ``Load``, which owns them and says what they do."""

    cdef Outcome loop(self) noexcept nogil:
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
            self.enqueue(peer)
        elif peer.eof:
            forget(peer)  # opened again when it has something to do

    cdef void enqueue(self, Peer* peer) noexcept nogil:
        if not peer.queued:
            peer.queued = 1
            self.queue[self.queue_count] = <uint32_t>(peer - self.peers)
            self.queue_count += 1

    cdef void _serve(self, Peer* peer) noexcept nogil:
        cdef Progress progress = ENDED if peer.fd < 0 else receive(peer, &self.turn)
        if progress == ENDED:
            self._break(peer)
        elif progress == MORE:
            self.enqueue(peer)

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
