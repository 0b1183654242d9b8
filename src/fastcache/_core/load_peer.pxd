# One connection of the load generator as a C struct, and what it does without the GIL.
#
# Ownership. A Peer and its memory belong to one Load; its fd is in that Load's epoll alone, registered once
# (edge-triggered, IN|OUT|RDHUP). `task` points into a Task that the Load keeps alive during a run and is NULL between
# runs.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastcache._core.expected cimport Content
from fastcache._core.load_task cimport TaskState

cdef enum:
    RING = 64             # MAX_DEPTH: a power of two
    HEAD_ROOM = 16384     # a response head must fit
    HEAD_STEP = 8192      # read at once while one is awaited: an answer of 4 KiB comes whole with one call
    DISCARD_STEP = 1048576
    COPY_STEP = 262144    # the size of `Turn.scratch`
    TURN_BYTES = 1048576  # taken from one connection before the others have their turn

cdef enum Progress:
    WAITING   # for the server
    MORE      # had its share of this turn, more may be there
    ENDED     # the connection is of no more use

cdef struct Sent:
    uint32_t asked        # index in the task's requests
    int64_t at            # when it was sent or due, CLOCK_MONOTONIC ns

cdef struct Peer:
    int fd                # -1: not connected
    uint32_t crowd
    TaskState* task
    uint8_t readable      # an edge came and recv has not said that nothing is left
    uint8_t eof           # RDHUP or an error was seen: only recv says what it is
    uint8_t queued        # on the list of those to be served
    uint8_t listed        # on the list of those whose connection ended
    # requests: [first, flushed) are with the server, [flushed, last) wait for room in the socket
    Sent* ring
    uint32_t first, flushed, last
    uint32_t part         # bytes of `flushed` that are sent
    # the answer that is coming
    char* buffer          # HEAD_ROOM bytes; [pos, have) are not looked at yet
    uint32_t pos, have
    uint8_t in_body
    uint8_t counts        # its status is one that was wanted
    uint8_t closes        # it is the last one of this connection
    int64_t length, left
    int64_t offset        # in the content, of the next body byte
    const Content* content

# What all connections of a run share.
cdef struct Turn:
    unsigned char* scratch
    int64_t now           # CLOCK_MONOTONIC ns, as of the last call that needed it
    int64_t moved         # when bytes came last
    uint8_t stopping      # no more is asked


cdef inline uint32_t under_way(const Peer* peer) noexcept nogil:
    return peer.last - peer.first


cdef bint prepare(Peer* peer, TaskState* task) noexcept nogil
cdef void forget(Peer* peer) noexcept nogil
cdef void ask(Peer* peer, int64_t at) noexcept nogil
cdef bint flush(Peer* peer) noexcept nogil
cdef Progress receive(Peer* peer, Turn* turn) noexcept nogil
cdef void lose(Peer* peer) noexcept nogil
