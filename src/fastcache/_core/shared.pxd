# The memory that all processes of one supervisor share: one memfd, made by the supervisor before any of them exists,
# inherited by descriptor, never opened by path and never a file of the cache directory.
#
# A page with the header (`fc_shared`), then sections that each begin at a page. The header's table says where; a reader
# asks the table, so that a section can be added without moving the others.
#
#   FENCES    fc_fences: 65,536 counters of objects, as many of buckets, and the epoch of this supervisor's life.
#             Correctness rests on them. Written by raising only.
#   CHANGES   65,536 counters by object digest: how often the files of such an object were changed, raised by whoever
#             did it while it still holds the object's lock in the file system. A store that has read an object's
#             directory remembers the counter as it was then: equal means that it need not read it again. A hint.
#   CELLS     FC_CELLS words for each *place*. A place belongs to one process at a time, given by the supervisor and
#             taken back when that process is dead; its words are cleared in between. One writer each, the process of
#             the place, but for those that say otherwise (Cell in shared.pyi). Hints.
#   NAMES     what each slot of the counters in NUMBERS stands for: the same in every process, added to and never
#             changed. `names.pyx` reads and writes it.
#   NUMBERS   for each place the counters and histograms of its process, one after the other (observe.metrics). They
#             outlive the process: the next one in the place counts on. Hints.
#
#   GENERATIONS  word 0: how many origin requests were sent by all processes. Then 2^20 words by object digest: which
#             generation the latest of them brought whose answer was taken, and its number (generations.pyx).
#   CLAIMS    what each worker asks the origin for and stores just now (fill_claims.pxd). Hints.
#
# All words are 64-bit, aligned, and accessed as atomics.h says. Nothing is ever freed or moved while the memory exists.
#
# Ownership. A SharedMemory owns its mapping from __cinit__ to __dealloc__, not the descriptor. A memoryview of it keeps
# it alive, and so do Counters and Histograms over such a view.
from libc.stdint cimport uint64_t

from fastcache._core.fences cimport fc_fences

cdef extern from "shared.h" nogil:
    ctypedef struct fc_section:
        uint64_t offset
        uint64_t size
    ctypedef struct fc_shared:
        uint64_t magic
        uint64_t size
        uint64_t places
        uint64_t number_bytes
        fc_section *sections
    uint64_t FC_SHARED_MAGIC
    enum:
        FC_SHARED_PAGE
        FC_SECTIONS
        FC_CHANGES
        FC_CELLS
        FC_SECTION_FENCES
        FC_SECTION_CHANGES
        FC_SECTION_CELLS
        FC_SECTION_NAMES
        FC_SECTION_NUMBERS
        FC_SECTION_GENERATIONS
        FC_SECTION_CLAIMS
        FC_GENERATIONS
        CELL_BYTES
        CELL_ACKNOWLEDGED
        CELL_INCARNATION
        CELL_LISTENING
        CELL_CONNECTIONS
        CELL_HANDED
        CELL_TAKEN
        CELL_EVICTIONS
        CELL_STAGED


cdef class SharedMemory:
    cdef char *base
    cdef size_t length
    cdef fc_shared *header
    cdef uint64_t *change_counters
    cdef uint64_t *cells
    cdef readonly Py_ssize_t places
    cdef readonly int fd

    cdef uint64_t *cell_at(self, Py_ssize_t place, int cell) except NULL
