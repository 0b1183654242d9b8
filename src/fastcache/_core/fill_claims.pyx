"""What the workers of a host have under way to the origin, so that each byte is fetched by one of them. The protocol is
told in fill_claims.pxd."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

import enum

from fastcache._core.fences cimport checked, fc_load, fc_raise, fc_replace, fc_store
from fastcache._core.shared cimport CELL_INCARNATION, CELL_LISTENING, FC_CELLS, FC_SECTION_CLAIMS

from fastcache.model import FenceToken


cdef enum:
    FREE = 0
    WRITING = 1
    P_ASKING = 2
    P_FILLING = 3
    P_ENDED = 4
    PHASE_BITS = 4

cdef uint64_t PHASE_MASK = 15
cdef uint64_t VERSION_MASK = 0xFFFFFFF0

LARGEST_HEAD = (FC_CLAIM_WORDS - FC_CLAIM_FIXED) * sizeof(uint64_t)
"""Bytes of the longest encoded head that a claim has room for."""
UNKNOWN_END = <uint64_t>1 << 63
"""One past the last byte of an object whose size is not known."""


class Phase(enum.IntEnum):
    """What has become of a claim that was seen."""

    ASKING = P_ASKING
    """Its owner asks the origin, or is about to."""
    FILLING = P_FILLING
    """The origin's answer is being stored."""
    ENDED = P_ENDED
    """What could be stored of it is."""
    DEAD = 5
    """Its owner died at it."""
    GONE = 6
    """It was given up, or stands for something else by now."""


cdef inline uint64_t with_phase(uint64_t state, uint64_t phase) noexcept nogil:
    return state & ~PHASE_MASK | phase


cdef class FillClaims:
    """The claims in a supervisor's shared memory, as the process ``incarnation`` makes and sees them."""

    def __init__(self, SharedMemory memory not None, uint64_t incarnation):
        if not 0 < incarnation < <uint64_t>1 << 32:
            raise ValueError("not the number of a process")
        self.memory = memory
        self.shared = <fc_claims *>(memory.base + memory.header.sections[FC_SECTION_CLAIMS].offset)
        self.incarnation = incarnation

    def has_listeners(self):
        """Whether another process accepts connections, and may want to know."""
        cdef Py_ssize_t place
        cdef uint64_t *cells
        for place in range(self.memory.places):
            cells = &self.memory.cells[place * FC_CELLS]
            if fc_load(&cells[CELL_LISTENING]) and fc_load(&cells[CELL_INCARNATION]) != self.incarnation:
                return True
        return False

    def asking(self, digest, uint64_t start, uint64_t end):
        """Announce a request to the origin for these bytes; None when there is no room to. ``end`` is UNKNOWN_END for
        whatever there is."""
        claim = self._claim(digest, start, end)
        if claim is not None:
            (<Claim>claim).become(P_ASKING)
        return claim

    def filling(self, digest, uint64_t start, uint64_t end, bytes head, token, uint64_t request, double proved_at):
        """Announce that these bytes are being stored, under the encoded ``head`` that the origin proved then; None when
        there is no room to, or the head has none in a claim."""
        cdef const char *bytes_of_head = PyBytes_AS_STRING(head)
        cdef size_t length = len(head), at
        cdef fc_claim *words
        cdef uint64_t word
        if length > <size_t>LARGEST_HEAD:
            return None
        claim = self._claim(digest, start, end)
        if claim is None:
            return None
        words = (<Claim>claim).words
        fc_store(&words.epoch, token[0])
        fc_store(&words.object_fence, token[1])
        fc_store(&words.bucket_fence, token[2])
        fc_store(&words.request, request)
        memcpy(&word, &proved_at, sizeof(word))
        fc_store(&words.proved_at, word)
        fc_store(&words.head_bytes, length)
        for at in range(0, length, sizeof(word)):
            word = 0
            memcpy(&word, bytes_of_head + at, min(sizeof(word), length - at))
            fc_store(&words.head[at // sizeof(word)], word)
        fc_store(&words.looked_at, self.looked_for(words))
        (<Claim>claim).become(P_FILLING)
        return claim

    cdef uint64_t looked_for(self, fc_claim *words) noexcept nogil:
        """When a reader elsewhere last waited for a request of ours for the object of a claim."""
        cdef uint64_t key = fc_load(&words.digest[0]), latest = 0, state
        cdef fc_claim *other
        cdef int at
        for at in range(FC_CLAIMS):
            other = &self.shared.claims[at]
            if fc_load(&self.shared.keys[at]) == key and fc_load(&other.digest[1]) == fc_load(&words.digest[1]):
                state = fc_load(&other.state)
                if state >> 32 == self.incarnation and state & PHASE_MASK == P_ASKING:
                    latest = max(latest, fc_load(&other.looked_at))
        return latest

    def _claim(self, digest, uint64_t start, uint64_t end):
        cdef bytes known = checked(digest)
        cdef Claim claim
        cdef uint64_t at = 0, state, word
        cdef fc_claim *words
        cdef int number
        if len(known) != 4 * sizeof(word):
            raise ValueError("a digest has 32 bytes")
        state = self.acquire(&at)
        if state == 0:
            return None
        words = &self.shared.claims[at]
        claim = Claim.__new__(Claim)
        claim.claims = self
        claim.words = words
        claim.state = state
        claim.ticket = fc_raise(&self.shared.tickets) + 1
        fc_store(&words.ticket, claim.ticket)
        for number in range(4):
            memcpy(&word, PyBytes_AS_STRING(known) + number * sizeof(word), sizeof(word))
            fc_store(&words.digest[number], word)
        fc_store(&words.start, start)
        fc_store(&words.end, end)
        fc_store(&words.sent, 0)
        fc_store(&words.watermark, start)
        fc_store(&words.part, 0)
        fc_store(&words.reached, 0)
        fc_store(&words.looked_at, 0)
        fc_store(&words.head_bytes, 0)
        memcpy(&word, PyBytes_AS_STRING(known), sizeof(word))
        fc_store(&self.shared.keys[at], word)
        return claim

    cdef bint is_alive(self, uint64_t incarnation) noexcept nogil:
        """Whether the supervisor has not declared it dead."""
        cdef Py_ssize_t place
        for place in range(self.memory.places):
            if fc_load(&self.memory.cells[place * FC_CELLS + CELL_INCARNATION]) == incarnation:
                return True
        return False

    cdef uint64_t acquire(self, uint64_t *at) noexcept nogil:
        """The state of a claim that is ours to write now, and its number; 0: all are in use."""
        cdef uint64_t cursor = fc_raise(&self.shared.cursor), seen, mine, phase
        cdef int step
        for step in range(FC_CLAIMS):
            at[0] = (cursor + <uint64_t>step) % FC_CLAIMS
            seen = fc_load(&self.shared.claims[at[0]].state)
            phase = seen & PHASE_MASK
            if phase != FREE and phase != P_ENDED and self.is_alive(seen >> 32):
                continue
            mine = self.incarnation << 32 | (seen + (1 << PHASE_BITS)) & VERSION_MASK | WRITING
            if fc_replace(&self.shared.claims[at[0]].state, &seen, mine):
                return mine
        return 0

    def of(self, digest):
        """The claims on an object that other processes have, or had lately, oldest first."""
        cdef bytes known = checked(digest)
        cdef uint64_t key
        cdef int at
        cdef list found = []
        memcpy(&key, PyBytes_AS_STRING(known), sizeof(key))
        for at in range(FC_CLAIMS):
            if fc_load(&self.shared.keys[at]) == key:
                seen = self.read(&self.shared.claims[at], known)
                if seen is not None:
                    found.append(seen)
        found.sort(key=lambda seen: (<Seen>seen).ticket)
        return found

    cdef read(self, fc_claim *words, bytes known):
        """One version of a claim; None when it is ours, or of something else, or being changed."""
        cdef uint64_t state = fc_load(&words.state), length, word
        cdef uint64_t phase = state & PHASE_MASK
        cdef uint64_t digest[4]
        cdef Seen seen
        cdef size_t number
        cdef char *bytes_of_head
        if phase < P_ASKING or state >> 32 == self.incarnation:
            return None
        for number in range(4):
            digest[number] = fc_load(&words.digest[number])
        if memcmp(digest, PyBytes_AS_STRING(known), sizeof(digest)) != 0:
            return None
        seen = Seen.__new__(Seen)
        seen.claims = self
        seen.words = words
        seen.state = state
        seen.ticket = fc_load(&words.ticket)
        seen.start = fc_load(&words.start)
        seen.end = fc_load(&words.end)
        seen.token = FenceToken(
            fc_load(&words.epoch), fc_load(&words.object_fence), fc_load(&words.bucket_fence)
        )
        seen.request = fc_load(&words.request)
        word = fc_load(&words.proved_at)
        memcpy(&seen.proved_at, &word, sizeof(word))
        length = fc_load(&words.head_bytes)
        if length > <uint64_t>LARGEST_HEAD:
            return None  # of another version
        seen.head = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        bytes_of_head = PyBytes_AS_STRING(seen.head)
        for number in range(0, length, sizeof(word)):
            word = fc_load(&words.head[number // sizeof(word)])
            memcpy(bytes_of_head + number, &word, min(sizeof(word), length - number))
        return seen if seen.is_same() else None


cdef class Claim:
    """A claim of this process. ``end`` it; one that is dropped ends by itself."""

    def __dealloc__(self):
        if self.claims is not None:
            self.end()

    cdef void become(self, uint64_t phase) noexcept:
        cdef uint64_t seen = self.state
        if self.state and fc_replace(&self.words.state, &seen, with_phase(self.state, phase)):
            self.state = with_phase(self.state, phase)
        else:
            self.state = 0  # we were taken for dead

    def note_sent(self):
        """The request is on its way."""
        if self.state:
            fc_store(&self.words.sent, 1)

    def note_written(self, uint64_t watermark):
        """All bytes below are in files."""
        if self.state:
            fc_store(&self.words.watermark, watermark)

    def note_part(self, uint64_t number, uint64_t start, uint64_t offset):
        """What is written goes to this file now, the byte at ``start`` to ``offset`` in it; 0: all is committed."""
        if not self.state:
            return
        fc_store(&self.words.part, 0)
        if number:
            fc_store(&self.words.part_start, start)
            fc_store(&self.words.part_offset, offset)
            fc_store(&self.words.part, number)

    def reached(self):
        """How far the fastest reader elsewhere is."""
        return fc_load(&self.words.reached) if self.state else 0

    def looked_at(self):
        """When a reader elsewhere last looked, in milliseconds since boot; 0: never."""
        return fc_load(&self.words.looked_at) if self.state else 0

    def end(self):
        """Nothing more comes of it."""
        if self.state:
            self.become(P_ENDED if self.state & PHASE_MASK == P_FILLING else FREE)
            self.state = 0


cdef class Seen:
    """Another process's claim, as one version of it was read."""

    cdef bint is_same(self) noexcept:
        """Whether the claim still is what was read, perhaps in another phase."""
        return fc_load(&self.words.state) & ~PHASE_MASK == self.state & ~PHASE_MASK

    @property
    def owner(self):
        """The incarnation of the process it belongs to."""
        return self.state >> 32

    @property
    def identity(self):
        """What no other claim has, as long as somebody remembers it."""
        return <uint64_t><size_t>self.words, self.state >> PHASE_BITS

    def phase(self):
        """What has become of it."""
        cdef uint64_t now = fc_load(&self.words.state)
        cdef uint64_t phase = now & PHASE_MASK
        if not now & ~PHASE_MASK == self.state & ~PHASE_MASK or phase < P_ASKING:
            return Phase.GONE
        if phase != P_ENDED and not self.claims.is_alive(now >> 32):
            return Phase.DEAD
        return Phase(phase)

    def sent(self):
        """Whether its request is on its way."""
        return fc_load(&self.words.sent) == 1

    def watermark(self):
        """All bytes of the claim below are in files; its start when it stands for something else by now."""
        cdef uint64_t watermark = fc_load(&self.words.watermark)
        return watermark if self.is_same() else self.start

    def part(self):
        """The file in progress, where its bytes start in the object, and where in the file; None: there is none now."""
        cdef uint64_t number = fc_load(&self.words.part)
        cdef uint64_t start = fc_load(&self.words.part_start)
        cdef uint64_t offset = fc_load(&self.words.part_offset)
        if number == 0 or fc_load(&self.words.part) != number or not self.is_same():
            return None
        return number, start, offset

    def look(self, uint64_t reached, uint64_t now):
        """Tell the owner that somebody here reads, and how far; ``now`` in milliseconds since boot."""
        cdef uint64_t seen
        if not self.is_same():
            return
        fc_store(&self.words.looked_at, now)
        seen = fc_load(&self.words.reached)
        while seen < reached and not fc_replace(&self.words.reached, &seen, reached):
            pass

    def take_over(self):
        """Be the one who sees to what a dead process left behind; False: somebody else is, or it is not dead."""
        cdef uint64_t seen = fc_load(&self.words.state)
        if seen != with_phase(self.state, P_FILLING) or self.claims.is_alive(seen >> 32):
            return False
        return bool(
            fc_replace(
                &self.words.state, &seen,
                self.claims.incarnation << 32 | (seen + (1 << PHASE_BITS)) & VERSION_MASK | P_ENDED,
            )
        )
