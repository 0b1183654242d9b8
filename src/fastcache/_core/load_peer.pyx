"""One connection of the load generator: it asks, takes answers apart and counts. Everything here runs without the GIL."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport malloc
from libc.string cimport memmove, memset
from posix.unistd cimport close

from fastcache._core.answers cimport AnswerHead, read_answer
from fastcache._core.connection cimport monotonic_ns
from fastcache._core.expected cimport first_difference
from fastcache._core.latency cimport record_latency
from fastcache._core.load_net cimport MSG_TRUNC, iovec, msghdr, sendmsg
from fastcache._core.load_task cimport (
    CLOSED,
    CUT,
    DISCARD,
    NO_ANSWER,
    SURPLUS,
    UNFRAMED,
    VERIFY,
    WRONG_BYTES,
    WRONG_LENGTH,
    Asked,
    TaskState,
    has_more,
    take_next,
    tally,
)
from fastcache._core.net cimport MSG_NOSIGNAL, recv

cdef enum:
    BATCH = 16  # requests sent with one call


cdef bint prepare(Peer* peer, TaskState* task) noexcept nogil:
    """Memory for a run, from the first on; False when there is none."""
    if peer.ring == NULL:
        peer.ring = <Sent*>malloc(RING * sizeof(Sent))
    if peer.buffer == NULL:
        peer.buffer = <char*>malloc(HEAD_ROOM)
    peer.task = task
    return peer.ring != NULL and peer.buffer != NULL


cdef void forget(Peer* peer) noexcept nogil:
    """Close the connection; everything but the memory is as in the beginning."""
    if peer.fd >= 0:
        close(peer.fd)
    peer.fd = -1
    peer.readable = peer.eof = peer.in_body = peer.closes = 0
    peer.first = peer.flushed = peer.last = peer.part = peer.pos = peer.have = 0


cdef void lose(Peer* peer) noexcept nogil:
    """The connection ends: count the answers that will not come."""
    cdef uint32_t due = under_way(peer)
    if peer.task != NULL and due:
        peer.task.outstanding -= due
        if peer.in_body:
            peer.task.failures[CUT] += 1
            due -= 1
        peer.task.failures[CLOSED] += due
    forget(peer)


# ---- asking ----


cdef void ask(Peer* peer, int64_t at) noexcept nogil:
    """Take the next request of the task; ``flush`` sends it. ``at`` is the time its latency counts from."""
    cdef Sent* one = &peer.ring[peer.last % RING]
    one.asked = take_next(peer.task)
    one.at = at
    peer.last += 1
    peer.task.outstanding += 1


cdef bint flush(Peer* peer) noexcept nogil:
    """Send what is asked and not sent; False when the connection is broken."""
    cdef iovec[BATCH] pieces
    cdef msghdr message
    cdef const Asked* one
    cdef ssize_t sent
    cdef uint32_t i, count
    memset(&message, 0, sizeof(message))
    while peer.flushed != peer.last:
        count = min(<uint32_t>BATCH, peer.last - peer.flushed)
        for i in range(count):
            one = &peer.task.asked[peer.ring[(peer.flushed + i) % RING].asked]
            pieces[i].iov_base = <void*>one.head
            pieces[i].iov_len = one.size
        pieces[0].iov_base = <char*>pieces[0].iov_base + peer.part
        pieces[0].iov_len -= peer.part
        message.msg_iov = pieces
        message.msg_iovlen = count
        sent = sendmsg(peer.fd, &message, MSG_NOSIGNAL)
        if sent < 0:
            if errno == EINTR:
                continue
            return errno == EAGAIN
        for i in range(count):
            if <size_t>sent < pieces[i].iov_len:
                peer.part = <uint32_t>sent + (peer.part if i == 0 else 0)
                return True  # an OUT edge will come
            sent -= pieces[i].iov_len
            peer.flushed += 1
            peer.part = 0
    return True


cdef inline void _refill(Peer* peer, Turn* turn) noexcept nogil:
    cdef TaskState* task = peer.task
    while under_way(peer) < task.depth and has_more(task) and not turn.stopping:
        if task.interval == 0.0:
            ask(peer, turn.now)
        elif task.due <= turn.now:
            ask(peer, <int64_t>task.due)
            task.due += task.interval
        else:
            return


# ---- answers ----


cdef inline void _compare(Peer* peer, const unsigned char* data, int64_t length) noexcept nogil:
    cdef int64_t found
    if peer.content == NULL:
        return
    found = first_difference(peer.content, peer.offset, data, length)
    if found >= 0:
        if not peer.task.failures[WRONG_BYTES]:
            peer.task.wrong_asked = peer.ring[peer.first % RING].asked
            peer.task.first_wrong = peer.offset + found
        peer.task.failures[WRONG_BYTES] += 1
        peer.content = NULL  # one wrong byte of a body is enough
    peer.offset += length


cdef inline void _complete(Peer* peer, int64_t now) noexcept nogil:
    cdef TaskState* task = peer.task
    if peer.counts:
        record_latency(task.latencies, now - peer.ring[peer.first % RING].at)
        task.body_bytes += peer.length
    task.answers += 1
    task.last = now
    task.outstanding -= 1
    peer.first += 1
    peer.in_body = 0


cdef bint _begin_body(Peer* peer, const AnswerHead* answer, int64_t now) noexcept nogil:
    """What the head says about the body; False when its end cannot be found."""
    cdef TaskState* task = peer.task
    cdef const Sent* sent = &peer.ring[peer.first % RING]
    cdef const Asked* asked = &task.asked[sent.asked]
    cdef bint bodiless = asked.bodiless or answer.status == 204 or answer.status == 304
    task.statuses[answer.status] += 1
    peer.counts = answer.status == 200 or answer.status == 206 or answer.status == 304
    peer.closes = answer.closes
    if not bodiless and (answer.chunked or answer.length < 0):
        task.failures[UNFRAMED] += 1
        return False
    peer.length = peer.left = 0 if bodiless else answer.length
    peer.in_body = 1
    peer.content = NULL
    if not peer.counts:
        return True
    tally(task, answer)
    record_latency(task.first_bytes, now - sent.at)
    if bodiless:
        return True
    if asked.length >= 0 and asked.length != answer.length:
        task.failures[WRONG_LENGTH] += 1
    elif task.mode == VERIFY:
        peer.content = asked.content
        peer.offset = asked.start
    return True


cdef bint _take_apart(Peer* peer, Turn* turn) noexcept nogil:
    """Heads and body bytes in the buffer; False when the connection is of no more use."""
    cdef AnswerHead answer
    cdef Py_ssize_t size
    cdef uint32_t body
    while peer.pos < peer.have:
        if not peer.in_body:
            if not under_way(peer):
                peer.task.failures[SURPLUS] += 1
                return False
            size = read_answer(peer.buffer + peer.pos, peer.have - peer.pos, &answer)
            if size < 0 or (size == 0 and peer.have - peer.pos == HEAD_ROOM):
                return _is_no_answer(peer)
            if size == 0:
                break
            peer.pos += <uint32_t>size
            if answer.status < 200:
                continue
            if not _begin_body(peer, &answer, turn.now):
                # Counted: not one that never came.
                peer.first += 1
                peer.task.outstanding -= 1
                return False
        body = <uint32_t>min(peer.left, <int64_t>(peer.have - peer.pos))
        _compare(peer, <const unsigned char*>peer.buffer + peer.pos, body)
        peer.pos += body
        peer.left -= body
        if peer.left:
            break
        _complete(peer, turn.now)
        if peer.closes:
            return False
    if peer.pos:
        memmove(peer.buffer, peer.buffer + peer.pos, peer.have - peer.pos)
        peer.have -= peer.pos
        peer.pos = 0
    return True


cdef bint _is_no_answer(Peer* peer) noexcept nogil:
    peer.task.failures[NO_ANSWER] += 1
    peer.first += 1
    peer.task.outstanding -= 1
    return False


cdef ssize_t _receive_body(Peer* peer, Turn* turn, ssize_t* wanted) noexcept nogil:
    """One call for body bytes alone; what recv returned."""
    cdef ssize_t got
    if peer.task.mode == DISCARD:
        wanted[0] = <ssize_t>min(peer.left, <int64_t>DISCARD_STEP)
        got = recv(peer.fd, turn.scratch, wanted[0], MSG_TRUNC)
    else:
        wanted[0] = <ssize_t>min(peer.left, <int64_t>COPY_STEP)
        got = recv(peer.fd, turn.scratch, wanted[0], 0)
    if got <= 0:
        return got
    if peer.task.mode == VERIFY:
        _compare(peer, turn.scratch, got)
    peer.left -= got
    if not peer.left:
        turn.now = monotonic_ns()
        _complete(peer, turn.now)
    return got


cdef ssize_t _receive_head(Peer* peer, Turn* turn, ssize_t* wanted) noexcept nogil:
    """One call for a head and what comes with it, into the buffer."""
    cdef ssize_t got
    wanted[0] = min(<ssize_t>HEAD_STEP, <ssize_t>(HEAD_ROOM - peer.have))
    got = recv(peer.fd, peer.buffer + peer.have, wanted[0], 0)
    if got > 0:
        peer.have += <uint32_t>got
        turn.now = monotonic_ns()
    return got


cdef Progress receive(Peer* peer, Turn* turn) noexcept nogil:
    """Take what is there, count it, and ask for more."""
    cdef ssize_t got, wanted
    cdef int64_t budget = TURN_BYTES
    while peer.readable and budget > 0:
        if peer.in_body:
            got = _receive_body(peer, turn, &wanted)
        else:
            got = _receive_head(peer, turn, &wanted)
        if got < 0 and errno == EINTR:
            continue
        if got < 0 and errno == EAGAIN:
            peer.readable = 0
            break
        if got <= 0:
            return ENDED
        turn.moved = turn.now
        budget -= got
        # A short recv took all there was, and where nothing is due nothing can be: the next bytes bring an edge.
        if not peer.eof and (got < wanted or not under_way(peer)):
            peer.readable = 0
        if peer.closes and not peer.in_body:
            return ENDED
        if not _take_apart(peer, turn):
            return ENDED
    _refill(peer, turn)
    if not flush(peer):
        return ENDED
    return MORE if peer.readable else WAITING
