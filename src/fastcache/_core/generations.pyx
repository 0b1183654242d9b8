"""What the origin last said an object is, in any process of this host: so that none answers with what another has seen
replaced. generations.pxd tells how it is kept."""

from libc.stdint cimport uint64_t

import enum
import hashlib

from fastcache._core.fences cimport checked, fc_load, fc_raise, fc_replace
from fastcache._core.shared cimport FC_GENERATIONS, FC_SECTION_GENERATIONS


cdef uint64_t LAST_NUMBER = (<uint64_t>1 << (64 - HASH_BITS)) - 1


class Lesson(enum.Enum):
    """What an answer says in the light of those that were taken before."""

    KNOWN = "known"
    """It is what all have learnt, from now on."""
    CHANGED = "changed"
    """Others may hold something else for current: their proofs have to be outdated before this one counts."""
    OUTDATED = "outdated"
    """A later request was told something else already."""


cdef class Generations:
    """The words in a supervisor's shared memory."""

    def __init__(self, SharedMemory memory not None):
        self.memory = memory
        self.sent = <uint64_t *>(memory.base + memory.header.sections[FC_SECTION_GENERATIONS].offset)
        self.words = self.sent + 1
        self.key = memory.fences().epoch

    def next_sent(self):
        """The number of an origin request, taken just before it is sent."""
        return fc_raise(self.sent) + 1

    def learn(self, digest, tag, uint64_t sent, bint outdated_others=False):
        """An answer to request ``sent`` says that the object's generation is ``tag``.

        CHANGED until the caller has raised the object's fence and says so with ``outdated_others``: a process that dies
        in between leaves the word as it was, and the next one that learns of the change raises the fence.
        """
        cdef bytes known = checked(digest)
        cdef uint64_t hashed = self.hash_of(known, tag), seen, number
        cdef uint64_t *word = self.word_at(known)
        if not 0 < sent <= LAST_NUMBER:
            # After 2^40 requests: right, and slower.
            return Lesson.KNOWN if outdated_others else Lesson.CHANGED
        seen = fc_load(word)
        while True:
            number = seen >> HASH_BITS
            if seen and seen & ((1 << HASH_BITS) - 1) == hashed:
                if number >= sent or fc_replace(word, &seen, sent << HASH_BITS | hashed):
                    return Lesson.KNOWN
            elif number > sent:
                return Lesson.OUTDATED
            elif number and not outdated_others:
                return Lesson.CHANGED
            elif fc_replace(word, &seen, sent << HASH_BITS | hashed):
                return Lesson.KNOWN

    def knowledge(self, digest, tag):
        """What the hit branch needs to learn of a generation again, which was learnt of already."""
        cdef Knowledge found = Knowledge()
        cdef bytes known = checked(digest)
        found.generations = self
        found.word = self.word_at(known)
        found.hashed = self.hash_of(known, tag)
        return found

    cdef uint64_t *word_at(self, bytes digest):
        return &self.words[int.from_bytes(digest[:3], "little") & (FC_GENERATIONS - 1)]

    cdef uint64_t hash_of(self, bytes digest, bytes tag):
        hashed = hashlib.blake2b(digest + tag, digest_size=8, key=int(self.key).to_bytes(8, "little")).digest()
        return int.from_bytes(hashed, "little") & ((1 << HASH_BITS) - 1)


cdef class Knowledge:
    """One generation of an object in the eyes of all workers; made by ``Generations.knowledge``."""
