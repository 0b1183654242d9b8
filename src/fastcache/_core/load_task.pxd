# What a number of connections ask for in one run, and what came of it.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.answers cimport AnswerHead
from fastcache._core.expected cimport Content
from fastcache._core.latency cimport Latencies

cdef enum Mode:
    DISCARD     # bodies are dropped where they are, in the kernel
    COPY        # bodies are copied to us, as a client that uses them does
    VERIFY      # ... and every byte is compared

cdef enum:
    CUT             # the connection ended inside a body
    CLOSED          # it ended where an answer was due
    NO_ANSWER       # what came is no HTTP/1.1 response head, or too long for one
    UNFRAMED        # an answer without Content-Length: where it ends is not known
    SURPLUS         # bytes that nobody asked for
    WRONG_LENGTH    # another length than expected
    WRONG_BYTES     # the body differs from what it must be
    FAILURES        # how many kinds there are

cdef enum:
    STATUSES = 1000
    TALLIES = 8         # different values of X-Cache that are counted apart
    TALLY_NAME = 16

cdef struct Asked:
    const char* head          # owned by the Task's list of heads
    uint32_t size
    bint bodiless             # a HEAD: its answers have no body
    const Content* content    # NULL: nothing to compare with
    int64_t start             # of the body's first byte in the content
    int64_t length            # -1: any

cdef struct Tally:
    char name[TALLY_NAME]
    Py_ssize_t length
    uint64_t count

# Plain data, so that the loop reaches it without the GIL.
cdef struct TaskState:
    Asked* asked
    uint32_t count            # of asked
    uint32_t next             # in turn: the next one
    uint64_t random           # state of the generator; 0: in turn
    Mode mode
    uint32_t depth
    int64_t left              # still to be asked; -1: no end
    double interval           # ns between two requests that are due; 0: as fast as answers come
    double due                # ns, when the next one is
    uint32_t outstanding
    # what came of it
    uint64_t answers, body_bytes, first_wrong
    uint32_t wrong_asked
    uint64_t statuses[STATUSES]
    uint64_t failures[FAILURES]
    Tally tallies[TALLIES]
    uint64_t* latencies       # words of the Task's Latencies
    uint64_t* first_bytes
    int64_t last              # when the last answer was complete, CLOCK_MONOTONIC ns


cdef inline bint has_more(const TaskState* task) noexcept nogil:
    return task.left != 0


cdef inline uint32_t take_next(TaskState* task) noexcept nogil:
    cdef uint32_t chosen
    if task.left > 0:
        task.left -= 1
    if task.random == 0:
        chosen = task.next
        task.next = chosen + 1 if chosen + 1 < task.count else 0
        return chosen
    # xorshift64*, and the high half scaled: no division.
    task.random ^= task.random >> 12
    task.random ^= task.random << 25
    task.random ^= task.random >> 27
    return <uint32_t>((((task.random * <uint64_t>2685821657736338717) >> 32) * task.count) >> 32)


cdef void tally(TaskState* task, const AnswerHead* answer) noexcept nogil


cdef class Task:
    cdef TaskState state
    cdef list _kept           # heads and contents that ``asked`` points into
    cdef readonly Latencies latencies
    cdef readonly Latencies first_bytes
    cdef int64_t began
    cdef double rate
    cdef bint used

    cdef TaskState* begin(self, int64_t now) except NULL
