"""What a number of connections ask for in one run of the load generator, and what came of it."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastcache._core.answers cimport AnswerHead
from fastcache._core.expected cimport Expected
from fastcache._core.latency cimport Latencies

MODES = {"discard": DISCARD, "copy": COPY, "verify": VERIFY}
MAX_DEPTH = 64
_FAILURES = {
    CUT: "the connection ended inside a body",
    CLOSED: "the connection ended where an answer was due",
    NO_ANSWER: "no HTTP/1.1 response head",
    UNFRAMED: "an answer without Content-Length",
    SURPLUS: "more bytes than the answer announced",
    WRONG_LENGTH: "a body of another length than expected",
    WRONG_BYTES: "wrong bytes",
}


cdef void tally(TaskState* task, const AnswerHead* answer) noexcept nogil:
    """Count the answer under its X-Cache; values beyond the first TALLIES, and longer ones, are not counted."""
    cdef int i
    cdef Tally* one
    if answer.result == NULL or not 0 < answer.result_length <= TALLY_NAME:
        return
    for i in range(TALLIES):
        one = &task.tallies[i]
        if one.length == 0:
            memcpy(one.name, answer.result, answer.result_length)
            one.length = answer.result_length
        if one.length == answer.result_length and memcmp(one.name, answer.result, one.length) == 0:
            one.count += 1
            return


cdef class Task:
    """Requests for the connections of one crowd in one run, and their figures afterwards.

    ``asked``: (request head, the object's bytes or None, where in the object the answer's body starts, its length or
    None for any). They are sent in turn, or at random with ``seed``. ``mode`` is what becomes of bodies, see MODES;
    only "verify" compares, and what has no bytes to compare with is only copied. ``depth`` requests are under way on
    a connection. ``rate`` requests a second are sent whatever the answers do (an open loop), and latencies count from
    when a request was due; 0 sends the next one when an answer is complete. After ``count`` requests none is sent.

    Latencies and body bytes are of answers with status 200, 206 and 304; ``answers`` and ``statuses`` count all.
    """

    def __cinit__(self, *args, **kwargs):
        self.state.asked = NULL

    def __init__(self, asked, *, mode="discard", depth=1, seed=None, double rate=0.0, count=None):
        if not asked:
            raise ValueError("nothing is asked for")
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}")
        if not 1 <= depth <= MAX_DEPTH:
            raise ValueError(f"depth must be between 1 and {MAX_DEPTH}")
        if rate < 0 or (count is not None and count < 1):
            raise ValueError("rate must not be negative, count must be at least 1")
        if self.state.asked != NULL:
            raise RuntimeError("already initialised")
        self._set_asked(asked)
        self.state.mode = MODES[mode]
        self.state.depth = depth
        self.state.random = 0 if seed is None else ((seed * 2 + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        self.state.left = -1 if count is None else count
        self.rate = rate
        self.latencies = Latencies()
        self.first_bytes = Latencies()
        self.state.latencies = self.latencies.words
        self.state.first_bytes = self.first_bytes.words
        self.used = False

    def _set_asked(self, asked):
        cdef Asked* one
        cdef bytes head
        cdef Expected expected
        cdef uint32_t i
        self._kept = []
        self.state.count = len(asked)
        self.state.asked = <Asked*>calloc(self.state.count, sizeof(Asked))
        if self.state.asked == NULL:
            raise MemoryError
        for i, (head, expected, start, length) in enumerate(asked):
            if not head.endswith(b"\r\n\r\n") or start < 0:
                raise ValueError("a head must end with an empty line, and an object start at 0")
            self._kept.append((head, expected))
            one = &self.state.asked[i]
            one.head = head
            one.size = len(head)
            one.bodiless = head.startswith(b"HEAD ")
            one.content = NULL if expected is None else &expected.content
            one.start = start
            one.length = -1 if length is None else length

    def __dealloc__(self):
        free(self.state.asked)

    cdef TaskState* begin(self, int64_t now) except NULL:
        """The run begins now. Raises ValueError when the task had its run."""
        if self.used:
            raise ValueError("a task runs once")
        self.used = True
        self.began = self.state.last = now
        self.state.interval = 1e9 / self.rate if self.rate else 0.0
        self.state.due = <double>now
        return &self.state

    @property
    def bounded(self):
        """Whether it ends by itself."""
        return self.state.left >= 0

    @property
    def answers(self):
        """Complete answers, of any status."""
        return self.state.answers

    @property
    def body_bytes(self):
        """Body bytes of the answers that count."""
        return self.state.body_bytes

    @property
    def seconds(self):
        """From the beginning of the run to the end of the last answer."""
        return (self.state.last - self.began) / 1e9

    @property
    def statuses(self):
        """Answers by status."""
        return {status: self.state.statuses[status] for status in range(STATUSES) if self.state.statuses[status]}

    @property
    def results(self):
        """Answers by the value of their X-Cache; those that have none are missing."""
        return {
            self.state.tallies[i].name[:self.state.tallies[i].length].decode("latin-1"): self.state.tallies[i].count
            for i in range(TALLIES)
            if self.state.tallies[i].count
        }

    @property
    def failures(self):
        """What went wrong and how often; each answer that never came is counted."""
        return {_FAILURES[kind]: self.state.failures[kind] for kind in _FAILURES if self.state.failures[kind]}

    @property
    def wrong(self):
        """Of the first wrong byte: the index of what was asked, and the offset in the object. None if all were right."""
        if not self.state.failures[WRONG_BYTES]:
            return None
        return self.state.wrong_asked, self.state.first_wrong
